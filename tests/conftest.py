"""Fixtures that the whole suite shares: real Redis, real RabbitMQ, real workers.

A service that cannot run here skips the test and says why; with `CELERY_RECOVERY_REQUIRE_SERVICES=1` it fails instead.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import hypothesis
import pytest
import redis
from celery import _state
from celery.app import builtins as _builtins  # noqa: F401  # shares tasks of its own as it is imported

from tests.services import RabbitServer, RedisServer, Service, Unavailable, Worker

S = TypeVar("S", bound=Service)

# How long one example takes says nothing here: the machine runs workers, servers and other people's builds beside it.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def no_tasks_for_other_tests() -> Iterator[None]:
    """What a test's app shares, which is Celery's default, every app that is made after it would have, too."""
    before = set(_state._on_app_finalizers)
    yield
    _state._on_app_finalizers &= before


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the run. A test that kills it uses `own_redis`."""
    yield from _running(RedisServer)


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    """One RabbitMQ for the run. A test that kills it uses `own_rabbit`."""
    yield from _running(lambda: RabbitServer(batch=32))


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for this test alone, which survives `kill` with all it had confirmed."""
    yield from _running(lambda: RedisServer(appendonly=True))


@pytest.fixture
def own_rabbit() -> Iterator[RabbitServer]:
    """A RabbitMQ for this test alone (about five seconds to start)."""
    yield from _running(RabbitServer)


@pytest.fixture(scope="session")
def _databases() -> Iterator[int]:
    return itertools.cycle(range(RedisServer.databases))


@pytest.fixture
def redis_url(redis_server: RedisServer, _databases: Iterator[int]) -> str:
    """Address of an empty database; numbers go round, so a straggler of the last test disturbs nobody."""
    url = redis_server.url(next(_databases))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def other_redis_url(redis_server: RedisServer, _databases: Iterator[int]) -> str:
    """A second empty database: for a result backend or a store apart from the broker."""
    url = redis_server.url(next(_databases))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of `redis_url`."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def rabbit_url(rabbit_server: RabbitServer) -> str:
    """Address of a virtual host that no test has used."""
    return rabbit_server.fresh_url()


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def broker_url(request: pytest.FixtureRequest) -> str:
    """Each broker in turn: the test runs once on Redis and once on RabbitMQ."""
    name = {"redis": "redis_url", "rabbitmq": "rabbit_url"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture
def worker() -> Iterator[Callable[..., Worker]]:
    """`worker("tests.apps.orders", pool="threads", env={…})` starts a worker and waits until it consumes.

    All are killed after the test; of a failed test the logs are shown.
    """
    started: list[Worker] = []

    def start(module: str, **options: Any) -> Worker:
        started.append(Worker(module, **options))
        return started[-1].wait_ready()

    yield start
    for one in started:
        one.kill()
        print(f"--- log of {one.name}\n{one.log}")  # noqa: T201 - pytest shows it when the test failed


def _running(make: Callable[[], S]) -> Iterator[S]:
    try:
        service = make()
    except Unavailable as missing:
        if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"a required service is missing: {missing}")
        pytest.skip(str(missing))
    with service:
        yield service
