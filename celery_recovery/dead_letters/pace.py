"""Keeping to a rate: each event has its time, counted from the first, so that pauses do not add up."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ("Pace",)

#: Seconds of delay that are caught up afterwards; after a longer stall the schedule moves, so that no burst follows.
CATCH_UP = 1.0
#: Longest sleep at once, seconds: a low rate must not keep anybody from saying that he lives, or from being stopped.
SLICE = 1.0


def _nothing() -> None:
    pass


class Pace:
    """At most `rate` events per second; None: no limit. `idle` is called about once a second while it waits.

    What `idle` raises ends the waiting.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        *,
        idle: Callable[[], None] = _nothing,
    ) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._clock = clock
        self._sleep = sleep
        self._idle = idle
        self._due = 0.0
        self._begun = False

    def wait(self) -> None:
        """Return when the next event is due. It stays due until it is `done`."""
        if not self._interval:
            return
        now = self._clock()
        if not self._begun or now - self._due > CATCH_UP:
            self._due = now
        while (left := self._due - self._clock()) > SLICE:
            self._sleep(SLICE)
            self._idle()
        if left > 0:
            self._sleep(left)

    def due(self, most: int) -> int:
        """How many events are due by now, after `wait`: one, those it is late with, or `most` without a limit."""
        if not self._interval:
            return most
        return min(most, 1 + max(0, int((self._clock() - self._due) / self._interval)))

    def done(self, events: int = 1) -> None:
        """So many events have happened; the next is due one interval after the last of them was."""
        self._begun = True
        self._due += self._interval * events
