"""The circuit as a plain state machine in memory: what the Lua scripts do in Redis, told in Python.

It is the circuit of a process that has no Redis, or whose Redis is away, and the model that the scripts are driven
against in lock step. Whoever calls it says what time it is (seconds, of any clock that does not go back). It is not
safe in threads: `breaker.py` has the lock.

A call has two ends: `admit` lets it through under a generation, `report` says how it went. Each transition begins a new
generation, and what is reported under an older one is not counted: a call that began before the outage says nothing
about the probes. While the circuit is half open each call that is let through holds one of `half_open_permits` places,
under a token, for `permit_lease` seconds; a place that is given back, or not heard of again, is given to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from celery_recovery.circuit.policy import FIRST_SHARE, LEAST_RATE, CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState, after

__all__ = ("BUCKETS", "FIRST_SHARE", "LEAST_RATE", "Answer", "Change", "Machine", "Pace", "Window")

#: Parts of the window.
BUCKETS = 10
#: Seconds in which the pace of the return doubles while no call fails.
DOUBLING = 2.0
#: Seconds whose worth of returning tasks may go at once, and between two looks at what may.
BURST, LOOK = 0.2, 0.1
#: Seconds within which nobody else is sent to probe for the same free places.
PROBE_PAUSE = 1.0
#: Transitions that are kept.
HISTORY_LIMIT = 50


class Change(NamedTuple):
    """One transition. `at` is on the caller's clock; in Redis unix seconds of the server."""

    before: CircuitState
    after: CircuitState
    cause: CircuitEvent
    at: float
    #: The generation that begins.
    generation: int
    #: The host whose own circuit it is, with `host_quorum`; empty: that of all.
    scope: str = ""
    #: The figures behind it: `calls`, `failed`, `slow`, and `reason` and `by` of a person.
    detail: dict[str, Any] = {}  # noqa: RUF012  # never changed


class Answer(NamedTuple):
    """What a circuit says of itself, and whether a call that asked may go through."""

    permitted: bool
    state: CircuitState
    generation: int
    #: Seconds until it is worth asking again; 0 when calls go through; None: not before a person says so.
    retry_after: float | None
    #: Transitions that this very question or report brought about.
    changes: tuple[Change, ...] = ()
    #: The host whose own circuit answers, with `host_quorum`; empty: that of all.
    scope: str = ""


class Pace(NamedTuple):
    """How many parked tasks may go back now, and in how many seconds to ask again."""

    tasks: int
    next_look: float


@dataclass(slots=True)
class Window:
    """Counts of the last `BUCKETS` parts of a time, each part `width` seconds; the sums are kept, never summed up."""

    width: float
    head: int = 0
    #: calls, failed, slow.
    totals: list[int] = field(default_factory=lambda: [0, 0, 0])
    parts: list[list[int]] = field(default_factory=lambda: [[0, 0, 0] for _ in range(BUCKETS)])

    def advance(self, now: float) -> None:
        """Forget what is too old. A clock that went back changes nothing."""
        index = math.floor(now / self.width)
        if index <= self.head:
            return
        for at in range(max(self.head + 1, index - BUCKETS + 1), index + 1):
            part = self.parts[at % BUCKETS]
            for n, count in enumerate(part):
                self.totals[n] -= count
                part[n] = 0
        self.head = index

    def add(self, now: float, calls: int, failed: int, slow: int) -> None:
        """Count in the part of now."""
        self.advance(now)
        for counts in (self.parts[self.head % BUCKETS], self.totals):
            counts[0] += calls
            counts[1] += failed
            counts[2] += slow


