"""What the steps of a worker have in common: a setting that makes no sense is told in a sentence, not a traceback."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from click import ClickException

from celery_recovery.exceptions import ConfigurationError
from celery_recovery.forks import import_beforehand
from celery_recovery.recovery import Recovery

__all__ = ("RecoveryStep",)


class RecoveryStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """A step that reads our settings: a worker with a wrong one does not start, and says why."""

    def include(self, parent: Any) -> bool:
        """Celery's own, with a `ConfigurationError` as a sentence."""
        Recovery.of(parent.app).in_worker = True
        import_beforehand()
        try:
            return bool(super().include(parent))
        except ConfigurationError as exc:
            raise ClickException(f"celery-recovery: {exc}") from exc
