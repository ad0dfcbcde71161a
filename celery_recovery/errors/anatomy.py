"""The outside of an exception: its chain of causes and its traceback, cut to size."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import NamedTuple

from celery_recovery.errors.fingerprint import LIBRARY_NEAREST, NEAREST, is_decorator, is_library, place_name
from celery_recovery.errors.model import Frame
from celery_recovery.errors.reading import cause_of, clean
from celery_recovery.errors.rules.table import Table

__all__ = ("CHAIN_LIMIT", "INNER_FRAMES", "OUTER_FRAMES", "Trail", "chain_of", "nearest", "trail_of")

#: Exceptions named in `ErrorInfo.class_chain`.
CHAIN_LIMIT = 20
#: Frames kept of a longer traceback: those where it began and those where it ended.
OUTER_FRAMES, INNER_FRAMES = 10, 20
_NAME = 300

_traceback = BaseException.__dict__["__traceback__"].__get__


class Trail(NamedTuple):
    """A traceback: as it is kept, and the steps it was read from (same length and order)."""

    frames: tuple[Frame, ...]
    steps: tuple[TracebackType, ...]


def chain_of(exc: BaseException, table: Table) -> tuple[str, ...]:
    """Qualified class names of `exc` and its explicit causes, outermost first."""
    cause = cause_of(exc)
    if cause is None:
        return (table.plan(type(exc)).name,)
    chain = [exc]
    while cause is not None and len(chain) < CHAIN_LIMIT and not any(cause is seen for seen in chain):
        chain.append(cause)
        cause = cause_of(cause)
    return tuple([table.plan(type(link)).name for link in chain])


def trail_of(exc: BaseException) -> Trail:
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
    steps = (*outer, *inner)
    return Trail(tuple([_frame(step) for step in steps]), steps)


def _frame(step: TracebackType) -> Frame:
    code = step.tb_frame.f_code
    filename, name = code.co_filename, code.co_name
    if len(filename) > _NAME or not filename.isascii():
        filename = clean(filename, _NAME)
    if len(name) > _NAME or not name.isascii():
        name = clean(name, _NAME)
    return Frame(filename, step.tb_lineno or 0, name)


def nearest(*trails: Trail) -> list[str]:
    """Where it happened, nearest first: the application's own frames of these trails, or a library's if there is none.

    Trails outermost first: what a wrapper was raised through comes before what its inside was raised through.
    """
    own: list[str] = []
    for trail in reversed(trails):
        for frame, step in zip(reversed(trail.frames), reversed(trail.steps), strict=True):
            if is_decorator(frame.name) or is_library(frame.filename):
                continue
            place = _place(frame, step)
            if not own or own[-1] != place:  # recursion counts once
                own.append(place)
            if len(own) == NEAREST:
                return own
    if own:
        return own
    last = trails[-1]
    return [_place(*pair) for pair in zip(last.frames[-LIBRARY_NEAREST:], last.steps[-LIBRARY_NEAREST:], strict=True)]


def _place(frame: Frame, step: TracebackType) -> str:
    module = step.tb_frame.f_globals.get("__name__")
    return place_name(frame.filename, module if type(module) is str else "", frame.name)
