"""Parking on real services: what is not due for long leaves the worker and comes back once, whatever dies meanwhile."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord
from celery.exceptions import TaskRevokedError
from kombu import Connection, Exchange, Queue

from celery_recovery import Recovery
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.exceptions import PublishFailed, StoreUnavailable
from celery_recovery.parking import ParkedFilter, ParkedTask, Parking
from celery_recovery.parking import store as parking_store
from celery_recovery.redis import Keys, connect
from celery_recovery.worker.release import Releaser
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.letters import body
from tests.services import RedisServer, Worker

#: Parked at once, and due soon: what takes minutes in life takes seconds here.
SOON = {"recovery_park_after": 0.5}


def parking_of(jobs: Jobs) -> Parking:
    parking = Recovery.of(jobs.app).parked
    assert parking is not None
    return parking


def parked_task(token: str = "t", **changes: Any) -> ParkedTask:
    """A message for `fine`, as a worker parks it; due ten seconds ago unless told."""
    task_id = changes.pop("id", None) or str(uuid.uuid4())
    copy = changes.pop("key", None) or uuid.uuid4().hex
    headers = {"lang": "py", "id": task_id, "task": f"{MODULE}.fine", "retries": 0, "root_id": task_id, "expires": None,
               "argsrepr": repr((token,)), "kwargsrepr": "{}", "eta": "2026-01-01T00:00:00+00:00",
               "recovery": {"life": task_id, "step": 1, "copy": copy}}  # fmt: skip
    fields: dict[str, Any] = {
        "key": copy, "id": task_id, "task": f"{MODULE}.fine", "due": time.time() - 10, "parked_at": time.time(),
        "reason": "eta", "queue": "celery", "body": body(token), "headers": headers,
        "properties": {"correlation_id": task_id}, "worker": "w@h",
    }  # fmt: skip
    return ParkedTask(**{**fields, **changes})


def parked_count(jobs: Jobs, count: int) -> None:
    """Thousands take a while on a busy machine."""
    eventually(lambda: parking_of(jobs).count() == count, 20 + count / 100, f"{count} parked tasks")


def unacknowledged(jobs: Jobs) -> bool:
    """Whether the Redis broker still has messages that a worker took."""
    if not jobs.broker.startswith("redis"):
        return False
    with redis.Redis.from_url(jobs.broker) as client:
        return any(client.hkeys(key) != [b"next"] for key in client.scan_iter("unacked.held.*"))


# -- the store


class Recorder(Publisher):
    """A publisher that keeps what it is given, and may fail."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app, 1)
        self.sent: list[dict[str, Any]] = []
        self.fails: Callable[[dict[str, Any]], Exception | None] = lambda message: None

    def publish(self, body: bytes, **message: Any) -> None:  # type: ignore[override]
        failure = self.fails(message)
        if failure is not None:
            raise failure
        self.sent.append({"body": body, **message})


@pytest.fixture
def publisher() -> Recorder:
    return Recorder(Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False))


@pytest.fixture
def parking(redis_url: str, publisher: Recorder) -> Iterator[Parking]:
    client = connect(redis_url)
    yield Parking(client, Keys("shop"), publisher)
    client.close()


