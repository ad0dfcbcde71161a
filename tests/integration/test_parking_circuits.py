"""Tasks that wait for a circuit go back in line, at its pace, whatever dies meanwhile, and never stay for ever."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import redis
from celery import Celery

from celery_recovery.circuit.machine import Machine, Pace
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.exceptions import PublishFailed, StoreUnavailable, Unroutable
from celery_recovery.parking import ParkedFilter, ParkedTask, Parking
from celery_recovery.parking import store as parking_store
from celery_recovery.redis import Keys, connect
from celery_recovery.worker.release import Releaser
from tests.integration.jobs_client import eventually
from tests.integration.test_parking import Recorder, parked_task
from tests.services import RedisServer

pytestmark = pytest.mark.redis


class Paced:
    """Real circuits, in this process: one machine a name, under a lock. Says when it let how many go."""

    def __init__(self, **policy: Any) -> None:
        self._policy = CircuitPolicy(**policy)
        self._machines: dict[str, Machine] = {}
        self._lock = threading.Lock()
        self.granted: list[tuple[float, int]] = []

    def __call__(self, name: str, most: int) -> Pace:
        with self._lock:
            now = time.monotonic()
            pace = self.machine(name).pace(now, most)
            self.granted.append((now, pace.tasks))
            return pace

    def machine(self, name: str) -> Machine:
        return self._machines.setdefault(name, Machine(self._policy, time.monotonic()))

    def force_open(self, name: str) -> None:
        self.machine(name).set(time.monotonic(), CircuitEvent.FORCE_OPEN)

    @property
    def total(self) -> int:
        return sum(count for _, count in self.granted)


#: As fast as anybody asks.
FAST = {"return_rate": 1_000_000.0}


@pytest.fixture
def publisher() -> Recorder:
    return Recorder(Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def lot(client: redis.Redis, publisher: Recorder) -> Callable[..., Parking]:
    """A parking whose circuits let all go, unless told otherwise."""

    def make(pace: Any = None, **policy: Any) -> Parking:
        return Parking(client, Keys("shop"), publisher, None, pace or Paced(**{**FAST, **policy}))

    return make


def waiting(n: int = 0, circuit: str = "pay", **changes: Any) -> ParkedTask:
    """Parked by an open circuit: the smaller `n`, the longer ago."""
    now = time.time()
    fields = {"id": f"id-{n}", "due": now + 5, "parked_at": now - 1000 + n, "reason": "circuit", "circuit": circuit}
    return parked_task(**{**fields, **changes})


def all_back(parking: Parking, released: int = 0) -> int:
    """Take turns until nobody waits for a circuit; how many were released."""
    deadline = time.monotonic() + 30
    while parking.stats().by_circuit:
        assert time.monotonic() < deadline, parking.stats()
        turn = parking.take_circuit_turn()
        released += turn.released
        time.sleep(min(turn.next_due or 0.0, 0.1))
    return released


def sent(publisher: Recorder) -> list[str]:
    return [message["headers"]["id"] for message in publisher.sent]


def test_first_come_first_served(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """Whatever order they were written in, and whatever their `due` says."""
    parking = lot()
    for n in (3, 0, 2, 1):
        parking.park(waiting(n, due=time.time() + 100 - n))
    assert all_back(parking) == 4
    assert sent(publisher) == ["id-0", "id-1", "id-2", "id-3"]


def test_not_by_time(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """Its `due` is over and its circuit is open: it stays, and no look at what is due is given it."""
    pace = Paced()
    pace.force_open("pay")
    parking = lot(pace)
    parking.park(waiting(due=time.time() - 100))
    assert parking.take_turn().released == parking.take_circuit_turn().released == 0
    stats = parking.stats()
    assert (stats.overdue, stats.by_circuit, stats.by_reason) == (0, {"pay": 1}, {"circuit": 1})
    assert publisher.sent == []


def test_tasks_without_a_circuit_go_by_time(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """Beside as many as you like whose circuit is open."""
    pace = Paced()
    pace.force_open("pay")
    parking = lot(pace)
    for n in range(20):
        parking.park(waiting(n))
    parking.park(parked_task(id="due"))
    parking.park(parked_task(id="later", due=time.time() + 600))
    Releaser(parking).turn()
    assert sent(publisher) == ["due"]
    assert parking.count() == 21


def test_one_circuit_holds_up_no_other(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """Each has its own line; an open one, and one whose pace raises, keep their tasks only."""
    pace = Paced(**FAST)
    pace.force_open("pay")

    def some(name: str, most: int) -> Pace:
        if name == "odd":
            raise KeyError(name)
        return pace(name, most)

    parking = lot(some)
    for circuit in ("pay", "odd", "mail"):
        parking.park(waiting(circuit=circuit, id=circuit))
    eventually(lambda: parking.take_circuit_turn() and publisher.sent)
    assert sent(publisher) == ["mail"]
    assert parking.stats().by_circuit == {"odd": 1, "pay": 1}


def test_five_releasers_keep_the_pace_together(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """No task leaves that was not let go, none twice; and in no second were more let go than the circuit says."""
    pace = Paced(return_rate=60.0)
    parking = lot(pace)
    for n in range(150):
        parking.park(waiting(n))
    ahead: list[int] = []
    publisher.fails = lambda message: ahead.append(len(publisher.sent) + 1 - pace.total)  # type: ignore[func-returns-value]
    releasers = [Releaser(lot(pace)) for _ in range(5)]
    for releaser in releasers:
        releaser.start()
    try:
        eventually(lambda: parking.count() == 0, 40)
    finally:
        for releaser in releasers:
            releaser.stop()
    assert sorted(sent(publisher)) == sorted(f"id-{n}" for n in range(150))
    assert max(ahead) <= 0
    for begin, _ in pace.granted:  # 60 a second, and a fifth of a second's worth at once
        assert sum(count for at, count in pace.granted if begin <= at < begin + 1) <= 60 + 12 + 1


def test_a_claim_that_is_lost_is_in_the_line_again(lot: Callable[..., Parking]) -> None:
    """With the end of its lease; until then nobody gets it, by its circuit or by hand."""
    parking = lot()
    one = waiting()
    parking.park(one)
    store = parking.store
    assert [task.key for task in store.claim("first", circuit="pay", lease=0.5).tasks] == [one.key]
    assert store.claim("second", circuit="pay").tasks == []
    assert store.claim("second", (one.key,)).others == {one.key: "leased"}
    eventually(lambda: store.claim("second", circuit="pay").tasks)
    assert store.remove("first", (one.key,)) == 0
    assert store.remove("second", (one.key,)) == 1


def test_what_is_claimed_blocks_no_line(lot: Callable[..., Parking]) -> None:
    """The next claim gets the next in line, and nobody asks for what is claimed already."""
    parking = lot()
    for n in range(3):
        parking.park(waiting(n))
    store = parking.store
    assert [store.claim(token, circuit="pay", limit=1).tasks[0].id for token in "abc"] == ["id-0", "id-1", "id-2"]
    assert store.look().circuit == ""


def test_nothing_is_left_behind(lot: Callable[..., Parking], client: redis.Redis) -> None:
    """Released by the circuit, by hand, discarded: Redis holds not one key of them."""
    parking = lot()
    for n in range(6):
        parking.park(waiting(n))
    parking.park(waiting(9, circuit="mail"))
    assert parking.release(ParkedFilter(ids=("id-1",))).done == 1
    assert parking.discard(ParkedFilter(ids=("id-2", "id-9"))).done == 2
    assert parking.stats().by_circuit == {"pay": 4}
    assert all_back(parking) == 4
    parking.take_circuit_turn()
    assert client.keys("*") == []


def test_found_by_circuit(lot: Callable[..., Parking]) -> None:
    """Exact, or by a pattern of those that tasks wait for."""
    parking = lot()
    for n, circuit in enumerate(("pay", "pay", "mail")):
        parking.park(waiting(n, circuit=circuit))
    parking.park(parked_task(id="none"))

    def ids(*names: str) -> list[str]:
        return sorted(task.id for task in parking.iterate(ParkedFilter.parse({"circuit": names})))

    assert ids("pay") == ["id-0", "id-1"]
    assert ids("ma*", "pay") == ["id-0", "id-1", "id-2"]
    assert ids("nope*") == ids("nope") == []


def test_the_broker_away(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """They are given back at once and keep their places."""
    parking = lot()
    for n in range(3):
        parking.park(waiting(n))
    publisher.fails = lambda message: PublishFailed("nobody there")
    assert parking.take_circuit_turn().stopped == "nobody there"
    assert parking.stats().by_circuit == {"pay": 3}
    publisher.fails = lambda message: None
    all_back(parking)
    assert sent(publisher) == ["id-0", "id-1", "id-2"]


def test_no_queue_takes_it(lot: Callable[..., Parking], publisher: Recorder) -> None:
    """It is tried again later; those behind it go."""
    parking = lot()
    parking.park(waiting(0, queue="gone"))
    parking.park(waiting(1))
    publisher.fails = lambda message: Unroutable("NO_ROUTE") if message["routing_key"] == "gone" else None
    eventually(lambda: parking.take_circuit_turn() and publisher.sent)
    (left,) = parking.find().tasks
    assert (left.id, left.error, left.refusals, parking.stats().refused) == ("id-0", "NO_ROUTE", 1, 1)
    assert sent(publisher) == ["id-1"]
    publisher.fails = lambda message: None
    assert parking.release(ParkedFilter(ids=("id-0",))).done == 1


def test_circuits_that_cannot_be_asked(
    lot: Callable[..., Parking], publisher: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes by circuit, what is due goes by time, and it is said once; later all go."""
    monkeypatch.setattr("celery_recovery.parking.paced.REST", 0.05)
    away = True
    pace = Paced(**FAST)

    def asked(name: str, most: int) -> Pace:
        if away:
            raise StoreUnavailable("no circuits")
        return pace(name, most)

    parking = lot(asked)
    parking.park(waiting())
    releaser = Releaser(parking)
    with caplog.at_level("INFO", "celery_recovery"):
        for n in range(3):
            parking.park(parked_task(id=f"due-{n}"))
            releaser.turn()
            time.sleep(0.06)
        assert sent(publisher) == ["due-0", "due-1", "due-2"]
        away = False
        all_back(parking)
    assert [getattr(record, "action", "") for record in caplog.records] == ["pace_waits", "pace_goes_on"]


