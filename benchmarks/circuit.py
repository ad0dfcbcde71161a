"""What a shared circuit costs, and how well it keeps its word: ours, pybreaker's and purgatory's, on the same Redis.

    python benchmarks/circuit.py [--calls 5000] [--rounds 10] [--tasks 3000]

    closed call    microseconds and round trips (writes of the client to its connection) of a call that succeeds
    half-open      16 processes ask at once where one may probe; how many get through
    noticing       8 processes call in a loop, the dependency breaks: seconds from the first failing call to the moment
                   when the last of them is refused for the first time. Each opens after 20 failures in a row
    throughput     no-op tasks with a circuit, beside plain Celery

pybreaker and purgatory are compared where they are installed (`pip install pybreaker purgatory`; purgatory is asked by
way of asyncio, which its Redis needs). Exits with 1 when ours is slower per closed call than pybreaker, needs more than
0.1 round trips for one, lets through any number but one, or has less than 0.97 of plain Celery's throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
import redis.asyncio.connection
import redis.connection
from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.success_path import _batch
from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.exceptions import CircuitOpen
from tests.services import RedisServer, Worker

RATIO, ROUND_TRIPS = 0.97, 0.1
RACERS, CALLERS, FAILURES = 16, 8, 20
FRESHNESS = 0.2
#: Seconds that a circuit is open before it is probed. pybreaker writes down whole ones.
OPEN, PATIENCE = 1, 2.2
#: Seconds after which a process that was never refused is not waited for.
LONGEST = 15.0


class Away(Exception):
    """The dependency does not answer."""


# -- the three, alike: call(function) runs it or raises Refused


class Refused(Exception):
    """The circuit is open."""


class Ours:
    """`CircuitBreaker`, with one permit while half open."""

    name = "ours"

    def __init__(self, url: str, failures: int = FAILURES) -> None:
        self.breaker = CircuitBreaker(
            "bench", redis=url, consecutive_failures=failures, minimum_calls=1_000_000, half_open_permits=1,
            open_duration=OPEN, freshness=FRESHNESS,
        )  # fmt: skip

    def call(self, function: Callable[[], None]) -> None:
        """Through the circuit."""
        try:
            self.breaker.call(function)
        except CircuitOpen:
            raise Refused from None


class Pybreaker:
    """`pybreaker.CircuitBreaker` with its Redis storage."""

    name = "pybreaker"

    def __init__(self, url: str, failures: int = FAILURES) -> None:
        import pybreaker

        self._refusal = pybreaker.CircuitBreakerError
        storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, redis.Redis.from_url(url), namespace="bench")
        self.breaker = pybreaker.CircuitBreaker(fail_max=failures, reset_timeout=OPEN, state_storage=storage)

    def call(self, function: Callable[[], None]) -> None:
        """Through the circuit. The failure that opens it is raised as a refusal, too."""
        try:
            self.breaker.call(function)
        except self._refusal:
            raise Refused from None


class Purgatory:
    """`purgatory.AsyncCircuitBreakerFactory` with its Redis, on an event loop that runs for each call."""

    name = "purgatory"

    def __init__(self, url: str, failures: int = FAILURES) -> None:
        from purgatory import AsyncCircuitBreakerFactory, AsyncRedisUnitOfWork
        from purgatory.domain.model import OpenedState

        self._refusal = OpenedState
        self.loop = asyncio.new_event_loop()
        unit = AsyncRedisUnitOfWork(url)
        self._factory = AsyncCircuitBreakerFactory(default_threshold=failures, default_ttl=OPEN, uow=unit)
        self.loop.run_until_complete(self._factory.initialize())

    def call(self, function: Callable[[], None]) -> None:
        """Through the circuit."""
        try:
            self.loop.run_until_complete(self.through(function))
        except self._refusal:
            raise Refused from None

    async def through(self, function: Callable[[], None]) -> None:
        """The same, on the loop."""
        async with await self._factory.get_breaker("bench"):
            function()


KINDS: dict[str, Any] = {kind.name: kind for kind in (Ours, Pybreaker, Purgatory)}


def installed() -> list[str]:
    """Those that can be imported here."""
    with RedisServer() as server:
        found = []
        for name, kind in KINDS.items():
            try:
                kind(server.url())
            except ImportError:
                print(f"not compared: {name} (pip install {name})")
            else:
                found.append(name)
    return found


# -- a closed call


def closed(kind: str, calls: int) -> tuple[float, float]:
    """Microseconds and round trips of one call that succeeds; the least of three rounds."""
    with RedisServer() as server:
        one = KINDS[kind](server.url())
        one.call(_nothing)
        with _written() as count:
            seconds = min(_timed(one, calls) for _ in range(3))
        return seconds / calls * 1e6, count[0] / calls / 3


def _timed(one: Any, calls: int) -> float:
    begun = time.perf_counter()
    if isinstance(one, Purgatory):

        async def all_of_them() -> None:  # a loop that is started once, as its users do
            for _ in range(calls):
                await one.through(_nothing)

        one.loop.run_until_complete(all_of_them())
    else:
        for _ in range(calls):
            one.call(_nothing)
    return time.perf_counter() - begun


@contextlib.contextmanager
def _written() -> Iterator[list[int]]:
    """Counts how often a client of this process writes to Redis; a script or a pipeline is one round trip."""
    count = [0]
    plain, later = redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection
    was, was_later = plain.send_packed_command, later.send_packed_command

    def send(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return was(*args, **kwargs)

    async def send_later(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return await was_later(*args, **kwargs)

    plain.send_packed_command, later.send_packed_command = send, send_later  # type: ignore[method-assign]
    try:
        yield count
    finally:
        plain.send_packed_command, later.send_packed_command = was, was_later  # type: ignore[method-assign]


def _nothing() -> None:
    """Succeed."""


def _fail() -> None:
    raise Away


# -- 16 processes, one permit


def half_open(kind: str, rounds: int) -> list[int]:
    """How many of 16 processes that ask at once are let through, round by round."""
    context = multiprocessing.get_context("spawn")
    with RedisServer() as server:
        gate, answers = context.Barrier(RACERS + 1), context.Queue()
        arguments = (kind, server.url(), rounds, gate, answers)
        racers = [context.Process(target=_race, args=arguments, daemon=True) for _ in range(RACERS)]
        for racer in racers:
            racer.start()
        admitted = []
        opener = KINDS[kind](server.url(), 1)
        for _ in range(rounds):
            with contextlib.suppress(Away, Refused):
                opener.call(_fail)
            time.sleep(PATIENCE)
            gate.wait(60)
            admitted.append(sum(answers.get(timeout=60) for _ in range(RACERS)))
            gate.wait(60)
        for racer in racers:
            racer.join(10)
        return admitted


def _race(kind: str, url: str, rounds: int, gate: Any, answers: Any) -> None:
    one = KINDS[kind](url, 1)
    for _ in range(rounds):
        gate.wait(60)
        try:
            one.call(lambda: time.sleep(0.5))  # nobody has an answer before all have asked
        except Refused:
            answers.put(0)
        else:
            answers.put(1)
        gate.wait(60)


# -- noticing


def noticing(kind: str) -> tuple[float, int]:
    """Seconds from the first failing call until the last of 8 processes is refused; failing calls until then.

    Infinite when one of them is never refused.
    """
    context = multiprocessing.get_context("spawn")
    with RedisServer() as server:
        away, gate, answers = context.Event(), context.Barrier(CALLERS + 1), context.Queue()
        arguments = (kind, server.url(), away, gate, answers)
        callers = [context.Process(target=_keep_calling, args=arguments, daemon=True) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        gate.wait(60)
        time.sleep(1)
        away.set()
        told = [answers.get(timeout=LONGEST + 60) for _ in callers]
        for caller in callers:
            caller.join(10)
        first = min(failed[0] for _, failed in told if failed)
        return max(refused for refused, _ in told) - first, sum(len(failed) for _, failed in told)


def _keep_calling(kind: str, url: str, away: Any, gate: Any, answers: Any) -> None:
    one, failed = KINDS[kind](url), []

    def depend() -> None:
        if away.is_set():
            failed.append(time.time())
            raise Away

    gate.wait(60)
    refused, begun = float("inf"), time.monotonic()
    while refused == float("inf") and time.monotonic() < begun + LONGEST:
        try:
            one.call(depend)
        except Away:
            pass
        except Refused:
            refused = time.time()
        time.sleep(0.01)
    answers.put((refused, failed))


# -- throughput


def throughput(tasks: int, rounds: int) -> list[float]:
    """Ratios ours/plain of tasks per second."""
    with RedisServer() as broker, RedisServer() as store:
        env = {"CELERY_BROKER_URL": broker.url(), "BENCH_STORE_URL": store.url()}
        worker = Worker("benchmarks.circuit_app", env=env, loglevel="WARNING", concurrency=2)
        app = Celery(broker=broker.url(), set_as_current=False)
        app.conf.task_ignore_result = True
        client = redis.Redis.from_url(broker.url())
        try:
            ratios = []
            for n in range(rounds + 1):
                order = ("plain", "ours") if n % 2 else ("ours", "plain")  # neither is always the first
                seconds = {task: _batch(app, client, task, tasks) for task in order}
                ratios.append(seconds["plain"] / seconds["ours"])
            return ratios[1:]  # the worker was up when the first round was through
        finally:
            worker.kill()


# -- all of it


def main(arguments: list[str] | None = None) -> int:
    """Run the measurements, print them, and judge ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000, help="closed calls in a round")
    parser.add_argument("--rounds", type=int, default=10, help="races, and batches of each kind of task")
    parser.add_argument("--tasks", type=int, default=3000, help="tasks in a batch")
    options = parser.parse_args(arguments)
    names, costs, wrong = installed(), {}, []
    for name in names:
        costs[name] = closed(name, options.calls)
        print(f"closed call  {name:10} {costs[name][0]:8.1f} µs   {costs[name][1]:.4f} round trips")
    for name in names:
        admitted = half_open(name, options.rounds)
        print(f"half-open    {name:10} {RACERS} processes, one probe: admitted {min(admitted)} to {max(admitted)} "
              f"in {options.rounds} rounds")  # fmt: skip
        wrong += ["a round with other than one probe"] if name == "ours" and {*admitted} != {1} else []
    for name in names:
        seconds, failing = noticing(name)
        print(
            f"noticing     {name:10} {seconds:8.3f} s until the last of {CALLERS} was refused, {failing} failing calls"
        )
    ratios = throughput(options.tasks, options.rounds)
    ratio = statistics.median(ratios)
    print(f"throughput   {ratio:.3f} of plain Celery's, median of {options.rounds} rounds "
          f"(from {min(ratios):.3f} to {max(ratios):.3f}; budget {RATIO})")  # fmt: skip
    wrong += ["throughput"] if ratio < RATIO else []
    wrong += ["round trips of a closed call"] if costs["ours"][1] > ROUND_TRIPS else []
    wrong += ["slower than pybreaker"] if costs["ours"][0] > costs.get("pybreaker", costs["ours"])[0] else []
    for words in wrong:
        print("beyond the budget:", words)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
