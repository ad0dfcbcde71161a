"""The demo: 2,000 orders, a partner that misbehaves, and books that have to balance. `make demo` runs it.

    1  start a Redis, the misbehaving service and a real `celery worker`, all private
    2  submit every order file and watch until each order has come to an end
    3  balance the books
    4  be the operator: look at the dead letters, repair the service, replay what that can help
    5  balance the books again

Exit code 0: every order is accounted for. 1: one is not; logs are kept and their place is told. 2: it cannot run here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from books import FINISHED, Books, Submitted, read_ledger, read_results
from embedded import NoRedis, accepts, free_port, running, start_redis
from orders import Order, write_orders
from screen import Progress, print_books, print_groups, print_passing, print_repaired, say, section
from service import fault_of

__all__ = ("Demo", "main")

HERE = Path(__file__).resolve().parent
CONCURRENCY = 8


class Demo:
    """One run: where its parts are, what was submitted, and how far it has come."""

    def __init__(self, directory: Path, service_port: int) -> None:
        import shop  # it reads where Redis and the service are when it is imported

        from celery_recovery import Filter, LetterState, Recovery

        self.shop = shop
        self.ledger = directory / "ledger.sqlite"
        self.service_port = service_port
        self.letters_of = Recovery.of(shop.app).dead_letters
        self.waiting = Filter(state=(LetterState.FAILED, LetterState.REVIEW))
        self.submitted: list[Submitted] = []

    def submit(self, order: Order) -> None:
        """Send one order off and write down the ids of its tasks."""
        canvas = self.shop.fulfil(order.path, order.lines)
        result = canvas.apply_async()
        ids = []
        while result is not None:
            ids.append(tuple(child.id for child in result.results) if hasattr(result, "results") else (result.id,))
            result = result.parent
        ship, charge, reserve, parse = ids
        self.submitted.append(Submitted(order, parse[0], reserve, charge[0], ship[0]))

    def letters(self) -> dict[str, str]:
        """Error type of each letter that waits for somebody, by task id."""
        self.letters_of.drain()
        return {letter.id: letter.error.error_type.value for letter in self.letters_of.iterate(self.waiting)}

    def watch(self, progress: Progress, patience: float) -> None:
        """Show how it goes until every order has come to an end, or none has for `patience` seconds."""
        under_way = list(self.submitted)
        changed = time.monotonic()
        while under_way and time.monotonic() - changed < patience:
            time.sleep(1)
            before, under_way = len(under_way), self.look(progress, under_way)
            changed = time.monotonic() if len(under_way) < before else changed

    def look(self, progress: Progress, candidates: list[Submitted]) -> list[Submitted]:
        """Those of `candidates` that are still under way."""
        letters = self.letters()
        results = read_results(self.shop.app.backend, [task_id for one in candidates for task_id in one.ids])
        under_way = [one for one in candidates if not _has_ended(one, results, letters)]
        dead = sum(any(task_id in letters for task_id in one.ids) for one in self.submitted)
        progress.update(
            submitted=len(self.submitted),
            ended=len(self.submitted) - len(under_way),
            dead=dead,
            service_up=accepts(self.service_port),
        )
        return under_way

    def groups(self, limit: int = 6) -> list[tuple[int, str, str]]:
        """The largest groups of letters that died of the same thing: how many, which task, what of."""
        found = []
        for group in self.letters_of.groups(limit):
            letter = self.letters_of.get(group.newest_id)
            found.append((group.count, letter.task, f"{letter.error.exception}: {letter.error.message}"))
        return found

    def balance(self, before: Books | None = None) -> Books:
        """The books as they stand."""
        ids = [task_id for one in self.submitted for task_id in one.ids]
        results = read_results(self.shop.app.backend, ids)
        return Books.balance(self.submitted, results, read_ledger(self.ledger), self.letters(), before)


def _has_ended(one: Submitted, results: dict[str, dict[str, Any]], letters: dict[str, str]) -> bool:
    """Shipped; or a letter waits and none of the parallel reservations is still running."""
    if results.get(one.ship, {}).get("status") == "SUCCESS":
        return True
    if not any(task_id in letters for task_id in one.ids):
        return False
    return one.parse in letters or all(results.get(task_id, {}).get("status") in FINISHED for task_id in one.reserve)


@contextmanager
def stage(directory: Path) -> Iterator[Demo]:
    """Redis, service and worker, running until the end of the block."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(start_redis(directory))
        port = free_port()
        command = [sys.executable, str(HERE / "service.py"), str(port), str(directory / "ledger.sqlite")]
        stack.enter_context(running(command, directory / "service.log", ready=lambda: accepts(port)))
        os.environ.update(QUICKSTART_REDIS=redis_url, QUICKSTART_SERVICE=f"http://127.0.0.1:{port}")
        demo = Demo(directory, port)
        command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "prefork", "--loglevel", "WARNING"]
        command += ["--concurrency", str(CONCURRENCY), "--without-mingle", "--without-gossip"]
        ping = demo.shop.app.control.ping
        log = directory / "worker.log"
        stack.enter_context(running(command, log, env=os.environ, cwd=HERE, ready=lambda: bool(ping(timeout=0.5))))
        yield demo
        # Celery's results unsubscribe when they are collected, which may be when Redis is gone.
        demo.shop.app.backend.result_consumer.subscribed_to.clear()


