"""The success-rate monitor: counted in memory, written in batches, read over all processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring import counting as module
from celery_recovery.monitoring.counting import HOUR
from celery_recovery.monitoring.stats import BUCKET, Rate, SuccessRateMonitor
from celery_recovery.redis import Keys, connect

#: Longer than any test: only `flush` writes.
NEVER = 3600.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def monitor(redis_url: str) -> SuccessRateMonitor:
    return SuccessRateMonitor(connect(redis_url), Keys("shop"), interval=NEVER)


def hour(monitor: SuccessRateMonitor, task: str | None = None) -> list[Rate]:
    return monitor.rates(time.time() - 3600, task=task)


def test_outcomes(monitor):
    """Each outcome has its column, by task and error type; the recovery rate is of tasks that failed and have ended."""
    for _ in range(4):
        monitor.succeeded("a")
    for done in ("retry", "retry", "retry", "dead_letter", "manual_review", "fail", "snooze"):
        monitor.failed("a", ErrorType.NETWORK, done)
    monitor.recovered("a", ErrorType.NETWORK)
    monitor.watched("b", ErrorType.PARSING, "failed")
    assert monitor.flush()
    assert hour(monitor) == [
        Rate(task="a", error_type="network", attempts=7, recovered=1, retried=3, dead_lettered=2, failed=1, snoozed=1),
        Rate(task="a", error_type="", attempts=4, first_try=4),
        Rate(task="b", error_type="parsing", watched=1),
    ]
    assert hour(monitor)[0].recovery_rate == 0.25
    assert [rate.task for rate in hour(monitor, "b")] == ["b"]


def test_since(monitor):
    """Only the time asked for is counted, to the minute."""
    monitor.succeeded("a")
    monitor.flush()
    now = time.time()
    assert monitor.rates(now - 10 * BUCKET, now - 5 * BUCKET) == []
    assert monitor.rates(now - 5, now + 5)[0].attempts == 1


def test_one_batch(monitor):
    """However much was counted, a flush is one round trip, and without counts it is none."""
    for n in range(2000):
        monitor.succeeded(f"task-{n % 3}")
    monitor.flush()
    commands = monitor._client.info("commandstats")
    assert commands["cmdstat_exec"]["calls"] == 1
    assert commands["cmdstat_hincrby"]["calls"] == 9  # three tasks, in this minute, this hour and the totals
    monitor.flush()
    assert monitor._client.info("commandstats")["cmdstat_exec"]["calls"] == 1


@pytest.fixture(autouse=True)
def _fresh_statistics(redis_url: str) -> None:
    connect(redis_url).config_resetstat()


def test_expires(monitor):
    """Counts go by themselves after the retention."""
    monitor.retention = 100
    monitor.succeeded("a")
    monitor.flush()
    [key] = monitor._client.keys("*}:[0-9]*")
    assert 0 < monitor._client.ttl(key) <= 100 + HOUR


def test_threads(monitor):
    """Counts of many threads, with flushes in between, are all there."""

    def count() -> None:
        for n in range(5000):
            monitor.succeeded("a")
            if n % 500 == 0:
                monitor.flush()

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.flush()
    assert hour(monitor)[0].first_try == 30_000


def test_writes_by_itself(redis_url):
    """The first count starts the thread that writes."""
    monitor = SuccessRateMonitor(connect(redis_url), interval=0.05)
    monitor.succeeded("a")
    end = time.monotonic() + 10
    while not hour(monitor):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_forked(monitor):
    """A forked child counts and writes its own, and not once more what its parent had counted before."""
    monitor.succeeded("parent")
    child = os.fork()
    if child == 0:
        monitor.succeeded("child")
        os._exit(0 if monitor.flush() else 1)
    assert os.waitpid(child, 0)[1] == 0
    monitor.flush()
    assert {rate.task: rate.first_try for rate in hour(monitor)} == {"parent": 1, "child": 1}


def test_end_of_a_process(redis_url):
    """A process that ends in order loses nothing, however short it lived."""
    code = (
        "from celery_recovery.monitoring.stats import SuccessRateMonitor\n"
        "from celery_recovery.redis import connect\n"
        f"monitor = SuccessRateMonitor(connect({redis_url!r}), interval=3600)\n"
        "for _ in range(50): monitor.succeeded('a')\n"
    )
    run([executable, "-c", code], check=True, cwd=ROOT)
    assert hour(SuccessRateMonitor(connect(redis_url)))[0].first_try == 50


def test_redis_away(own_redis, caplog):
    """While Redis is away nothing raises, it is said once, and the counts are written when it is back."""
    monitor = SuccessRateMonitor(connect(own_redis.url()), interval=NEVER)
    own_redis.kill()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            monitor.succeeded("a")
            assert not monitor.flush()
    assert [record.action for record in caplog.records] == ["stats_wait"]
    with pytest.raises(StoreUnavailable):
        hour(monitor)
    own_redis.start()
    assert monitor.flush()
    assert hour(monitor)[0].first_try == 3


def test_bounded(own_redis, monkeypatch):
    """While Redis is away memory stays bounded: known counts go on, new ones beyond the limit are lost."""
    monkeypatch.setattr(module, "PENDING_LIMIT", 20)
    monitor = SuccessRateMonitor(connect(own_redis.url()), interval=NEVER)
    own_redis.kill()
    for n in range(500):
        monitor.succeeded(f"task-{n}")
        monitor.succeeded("task-0")
    monitor.flush()
    assert (len(monitor._counted), len(monitor._pending)) == (0, 20)
    assert max(monitor._pending.values()) == 501


def test_what_cannot_be_told_does_not_end_the_thread(redis_url):
    """An entry of the feed that nobody can write down costs no count, and the thread goes on."""

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    monitor = SuccessRateMonitor(connect(redis_url), interval=0.05)
    monitor.succeeded("a")
    monitor.feed(what="odd", odd=Odd())
    end = time.monotonic() + 10
    while not monitor._was_away:
        assert time.monotonic() < end
        time.sleep(0.02)
    monitor.succeeded("a")
    while not (found := hour(monitor)) or found[0].first_try < 2:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_count_that_redis_refuses_is_no_reason_to_count_the_others_twice(monitor, caplog):
    """What one command of the batch fails of, such as a key of another type, has left all others done."""
    monitor._client.set(monitor._keys.totals_of_rates, "no hash")
    for _ in range(3):
        monitor.succeeded("a")
        with caplog.at_level(logging.WARNING):
            assert monitor.flush()
    assert hour(monitor)[0].first_try == 3
    assert {record.action for record in caplog.records} == {"stats_lost"}


def test_no_room_for_a_thread(monitor, monkeypatch):
    """Counting does not raise, memory stays bounded, and the next count tries again."""
    start = threading.Thread.start

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "PENDING_LIMIT", 20)
    monkeypatch.setattr(threading.Thread, "start", full)
    for _ in range(50):
        monitor.succeeded("a")
    monitor.feed(what="retry")
    assert len(monitor._counted) < 20
    monkeypatch.setattr(threading.Thread, "start", start)
    monitor.interval = 0.05
    monitor.succeeded("a")
    end = time.monotonic() + 10
    while not hour(monitor):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_without_redis():
    """Without a client it counts for nothing, and nothing can be read."""
    monitor = SuccessRateMonitor(None)
    monitor.succeeded("a")
    assert monitor.flush()
    assert hour(monitor) == []
