"""What `recovery watch` prints: one line for each happening, and one for a flood of the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from celery_recovery.monitoring.feed import Happening
from celery_recovery.text import cut, duration, padded, short_class, visible

__all__ = ("Flood", "Line", "line")

#: Cells of a happening's word and of what it happened to; without a terminal the latter is as wide as it is.
_WORD, _SUBJECT = 15, 30
#: Seconds over which a flood is counted; lines of one kind, and of all kinds, that are shown in such a time.
SPAN, MOST, MOST_OF_ALL = 10, 5, 60
#: Kinds of happenings that are told apart in one flood; the rest is told by its word alone.
KINDS = 20
_COLOURS = {
    "retry": "yellow", "dead_letter": "red", "manual_review": "red", "fail": "red", "recovered": "green",
    "group": "magenta", "operation": "cyan", "missed": "yellow",
}  # fmt: skip
_PLURALS = {
    "retry": "retries", "dead_letter": "dead letters", "manual_review": "letters for review", "fail": "failures",
    "discard": "discarded tasks", "snooze": "snoozed tasks", "recovered": "recoveries", "circuit": "circuit changes",
    "group": "changes of groups", "operation": "steps of operations", "given_back": "messages given back",
}  # fmt: skip


class Line(NamedTuple):
    """A line and its colour."""

    text: str
    colour: str | None = None


class Kind(NamedTuple):
    """What is one flood."""

    what: str
    task: str = ""
    exception: str = ""


def line(one: Happening, columns: int | None) -> Line:
    """One happening: when (UTC), what, to whom, and how; in so many columns. Its texts are without secrets already."""
    word, subject, rest = _parts(one)
    at = time.strftime("%H:%M:%S", time.gmtime(one.at)) if 0 <= one.at < 1e11 else "?"
    subject, rest = visible(subject), visible(rest)
    subject = padded(subject if columns is None else cut(subject, _SUBJECT, front=True), _SUBJECT)
    text = f"{at}  {padded(cut(visible(word), _WORD), _WORD)}  {subject}  {rest}".rstrip()
    return Line(text if columns is None else cut(text, columns), _colour(one))


def _colour(one: Happening) -> str | None:
    if one.what == "circuit":
        return {"closed": "green", "half_open": "yellow"}.get(one.text("after"), "red")
    return _COLOURS.get(one.what)


def _parts(one: Happening) -> tuple[str, str, str]:
    if one.what == "circuit":
        where = f" on {one.text('scope')}" if one.text("scope") else ""
        return "circuit", one.text("circuit"), f"{one.text('before')} → {one.text('after')}: {one.text('cause')}{where}"
    if one.what == "group":
        return f"group {one.text('news')}", one.text("task"), f"{one.text('fingerprint')[:14]}  {_error(one)}"
    if one.what == "operation":
        return f"{one.text('kind')} {one.text('state')}", f"operation {one.text('id')[:12]}", _progress(one)
    if one.what == "missed":
        return "missed", "", f"{int(one.told.get('count') or 0):,} happenings that one process had no room to tell"
    return one.what.replace("_", " "), one.text("task"), "  ".join(filter(None, (_course(one), _error(one))))


def _progress(one: Happening) -> str:
    """How far an operation is."""
    told = one.told
    step = f"step {told.get('step')}, " if told.get("step") else ""
    ends = f", {told.get('recovered')} recovered, {told.get('died')} died again"
    ended = ends if one.text("kind") == "replay" else ""
    by = f" by {one.text('by')}" if one.text("by") else ""
    why = f": {one.text('message')}" if one.text("message") else ""
    return f"{step}{told.get('position')} of {told.get('selected')}{ended}{by}{why}"


def _course(one: Happening) -> str:
    """Which attempt it was, and what follows."""
    attempt, most, delay = one.text("attempt"), one.text("max_attempts"), one.told.get("delay")
    if one.what == "recovered":
        took = one.told.get("took")
        after = f" after {duration(took)}" if isinstance(took, (int, float)) else ""
        return f"attempt {attempt}{after}"
    again = f", again in {duration(delay)}" if isinstance(delay, (int, float)) else ""
    reason = f", {one.text('reason')}" if one.what != "retry" and one.text("reason") else ""
    return f"{attempt}/{most or '∞'}{again}{reason}"


def _error(one: Happening) -> str:
    error = f"{one.text('error_type')}: " if one.text("error_type") else ""
    message = " ".join(one.text("message").split())
    return f"{error}{short_class(one.text('exception'))}" + (f": {message}" if message else "")


class Flood:
    """Lets the first few of each kind through, and counts the rest, over `SPAN` seconds of the feed's own time.

    Memory is bounded, whatever comes.
    """

    def __init__(self) -> None:
        self._span = 0
        self._shown: Counter[Kind] = Counter()
        self._held: Counter[Kind] = Counter()

    def passes(self, one: Happening) -> bool:
        """Whether this one is shown; else it is counted."""
        kind = Kind(one.what, one.text("task"), one.text("exception"))
        if one.what == "missed":
            return True
        if self._shown[kind] < MOST and self._shown.total() < MOST_OF_ALL:
            self._shown[kind] += 1
            return True
        known = kind in self._held or len(self._held) < KINDS
        self._held[kind if known else Kind(one.what)] += 1
        return False

    def over(self, at: float) -> Iterator[Line]:
        """What was counted, the most first, if its time is over at this moment (unix s)."""
        span = int(at // SPAN) if abs(at) < 1e11 else 0
        if span <= self._span:
            return
        self._span = span
        yield from self.rest()

    def rest(self) -> Iterator[Line]:
        """What was counted up to now; counting begins anew."""
        held, self._held, self._shown = self._held, Counter(), Counter()
        for kind, count in held.most_common():
            what = _PLURALS.get(kind.what, visible(kind.what))
            of = f" of {visible(kind.task)}" if kind.task else ""
            why = f": {visible(short_class(kind.exception))}" if kind.exception else ""
            yield Line(f"          … and {count:,} more {what}{of}{why}", _COLOURS.get(kind.what))
