"""Sending a task from within a worker must not fail, or take long, because the result backend cannot be watched.

Celery's Redis backend subscribes to the result of what is sent: of every task under gevent and eventlet, of every group
anywhere, and so of two callbacks of one task. While Redis is away that takes 20 s and then raises, *after* the body has
succeeded and maybe after the message was sent: the task is recorded as failed, and its chain is lost. Unsubscribing,
when the result object goes, takes as long. Next to nobody waits inside a worker for what a worker has sent; who does
asks the backend first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Celery

from celery_recovery.results.bounded import bounded
from celery_recovery.results.keeper import MAIN_TIMEOUT, Keeper

__all__ = ("watch_softly",)

logger = logging.getLogger("celery_recovery")


def watch_softly(app: Celery, keeper: Keeper) -> None:
    """From now on, in this process and those forked from it, the app's backends try once to watch a result."""
    make = app._get_backend  # noqa: SLF001  # where every thread gets its backend from

    @wraps(make)
    def made() -> Any:
        return _softened(make(), keeper)

    app.__dict__["_get_backend"] = made
    if app._backend is not None:  # noqa: SLF001
        _softened(app.backend, keeper)


def _softened(backend: Any, keeper: Keeper) -> Any:
    consumer = getattr(backend, "result_consumer", None)
    if consumer is not None and hasattr(consumer, "_ensure"):
        consumer.consume_from = _soft(consumer, consumer.consume_from, keeper)
        consumer.cancel_for = _soft(consumer, consumer.cancel_for, keeper)
    return backend


def _soft(consumer: Any, method: Callable[[str], Any], keeper: Keeper) -> Callable[[str], Any]:
    backend, patient = consumer.backend, consumer._ensure  # noqa: SLF001

    @wraps(method)
    def soft(task_id: str) -> Any:
        hurried = bounded(backend, MAIN_TIMEOUT)
        consumer.backend, consumer._ensure = hurried, hurried.ensure  # noqa: SLF001
        try:
            return method(task_id)
        except Exception as exc:
            if not _is_away(exc, keeper):
                raise
            logger.warning(
                "the result of %s is not watched: %s", task_id, exc, extra={"action": "not_watched", "task_id": task_id}
            )
        finally:
            consumer.backend, consumer._ensure = backend, patient  # noqa: SLF001

    return soft


def _is_away(exc: BaseException, keeper: Keeper) -> bool:
    """The Redis backend wraps what it has tried often enough in a bare RuntimeError."""
    behind = exc.__cause__ or exc.__context__
    if isinstance(exc, RuntimeError) and isinstance(behind, Exception):
        exc = behind
    return isinstance(exc, Exception) and keeper.is_away(exc)
