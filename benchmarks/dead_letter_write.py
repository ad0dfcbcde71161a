"""What it costs to store a dead letter, in time and in memory, and to find it among many.

    python benchmarks/dead_letter_write.py [LETTERS]

Starts a private Redis. Prints the time of one write (one round trip, 10 kB body) beside that of plain Celery storing
a FAILURE in the same Redis; then fills the store with LETTERS (default 100,000), and prints bytes per letter and the
time of a filtered page.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.redis import connect
from tests.letters import DIED_AT, body, letter
from tests.services import RedisServer

WRITES = 2000
FILTERS = (
    Filter(),
    Filter(task=("orders.task_7",)),
    Filter(task=("orders.*",), error_type=("validation",)),
    Filter(state=(LetterState.FAILED,), queue=("slow",), since=DIED_AT + 1000),
    Filter(fingerprint=("1:17",), reason=("exhausted",)),
)


def main(count: int) -> None:
    """Measure and print."""
    with RedisServer() as server:
        app = Celery("shop", broker=server.url(0), backend=server.url(0), set_as_current=False)
        store = DeadLetterStore(connect(server.url(1)))
        large = body("x" * 10_000)
        letters = iter([letter(f"write-{n}", body=large, died_at=DIED_AT + n) for n in range(WRITES)])
        ours = _median(lambda: store.add(next(letters)))
        numbers = iter(range(WRITES))
        plain = _median(lambda: app.backend.mark_as_failure(f"plain-{next(numbers)}", ValueError("x" * 200)))
        print(f"plain Celery's FAILURE   {plain * 1e6:8.0f} us")
        print(f"dead letter, 10 kB       {ours * 1e6:8.0f} us   {ours / plain:.2f} x plain Celery")
        _search(store, count)


def _median(call: Callable[[], object]) -> float:
    """Seconds of one call, median of many."""
    times = []
    for _ in range(WRITES):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _search(store: DeadLetterStore, count: int) -> None:
    store.client.flushdb()
    before = store.client.info("memory")["used_memory"]
    bodies = 0
    for first in range(0, count, 500):
        many = [
            letter(
                f"1f0c6e1a-6f0e-4c1b-9d53-{n:012}",
                f"orders.task_{n % 40}",
                error_type="validation" if n % 9 == 0 else "network",
                queue="slow" if n % 50 == 0 else "celery",
                fingerprint=f"1:{n % 300}",
                died_at=DIED_AT + n / 50,
            )
            for n in range(first, min(first + 500, count))
        ]
        bodies += sum(one.size for one in many)
        store.add_many(many)
    used = store.client.info("memory")["used_memory"] - before
    print(f"{count:,} letters: {used / count:.0f} bytes each, of which {bodies / count:.0f} are the body")
    for where in FILTERS:
        begun = time.perf_counter()
        page = store.find(where, limit=50)
        print(f"page of {len(page.letters):2}  {(time.perf_counter() - begun) * 1e3:7.1f} ms   {where or 'all'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
