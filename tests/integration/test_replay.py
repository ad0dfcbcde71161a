"""Replays that are killed, and replays that keep to a rate: nothing lost, nothing twice, on time."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.pace import Pace
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.redis import connect
from tests.letters import DIED_AT, letter

LETTERS = 2000
#: Short, so that a test need not wait for the leases of killed replays.
LEASE = 0.4
RAN = "ran"
_RECOVERED = Filter(state=(LetterState.RECOVERED,))
#: Forked from a process without threads: one of them may hold a lock at that moment, which the child waits for in vain.
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(["pytest", "tests.integration.test_replay"])


def store_at(url: str) -> DeadLetterStore:
    return DeadLetterStore(connect(url))


def replay_all(broker: str, store: str, lease: float = LEASE) -> None:
    """One run of the operator's command, in a process of its own."""
    app = Celery("shop", broker=broker, set_as_current=False)
    DeadLetterQueue(app, store_at(store), Publisher(app, timeout=10)).replay(Filter(), lease=lease)


def work(broker: str, store_url: str) -> None:
    """A worker as small as can be: asks the store about each message, and notes the ids of those it ran."""
    app = Celery("shop", broker=broker, set_as_current=False)
    store, ledger = store_at(store_url), Redis.from_url(store_url, db=63)
    with app.connection_for_read() as connection:
        queue = app.amqp.queues["celery"](connection.default_channel)
        queue.declare()
        while True:
            message = queue.get(no_ack=False)
            if message is None:
                time.sleep(0.002)
                continue
            replay = message.headers["recovery"]["replay"]
            if store.started(message.headers["id"], replay["token"], replay["copy"]) == "run":
                ledger.rpush(RAN, message.headers["id"])
                store.recovered(message.headers["id"], replay["copy"])
            else:
                ledger.incr("twins")
            message.ack()


@pytest.fixture
def shop(redis_url: str, other_redis_url: str) -> Any:
    """Broker and store with letters in it, and a ledger that is empty."""
    store = store_at(other_redis_url)
    ids = [f"task-{n:04}" for n in range(LETTERS)]
    store.add_many([letter(task_id, died_at=DIED_AT + n) for n, task_id in enumerate(ids)])
    Redis.from_url(other_redis_url, db=63).delete(RAN, "twins")
    return redis_url, other_redis_url, store, ids


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(shop, seed):
    """However often a replay is killed and run again, every letter runs, and every letter runs exactly once."""
    broker, store_url, store, ids = shop
    dice = random.Random(seed)
    worker = fork.Process(target=work, args=(broker, store_url))
    worker.start()
    kills = 0
    try:
        while kills < 200:
            run = fork.Process(target=replay_all, args=(broker, store_url))
            run.start()
            run.join(dice.uniform(0.005, 0.12) if kills < 25 else 60)
            if run.exitcode is not None:
                assert run.exitcode == 0
                break
            os.kill(run.pid, signal.SIGKILL)
            run.join()
            kills += 1
        _wait_for(lambda: store.count(_RECOVERED) == LETTERS)
    finally:
        worker.kill()
        worker.join()
    ledger = Redis.from_url(store_url, db=63)
    assert Counter(task_id.decode() for task_id in ledger.lrange(RAN, 0, -1)) == Counter(ids)
    assert kills >= 10
    assert store.stats().by_state["recovered"] == LETTERS


class _Dying(DeadLetterStore):
    """A store whose process is killed at a named point of the first batch of a replay."""

    point = ""

    def _reach(self, point: str) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def claim(self, *args: Any, **options: Any) -> Any:
        claims = super().claim(*args, **options)
        self._reach("claimed")
        return claims

    def published(self, *args: Any) -> int:
        self._reach("published")
        noted = super().published(*args)
        self._reach("marked")
        return noted


def replay_until(point: str, broker: str, store_url: str) -> None:
    """The operator's command, killed at that point."""
    app = Celery("shop", broker=broker, set_as_current=False)
    store = _Dying(connect(store_url))
    store.point = point
    DeadLetterQueue(app, store, Publisher(app, timeout=10)).replay(Filter(), lease=LEASE)