@pytest.mark.redis
class TestStore:
    def test_read_back(self, parking: Parking) -> None:
        """A parked task comes back as it went in, raw body and what AMQP headers may hold included."""
        odd = {"when": datetime(2026, 1, 2, tzinfo=timezone.utc), "raw": b"\xff", "look": {"__type__": "x", "n": [1]}}
        one = parked_task(body=b"\x80\x04raw", due=time.time() + 60, headers={"id": "a", **odd}, exchange="shop",
                          routing_key="orders", content_type="application/x-python-serialize")  # fmt: skip
        parking.park(one)
        back = parking.get(one.key)
        assert back is not None
        assert (round(back.due, 3), round(back.parked_at, 3)) == (round(one.due, 3), round(one.parked_at, 3))
        for name in ("body", "properties", "exchange", "routing_key", "content_type", "worker", "reason", "queue"):
            assert getattr(back, name) == getattr(one, name)
        assert back.headers["when"] == odd["when"]
        assert bytes(back.headers["raw"]) == odd["raw"]

    def test_what_looks_like_a_tag_is_left_alone(self, parking: Parking) -> None:
        """A user's header that has the form of the serialiser's own marks comes back unchanged."""
        look = {"look": {"__type__": "datetime", "__value__": "no date"}}
        one = parked_task(headers=look)
        parking.park(one)
        assert parking.get(one.key).headers == look  # type: ignore[union-attr]

    def test_parked_twice_is_one(self, parking: Parking) -> None:
        """The same publication parked again changes nothing, not even the counters."""
        one = parked_task()
        parking.park(one)
        parking.park(one)
        stats = parking.stats()
        assert (stats.count, stats.by_task, stats.by_queue, stats.by_reason) == (
            1, {f"{MODULE}.fine": 1}, {"celery": 1}, {"eta": 1},
        )  # fmt: skip

    def test_nothing_is_left_behind(self, parking: Parking, redis_client: redis.Redis) -> None:
        """Once all are released or discarded, Redis holds not one key of them."""
        for n in range(6):
            parking.park(parked_task(f"t{n}"))
        assert parking.release_due(4) == 4
        assert parking.discard(ParkedFilter()).done == 2
        assert redis_client.keys("*") == []

    def test_only_what_is_due(self, parking: Parking, publisher: Recorder) -> None:
        """By the clock of the server; and the answer says when the next one is."""
        parking.park(parked_task(due=time.time() + 50))
        turn = parking.take_turn()
        assert (turn.released, publisher.sent) == (0, [])
        assert turn.next_due == pytest.approx(50, abs=5)

    def test_nothing_parked_has_no_next(self, parking: Parking) -> None:
        """An empty lot says so."""
        assert parking.take_turn() == (0, None, "")

    def test_released_as_it_was(self, parking: Parking, publisher: Recorder) -> None:
        """Body untouched, ETA cleared, passage and `expires` as they were, straight to its queue."""
        expires = "2026-01-01T00:00:00+00:00"
        one = parked_task(headers={**parked_task().headers, "expires": expires})
        parking.park(one)
        assert parking.release_due() == 1
        (sent,) = publisher.sent
        assert (sent["body"], sent["routing_key"], sent["headers"]["eta"]) == (one.body, "celery", None)
        assert sent["headers"]["expires"] == expires
        assert sent["headers"]["recovery"] == one.headers["recovery"]

    def test_soonest_first(self, parking: Parking, publisher: Recorder) -> None:
        """What has waited longest goes first."""
        for n in (3, 1, 2):
            parking.park(parked_task(id=f"id-{n}", due=time.time() - 100 + n))
        parking.release_due()
        assert [sent["headers"]["id"] for sent in publisher.sent] == ["id-1", "id-2", "id-3"]

    def test_claimed_is_not_given_twice(self, parking: Parking) -> None:
        """Until the lease is over; then the next one gets it, and the first can neither remove it nor give it back."""
        one = parked_task()
        parking.park(one)
        first = parking.store.claim("first", lease=2)
        assert [parked.key for parked in first.tasks] == [one.key]
        assert parking.store.claim("second").tasks == []
        assert parking.store.claim("second", (one.key,)).others == {one.key: "leased"}
        eventually(lambda: parking.store.claim("second").tasks)
        assert parking.store.remove("first", (one.key,)) == 0
        assert parking.store.unclaim("first", (one.key,)) == 0
        assert parking.store.remove("second", (one.key,)) == 1

    def test_large_bodies_make_a_claim_small(self, parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
        """A claim ends once it holds enough bytes; the rest goes to the next."""
        monkeypatch.setattr(parking_store, "BYTES", 1000)
        for n in range(5):
            parking.park(parked_task(body=b"x" * 600, due=time.time() - 10 + n))
        assert len(parking.store.claim("t").tasks) == 2
        assert parking.release(ParkedFilter()).selected == 5

    def test_broker_away(self, parking: Parking, publisher: Recorder) -> None:
        """What was claimed is given back at once, due as before, and nothing is lost."""
        tasks = [parked_task(due=time.time() - 10 + n) for n in range(3)]
        for one in tasks:
            parking.park(one)
        publisher.fails = lambda message: PublishFailed("nobody there") if len(publisher.sent) else None
        turn = parking.take_turn()
        assert (turn.released, turn.stopped) == (1, "nobody there")
        assert parking.stats().overdue == 2
        publisher.fails = lambda message: None
        assert parking.release_due() == 2

    def test_one_bad_message_holds_nobody_up(self, parking: Parking, publisher: Recorder) -> None:
        """It stays, with its error; the others go; it is tried again later, and can be released by hand."""
        bad, good = parked_task(id="bad", due=time.time() - 20), parked_task(id="good")
        parking.park(bad)
        parking.park(good)
        publisher.fails = lambda m: TypeError("no such type") if m["headers"]["id"] == "bad" else None
        assert parking.release_due() == 1
        (left,) = parking.find().tasks
        assert (left.id, left.error, left.refusals) == ("bad", "TypeError: no such type", 1)
        assert parking.release_due() == 0
        stats = parking.stats()
        assert (stats.count, stats.refused, stats.oldest_due) == (1, 1, pytest.approx(bad.due, abs=0.01))
        publisher.fails = lambda m: None
        assert parking.release(ParkedFilter(ids=("bad",))).done == 1
        assert parking.stats().refused == 0

    def test_ten_release_at_once(self, redis_url: str, publisher: Recorder) -> None:
        """Each of 1,000 goes out exactly once."""
        client = connect(redis_url)
        lots = [Parking(client, Keys("shop"), publisher) for _ in range(10)]
        for n in range(1000):
            lots[0].park(parked_task(id=f"id-{n}"))

        def release(lot: Parking) -> None:
            while lot.release_due(20):
                pass

        threads = [threading.Thread(target=release, args=(lot,)) for lot in lots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = Counter(sent["headers"]["id"] for sent in publisher.sent)
        assert (len(counts), set(counts.values())) == (1000, {1})
        client.close()

    def test_filter(self, parking: Parking) -> None:
        """By task, queue, reason, id of the task or key, and when it is due; patterns where names are."""
        now = time.time()
        for n, (task, queue, reason) in enumerate(
            [("shop.charge", "shop", "retry"), ("shop.mail", "mail", "eta"), ("crm.mail", "mail", "snooze")]
        ):
            parking.park(parked_task(id=f"id-{n}", key=f"k{n}", task=task, queue=queue, reason=reason, due=now + n))

        def ids(**asked: Any) -> list[str]:
            where = ParkedFilter.parse(asked, now=now)
            found = [parked.id for parked in parking.iterate(where)]
            assert parking.count(where) == len(found)
            assert [parked.id for parked in parking.find(where).tasks] == found
            return found

        assert ids() == ["id-0", "id-1", "id-2"]
        assert ids(task="shop.*") == ["id-0", "id-1"]
        assert ids(task=["shop.charge", "*.mail"], queue="mail") == ["id-1", "id-2"]
        assert ids(reason=["retry", "snooze"]) == ["id-0", "id-2"]
        assert ids(id="id-1") == ids(id="k1") == ["id-1"]
        assert ids(due_before="+1s") == ["id-0", "id-1"]
        assert ids(due_before=str(now)) == ["id-0"]
        assert ids(task="nope*") == []

    def test_pages(self, parking: Parking) -> None:
        """A cursor continues where the page ended, among equal times too."""
        due = time.time() + 100
        for n in range(7):
            parking.park(parked_task(key=f"k{n}", due=due if n < 5 else due + n))
        pages, cursor = [], None
        while True:
            page = parking.find(limit=3, cursor=cursor)
            pages.append([parked.key for parked in page.tasks])
            cursor = page.cursor
            if cursor is None:
                break
        assert pages == [["k0", "k1", "k2"], ["k3", "k4", "k5"], ["k6"]]

    def test_a_full_redis(self, publisher: Recorder) -> None:
        """It takes no new ones; those that it has go out all the same, which frees what they took."""
        with RedisServer() as server:
            client = connect(server.url())
            lot = Parking(client, Keys("shop"), publisher)
            lot.park(parked_task())
            client.config_set("maxmemory", "1mb")
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                lot.park(parked_task())
            assert lot.release_due() == 1
            assert lot.count() == 0
            client.close()

    def test_redis_away_is_asked_once(self, publisher: Recorder) -> None:
        """After a failure the next ones fail at once for a while: a consumer must not wait for each message."""
        lot = Parking(connect("redis://127.0.0.1:1/0"), Keys("shop"), publisher)
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            lot.park(parked_task())
        with pytest.raises(StoreUnavailable, match="a moment ago"):
            lot.park(parked_task())

    def test_memory_per_task(self, parking: Parking, redis_client: redis.Redis) -> None:
        """A small task takes less than 2 kB of Redis."""
        before = redis_client.info("memory")["used_memory"]
        for n in range(1000):
            parking.park(parked_task(f"token-{n}", due=time.time() + 600))
        assert (redis_client.info("memory")["used_memory"] - before) / 1000 < 2000


# -- workers


def soon(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


class TestWorker:
    def test_a_long_countdown_leaves_the_worker(self, jobs_with: Callable[..., Jobs]) -> None:
        """It is parked and acknowledged, its result stays PENDING, and it runs when it is due, once."""
        jobs = jobs_with(recovery_park_after=1)
        worker = jobs.worker()
        begun = time.time()
        sent = jobs.send("fine", "t", countdown=4)
        parked_count(jobs, 1)
        eventually(lambda: not unacknowledged(jobs), what="the acknowledgement")
        (parked,) = parking_of(jobs).find().tasks
        assert (parked.id, parked.task, parked.queue, parked.reason) == (sent.id, f"{MODULE}.fine", "celery", "eta")
        assert (parked.worker, parked.due) == (worker.name, pytest.approx(begun + 4, abs=1))
        assert sent.state == "PENDING"
        sent.get(timeout=20)
        assert 4 <= jobs.ledger.times("t")[0] - begun < 4 + 3
        assert jobs.ledger.lines("t") == ["run"]
        parked_count(jobs, 0)  # it is let go once it is published

    def test_what_is_due_soon_stays(self, jobs_with: Callable[..., Jobs]) -> None:
        """A delay below the setting is Celery's, in the worker's memory."""
        jobs = jobs_with(recovery_park_after=30)
        jobs.worker()
        jobs.send("fine", "t", countdown=1.5).get(timeout=20)
        assert parking_of(jobs).count() == 0

    def test_never_where_it_is_switched_off(self, jobs_with: Callable[..., Jobs]) -> None:
        """None: Celery holds it; what others have parked is released all the same."""
        jobs = jobs_with(recovery_park_after=None)
        worker = jobs.worker()
        parking_of(jobs).park(parked_task("other"))
        sent = jobs.send("fine", "t", countdown=3)
        eventually(lambda: jobs.ledger.lines("other") == ["run"])
        assert worker.wait_log(rf"{sent.id}\] received")
        assert parking_of(jobs).count(ParkedFilter(ids=(sent.id,))) == 0
        eventually(lambda: jobs.ledger.lines("t") == ["run"])

    @pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
    def test_on_every_pool(self, redis_jobs: Jobs, pool: str) -> None:
        """Parked and released without a pool of processes, too."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker(pool=pool)
        redis_jobs.send("fine", "t", countdown=4)
        parked_count(redis_jobs, 1)
        eventually(lambda: redis_jobs.ledger.lines("t") == ["run"])

    def test_retries_and_options_travel(self, jobs_with: Callable[..., Jobs]) -> None:
        """A parked task that fails after its release is retried, with its own priority, headers and time limits."""
        jobs = jobs_with(**SOON)
        jobs.worker()
        sent = jobs.sig("flaky", "t", 1).apply_async(countdown=4, priority=3, headers={"tenant": "x"}, time_limit=9)
        parked_count(jobs, 1)
        (parked,) = parking_of(jobs).find().tasks
        assert (parked.headers["tenant"], parked.properties["priority"]) == ("x", 3)
        assert parked.headers["timelimit"] == [9, None]
        assert sent.get(timeout=20) == "t"
        assert jobs.ledger.lines("t") == ["run", "run"]

    def test_expired_meanwhile(self, jobs_with: Callable[..., Jobs]) -> None:
        """It is released when due, and the worker revokes it as Celery does."""
        jobs = jobs_with(**SOON)
        jobs.worker()
        sent = jobs.send("fine", "t", countdown=3, expires=2)
        parked_count(jobs, 1)
        with pytest.raises(TaskRevokedError):
            sent.get(timeout=20)
        assert jobs.ledger.lines("t") == []

    def test_revoked_while_parked(self, redis_jobs: Jobs) -> None:
        """A worker that heard of it refuses it after its release."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        sent = redis_jobs.send("fine", "t", countdown=600)
        parked_count(redis_jobs, 1)
        revoke(redis_jobs, sent.id)
        assert parking_of(redis_jobs).release(ParkedFilter(ids=(sent.id,))).done == 1
        with pytest.raises(TaskRevokedError):
            sent.get(timeout=20)
        assert redis_jobs.ledger.lines("t") == []

    def test_revoked_before_it_is_received(self, redis_jobs: Jobs) -> None:
        """It is not parked: Celery revokes it at once."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        task_id = str(uuid.uuid4())
        revoke(redis_jobs, task_id)
        sent = redis_jobs.send("fine", "t", countdown=600, task_id=task_id)
        with pytest.raises(TaskRevokedError):
            sent.get(timeout=20)
        assert parking_of(redis_jobs).count() == 0

    def test_two_workers_one_run(self, jobs_with: Callable[..., Jobs]) -> None:
        """Two workers release side by side: each of 200 runs once."""
        jobs = jobs_with(**SOON)
        jobs.worker(pool="threads")
        jobs.worker(pool="threads")
        for n in range(200):
            jobs.send("fine", f"t{n}", eta=datetime.now(timezone.utc) + timedelta(seconds=4))
        eventually(lambda: all(jobs.ledger.lines(f"t{n}") for n in range(200)), 40)
        parked_count(jobs, 0)
        assert [n for n in range(200) if len(jobs.ledger.lines(f"t{n}")) != 1] == []

    def test_topic_exchanges_and_their_queues(self, jobs_with: Callable[..., Jobs]) -> None:
        """What came through a topic goes back to the queue that brought it, and to no other."""
        jobs = jobs_with(**SOON)
        exchange = Exchange("shop", type="topic")
        queue = Queue("shop.orders", exchange, routing_key="order.#")
        jobs.worker(env={"JOBS_TOPIC": "1"})
        with jobs.app.producer_or_acquire() as producer:
            options = {"exchange": exchange, "routing_key": "order.new", "declare": [queue], "queue": None}
            jobs.sig("fine", "t").apply_async(countdown=4, producer=producer, **options)
        parked_count(jobs, 1)
        assert parking_of(jobs).find().tasks[0].queue == "shop.orders"
        eventually(lambda: jobs.ledger.lines("t") == ["run"])

    @pytest.mark.parametrize("eta", ["soon", "2026-13-45T99:00:00", 17, {"a": 1}, "2999-01-01T00:00:00"])
    def test_odd_etas_are_not_parked(self, redis_jobs: Jobs, eta: Any) -> None:
        """Garbage, or a time without a zone: whoever else handles it, it is not parked, and the worker goes on."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        one = parked_task("odd")
        with Connection(redis_jobs.broker) as connection:
            connection.Producer().publish(
                one.body, routing_key="celery", headers={**one.headers, "eta": eta}, content_type="application/json",
                content_encoding="utf-8",
            )  # fmt: skip
        redis_jobs.send("fine", "after")
        eventually(lambda: redis_jobs.ledger.lines("after") == ["run"])
        assert parking_of(redis_jobs).count() == 0

    def test_compressed(self, redis_jobs: Jobs) -> None:
        """Kombu unpacks a body as it comes in; it goes out unpacked, and says so."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        redis_jobs.send("fine", "t", countdown=4, compression="gzip")
        parked_count(redis_jobs, 1)
        eventually(lambda: redis_jobs.ledger.lines("t") == ["run"])

    def test_children_that_are_replaced(self, jobs_with: Callable[..., Jobs]) -> None:
        """Children forked while the main process releases inherit none of its connections."""
        jobs = jobs_with(**SOON)
        worker = jobs.worker(options=("--max-tasks-per-child", "1"))
        for n in range(12):
            jobs.send("flaky", f"t{n}", 1, countdown=1 + n / 6)
        eventually(lambda: all(len(jobs.ledger.lines(f"t{n}")) == 2 for n in range(12)), 90)
        assert worker.running
        assert "Traceback" not in worker.log


@pytest.mark.faults
class TestFaults:
    def test_store_away(self, worker: Callable[..., Worker], broker_url: str, own_redis: RedisServer,
                        redis_url: str) -> None:  # fmt: skip
        """The worker holds what it cannot park, as Celery does, says so once, and parks again later."""
        jobs = Jobs(worker, broker_url, redis_url, conf={"recovery_redis_url": own_redis.url(), **SOON})
        running = jobs.worker()
        own_redis.kill()
        for n in range(5):
            jobs.send("fine", f"t{n}", countdown=3)
        eventually(lambda: all(jobs.ledger.lines(f"t{n}") == ["run"] for n in range(5)))
        assert running.wait_log("wait until Redis is back")
        assert running.log.count("cannot be parked") == 1
        assert running.log.count("wait until Redis is back") == 1
        own_redis.start()
        assert running.wait_log("Redis is back; parked tasks are released", 30)
        jobs.send("fine", "later", countdown=4)
        parked_count(jobs, 1)
        eventually(lambda: jobs.ledger.lines("later") == ["run"])

    def test_broker_away_when_it_is_due(self, worker: Callable[..., Worker], own_redis: RedisServer,
                                        redis_url: str) -> None:  # fmt: skip
        """What is due waits for the broker, and goes out once it is back."""
        jobs = Jobs(worker, own_redis.url(), redis_url, conf={**SOON, "recovery_publish_timeout": 1})
        running = jobs.worker()
        jobs.send("fine", "t", countdown=6)
        parked_count(jobs, 1)
        eventually(lambda: not unacknowledged(jobs))
        own_redis.kill()
        assert running.wait_log("wait until the broker is back", 30)
        assert parking_of(jobs).stats().count == 1
        own_redis.start()
        eventually(lambda: jobs.ledger.lines("t") == ["run"], 40)
        parked_count(jobs, 0)
        assert running.log.count("wait until the broker is back") == 1

    @pytest.mark.rabbitmq
    def test_a_queue_that_is_full(self, rabbit_url: str, redis_url: str) -> None:
        """RabbitMQ refuses the message and the task stays parked; one that goes elsewhere does not wait behind it."""
        full = Queue("full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        with Connection(rabbit_url) as connection:
            for queue in (full(connection.default_channel), Queue("celery")(connection.default_channel)):
                queue.declare()
            connection.Producer().publish("x", routing_key="full")
        app = Celery("full", broker=rabbit_url, set_as_current=False)
        publisher = Publisher(app, 1)
        with pytest.raises(PublishFailed):
            publisher.publish(**parked_task().message(), routing_key="full")
        with connect(redis_url) as client:
            parking = Parking(client, Keys(), publisher)
            parking.park(parked_task(queue="full", due=time.time() - 20))
            parking.park(parked_task())
            assert parking.release_due() == 1
            assert parking.stats().refused == 1

    def test_a_queue_that_is_gone(self, worker: Callable[..., Worker], rabbit_url: str, redis_url: str) -> None:
        """It stays parked and visible with its error; said loudly; released by hand once the queue is there."""
        jobs = Jobs(worker, rabbit_url, redis_url)
        running = jobs.worker()
        parking_of(jobs).park(parked_task("t", queue="gone"))
        assert running.wait_log("cannot go to its queue gone", 30)
        (left,) = parking_of(jobs).find().tasks
        assert "NO_ROUTE" in left.error
        with Connection(rabbit_url) as connection:
            connection.default_channel.queue_declare("gone", durable=True, auto_delete=False)
        assert parking_of(jobs).release(ParkedFilter(queue=("gone",))).done == 1

    @pytest.mark.parametrize(
        "point",
        [
            "parking.parking:Parking.park:before",
            "parking.parking:Parking.park:after",
            "parking.release:Release.run:before",
            "dead_letters.exchange:Publisher.publish:before",
            "dead_letters.exchange:Publisher.publish:after",
            "parking.store:ParkingStore.remove:before",
            "parking.store:ParkingStore.remove:after",
        ],
    )
    @pytest.mark.slow
    def test_killed_at_each_step(self, jobs_with: Callable[..., Jobs], point: str) -> None:
        """The whole worker dies there; the next one finds everything, and each task runs once."""
        jobs = jobs_with(recovery_park_after=0.5, recovery_lease=3,
                         broker_transport_options={"visibility_timeout": 4, "unacked_restore_interval": 5})  # fmt: skip
        env = {"JOBS_CRASH": f"celery_recovery.{point}", "JOBS_PARKED_LEASE": "2"}
        first = start(jobs, env)
        for n in range(3):
            jobs.send("fine", f"t{n}", countdown=3)
        eventually(lambda: not first.running, what=f"death at {point}")
        start(jobs, env)
        eventually(lambda: all(jobs.ledger.lines(f"t{n}") for n in range(3)), 60, what="all to run")
        parked_count(jobs, 0)
        eventually(lambda: not unacknowledged(jobs))
        assert {f"t{n}": jobs.ledger.lines(f"t{n}") for n in range(3)} == {f"t{n}": ["run"] for n in range(3)}

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_five_thousand_wait_without_a_worker(self, jobs_with: Callable[..., Jobs]) -> None:
        """The worker's memory stays flat, all workers are killed, others come, and what is due runs once each."""
        jobs = jobs_with(recovery_park_after=1)
        worker = jobs.worker(pool="threads")
        jobs.send("fine", "first").get(timeout=20)
        before, count, due = memory(worker), 5000, datetime.now(timezone.utc) + timedelta(seconds=600)
        with jobs.app.producer_or_acquire() as producer:
            for n in range(count):
                jobs.send("fine", f"late{n}", eta=due, producer=producer)
        parked_count(jobs, count)
        eventually(lambda: not unacknowledged(jobs))
        assert memory(worker) - before < 5_000_000
        worker.kill()
        assert parking_of(jobs).count() == count
        others = [jobs.worker(pool="threads") for _ in range(2)]
        soon = datetime.now(timezone.utc) + timedelta(seconds=10)
        for n in range(100):
            jobs.send("fine", f"soon{n}", eta=soon)
        parked_count(jobs, count + 100)
        for other in others:
            other.kill()
        jobs.worker(pool="threads")
        eventually(lambda: all(jobs.ledger.lines(f"soon{n}") for n in range(100)), 40)
        parked_count(jobs, count)
        assert [n for n in range(100) if len(jobs.ledger.lines(f"soon{n}")) != 1] == []


def revoke(jobs: Jobs, task_id: str) -> None:
    """Until a worker has heard of it: what is said before it listens is lost."""
    eventually(lambda: jobs.app.control.revoke(task_id, reply=True, timeout=1), what="an answer to revoke")


def start(jobs: Jobs, env: dict[str, str]) -> Worker:
    """A worker of `tests.apps.parking`."""
    own = {"CELERY_BROKER_URL": jobs.broker, "CELERY_RESULT_BACKEND": jobs.backend, "JOBS_LEDGER": jobs.ledger_url}
    return jobs._start("tests.apps.parking", env={**own, "JOBS_CONF": json.dumps(jobs.conf), **env})


def memory(worker: Worker) -> int:
    """Resident bytes of a worker's main process."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


# -- by hand


class TestByHand:
    def test_released_before_it_is_due(self, jobs_with: Callable[..., Jobs]) -> None:
        """It runs now, once, and not again when it would have been due."""
        jobs = jobs_with(**SOON)
        jobs.worker()
        sent = jobs.send("fine", "t", countdown=600)
        parked_count(jobs, 1)
        assert parking_of(jobs).release(ParkedFilter(ids=(sent.id,))).done == 1
        sent.get(timeout=20)
        assert parking_of(jobs).count() == 0

    def test_discarded(self, redis_jobs: Jobs) -> None:
        """The caller learns of it: REVOKED, with the reason."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        sent = redis_jobs.send("fine", "t", countdown=600)
        parked_count(redis_jobs, 1)
        result = parking_of(redis_jobs).discard(ParkedFilter(ids=(sent.id,)), reason="the shop is closed")
        assert (result.selected, result.done, result.warnings) == (1, 1, {})
        with pytest.raises(TaskRevokedError, match="the shop is closed"):
            sent.get(timeout=5)
        assert sent.state == "REVOKED"

    def test_discarded_in_a_chain_and_in_a_chord(self, redis_jobs: Jobs) -> None:
        """Whoever waits for the end of the chain, or for the chord's body, learns of it too."""
        redis_jobs.conf.update(SOON)
        redis_jobs.worker()
        late = redis_jobs.sig("add", 1, 1).set(countdown=600)
        of_chain = chain(late, redis_jobs.sig("add", 1)).apply_async()
        of_chord = chord([late.clone(), redis_jobs.sig("add", 2, 2)], redis_jobs.sig("total", "t")).apply_async()
        parked_count(redis_jobs, 2)
        assert parking_of(redis_jobs).discard(ParkedFilter()).done == 2
        for result in (of_chain, of_chord):
            with pytest.raises(Exception, match="discarded while parked"):
                result.get(timeout=10)

    def test_a_pickled_body_is_not_read(self, redis_jobs: Jobs, tmp_path: Path) -> None:
        """The result is ended, a warning says what was not, and nothing is unpickled, here or when it is shown."""
        trap = tmp_path / "sprung"
        bomb = b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."
        one = parked_task(body=bomb, content_type="application/x-python-serialize")
        parking = parking_of(redis_jobs)
        parking.park(one)
        assert json.dumps(parking.get(one.key).to_dict())  # type: ignore[union-attr]
        result = parking.discard(ParkedFilter())
        assert (result.done, sum(result.warnings.values())) == (1, 1)
        assert redis_jobs.result(one.id).state == "REVOKED"
        assert not trap.exists()


class TestReleaser:
    """What the thread does between two looks."""

    def test_waits_for_the_next(self, parking: Parking) -> None:
        """A second at most, and less where something is due before."""
        releaser = Releaser(parking)
        assert 1.0 <= releaser.turn() <= 1.1
        parking.park(parked_task(due=time.time() + 0.5))
        assert releaser.turn() < 0.7

    def test_goes_on_at_once_while_more_is_due(self, parking: Parking) -> None:
        """Without a pause between two claims."""
        for n in range(parking_store.BATCH + 1):
            parking.park(parked_task(f"t{n}"))
        releaser = Releaser(parking)
        assert releaser.turn() == 0.0
        assert releaser.turn() == 0.0
        assert parking.count() == 0

    def test_a_broker_that_stays_away_is_not_hammered(self, parking: Parking, publisher: Recorder) -> None:
        """Each look comes later than the one before, up to a bound."""
        publisher.fails = lambda message: PublishFailed("nobody there")
        parking.park(parked_task())
        releaser = Releaser(parking)
        pauses = [releaser.turn() for _ in range(8)]
        assert min(pauses) >= 0.5
        assert max(pauses[:1]) <= 1
        assert 7.5 <= pauses[-1] <= 15