class Machine:
    """One circuit in memory. `now` never goes back; counts are whole numbers."""

    def __init__(self, policy: CircuitPolicy, now: float = 0.0) -> None:
        self.policy = policy
        self.state = CircuitState.CLOSED
        self.generation = 0
        self.since = now
        #: When the time of an open circuit is over; None: never by itself.
        self.until: float | None = None
        #: Openings since it was closed last.
        self.openings = 0
        #: Failures since the last success.
        self.row = 0
        #: Calls per second before it opened.
        self.steady = 0.0
        self.history: list[Change] = []
        self._window = Window(policy.window / BUCKETS)
        #: calls, failed, slow of the probes so far; token -> end of its lease.
        self.probes = [0, 0, 0]
        self.leases: dict[str, float] = {}
        #: The return: tasks per second, tasks that may go by `_paced_at`; None: nothing returns.
        self._rate: float | None = None
        self._paced_at = now
        self._credit = 0.0
        self._returned_at = self._probed_at = -math.inf

    # -- the two ends of a call

    def admit(self, now: float, token: str = "") -> Answer:
        """May a call go through? In HALF_OPEN it holds a place under `token` then; asked again it holds the same."""
        changes = self._expire(now)
        if self.state in (CircuitState.CLOSED, CircuitState.DISABLED):
            return self._answer(now, True, changes)
        if self.state is not CircuitState.HALF_OPEN:
            return self._answer(now, False, changes)
        held = self.leases.get(token, -math.inf) > now
        if not held and self._free(now) > 0:
            forgotten = now - self.policy.permit_lease  # until then a probe is still heard
            self.leases = {one: end for one, end in self.leases.items() if end > forgotten}
            self.leases[token] = now + self.policy.permit_lease
            held = True
        return self._answer(now, held, changes)

    def report(
        self, now: float, generation: int, calls: int, failed: int = 0, slow: int = 0, token: str = ""
    ) -> Answer:
        """So many calls, admitted under `generation`, have ended: so many of them failed, so many were slow.

        With no calls it gives the place of `token` back. Probes report one by one, with their token.
        """
        changes = self.count(now, generation, calls, failed, slow, token)
        return self._answer(now, False, changes)

    def count(
        self, now: float, generation: int, calls: int, failed: int = 0, slow: int = 0, token: str = ""
    ) -> tuple[Change, ...]:
        """`report`, whose answer nobody wants: the transitions that it brought about."""
        changes = self._expire(now)
        if generation != self.generation:
            return changes
        if self.state is CircuitState.CLOSED and calls:
            self._window.add(now, calls, failed, slow)
            self.row = failed if calls > failed else self.row + failed
            changes += self._tripped(now)
            if failed and self._rate is not None:
                self._rate = max(self.policy.first_rate(self.steady), self._rate / 2)
        elif self.state is CircuitState.HALF_OPEN and self.leases.pop(token, None) is not None and calls:
            for n, count in enumerate((calls, failed, slow)):
                self.probes[n] += count
            changes += self._judged(now)
        return changes

    # -- by hand

    def set(self, now: float, event: CircuitEvent, seconds: float | None = None, **detail: Any) -> Answer:
        """What a person asked for; `seconds`: how long FORCED_OPEN lasts, None: until somebody says otherwise.

        Raises `IllegalTransition`.
        """
        changes = self._expire(now)
        changes += (self._move(now, event, **detail),)
        self.until = now + seconds if event is CircuitEvent.FORCE_OPEN and seconds is not None else None
        return self._answer(now, False, changes)

    # -- the return

    def pace(self, now: float, most: int) -> Pace:
        """How many of the tasks that wait for it may go back to their queues now, at most `most`."""
        if self.state is CircuitState.FORCED_OPEN and (self.until is None or self.until > now):
            return Pace(0, PROBE_PAUSE)
        if self.state in (CircuitState.OPEN, CircuitState.FORCED_OPEN) and self.until is not None and self.until > now:
            return Pace(0, min(self.until - now, PROBE_PAUSE))
        if self.state in (CircuitState.CLOSED, CircuitState.DISABLED):
            return self._returning(now, most)
        free = self._free(now) if self.state is CircuitState.HALF_OPEN else self.policy.half_open_permits
        if self._probed_at + PROBE_PAUSE > now or free <= 0:
            return Pace(0, PROBE_PAUSE)
        self._probed_at = now
        return Pace(min(free, most), PROBE_PAUSE)

    def _returning(self, now: float, most: int) -> Pace:
        """A token bucket whose rate doubles every `DOUBLING` seconds, up to the share that new calls leave."""
        if self._rate is None:  # it was never open, or closed by hand: the tasks still come one after the other
            self._rate, self._paced_at, self._credit = self.policy.first_rate(self.steady), now, 1.0
        passed = max(now - self._paced_at, 0.0)
        self._paced_at = now
        self._credit = min(self._credit + self._rate * passed, max(self._rate * BURST, 1.0))
        self._rate = min(self._rate * 2 ** min(passed / DOUBLING, 60), self.policy.top_rate(self.steady))
        count = min(int(self._credit), most)
        self._credit -= count
        if count:
            self._returned_at = now
        return Pace(count, LOOK if self._rate * LOOK >= 1 else min(1 / self._rate, PROBE_PAUSE))

    # -- what can be seen

    def counts(self, now: float) -> tuple[int, int, int]:
        """Calls, failed and slow ones: in the window, or of the probes while half open."""
        self._window.advance(now)
        calls, failed, slow = self.probes if self.state is CircuitState.HALF_OPEN else self._window.totals
        return calls, failed, slow

    def probing(self, now: float) -> int:
        """Places for probes that are held."""
        return sum(1 for end in self.leases.values() if end > now)

    @property
    def returning(self) -> float | None:
        """Tasks per second that return at present; None: none do."""
        return self._rate

    # -- within

    def _expire(self, now: float) -> tuple[Change, ...]:
        """The time that it was to be open may be over."""
        if self.until is not None and now >= self.until:  # only OPEN and FORCED_OPEN have an end
            return (self._move(now, CircuitEvent.WAIT_OVER),)
        return ()

    def _tripped(self, now: float) -> tuple[Change, ...]:
        """The shares of the window, and the failures in a row.

        Shares are divided, not multiplied out: 7 / 100 is what is written as 0.07, while 0.07 * 100 is more than 7.
        """
        calls, failed, slow = self._window.totals
        policy, event = self.policy, None
        if calls >= policy.minimum_calls and failed / calls >= policy.failure_rate_threshold:
            event = CircuitEvent.FAILURE_RATE
        elif calls >= policy.minimum_calls and slow / calls >= policy.slow_call_rate_threshold:
            event = CircuitEvent.SLOW_CALL_RATE
        elif policy.consecutive_failures is not None and self.row >= policy.consecutive_failures:
            event = CircuitEvent.CONSECUTIVE_FAILURES
        if event is None:
            return ()
        return (self._move(now, event, calls=calls, failed=failed, slow=slow),)

    def _judged(self, now: float) -> tuple[Change, ...]:
        """All probes have been heard of: by their shares it closes, or opens again."""
        calls, failed, slow = self.probes
        if calls < self.policy.half_open_permits:
            return ()
        bad = failed / calls >= self.policy.failure_rate_threshold
        bad = bad or slow / calls >= self.policy.slow_call_rate_threshold
        event = CircuitEvent.PROBES_FAILED if bad else CircuitEvent.PROBES_PASSED
        return (self._move(now, event, calls=calls, failed=failed, slow=slow),)

    def _move(self, now: float, event: CircuitEvent, **detail: Any) -> Change:
        """The one place where the state changes."""
        before, self.state = self.state, after(self.state, event)
        if before is CircuitState.CLOSED:
            self._remember_rate(now)
        self.generation += 1
        self.since, self.until, self.row = now, None, 0
        self._window, self.probes, self.leases = Window(self.policy.window / BUCKETS), [0, 0, 0], {}
        self._rate, self._probed_at = None, -math.inf
        if self.state is CircuitState.OPEN:
            self.openings += 1
            self.until = now + self.policy.open_for(self.openings)
        elif self.state is CircuitState.CLOSED:
            self.openings = 0
        if event is CircuitEvent.RESET:
            self.steady = 0.0
        change = Change(before, self.state, event, now, self.generation, "", detail)
        self.history.append(change)
        del self.history[:-HISTORY_LIMIT]
        return change

    def _remember_rate(self, now: float) -> None:
        """Calls per second while it was closed. While tasks return, more comes than usually comes."""
        if not self.steady or now - self._returned_at > self.policy.window:
            self._window.advance(now)
            self.steady = self._window.totals[0] / max(min(now - self.since, self.policy.window), 1.0)

    def _free(self, now: float) -> int:
        """Places for probes that nobody holds."""
        return self.policy.half_open_permits - self.probes[0] - self.probing(now)

    def _answer(self, now: float, permitted: bool, changes: tuple[Change, ...]) -> Answer:
        return Answer(permitted, self.state, self.generation, self._retry_after(now, permitted), changes)

    def _retry_after(self, now: float, permitted: bool) -> float | None:
        if permitted or self.state in (CircuitState.CLOSED, CircuitState.DISABLED):
            return 0.0
        if self.state is CircuitState.HALF_OPEN:
            ends = [end - now for end in self.leases.values() if end > now]
            return min(ends, default=0.0) if self._free(now) <= 0 else 0.0
        return None if self.until is None else max(self.until - now, 0.0)
