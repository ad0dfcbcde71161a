"""Broker, store or result backend away in the moment that a message is refused: nothing lost, nobody held up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from celery_recovery import Filter, Recovery
from tests.integration.door_client import BODY, Door, headers
from tests.integration.jobs_client import eventually
from tests.letters import letter
from tests.services import RabbitServer, RedisServer, Worker

pytestmark = pytest.mark.faults

PUBLISH = "celery_recovery.dead_letters.exchange:Publisher.publish_raw_letter"


@pytest.fixture
def door(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Door:
    return Door(worker, broker_url, other_redis_url)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_publication(door: Door, when: str) -> None:
    """The message was not acknowledged, so it comes back; its letter is there once."""
    first = door.worker(env={"JOBS_CRASH": f"{PUBLISH}:{when}"})
    door.send_raw(b"[]", headers("twice"))
    eventually(lambda: not first.running)
    door.worker(env={"JOBS_CRASH": f"{PUBLISH}:{when}"})
    eventually(lambda: door.letters() == 1, 60)
    assert door.run_one() == 1
    assert door.letters() == 1


def _control(rabbit: RabbitServer, *command: str) -> None:
    program = Path(rabbit._binary).with_name("rabbitmqctl")
    subprocess.run(
        [program, *command], env=rabbit._environment(), cwd=rabbit.directory, check=True, capture_output=True
    )


@contextmanager
def alarm(rabbit: RabbitServer) -> Iterator[None]:
    """RabbitMQ short of memory takes no message from anybody, and still delivers."""
    _control(rabbit, "set_vm_memory_high_watermark", "absolute", "1000")
    try:
        yield
    finally:
        _control(rabbit, "set_vm_memory_high_watermark", "0.9")


def test_a_broker_that_takes_nothing(worker: Callable[..., Worker], own_rabbit: RabbitServer, redis_url: str) -> None:
    """Tasks go on, and the letters go to the store, past the broker."""
    door = Door(worker, own_rabbit.url(), redis_url, conf={"recovery_publish_timeout": 2})
    for n in range(3):
        door.send_raw(b"[]", headers(f"refused-{n}"))
        door.send_raw(BODY, headers(f"runs-{n}"))
    with alarm(own_rabbit):
        running = door.worker()
        eventually(lambda: len(door.ledger.lines("door")) == 3, 3)
        eventually(lambda: door.dead_letters.count() == 3, 40)
    door.assert_no_restart(running)
    running.stop()
    door.worker()
    assert door.run_one() == 1
    assert door.letters() == 3


def test_neither_broker_nor_store_takes_anything(
    worker: Callable[..., Worker], own_rabbit: RabbitServer, own_redis: RedisServer, redis_url: str
) -> None:
    """It stays unacknowledged, loudly, and is kept when either is back; tasks run meanwhile."""
    conf = {"recovery_publish_timeout": 1, "recovery_redis_url": own_redis.url()}
    door = Door(worker, own_rabbit.url(), redis_url, conf=conf)
    door.send_raw(b"[]", headers("alone"))
    door.send_raw(BODY, headers("runs"))
    with alarm(own_rabbit):
        own_redis.kill()
        running = door.worker()
        eventually(lambda: door.ledger.lines("door"))
        assert running.wait_log("cannot be kept", 30)
        own_redis.start()
        eventually(lambda: door.dead_letters.count() == 1, 60)
    door.assert_no_restart(running)
    assert running.log.count("cannot be kept") < 6


def test_the_result_backend_is_away(worker: Callable[..., Worker], broker_url: str, own_redis: RedisServer,
                                    redis_url: str, other_redis_url: str) -> None:  # fmt: skip
    """Unknown tasks are kept all the same, and those that are known do not wait for their turn."""
    door = Door(worker, broker_url, other_redis_url)
    door.backend = own_redis.url()
    running = door.worker()
    own_redis.kill()
    for n in range(12):  # more than are prefetched
        door.send_raw(BODY, headers(f"unknown-{n}", task="door.nonesuch"))
    eventually(lambda: door.letters() == 12, 10)
    door.sig("door.note").apply_async(ignore_result=True)
    eventually(lambda: door.ledger.lines("door"), 10)
    assert running.running
    own_redis.start()


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_every_pool_has_its_door(door: Door, pool: str) -> None:
    """Whatever loop turns there."""
    if pool == "gevent":
        pytest.importorskip("gevent")
    running = door.worker(pool=pool)
    for n in range(20):
        door.send_raw(b"[]", headers(f"broken-{n}"))
    door.send_raw(BODY, headers("unknown", task="door.nonesuch"))
    eventually(lambda: door.letters() == 21)
    assert door.run_one() == 1
    eventually(lambda: door.result("unknown").state == "FAILURE")
    door.assert_no_restart(running)
    assert running.stop() == 0
    assert door.dead_letters.count(Filter(reason=("malformed",))) == 20


def test_a_warm_shutdown_waits_for_what_is_being_kept(door: Door) -> None:
    """Nothing is left unacknowledged: the next worker finds an empty queue."""
    running = door.worker()
    for n in range(30):
        door.send_raw(b"[]", headers(f"last-{n}"))
    assert running.stop() == 0
    door.worker()
    assert door.run_one() == 1
    eventually(lambda: door.letters() == 30)
    assert door.dead_letters.count() == 30


def test_events_hold_nobody_up(own_rabbit: RabbitServer, redis_url: str) -> None:
    """A broker in alarm takes an event and never answers: who stores a letter waits for a second, once."""
    app = Celery(broker=own_rabbit.url(), set_as_current=False)
    app.conf.update(recovery_redis_url=redis_url, broker_transport_options={"confirm_publish": True})
    store = Recovery.of(app).store
    assert store is not None
    with alarm(own_rabbit):
        for n, most in ((1, 5.0), (2, 0.5)):
            began = time.monotonic()
            assert store.add(letter(f"t{n}", fingerprint=f"1:{n}")) == "new"
            assert time.monotonic() - began < most
    app.close()
