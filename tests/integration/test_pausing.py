"""A queue that serves one circuit is not consumed while that is open, and is consumed again when it may be probed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery

from celery_recovery.circuit.state import CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.worker import pausing
from tests.apps.jobs import Ledger
from tests.services import Worker, wait_until

MODULE = "tests.apps.pausing"
PAUSED, RESUMED = r"queue payments is paused", r"queue payments is consumed again"


class Site:
    """One broker, workers, and the circuit as they see it."""

    def __init__(self, start: Callable[..., Worker], broker: str, ledger: str) -> None:
        self._start, self._broker, self._url = start, broker, ledger
        self.ledger = Ledger(ledger)
        self._client = Celery("pausing-client", broker=broker, set_as_current=False)
        self._generation = 0

    def worker(self, *queues: str, **options: Any) -> Worker:
        env = {"CELERY_BROKER_URL": self._broker, "JOBS_LEDGER": self._url, **options.pop("env", {})}
        return self._start(MODULE, env=env, queues=queues or ("celery", "payments"), **options)

    def send(self, token: str, queue: str = "payments", seconds: float = 0.0) -> None:
        self._client.send_task(f"{MODULE}.note", (token, seconds), queue=queue)

    def state(self, state: str, lasts: float | None = None) -> None:
        self._generation += 1
        self.ledger.client.set("circuit:payments-api", json.dumps([state, self._generation, lasts]))

    def ran(self, token: str) -> bool:
        return bool(self.ledger.lines(token))

    def wait_ran(self, token: str, timeout: float = 30.0) -> None:
        wait_until(lambda: self.ran(token), timeout=timeout, what=f"{token} to run")

    def wait_looks(self, more: int = 3) -> None:
        """Until the workers have looked a few times more."""
        target = int(self.ledger.client.get("looks") or 0) + more
        wait_until(lambda: int(self.ledger.client.get("looks") or 0) >= target, what="a look at the circuit")


@pytest.fixture
def site(worker, broker_url, other_redis_url) -> Site:
    return Site(worker, broker_url, other_redis_url)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_paused_and_resumed(site, pool):
    """Open: messages stay in the queue, other queues go on. Closed: it is consumed again."""
    worker = site.worker(pool=pool)
    site.send("first")
    site.wait_ran("first")
    for n in (1, 2):
        site.state("open", 3600)
        assert worker.wait_log(PAUSED, count=n)
        site.send(f"held-{n}")
        site.send(f"other-{n}", "celery")
        site.wait_ran(f"other-{n}")
        site.wait_looks()
        assert not site.ran(f"held-{n}")
        site.state("closed")
        site.wait_ran(f"held-{n}")
    assert worker.stop() == 0
    assert worker.log.count("is paused") == worker.log.count("is consumed again") == 2


def test_resumes_soon(site):
    """From the moment that the circuit is closed it takes a second or so."""
    worker = site.worker("payments")
    site.state("forced_open")
    assert worker.wait_log(PAUSED)
    site.send("held")
    site.wait_looks()
    closed = time.time()
    site.state("closed")
    site.wait_ran("held")
    assert site.ledger.times("held")[0] - closed < 5  # 0.6 s on an idle machine


def test_time_is_over(site):
    """When the time of an open circuit is over the queue is consumed, though nobody has probed: somebody has to."""
    worker = site.worker()
    site.state("open", 3)
    assert worker.wait_log(PAUSED)
    site.send("probe")
    site.wait_ran("probe")
    assert worker.wait_log(RESUMED)
    site.wait_looks()
    site.state("open", 3600)  # its probe has failed
    assert worker.wait_log(PAUSED, count=2)


def test_never_added(site):
    """A queue that the worker was not told to consume is not consumed when the circuit closes."""
    worker = site.worker("celery")
    site.state("open", 3600)
    site.wait_looks()
    site.send("foreign")
    site.state("closed")
    site.wait_looks()
    site.send("own", "celery")
    site.wait_ran("own")
    assert not site.ran("foreign")
    assert "payments" not in worker.log.split("ready.", 1)[1]


def test_delivered_already(site):
    """What the worker has in hand when its queue is paused runs."""
    worker = site.worker(concurrency=1)
    for n in range(3):
        site.send(f"slow-{n}", seconds=2)
    site.wait_ran("slow-0")
    wait_until(lambda: worker.log.count("received") == 3, what="all to be prefetched")
    site.state("open", 3600)
    assert worker.wait_log(PAUSED)
    site.wait_ran("slow-2")


def test_warm_shutdown(site):
    """A worker that is stopped meanwhile leaves the queue as it is, for others."""
    worker = site.worker()
    site.state("open", 3600)
    assert worker.wait_log(PAUSED)
    site.send("held")
    assert worker.stop() == 0
    assert not site.ran("held")
    site.state("closed")
    site.worker()
    site.wait_ran("held")


def test_redis_away(site):
    """Without a word from the circuits' Redis the queue is consumed again after a while, not paused for ever."""
    worker = site.worker(env={"PATIENCE": "2"})
    site.state("forced_open")
    assert worker.wait_log(PAUSED)
    site.send("held")
    site.ledger.client.set("away", 1)
    assert worker.wait_log(RESUMED + r".*does not answer")
    site.wait_ran("held")


