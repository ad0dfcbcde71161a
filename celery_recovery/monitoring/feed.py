"""Reads the feed: what happens in all processes, about a second after it has happened.

    backlog ─► what is kept, from a moment on, or the last N
    look ─► look ─► …   what came since, as soon as it comes; how much of it was gone before it could be read

The feed is a stream of about 10,000 entries in Redis, which every process writes to (`counting.py`). A reader keeps
its place and one page: what it costs does not grow with the feed. It is nobody's only record: what matters is in the
store and in the counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import redis

from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("WHATS", "Happening", "Look", "Tail")

#: What there is in the feed, in the word of its `what`.
WHATS = (
    "retry", "snooze", "dead_letter", "manual_review", "discard", "fail", "given_back", "recovered", "circuit", "group",
    "operation", "missed",
)  # fmt: skip
#: Entries read in one round trip.
PAGE = 500
#: Seconds that one look waits for something to happen; less than the client's own patience.
WAIT = 1.0
_START, _LARGEST = b"0-0", 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One entry."""

    #: Its place in the feed.
    entry: str
    #: When it happened (unix s), by the clock of the process that tells.
    at: float
    #: One of `WHATS`; of a newer version it may be another.
    what: str
    #: All of it, as it was written.
    told: Mapping[str, Any]

    def text(self, name: str) -> str:
        """One of its fields as text; empty: it has none."""
        value = self.told.get(name)
        return "" if value is None else str(value)


class Look(NamedTuple):
    """What one look has found."""

    happenings: list[Happening]
    #: Entries that were gone before they could be read; None: some, nobody knows how many.
    missed: int | None = 0
    #: The feed has lost what it was (Redis was emptied, or came back without it), and is read from its new beginning.
    anew: bool = False


class Tail:
    """One reader and its place. Every method raises `StoreUnavailable`, and goes on where it was when asked again."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.feed
        self._last = _START
        #: Entries that were ever added, up to and with the last one that was read; None: not known.
        self._place: int | None = None

    # -- where to begin

    def from_last(self, count: int, fits: Callable[[Happening], bool] = lambda _: True) -> list[Happening]:
        """The last `count` that fit, oldest first; the next `look` goes on behind them."""
        entries, about = self._read(lambda pipe: pipe.xrevrange(self._key, count=PAGE))
        self._last, self._place = about.last, about.added
        found: list[Happening] = []
        while entries and len(found) < count:
            happenings = (_happening(*entry) for entry in entries)
            found += [one for one in happenings if one is not None and fits(one)][: count - len(found)]
            entries, _ = self._read(partial(self._page_before, entries[-1][0]))
        return found[::-1]

    def from_moment(self, since: float) -> None:
        """Go on with the first that was written at that moment (unix s, Redis' clock) or later."""
        self._last, self._place = b"%d-%d" % (max(int(since * 1000) - 1, 0), _LARGEST), None

    # -- going on

    def look(self, wait: float = WAIT) -> Look:
        """What came since, a page at most; with nothing there, whatever comes within `wait` seconds."""
        entries, about = self._read(self._next_page)
        if not entries and wait > 0 and not self._is_anew(about):
            with reachable(self._client):
                self._client.xread({self._key: self._last}, count=1, block=int(wait * 1000))
            entries, about = self._read(self._next_page)
        if self._is_anew(about):
            self._last, self._place = _START, 0
            return Look([], anew=True)
        if not entries:
            return Look([])
        missed = self._gone(entries, about)
        self._move_to(entries, about, missed)
        return Look([one for entry in entries if (one := _happening(*entry)) is not None], missed)

    def _page_before(self, entry: bytes, pipe: Any) -> None:
        pipe.xrevrange(self._key, max=b"(" + entry, count=PAGE)

    def _next_page(self, pipe: Any) -> None:
        pipe.xrange(self._key, min=b"(" + self._last, count=PAGE)

    def _is_anew(self, about: _About) -> bool:
        """Whether this stream never had the place that we have read to."""
        if self._place is None:
            return False
        return _order(about.last) < _order(self._last) or (about.added is not None and about.added < self._place)

    def _gone(self, entries: list[Any], about: _About) -> int | None:
        """How many were added behind our place, and trimmed before we came."""
        if self._place is None or entries[0][0] != about.first:
            return 0
        return None if about.added is None else max(about.added - about.length - self._place, 0)

    def _move_to(self, entries: list[Any], about: _About, missed: int | None) -> None:
        self._last = entries[-1][0]
        if about.added is None:
            self._place = None
        elif self._last == about.last:
            self._place = about.added
        elif entries[0][0] == about.first:
            self._place = about.added - about.length + len(entries)
        elif self._place is not None:
            self._place += len(entries) + (missed or 0)

    def _read(self, ask: Callable[[Any], Any]) -> tuple[list[Any], _About]:
        """Entries, and how the stream stood at that very moment."""
        with reachable(self._client), self._client.pipeline() as pipe:
            ask(pipe)
            pipe.xinfo_stream(self._key)
            entries, about = pipe.execute(raise_on_error=False)
        for answer in (entries, about):
            if isinstance(answer, redis.ResponseError) and "no such key" not in str(answer):
                raise answer
        return entries or [], _About.of(None if isinstance(about, redis.ResponseError) else about)


class _About(NamedTuple):
    """How the stream stands."""

    first: bytes
    last: bytes
    length: int
    #: Entries that were ever added; None: this Redis does not say (before 7.0).
    added: int | None

    @classmethod
    def of(cls, about: Mapping[str, Any] | None) -> _About:
        if about is None:
            return cls(_START, _START, 0, 0)
        first = about["first-entry"]
        added = about.get("entries-added")
        return cls(
            first[0] if first else _START, about["last-generated-id"], int(about["length"]),
            None if added is None else int(added),
        )  # fmt: skip


def _order(entry: bytes) -> tuple[int, int]:
    """The id of an entry as what it is compared by."""
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number or 0)


def _happening(entry: bytes, fields: Mapping[bytes, bytes]) -> Happening | None:
    """One entry; None for what nobody here has written."""
    try:
        told = json.loads(fields[b"e"])
        return Happening(entry=entry.decode(), at=float(told["at"]), what=str(told["what"]), told=told)
    except (KeyError, TypeError, ValueError):
        return None