@pytest.mark.faults
@pytest.mark.parametrize(("point", "twins"), [("claimed", 0), ("published", 100), ("marked", 0)])
def test_killed_at(shop, point, twins):
    """Killed at each point of its work and run again: every letter runs once, and just the copies too many do not."""
    broker, store_url, _, ids = shop
    killed = fork.Process(target=replay_until, args=(point, broker, store_url))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    replay_all(broker, store_url)
    assert Redis.from_url(broker).llen("celery") == LETTERS + twins
    worker = fork.Process(target=work, args=(broker, store_url))
    worker.start()
    ledger = Redis.from_url(store_url, db=63)
    _wait_for(lambda: ledger.llen(RAN) + int(ledger.get("twins") or 0) == LETTERS + twins)
    worker.kill()
    worker.join()
    assert Counter(task_id.decode() for task_id in ledger.lrange(RAN, 0, -1)) == Counter(ids)
    assert int(ledger.get("twins") or 0) == twins


def _wait_for(done: Any, seconds: float = 80) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the worker did not get through"
        time.sleep(0.02)


@pytest.mark.faults
def test_two_operators(shop):
    """Two operators who replay the same letters at the same time share them."""
    broker, store_url, store, _ = shop
    # nobody dies here, so no lease may end: one that is only slow would lose its letters
    runs = [fork.Process(target=replay_all, args=(broker, store_url, 5.0)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert store.count(Filter(state=(LetterState.REPLAYED,))) == LETTERS
    assert Redis.from_url(broker).llen("celery") == LETTERS


@pytest.mark.parametrize("rate", [100, 700])
def test_rate(shop, rate):
    """A replay keeps to its rate within 2 %, and is never ahead of it; on a busy machine, in one of three tries."""
    broker, _, store, _ = shop
    app = Celery("shop", broker=broker, set_as_current=False)
    count, tries = rate * 2, []
    states = Filter(state=(LetterState.FAILED, LetterState.REPLAYED))
    for _ in range(3):
        clocked = _Clocked(Publisher(app, timeout=5))
        DeadLetterQueue(app, store, clocked).replay(states, rate=rate, limit=count)
        since = [moment - clocked.times[0] for moment in clocked.times]
        tries.append(((count - 1) / since[-1], max(n / rate - moment for n, moment in enumerate(since))))
        if tries[-1][0] == pytest.approx(rate, rel=0.02) and tries[-1][1] < 0.005:
            return
    pytest.fail(f"{rate} a second were asked for; (kept, seconds ahead at most): {tries}")


class _Clocked:
    """A publisher that notes when."""

    def __init__(self, inner: Publisher) -> None:
        self.inner = inner
        self.times: list[float] = []
        self.producer = inner.producer

    def publish(self, body: bytes, **options: Any) -> None:
        self.times.append(time.monotonic())
        self.inner.publish(body, **options)


class _Clock:
    """Time that passes only while someone sleeps, or when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class TestPace:
    def test_no_drift(self):
        """The time that the events themselves take does not add up."""
        clock = _Clock()
        pace = Pace(10, clock, clock.sleep)
        for _ in range(50):
            pace.wait()
            clock.now += 0.03
            pace.done()
        assert clock.now == pytest.approx(100 + 49 * 0.1 + 0.03)

    def test_no_burst(self):
        """After a long stall the missed events are not made up for all at once."""
        clock = _Clock()
        pace = Pace(10, clock, clock.sleep)
        pace.wait()
        pace.done()
        clock.now += 60
        times = []
        for _ in range(3):
            pace.wait()
            times.append(clock.now)
            pace.done()
        assert times == pytest.approx([160, 160.1, 160.2])

    def test_late(self):
        """Events that are late are due together, and not one more."""
        clock = _Clock()
        pace = Pace(10, clock, clock.sleep)
        pace.wait()
        pace.done()
        clock.now += 0.45
        pace.wait()
        assert [pace.due(100), pace.due(2)] == [4, 2]
        pace.done(4)
        pace.wait()
        assert clock.now == pytest.approx(100.5)

    def test_idle(self):
        """Whoever waits long is asked about once a second, and may break off before the next event."""
        clock, asked = _Clock(), []
        pace = Pace(0.2, clock, clock.sleep, idle=lambda: asked.append(clock.now))
        pace.wait()
        pace.done()
        pace.wait()
        assert clock.now == pytest.approx(105)
        assert asked == pytest.approx([101, 102, 103, 104])

    def test_no_limit(self):
        """Without a rate everything is due at once."""
        assert Pace(None).due(100) == 100

    def test_waiting_uses_nothing_up(self):
        """An event stays due until it is done."""
        clock = _Clock()
        pace = Pace(10, clock, clock.sleep)
        for _ in range(5):
            pace.wait()
        assert clock.now == 100
