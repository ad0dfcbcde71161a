"""The keeper at the door through which a task leaves with its process: killed, out of memory, out of time."""

from __future__ import annotations

from celery.worker.request import Request

__all__ = ("RecoverableRequest",)


class RecoverableRequest(Request):  # type: ignore[misc]  # celery is untyped
    """A worker's view of one task, in its main process."""
