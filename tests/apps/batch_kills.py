"""A batch whose effects are counted: how often each item was worked on, and what an idempotent sink holds of it."""

from __future__ import annotations

import os
from typing import Any

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger

__all__ = ("app",)


@app.task(base=RecoverableTask, bind=True)
def work(self: Any, token: str, count: int, bad: list[int]) -> None:
    """Items are worked on in place; where this runs is told first."""
    client, wrong = ledger().client, set(bad)
    client.lpush(f"pids:{token}", os.getpid())

    def do(item: int) -> None:
        if item in wrong:
            raise ValueError(f"item {item} is bad")
        client.hincrby(f"calls:{token}", str(item), 1)
        client.hsetnx(f"sink:{token}", str(item), item)

    self.batch(range(count)).each(do)
