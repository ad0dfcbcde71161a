"""What it costs that no message is ever in neither its queue nor its worker: throughput and idle latency.

    python benchmarks/redis_take.py [--tasks 3000] [--rounds 6] [--arrivals 150] [--pool prefork]

Two workers on one Redis server, plain Celery's BRPOP and ours, the same tasks with late acknowledgement, in turn; the
ratio is taken round by round. Idle latency: from publishing to the task's start, one task at a time, with pauses in
which the worker waits. Exits with 1 beyond the budget: throughput at least 0.98 of plain Celery's, 2 ms later at most.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import redis
from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.services import RedisServer, Worker

RATIO, MILLISECONDS = 0.98, 2.0
KINDS = ("plain", "leased")


class Side:
    """One of the two workers, with a database of its own."""

    def __init__(self, server: RedisServer, number: int, pool: str) -> None:
        self.url = server.url(number)
        self.client = redis.Redis.from_url(self.url)
        self.store = redis.Redis.from_url(server.url(9))
        env = {"CELERY_BROKER_URL": self.url, "BENCH_STORE_URL": server.url(9), "BENCH_LEASE": str(number)}
        self.worker = Worker("benchmarks.take_app", env=env, concurrency=2, pool=pool, loglevel="INFO")
        self.worker.wait_ready()
        self.app = Celery(broker=self.url, set_as_current=False)
        self.app.conf.task_ignore_result = True

    def batch(self, count: int) -> float:
        """Seconds from the first of `count` waiting tasks to the last acknowledgement."""
        with self.app.producer_or_acquire() as producer:
            for _ in range(count):
                self.app.send_task("nothing", producer=producer, queue="waiting")
        started = time.perf_counter()
        self.client.rename("waiting", "celery")
        while self.client.llen("celery") or self._held():
            time.sleep(0.002)
        return time.perf_counter() - started

    def latency(self, kind: str) -> float:
        """Seconds from publishing one task to its start."""
        self.app.send_task("arrived", args=(kind, time.time()))
        found = self.store.blpop([kind], timeout=10)
        return float(found[1])  # type: ignore[index]

    def _held(self) -> int:
        held = self.client.keys("unacked.held.*")
        return int(self.client.hlen("unacked")) + sum(int(self.client.hlen(key)) - 1 for key in held)


def main(arguments: list[str] | None = None) -> int:
    """Run both measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=3000, help="tasks in a batch")
    parser.add_argument("--rounds", type=int, default=6, help="batches of each kind")
    parser.add_argument("--arrivals", type=int, default=150, help="single tasks of each kind")
    parser.add_argument("--pool", default="prefork", help="pool of both workers")
    options = parser.parse_args(arguments)
    with RedisServer() as server:
        sides = {kind: Side(server, number, options.pool) for number, kind in enumerate(KINDS)}
        try:
            ratios = throughput(sides, options.tasks, options.rounds)
            late = latencies(sides, options.arrivals)
        finally:
            for side in sides.values():
                side.worker.kill()
    ratio = statistics.median(ratios)
    print(f"throughput: {ratio:.3f} of plain Celery's, median of {options.rounds} rounds "
          f"(from {min(ratios):.3f} to {max(ratios):.3f}; budget {RATIO})")  # fmt: skip
    medians = [statistics.median(late[kind]) * 1000 for kind in KINDS]
    print(f"idle:       {medians[1] - medians[0]:+.2f} ms, median {medians[1]:.2f} ms against {medians[0]:.2f} ms "
          f"({medians[1] / medians[0]:.2f} times as long; budget +{MILLISECONDS:g} ms)")  # fmt: skip
    return int(ratio < RATIO or medians[1] - medians[0] > MILLISECONDS)


def throughput(sides: dict[str, Side], tasks: int, rounds: int) -> list[float]:
    """Ratios leased/plain of tasks per second."""
    for side in sides.values():
        side.batch(tasks // 4)
    ratios = []
    for number in range(rounds):
        seconds = {kind: sides[kind].batch(tasks) for kind in (KINDS if number % 2 else reversed(KINDS))}
        ratios.append(seconds["plain"] / seconds["leased"])
    return ratios


def latencies(sides: dict[str, Side], arrivals: int) -> dict[str, list[float]]:
    """Seconds from publishing to start, of each kind, taken in turn."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arrivals):
        for kind in KINDS:
            time.sleep(random.uniform(0.02, 0.06))
            found[kind].append(sides[kind].latency(kind))
    return found


if __name__ == "__main__":
    sys.exit(main())
