"""How far long work is: a bar on a terminal that has rich installed, plain lines every few seconds elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from celery_recovery.cli.output import Output
from celery_recovery.text import cut, duration, visible

__all__ = ("Display", "Stopped", "display", "stoppable")

#: Seconds between two plain lines.
EVERY = 5.0
#: Characters of the name of what is done.
LONGEST = 60
_STOPPING = b"\nStopping after this batch. Ctrl-C again: at once.\n"


class Stopped(BaseException):  # nothing in between may catch it as an error of its own
    """Ctrl-C was pressed, and the batch that was running is through."""


class Display(Protocol):
    """Shows how far the work is."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` are through; `note`: what else is to be said."""


@contextmanager
def display(output: Output, what: str) -> Iterator[Display]:
    """A display on stderr for the work in the block; quiet: none."""
    what = cut(visible(what[:LONGEST]), LONGEST)
    if output.quiet:
        yield _nothing
    elif sys.stderr.isatty() and (bar := _rich_bar(output, what)) is not None:
        with bar as (progress, task):
            yield lambda done, total, note="": progress.update(task, completed=done, total=total, note=visible(note))
    else:
        yield _Lines(output, what)


def _nothing(done: int, total: int, note: str = "") -> None:
    """Shows nothing."""


class _Lines:
    """A line at the most every `EVERY` seconds."""

    def __init__(self, output: Output, what: str) -> None:
        self._output = output
        self._what = what
        self._begun = self._told = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._told < EVERY:
            return
        self._told = now
        spent = duration(now - self._begun)
        self._output.note(f"{self._what}: {done} of {total} after {spent}" + (f", {note}" if note else ""))


def _rich_bar(output: Output, what: str) -> Any:
    """A bar of rich's as a context manager that gives `(progress, task)`; None where rich is not installed."""
    try:
        from rich import console, progress
    except ImportError:
        return None

    @contextmanager
    def bar() -> Iterator[tuple[progress.Progress, progress.TaskID]]:
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
        )
        screen = console.Console(stderr=True, no_color=output.no_color, highlight=False)
        with progress.Progress(*columns, console=screen, transient=True) as shown:
            yield shown, shown.add_task(what, total=None, note="")

    return bar()


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Make Ctrl-C wait for the running batch: gives a function, to be called between batches, that raises `Stopped`.

    A second Ctrl-C does not wait: it raises KeyboardInterrupt, as usual.
    """
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True
        os.write(sys.stderr.fileno(), _STOPPING)  # a buffered stream may be in the middle of a write

    def check() -> None:
        if asked:
            raise Stopped

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
