"""`FakeClock`: time that passes when it is told to, for the pipeline and for nothing else in the process.

While a `Bench` is in use its clock stands in `celery_recovery.clock`, which is where the pipeline reads the time, in
`app.now()`, from which Celery counts `countdown` and `expires`, and in the circuits. User code still sees the real
time. A test that wants it to see this one says so, with the library that it uses for that anyway:

    with time_machine.travel(0, tick=False) as traveller:
        clock = FakeClock(moved=traveller.move_to)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timezone

from celery_recovery.exceptions import ConfigurationError, as_seconds

__all__ = ("FakeClock",)


class FakeClock:
    """A clock that goes by itself only where something waits: then by just so much, at once.

    `start`: unix seconds, or a datetime with a time zone; default: now. `moved` is called with the new time (unix
    seconds) whenever it changes.
    """

    def __init__(
        self, start: float | datetime | None = None, *, moved: Callable[[float], object] | None = None
    ) -> None:
        self._now = time.time() if start is None else _unix(start)
        self._moved = moved
        if moved is not None:
            moved(self._now)

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def utc(self) -> datetime:
        """The same as a datetime in UTC."""
        return datetime.fromtimestamp(self._now, timezone.utc)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. In a task's body that is how long it takes. Raises `ConfigurationError`."""
        self.move_to(self._now + as_seconds(seconds, "clock.advance"))

    def move_to(self, moment: float | datetime) -> None:
        """Let time pass until then; what lies behind changes nothing: time does not go back."""
        moment = _unix(moment)
        if moment > self._now:
            self._now = moment
            if self._moved is not None:
                self._moved(moment)

    def __repr__(self) -> str:
        return f"<FakeClock {self.utc().isoformat()}>"


def _unix(moment: float | datetime) -> float:
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return moment.timestamp()
    if isinstance(moment, (int, float)) and not isinstance(moment, bool) and math.isfinite(moment) and moment >= 0:
        return float(moment)
    raise ConfigurationError.of("clock", expected="unix seconds, or a datetime with a time zone", got=moment)
