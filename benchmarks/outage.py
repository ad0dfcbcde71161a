"""A dependency goes away for a minute under a steady load: plain Celery with `autoretry_for`, and tasks with a circuit.

    python benchmarks/outage.py [--rate 40] [--before 30] [--outage 60] [--after 90] [--picture outage.png]

Each kind has its own two workers (prefork, 4 processes each), its own Redis and its own dependency, a process with a
TCP server whose listening socket is closed for the outage. Both run at the same time, on the same machine. Plain
Celery has `autoretry_for=(ConnectionError,), retry_backoff=True, max_retries=5` (`--max-retries`); ours has
`circuit="dependency"` and nothing else.

How is counted: a call is one attempt of a task to reach the dependency, by the callers' own list; the dependency
counts those that it answered, and both lists must agree. Attempts per task are calls over tasks; "beside the first
failures" leaves out the calls that were refused before the circuit opened, and within its freshness after (calls that
other processes made before they could know). The peak is the busiest second after the return, over the mean rate before
the outage. Exits with 1 when a task of ours failed or is missing, beyond 1.05 attempts, or beyond the peak of
`return_peak` (one more tenth for the grain of whole seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from celery import Celery

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery import Recovery
from celery_recovery.circuit.policy import TASK_DEFAULTS
from celery_recovery.circuit.state import CircuitState
from tests.services import RedisServer, Worker

ATTEMPTS, GRAIN = 1.05, 1.1
WORKERS, PROCESSES = 2, 4
KINDS = ("plain", "ours")
TITLES = {"plain": "Celery, autoretry_for with backoff", "ours": 'celery-recovery, circuit="dependency"'}


# -- the dependency


class Dependency:
    """A server in a process of its own, which can be taken away and brought back."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.port = int(self._pipe.recv())

    def set(self, up: bool) -> None:
        """Listen or not; returns when it is so."""
        self._ask("up" if up else "down")

    def answered(self) -> int:
        """Calls that it answered."""
        return int(self._ask("count"))

    def close(self) -> None:
        """End its process."""
        self._process.terminate()
        self._process.join()

    def _ask(self, word: str) -> Any:
        self._pipe.send(word)
        return self._pipe.recv()


def _serve(pipe: Connection) -> None:
    asyncio.run(_Server(pipe).run())


class _Server:
    """What runs in the dependency's process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._answered, self._port = pipe, 0, 0
        self._listening: asyncio.Server | None = None

    async def run(self) -> None:
        await self._up()
        self._pipe.send(self._port)
        while True:
            word = await asyncio.to_thread(self._pipe.recv)
            if word == "up":
                await self._up()
            elif word == "down" and self._listening is not None:
                self._listening.close()
            self._pipe.send(self._answered)

    async def _up(self) -> None:
        self._listening = await asyncio.start_server(self._answer, "127.0.0.1", self._port, backlog=1024)
        self._port = self._listening.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            self._answered += 1
            writer.write(b"done\n")
        writer.close()


# -- one kind of tasks


@dataclass
class Run:
    """What happened to one kind. Times are seconds from the first task."""

    kind: str
    tasks: int = 0
    away: tuple[float, float] = (0.0, 0.0)
    sent_until: float = 0.0
    opened: float | None = None
    answered_there: int = 0
    letters: int = 0
    calls: list[tuple[float, int, str]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The figures that are printed, judged and kept."""
        made = [call for call in self.calls if call[2] != "failed"]
        done = {number: at for at, number, outcome in made if outcome == "answered"}
        refused = [at for at, _, outcome in made if outcome == "refused"]
        failed = {number for _, number, outcome in self.calls if outcome == "failed"} - set(done)
        known = -1.0 if self.opened is None else self.opened + TASK_DEFAULTS.freshness
        first = sum(at <= known for at in refused)
        steady = sum(at < self.away[0] for at, _, _ in made) / self.away[0]
        seconds = per_second([at for at, _, _ in made if at >= self.away[1]])
        return {
            "tasks": self.tasks,
            "failed": len(failed),
            "dead_letters": self.letters,
            "missing": self.tasks - len(done) - len(failed),
            "done_twice": sum(count > 1 for count in Counter(n for _, n, o in made if o == "answered").values()),
            "answered_there": self.answered_there,
            "calls": len(made),
            "refused": len(refused),
            "refused_first": first,
            "refused_later": len(refused) - first,
            "attempts": round(len(made) / self.tasks, 4),
            "attempts_beside": round((len(made) - first) / self.tasks, 4),
            "opened_after": None if self.opened is None else round(self.opened - self.away[0], 2),
            "first_answer_after_return": round(min((at for at in done.values() if at >= self.away[1]), default=0)
                                               - self.away[1], 1),
            "all_done_after_return": round(max(at for at, _, _ in self.calls) - self.away[1], 1),
            "steady": round(steady, 1),
            "peak": max(seconds.values(), default=0),
            "peak_multiple": round(max(seconds.values(), default=0) / steady, 2),
        }  # fmt: skip


