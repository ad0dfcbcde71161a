"""The outside of an exception: its chain of causes and its traceback, cut to size."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from celery_recovery.errors.fingerprint import Place
from celery_recovery.errors.model import Frame
from celery_recovery.errors.reading import cause_of, clean
from celery_recovery.errors.rules.table import Table

__all__ = ("CHAIN_LIMIT", "INNER_FRAMES", "OUTER_FRAMES", "Trail", "chain_of", "trail_of")

#: Exceptions named in `ErrorInfo.class_chain`.
CHAIN_LIMIT = 20
#: Frames kept of a longer traceback: those where it began and those where it ended.
OUTER_FRAMES, INNER_FRAMES = 10, 20
_NAME = 300

_traceback = BaseException.__dict__["__traceback__"].__get__


class Trail(NamedTuple):
    """A traceback twice: as it is kept, and as the fingerprint reads it."""

    frames: tuple[Frame, ...]
    places: tuple[Place, ...]


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
    outer: list[Any] = []
    inner: deque[Any] = deque(maxlen=INNER_FRAMES)
    step = _traceback(exc)
    while step is not None:
        if len(outer) < OUTER_FRAMES:
            outer.append(step)
        else:
            inner.append(step)
        step = step.tb_next
    frames, places = [], []
    for step in (*outer, *inner):
        code = step.tb_frame.f_code
        filename, name = clean(code.co_filename, _NAME), clean(code.co_name, _NAME)
        frames.append(Frame(filename, step.tb_lineno or 0, name))
        module = step.tb_frame.f_globals.get("__name__")
        places.append(Place(filename, module if type(module) is str else "", name))
    return Trail(tuple(frames), tuple(places))
