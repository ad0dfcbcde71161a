"""To come."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

__all__ = ("SettlingStep",)


class SettlingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """To come."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:  # noqa: ARG002
        """Never yet."""
        return False