def per_second(times: list[float]) -> Counter[int]:
    """How many fall into each whole second."""
    return Counter(int(at) for at in times)


def play(kind: str, options: argparse.Namespace, start: threading.Barrier, run: Run) -> None:
    """Run the workers of one kind through the outage; what happened goes into `run`."""
    with ExitStack() as stack:
        server, dependency = stack.enter_context(RedisServer()), Dependency()
        stack.callback(dependency.close)
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        calls = Path(directory, "calls")
        calls.touch()
        env = {
            "CELERY_BROKER_URL": server.url(), "OUTAGE_STORE_URL": server.url(1), "OUTAGE_KIND": kind,
            "OUTAGE_PORT": str(dependency.port), "OUTAGE_CALLS": str(calls),
            "OUTAGE_MAX_RETRIES": str(options.max_retries),
        }  # fmt: skip
        for _ in range(WORKERS):
            worker = Worker("benchmarks.outage_app", env=env, concurrency=PROCESSES)
            stack.callback(worker.kill)
            worker.wait_ready(60)
        app = Celery("outage", broker=server.url(), set_as_current=False)
        app.conf.update(recovery_redis_url=server.url(1), task_ignore_result=True)
        start.wait(120)
        begun = time.time()
        taker = threading.Thread(target=_take_away, args=(dependency, options, begun, run), daemon=True)
        taker.start()
        _send(app, options, begun, run)
        taker.join()
        _wait(calls, run.tasks, options.patience)
        run.answered_there = dependency.answered()
        run.calls = [(at - begun, number, outcome) for at, number, outcome in _read(calls)]
        if kind == "ours":
            recovery = Recovery.of(app)
            recovery.dead_letters.drain()
            run.letters = len(list(recovery.dead_letters.iterate()))
            history = recovery.circuits.view("dependency").history
            opened = [change.at - begun for change in history if change.after is CircuitState.OPEN]
            run.opened = min(opened, default=None)
            print("circuit:", "; ".join(f"{change.after} at {change.at - begun:.1f} s" for change in reversed(history)))


def _take_away(dependency: Dependency, options: argparse.Namespace, begun: float, run: Run) -> None:
    _sleep_until(begun + options.before)
    dependency.set(up=False)
    gone = time.time() - begun
    _sleep_until(begun + options.before + options.outage)
    dependency.set(up=True)
    run.away = (gone, time.time() - begun)


def _send(app: Celery, options: argparse.Namespace, begun: float, run: Run) -> None:
    """`rate` tasks a second, whatever becomes of them."""
    count = int(options.rate * (options.before + options.outage + options.after))
    with app.producer_or_acquire() as producer:
        for number in range(count):
            _sleep_until(begun + number / options.rate)
            app.send_task("order", (number,), producer=producer)
    run.tasks, run.sent_until = count, time.time() - begun


