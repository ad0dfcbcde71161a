"""What a batch costs per item, how soon it goes on behind a million items, and what it keeps.

    python benchmarks/batch.py [--items 100000] [--many 1000000] [--rounds 3]

    per item     microseconds and writes to Redis, beside the same loop without a batch, in the same worker
    resume       seconds from the beginning of the body to the first new item, behind `--many` that are done
    kept         bytes in Redis after few and after many items, and the largest size of the process

A real prefork worker with one process, a private Redis, default settings, a body that does nothing; the median of the
rounds. Exits with 1 when an item costs more than 20 us or 0.02 writes, a resume takes more than a second, or what is
kept grows with the items.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.services import RedisServer, Worker

OVERHEAD, WRITES, RESUME = 20.0, 0.02, 1.0
#: Bytes that the state may grow by (longer numbers), and KiB that a process may.
GROWTH, PROCESS = 200, 8192
FEW = 10_000
KINDS = ("list", "generator", "list, key", "list, each", "chunks of 100")


def ask(task: Any, *args: Any) -> Any:
    """What the task found."""
    return task.delay(*args).get(timeout=300)


def per_item(items: int, rounds: int) -> list[str]:
    """Print a line for each kind; what is wrong."""
    from benchmarks.batch_app import plain, through

    wrong = []
    print(f"limits: {OVERHEAD:g} us and {WRITES:g} writes per item\n")
    print(f"{'per item':16} {'plain us':>9} {'batch us':>9} {'overhead':>9} {'writes':>8}")
    for kind in KINDS:
        base = statistics.median(ask(plain, items, kind)["us"] for _ in range(rounds))
        found = [ask(through, items, kind) for _ in range(rounds)]
        cost, writes = statistics.median(one["us"] for one in found), max(one["writes"] for one in found)
        print(f"{kind:16} {base:9.3f} {cost:9.3f} {cost - base:9.3f} {writes:8.4f}")
        if cost - base > OVERHEAD or writes > WRITES:
            wrong.append(f"an item of {kind}")
    return wrong


def resume(many: int) -> list[str]:
    """Print a line for each kind; what is wrong."""
    from benchmarks.batch_app import resumed

    wrong = []
    print(f"\n{'resume':16} {'seconds':>9}   limit {RESUME:g} s, behind {many:,} items")
    for kind in ("list", "generator", "list, key", "callable"):
        seconds = ask(resumed, many, kind)
        print(f"{kind:16} {seconds:9.3f}")
        if not 0 < seconds <= RESUME:
            wrong.append(f"the resume of {kind}")
    return wrong


def kept(many: int) -> list[str]:
    """Print what few and many items leave; what is wrong."""
    from benchmarks.batch_app import through

    wrong = []
    print(f"\n{'kept':16} {'Redis B':>9} {'process KiB':>12}")
    found = {count: ask(through, count, "generator") for count in (FEW, many)}
    for count, one in found.items():
        print(f"{count:<16,} {one['size']:9.0f} {one['peak']:12.0f}")
    if found[many]["size"] > found[FEW]["size"] + GROWTH or not found[FEW]["size"]:
        wrong.append("what Redis keeps")
    if found[many]["peak"] > found[FEW]["peak"] + PROCESS:
        wrong.append("the size of the process")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Measure, and compare with the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with RedisServer() as server:
        os.environ["BENCH_REDIS"] = server.url()
        fresh = ("--max-tasks-per-child", "1")  # the largest size of a process is that of one task
        worker = Worker("benchmarks.batch_app", concurrency=1, options=fresh)
        try:
            worker.wait_ready()
            wrong = per_item(options.items, options.rounds) + resume(options.many) + kept(options.many)
        finally:
            worker.kill()
    for what in wrong:
        print(f"beyond its limit: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