@pytest.mark.faults
@pytest.mark.parametrize("broker", [pytest.param("redis", marks=pytest.mark.redis), "rabbit"])
def test_reconnect(worker, request, redis_url, broker):
    """A broker that was away meanwhile changes nothing: paused it stays, and comes back when the circuit closes."""
    server = request.getfixturevalue(f"own_{broker}")
    site = Site(worker, server.url(), redis_url)
    one = site.worker()
    site.state("open", 3600)
    assert one.wait_log(PAUSED)
    server.kill()
    assert one.wait_log("Connection to broker lost|Cannot connect to")
    server.start()
    wait_until(lambda: _sent(site, "held", "payments"), timeout=60, what="the broker to take a message")
    site.send("other", "celery")
    site.wait_ran("other", timeout=60)
    site.wait_looks()
    assert not site.ran("held")
    site.state("closed")
    site.wait_ran("held")


def _sent(site: Site, token: str, queue: str) -> bool:
    try:
        site.send(token, queue)
    except (OSError, redis.RedisError, site._client.connection().connection_errors):
        return False
    return True


class Seen:
    """A circuit that says what it is told to, and a clock."""

    def __init__(self) -> None:
        self.now, self.answer = 100.0, ("closed", 0, None)

    def __call__(self, name: str) -> CircuitView:
        if self.answer is None:
            raise StoreUnavailable
        state, generation, lasts = self.answer
        return CircuitView(
            name=name, state=CircuitState(state), generation=generation, since=1e9,
            until=None if lasts is None else 1e9 + lasts, openings=0, calls=0, failed=0, slow=0, row=0, probing=0,
            steady=0.0, returning=None,
        )  # fmt: skip


def test_watch():
    """Open for its time, from when it was first seen; a new generation begins anew; half open and disabled are not."""
    seen = Seen()
    watch = pausing.Watch(seen, lambda: seen.now)
    wanted = []
    for later, answer in (
        (0, ("closed", 0, None)), (1, ("open", 1, 5)), (4, ("open", 1, 5)), (1, ("open", 1, 5)), (9, ("open", 1, 5)),
        (1, ("half_open", 2, None)), (1, ("open", 3, 10)), (9, ("open", 3, 10)), (1, ("forced_open", 4, None)),
        (9e6, ("forced_open", 4, None)), (1, ("disabled", 5, None)),
    ):  # fmt: skip
        seen.now += later
        seen.answer = answer
        wanted.append(watch.look("x")[0])
    assert wanted == [False, True, True, False, False, False, True, True, True, True, False]


def test_watch_without_redis():
    """What was seen last holds for a while, and no longer; an answer begins anew."""
    seen = Seen()
    watch = pausing.Watch(seen, lambda: seen.now)
    seen.answer = None
    assert not watch.look("x")[0]
    seen.answer = ("forced_open", 1, None)
    assert watch.look("x")[0]
    seen.answer = None
    seen.now += pausing.PATIENCE - 1
    assert watch.look("x")[0]
    seen.now += 1
    assert not watch.look("x")[0]
    seen.answer = ("forced_open", 1, None)
    assert watch.look("x")[0]
