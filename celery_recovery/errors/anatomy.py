"""The outside of an exception: its chain of causes and its traceback, cut to size."""

from __future__ import annotations

from collections import deque
from itertools import chain
from types import TracebackType

from celery_recovery.errors.fingerprint import LIBRARY_NEAREST, NEAREST, is_decorator, is_library, place_name
from celery_recovery.errors.model import Frame
from celery_recovery.errors.reading import cause_of, clean
from celery_recovery.errors.rules.table import Table

__all__ = ("CHAIN_LIMIT", "INNER_FRAMES", "OUTER_FRAMES", "Steps", "chain_of", "frames_of", "nearest", "steps_of")

#: Exceptions named in `ErrorInfo.class_chain`.
CHAIN_LIMIT = 20
#: Frames kept of a longer traceback: those where it began and those where it ended.
OUTER_FRAMES, INNER_FRAMES = 10, 20
_NAME = 300

_traceback = BaseException.__dict__["__traceback__"].__get__


Steps = tuple[TracebackType, ...]


def chain_of(exc: BaseException, table: Table) -> tuple[str, ...]:
    """Qualified class names of `exc` and its explicit causes, outermost first."""
    cause = cause_of(exc)
    if cause is None:
        return (table.plan(type(exc)).name,)
    links = [exc]
    while cause is not None and len(links) < CHAIN_LIMIT and not any(cause is seen for seen in links):
        links.append(cause)
        cause = cause_of(cause)
    return tuple([table.plan(type(link)).name for link in links])


def steps_of(exc: BaseException) -> Steps:
    """The traceback, outermost call first; the middle of a long one is left out."""
    outer: list[TracebackType] = []
    inner: deque[TracebackType] = deque(maxlen=INNER_FRAMES)
    step: TracebackType | None = _traceback(exc)
    while step is not None:
        if len(outer) < OUTER_FRAMES:
            outer.append(step)
        else:
            inner.append(step)
        step = step.tb_next
    return (*outer, *inner)


def frames_of(steps: Steps) -> tuple[Frame, ...]:
    """What is kept of a traceback: file, line and function of each step, no source text."""
    return tuple([_frame(step) for step in steps])


def _frame(step: TracebackType) -> Frame:
    code = step.tb_frame.f_code
    return Frame(_short(code.co_filename), step.tb_lineno or 0, _short(code.co_name))


def _short(name: str) -> str:
    return name if len(name) <= _NAME and name.isascii() else clean(name, _NAME)


def nearest(*trails: Steps) -> list[str]:
    """Where it happened, nearest first: the application's own frames, or else a library's.

    The tracebacks come outermost first: that of a wrapper before that of its inside.
    """
    own: list[str] = []
    for step in chain.from_iterable(map(reversed, reversed(trails))):
        code = step.tb_frame.f_code
        if is_library(code.co_filename) or is_decorator(code.co_name):
            continue
        place = _place(step)
        if not own or own[-1] != place:  # recursion counts once
            own.append(place)
            if len(own) == NEAREST:
                break
    return own or [_place(step) for step in trails[-1][-LIBRARY_NEAREST:]]


def _place(step: TracebackType) -> str:
    frame = step.tb_frame
    module = frame.f_globals.get("__name__")
    return place_name(frame.f_code.co_filename, module if type(module) is str else "", frame.f_code.co_name)
