"""`MemoryParking`: the parked tasks of one bench, and the way back of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from celery_recovery.circuit.circuits import Circuits
from celery_recovery.circuit.state import CircuitState
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.parking.release import Release
from celery_recovery.parking.store import LONGEST, Claimed
from celery_recovery.testing.absent import Absent
from celery_recovery.testing.clock import FakeClock

__all__ = ("MemoryParking",)

_CLOSED_OFF = (CircuitState.OPEN, CircuitState.FORCED_OPEN)


class MemoryParking(Absent):
    """See `Parking`: `park` is its; what gives tasks back is `Release`, which a worker uses."""

    _what = "parked tasks"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._parked: dict[str, ParkedTask] = {}

    def park(self, task: ParkedTask) -> None:
        """Park it; what is parked already stays as it is."""
        self._parked.setdefault(task.key, task)

    def __iter__(self) -> Iterator[ParkedTask]:
        """All of them, in the order in which they were parked."""
        return iter(tuple(self._parked.values()))

    def of(self, task_id: str) -> ParkedTask | None:
        """The one of this task, or None."""
        return next((parked for parked in self._parked.values() if parked.id == task_id), None)

    def goes_back(self, parked: ParkedTask, circuits: Circuits) -> float | None:
        """When it goes back (unix s); None: nobody knows, somebody has to close its circuit."""
        if not parked.circuit:
            return parked.due
        view = circuits.get(parked.circuit).metrics()
        if view.state not in _CLOSED_OFF:
            return self._clock.now()
        if view.until is None and parked.expires is None:
            return None
        # as `parked_add.lua` has it: once it has expired, or after an hour, it goes back whatever the circuit says
        latest = max(parked.parked_at + 1, min(parked.parked_at + LONGEST, parked.expires or math.inf))
        return latest if view.until is None else min(view.until, latest)

    def release(self, parked: ParkedTask, publisher: Publisher) -> None:
        """Give it back to its queue, as a worker does. Raises what kept it from being published, as RuntimeError."""
        told = Release(self, publisher).run(Claimed("bench", [parked], {}, None))  # type: ignore[arg-type]
        if told.refused or told.stopped:
            raise RuntimeError(f"a parked task cannot go back to its queue: {told.stopped or told.refused}")

    # -- what `Release` needs of a store

    def remove(self, token: str, keys: Sequence[str]) -> int:  # noqa: ARG002
        """They are published."""
        return sum(self._parked.pop(key, None) is not None for key in keys)

    def unclaim(self, token: str, keys: Sequence[str], *, why: str = "", pause: float = 0.0) -> int:  # noqa: ARG002
        """They stay."""
        return len(keys)
