"""The app of the chaos tests: each task leaves lines in a ledger of files, which no killed service can lose.

Addresses and settings come as JSON in `CHAOS_CONF`, the ledger's directory in `CHAOS_LEDGER`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery, Task

from celery_recovery import Discard, ErrorType, Jitter, Quarantine, RecoverableTask, RetryIn, RetryPolicy, Snooze
from celery_recovery.dead_letters import intake

#: Quick, but in the shape of the real ones; no jitter, so that the steps are the same in every run.
QUICK = RetryPolicy(max_attempts=3, base_delay=0.1, max_delay=0.2, jitter=Jitter.NONE)


class Line(NamedTuple):
    """One line of a token's story."""

    time: float
    word: str
    retries: int
    pid: int


class Ledger:
    """What really ran, seen from outside: a file for each token, a line for each beginning and end of its body."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def note(self, token: str, word: str, retries: int = 0) -> None:
        """One write, which a SIGKILL cannot cut in two."""
        descriptor = os.open(self.directory / token, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{time.time():.6f} {word} {retries} {os.getpid()}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self, token: str) -> list[Line]:
        """The token's story so far."""
        try:
            rows = (self.directory / token).read_text().split("\n")
        except FileNotFoundError:
            return []
        fields = (row.split() for row in rows if row)
        return [Line(float(at), word, int(retries), int(pid)) for at, word, retries, pid in fields]

    def count(self, token: str, word: str) -> int:
        return sum(line.word == word for line in self.lines(token))

    def fix(self, token: str) -> None:
        """From now on `broken` works for this token."""
        self.note(token, "fixed")


def ledger() -> Ledger:
    return Ledger(os.environ["CHAOS_LEDGER"])


Body = Callable[..., Any]
_BODIES: list[Body] = []


def _task(body: Body) -> Body:
    """A task of every app that `make_app` makes."""
    _BODIES.append(body)
    return body


def fault(kind: str) -> Exception:
    """A fresh exception of one kind."""
    if kind == "network":
        return ConnectionResetError(104, "Connection reset by peer")
    return ValueError("quantity must be positive, got -3")


class Unwritable:
    """No serialiser that the app knows can write it."""


def began(task: Task, token: str) -> int:
    """Note it; returns how often it began before."""
    book = ledger()
    before = book.count(token, "start")
    book.note(token, "start", task.request.retries)
    return before


def ended(task: Task, token: str) -> str:
    """The work is done: from here on it must not be done again, where that can be known."""
    ledger().note(token, "end", task.request.retries)
    return token


@_task
def work(self: Task, token: str, seconds: float = 0) -> str:
    began(self, token)
    if seconds:
        time.sleep(seconds)
    return ended(self, token)


@_task
def step(self: Task, before: Any, token: str) -> str:
    """A link of a chain, or a chord's body."""
    began(self, token)
    return ended(self, token)


@_task
def flaky(self: Task, token: str, failures: int = 1, error: str = "network") -> str:
    """Fails on its first attempts, however often those are run."""
    began(self, token)
    if self.request.retries < failures:
        raise fault(error)
    return ended(self, token)


@_task
def broken(self: Task, token: str, error: str = "validation") -> str:
    """Fails until the ledger says that the world was fixed."""
    began(self, token)
    if not ledger().count(token, "fixed"):
        raise fault(error)
    return ended(self, token)


@_task
def by_hand(self: Task, token: str, countdown: float = 0.1, failures: int = 1) -> str:
    """Celery's own `self.retry()`."""
    began(self, token)
    if self.request.retries < failures:
        raise self.retry(exc=fault("validation"), countdown=countdown)
    return ended(self, token)


@_task
def controlled(self: Task, token: str, how: str, seconds: float = 0.2) -> str:
    """Uses a control exception on its first run."""
    if not began(self, token) or how not in ("snooze", "retry_in"):
        ends: dict[str, Exception] = {
            "retry_in": RetryIn(seconds),
            "snooze": Snooze(seconds),
            "quarantine": Quarantine("looks like fraud"),
            "discard": Discard("the order was cancelled"),
        }
        if not ledger().count(token, "fixed"):
            raise ends[how]
    return ended(self, token)


@_task
def deadly(self: Task, token: str, how: str, times: int = 1) -> str:
    """Takes its process along, the first `times` times."""
    if began(self, token) < times and not ledger().count(token, "fixed"):
        if how == "exit":
            sys.exit(3)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # until its time limit
    return ended(self, token)


@_task
def unwritable(self: Task, token: str) -> Any:
    """Its result cannot be stored."""
    began(self, token)
    return Unwritable() if not ledger().count(token, "fixed") else ended(self, token)


@_task
def hungry(self: Task, token: str, megabytes: int = 30) -> str:
    """Takes memory, and gives it back."""
    began(self, token)
    _ = bytearray(megabytes << 20)
    return ended(self, token)


def make_app(conf: Mapping[str, Any]) -> Celery:
    """The same application on the services that `conf` names: one for each worker, one for each harness."""
    made = Celery("chaos", set_as_current=False)
    made.conf.update(
        recovery_policies=dict.fromkeys((ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.UNKNOWN), QUICK),
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_lost_wait=0.2,
        broker_connection_retry_on_startup=True,
    )
    made.conf.update(conf)
    for body in _BODIES:
        made.task(base=RecoverableTask, bind=True, name=f"chaos.{body.__name__}")(body)
    return made


app = make_app(json.loads(os.environ.get("CHAOS_CONF", "{}")))
if os.environ.get("CHAOS_INTAKE_VISIBILITY"):
    intake.VISIBILITY_TIMEOUT = int(os.environ["CHAOS_INTAKE_VISIBILITY"])
