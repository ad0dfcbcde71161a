"""Many tasks with a long countdown sent to one worker: its memory, beside plain Celery's; and how fast they come back.

    python benchmarks/parking.py [--tasks 100000]

Each kind gets a worker, a broker and a store of its own, all private Redis servers. Measured: resident memory of the
worker's main process before and after, the time until all have left the queue, what Redis holds of one parked task, and
the rate at which due ones are released, by one releaser and by four. Exits with 1 when parking costs the
worker more than 5 MB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis
from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery import Recovery
from celery_recovery.parking import ParkedFilter, Parking
from tests.services import RedisServer, Worker

COUNTDOWN, FLAT = 600.0, 5.0
MB = 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    count = parser.parse_args(arguments).tasks
    print(f"{count} tasks with a countdown of {COUNTDOWN:.0f} s, one worker (prefork, 2)")
    grown = {kind: _wait(kind, count) for kind in ("plain", "ours")}
    print(f"main process grew by {grown['plain']:.1f} MB with plain Celery, by {grown['ours']:.1f} MB with parking "
          f"(budget {FLAT:g} MB)")  # fmt: skip
    return int(grown["ours"] > FLAT)


def _wait(kind: str, count: int) -> float:
    """Send the tasks and let the worker take them all in; MB that it grew by."""
    with RedisServer() as broker, RedisServer() as store:
        app = Celery("bench", broker=broker.url(), set_as_current=False)
        app.conf.recovery_redis_url = store.url()
        app.conf.task_ignore_result = True
        env = {"CELERY_BROKER_URL": broker.url(), "BENCH_STORE_URL": store.url(), "BENCH_KIND": kind}
        worker = Worker("benchmarks.parking_app", env=env, loglevel="WARNING")
        try:
            client, parking = redis.Redis.from_url(broker.url()), Recovery.of(app).parked
            assert parking is not None
            app.send_task("ship", (0, "EUR"))  # the worker is up when this is through
            _until(lambda: not client.llen("celery") and not _held(client))
            before, begun = _resident(worker), time.perf_counter()
            with app.producer_or_acquire() as producer:
                for n in range(count):
                    app.send_task("ship", (n, "EUR"), countdown=COUNTDOWN, producer=producer)
            taken: Callable[[], int] = parking.count if kind == "ours" else lambda: _held(client)
            _until(lambda: taken() >= count, 1800)
            if kind == "ours":
                _until(lambda: not _held(client))
            grown = (_resident(worker) - before) / MB
            print(f"{kind:6} {before / MB:6.1f} MB + {grown:6.1f} MB   sent and taken in "
                  f"{time.perf_counter() - begun:.1f} s   unacknowledged {_held(client)}")  # fmt: skip
        finally:
            worker.kill()
        if kind == "ours":
            _tell_redis(parking, count)
            _tell_release(parking, app, store, count)
        return grown


def _tell_redis(parking: Parking, count: int) -> None:
    """What one parked task takes: its two hashes as Redis counts them, and all that the server holds, shared out."""
    client, keys = parking.store.client, parking.store.keys
    one = parking.find(limit=1).tasks[0]
    sizes = [client.memory_usage(key) for key in (keys.parked(one.key), keys.parked_message(one.key))]
    used = client.info("memory")["used_memory"]
    print(f"Redis:  {sum(sizes)} bytes a task by MEMORY USAGE ({sizes[0]} to be found by, {sizes[1]} message); "
          f"{used / count:.0f} bytes of all its memory; body {one.size} bytes")  # fmt: skip


def _tell_release(parking: Parking, app: Celery, store: RedisServer, count: int) -> None:
    """Make them all due, and release them."""
    half = count // 2
    client, keys = parking.store.client, parking.store.keys
    due = time.time() - 1
    for first in range(0, count, 1000):
        names = client.zrange(keys.parked_due, first, first + 999)
        client.zadd(keys.parked_due, dict.fromkeys(names, due))
    begun = time.perf_counter()
    released = 0
    while released < half:
        released += parking.release_due()
    print(f"release: {released / (time.perf_counter() - begun):.0f} tasks/s by one")
    rest = parking.count(ParkedFilter())
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_release_all, args=(app.conf.broker_url, store.url())) for _ in range(4)]
    begun = time.perf_counter()
    for other in others:
        other.start()
    for other in others:
        other.join()
    print(f"release: {rest / (time.perf_counter() - begun):.0f} tasks/s by four processes, their start included")
    broker = redis.Redis.from_url(app.conf.broker_url)
    waiting = broker.llen("celery")
    if waiting != count:
        sys.exit(f"{waiting} messages are in the queue, not {count}")
    print(f"         {waiting} messages in the queue: each exactly once")


def _release_all(broker: str, store: str) -> None:
    app = Celery("bench", broker=broker, set_as_current=False)
    app.conf.recovery_redis_url = store
    parking = Recovery.of(app).parked
    while parking is not None and parking.release_due():
        pass


def _held(client: redis.Redis) -> int:
    """Messages that a worker has taken and not acknowledged."""
    kept = client.keys("unacked.held.*")
    return int(client.hlen("unacked")) + sum(int(client.hlen(key)) - 1 for key in kept)  # one field counts


def _resident(worker: Worker) -> int:
    """Bytes of the main process."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


def _until(found: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
