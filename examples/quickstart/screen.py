"""What the demo prints: a moving bar on a terminal with rich installed, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from books import Books

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("Progress", "print_books", "print_comparison", "print_groups", "say", "section")

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
    rows = [("shipped at the first try", books.count("first try")), ("shipped after retries", books.count("recovered"))]
    if books.count("replayed"):
        rows.append(("shipped after a replay", books.count("replayed")))
    dead = books.dead_by_type()
    rows.append(("dead-lettered", sum(dead.values())))
    _row("submitted", books.submitted)
    for name, number in rows:
        _row(name, number)
    for error_type, number in dead.most_common():
        _row(f"    {error_type}", number)
    _row("open", books.count("open"))
    say(f"  {'─' * 38}")
    parts = [number for _, number in rows] + [books.count("open")]
    say(f"  {books.submitted:,} {'=' if sum(parts) == books.submitted else '≠'} {' + '.join(f'{n:,}' for n in parts)}")
    asked = f"{books.asked_again:,} effects were asked for more than once"
    say(f"  {books.retried:,} retries. By the service's own ledger {asked}")
    say(f"  and {books.twice:,} took place twice.")
    for problem in books.problems[:20]:
        say(f"  PROBLEM: {problem}", strong=True)
    if len(books.problems) > 20:
        say(f"  … and {len(books.problems) - 20:,} more", strong=True)


def print_groups(groups: list[tuple[int, str, str]]) -> None:
    """The largest groups of letters that died of the same thing."""
    section("What the letters died of, most frequent first")
    for count, task, death in groups:
        line = f"  {count:>5,} {task:<22} {' '.join(death.split())}"
        say(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")


def print_comparison(before: Books, after: Books, repairable: set[str]) -> None:
    """What the repair and the replay brought."""
    was_dead = {order_id for order_id in repairable if before.ends.get(order_id, "").startswith("dead")}
    shipped = {order_id for order_id in was_dead if after.ends.get(order_id) == "replayed"}
    say(f"\n  Of {len(was_dead):,} orders that had died of what was repaired, {len(shipped):,} are shipped now.")


def _row(name: str, number: int) -> None:
    say(f"  {name:<30}{number:>8,}")
