"""Redis broker: whatever dies, pauses or is cut off, every message runs, and none is taken from a living worker."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from celery_recovery.identity import Identity
from celery_recovery.worker.holding import Holding, Keys
from celery_recovery.worker.reaper import Reaper
from tests.apps.jobs import Ledger
from tests.integration.jobs_client import eventually
from tests.services import RedisServer, Worker

pytestmark = [pytest.mark.redis, pytest.mark.faults]

MODULE = "tests.apps.leases"
ELSEWHERE = {"LEASES_ELSEWHERE": "1"}


class Fleet:
    """One broker, one ledger, workers as many as the test starts."""

    def __init__(self, start: Callable[..., Worker], broker: str, ledger: str, **conf: Any) -> None:
        from celery import Celery

        self._start, self.broker, self.ledger_url, self.conf = start, broker, ledger, conf
        self.ledger = Ledger(ledger)
        self.client = redis.Redis.from_url(broker)
        self.app = Celery("leases-client", broker=broker, set_as_current=False)
        self.app.conf.update(conf)

    def worker(self, *, plain: bool = False, conf: dict[str, Any] | None = None, **options: Any) -> Worker:
        env = {
            "CELERY_BROKER_URL": self.broker,
            "JOBS_LEDGER": self.ledger_url,
            "JOBS_CONF": json.dumps({**self.conf, **(conf or {})}),
            **({"LEASES_PLAIN": "1"} if plain else {}),
            **options.pop("env", {}),
        }
        return self._start(MODULE, env=env, **options)

    def send(self, name: str, *args: Any, **options: Any) -> None:
        self.app.send_task(f"{MODULE}.{name}", args=args, **options)

    def starts(self, token: str) -> list[str]:
        return [line for line in self.ledger.lines(token) if line.startswith("start")]

    def ended(self, *tokens: str) -> bool:
        return all("end" in self.ledger.lines(token) for token in tokens)

    def held(self) -> int:
        """How many messages all workers hold."""
        prefix = self.conf.get("broker_transport_options", {}).get("global_keyprefix", "")
        keys = self.client.keys(f"{prefix}unacked.held.*")
        return sum(1 for key in keys for field in self.client.hkeys(key) if field != b"next")


@pytest.fixture
def fleet(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Fleet:
    return Fleet(worker, redis_url, other_redis_url)


@pytest.fixture
def fleet_with(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Callable[..., Fleet]:
    return lambda **conf: Fleet(worker, redis_url, other_redis_url, **conf)


def load(fleet: Fleet, worker: Worker) -> list[str]:
    """Running, prefetched and waiting for their time: the tokens of what `worker` now holds."""
    for name in ("r1", "r2", "p1", "p2"):
        fleet.send("first_run_hangs" if name.startswith("r") else "work", name)
    fleet.send("work", "c1", countdown=60)
    eventually(lambda: fleet.held() == 5 and fleet.ledger.lines("r1") and fleet.ledger.lines("r2"))
    return ["r1", "r2", "p1", "p2"]


# -- the worker dies


def test_a_killed_worker_on_this_machine(fleet: Fleet) -> None:
    """The kernel says that it is gone: what it ran, had prefetched or held until its time runs at once elsewhere."""
    first = fleet.worker()
    tokens = load(fleet, first)
    fleet.worker()
    first.kill()
    killed = time.time()
    eventually(lambda: all(fleet.ledger.lines(token) for token in tokens) and len(fleet.ledger.lines("r1")) == 2, 10)
    eventually(lambda: len(fleet.ledger.lines("r2")) == 2)
    assert max(fleet.ledger.times(token)[-1] for token in tokens) - killed < 5
    assert fleet.starts("p1") == ["start True"]
    eventually(lambda: fleet.held() == 1, what="only the countdown to be held")
    eventually(lambda: fleet.client.hlen("unacked.lives") == 1, what="the dead life to be struck off")


def test_a_killed_worker_on_another_machine(fleet: Fleet) -> None:
    """Only its heartbeat tells: at default settings, all of it runs again within 20 seconds."""
    first = fleet.worker(env=ELSEWHERE)
    tokens = load(fleet, first)
    fleet.worker(env=ELSEWHERE)
    first.kill()
    killed = time.time()
    eventually(lambda: len(fleet.ledger.lines("r1")) == len(fleet.ledger.lines("r2")) == 2, 30)
    eventually(lambda: fleet.ended("p1", "p2"))
    assert max(fleet.ledger.times(token)[-1] for token in tokens) - killed < 20


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_pools_that_share_the_process(fleet: Fleet, pool: str) -> None:
    """Killed while it runs a task, its messages run elsewhere; and what was finished does not run again."""
    first = fleet.worker(pool=pool)
    fleet.send("work", "done")
    eventually(lambda: fleet.ended("done") and fleet.held() == 0)
    fleet.send("first_run_hangs", "r1")
    eventually(lambda: fleet.ledger.lines("r1"))
    fleet.worker(pool=pool)
    first.kill()
    fleet.send("work", "later")
    eventually(lambda: len(fleet.ledger.lines("r1")) == 2 and fleet.ended("later"), 10)
    assert len(fleet.starts("done")) == 1


@pytest.mark.slow
def test_a_worker_that_starts_after_the_death(fleet: Fleet) -> None:
    """Nobody was there when it died: the next worker finds what it held."""
    first = fleet.worker()
    tokens = load(fleet, first)
    first.kill()
    fleet.worker()
    eventually(lambda: all(fleet.starts(token) for token in tokens[2:]), 10)


def test_priorities_queues_and_prefix(fleet_with: Callable[..., Fleet]) -> None:
    """Messages go back to the list they came from: queue, priority step and prefix."""
    options = {"global_keyprefix": "shop:", "priority_steps": [0, 3, 6, 9]}
    fleet = fleet_with(broker_transport_options=options, task_create_missing_queues=True, worker_prefetch_multiplier=8)
    first = fleet.worker(concurrency=1, queues=["celery", "mail"])
    fleet.send("work", "long", 3600)
    eventually(lambda: fleet.starts("long"))
    for number, (queue, priority) in enumerate((q, p) for q in ("celery", "mail") for p in (0, 4, 9)):
        fleet.send("work", f"t{number}", queue=queue, priority=priority)
    eventually(lambda: fleet.held() == 7)
    first.kill()
    # the part of a reaper, without a worker that would take what it gives back
    holding = Holding(fleet.client, Keys("shop:unacked"), "test", "{}", 15)
    assert Reaper(holding).look() == 7
    lists = {"celery": 2, "celery\x06\x163": 1, "celery\x06\x169": 1, "mail": 1, "mail\x06\x163": 1, "mail\x06\x169": 1}
    assert {key: fleet.client.llen(f"shop:{key}") for key in lists} == lists
    assert b"long" in fleet.client.lindex("shop:celery", -1), "the oldest is the next to run"
    assert not [key for key in fleet.client.keys("*") if not key.startswith(b"shop:")], "all keys have the prefix"


# -- the worker is silent, but lives


def test_a_stopped_worker_on_this_machine_is_not_robbed(fleet_with: Callable[..., Fleet]) -> None:
    """Its process exists: however long it is silent, its messages are its own."""
    fleet = fleet_with(recovery_lease=3)
    first = fleet.worker(concurrency=1)
    fleet.send("work", "long", 60)
    fleet.send("work", "next")
    eventually(lambda: fleet.held() == 2)
    os.kill(first.pid, signal.SIGSTOP)
    fleet.ledger.fix("long")  # its process goes on, and ends it
    second = fleet.worker(concurrency=1)
    time.sleep(4.5)  # a lease and a half
    assert fleet.held() == 2
    os.kill(first.pid, signal.SIGCONT)
    eventually(lambda: fleet.ended("long", "next"))
    assert len(fleet.starts("long")) == len(fleet.starts("next")) == 1
    assert "went back" not in second.log


@pytest.mark.slow
def test_a_stopped_worker_on_another_machine(fleet_with: Callable[..., Fleet]) -> None:
    """It is robbed after its lease, finds out when it goes on, and works on under a new registration."""
    fleet = fleet_with(recovery_lease=3)
    first = fleet.worker(concurrency=1, env=ELSEWHERE)
    fleet.send("work", "long", 60)
    fleet.send("work", "next")
    eventually(lambda: fleet.held() == 2)
    os.kill(first.pid, signal.SIGSTOP)
    fleet.ledger.fix("long")
    second = fleet.worker(concurrency=1, env=ELSEWHERE)
    eventually(lambda: fleet.ended("next"), 15)
    second.stop()
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait_log("was not heard for its lease")
    fleet.send("work", "new")
    eventually(lambda: fleet.ended("new"))
    assert len(fleet.starts("next")) == 1, "what was prefetched is not started twice"


@pytest.mark.slow
def test_a_task_that_keeps_all_greenlets_waiting(fleet_with: Callable[..., Fleet]) -> None:
    """The heartbeat has a thread of its own: a greenlet that computes for longer than the lease is not robbed."""
    fleet = fleet_with(recovery_lease=3)
    fleet.worker(pool="gevent", env=ELSEWHERE)
    fleet.send("compute", "busy", 16)  # the lease is four times as long where tasks share the process
    eventually(lambda: fleet.starts("busy"))
    other = fleet.worker(env=ELSEWHERE)
    eventually(lambda: fleet.ended("busy"), 30)
    assert len(fleet.starts("busy")) == 1
    assert "is gone" not in other.log


def test_longer_than_the_visibility_timeout(fleet_with: Callable[..., Fleet]) -> None:
    """A task and a countdown longer than `visibility_timeout` run once, with another worker waiting to take them."""
    options = {"visibility_timeout": 1, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
    fleet = fleet_with(broker_transport_options=options)
    fleet.worker(concurrency=1)
    fleet.worker(concurrency=1)
    fleet.send("work", "long", 3.5)
    fleet.send("work", "later", countdown=3.5)
    eventually(lambda: fleet.ended("long", "later"), 15)
    assert fleet.starts("long") == fleet.starts("later") == ["start False"]


def test_beside_a_plain_worker(fleet: Fleet) -> None:
    """A worker without this package is not robbed, and does not rob."""
    plain = fleet.worker(plain=True, concurrency=1)
    fleet.send("work", "theirs", 4)
    eventually(lambda: fleet.starts("theirs"))
    ours = fleet.worker(concurrency=1)
    cancel = fleet.app.control.cancel_consumer
    eventually(lambda: cancel("celery", destination=[plain.name], reply=True), what="an answer")
    fleet.send("work", "ours", 3)
    eventually(lambda: fleet.ended("theirs", "ours"))
    assert len(fleet.starts("theirs")) == len(fleet.starts("ours")) == 1
    assert "went back" not in ours.log


def test_what_plain_workers_left_behind(fleet_with: Callable[..., Fleet]) -> None:
    """Kombu's own hash is still swept by kombu's rule, so that a fleet that changed over strands nothing."""
    options = {"visibility_timeout": 1, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
    fleet = fleet_with(broker_transport_options=options)
    plain = fleet.worker(plain=True, concurrency=1)
    fleet.send("first_run_hangs", "left")
    eventually(lambda: fleet.ledger.lines("left"))
    plain.kill()
    fleet.worker()
    eventually(lambda: len(fleet.ledger.lines("left")) == 2)


# -- shutdown, lost connections, lost data


def test_warm_shutdown_leaves_nothing_behind(fleet: Fleet) -> None:
    """What runs ends, what was prefetched goes back, and the life is struck off: no other worker has to wait."""
    worker = fleet.worker(concurrency=1)
    fleet.send("work", "running", 60)
    for number in range(2):
        fleet.send("work", f"p{number}")
    fleet.send("work", "later", countdown=60)
    eventually(lambda: fleet.starts("running") and fleet.held() == 4)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait_log("Warm shutdown")
    fleet.ledger.fix("running")
    assert worker.stop() == 0
    assert fleet.ended("running")
    assert fleet.client.keys("unacked.*") == []
    left = [json.loads(item) for item in fleet.client.lrange("celery", 0, -1)]
    assert len(left) == 3
    assert all(item["headers"]["redelivered"] for item in left)


def test_cold_shutdown_leaves_nothing_behind(fleet: Fleet) -> None:
    """What is cut off in the middle goes back like what had not begun."""
    worker = fleet.worker(concurrency=1)
    fleet.send("first_run_hangs", "cut")
    fleet.send("work", "p1")
    eventually(lambda: fleet.ledger.lines("cut") and fleet.held() == 2)
    os.kill(worker.pid, signal.SIGQUIT)
    eventually(lambda: not worker.running)
    assert fleet.client.keys("unacked.*") == []
    assert fleet.client.llen("celery") == 2


def test_the_connection_is_lost(fleet: Fleet) -> None:
    """A running task goes on and is acknowledged; what the worker drops from its memory comes back."""
    worker = fleet.worker(concurrency=1)
    fleet.send("work", "running", 60)
    fleet.send("work", "prefetched")
    fleet.send("work", "later", countdown=8)
    eventually(lambda: fleet.starts("running") and fleet.held() == 3)
    fleet.client.client_kill_filter(_type="normal", skipme=True)
    assert worker.wait_log("Connection to broker lost")
    fleet.ledger.fix("running")
    eventually(lambda: fleet.ended("running", "prefetched", "later"), 25)
    eventually(lambda: fleet.held() == 0, what="all to be acknowledged")
    assert [len(fleet.starts(token)) for token in ("running", "prefetched", "later")] == [1, 1, 1]


@pytest.mark.slow
def test_redis_restarts(worker: Callable[..., Worker], own_redis: RedisServer, redis_url: str) -> None:
    """An outage longer than the lease makes no living worker look dead, and what ended meanwhile is acknowledged."""
    fleet = Fleet(worker, own_redis.url(), redis_url, recovery_lease=3)
    workers = [fleet.worker(concurrency=1, env=ELSEWHERE) for _ in range(2)]
    for token in ("one", "two"):
        fleet.send("work", token, 8)
    eventually(lambda: fleet.starts("one") and fleet.starts("two"))
    own_redis.kill()
    time.sleep(4)
    own_redis.start()
    eventually(lambda: fleet.ended("one", "two"), 20)
    eventually(lambda: fleet.held() == 0, 20, what="all to be acknowledged")
    assert [len(fleet.starts(token)) for token in ("one", "two")] == [1, 1]
    assert not any("went back" in one.log and "is gone" in one.log for one in workers)


def test_redis_is_flushed(fleet_with: Callable[..., Fleet]) -> None:
    """What the worker had in memory still runs, and it takes new messages as soon as it is registered again."""
    fleet = fleet_with(recovery_lease=3)
    worker = fleet.worker(concurrency=1)
    fleet.send("work", "running", 60)
    fleet.send("work", "prefetched")
    eventually(lambda: fleet.held() == 2)
    fleet.client.flushdb()
    fleet.ledger.fix("running")
    fleet.send("work", "new")
    eventually(lambda: fleet.ended("running", "prefetched", "new"))
    assert worker.wait_log("its registration was gone")


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.slow)])
def test_queues_come_and_go(fleet_with: Callable[..., Fleet], pool: str) -> None:
    """`add_consumer` and `cancel_consumer` at run time; replies and broadcasts leave nothing held."""
    fleet = fleet_with(task_create_missing_queues=True)
    worker = fleet.worker(pool=pool, concurrency=1)
    control = fleet.app.control
    eventually(lambda: control.ping(destination=[worker.name], timeout=1), what="an answer")  # it hears a moment later
    control.add_consumer("late", destination=[worker.name], reply=True, timeout=5)
    fleet.send("work", "in-late", queue="late")
    eventually(lambda: fleet.ended("in-late"))
    control.cancel_consumer("late", destination=[worker.name], reply=True, timeout=5)
    fleet.send("work", "left", queue="late")
    fleet.send("work", "still")
    eventually(lambda: fleet.ended("still"))
    assert fleet.client.llen("late") == 1
    eventually(lambda: fleet.held() == 0, what="all to be acknowledged")


def test_switched_off(fleet_with: Callable[..., Fleet]) -> None:
    """`recovery_lease=None`: pure kombu."""
    fleet = fleet_with(recovery_lease=None)
    fleet.worker()
    fleet.send("work", "one", 60)
    eventually(lambda: fleet.starts("one"))
    assert fleet.client.hlen("unacked") == 1
    fleet.ledger.fix("one")
    eventually(lambda: fleet.ended("one"))
    assert fleet.client.keys("unacked.*") == []


@pytest.fixture
def deaf_redis() -> Iterator[RedisServer]:
    """A Redis that refuses to notify."""
    with RedisServer(options=("--rename-command", "CLIENT", "")) as server:
        yield server


def test_a_server_that_does_not_notify(
    worker: Callable[..., Worker], deaf_redis: RedisServer, other_redis_url: str
) -> None:
    """BRPOP it is, said once; all else holds."""
    fleet = Fleet(worker, deaf_redis.url(), other_redis_url)
    first = fleet.worker(concurrency=1)
    fleet.send("work", "done")
    eventually(lambda: fleet.ended("done") and fleet.held() == 0)
    fleet.send("first_run_hangs", "r1")
    fleet.send("work", "p1")
    eventually(lambda: fleet.ledger.lines("r1") and fleet.held() == 2)
    assert first.log.count("does not notify") == 1
    fleet.worker()
    first.kill()
    eventually(lambda: len(fleet.ledger.lines("r1")) == 2 and fleet.ended("p1"), 10)


ITEMS = (b"no json", b"[1, 2]", b'{"body": 1}', b"\xff\xfe", b'{"properties": {"delivery_tag": []}}')


def test_items_that_are_no_messages(fleet: Fleet) -> None:
    """They neither stop a worker nor are lost: each becomes a dead letter."""
    fleet.worker(concurrency=1)
    fleet.client.lpush("celery", *ITEMS)
    fleet.send("work", "after")
    eventually(lambda: fleet.ended("after"))
    eventually(lambda: fleet.client.llen("celery.dead_letters") == len(ITEMS))
    eventually(lambda: fleet.held() == 0)


# -- many deaths


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_message_is_lost_in_many_kills(fleet_with: Callable[..., Fleet], pool: str) -> None:
    """Thirty kills at random moments while messages stream in: every one of them runs to its end."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it when the test failed
    dice = random.Random(seed)
    fleet = fleet_with()
    kills, sent = 30, 0
    workers = [fleet.worker(pool=pool)]
    for number in range(1, kills + 1):
        workers.append(fleet.worker(pool=pool))
        end = time.monotonic() + dice.uniform(0.05, 0.6)
        while time.monotonic() < end or sent < 11 * number:  # a slow machine sends as many, and takes longer
            fleet.send("work", f"m{sent}", dice.choice((0, 0, 0.02)))
            sent += 1
        workers.pop(0).kill()
    assert sent > 300
    eventually(lambda: len(fleet.ledger.client.keys("ledger:m*")) == sent, 60, what=f"all {sent} to have started")
    eventually(lambda: fleet.ended(*(f"m{number}" for number in range(sent))), 60, what=f"all {sent} to have ended")
    eventually(lambda: fleet.held() == 0, what="nothing to be held")


def test_reapers_that_race(redis_client: redis.Redis) -> None:
    """Four of them at once, in threads: no message is lost and none doubled."""
    import threading

    from tests.apps.jobs import redis as _  # noqa: F401

    dead = Identity(boot="dead", pid=2**22 + 1, started=1, place=Identity.of_this_process().place)
    life = json.dumps({**dead.to_dict(), "hostname": "dead", "lease": 15})
    gone = Holding(redis_client, Keys("unacked"), "dead", life, 15)
    gone.beat()
    for number in range(500):
        gone.hold("celery", json.dumps({"headers": {}, "properties": {"delivery_info": {}}, "n": number}).encode(), "1")
    url = redis_client.connection_pool.connection_kwargs
    holdings = [Holding(redis.Redis(**_address(url)), Keys("unacked"), f"r{n}", "{}", 15) for n in range(4)]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda h=h: counts.append(Reaper(h).look())) for h in holdings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [json.loads(item)["n"] for item in redis_client.lrange("celery", 0, -1)]
    assert sorted(numbers) == list(range(500))
    assert sum(counts) == 500
    assert redis_client.keys("unacked.held.*") == []


def _address(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in ("host", "port", "db")}
