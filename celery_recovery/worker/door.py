"""To come."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

__all__ = ("DoorStep",)


class DoorStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """To come."""

    def include_if(self, parent: Any) -> bool:  # noqa: ARG002
        """Never yet."""
        return False
