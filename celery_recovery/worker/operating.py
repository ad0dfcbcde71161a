"""Every worker goes on with operations that nobody runs: the tool that did has died, or has left it to the workers.

A lease gives each operation to one runner.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import Any

from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.exceptions import ConfigurationError, StoreUnavailable
from celery_recovery.recovery import Recovery
from celery_recovery.worker.step import RecoveryStep

__all__ = ("OperatingStep", "Operator")

logger = logging.getLogger("celery_recovery")

#: Seconds between two looks for operations that nobody runs, on average; a look is one cheap call.
INTERVAL = 5.0
#: Seconds between two looks while something is wrong.
PAUSE = 15.0


class Operator:
    """The thread that goes on with operations while a worker lives."""

    def __init__(self, letters: DeadLetterQueue) -> None:
        self.letters = letters
        self.stopped = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._random = random.SystemRandom()

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread = threading.Thread(target=self.work, name="recovery-operations", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ask it to end, after its batch, and wait up to `timeout` seconds; the next worker goes on."""
        self.stopped.set()
        self._woken.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def wake(self) -> None:
        """Look now: something has just been asked for."""
        self._woken.set()

    def work(self) -> None:
        """Look, and go on with what is found, until stopped. Nothing ends it but that."""
        while not self.stopped.is_set():
            self._woken.wait(self._random.uniform(0.5, 1.5) * self.turn())
            self._woken.clear()

    def turn(self) -> float:
        """Go on with what nobody runs; returns the seconds until the next look."""
        try:
            for found in self.letters.operations.orphans():
                self._go_on_with(found.id)
        except StoreUnavailable:
            return PAUSE
        except Exception:  # it must outlive anything; the lease ends, and the next one tries
            logger.exception("an operation could not go on", extra={"action": "operation_failed"})
            return PAUSE
        return INTERVAL

    def _go_on_with(self, operation: str) -> None:
        try:
            now = self.letters.run(operation, goes_on=lambda: not self.stopped.is_set())
        except ConfigurationError:
            return  # another worker was faster
        logger.info(
            "operation %s: %s, %d of %d done",
            operation, now.state, now.position, now.selected, extra={"action": "operation_went_on"},
        )  # fmt: skip


class OperatingStep(RecoveryStep):
    """Starts the operator once the pool has forked."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Wherever there is a store, unless `recovery_run_operations` is off."""
        recovery = Recovery.of(worker.app)
        return recovery.store is not None and recovery.settings.run_operations

    def create(self, worker: Any) -> Operator:
        """The thread, not yet started."""
        return Operator(Recovery.of(worker.app).dead_letters)