def test_without_circuits(client: redis.Redis, publisher: Recorder) -> None:
    """Where nothing says at what pace, they wait, and can be released by hand."""
    parking = Parking(client, Keys("shop"), publisher)
    parking.park(waiting())
    Releaser(parking).turn()
    assert publisher.sent == []
    assert parking.release(ParkedFilter()).done == 1


def test_large_bodies(lot: Callable[..., Parking], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was let go goes, in as many claims as it takes."""
    monkeypatch.setattr(parking_store, "BYTES", 1000)
    parking = lot(lambda name, most: Pace(min(most, 5), 60.0))
    for n in range(8):
        parking.park(waiting(n, body=b"x" * 600))
    assert parking.take_circuit_turn().released == 5
    assert parking.take_circuit_turn().released == 0


class TestWayOut:
    """A circuit that never closes holds nothing beyond an hour."""

    @pytest.fixture
    def shut(self, lot: Callable[..., Parking]) -> Parking:
        pace = Paced()
        pace.force_open("pay")
        return lot(pace)

    def test_after_a_time(self, shut: Parking, publisher: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        """It goes back by time; those that were parked later stay."""
        monkeypatch.setattr(parking_store, "LONGEST", 3.0)
        shut.park(waiting(0))
        monkeypatch.setattr(parking_store, "LONGEST", 3600.0)
        shut.park(waiting(1))
        assert shut.take_turn().released == 0
        eventually(lambda: shut.take_turn().released)
        assert sent(publisher) == ["id-0"]
        assert shut.stats().by_circuit == {"pay": 1}

    def test_an_hour(self, shut: Parking) -> None:
        """From the time that it was parked, by the server's clock, whatever the worker's says."""
        now = time.time()
        for n, skew in enumerate((-86400, 0, 86400)):
            shut.park(waiting(n, parked_at=now + skew, due=now + skew))
        for task in shut.iterate():
            assert 3590 < task.latest - now < 3610
            assert task.parked_at < time.time() + 5
        assert shut.stats().oldest_due == pytest.approx(now + 3600, abs=10)

    def test_when_it_expires(self, shut: Parking, publisher: Recorder) -> None:
        """It goes back then, for its worker to revoke it; one that does not expire stays."""
        soon = (datetime.now(timezone.utc) + timedelta(seconds=1.5)).isoformat()
        shut.park(waiting(0, headers={"id": "id-0", "task": "t", "expires": soon}))
        shut.park(waiting(1, headers={"id": "id-1", "task": "t", "expires": "2999-01-01T00:00:00+00:00"}))
        eventually(lambda: shut.take_turn().released)
        assert sent(publisher) == ["id-0"]

    def test_long_expired(self, shut: Parking, publisher: Recorder) -> None:
        """By this clock, and not by the worker's, which takes it for alive: once a second, not as fast as it can."""
        shut.park(waiting(0, headers={"id": "id-0", "task": "t", "expires": "2020-01-01T00:00:00+00:00"}))
        assert shut.get(shut.find().tasks[0].key).latest > time.time() + 0.1  # type: ignore[union-attr]
        assert eventually(lambda: shut.take_turn().released) == 1


def test_what_an_older_version_has_parked(
    lot: Callable[..., Parking], client: redis.Redis, publisher: Recorder
) -> None:
    """Entries without the newer fields go by time as ever, are found, given back and discarded."""
    parking, keys = lot(), Keys("shop")
    due = time.time() - 10
    for n in range(3):
        one = parked_task(id=f"id-{n}", key=f"k{n}", due=due + n)
        parking.park(one)
        assert not {b"circuit", b"latest"} & client.hgetall(keys.parked(one.key)).keys()
    assert parking.take_circuit_turn().next_due is None
    publisher.fails = lambda message: PublishFailed("nobody there")
    assert parking.take_turn().stopped
    assert client.zscore(keys.parked_due, "k0") == pytest.approx(due, abs=0.001)
    publisher.fails = lambda message: None
    assert parking.discard(ParkedFilter(ids=("id-2",))).done == 1
    assert parking.take_turn().released == 2
    assert client.keys("*") == []


def test_an_older_worker_that_removes_leaves_no_ghost(
    lot: Callable[..., Parking], client: redis.Redis, publisher: Recorder
) -> None:
    """It knows of no lines; what it leaves in one goes when somebody meets it."""
    parking, keys = lot(), Keys("shop")
    for n in range(2):
        parking.park(waiting(n, key=f"k{n}"))
    client.delete(keys.parked("k0"), keys.parked_message("k0"))
    client.zrem(keys.parked_due, "k0")
    all_back(parking)
    assert sent(publisher) == ["id-1"]
    assert client.zcard(keys.parked_circuits) == 0


def test_a_full_redis(publisher: Recorder) -> None:
    """It takes no new ones; those that it has go out all the same."""
    with RedisServer() as server:
        client = connect(server.url())
        parking = Parking(client, Keys("shop"), publisher, None, Paced(**FAST))
        for n in range(3):
            parking.park(waiting(n))
        client.config_set("maxmemory", "1mb")
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            parking.park(waiting(4))
        assert all_back(parking) == 3
        client.close()


@pytest.mark.faults
def test_a_releaser_that_is_killed(redis_url: str, other_redis_url: str) -> None:
    """In the middle, with SIGKILL: the next one finds all; at most the one task in hand is in the queue twice."""
    count, broker, store = 2000, redis.Redis.from_url(redis_url), connect(other_redis_url)
    app = Celery("shop", broker=redis_url, set_as_current=False)
    parking = Parking(store, Keys("shop"), Publisher(app, 5), None, Paced(**FAST))
    for n in range(count):
        parking.park(waiting(n))
    victim = multiprocessing.get_context("spawn").Process(target=_release, args=(redis_url, other_redis_url))
    victim.start()
    try:
        eventually(lambda: broker.llen("celery") > 20, 60, what="the first tasks in the queue")
    finally:
        victim.kill()
        victim.join(20)
    assert parking.count() > 0
    eventually(lambda: (parking.take_circuit_turn(), parking.count())[1] == 0, 60, what="all to be back")
    assert count <= broker.llen("celery") <= count + 1
    ids = {_id_of(raw) for raw in broker.lrange("celery", 0, -1)}
    assert ids == {f"id-{n}" for n in range(count)}
    store.close()
    broker.close()


def _release(broker: str, store: str) -> None:
    """What the victim does: a releaser whose claims end soon."""
    parking_store.LEASE = 3.0
    app = Celery("shop", broker=broker, set_as_current=False)
    Releaser(Parking(connect(store), Keys("shop"), Publisher(app, 5), None, lambda name, most: Pace(most, 0.1))).work()


def _id_of(raw: bytes) -> str:
    return str(json.loads(raw)["headers"]["id"])
