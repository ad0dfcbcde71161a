"""A circuit in the memory of this process: the machine, under a lock that is never held while anything else runs."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from celery_recovery.circuit.machine import Answer, Change, Machine
from celery_recovery.circuit.permit import Permit, Terms
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.view import CircuitView

__all__ = ("Known", "LocalCircuit", "new_token", "warn_abandoned")

logger = logging.getLogger("celery_recovery")

_CLOSED, _DISABLED = CircuitState.CLOSED, CircuitState.DISABLED


class Known(NamedTuple):
    """What is known of a circuit from elsewhere, to begin with."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    #: Seconds until its time is over; None: it has none.
    left: float | None = None


class LocalCircuit:
    """One circuit that only this process knows of. A forked child begins with a new one."""

    def __init__(self, terms: Terms, known: Known | None = None) -> None:
        self.terms = terms
        self._known = known or Known()
        self._forked = -math.inf
        self._begin()
        _circuits.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._abandoned: deque[Permit] = deque()
        self._warned = False
        self._latest = now = self.terms.clock()
        self._machine = machine = Machine(self.terms.policy, now)
        machine.state, machine.generation, left = self._known
        machine.until = None if left is None else now + left
        machine.openings = int(machine.state in (CircuitState.OPEN, CircuitState.HALF_OPEN))

    def begin_anew(self) -> None:
        """In a forked child: the lock, the places and the counts are the parent's."""
        self._forked = self.terms.clock()
        self._begin()

    # -- the two ends of a call

    def admit(self) -> Permit | Answer:
        """A permit, or the answer that refuses it."""
        machine, now = self._machine, self.terms.clock()
        # Without the lock: if it opens between the two reads, the permit is of a generation that counts nothing.
        if machine.state is _CLOSED or machine.state is _DISABLED:
            return Permit(self, machine.generation, now)
        if self._abandoned:
            self._take_back()
        token = new_token()
        answer = self._run(now, lambda at: machine.admit(at, token))
        if not answer.permitted:
            return answer
        return Permit(self, answer.generation, now, token if answer.state is CircuitState.HALF_OPEN else "")

    def end(self, permit: Permit, calls: int, failed: int, took: float | None) -> None:
        """Count it at once."""
        now = self.terms.clock()
        slow = calls if (now - permit.started if took is None else took) > self.terms.policy.slow_call_duration else 0
        with self._lock:
            if not permit.close_once() or permit.started < self._forked:
                return
            self._latest = now = max(now, self._latest)
            changes = self._machine.count(now, permit.generation, calls, failed, slow, permit.token)
        if changes:
            self._tell(changes)

    def count(self, generation: int, calls: int, failed: int = 0, slow: int = 0) -> None:
        """So many calls have ended that were let through elsewhere."""
        self._run(self.terms.clock(), lambda at: self._machine.report(at, generation, calls, failed, slow))

    def abandon(self, permit: Permit) -> None:
        """It is taken back before the next call is refused."""
        if permit.token:
            self._abandoned.append(_again(permit))

    # -- what can be seen, and done by hand

    def look(self) -> Answer:
        """What the circuit says of itself now."""
        if self._abandoned:
            self._take_back()
        return self._run(self.terms.clock(), lambda at: self._machine.report(at, self._machine.generation, 0))

    def view(self) -> CircuitView:
        """All that can be seen of it; times are on the clock, plus the epoch of the terms."""
        self.look()
        epoch, name = self.terms.epoch, self.terms.name
        with self._lock:
            machine, now = self._machine, self._latest
            calls, failed, slow = machine.counts(now)
            return CircuitView(
                name=name,
                state=machine.state,
                generation=machine.generation,
                since=machine.since + epoch,
                until=None if machine.until is None else machine.until + epoch,
                openings=machine.openings,
                calls=calls,
                failed=failed,
                slow=slow,
                row=machine.row,
                probing=machine.probing(now),
                steady=machine.steady,
                returning=machine.returning,
                history=tuple(change._replace(at=change.at + epoch) for change in reversed(machine.history)),
            )

    def set(self, event: CircuitEvent, seconds: float | None, reason: str) -> None:
        """By hand. Raises `IllegalTransition`."""
        detail = {"reason": reason} if reason else {}
        self._run(self.terms.clock(), lambda at: self._machine.set(at, event, seconds, **detail))

    def flush(self) -> None:
        """Nothing is kept back."""

    # -- within

    def _run(self, now: float, act: Callable[[float], Answer]) -> Answer:
        """Do something to the machine, at a time that does not go back, and tell of the transitions."""
        with self._lock:
            self._latest = now = max(now, self._latest)
            answer = act(now)
        if answer.changes:
            self._tell(answer.changes)
        return answer

    def _tell(self, changes: tuple[Change, ...]) -> None:
        epoch = self.terms.epoch
        self.terms.tell(tuple(change._replace(at=change.at + epoch) for change in changes))

    def _take_back(self) -> None:
        """Give back the places of permits that were dropped."""
        self._warned = self._warned or warn_abandoned(self.terms.name)
        with contextlib.suppress(IndexError):  # another thread takes them back, too
            while True:
                self._abandoned.popleft().release()


#: Of this process, to begin anew in a forked child.
_circuits: weakref.WeakSet[LocalCircuit] = weakref.WeakSet()


def new_token() -> str:
    """A name for a place that no other process gives."""
    return os.urandom(9).hex()


def warn_abandoned(name: str) -> bool:
    """Say, once for each circuit, that permits get lost; True."""
    logger.warning(
        "circuit %s: a permit was dropped without success(), failure(), record() or release(), and is taken back",
        name, extra={"action": "circuit_permit_dropped", "circuit": name},
    )  # fmt: skip
    return True


def _again(permit: Permit) -> Permit:
    """The same permit as a new object: one that is being collected must not be kept."""
    return Permit(permit._of, permit.generation, permit.started, permit.token, permit.scope)  # noqa: SLF001


def _begin_anew() -> None:
    for circuit in list(_circuits):
        circuit.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
