"""Three in the morning: thousands of dead letters, three bugs, some noise. A night with the command line.

    python examples/night_shift/run.py [--orders 4400]

    1  a private Redis and a real `celery worker` with release 1: orders come in, and 10 in 11 die
    2  what is it?       `dlq groups` and `dlq group`: not thousands of errors but three, and what they have in common
    3  the wrong fix     release 2, `dlq replay --canary`: it stops by itself after some letters, the rest stay
    4  the right fix     release 3, the same command: growing steps, all of them recover
    5  the rest          the other groups, and the noise; the groups are resolved in release 3
    6  the books         each order is done once, no letter is open, the audit tells who did what

Exit code 0: the books balance. 1: they do not. 2: there is no Redis to start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "quickstart")]

from embedded import NoRedis, running, start_redis  # noqa: E402  # of the quickstart

__all__ = ("main",)

#: Of 44 orders so many meet each bug, and what kind of error that is.
BUGS = {"book_invoice": 22, "sync_stock": 10, "print_label": 8}


class Night:
    """One Redis, one worker at a time, and the command line."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self._stack = directory, stack
        os.environ["WAREHOUSE_REDIS"] = stack.enter_context(start_redis(directory))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        os.environ.setdefault("COLUMNS", "110")
        self._worker: ExitStack | None = None

    def deploy(self, release: str) -> None:
        """Stop the worker and start one with this release of the code."""
        if self._worker is not None:
            self._worker.close()
        os.environ["WAREHOUSE_RELEASE"] = release
        print(f"\n--- release {release} is deployed")
        command = [sys.executable, "-m", "celery", "-A", "warehouse", "worker", "--concurrency", "2"]
        command += ["--loglevel", "CRITICAL", "--without-mingle", "--without-gossip"]
        ready = lambda: bool(self.app.control.ping(timeout=0.5))  # noqa: E731
        log = self.directory / f"worker-{release}.log"
        self._worker = self._stack.enter_context(ExitStack())
        self._worker.enter_context(running(command, log, env=os.environ, cwd=HERE, ready=ready, timeout=60))

    @property
    def app(self) -> Any:
        """The application, as a client has it."""
        from warehouse import app

        return app

    def recovery(self, *words: str, wanted: int = 0) -> None:
        """Run a command as a person would, and show it; its exit code must be the one that is `wanted`."""
        print(f"\n$ celery -A warehouse recovery {shlex.join(words)}", flush=True)
        ended = subprocess.run([*self._celery, *words], cwd=HERE, check=False)
        if ended.returncode != wanted:
            raise SystemExit(f"exit code {ended.returncode}, and not {wanted}")

    def told(self, *words: str) -> Any:
        """What a command says as JSON."""
        ended = subprocess.run([*self._celery, *words, "--json"], cwd=HERE, check=True, capture_output=True)
        return json.loads(ended.stdout)

    @property
    def _celery(self) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "warehouse", "recovery"]


def main(arguments: list[str] | None = None) -> int:
    """Go through the night."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=4400, help="a multiple of 44; 44000 makes some 40,000 letters")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="night-shift-")))
        try:
            return _through(Night(directory, stack), max(options.orders // 44, 1))
        except NoRedis as exc:
            print(exc, file=sys.stderr)
            return 2


def _through(night: Night, times: int) -> int:
    night.deploy("1")
    noise = send(night.app, times)
    dead = times * sum(BUGS.values()) + noise
    wait(lambda: night.told("status")["by_state"]["failed"] >= dead, "the orders have died")
    night.recovery("dlq", "groups")
    groups = night.told("dlq", "groups")["groups"]
    if [group["count"] for group in groups] != [times * count for count in BUGS.values()] + [noise] * bool(noise):
        raise SystemExit(f"the groups are not the three bugs and the noise: {groups}")
    worst = groups[0]["fingerprint"]
    night.recovery("dlq", "group", worst)

    night.deploy("2")
    night.recovery("dlq", "replay", "--fingerprint", worst, "--canary", "--yes", "--note", "blanks", wanted=8)
    left = night.told("dlq", "group", worst)["count"]
    print(f"{left} of {times * BUGS['book_invoice']} letters are still there: none was lost to the wrong fix")

    night.deploy("3")
    night.recovery("dlq", "replay", "--fingerprint", worst, "--canary", "--yes", "--note", "decimal commas")
    for group in groups[1:]:
        night.recovery("dlq", "replay", "--fingerprint", group["fingerprint"], "--canary", "--yes", "--note", "renamed")
    wait(lambda: night.told("status")["by_state"]["recovered"] >= dead, "everything has recovered")
    for group in groups[:3]:
        night.recovery("dlq", "resolve", group["fingerprint"], "--in-version", "release-3")
    night.recovery("operations", "list")
    return 0 if balanced(night, times, left) else 1


def send(app: Any, times: int) -> int:
    """The orders of the night; how many meet a printer that is away, beside the bugs."""
    from warehouse import book_invoice, print_label, sync_stock

    dice = random.Random(3)
    noise = max(times // 5, 1)
    with app.producer_or_acquire() as producer:
        for n in range(times):
            for k in range(22):
                total = f"{dice.randint(1, 9)}.{dice.randint(100, 999)},50"
                _send(producer, book_invoice, f"eu-{n}-{k}", total=total, region="eu")
            for k in range(10):
                _send(producer, sync_stock, f"north-{n}-{k}", item={"article": f"a{dice.randint(1, 999)}"})
            for k in range(8):
                _send(producer, print_label, f"private-{n}-{k}", address={"street": f"Elm {n}"})
            for k in range(2):
                _send(producer, book_invoice, f"us-{n}-{k}", total="1,234.50", region="us")
                service = "away" if k == 0 and n < noise else ""
                _send(
                    producer, print_label, f"firm-{n}-{k}", address={"street": "Oak 1", "company": "x"}, service=service
                )
    return noise


def _send(producer: Any, task: Any, order: str, **arguments: Any) -> None:
    task.apply_async((order,), arguments, producer=producer)


def balanced(night: Night, times: int, left: int) -> bool:
    """Whether each order was done once, and the wrong fix cost next to nothing."""
    from warehouse import marks

    done = [int(count) for task in BUGS for count in marks.hvals(f"done:{task}")]
    status = night.told("status")["by_state"]
    print(f"\n  {44 * times:,} orders, {len(done):,} of them done, {sum(done) - len(done)} done twice")
    print(f"  {status['recovered']:,} letters recovered, {status['failed']} open")
    spent = times * BUGS["book_invoice"] - left
    fine = len(done) == sum(done) == 44 * times and status["failed"] == 0 and spent == 0
    print("The books balance." if fine else "The books do not balance.")
    return fine


def wait(until: Any, what: str, timeout: float = 900.0) -> None:
    """Until it is so; SystemExit after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not until():
        if time.monotonic() > end:
            raise SystemExit(f"not within {timeout:g} s: {what}")
        time.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
