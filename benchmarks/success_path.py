"""What a task that succeeds pays for recovery: throughput against plain Celery, Redis round trips, time in process.

    python benchmarks/success_path.py [--tasks 3000] [--rounds 8]

One prefork worker runs batches of no-op tasks, plain and ours in turn; the ratio is taken round by round, so that a
machine that changes its speed changes both. The store has a Redis of its own, whose commands are counted, less those of
an idle worker in the same time. Exits with 1 beyond the budget: ratio 0.98, no round trip per task (thousands share one
flush of counters), 15 µs in process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.app.trace import build_tracer

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery import RecoverableTask
from tests.services import RedisServer, Worker

RATIO, ROUND_TRIPS, MICROSECONDS = 0.98, 0.01, 15.0


def main(arguments: list[str] | None = None) -> int:
    """Run both measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=3000, help="tasks in a batch")
    parser.add_argument("--rounds", type=int, default=8, help="batches of each kind")
    options = parser.parse_args(arguments)
    extra = in_process()
    print(f"in process: {extra:.1f} µs more per task than plain Celery (budget {MICROSECONDS:g})")
    ratios, commands = throughput(options.tasks, options.rounds)
    ratio = statistics.median(ratios)
    print(f"throughput: {ratio:.3f} of plain Celery's, median of {options.rounds} rounds "
          f"(from {min(ratios):.3f} to {max(ratios):.3f}; budget {RATIO})")  # fmt: skip
    print(f"Redis:      {commands:.4f} commands to the store per successful task more than an idle worker's"
          f" (budget {ROUND_TRIPS})")  # fmt: skip
    return int(ratio < RATIO or commands > ROUND_TRIPS or extra > MICROSECONDS)


def throughput(tasks: int, rounds: int) -> tuple[list[float], float]:
    """Ratios ours/plain of tasks per second, and commands to the store per task of ours."""
    with RedisServer() as broker, RedisServer() as store:
        env = {"CELERY_BROKER_URL": broker.url(), "BENCH_STORE_URL": store.url()}
        worker = Worker("benchmarks.noop_app", env=env, loglevel="WARNING", concurrency=2)
        app = Celery(broker=broker.url(), set_as_current=False)
        app.conf.task_ignore_result = True
        client = redis.Redis.from_url(broker.url())
        counted = redis.Redis.from_url(store.url())
        try:
            _batch(app, client, "plain", tasks)  # the worker is up when this is through
            _batch(app, client, "ours", tasks)
            idle = _commands_per_second(counted, 10)
            began, before, ratios = time.perf_counter(), _commands(counted), []
            for n in range(rounds):
                order = ("plain", "ours") if n % 2 else ("ours", "plain")  # neither is always the first
                seconds = {task: _batch(app, client, task, tasks) for task in order}
                ratios.append(seconds["plain"] / seconds["ours"])
            anyway = idle * (time.perf_counter() - began)
            worker.stop()  # writes what was counted
            return ratios, max(_commands(counted) - before - anyway, 0.0) / (tasks * rounds)
        finally:
            worker.kill()


def _batch(app: Celery, client: redis.Redis, task: str, count: int) -> float:
    """Seconds from the first of `count` waiting tasks to the last acknowledgement."""
    with app.producer_or_acquire() as producer:
        for _ in range(count):
            app.send_task(task, producer=producer, queue="waiting")
    started = time.perf_counter()
    client.rename("waiting", "celery")  # all at once: publishing is no part of it
    while client.llen("celery") or _held(client):
        time.sleep(0.002)
    return time.perf_counter() - started


def _held(client: redis.Redis) -> int:
    """Messages that a worker has taken and not acknowledged, where kombu keeps them and where a lease does."""
    kept = client.keys("unacked.held.*")
    return int(client.hlen("unacked")) + sum(int(client.hlen(key)) - 1 for key in kept)  # one field counts


def _commands_per_second(client: redis.Redis, seconds: float) -> float:
    """Of a worker that has nothing to do: heartbeats, and looks at what may be due."""
    before = _commands(client)
    time.sleep(seconds)
    return (_commands(client) - before) / seconds


def _commands(client: redis.Redis) -> int:
    """Commands that the server has run so far, without those of asking."""
    stats: dict[str, Any] = client.info("commandstats")
    return sum(
        entry["calls"] for name, entry in stats.items() if name not in {"cmdstat_info", "cmdstat_client|setinfo"}
    )


def in_process(calls: int = 20_000, rounds: int = 7) -> float:
    """Microseconds that Celery's tracer takes longer with our base, no broker involved; the least of some rounds."""
    app = Celery("bench", broker="memory://", backend="disabled://", set_as_current=False)

    def nothing() -> None:
        """Do nothing."""

    plain = app.task(nothing, name="plain", shared=False, ignore_result=True)
    ours = app.task(nothing, name="ours", base=RecoverableTask, shared=False, ignore_result=True)
    app.finalize()
    request = {"id": "1", "delivery_info": {}, "retries": 0, "hostname": "bench", "ignore_result": True}
    tracers = [build_tracer(task.name, app.tasks[task.name], app=app) for task in (plain, ours)]
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for tracer, seconds in zip(tracers, times, strict=True):
            started = time.perf_counter()
            for _ in range(calls):
                tracer("1", (), {}, dict(request))
            seconds.append((time.perf_counter() - started) / calls)
    return (min(times[1]) - min(times[0])) * 1e6


if __name__ == "__main__":
    sys.exit(main())
