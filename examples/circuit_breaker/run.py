"""A bank goes away for some seconds: what its circuit does, and the books.

    python examples/circuit_breaker/run.py

    1  start a Redis, a bank and a real `celery worker`, all private
    2  send payments at a steady rate; close the bank in the middle, and open it again
    3  wait until every payment is made
    4  print what happened, second by second, and balance the books

Exit code 0: every payment was made, none is a dead letter, and hardly a call reached the bank while it was away.
1: the books do not balance. 2: there is no Redis to start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "quickstart")]

from embedded import NoRedis, free_port, running, start_redis  # noqa: E402  # of the quickstart

__all__ = ("Bank", "main")

CONCURRENCY = 4


class Bank:
    """A server whose door can be closed: then calls to it are refused."""

    def __init__(self) -> None:
        self.port = free_port()
        self.payments: list[tuple[float, int]] = []
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> None:
        """Answer calls."""
        payments = self.payments

        class Counter(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payments.append((time.time(), int(self.path.rpartition("/")[2])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Counter)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def stage(directory: Path, bank: Bank) -> Iterator[None]:
    """Redis and worker, running until the end of the block."""
    with start_redis(directory) as url:
        os.environ.update(EXAMPLE_REDIS=url, EXAMPLE_BANK=f"http://127.0.0.1:{bank.port}")
        from payments import app

        command = [sys.executable, "-m", "celery", "-A", "payments", "worker", "--concurrency", str(CONCURRENCY)]
        command += ["--loglevel", "WARNING", "--without-mingle", "--without-gossip"]
        log = directory / "worker.log"
        ready = lambda: bool(app.control.ping(timeout=0.5))  # noqa: E731
        with running(command, log, env=os.environ, cwd=HERE, ready=ready, timeout=60):
            yield


def play(bank: Bank, options: argparse.Namespace) -> tuple[int, float, float]:
    """Send all payments, with the outage in the middle; their number, and when the bank was closed and opened."""
    from payments import charge

    begun = time.time()
    closed, opened = begun + options.before, begun + options.before + options.outage
    door = [threading.Timer(closed - begun, bank.close), threading.Timer(opened - begun, bank.open)]
    for timer in door:
        timer.start()
    count = int(options.rate * (options.before + options.outage + options.after))
    for number in range(count):
        time.sleep(max(begun + number / options.rate - time.time(), 0))
        charge.delay(number)
    for timer in door:
        timer.join()
    return count, closed, opened


def wait(bank: Bank, count: int, patience: float) -> None:
    """Until every payment is made, or none has been for so many seconds."""
    known, since = -1, time.monotonic()
    while len({number for _, number in bank.payments}) < count and time.monotonic() < since + patience:
        if len(bank.payments) != known:
            known, since = len(bank.payments), time.monotonic()
        time.sleep(0.1)


def show(bank: Bank, closed: float, opened: float) -> None:
    """Payments per second, and the life of the circuit."""
    begun = bank.payments[0][0]
    made = Counter(int(at - begun) for at, _ in bank.payments)
    for second in range(max(made) + 1):
        away = "  bank away" if closed <= begun + second < opened else ""
        print(f"{second:4} s {made[second]:4} {'#' * made[second]}{away}")
    print("\n$ celery -A payments recovery circuits show bank", flush=True)
    command = [sys.executable, "-m", "celery", "-A", "payments", "recovery", "circuits", "show", "bank"]
    subprocess.run(command, cwd=HERE, check=False)


def balanced(bank: Bank, count: int) -> bool:
    """Print the books; True if they are as they have to be."""
    from payments import app, counters

    from celery_recovery import Recovery

    recovery = Recovery.of(app)
    parked = recovery.parked
    times = Counter(number for _, number in bank.payments)
    refused = int(counters.get("example:refused") or 0)
    waiting = parked.count() if parked is not None else 0
    recovery.dead_letters.drain()
    letters = len(list(recovery.dead_letters.iterate()))
    attempts = (len(bank.payments) + refused) / count
    print(f"\n{count} payments sent, {len(times)} made, {sum(n > 1 for n in times.values())} made twice, "
          f"{letters} dead letters, {waiting} still parked")  # fmt: skip
    print(
        f"{refused} calls found the bank closed: {attempts:.2f} attempts a payment, with those that opened the circuit"
    )
    return len(times) == count and len(bank.payments) == count and not letters and not waiting and attempts < 1.25


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=25.0, help="payments per second (default: %(default)g)")
    parser.add_argument("--before", type=float, default=5.0, help="seconds before the outage (default: %(default)g)")
    parser.add_argument(
        "--outage", type=float, default=8.0, help="seconds that the bank is away (default: %(default)g)"
    )
    parser.add_argument("--after", type=float, default=5.0, help="seconds of load after it (default: %(default)g)")
    stall = "seconds without a payment after which the rest counts as lost (default: %(default)g)"
    parser.add_argument("--patience", type=float, default=45.0, help=stall)
    options = parser.parse_args()
    bank = Bank()
    bank.open()
    try:
        with tempfile.TemporaryDirectory(prefix="celery-recovery-") as directory, stage(Path(directory), bank):
            count, closed, opened = play(bank, options)
            wait(bank, count, options.patience)
            show(bank, closed, opened)
            good = balanced(bank, count)
    except NoRedis as missing:
        print(missing)
        return 2
    finally:
        bank.close()
    print("\nThe books balance." if good else "\nThe books do not balance.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
