"""200,000 rows, 200 of them bad, and a worker that is killed on the way: an import whose books balance.

    python examples/batch_import/run.py

    1  write the file, with rows that cannot be read and rows that the database refuses
    2  start a Redis and a real `celery worker`, both private, and send one task
    3  kill its process with SIGKILL at random rows, and once the whole worker
    4  balance the books: each good row is in the table once, each bad one is a dead letter
    5  put the bad rows right with the command line, and replay them

Exit code 0: the books balance. 1: they do not. 2: there is no Redis to start.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shlex
import signal
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

#: The worker's node name.
NAME = "import@localhost"
#: Of 20,000 rows so many are bad, each in its own way.
BAD = {"balance": 6, "date": 4, "missing": 2, "negative": 7, "twice": 1}
#: How the command line finds them by their error, and what is done about them.
CURES = (
    ("invalid literal", "--set", "item.balance=0"),
    ("day is out of range", "--set", "item.signed_up=2026-02-28"),
    ("must be str", "--set", "item.signed_up=2026-01-01"),
    ("CHECK constraint", "--set", "item.balance=0"),
)


def write(path: Path, rows: int, seed: int) -> dict[str, set[int]]:
    """The file; the ids of the bad rows, by what is wrong with them."""
    dice = random.Random(seed)  # the same file each time
    counts = {kind: max(share * rows // 20_000, 1) for kind, share in BAD.items()}
    drawn = iter(dice.sample(range(2, rows + 1), sum(counts.values())))
    bad = {kind: {next(drawn) for _ in range(count)} for kind, count in counts.items()}
    with path.open("w", newline="", encoding="utf-8") as lines:
        out = csv.writer(lines)
        out.writerow(("id", "email", "balance", "signed_up"))
        for number in range(1, rows + 1):
            row = [number, f"c{number}@example.com", dice.randrange(10**6), f"2026-{dice.randint(1, 12):02}-15"]
            if number in bad["balance"]:
                row[2] = "12O"  # the letter
            elif number in bad["date"]:
                row[3] = "2026-02-30"
            elif number in bad["missing"]:
                row.pop()
            elif number in bad["negative"]:
                row[2] = -5
            elif number in bad["twice"]:
                row[1] = "c1@example.com"
            out.writerow(row)
    return bad


class Site:
    """Redis, and a worker that is started again when it is dead."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        os.environ["EXAMPLE_REDIS"] = stack.enter_context(start_redis(directory))
        from customers import app

        self.app = app
        self._stack = stack
        self.start()

    def start(self) -> None:
        """One worker with one process."""
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "customers",
            "worker",
            "--hostname",
            NAME,
            "--concurrency",
            "1",
        ]
        command += ["--loglevel", "WARNING", "--without-mingle", "--without-gossip"]
        ready = lambda: bool(self.app.control.ping(timeout=0.5))  # noqa: E731
        log = self.directory / "worker.log"
        worker = running(command, log, env=os.environ, cwd=HERE, ready=ready, timeout=60)
        self.worker = self._stack.enter_context(worker)

    def kill(self, *, everything: bool) -> str:
        """SIGKILL to the process that works, or to the whole worker, which is then started anew."""
        if everything:
            self.worker.kill()
            self.worker.wait()
            self.start()
            return "the worker"
        found = self.app.control.inspect(destination=[NAME], timeout=5).stats() or {}
        pids = [pid for stats in found.values() for pid in stats["pool"]["processes"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return f"process {', '.join(map(str, pids))}"

    def recovery(self, *words: str) -> dict[str, Any]:
        """A command of `celery recovery`, shown as it is run; what it answers with --json."""
        print(f"$ celery -A customers recovery {shlex.join(words)}", flush=True)
        command = [sys.executable, "-m", "celery", "-A", "customers", "recovery", *words, "--json"]
        ended = subprocess.run(command, cwd=HERE, env=os.environ, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"{ended.stderr}\nexit code {ended.returncode}")
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer


def follow(site: Site, task_id: str, kills: list[int], patience: float) -> tuple[dict[str, Any], int]:
    """Wait for the end of the task; kill at these rows. Its result, and how many kills there were."""
    from celery_recovery import Recovery

    store = Recovery.of(site.app).checkpoints
    killed = 0
    result, shown, since = site.app.AsyncResult(task_id), -1, time.monotonic()
    while not result.ready():
        saved = store.get(f"batch:1:id:{task_id}") if store is not None else None
        state = saved.state if saved is not None and saved.state else {}
        done = int(state.get("done", 0))
        if done != shown:
            shown, since = done, time.monotonic()
        if time.monotonic() - since > patience:
            sys.exit(f"nothing happens any more; see {site.directory / 'worker.log'}")
        if kills and done >= kills[0]:
            kills.pop(0)
            killed += 1
            whom = site.kill(everything=len(kills) == 1)
            print(f"  {done:7,} rows done, {state['failed']:3} set aside: kill -9 {whom}", flush=True)
        time.sleep(0.05)
    told: dict[str, Any] = result.get()
    return told, killed


def books(site: Site, rows: int, bad: dict[str, set[int]], task_id: str, kills: int) -> bool:
    """Print them; True if they balance."""
    from customers import opened

    from celery_recovery import Filter, Recovery

    recovery = Recovery.of(site.app)
    recovery.dead_letters.drain()
    letters = list(recovery.dead_letters.iterate(Filter(parent=(task_id,))))
    keys = [int(letter.batch["items"][0]["key"]) for letter in letters]
    with opened(str(site.directory / "customers.db")) as db:
        there = {number for (number,) in db.execute("SELECT id FROM customers")}
        calls, distinct = db.execute("SELECT count(*), count(DISTINCT id) FROM calls").fetchone()
    wrong = set[int]().union(*bad.values())
    good = set(range(1, rows + 1)) - wrong
    again = calls - distinct
    print(f"\n  {rows:7,} rows in the file, {len(wrong)} of them bad")
    print(f"  {len(there):7,} in the table: {len(good - there)} missing, {len(there & wrong)} that should not be")
    print(f"  {len(letters):7,} dead letters, of {len(set(keys))} rows")
    print(f"  {again:7,} rows were worked on twice, after {kills} kills; the table has them once")
    return there == good and sorted(keys) == sorted(wrong) and again <= kills * 100


def cure(site: Site, task_id: str, rows: int, bad: dict[str, set[int]]) -> bool:
    """Put right what can be, drop what cannot, replay; True if all of it is in the table then."""
    from customers import opened

    from celery_recovery import Filter, LetterState, Recovery

    print("\nThe bad rows are put right and replayed:\n")
    for text, *change in CURES:
        site.recovery("dlq", "edit", "--parent", task_id, "--text", text, *change, "--yes")
    site.recovery("dlq", "discard", "--parent", task_id, "--text", "UNIQUE constraint", "--note", "known", "--yes")
    site.recovery("dlq", "replay", "--parent", task_id, "--regroup", "--yes")
    letters = Recovery.of(site.app).dead_letters
    still = Filter(parent=(task_id,), state=(LetterState.FAILED, LetterState.RETRY, LetterState.REPLAYED))
    until = time.monotonic() + 60
    while letters.count(still) and time.monotonic() < until:
        time.sleep(0.1)
    with opened(str(site.directory / "customers.db")) as db:
        (there,) = db.execute("SELECT count(*) FROM customers").fetchone()
    print(f"\n  {there:7,} in the table, {len(bad['twice'])} discarded, {letters.count(still)} dead letters open")
    return bool(there == rows - len(bad["twice"]) and not letters.count(still))


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the file (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=6, help="kills on the way (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the file and the kills (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without a row (default: %(default)g)")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="celery-recovery-") as name, ExitStack() as stack:
            directory = Path(name)
            bad = write(directory / "customers.csv", options.rows, options.seed)
            site = Site(directory, stack)
            from customers import import_customers

            dice = random.Random(options.seed)  # the same kills each time
            kills = sorted(dice.sample(range(options.rows // 20, options.rows * 8 // 10), options.kills))
            begun = time.monotonic()
            paths = (str(directory / "customers.csv"), str(directory / "customers.db"))
            sent = import_customers.delay(*paths)
            print(f"{options.rows:,} rows are imported by task {sent.id}")
            told, killed = follow(site, sent.id, kills, options.patience)
            print(f"  done after {time.monotonic() - begun:.0f} s: {json.dumps(told)}")
            good = books(site, options.rows, bad, sent.id, killed)
            good = cure(site, sent.id, options.rows, bad) and good
    except NoRedis as missing:
        print(missing)
        return 2
    print("\nThe books balance." if good else "\nThe books do not balance.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
