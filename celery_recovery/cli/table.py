"""Tables in plain text: as wide as their cells, no wider than the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from celery_recovery.text import cut, padded, width

__all__ = ("Column", "rendered")

#: Blanks between two columns.
GAP = 2


class Column(NamedTuple):
    """How one column looks."""

    title: str
    #: Numbers stand at the right.
    right: bool = False
    #: Cells that it may be narrowed to; 0: it keeps its width.
    least: int = 0
    #: Cut at the front, as suits dotted names, whose end says the most.
    front: bool = False


def rendered(columns: Sequence[Column], rows: Sequence[Sequence[str]], limit: int | None) -> list[str]:
    """The head and the rows as lines, of at most `limit` cells if the columns can be narrowed that far."""
    lines = [[column.title for column in columns], *rows]
    widths = [max(width(line[n]) for line in lines) for n in range(len(columns))]
    if limit is not None:
        widths = _narrowed(columns, widths, limit - GAP * (len(columns) - 1))
    return [_line(columns, line, widths) for line in lines]


def _narrowed(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """Take from the widest column that can give, until all fit or none can give."""
    widths = [min(cells, room) if column.least else cells for column, cells in zip(columns, widths, strict=True)]
    while sum(widths) > room:
        giving = [n for n, column in enumerate(columns) if column.least and widths[n] > column.least]
        if not giving:
            break
        widths[max(giving, key=lambda n: widths[n])] -= 1
    return widths


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = (
        padded(cut(cell, size, front=column.front), size, right=column.right)
        for column, cell, size in zip(columns, cells, widths, strict=True)
    )
    return (" " * GAP).join(shown).rstrip()
