"""Finding letters: the smallest index is walked by time of death, and the rest of the filter checked on the way.

What the indexes and the letter hashes can tell is checked in Redis (`letter_find.lua`, a bounded number of letters a
call). Only what asks for the message itself (text, arguments, patterns of exceptions) is checked here.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import redis

from celery_recovery.dead_letters.filter import NOBODY, Filter, is_glob
from celery_recovery.dead_letters.letter import DECODED, Letter
from celery_recovery.dead_letters.stored import read_letter
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import INDEXED, Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("BATCH", "Page", "Search", "batches")

_T = TypeVar("_T")

#: Letters in one read, ids in one call of a script.
BATCH = 200
#: Letters that one call of `letter_find` looks at, at most: some milliseconds of the server's time.
LOOK = 2000
#: More indexes than this are not merged; all letters are walked instead.
MERGE_LIMIT = 16


class Page(NamedTuple):
    """Some letters, newest death first, and the cursor that continues; None at the end."""

    letters: list[Letter]
    cursor: str | None
    #: False: the time was over before the page was full; the cursor goes on looking.
    is_full: bool = True

    @property
    def looked_until(self) -> float | None:
        """Time of death of the last letter that was looked at, of a page that is not full; else None."""
        return None if self.is_full or self.cursor is None else float(self.cursor.partition("/")[0])


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one filter is answered."""

    #: The dimension walked, its values, and what `letter_find` checks on each letter's hash, as JSON.
    dimension: str
    values: Sequence[str]
    accepted: str
    #: Earliest and latest time of death, as Redis writes bounds.
    bounds: tuple[str, str]
    order: str
    #: Where to begin: time of death and id, or two empty texts.
    place: tuple[Any, Any]
    #: Letters to find in one call.
    chunk: int