def first_run(demo: Demo, orders: list[Order], patience: float) -> Books:
    """Submit everything, wait, and balance."""
    with Progress("orders", len(orders)) as progress:
        for number, order in enumerate(orders, 1):
            demo.submit(order)
            if number % 200 == 0:
                demo.look(progress, demo.submitted)
        demo.watch(progress, patience)
    return demo.balance()


def operate(demo: Demo) -> None:
    """What an operator does: look, have the cause repaired, put back what that can help."""
    recovery("status")
    recovery("dlq", "list", "--error-type", "network", "--limit", "3")
    section("The partner repairs the service")
    request = urllib.request.Request(f"http://127.0.0.1:{demo.service_port}/fix", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        say(f"POST /fix: {json.load(answer)}")
    say("Broken files, declined cards and unknown postcodes stay where they are: no repair of the service helps them.")
    recovery("dlq", "replay", "--error-type", "network", "--state", "failed", "--rate", "200", "--yes")
    recovery("dlq", "replay", "--task", "shop.charge_payment", "--error-type", "parsing", "--state", "failed", "--yes")


def recovery(*arguments: str) -> None:
    """Run one `celery -A shop recovery` command and show it. `RuntimeError` if it fails."""
    say(f"\n$ celery -A shop recovery {' '.join(arguments)}", strong=True)
    command = [sys.executable, "-m", "celery", "-A", "shop", "recovery", *arguments]
    ended = subprocess.run(command, cwd=HERE, check=False)
    if ended.returncode:
        raise RuntimeError(f"that command ended with {ended.returncode}")


def play(demo: Demo, orders: list[Order], patience: float) -> bool:
    """All five steps; True if the books balance both times."""
    section(f"{len(orders):,} orders, {CONCURRENCY} worker processes, a service with faults of its own")
    first = first_run(demo, orders, patience)
    print_books("The books after the first run", first)
    faults = {order.id: fault for order in orders if not order.defect and (fault := fault_of(order.id))}
    passing = {order_id for order_id, fault in faults.items() if fault.times is not None}
    repairable = {order_id for order_id, fault in faults.items() if fault.fixable}
    print_passing(first, passing)
    print_groups(demo.groups())
    section("The operator's part")
    operate(demo)
    with Progress("orders", len(orders)) as progress:
        demo.watch(progress, patience)
    second = demo.balance(before=first)
    print_books("The books after the repair", second)
    print_repaired(first, second, repairable)
    return first.balanced and second.balanced


def main() -> int:
    """Read the command line, play, and tidy up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=2000, help="how many orders (default: %(default)s)")
    stall = "seconds without news after which the rest counts as lost (default: %(default)g)"
    parser.add_argument("--patience", type=float, default=45.0, help=stall)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="celery-recovery-demo-"))
    started = time.monotonic()
    balanced = False
    try:
        with stage(directory) as demo:
            balanced = play(demo, write_orders(directory / "orders", options.orders), options.patience)
    except NoRedis as missing:
        say(str(missing))
        return 2
    except RuntimeError as failed:
        say(f"\n{failed}")
    finally:
        if balanced:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            say(f"The files and logs of this run are in {directory}")
    end = (
        f"Every order is accounted for ({time.monotonic() - started:.0f} s)."
        if balanced
        else "The books do not balance."
    )
    say(f"\n{end}")
    return 0 if balanced else 1


if __name__ == "__main__":
    sys.exit(main())
