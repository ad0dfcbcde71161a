"""`tests.apps.jobs` and a task that says what it is told to, in its exception, and in what that was caused by."""

from __future__ import annotations

from typing import Any

from celery_recovery import RecoverableTask, RetryPolicy
from tests.apps.jobs import app

__all__ = ("app", "charge", "say")


@app.task(base=RecoverableTask, policies=RetryPolicy(max_attempts=1))
def say(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError as exc:
        raise RuntimeError(text) from exc


@app.task(base=RecoverableTask, bind=True, policies=RetryPolicy(max_attempts=1))
def charge(self: Any, order: int, card_number: str, *, note: str = "") -> None:
    raise RuntimeError(f"order {order} failed")
