"""To come."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

__all__ = ("ReleaseStep",)


class ReleaseStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """To come."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:  # noqa: ARG002
        """Never yet."""
        return False
