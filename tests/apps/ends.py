"""Tasks that end with their process, on top of `tests.apps.jobs`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from celery import Task, signals

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger, pause

__all__ = ("app",)


class Hooked(RecoverableTask):
    """Notes which of Celery's hooks it sees, and what with."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ledger().note(f"hooks-{args[0]}", f"on_failure {type(exc).__name__}")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ledger().note(f"hooks-{args[0]}", f"on_retry {type(exc).__name__}")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        ledger().note(f"hooks-{args[0]}", "on_success")


@signals.task_failure.connect(weak=False)
def seen(sender: Any = None, task_id: str = "", exception: Any = None, args: Any = (), **_: Any) -> None:
    """The signal, once."""
    if isinstance(sender, Hooked) and args:
        ledger().note(f"hooks-{args[0]}", f"task_failure {type(exception).__name__}")


@app.task(base=Hooked)
def killed(token: str, times: int = 1000, number: int = signal.SIGKILL) -> str:
    """Its process is killed, the first `times` runs."""
    if ledger().note(token) <= times:
        os.kill(os.getpid(), number)
        time.sleep(30)
    return token


class Clumsy(RecoverableTask):
    """Its hook is at fault, too."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ledger().note(args[0], f"on_failure {type(exc).__name__}")
        raise KeyError("hook")


@app.task(base=Clumsy)
def clumsy(token: str) -> None:
    """Fails, and then its hook does."""
    raise ValueError(token)


@app.task(base=Hooked)
def vanishing(token: str, times: int = 1000) -> str:
    """Its process ends without a word."""
    if ledger().note(token) <= times:
        os._exit(7)
    return token


@app.task(base=Hooked)
def exiting(token: str, times: int = 1000) -> str:
    """`sys.exit()` in a task."""
    if ledger().note(token, f"pid={os.getpid()}") <= times:
        sys.exit(3)
    return token


@app.task(base=Hooked, time_limit=1)
def hanging(token: str, times: int = 1000) -> str:
    """Longer than its hard limit."""
    if ledger().note(token) <= times:
        time.sleep(30)
    return token


@app.task(base=Hooked, soft_time_limit=1)
def dawdling(token: str) -> str:
    """Longer than its soft limit."""
    ledger().note(token)
    time.sleep(30)
    return token


@app.task(base=Hooked)
def working(token: str, seconds: float) -> str:
    """Says when it begins and when it is done."""
    ledger().note(token, "begins")
    pause(token, seconds)
    ledger().note(token, "done")
    return token


@app.task(base=Hooked)
def deadly(token: str) -> None:
    """Takes the whole worker with it, power cut and all."""
    ledger().note(token)
    time.sleep(0.5)
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)


@app.task(base=RecoverableTask, bind=True)
def last_moment(self: Task, token: str) -> str:
    """Its worker is killed when its result has been stored, before the message is acknowledged."""
    ledger().note(token)
    return token


@signals.task_success.connect(weak=False)
def kill_once(sender: Any = None, result: Any = None, **_: Any) -> None:
    """See `last_moment`."""
    if sender is not None and sender.name.endswith(".last_moment"):
        client = ledger().client
        if client.set(f"killed:{result}", 1, nx=True):
            os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
