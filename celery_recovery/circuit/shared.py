"""A circuit that all processes share in Redis, answered for from memory as far as it is known.

    CLOSED, OPEN    what Redis said last holds for `freshness` seconds: no round trip, neither to let through nor to
                    refuse. A success is counted here and goes along with the next question; a failure, or a slow call,
                    is reported at once, and brings back the state that it led to
    HALF_OPEN       each call asks, because each needs a place
    Redis away      this process goes by a circuit of its own, which begins in the state that was known last; Redis is
                    asked again after a rest (`outage.py`)

Times are on the clock of this process, and only differences of them count; Redis sends seconds that are left.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import socket
import threading
import weakref
from collections import deque
from typing import Any, NamedTuple

import redis as redis_py

from celery_recovery.circuit.local import Known, LocalCircuit, new_token, warn_abandoned
from celery_recovery.circuit.machine import Answer
from celery_recovery.circuit.outage import outage_of
from celery_recovery.circuit.permit import Permit, Terms
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.store import CircuitStore, Reported
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import ConfigurationError, StoreUnavailable
from celery_recovery.redis.client import connect

__all__ = ("TIMEOUT", "SharedCircuit", "client_for")

#: Seconds to wait for Redis: a call stands still meanwhile.
TIMEOUT = 1.0

_PASSING = (CircuitState.CLOSED, CircuitState.DISABLED)
_REFUSING = (CircuitState.OPEN, CircuitState.FORCED_OPEN)


class Snapshot(NamedTuple):
    """What Redis said last, on this process's clock."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = -1
    scope: str = ""
    #: When it was asked; it is as old as that.
    asked: float = -math.inf
    #: Until when it holds.
    fresh_until: float = -math.inf
    #: When the time of an open circuit is over; None: it has none.
    ends: float | None = None

    @property
    def counted_under(self) -> tuple[int, str]:
        """What successes of calls that it let through are reported under."""
        return self.generation, self.scope

    def left(self, now: float) -> float | None:
        """Seconds until its time is over."""
        return None if self.ends is None else max(self.ends - now, 0.0)


