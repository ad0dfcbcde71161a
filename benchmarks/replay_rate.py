"""How fast letters are replayed, unthrottled and throttled, beside plain Celery publishing the same tasks.

    python benchmarks/replay_rate.py [LETTERS]

Starts a private Redis for broker and store; no worker runs. Prints letters per second, the ratio to plain `apply_async`
in the same run, and by how much throttled replays miss their rate.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.redis import connect
from tests.letters import DIED_AT, letter
from tests.services import RedisServer

#: Letters per second asked for, and seconds that each is measured.
RATES, SECONDS = (50, 500, 1500), 4
TARGET = 5000


def main(count: int) -> None:
    """Measure and print."""
    with RedisServer() as server:
        app = Celery("shop", broker=server.url(0), set_as_current=False)
        plain = _plain(app, count)
        print(f"plain apply_async        {plain:8.0f} tasks/s")
        store = DeadLetterStore(connect(server.url(1)))
        queue = DeadLetterQueue(app, store, Publisher(app, timeout=10))
        best = max(_unthrottled(queue, count) for _ in range(3))
        print(f"replay, unthrottled      {best:8.0f} letters/s   {best / plain:.2f} x plain Celery   (target {TARGET})")
        for rate in RATES:
            _throttled(queue, rate)


def _plain(app: Celery, count: int) -> float:
    begun = time.perf_counter()
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            app.send_task("orders.charge", (number,), {"currency": "EUR"}, producer=producer)
    return count / (time.perf_counter() - begun)


def _fill(queue: DeadLetterQueue, count: int) -> None:
    queue.store.client.flushall()
    for first in range(0, count, 500):
        numbers = range(first, min(first + 500, count))
        queue.store.add_many([letter(f"task-{number:07}", died_at=DIED_AT + number) for number in numbers])


def _unthrottled(queue: DeadLetterQueue, count: int) -> float:
    _fill(queue, count)
    result = queue.replay(Filter())
    _check(result, count)
    return count / result.seconds


def _throttled(queue: DeadLetterQueue, rate: int) -> None:
    count = rate * SECONDS
    _fill(queue, count)
    result = queue.replay(Filter(), rate=rate)
    _check(result, count)
    reached = (count - 1) / result.seconds
    print(f"replay at {rate:5} letters/s {reached:8.1f} letters/s   {reached / rate - 1:+.1%}")


def _check(result: Any, count: int) -> None:
    if result.published != count:
        sys.exit(f"only {result.published} of {count} letters were replayed: {result}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