def _wait(calls: Path, tasks: int, patience: float) -> None:
    """Until each task is done or given up, or nothing has happened for so many seconds."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < patience:
        if len({number for _, number, outcome in _read(calls) if outcome != "refused"}) >= tasks:
            time.sleep(2)  # an attempt too many would show
            return
        if calls.stat().st_size != size:
            size, since = calls.stat().st_size, time.monotonic()
        time.sleep(1)


def _read(calls: Path) -> list[tuple[float, int, str]]:
    lines = (line.split() for line in calls.read_text().splitlines())
    return [(float(at), int(number), outcome) for at, number, outcome in lines]


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.time(), 0))


# -- what is shown


def report(figures: dict[str, dict[str, Any]]) -> None:
    """A table, one line a figure."""
    names = list(figures)
    print(f"{'':28}" + "".join(f"{name:>10}" for name in names))
    for key in figures[names[0]]:
        cells = ("-" if figures[name][key] is None else f"{figures[name][key]:g}" for name in names)
        print(f"{key.replace('_', ' '):28}" + "".join(f"{cell:>10}" for cell in cells))


def draw(runs: list[Run], path: Path) -> bool:
    """Calls per second, answered and refused, one panel a kind. False without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no picture: pip install matplotlib")
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(runs), 1, figsize=(10, 2.9 * len(runs) + 0.4), sharex=True, squeeze=False)
    last = max(int(run.calls[-1][0]) for run in runs if run.calls) + 2
    highest = max(max(per_second([call[0] for call in run.calls if call[2] != "failed"]).values()) for run in runs)
    for run, panel in zip(runs, panels[:, 0], strict=True):
        _panel(run, panel, last)
        panel.set_ylim(0, highest * 1.2)
    panels[0, 0].legend(loc="upper right", frameon=False, ncol=3, fontsize=9)
    panels[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _panel(run: Run, panel: Any, last: int) -> None:
    figures = run.figures()
    answered = per_second([at for at, _, outcome in run.calls if outcome == "answered"])
    refused = per_second([at for at, _, outcome in run.calls if outcome == "refused"])
    seconds = range(last)
    heights = [answered[second] for second in seconds]
    panel.axvspan(*run.away, color="#f1f1f1", zorder=0)
    panel.bar(seconds, heights, width=1.0, align="edge", color="#2a7f9e", label="answered")
    panel.bar(seconds, [refused[second] for second in seconds], width=1.0, align="edge", bottom=heights,
              color="#d1495b", label="refused")  # fmt: skip
    panel.axhline(figures["steady"], color="#555555", linewidth=0.9, linestyle="--", label="steady rate")
    panel.text(sum(run.away) / 2, 0.93, "dependency away", ha="center", va="top", color="#666666", fontsize=9,
               transform=panel.get_xaxis_transform())  # fmt: skip
    lost = "failed" if run.kind == "plain" else "became dead letters"
    panel.set_title(
        f"{TITLES[run.kind]}:  {figures['refused']:,} calls refused, "
        f"{figures['failed']:,} of {figures['tasks']:,} tasks {lost}, {figures['attempts']:.2f} attempts a task",
        loc="left", fontsize=10.5,
    )  # fmt: skip
    panel.set_ylabel("calls per second")
    panel.set_xlim(0, last)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def faults(ours: dict[str, Any]) -> list[str]:
    """What is beyond the budget, in words."""
    most = TASK_DEFAULTS.return_peak * GRAIN
    found = [
        (ours["failed"], f"{ours['failed']} tasks failed"),
        (ours["dead_letters"], f"{ours['dead_letters']} dead letters"),
        (ours["missing"], f"{ours['missing']} tasks are missing"),
        (ours["done_twice"], f"{ours['done_twice']} tasks were done twice"),
        (ours["opened_after"] is None, "the circuit never opened"),
        (ours["attempts_beside"] > ATTEMPTS, f"more than {ATTEMPTS} attempts per task"),
        (ours["peak_multiple"] > most, f"a peak above {most:g} times the steady rate"),
    ]
    return [words for wrong, words in found if wrong]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=40.0, help="tasks per second, of each kind")
    parser.add_argument("--before", type=float, default=30.0, help="seconds of load before the outage")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds that the dependency is away")
    parser.add_argument("--after", type=float, default=90.0, help="seconds of load after it")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds without news until the rest is missing")
    parser.add_argument("--max-retries", type=int, default=5, help="of plain Celery")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="only these")
    parser.add_argument("--picture", type=Path, default=Path("outage.png"))
    parser.add_argument("--json", type=Path, default=Path("outage.json"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Play, print, draw and judge."""
    options = parse(arguments)
    runs, start = [Run(kind) for kind in options.kinds], threading.Barrier(len(options.kinds))
    threads = [threading.Thread(target=play, args=(run.kind, options, start, run)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(run.calls for run in runs):
        return 1  # a thread has told why
    figures = {run.kind: run.figures() for run in runs}
    report(figures)
    options.json.write_text(json.dumps({"cpus": os.cpu_count(), "figures": figures, "runs": list(map(asdict, runs))}))
    if draw(runs, options.picture):
        print(f"picture: {options.picture}")
    wrong = [f"{run.kind}: callers and dependency disagree" for run in runs
             if run.answered_there < len({n for _, n, outcome in run.calls if outcome == "answered"})]  # fmt: skip
    wrong += faults(figures["ours"]) if "ours" in figures else []
    for words in wrong:
        print("beyond the budget:", words)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
