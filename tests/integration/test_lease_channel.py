"""The channel under a lease, without a worker: what is taken is held until it is let go, whatever comes between."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError

from celery_recovery.identity import Identity
from celery_recovery.worker.books import Kept
from celery_recovery.worker.channel import leased_transport
from celery_recovery.worker.holding import Holding, Keys
from celery_recovery.worker.lease import Lease
from celery_recovery.worker.reaper import Reaper
from tests.integration.jobs_client import eventually
from tests.services import RedisServer
from tests.services.process import Process, free_port
from tests.services.redis_server import find_redis_server

pytestmark = pytest.mark.redis


class Reader:
    """One consumer's connection under a lease of its own."""

    def __init__(self, url: str, seconds: float = 15.0, **options: Any) -> None:
        self.lease = Lease(Identity.of_this_process(), seconds, "reader")
        self.connection = Connection(url, transport_options=options)
        plain = self.connection.get_transport_cls
        self.connection.get_transport_cls = lambda: leased_transport(plain(), self.lease)
        self.got: list[Any] = []

    def consume(self, *queues: str, no_ack: bool = False, prefetch: int = 0) -> Consumer:
        consumer = self.connection.Consumer([Queue(name) for name in queues], no_ack=no_ack)
        consumer.qos(prefetch_count=prefetch)
        consumer.on_message = self.got.append
        consumer.consume()
        return consumer

    def drain(self, count: int = 1, timeout: float = 5.0) -> list[Any]:
        deadline = time.monotonic() + timeout
        while len(self.got) < count and time.monotonic() < deadline:
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue
        return self.got

    def close(self) -> None:
        self.lease.retire()
        self.connection.release()