class SharedCircuit:
    """One circuit in Redis, as this process sees it. The lock is never held while Redis is asked."""

    def __init__(self, terms: Terms, store: CircuitStore, client: Any) -> None:
        self.terms = terms
        self._store = store
        self._outage = outage_of(client)
        self._forked = -math.inf
        self._begin()
        _circuits.add(self)

    @classmethod
    def of(cls, terms: Terms, redis: Any, prefix: str, host: str | None) -> SharedCircuit:
        """One for a client or a URL. Raises ConfigurationError."""
        client, host = client_for(redis), host or socket.gethostname()
        store = CircuitStore(client, prefix, terms.name, terms.policy, host=host, by=f"{host}:{os.getpid()}")
        return cls(terms, store, client)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._abandoned: deque[Permit] = deque()
        self._warned = False
        self._snapshot = Snapshot()
        #: Successes counted and not yet reported, all under the snapshot's generation and scope.
        self._pending = 0
        #: The circuit of this process alone, while Redis is away.
        self._alone: LocalCircuit | None = None

    def begin_anew(self) -> None:
        """In a forked child: what the parent counted, and the places it holds, are the parent's."""
        self._forked = self.terms.clock()
        self._begin()

    # -- the two ends of a call

    def admit(self) -> Permit | Answer:
        """A permit, or the answer that refuses it."""
        now, known = self.terms.clock(), self._snapshot
        if now < known.fresh_until:
            if known.state in _PASSING:
                return Permit(self, known.generation, now, "", known.scope)
            return Answer(False, known.state, known.generation, known.left(now), (), known.scope)
        return self._ask(now)

    def end(self, permit: Permit, calls: int, failed: int, took: float | None) -> None:
        """A success in a closed circuit is counted; all else is reported."""
        now = self.terms.clock()
        slow = calls if (now - permit.started if took is None else took) > self.terms.policy.slow_call_duration else 0
        with self._lock:
            if not permit.close_once() or permit.started < self._forked or not (calls or permit.token):
                return
            done = self._done(permit, calls, failed, slow, now)
        if done is not None:
            self._report(done, failed, slow, permit.token)

    def _done(self, permit: Permit, calls: int, failed: int, slow: int, now: float) -> Reported | None:
        """What is to be reported now, with all that is pending; under the lock."""
        known = self._snapshot
        if permit.token:
            return Reported(permit.generation, calls, permit.scope)
        if (permit.generation, permit.scope) != known.counted_under:
            return Reported(permit.generation, calls, permit.scope) if failed or slow else None
        self._pending += calls
        if not failed and not slow and self._alone is None and now - known.asked < self.terms.policy.freshness:
            return None
        pending, self._pending = self._pending, 0
        return Reported(known.generation, pending, known.scope)

    def abandon(self, permit: Permit) -> None:
        """It is taken back with the next question."""
        if permit.token:
            self._abandoned.append(Permit(self, permit.generation, permit.started, permit.token, permit.scope))

    # -- what can be seen, and done by hand

    def look(self) -> Answer:
        """What the circuit says of itself now."""
        self.flush()
        self._take_back()
        return self._report(Reported(self._snapshot.generation, 0, ""))

    def view(self) -> CircuitView:
        """All that can be seen of it; while Redis is away, what this process knows."""
        self.look()  # its time may be over, which reading alone does not notice
        if not self._outage.resting:
            try:
                return self._store.read()
            except StoreUnavailable as exc:
                self._outage.failed(exc)
        return self._by_itself().view()

    def set(self, event: CircuitEvent, seconds: float | None, reason: str) -> None:
        """By hand. Raises `IllegalTransition`, and `StoreUnavailable`: the others would not know."""
        self.flush()
        asked = self.terms.clock()
        try:
            answer = self._store.set(event, seconds, reason=reason)
        except StoreUnavailable as exc:
            self._outage.failed(exc)
            raise
        self._learn(answer, asked)

    def flush(self) -> None:
        """Report the successes that are counted and not yet reported."""
        done = self._take_pending()
        if done is not None:
            self._report(done)

    # -- asking

    def _ask(self, now: float) -> Permit | Answer:
        """One round trip, with the successes that are pending."""
        self._take_back()
        done, token = self._take_pending(), new_token()
        if not self._outage.resting:
            try:
                answer = self._store.admit(token, done=done)
            except StoreUnavailable as exc:
                self._outage.failed(exc)
            else:
                self._learn(answer, now)
                return self._permit(answer, token)
        alone = self._by_itself()
        if done is not None:
            alone.count(done.generation, done.calls)
        return alone.admit()

    def _permit(self, answer: Answer, token: str) -> Permit | Answer:
        if not answer.permitted:
            return answer
        token = token if answer.state is CircuitState.HALF_OPEN else ""
        return Permit(self, answer.generation, self.terms.clock(), token, answer.scope)

    def _report(self, done: Reported, failed: int = 0, slow: int = 0, token: str = "") -> Answer:
        """One round trip; while Redis is away, to the circuit of this process."""
        asked = self.terms.clock()
        if not self._outage.resting:
            try:
                answer = self._store.report(done.generation, done.calls, failed, slow, token, done.scope)
            except StoreUnavailable as exc:
                self._outage.failed(exc)
            else:
                self._learn(answer, asked)
                return answer
        alone = self._by_itself()
        alone.count(done.generation, done.calls, failed, slow)
        return alone.look()

    def _learn(self, answer: Answer, asked: float) -> None:
        """What Redis says is known from when it was asked; an answer that was overtaken is not."""
        self._outage.answered()
        with self._lock:
            if asked >= self._snapshot.asked:
                known = self._known_from(answer, asked)
                if known.counted_under != self._snapshot.counted_under:
                    self._pending = 0  # they are late: Redis would not count them
                self._snapshot = known
                self._alone = None
        if answer.changes:
            self.terms.tell(answer.changes)

    def _known_from(self, answer: Answer, asked: float) -> Snapshot:
        policy, ends = self.terms.policy, None
        fresh_until = asked + policy.freshness
        if answer.state in _REFUSING and answer.retry_after is not None:
            ends = asked + answer.retry_after
            fresh_until = min(fresh_until, ends)
        if answer.state is CircuitState.HALF_OPEN:
            fresh_until = -math.inf
        if policy.host_quorum is not None and answer.state in _PASSING and not answer.permitted:
            fresh_until = -math.inf  # the answer to a report is that of one record; a question goes to both
        return Snapshot(answer.state, answer.generation, answer.scope, asked, fresh_until, ends)

    # -- within

    def _take_pending(self) -> Reported | None:
        with self._lock:
            pending, self._pending = self._pending, 0
            known = self._snapshot
        return Reported(known.generation, pending, known.scope) if pending else None

    def _by_itself(self) -> LocalCircuit:
        """The circuit of this process, beginning where the shared one was seen last."""
        alone = self._alone
        if alone is None:
            known = self._snapshot
            left = known.left(self.terms.clock())
            made = LocalCircuit(self.terms, Known(known.state, known.generation, left))
            with self._lock:
                self._alone = alone = self._alone or made
                self._snapshot = known._replace(fresh_until=-math.inf)
        return alone

    def _take_back(self) -> None:
        """Give back the places of permits that were dropped."""
        if not self._abandoned:
            return
        self._warned = self._warned or warn_abandoned(self.terms.name)
        with contextlib.suppress(IndexError):  # another thread takes them back, too
            while True:
                self._abandoned.popleft().release()


def client_for(redis: Any) -> Any:
    """A client for a URL, with short timeouts; one that was given, or its like that answers in bytes.

    Raises ConfigurationError.
    """
    if isinstance(redis, str):
        try:
            return connect(redis, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        except ValueError as exc:
            raise ConfigurationError(f"circuit.redis: {exc}") from exc
    if not hasattr(redis, "register_script"):
        raise ConfigurationError.of("circuit.redis", expected="a Redis client, a URL or None", got=type(redis))
    pool = getattr(redis, "connection_pool", None)
    if pool is None or not pool.connection_kwargs.get("decode_responses"):
        return redis
    options = {**pool.connection_kwargs, "decode_responses": False}
    return redis_py.Redis(connection_pool=redis_py.ConnectionPool(pool.connection_class, **options))


#: Of this process: to be flushed when it ends, and to begin anew in a forked child.
_circuits: weakref.WeakSet[SharedCircuit] = weakref.WeakSet()


def _flush_all() -> None:
    for circuit in list(_circuits):
        circuit.flush()


def _begin_anew() -> None:
    for circuit in list(_circuits):
        circuit.begin_anew()


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
