"""What every worker of a wired app does beside running tasks: it moves dead letters from their queue into the store."""

from __future__ import annotations

import logging
from typing import Any

from celery_recovery.dead_letters.chords import keep_alive
from celery_recovery.dead_letters.intake import Intake
from celery_recovery.recovery import Recovery
from celery_recovery.worker.step import RecoveryStep

logger = logging.getLogger("celery_recovery")

__all__ = ("IntakeStep",)


class IntakeStep(RecoveryStep):
    """Starts the intake once the pool has forked, so that no child inherits its thread or its connection.

    Settings are read here: a worker with a setting that makes no sense does not start, and says why.
    """

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Wherever there is a store, unless `recovery_intake` is off."""
        recovery = Recovery.of(worker.app)
        _ = recovery.classifier  # its rules are read now, before the pool forks, for all its children
        if recovery.store is None:
            logger.warning(
                "no Redis was found to keep dead letters in: they stay in the queue %s; see recovery_redis_url",
                recovery.settings.dead_letter_queue, extra={"action": "no_store"},
            )  # fmt: skip
        return recovery.settings.intake and recovery.store is not None

    def create(self, worker: Any) -> Intake:
        """The thread, not yet started."""
        recovery = Recovery.of(worker.app)
        store = recovery.dead_letters.store

        return Intake(
            worker.app, recovery.dead_letter_queue, store, housekeeping=lambda: keep_alive(worker.app.backend, store)
        )
