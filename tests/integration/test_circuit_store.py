"""What the scripts of a circuit do beyond the machine: repeated calls, hosts, names, keys that end."""

from __future__ import annotations

import pytest
import redis

from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.store import CircuitStore, Reported, circuits

pytestmark = pytest.mark.redis

CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN
POLICY = CircuitPolicy(minimum_calls=2, open_duration=60)


def repeating(store):
    """The same store, each of whose scripts arrives twice, as one whose answer was lost."""
    run = store._run

    def twice(name, *arguments):
        run(name, *arguments)
        return run(name, *arguments)

    store._run = twice
    return store


def test_a_call_that_arrives_twice_counts_once(redis_client):
    """Successes that go along, failures, and what is done by hand."""
    store = repeating(CircuitStore(redis_client, "p", "x", CircuitPolicy(minimum_calls=100)))
    generation = store.admit("t").generation
    store.admit("t", done=Reported(generation, 3))
    store.report(generation, 2, 1)
    view = store.read()
    assert (view.calls, view.failed, view.row) == (5, 1, 1)
    store.set(CircuitEvent.FORCE_OPEN)
    store.set(CircuitEvent.HALF_OPEN)
    assert store.admit("t").permitted
    assert (store.read().probing, len(store.read().history)) == (1, 2)


def test_hosts_open_for_themselves_until_there_are_enough(redis_client):
    """One host that cannot reach it is the suspect; with the second, all are kept away."""
    hosts = [
        CircuitBreaker(
            "x", redis=redis_client, host=name, host_quorum=2, minimum_calls=2, freshness=0, open_duration=60
        )
        for name in ("one", "two", "three")
    ]
    for breaker in hosts[:1]:
        for _ in range(2):
            breaker.acquire().failure()
    assert [breaker.try_acquire() is None for breaker in hosts] == [True, False, False]
    assert hosts[2].metrics().hosts == {"one": OPEN}
    for _ in range(2):
        hosts[1].acquire().failure()
    assert [breaker.try_acquire() is None for breaker in hosts] == [True, True, True]
    assert hosts[2].metrics().history[0].cause is CircuitEvent.HOST_QUORUM
    hosts[2].close()
    assert all(breaker.try_acquire() is not None for breaker in hosts)
    assert hosts[2].metrics().hosts == {}


def test_names_are_known_while_they_are_in_use(redis_client):
    """Those of one prefix."""
    for prefix, name in (("p", "a"), ("p", "b"), ("q", "c")):
        CircuitStore(redis_client, prefix, name, POLICY).admit()
    assert sorted(circuits(redis_client, "p")) == ["a", "b"]


def test_what_is_not_used_goes_and_what_a_person_has_set_stays(redis_client):
    """A forced circuit does not come back by being forgotten."""
    store = CircuitStore(redis_client, "p", "x", POLICY)
    store.admit()
    assert 86400 <= redis_client.ttl("p:{circuit:x}:state") <= 2 * 86400
    store.set(CircuitEvent.FORCE_OPEN)
    assert redis_client.ttl("p:{circuit:x}:state") == -1
    store.set(CircuitEvent.CLOSE)
    assert redis_client.ttl("p:{circuit:x}:state") > 0


def test_all_keys_of_a_circuit_share_a_slot(redis_client):
    """As a cluster demands."""
    store = CircuitStore(redis_client, "p", "x", CircuitPolicy(minimum_calls=1, host_quorum=2), host="h")
    generation = store.admit().generation
    store.report(generation, 1, 1, scope="h")
    keys = [key.decode() for key in redis_client.scan_iter() if key != b"p:{circuits}"]
    assert len(keys) >= 4
    assert all(key.startswith("p:{circuit:x}:") for key in keys)


def test_reading_changes_nothing(redis_client):
    """Not even for a circuit that was never used."""
    assert CircuitStore(redis_client, "p", "x", POLICY).read().since == 0.0
    assert list(redis_client.scan_iter()) == []


def test_the_history_is_bounded(redis_client: redis.Redis):
    """The latest first."""
    store = CircuitStore(redis_client, "p", "x", POLICY)
    for _ in range(60):
        store.set(CircuitEvent.RESET, by="a person")
    history = store.read().history
    assert len(history) == 50
    generations = [change.generation for change in history]
    assert generations == sorted(set(generations), reverse=True)
    assert history[0].detail == {"by": "a person"}


def test_who_only_looks_goes_by_what_the_calls_named(redis_client):
    """A worker's main process, and the command line, may not know what a task says of its circuit."""
    policy = CircuitPolicy(minimum_calls=1, half_open_permits=1, open_duration=5, max_open_duration=7, return_rate=3)
    caller = CircuitStore(redis_client, "p", "x", policy)
    other = CircuitStore(redis_client, "p", "x", CircuitPolicy(half_open_permits=9, consecutive_failures=4))
    caller.admit()
    caller.clock = other.clock = redis_client.time()[0] + 1
    caller.report(caller.admit().generation, 1, 1)
    other.clock += 6
    assert other.pace(10).tasks == 1
    assert other.policy.as_known(other.read().settings) == policy
    other.set(CircuitEvent.FORCE_OPEN, 60)
    assert other.policy.as_known(other.read().settings) == policy
    caller = CircuitStore(redis_client, "p", "x", policy.replace(half_open_permits=2))
    caller.admit()
    assert other.policy.as_known(other.read().settings) == caller.policy


@pytest.mark.parametrize("quorum", [None, 2])
def test_forced_open_it_remembers_how_much_came(redis_client, quorum):
    """So that what waited returns at a share of that; with hosts, of what came on all of them."""
    stores = [
        CircuitStore(redis_client, "p", "x", CircuitPolicy(host_quorum=quorum), host=name) for name in ("one", "two")
    ]
    now = redis_client.time()[0]
    for second in range(10):
        for store in stores:
            store.clock = now + second
            answer = store.admit()
            store.report(answer.generation, 50, scope=answer.scope)
    stores[0].set(CircuitEvent.FORCE_OPEN)
    assert stores[0].read().steady == pytest.approx(100, rel=0.15)
    stores[0].set(CircuitEvent.RESET)
    assert stores[0].read().steady == 0
