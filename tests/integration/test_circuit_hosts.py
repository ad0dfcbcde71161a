"""A circuit with `host_quorum`, in lock step with a model: a machine for all, one for each host, and the witnesses."""

from __future__ import annotations

import itertools

import pytest
import redis
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from celery_recovery.circuit.machine import Answer, Machine
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState, IllegalTransition
from celery_recovery.circuit.store import CircuitStore

pytestmark = pytest.mark.redis

NUMBERS = itertools.count()
NAMES = ("one", "two", "three")
HOSTS = st.sampled_from(NAMES)
BY_HAND = ("force_open", "close", "half_open", "disable", "reset")

policies = st.builds(
    CircuitPolicy,
    minimum_calls=st.integers(1, 3),
    consecutive_failures=st.sampled_from([None, 2]),
    open_duration=st.sampled_from([1.0, 5.0]),
    half_open_permits=st.integers(1, 2),
    permit_lease=st.sampled_from([0.5, 30.0]),
    host_quorum=st.integers(1, 3),
)


class Fleet:
    """The model, from what the documentation says."""

    def __init__(self, policy: CircuitPolicy, now: float) -> None:
        self.policy = policy
        self.all = Machine(policy, now)
        self.hosts: dict[str, Machine] = {}
        #: Host -> until when it bears witness that the dependency is away.
        self.witnesses: dict[str, float] = {}

    def decides(self, host: str, now: float) -> Machine:
        """Who decides about a call of this host: the circuit of all and, when that is closed, the host's own."""
        self.all._expire(now)
        if self.all.state is not CircuitState.CLOSED:
            return self.all
        if host not in self.hosts:
            self.hosts[host] = Machine(self.policy, now)
        self.hosts[host]._expire(now)
        self._bear_witness()
        return self.hosts[host]

    def report(self, scope: str, machine: Machine, now: float, generation: int, failed: int, token: str) -> None:
        """One call has ended; `machine` had let it through, if anybody remembers it."""
        known = self.hosts.get(scope) if scope else self.all
        if known is not machine:
            if known is not None:
                known._expire(now)
                self._bear_witness()
            return
        was = machine.state
        machine.count(now, generation, 1, failed, 0, token)
        self._bear_witness()
        if machine is self.all:
            self.closes(was)
        elif machine.state is CircuitState.OPEN and was is not CircuitState.OPEN:
            self._heard(now)

    def closes(self, was: CircuitState, by_hand: bool = False) -> None:
        """When that of all closes, the hosts begin anew."""
        if self.all.state is CircuitState.CLOSED and (by_hand or was is not CircuitState.CLOSED):
            self.hosts.clear()
            self.witnesses.clear()

    def _heard(self, now: float) -> None:
        self.all._expire(now)
        enough = sum(until > now for until in self.witnesses.values()) >= (self.policy.host_quorum or 0)
        if enough and self.all.state is CircuitState.CLOSED:
            self.all._move(now, CircuitEvent.HOST_QUORUM)

    def _bear_witness(self) -> None:
        self.witnesses = {
            host: one.until for host, one in self.hosts.items()
            if one.state is CircuitState.OPEN and one.until is not None
        }  # fmt: skip


class Hosts(RuleBasedStateMachine):
    """The calls of three hosts, whose clock is one."""

    client: redis.Redis

    @initialize(policy=policies, begin=st.floats(1e6, 2e9))
    def begin(self, policy: CircuitPolicy, begin: float) -> None:
        self.now = begin
        self.fleet = Fleet(policy, begin)
        name = f"hosts-{next(NUMBERS)}"
        self.stores = {host: CircuitStore(self.client, "test", name, policy, host=host) for host in NAMES}
        #: Calls that have not ended: host, the machine that let it through, both generations, scope, token.
        self.calls: list[tuple[str, Machine, int, int, str, str]] = []
        self.tokens = itertools.count()
        self.admit("one")

    def store(self, host: str) -> CircuitStore:
        self.stores[host].clock = self.now
        return self.stores[host]

    def agree(self, host: str, expected: Answer, found: Answer) -> None:
        assert (found.permitted, found.state) == (expected.permitted, expected.state)
        assert found.retry_after == pytest.approx(expected.retry_after, abs=1e-6)
        assert found.scope == ("" if self.fleet.decides(host, self.now) is self.fleet.all else host)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(host=HOSTS)
    def admit(self, host: str) -> None:
        token = f"{host}-{next(self.tokens)}"
        machine = self.fleet.decides(host, self.now)
        expected, found = machine.admit(self.now, token), self.store(host).admit(token)
        self.agree(host, expected, found)
        if found.permitted:
            self.calls.append((host, machine, expected.generation, found.generation, found.scope, token))

    @rule(failed=st.integers(0, 1), which=st.integers(0, 5))
    def report(self, failed: int, which: int) -> None:
        if self.calls:
            host, machine, model, generation, scope, token = self.calls.pop(which % len(self.calls))
            self.fleet.report(scope, machine, self.now, model, failed, token)
            self.store(host).report(generation, 1, failed, token=token, scope=scope)
            self.fleet.decides(host, self.now)  # it answers a report as it does a question

    @rule(host=HOSTS, count=st.integers(1, 3))
    def fail(self, host: str, count: int) -> None:
        """Calls that fail at once."""
        for _ in range(count):
            before = len(self.calls)
            self.admit(host)
            if len(self.calls) > before:
                self.report(1, before)

    @rule(event=st.sampled_from(BY_HAND))
    def by_hand(self, event: str) -> None:
        cause, was = CircuitEvent(event), self.fleet.all.state
        try:
            self.fleet.all.set(self.now, cause)
        except IllegalTransition:
            with pytest.raises(IllegalTransition):
                self.store("one").set(cause)
        else:
            self.store("one").set(cause)
            self.fleet.closes(was, by_hand=True)
        self.now += 0.01  # what begins anew within the same millisecond has the same generation

    @invariant()
    def seen(self) -> None:
        view = self.stores["one"].read()
        assert view.state is self.fleet.all.state
        suspects = {host: one.state for host, one in self.fleet.hosts.items() if one.state is not CircuitState.CLOSED}
        assert view.hosts == suspects


def test_lock_step_with_hosts(redis_client: redis.Redis) -> None:
    """Whatever happens on which host in whatever order, scripts and model agree."""
    agreeing = type("Agreeing", (Hosts,), {"client": redis_client})
    run_state_machine_as_test(
        agreeing, settings=settings(max_examples=100, stateful_step_count=30, deadline=None, phases=[Phase.generate])
    )
