"""A million dead letters: how long a page, the groups and the figures take, and what a letter costs in Redis.

    python benchmarks/million_letters.py [LETTERS]

Letters are of 40 tasks, 60 groups of very different size, 8 queues, with the arguments, traceback and history that a
task of a shop has (a body of about 300 bytes). Each figure is the slowest of five, in milliseconds; the process that
reads is measured, too. Redis is a server of this run's own, without persistence.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery_recovery.circuit.circuits import Circuits
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.monitoring.fleet import FleetReader
from celery_recovery.monitoring.prometheus import Cached, RecoveryCollector
from celery_recovery.redis import Keys, connect
from celery_recovery.redis.keys import CircuitKeys
from tests.letters import letter
from tests.services import RedisServer

LETTERS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
BATCH = 500
NOW = 1_790_000_000.0
#: Seconds that a page may look, as in Flower.
PAGE = 0.06
TYPES = ("network", "validation", "parsing", "system", "business_logic", "unknown")


def made(number: int, chance: random.Random) -> Letter:
    """One letter; the groups' sizes fall off as those of real faults do."""
    group = min(int(chance.paretovariate(0.8)), 60) - 1
    task = f"shop.orders.task_{group % 40}"
    order = {
        "order_id": number,
        "region": chance.choice(("eu", "us", "apac")),
        "lines": [{"sku": "A-1", "count": 3}] * 3,
    }
    body = json.dumps([[number], {"order": order}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return letter(
        str(uuid.UUID(int=chance.getrandbits(128))),
        task,
        body=body.encode(),
        died_at=NOW - chance.random() * 7 * 86400,
        error_type=TYPES[group % len(TYPES)],
        fingerprint=f"1:{group:016x}",
        queue=f"queue-{group % 8}",
        message=f"order {number}: the warehouse answered 503 after 30.0 s",
    )


def filled(url: str, first: int, count: int) -> None:
    """Store so many."""
    store, chance = DeadLetterStore(connect(url)), random.Random(first)
    for start in range(first, first + count, BATCH):
        store.add_many([made(n, chance) for n in range(start, min(start + BATCH, first + count))])


def slowest(what: Callable[[], Any]) -> float:
    """Milliseconds that the slowest of five took."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return max(times) * 1000


def found(store: DeadLetterStore, where: Filter) -> str:
    """What is to be said of a page that was cut short."""
    page = store.find(where, limit=50, seconds=PAGE)
    return "" if page.is_full else f"   {len(page.letters)} found when the time was over; its cursor goes on"


def scrape(client: Any, circuits: int) -> Callable[[], bytes]:
    """What Prometheus asks for: 40 tasks and so many circuits."""
    keys, tasks = Keys(), [f"shop.orders.task_{n}" for n in range(40)]
    if circuits:
        client.zadd(CircuitKeys.index(keys.prefix), {f"tenant-{n}": time.time() for n in range(circuits)})
    registry = CollectorRegistry()
    reader = FleetReader(client, keys, Circuits(client, keys.prefix, {}), tasks)
    registry.register(RecoveryCollector(Cached(reader.read, fresh=0.0)))
    return lambda: generate_latest(registry)


def main() -> None:
    """Fill, measure, print."""
    with RedisServer() as server:
        url = server.url()
        client = connect(url)
        empty = client.info("memory")["used_memory"]
        began = time.perf_counter()
        share = -(-LETTERS // 20)
        with ProcessPoolExecutor(2) as pool:
            jobs = [pool.submit(filled, url, n, min(share, LETTERS - n)) for n in range(0, LETTERS, share)]
            for n, job in enumerate(jobs, 1):
                job.result()
                print(f"\r{n * share:,} letters", end="", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - began
        print(file=sys.stderr)
        used = client.info("memory")["used_memory"] - empty
        store = DeadLetterStore(client)
        print(f"letters                              {LETTERS:,}")
        print(f"stored                               {LETTERS / seconds:,.0f} per second")
        print(f"Redis                                {used / LETTERS:,.0f} bytes per letter")
        since = str(NOW - 3600)
        some = store.find(Filter(), limit=1).letters[0]
        pages = {
            "no filter": {},
            "one state": {"state": "failed"},
            "large group": {"fingerprint": f"1:{0:016x}"},
            "small group": {"fingerprint": f"1:{58:016x}"},
            "task pattern": {"task": "shop.orders.task_1*"},
            "task and type": {"task": "shop.orders.task_3", "error_type": "system"},
            "nothing agrees": {"task": "shop.orders.task_0", "error_type": "system"},
            "the last hour": {"since": since},
            "queue, last hour": {"queue": "queue-3", "since": since},
            "reason": {"reason": "exhausted"},
            "rare reason": {"reason": "quarantined"},
            "text": {"text": "the warehouse answered"},
            "one argument": {"arg": "order.region=eu"},
            "id": {"id": some.id},
        }
        for name, options in pages.items():
            where = Filter.parse(options)
            took = slowest(lambda where=where: store.find(where, limit=50, seconds=PAGE))
            print(f"page of 50, {name:<24} {took:8.1f} ms{found(store, where)}")
        page = store.find(Filter(), limit=50)
        print(f"{'page of 50, the next one':<36} {slowest(lambda: store.find(Filter(), cursor=page.cursor)):8.1f} ms")
        print(f"{'groups':<36} {slowest(lambda: store.groups(20)):8.1f} ms")
        print(f"{'one group':<36} {slowest(lambda: store.grouped.get(f'1:{0:016x}')):8.1f} ms")
        print(f"{'figures':<36} {slowest(store.stats):8.1f} ms")
        print(f"{'a scrape by Prometheus':<36} {slowest(scrape(client, 0)):8.1f} ms")
        print(f"{'… with 10,000 circuits':<36} {slowest(scrape(client, 10_000)):8.1f} ms")
        one_task = Filter.parse({"task": "shop.orders.task_0"})
        print(f"{'count, one index':<36} {slowest(lambda: store.count(one_task)):8.1f} ms")
        began = time.perf_counter()
        store.breakdown()
        print(f"{'breakdown of all':<36} {(time.perf_counter() - began) * 1000:8.0f} ms")
        print(
            f"largest size of this process         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MB"
        )


if __name__ == "__main__":
    main()
