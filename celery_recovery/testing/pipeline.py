"""The pipeline on a bench: the real one, whose stores are in memory, and which tells what it decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from celery import Celery

from celery_recovery.actions import Failure
from celery_recovery.backoff import RandomSource
from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.circuits import Circuits
from celery_recovery.circuit.machine import Change
from celery_recovery.decision import Decision
from celery_recovery.errors import ErrorClassifier
from celery_recovery.monitoring.events import circuit_changed
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.recovery import Recovery
from celery_recovery.testing.absent import Absent
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.memory_checkpoints import MemoryCheckpoints
from celery_recovery.testing.memory_letters import MemoryLetters
from celery_recovery.testing.memory_parking import MemoryParking

__all__ = ("BenchRecovery", "Notes")


@dataclass(slots=True)
class Notes:
    """What the pipeline said of one attempt."""

    failure: Failure | None = None
    decision: Decision | None = None


class BenchRecovery(Recovery):
    """Stands in for an app's `Recovery`. Without a Redis nobody has custody of a task: no process dies here."""

    def __init__(self, app: Celery, behind: Recovery, clock: FakeClock, dice: RandomSource) -> None:
        super().__init__(app)
        self.random = dice
        self.notes = Notes()
        self._behind = behind
        self._clock = clock
        stand_ins: Mapping[str, Any] = {
            "redis": None, "custody": None, "audit": None, "alerts": None,
            "store": MemoryLetters(clock), "parked": MemoryParking(clock), "dead_letters": _NoLetters(),
        }  # fmt: skip
        self.__dict__.update(stand_ins)

    @property
    def letters(self) -> MemoryLetters:
        """The store."""
        found: MemoryLetters = self.__dict__["store"]
        return found

    @property
    def parking(self) -> MemoryParking:
        """The parked tasks."""
        found: MemoryParking = self.__dict__["parked"]
        return found

    @cached_property
    def checkpoints(self) -> Any:
        """`MemoryCheckpoints`, within the app's limits."""
        settings = self.settings
        return MemoryCheckpoints(
            self._clock, ttl=settings.checkpoint_ttl, kept=settings.attempt_ttl, most=settings.checkpoint_size
        )

    @cached_property
    def classifier(self) -> ErrorClassifier:
        """The app's own, with the rules that were added to it."""
        return self._behind.classifier

    @cached_property
    def stats(self) -> SuccessRateMonitor:
        """Counts nothing."""
        return _Uncounted(None)

    def _new_circuits(self) -> Circuits:
        settings = self.settings
        return Circuits(None, settings.key_prefix, settings.circuits, self._circuit_changed, clock=self._clock.now)

    def _circuit_changed(self, circuit: CircuitBreaker, change: Change) -> None:
        """The signal, and no event: nobody watches a bench."""
        circuit_changed.send_robust(sender=self.app, circuit=circuit.name, change=change)

    def wire(self) -> bool:
        """The app is wired for good, not for the test."""
        return self._behind.wire()

    def record(self, failure: Failure, decision: Decision, outcome: BaseException) -> None:
        """Note it, then say it as always."""
        self.notes.failure, self.notes.decision = failure, decision
        super().record(failure, decision, outcome)

    @contextmanager
    def noting(self) -> Iterator[Notes]:
        """What is said within the block goes to these notes; blocks may be nested, as a body may run another task."""
        before, self.notes = self.notes, Notes()
        try:
            yield self.notes
        finally:
            self.notes = before


class _Uncounted(SuccessRateMonitor):
    """No thread, no counts."""

    def count(self, labels: Any) -> None:
        """Nothing."""

    def add(self, key: str, amounts: Any) -> None:
        """Nothing."""

    def feed(self, **entry: Any) -> None:
        """Nothing."""


class _NoLetters(Absent):
    _what = "operator's object (`Recovery.dead_letters`)"
