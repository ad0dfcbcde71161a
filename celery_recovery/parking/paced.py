"""Tasks that wait for a circuit come back at its pace, those that have waited longest first.

    look ──► pace ──► claim ──► publish, confirmed ──► remove
     │        │        └─ in the line of one circuit; and says when that is to be asked again
     │        └─ the circuit says how many tasks may go now, fleet-wide
     └─ whose turn it is; for a moment nobody else is told to ask the same circuit

Every worker takes part. The circuit is to be asked again before the tasks are published: what is too much for one
worker is taken on by the next. A worker that is killed on the way has claimed, at most, what it was allowed: with the
end of the lease those tasks are in the line again. Where a circuit never lets them go, they go at `ParkedTask.latest`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from celery_recovery.circuit.machine import Pace
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.parking.release import Release
from celery_recovery.parking.store import BATCH, REST, ParkingStore

__all__ = ("PacedReturn", "Pacer", "Turn")

logger = logging.getLogger("celery_recovery")

#: From a circuit's name and a most to how many tasks may go now. May raise `StoreUnavailable`.
Pacer: TypeAlias = Callable[[str, int], Pace]

#: Seconds until a circuit is asked again that could not say how many, by an error of its own.
LATER = 30.0


class Turn(NamedTuple):
    """What one look at the parked tasks came to."""

    released: int
    #: Seconds until the next look is worth while: 0 when more may go; None: nothing is there to wait for.
    next_due: float | None
    #: Why the broker took nothing more; empty when it did.
    stopped: str = ""


class PacedReturn:
    """The way back of the tasks that wait for a circuit, in one process."""

    def __init__(self, store: ParkingStore, publisher: Publisher, pace: Pacer | None = None) -> None:
        self.store = store
        self.publisher = publisher
        self.pace = pace
        #: Until when no circuit is asked, on the monotonic clock: they could not be reached.
        self._rests_until: float | None = None

    def turn(self, goes_on: Callable[[], bool] = lambda: True) -> Turn:
        """Ask the circuit whose turn it is, and give so many tasks back. Raises `StoreUnavailable`."""
        if self.pace is None:
            return Turn(0, None)
        rest = 0.0 if self._rests_until is None else self._rests_until - time.monotonic()
        if rest > 0:
            return Turn(0, rest)
        look = self.store.look()
        if not look.circuit:
            return Turn(0, look.next_look)
        most = min(BATCH, look.waiting)
        pace = self._asked(self.pace, look.circuit, most)
        if pace is None:
            return Turn(0, REST)
        next_look = 0.0 if pace.tasks >= most else pace.next_look  # all that was asked for: there may be more
        return self._release(look.circuit, min(pace.tasks, most), next_look, goes_on)

    def _asked(self, pace: Pacer, circuit: str, most: int) -> Pace | None:
        """How many may go; None when the circuits are away. One that raises something else holds up no other."""
        try:
            allowed = pace(circuit, most)
        except StoreUnavailable as exc:
            if self._rests_until is None:
                logger.warning(
                    "tasks that wait for a circuit stay parked, because none can be asked: %s", exc,
                    extra={"action": "pace_waits"},
                )  # fmt: skip
            self._rests_until = time.monotonic() + REST
            return None
        except Exception:
            logger.exception("the circuit %s does not say how many tasks may go", circuit, extra={"action": "no_pace"})
            allowed = Pace(0, LATER)
        if self._rests_until is not None:
            self._rests_until = None
            logger.info("circuits can be asked again", extra={"action": "pace_goes_on"})
        return allowed

    def _release(self, circuit: str, allowed: int, next_look: float, goes_on: Callable[[], bool]) -> Turn:
        """Claim and publish; large bodies make several claims of it. With nothing allowed only the next look is set."""
        released = 0
        look_in: float | None = next_look
        while True:
            claimed = self.store.claim(uuid.uuid4().hex, circuit=circuit, next_look=look_in, limit=allowed - released)
            if not claimed.tasks:
                return Turn(released, 0.0)
            told = Release(self.store, self.publisher, goes_on=goes_on).run(claimed)
            released += len(claimed.tasks)
            look_in = None
            if told.stopped or told.left or released >= allowed:
                return Turn(released, 0.0, told.stopped)
