"""Tasks whose ends can be watched: every hook and signal leaves a line in the ledger."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import task_failure, task_internal_error, task_success

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger

__all__ = ("app",)


class Watched(RecoverableTask):
    """Notes its hooks; the first argument is the token."""

    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        ledger().note(args[0], "on_success")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ledger().note(args[0], f"on_failure {type(exc).__name__}")


@task_success.connect
def noted_success(sender: Any, **_: Any) -> None:
    _note_signal(sender, "task_success")


@task_failure.connect
def noted_failure(sender: Any, **_: Any) -> None:
    _note_signal(sender, "task_failure")


@task_internal_error.connect
def noted_internal_error(sender: Any, **_: Any) -> None:
    _note_signal(sender, "task_internal_error")


def _note_signal(task: Any, word: str) -> None:
    if isinstance(task, Watched) and task.request.args:
        ledger().note(task.request.args[0], word)


@app.task(base=Watched)
def fine(token: str, value: Any = None) -> Any:
    ledger().note(token)
    return value


@app.task(base=Watched)
def wrong(token: str) -> None:
    ledger().note(token)
    raise ValueError("quantity must be positive, password=hunter2")


@app.task(base=Watched, acks_late=False)
def early(token: str, value: Any = None) -> Any:
    ledger().note(token)
    return value


@app.task(base=Watched, track_started=True)
def tracked(token: str) -> str:
    ledger().note(token)
    return token


@app.task(base=Watched, bind=True)
def telling(self: Any, token: str) -> str:
    """News while the backend is away must not cost the task."""
    ledger().note(token)
    self.update_state(state="PROGRESS", meta={"done": 1})
    return token


@app.task(base=Watched)
def killed(token: str) -> None:
    """Outlives its hard time limit."""
    ledger().note(token)
    time.sleep(30)


@app.task(base=Watched)
def unserialisable(token: str) -> Any:
    ledger().note(token)
    return object()


@app.task(base=RecoverableTask)
def gathered(values: list[Any], token: str) -> int:
    ledger().note(token, f"gathered {sorted(values)}")
    return len(values)


@app.task(base=RecoverableTask)
def follow(value: Any, token: str) -> Any:
    ledger().note(token, f"follow {value}")
    return value


@app.task(base=RecoverableTask)
def mourn(request: Any, exc: Any, traceback: Any, token: str = "") -> None:
    """An errback that Celery calls in the worker's own process."""
    ledger().note(token, f"mourn {type(exc).__name__}")


@app.task(base=RecoverableTask)
def mourn_by_id(task_id: str) -> None:
    """An errback that Celery sends as a task."""
    ledger().note(task_id, "mourn_by_id")
