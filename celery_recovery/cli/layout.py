"""Paragraphs, lists and tables as lines of text, for a terminal and for a file alike. Foreign text is made harmless."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from celery_recovery.cli.table import Column, rendered
from celery_recovery.text import cut, visible

__all__ = ("Layout", "Line")

#: Blanks between two parts of a list, before a table's row and before what stands below it.
_GAP, _INDENT, _BELOW = 3, 2, 6
#: No line is broken at less.
_LEAST = 40


class Line(NamedTuple):
    """One line, and whether it is a heading."""

    text: str
    is_heading: bool = False


class Layout:
    """How wide lines may be; None: they are as long as they are, as suits a pipe."""

    def __init__(self, width: int | None) -> None:
        self.width = None if width is None else max(width, _LEAST)

    def paragraph(self, text: str, first: str = "  ", rest: str | None = None) -> Iterator[Line]:
        """A text in lines that begin with `first`, then with `rest` (None: as many blanks)."""
        shown, rest = visible(text), " " * len(first) if rest is None else rest
        if self.width is None:
            yield Line(first + shown)
            return
        broken = textwrap.wrap(shown, self.width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
        yield from map(Line, broken or [first])

    def listed(self, parts: Iterable[str], indent: str) -> Iterator[Line]:
        """As many in a line as it holds, none of them broken."""
        line = ""
        for part in map(visible, parts):
            if line and self.width is not None and len(indent + line + part) + _GAP > self.width:
                yield Line(indent + line)
                line = ""
            line += (" " * _GAP if line else "") + part
        yield Line(indent + line)

    def code(self, code: str, place: str, indent: str) -> Iterator[Line]:
        """What is to be copied, unbroken, and where it belongs (empty: it is a command), as a comment."""
        code, place = visible(code), visible(place)
        line = f"{indent}{code}    # {place}" if place else indent + code
        if place and self.width is not None and len(line) > self.width:
            yield Line(f"{indent}# {place}:")
            line = indent + code
        yield Line(line)

    def table(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, below: Sequence[str] = (), head: bool = True
    ) -> Iterator[Line]:
        """A table; `below`: one more line for each row, cut where it is too long."""
        room = None if self.width is None else self.width - _INDENT
        top, *body = rendered(columns, [[visible(cell) for cell in row] for row in rows], room)
        if head:
            yield Line(" " * _INDENT + top, is_heading=True)
        for line, more in zip_longest(body, below, fillvalue=""):
            yield Line(" " * _INDENT + line)
            if more:
                text = visible(more)
                yield Line(" " * _BELOW + (text if self.width is None else cut(text, self.width - _BELOW)))