@pytest.fixture
def reader(redis_url: str) -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []

    def make(url: str = redis_url, **options: Any) -> Reader:
        made.append(Reader(url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def publish(url: str, body: Any, queue: str = "q", **options: Any) -> None:
    with Connection(url) as connection:
        connection.Producer().publish(body, routing_key=queue, declare=[Queue(queue)], **options)


def held(client: redis.Redis) -> int:
    return sum(1 for key in client.keys("*unacked.held.*") for field in client.hkeys(key) if field != b"next")


def test_taken_held_acknowledged(reader, redis_url, redis_client):
    """From the queue into what the reader holds, and away when it is acknowledged."""
    one = reader()
    one.consume("q")
    publish(redis_url, "hello")
    (message,) = one.drain()
    assert held(redis_client) == 1
    assert redis_client.llen("q") == 0
    message.ack()
    assert held(redis_client) == 0


def test_told_of_a_message(reader, redis_url):
    """An idle reader does not poll: it is told. Its first look was long before the message."""
    one = reader()
    one.consume("q", "other")
    assert one.drain(timeout=1.5) == []
    thread = threading.Timer(0.05, publish, (redis_url, "hello", "other"))
    thread.start()
    started = time.monotonic()
    assert len(one.drain()) == 1
    assert time.monotonic() - started < 0.5
    thread.join()


def test_requeued_and_rejected(reader, redis_url, redis_client):
    """A requeued message goes behind all others, marked as redelivered; a rejected one is gone."""
    one = reader()
    one.consume("q", prefetch=1)
    for body in ("first", "second"):
        publish(redis_url, body)
    one.drain()[0].requeue()
    assert [message.decode() for message in one.drain(2)] == ["first", "second"]
    one.got[1].reject()
    assert held(redis_client) == 0
    again = one.drain(3)[2]
    assert again.decode() == "first"
    assert again.headers["redelivered"]
    assert again.delivery_info["redelivered"]


def test_no_acknowledgement(reader, redis_url, redis_client):
    """What a consumer without acknowledgement was given is not held."""
    one = reader()
    one.consume("q", no_ack=True)
    publish(redis_url, "hello")
    assert len(one.drain()) == 1
    assert held(redis_client) == 0


def test_got_one_by_one(reader, redis_url, redis_client):
    """`basic_get` holds as a consumer does."""
    one = reader()
    channel = one.connection.default_channel
    publish(redis_url, "hello")
    publish(redis_url, "again")
    message = channel.basic_get("q")
    assert held(redis_client) == 1
    message.ack()
    assert channel.basic_get("q", no_ack=True) is not None
    assert channel.basic_get("q") is None
    assert held(redis_client) == 0


def test_prefetch_and_priority(reader, redis_url, redis_client):
    """No more is taken than may be; the more important first, whatever came first."""
    one = reader()
    for priority in (9, 3, 0):
        publish(redis_url, priority, priority=priority)
    one.consume("q", prefetch=2)
    assert [message.decode() for message in one.drain(3, timeout=1)] == [0, 3]
    assert held(redis_client) == 2
    one.got[0].ack()
    assert one.drain(3)[2].decode() == 9


def test_queues_take_turns(reader, redis_url):
    """One busy queue does not keep another from being read."""
    one = reader()
    for _ in range(3):
        publish(redis_url, "a", "a")
        publish(redis_url, "b", "b")
    one.consume("a", "b")
    bodies = [message.decode() for message in one.drain(6)]
    assert set(bodies[:2]) == set(bodies[2:4]) == {"a", "b"}


def test_messages_with_one_tag(reader, redis_url, redis_client):
    """Two copies of one message are two deliveries: the end of one is not the end of the other."""
    one = reader()
    publish(redis_url, "hello")
    redis_client.lpush("q", redis_client.lindex("q", 0))
    one.consume("q")
    first, second = one.drain(2)
    assert first.delivery_tag == second.delivery_tag
    first.ack()
    assert held(redis_client) == 1
    second.ack()
    assert held(redis_client) == 0


ITEMS = (b"no json", b"[1, 2]", b'{"body": 1}', b"\xff\xfe", b"[" * 100_000, b'{"properties": {"delivery_tag": []}}')


@pytest.mark.parametrize("item", ITEMS, ids=range(len(ITEMS)))
def test_an_item_that_is_no_message(reader, redis_url, redis_client, item):
    """It stays held where nobody takes it over, and goes back to its queue as it was."""
    one = reader()
    one.consume("q")
    redis_client.lpush("q", item)
    publish(redis_url, "after")
    assert [message.decode() for message in one.drain()] == ["after"]
    assert held(redis_client) == 2
    one.got[0].ack()
    one.lease.retire()
    assert redis_client.lrange("q", 0, -1) == [item]


def test_an_item_that_is_taken_over(reader, redis_url, redis_client):
    """Whoever takes it over gets its bytes and what is wrong; only when that worked is it let go."""
    one = reader()
    one.consume("q")
    seen: list[tuple[bytes, str, Exception]] = []

    def keeper(*what: Any) -> None:
        seen.append(what)
        if len(seen) == 1:
            raise ConnectionError("away")

    one.lease.on_undecodable = keeper
    redis_client.lpush("q", b"first", b"second")
    publish(redis_url, "after")
    one.drain()
    assert [(raw, queue) for raw, queue, _ in seen] == [(b"first", "q"), (b"second", "q")]
    assert all(isinstance(exc, ValueError) for _, _, exc in seen)
    assert b"first" in b"".join(value for key in redis_client.keys("*held*") for value in redis_client.hvals(key))
    assert held(redis_client) == 2


def test_nothing_is_taken_without_a_registration(reader, redis_url, redis_client):
    """Struck off, a reader cannot take what nobody would give back; it registers again first."""
    one = reader()
    one.consume("q")
    one.drain(timeout=0.3)
    boot = one.lease.identity.boot
    redis_client.delete("unacked.lives", f"unacked.alive.{boot}", f"unacked.held.{boot}")
    holding = Holding(redis_client, Keys("unacked"), boot, "{}", 15)
    publish(redis_url, "hello")
    assert holding._scripts["take"]((f"unacked.held.{boot}", "q"), ("1",)) == -1
    assert redis_client.llen("q") == 1
    assert len(one.drain()) == 1
    assert redis_client.hexists("unacked.lives", boot)
    assert one.lease.silences == 1


def test_still_mine(reader, redis_url, redis_client):
    """A worker that was silent knows what others took from it; what a flush took is still its own."""
    one = reader()
    one.consume("q")
    for body in ("taken", "flushed"):
        publish(redis_url, body)
    taken, flushed = one.drain(2)
    assert one.lease.still_mine(taken.delivery_tag)
    boot = one.lease.identity.boot
    redis_client.delete(f"unacked.alive.{boot}")
    other = Holding(redis_client, Keys("unacked"), "other", "{}", 15)
    token = min(field for field in redis_client.hkeys(f"unacked.held.{boot}") if field != b"next")
    assert other.give_back(boot, [token], force=False) == 1
    redis_client.delete(f"unacked.held.{boot}", "unacked.lives")
    one.lease._beaten -= 3600  # as after a pause
    assert not one.lease.still_mine(taken.delivery_tag)
    assert one.lease.still_mine(flushed.delivery_tag)
    publish(redis_url, "new")
    assert one.lease.still_mine(one.drain(3)[2].delivery_tag)


def test_a_living_worker_is_not_robbed(reader, redis_url, redis_client):
    """Neither where its process is seen, nor where its heartbeat is; and a heartbeat in the last moment counts."""
    one = reader()
    one.consume("q")
    publish(redis_url, "hello")
    one.drain()
    boot = one.lease.identity.boot
    other = Holding(redis_client, Keys("unacked"), "other", "{}", 15)
    assert Reaper(other).look() == 0
    redis_client.delete(f"unacked.alive.{boot}")
    assert Reaper(other).look() == 0, "its process exists"
    elsewhere = json.dumps({"pid": 1, "started": 1, "place": "elsewhere", "lease": 0.0})
    redis_client.hset("unacked.lives", boot, elsewhere)
    redis_client.set(f"unacked.alive.{boot}", 1)
    assert Reaper(other).look() == 0, "its heartbeat is there"
    assert other.give_back(boot, force=False) == 0
    redis_client.delete(f"unacked.alive.{boot}")
    assert Reaper(other).look() == 1


def test_after_an_outage_nobody_is_robbed_for_a_lease(redis_client):
    """Where Redis was away, heartbeats are missing for no fault of theirs."""
    life = json.dumps({"pid": 1, "started": 1, "place": "elsewhere", "lease": 3600})
    gone = Holding(redis_client, Keys("unacked"), "gone", life, 1)
    gone.beat()
    gone.hold("q", b"{}", "1")
    redis_client.delete("unacked.alive.gone")
    assert Reaper(Holding(redis_client, Keys("unacked"), "other", "{}", 15)).look() == 0


def test_acknowledged_while_the_broker_is_away(own_redis: RedisServer):
    """What has ended is let go as soon as the broker is back, though its channel is gone."""
    one = Reader(own_redis.url())
    one.consume("q")
    publish(own_redis.url(), "hello")
    (message,) = one.drain()
    own_redis.kill()
    message.ack()
    own_redis.start()
    client = redis.Redis.from_url(own_redis.url())
    assert held(client) == 1
    eventually(lambda: held(client) == 0)
    one.close()


def test_a_connection_is_lost(reader, redis_url, redis_client):
    """What nobody can acknowledge any more goes back; what somebody still has is acknowledged when it ends."""
    one = reader()
    one.consume("q", prefetch=2)
    for body in ("kept", "dropped"):
        publish(redis_url, body)
    one.drain(2)
    kept = one.got[0]
    one.got.clear()
    one.connection.default_channel.close()
    eventually(lambda: redis_client.llen("q") == 1, what="the dropped one to be back")
    assert held(redis_client) == 1
    kept.ack()
    assert held(redis_client) == 0


def test_a_broker_that_is_away(own_redis: RedisServer):
    """It is an ordinary connection error, to be tried again."""
    url = own_redis.url()
    own_redis.kill()
    one = Reader(url)
    with pytest.raises(OperationalError):
        one.connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    assert one.lease.tracking is None


def test_large_messages_and_odd_queue_names(reader, redis_url, redis_client):
    """Whatever the queue is called and the message holds, it comes back as it was."""
    one = reader()
    name = "12:ü\n:\x06"
    one.consume(name)
    body = "x" * 2_000_000
    publish(redis_url, body, name)
    one.drain()
    one.lease.retire()
    assert redis_client.llen(name) == 1
    assert len(redis_client.lindex(name, 0)) > 2_000_000


def test_a_forgotten_message(reader, redis_url, redis_client):
    """Unacknowledged and in nobody's memory, it goes back after kombu's `visibility_timeout`, and counts no longer."""
    one = reader(visibility_timeout=1)
    one.consume("q", prefetch=2)
    for body in ("kept", "forgotten"):
        publish(redis_url, body)
    kept, _ = one.drain(2)
    one.got.clear()
    del _
    eventually(lambda: redis_client.llen("q") == 1, what="the forgotten one to be back")
    assert held(redis_client) == 1
    (again,) = one.drain()
    assert again.headers["redelivered"]
    kept.ack()
    again.ack()
    assert held(redis_client) == 0


def test_sentinels(own_redis, tmp_path):
    """The master that sentinels name; the heartbeat asks them too."""
    port, config = free_port(), tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nsentinel monitor main 127.0.0.1 {own_redis.port} 1\n")
    sentinel = Process([find_redis_server(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        asked = redis.Redis(port=port)
        eventually(lambda: _answers(asked), what="the sentinel to know its master")
        one = Reader(f"sentinel://127.0.0.1:{port}/0", master_name="main")
        one.consume("q")
        publish(own_redis.url(), "hello")
        (message,) = one.drain()
        client = redis.Redis.from_url(own_redis.url())
        assert held(client) == 1
        assert one.lease.tracking
        message.ack()
        assert held(client) == 0
        one.close()
        assert not client.keys("unacked.*")
    finally:
        sentinel.kill()


def _answers(sentinel: redis.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))
    except redis.ConnectionError:
        return False


def test_a_unix_socket(own_redis_with_socket, redis_url):
    """The other way to reach a Redis."""
    path = str(own_redis_with_socket.directory / "redis.sock")
    one = Reader(f"redis+socket://{path}")
    one.consume("q")
    publish(own_redis_with_socket.url(), "hello")
    (message,) = one.drain()
    client = redis.Redis(unix_socket_path=path)
    assert held(client) == 1
    message.ack()
    assert held(client) == 0
    one.close()


@pytest.fixture
def own_redis_with_socket() -> Iterator[RedisServer]:
    with RedisServer(options=("--unixsocket", "redis.sock")) as server:
        yield server


def test_an_answer_that_is_lost(reader, redis_url, redis_client):
    """Taken, and the connection gone before the reader heard of it: back it goes, and is not forgotten."""
    one = reader()
    one.consume("q")
    one.drain(timeout=0.2)
    channel = one.connection.default_channel
    channel.waiting, channel._in_poll, channel._missed_at = False, None, None
    publish(redis_url, "hello")
    channel._brpop_start()
    eventually(lambda: held(redis_client) == 1)
    channel.client.connection.disconnect()
    (message,) = one.drain()
    assert message.headers["redelivered"]
    message.ack()
    assert held(redis_client) == 0


def test_the_connection_goes_while_it_waits(reader, redis_url, redis_client):
    """The next one is asked as if nothing had been."""
    one = reader()
    one.consume("q")
    one.drain(timeout=0.2)
    assert one.connection.default_channel.waiting
    one.connection.default_channel.client.connection.disconnect()
    publish(redis_url, "hello")
    assert len(one.drain(timeout=1)) == 1


def test_what_is_on_its_way_is_not_taken_for_lost(reader, redis_url, redis_client):
    """An answer that the reader has no credit to read yet is its own, however long that lasts."""
    one = reader()
    one.consume("q", prefetch=1)
    one.drain(timeout=0.2)
    channel = one.connection.default_channel
    channel.waiting, channel._in_poll, channel._missed_at = False, None, None
    publish(redis_url, "hello")
    channel._brpop_start()
    eventually(lambda: held(redis_client) == 1)
    assert one.lease.books.unknown(channel.holding) == []
    assert len(one.drain()) == 1


def test_greenlets_that_beat_at_once() -> None:
    """A greenlet that waits for a silent broker keeps no lock that another one, in the same thread, would wait for."""
    code = textwrap.dedent("""
        from gevent import monkey; monkey.patch_all()
        import faulthandler, gevent, redis, socket
        from celery_recovery.identity import Identity
        from celery_recovery.worker.holding import Holding, Keys
        from celery_recovery.worker.lease import Lease

        faulthandler.dump_traceback_later(20, exit=True)
        silent = socket.create_server(("127.0.0.1", 0))
        client = redis.Redis(port=silent.getsockname()[1], socket_timeout=0.5, retry=None)
        lease = Lease(Identity.of_this_process(), 15, "w")
        holding = Holding(client, Keys("unacked"), "boot", "{}", 15)

        def beat():
            try:
                lease.beat(holding)
            except redis.RedisError:
                print("away")

        gevent.joinall([gevent.spawn(beat) for _ in range(2)])
    """)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.split() == ["away", "away"], ran.stderr


def test_the_threads_own_connection(reader) -> None:
    """What the lease's thread makes up for goes by its own connection: a greenlet's cannot be used in two threads."""
    one = reader()
    one.consume("q")
    first, second = one.lease._holdings[next(iter(one.lease._holdings))]
    assert one.lease.twin(first) is second
    assert one.lease.twin(second) is second


def test_a_broker_that_the_worker_has_left(reader, redis_client) -> None:
    """What it cannot be told does not keep this worker from giving back what the dead hold at the new one."""
    one = reader()
    one.consume("q")
    gone = Holding(redis.Redis(port=free_port()), Keys("unacked"), "boot", "{}", 15)
    one.lease.books.unreleased.append(Kept(gone, b"1.1", lambda: None, 0.0, None))
    one.lease.books.unreturned.append((Kept(gone, b"2.1", lambda: None, 0.0, None), False))
    dead = Holding(
        redis_client, Keys("unacked"), "dead", json.dumps({"pid": 1, "started": 0, "place": "", "lease": 0.1}), 0.1
    )
    dead.hold("celery", b"{}", "1")
    eventually(lambda: redis_client.llen("celery") == 1, 40)
    assert (len(one.lease.books.unreleased), len(one.lease.books.unreturned)) == (1, 1)
