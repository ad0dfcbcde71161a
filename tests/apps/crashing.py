"""`SIGKILL` at a named point, once: `JOBS_CRASH="celery_recovery.dead_letters.store:DeadLetterStore.add:after"`.

The process that comes there first kills itself, before or after the call; a flag in the ledger keeps it from happening
again. Several points are separated by spaces.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from typing import Any

import redis

__all__ = ("arm",)


def arm(points: str, ledger_url: str) -> None:
    """Put the traps where `points` says."""
    for point in points.split():
        module, path, when = point.split(":")
        owner: Any = importlib.import_module(module)
        *names, last = path.split(".")
        for name in names:
            owner = getattr(owner, name)
        setattr(owner, last, _trapped(getattr(owner, last), point, when, ledger_url))


def _trapped(function: Any, point: str, when: str, ledger_url: str) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _die_once(point, ledger_url)
        result = function(*args, **kwargs)
        if when == "after":
            _die_once(point, ledger_url)
        return result

    return call


def _die_once(point: str, ledger_url: str) -> None:
    with redis.Redis.from_url(ledger_url) as client:
        if client.set(f"crashed:{point}", os.getpid(), nx=True):
            os.kill(os.getpid(), signal.SIGKILL)
