"""What a shared circuit does when its Redis is a cluster, full, read-only, restarted, or forgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.budget import RetryBudget
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.store import CircuitStore, circuits
from celery_recovery.exceptions import CircuitOpen, StoreUnavailable
from celery_recovery.redis.client import connect
from tests.services import RedisServer, Unavailable, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.faults]

POLICY = CircuitPolicy(minimum_calls=2, open_duration=60, freshness=0)


@pytest.fixture
def cluster() -> Iterator[redis.RedisCluster]:
    """Two nodes, which have half of the slots each: a script that strays is refused."""
    try:
        nodes = [RedisServer(options=("--cluster-enabled", "yes")) for _ in range(2)]
    except Unavailable as missing:
        pytest.skip(str(missing))
    with nodes[0], nodes[1]:
        for node, slots in zip(nodes, ((0, 8191), (8192, 16383)), strict=True):
            with redis.Redis.from_url(node.url()) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
                if node is nodes[1]:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        for node in nodes:
            with redis.Redis.from_url(node.url()) as client:
                wait_until(
                    lambda client=client: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
                    what="the cluster",
                )
        with redis.RedisCluster(host="127.0.0.1", port=nodes[0].port) as client:
            yield client


def test_a_cluster(cluster: redis.RedisCluster) -> None:
    """Every script stays in its slot, whatever the name; each name has its own."""
    for name in ("a", "b", "payments-api", "ünïcode"):
        breaker = CircuitBreaker(name, POLICY, redis=cluster, host="one", host_quorum=1)
        for _ in range(2):
            breaker.acquire().failure()
        with pytest.raises(CircuitOpen):
            breaker.acquire()
        breaker.half_open()
        breaker.acquire().success()
        assert breaker.metrics().state is CircuitState.HALF_OPEN
        breaker.reset()
        CircuitStore(cluster, "celery-recovery", name, POLICY).pace(5)
        budget = RetryBudget(name, redis=cluster)
        budget.deposit()
        assert budget.withdraw()
        assert budget.read().shared
    assert circuits(cluster, "celery-recovery") == ["a", "b", "payments-api", "ünïcode"]


def refuse(client: redis.Redis, how: str) -> None:
    if how == "full":
        client.config_set("maxmemory", 1)
    else:
        client.replicaof("127.0.0.1", 1)


def accept(client: redis.Redis) -> None:
    client.config_set("maxmemory", 0)
    client.replicaof("NO", "ONE")


@pytest.mark.parametrize("how", ["full", "replica"])
def test_a_redis_that_takes_nothing(own_redis: RedisServer, how: str) -> None:
    """As if it were away: the process decides by itself, nobody is told of an error, and nothing is half written."""
    with connect(own_redis.url()) as client:
        breaker = CircuitBreaker("x", POLICY, redis=client)
        breaker.acquire().success()
        breaker.acquire().success()
        breaker.flush()
        store = CircuitStore(client, "celery-recovery", "x", POLICY)
        before = client.hgetall(store.keys.record())
        refuse(client, how)
        for _ in range(2):
            breaker.acquire().failure()
        with pytest.raises(CircuitOpen):
            breaker.acquire()
        for act in (lambda: store.pace(1), lambda: store.set(CircuitEvent.FORCE_OPEN)):
            with pytest.raises(StoreUnavailable):
                act()
        accept(client)
        assert client.hgetall(store.keys.record()) == before
        assert store.read().state is CircuitState.CLOSED
        wait_until(lambda: breaker.state is CircuitState.CLOSED, timeout=20, what="the shared circuit again")


def test_a_restart_and_a_flush(own_redis: RedisServer) -> None:
    """A forgotten script is sent again; a forgotten circuit is closed, and late reports do not count for it."""
    with connect(own_redis.url()) as client:
        store = CircuitStore(client, "p", "x", POLICY)
        generation = store.admit().generation
        client.script_flush()
        store.report(generation, 1, 1)
        own_redis.kill()
        own_redis.start()
        assert store.read().failed == 1  # it had been confirmed
        client.flushall()
        assert store.report(generation, 5, 5).state is CircuitState.CLOSED
        answer = store.admit()
        assert answer.generation > generation
        assert store.read().calls == 0
