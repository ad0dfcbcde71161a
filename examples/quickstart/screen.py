"""What the demo prints: a moving bar on a terminal with rich installed, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from books import Books

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("Progress", "print_books", "print_groups", "print_passing", "print_repaired", "say", "section")

WIDTH = 116  # columns


def say(text: str, *, strong: bool = False) -> None:
    """One line, at once."""
    print(f"\033[1m{text}\033[0m" if strong and sys.stdout.isatty() else text, flush=True)


def section(title: str) -> None:
    """A heading."""
    say(f"\n{title}\n{'─' * len(title)}", strong=True)


class Progress:
    """How many orders have come to an end; a line every three seconds where nothing can move."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._bar: Any = None
        self._row: Any = None
        self._said = 0.0
        self._line = ""

    def __enter__(self) -> Self:
        self._bar = _rich_bar() if sys.stdout.isatty() else None
        if self._bar is not None:
            self._bar.start()
            self._row = self._bar.add_task(self._what, total=self._total, news="")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._line:
            say(self._line)

    def update(self, *, submitted: int, ended: int, dead: int, service_up: bool) -> None:
        """Show the figures of this moment; all of them are orders."""
        news = f"{submitted:,} submitted, {dead:,} dead-lettered{'' if service_up else '   SERVICE IS DOWN'}"
        if self._bar is not None:
            self._bar.update(self._row, completed=ended, news=news)
            return
        self._line = f"  {ended:>6,} of {self._total:,} {self._what} have come to an end; {news}"
        if time.monotonic() - self._said >= 3:
            say(self._line)
            self._said, self._line = time.monotonic(), ""


def _rich_bar() -> Any:
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    return Bar(BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[news]}"))


def print_books(title: str, books: Books) -> None:
    """The account of every order, and whether it adds up."""
    section(title)
    ends = {
        "succeeded at the first try": books.count("first try"),
        "recovered by retries": books.count("recovered"),
        "recovered by a replay": books.count("replayed"),
        "dead-lettered": books.count("dead"),
        "open": books.count("open"),
    }
    _row("submitted", books.submitted)
    for name, number in ends.items():
        _row(name, number)
        if name == "dead-lettered":
            for error_type, part in books.dead_by_type().most_common():
                _row(f"    {error_type}", part)
    say(f"  {'─' * 38}")
    total, parts = sum(ends.values()), " + ".join(f"{number:,}" for number in ends.values())
    say(f"  {books.submitted:,} {'=' if total == books.submitted else '≠'} {parts}")
    say("  By the service's own ledger:")
    say(f"  {books.asked_again:,} effects were asked for more than once, {books.twice:,} took place twice.")
    _print_problems(books.problems)


def _print_problems(problems: list[str], limit: int = 20) -> None:
    for problem in problems[:limit]:
        say(f"  PROBLEM: {problem}", strong=True)
    if len(problems) > limit:
        say(f"  … and {len(problems) - limit:,} more", strong=True)


def print_groups(groups: list[tuple[int, str, str]]) -> None:
    """The largest groups of letters that died of the same thing."""
    section("What the letters died of, most frequent first")
    for count, task, death in groups:
        line = f"  {count:>5,} {task:<22} {' '.join(death.split())}"
        say(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")


def print_passing(books: Books, met: set[str]) -> None:
    """What became of the orders for which the service had planned a fault that passes."""
    shipped = {order_id for order_id in met if books.ends.get(order_id) in ("first try", "recovered")}
    say(f"  {books.retried:,} retries. Of {len(met):,} orders that met a passing fault of their own,")
    say(f"  {len(shipped):,} recovered without help.")


def print_repaired(before: Books, after: Books, repairable: set[str]) -> None:
    """What the repair and the replay brought."""
    was_dead = {order_id for order_id in repairable if before.ends.get(order_id, "").startswith("dead")}
    shipped = {order_id for order_id in was_dead if after.ends.get(order_id) == "replayed"}
    say(f"  Of {len(was_dead):,} orders that had died of what was repaired, {len(shipped):,} are shipped now.")


def _row(name: str, number: int) -> None:
    say(f"  {name:<30}{number:>8,}")
