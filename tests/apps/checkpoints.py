"""Tasks that go through numbers one by one, and save where they stand."""

from __future__ import annotations

import os
from typing import Any

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger, pause

__all__ = ("app",)


@app.task(base=RecoverableTask, bind=True)
def count(self: Any, token: str, numbers: int, *, key: str | None = None, stop_at: int | None = None) -> int:
    """Note each number once it is done. At `stop_at` it does what the ledger says, as long as it says so."""
    book = ledger()
    checkpoint = self.checkpoint if key is None else self.checkpoint(key)
    begin = checkpoint.load(0)
    book.note(token, f"from {begin}")
    for n in range(begin, numbers):
        if n == stop_at:
            _stop(self, token)
        book.note(token, str(n))
        checkpoint.save(n + 1)
    return numbers - begin


def _stop(task: Any, token: str) -> None:
    book = ledger()
    how = book.client.get(f"stop:{token}")
    if how == "fail":
        raise ConnectionResetError(104, "Connection reset by peer")
    if how == "die":
        raise ValueError("not today")
    if how == "hang":
        book.client.set(f"pid:{token}", os.getpid())
        pause(token, 60)
    if how == "retry":
        raise task.retry(countdown=0.1)


@app.task(base=RecoverableTask, bind=True)
def save(self: Any, token: str, value: Any) -> None:
    """Save anything."""
    ledger().note(token)
    self.checkpoint.save(value)


@app.task(base=RecoverableTask, bind=True)
def large(self: Any, token: str, size: int) -> None:
    ledger().note(token)
    self.checkpoint.save("x" * size)
