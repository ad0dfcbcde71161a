"""Where a command writes: results to stdout, everything else to stderr.

Results are text for people or, with `--json`, one document. Progress, warnings, questions and hints go to stderr, so
that a pipe sees results only. Colour goes to terminals only, and not at all with `celery --no-color`; `celery --quiet`
leaves out progress and hints.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import IO, Any

import click

from celery_recovery.cli.table import Column, rendered
from celery_recovery.text import cut, visible

__all__ = ("Output",)

#: Characters of one cell or value, and of the name of a value, that are shown: nobody reads more of them on a screen.
_CELL, _NAME = 20_000, 60


class Output:
    """stdout and stderr of one command."""

    def __init__(self, *, no_color: bool = False, quiet: bool = False, as_json: bool = False) -> None:
        self.no_color = no_color
        self.quiet = quiet
        #: True: stdout is for the document alone, and text for people goes to stderr.
        self.as_json = as_json

    @property
    def width(self) -> int | None:
        """Columns of the terminal, or of `COLUMNS`; None when nothing bounds a line."""
        return shutil.get_terminal_size((0, 0)).columns or None

    def line(self, text: str = "", **style: Any) -> None:
        """A line of the result: one, whatever stands in it."""
        self._echo(visible(text), sys.stderr if self.as_json else sys.stdout, **style)

    def note(self, text: str) -> None:
        """A hint, on stderr, unless quiet."""
        if not self.quiet:
            self._echo(visible(text), sys.stderr)

    def warn(self, text: str) -> None:
        """What the operator must know, on stderr."""
        self._echo(visible(text), sys.stderr, fg="yellow")

    def title(self, text: str) -> None:
        """The name of what follows, after an empty line."""
        self.line()
        self.heading(text)

    def heading(self, text: str) -> None:
        """The name of what follows."""
        self.line(text, bold=True)

    def table(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, below: Sequence[str] = (), indent: int = 0
    ) -> None:
        """Columns as wide as they must be, in lines no longer than the terminal; `below`: one more line for each."""
        room = None if self.width is None else self.width - indent
        head, *lines = rendered(columns, [[_shown(cell) for cell in row] for row in rows], room)
        self.line(" " * indent + head, bold=True)
        for line, more in zip_longest(lines, below, fillvalue=""):
            self.line(" " * indent + line)
            if more:
                text = _shown(more)
                self.line(" " * (indent + 4) + (text if room is None else cut(text, room - 4)))

    def fields(self, pairs: Mapping[str, str]) -> None:
        """Names and values, one below the other; long values go on in the next line; empty ones are left out."""
        shown = {cut(_shown(name), _NAME): _shown(value) for name, value in pairs.items() if value}
        names = max(map(len, shown), default=0) + 4
        for name, value in shown.items():
            first, *others = self._wrapped(value, names)
            self.line(f"  {name}".ljust(names) + first)
            for line in others:
                self.line(" " * names + line)

    def block(self, text: str, indent: int = 2) -> None:
        """Several lines of foreign text, each indented, so that none of them can pass for ours."""
        for line in text.split("\n"):
            self.line(" " * indent + line)

    def document(self, document: Mapping[str, Any]) -> None:
        """The result as JSON: ASCII only, so that nothing in it can reach a terminal."""
        text = json.dumps(document, indent=2, ensure_ascii=True, default=_plain)
        click.echo(text.replace("\x7f", "\\u007f"))

    def _wrapped(self, text: str, indent: int) -> list[str]:
        if self.width is None:
            return [text]
        return textwrap.wrap(text, max(self.width - indent, 20), break_on_hyphens=False) or [""]

    def _echo(self, text: str, stream: IO[str], **style: Any) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        styled = click.style(text, **style) if style and text else text
        click.echo(styled, file=stream, color=False if self.no_color else None)


def _shown(text: str) -> str:
    """A cell or a value, harmless, and no longer than anybody reads."""
    more = f"… ({len(text):,} characters)" if len(text) > _CELL else ""
    return visible(text[:_CELL]) + more


def _plain(value: Any) -> Any:
    """What JSON does not know: a set as a list, all else as its `repr`."""
    return list(value) if isinstance(value, (set, frozenset)) else repr(value)
