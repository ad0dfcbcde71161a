"""The outside of an exception: its chain of causes and its traceback, cut to size."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType

from celery_recovery.errors.functions import functions_of, is_ours
from celery_recovery.errors.model import Frame
from celery_recovery.errors.reading import attr, cause_of, context_of, text_of
from celery_recovery.errors.rules.table import Table

__all__ = (
    "CHAIN_LIMIT",
    "INNER_FRAMES",
    "OUTER_FRAMES",
    "Steps",
    "chain_of",
    "frames_of",
    "lineage",
    "steps_of",
    "trail_of",
)

#: Exceptions named in `ErrorInfo.class_chain`.
CHAIN_LIMIT = 20
#: Frames kept of a longer traceback: those where it began and those where it ended.
OUTER_FRAMES, INNER_FRAMES = 10, 20
_LEAST = 4  # characters of a text that is recognised in another
#: Not causes, but tracebacks of another process, as text.
_TEXTS = frozenset(
    {
        "concurrent.futures.process._RemoteTraceback",
        "multiprocessing.pool.RemoteTraceback",
        "billiard.pool.RemoteTraceback",
    }
)

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
    """The traceback, outermost call first, from where we called the task on; the middle of a long one is left out."""
    outer: list[TracebackType] = []
    inner: deque[TracebackType] = deque(maxlen=INNER_FRAMES)
    step: TracebackType | None = _traceback(exc)
    while step is not None and step.tb_next is not None and is_ours(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    while step is not None:
        if len(outer) < OUTER_FRAMES:
            outer.append(step)
        else:
            inner.append(step)
        step = step.tb_next
    return (*outer, *inner)


def frames_of(steps: Steps) -> tuple[Frame, ...]:
    """What is kept of a traceback: file, line and function of each step, no source text."""
    functions = functions_of(steps)
    return tuple(
        [Frame(one.shown[0], step.tb_lineno or 0, one.shown[1]) for step, one in zip(steps, functions, strict=True)]
    )


def lineage(exc: BaseException, ruled: BaseException, table: Table, package: str) -> list[BaseException]:
    """From `exc` to the innermost: by explicit causes, by the member of a group that leads to `ruled`, by quotation.

    `ruled`: what `exc` was looked through to; it is in the line, and so are its causes. `package`: the application's.
    """
    line = _causes(exc, table)
    if ruled is not exc and not _holds(line, ruled):
        groups = [number for number, one in enumerate(line) if table.plan(type(one)).group]
        line = (
            line[: groups[0] + 1] + _from_members(line[groups[0]], ruled, table, len(line))
            if groups
            else line + _causes(ruled, table)
        )
    quoted = _quoted(line[-1], package)
    return line if quoted is None or _holds(line, quoted) else [*line, quoted]


def _quoted(exc: BaseException, package: str) -> BaseException | None:
    """What was being handled, if the application's code put its text into the message: `raise Bad(f"no: {exc}")`.

    A mere context is no cause, but this one is meant to be.
    """
    context = context_of(exc)
    if context is None:
        return None
    text = text_of(context)
    if len(text) < _LEAST or text not in text_of(exc):
        return None
    raiser = functions_of(steps_of(exc)[-1:])
    return context if raiser and raiser[0].is_of(package) else None


def _causes(exc: BaseException, table: Table) -> list[BaseException]:
    """`exc` and its explicit causes."""
    line = [exc]
    cause = cause_of(exc)
    while cause is not None and len(line) < CHAIN_LIMIT and not _holds(line, cause):
        if table.plan(type(cause)).name in _TEXTS:
            break
        line.append(cause)
        cause = cause_of(cause)
    return line


def _from_members(group: BaseException, ruled: BaseException, table: Table, depth: int) -> list[BaseException]:
    members = attr(group, "exceptions")
    for member in members if type(members) in (tuple, list) and depth < CHAIN_LIMIT else ():
        if isinstance(member, BaseException):
            line = _causes(member, table)
            if table.plan(type(line[-1])).group:
                line += _from_members(line[-1], ruled, table, depth + len(line))
            if _holds(line, ruled):
                return line
    return _causes(ruled, table)


def _holds(line: list[BaseException], exc: BaseException) -> bool:
    return any(exc is one for one in line)  # not `in`: an exception may claim to equal another


def trail_of(line: Sequence[BaseException], steps: Steps) -> Steps:
    """The way to the last one, outermost call first: each one's traceback down to where its successor was caught.

    `steps`: the traceback of the first one.
    """
    trail = steps_of(line[-1]) if len(line) > 1 else steps
    for number in range(len(line) - 2, -1, -1):
        trail = _joined(steps_of(line[number]) if number else steps, trail)
    return trail


def _joined(outer: Steps, inner: Steps) -> Steps:
    if inner:
        for number, step in enumerate(outer):
            if step.tb_frame is inner[0].tb_frame:
                return outer[:number] + inner
    return outer + inner
