"""What a worker does with a message of a recoverable task when it receives it: what is not due for long is parked."""

from __future__ import annotations

from typing import Any

from celery.worker.strategy import default

__all__ = ("recoverable",)


def recoverable(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Celery's own strategy."""
    return default(task, app, consumer, **options)