class Search:
    """Reads the store; every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    def get_many(self, ids: Sequence[str], largest: int | None = None) -> list[Letter | None]:
        """Letters by id, in the order asked, in one round trip; None for the unknown.

        Bodies of more than `largest` bytes are left out (`Letter.left_out`).
        """
        rows = self._scripts("letter_read", ("" if largest is None else largest, *ids))
        return [read_letter(letter_id, row) if row else None for letter_id, row in zip(ids, rows, strict=True)]

    def find(
        self, where: Filter, *, cursor: str | None = None, limit: int = 50, seconds: float | None = None,
        largest: int | None = None,
    ) -> Page:  # fmt: skip
        """One page of letters, newest death first. `cursor` is the last page's.

        With `seconds`, about so long at most: the page then has what was found by then, and its cursor goes on. Bodies
        of more than `largest` bytes are left out.
        """
        until = None if seconds is None else time.monotonic() + seconds
        letters: list[Letter] = []
        place = cursor
        for letters_seen, place in self._looked_through(where, cursor, limit + 1, largest):
            letters += letters_seen
            if len(letters) > limit:
                page = letters[:limit]
                return Page(page, f"{page[-1].died_at:.6f}/{page[-1].id}")
            if until is not None and time.monotonic() >= until:
                return Page(letters, place, is_full=False)
        return Page(letters, None)

    def _looked_through(
        self, where: Filter, cursor: str | None, chunk: int, largest: int | None
    ) -> Iterator[tuple[list[Letter], str]]:
        """Letters that agree, some at a time, each time with the place up to which was looked."""
        if largest is not None and where.needs_message:
            largest = max(largest, DECODED)  # what is larger is not searched anyway
        if where.ids:
            letters = list(self.iterate(where, cursor=cursor, largest=largest))
            yield letters, f"0/{where.ids[-1]}"
            return
        seen = self._seen(self._plan(where, cursor=cursor, chunk=chunk), newest=True)
        while batch := list(_until_marked(seen, min(chunk, BATCH))):
            died_at, last, _ = batch[-1]
            found = self.get_many([one for _, one, agrees in batch if agrees], largest)
            yield [one for one in found if one is not None and where.matches(one)], f"{died_at:.6f}/{last}"

    def iterate(
        self, where: Filter, *, oldest_first: bool = False, cursor: str | None = None, chunk: int = BATCH,
        largest: int | None = None,
    ) -> Iterator[Letter]:  # fmt: skip
        """All letters that agree with the filter, in constant memory. What changes meanwhile may be seen or not."""
        ids = self._candidates(where, oldest_first=oldest_first, cursor=cursor, chunk=chunk)
        for batch in batches(ids, min(chunk, BATCH)):
            for letter in self.get_many(batch, largest):
                if letter is not None and where.matches(letter):
                    yield letter

    def iterate_ids(self, where: Filter, *, oldest_first: bool = False) -> Iterator[str]:
        """Like `iterate`, ids only: messages are read only when the filter asks for what is in them."""
        if where.ids or where.needs_message or any(map(is_glob, where.exception)):
            return (letter.id for letter in self.iterate(where, oldest_first=oldest_first, largest=DECODED))
        return self._candidates(where, oldest_first=oldest_first, chunk=LOOK)

    def count(self, where: Filter) -> int:
        """How many letters agree with the filter; one round trip when one index answers it."""
        plan = self._plan(where)
        if where.ids or where.needs_message or where.exception or plan.accepted != "{}":
            return sum(1 for _ in self.iterate_ids(where))
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for value in plan.values:
                pipe.zcount(self._keys.index(plan.dimension, value), *plan.bounds)
            return sum(pipe.execute())

    def _candidates(
        self, where: Filter, *, oldest_first: bool = False, cursor: str | None = None, chunk: int = BATCH
    ) -> Iterator[str]:
        """Ids that agree with all of the filter that Redis can tell, by time of death; ids asked for, as they are."""
        if where.ids:
            return iter(_after(where.ids, cursor))
        plan = self._plan(where, oldest_first=oldest_first, cursor=cursor, chunk=chunk)
        return (letter_id for _, letter_id, agrees in self._seen(plan, newest=not oldest_first) if agrees)

    def _seen(self, plan: _Plan, *, newest: bool) -> Iterator[tuple[float, str, bool]]:
        """Time of death, id, and whether it agrees: of those that do, and of the last that each call has looked at."""
        walks = [self._walk(plan, value) for value in plan.values]
        return walks[0] if len(walks) == 1 else heapq.merge(*walks, reverse=newest)

    def _plan(
        self, where: Filter, *, oldest_first: bool = False, cursor: str | None = None, chunk: int = BATCH
    ) -> _Plan:
        asked = {
            dimension: self._values(dimension, where) for dimension in ("state", *INDEXED) if getattr(where, dimension)
        }
        dimension, values = self._smallest(asked)
        died, _, letter_id = (cursor or "").partition("/")
        return _Plan(
            dimension=dimension,
            values=values,
            accepted=json.dumps(_accepted(where, {name: asked[name] for name in asked if name != dimension})),
            bounds=(_bound(where.since, "-inf"), _bound(where.until, "+inf")),
            order="oldest" if oldest_first else "newest",
            place=(died, letter_id),
            chunk=min(chunk, LOOK),
        )

    def _smallest(self, asked: Mapping[str, list[str]]) -> tuple[str, list[str]]:
        """The dimension, with its values, whose indexes hold the fewest letters that could agree."""
        options = [(name, values) for name, values in asked.items() if len(values) <= MERGE_LIMIT]
        if len(options) <= 1:
            return options[0] if options else ("all", [""])
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for name, values in options:
                for value in values:
                    pipe.zcard(self._keys.index(name, value))
            sizes: Iterator[int] = iter(pipe.execute())
        totals = [sum(islice(sizes, len(values))) for _, values in options]
        return options[totals.index(min(totals))]

    def _values(self, dimension: str, where: Filter) -> list[str]:
        """The values asked for in one dimension, patterns resolved against those that occur."""
        asked = [str(value) for value in getattr(where, dimension)]
        if dimension == "parent" or not any(map(is_glob, asked)):  # an id may hold any character
            return asked
        with reachable(self._client):
            known: Iterable[Any] = self._client.hkeys(self._keys.kept(dimension))
        names = [value.decode() for value in known]
        return [value for value in names if any(fnmatchcase(value, pattern) for pattern in asked)]

    def _walk(self, plan: _Plan, value: str) -> Iterator[tuple[float, str, bool]]:
        """The same of the letters along one index."""
        place, more = plan.place, True
        while more:
            arguments = (plan.dimension, value, plan.order, *plan.bounds, *place, plan.chunk, LOOK, plan.accepted)
            flag, died, letter_id, found = self._scripts("letter_find", arguments)
            more = flag == b"1"
            place = (died, letter_id) if died else place
            pairs = iter(found)
            for found_id, died_at in zip(pairs, pairs, strict=True):
                yield float(died_at), found_id.decode(), True
            if died and more and (not found or found[-2] != letter_id):
                yield float(died), letter_id.decode(), False


def batches(ids: Iterable[_T], size: int = BATCH) -> Iterator[list[_T]]:
    """Cut a stream, of ids or of letters, into lists of at most `size`."""
    rest = iter(ids)
    while batch := list(islice(rest, size)):
        yield batch


def _until_marked(seen: Iterator[tuple[float, str, bool]], size: int) -> Iterator[tuple[float, str, bool]]:
    """So many at most, ending with one that does not agree: as far as one call has looked."""
    for one in islice(seen, size):
        yield one
        if not one[2]:
            return


def _accepted(where: Filter, dimensions: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Field of the letter hash -> accepted values."""
    accepted = dict(dimensions)
    if where.reason:
        accepted["reason"] = list(where.reason)
    if where.exception and not any(map(is_glob, where.exception)):
        accepted["exception"] = list(where.exception)
    if where.assignee:
        accepted["assignee"] = ["" if name == NOBODY else name for name in where.assignee]
    if where.operation:
        accepted["operation"] = list(where.operation)
    if where.held is not None:
        accepted["held"] = [str(int(where.held))]
    return accepted


def _after(ids: tuple[str, ...], cursor: str | None) -> tuple[str, ...]:
    """The ids behind the cursor's."""
    last = (cursor or "").partition("/")[2]
    return ids[ids.index(last) + 1 :] if last in ids else ids


def _bound(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.6f}"
