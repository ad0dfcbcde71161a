"""The tasks of `batch.py`: they go through items, and say how long it took, what they wrote, and what they keep."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import redis.connection
from celery import Celery

from celery_recovery import RecoverableTask, Recovery, Snooze

__all__ = ("app", "plain", "resumed", "through")

app = Celery("batch", broker=os.environ.get("BENCH_REDIS", "memory://"), backend=os.environ.get("BENCH_REDIS"))


def numbers(count: int) -> Iterator[int]:
    """A generator of items."""
    yield from range(count)


def rows(count: int) -> list[dict[str, int]]:
    """Items with a key."""
    return [{"id": n} for n in range(count)]


@contextlib.contextmanager
def written() -> Iterator[list[int]]:
    """Count what this process writes to Redis connections: at least one for each round trip."""
    counter, send = [0], redis.connection.AbstractConnection.send_packed_command

    def counted(*args: Any, **kwargs: Any) -> Any:
        counter[0] += 1
        return send(*args, **kwargs)

    redis.connection.AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
    try:
        yield counter
    finally:
        redis.connection.AbstractConnection.send_packed_command = send  # type: ignore[method-assign]


def nothing(_: Any) -> None:
    """The work."""


def empty(items: Iterable[Any]) -> None:
    """A plain loop."""
    for item in items:
        nothing(item)


def figures(seconds: float, count: int, writes: int, task: Any = None) -> dict[str, float]:
    """Microseconds and writes per item; KiB of this process; bytes of the state in Redis."""
    size = 0
    if task is not None:
        store = Recovery.of(app).checkpoints
        key = store.keys.checkpoint(f"batch:1:id:{task.request.id}") if store is not None else ""
        size = (store.client.memory_usage(key) or 0) if store is not None else 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"us": seconds / count * 1e6, "writes": writes / count, "peak": peak, "size": float(size)}


@app.task
def plain(count: int, kind: str) -> dict[str, float]:
    """The same loop, without a batch."""
    items = SOURCES[kind][0](count)
    begun = time.perf_counter()
    empty(items)
    return figures(time.perf_counter() - begun, count, 0)


@app.task(base=RecoverableTask, bind=True)
def through(self: Any, count: int, kind: str) -> dict[str, float]:
    """Go through `count` items."""
    make, loop = SOURCES[kind]
    items = make(count)
    with written() as writes:
        begun = time.perf_counter()
        loop(self, items)
        return figures(time.perf_counter() - begun, count, writes[0], self)


@app.task(base=RecoverableTask, bind=True)
def resumed(self: Any, count: int, kind: str) -> float:
    """Go through `count` items, leave, and begin again: seconds until the first item that is new."""
    key, items = None, SOURCES[kind][0](count + 10)
    if kind == "list, key":
        key = itemgetter("id")
    elif kind == "callable":
        items = lambda position: iter(range(position, count + 10))  # noqa: E731
    begun = time.perf_counter()
    first = None
    for place, _ in enumerate(self.batch(items, key=key)):
        first = first or time.perf_counter() - begun
        if place == count:
            raise Snooze(0, "enough")
    return float(first or 0)


#: Kind -> how its items are made, and gone through.
SOURCES: dict[str, tuple[Callable[[int], Any], Callable[[Any, Any], None]]] = {
    "list": (lambda count: list(range(count)), lambda task, items: empty(task.batch(items))),
    "generator": (numbers, lambda task, items: empty(task.batch(items))),
    "list, key": (rows, lambda task, items: empty(task.batch(items, key=itemgetter("id")))),
    "list, each": (lambda count: list(range(count)), lambda task, items: task.batch(items).each(nothing)),
    "chunks of 100": (lambda count: list(range(count)), lambda task, items: empty(task.batch.chunks(items, 100))),
    "callable": (lambda count: list(range(count)), lambda task, items: empty(task.batch(items))),
}
