"""`DeadLetterStore`: where letters are indexed, searched and acted on. Every change is one Lua script in Redis.

The life of a letter here, by the calls that move it (`state.TRANSITIONS` has every change that is legal):

    add ──► failed ⇄ review          review, restore
               │
             claim ──► retry         unclaim brings it back; a lease bounds how long it stays
               │
           published ──► replayed    or started, when the worker is faster than the operator
               │
        recovered │ settle │ add     the replay succeeded, ended otherwise, or died: "again"

`discard` leads out of every state that is not finished. Finished letters are kept for `max_age`, then removed.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, cast

import redis

from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.figures import StoreStats, read_stats
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import ErrorGroup, Groups
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.scope import REPLAY
from celery_recovery.dead_letters.search import Page, Search, batches
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.dead_letters.stored import group_facts, letter_fields, message_of, read_letter, with_message
from celery_recovery.exceptions import UnserialisableLetter
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("LEASE", "Added", "Claim", "DeadLetterStore", "Start", "Version")

logger = logging.getLogger("celery_recovery")

#: What `add` found: a death of an unknown letter, one more death of a known one, or nothing new.
Added = Literal["new", "again", "duplicate"]
#: What the worker is told about a copy of a replayed letter.
Start = Literal["run", "twin", "gone"]
#: Default seconds that finished letters are kept.
MAX_AGE = 7 * 86400.0
#: Letters counted in one call.
TALLY = 1000
#: Default seconds for which a claim keeps others away.
LEASE = 15.0


class Claim(NamedTuple):
    """What became of one id that was to be claimed."""

    id: str
    #: `"claimed"`, `"unknown"`, `"leased"`, `"exhausted"` (replayed often enough), `"ours"` (replayed by this
    #: operation before) or `"passed"` (in another state).
    status: str
    #: The letter, with its token, when it was claimed.
    letter: Letter | None = None
    #: Seconds left of another's lease; replays so far; the state it is in.
    detail: str = ""


class Version(NamedTuple):
    """What a letter was before an edit, and who made that edit, when (unix s) and why."""

    number: int
    at: float
    by: str
    note: str
    #: The message as it was, packed.
    message: bytes

    def of(self, letter: Letter) -> Letter:
        """The letter as it was then."""
        return with_message(letter, self.message)


class DeadLetterStore:
    """The letters of one application in one Redis.

    Every method raises `StoreUnavailable` when Redis cannot be reached or refuses.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys | None = None,
        *,
        max_age: float | None = MAX_AGE,
        max_count: int | None = None,
        on_news: Callable[[Sequence[tuple[Letter, str]]], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.keys = keys or Keys()
        #: Seconds that finished letters are kept; None: for ever.
        self.max_age = max_age
        #: Finished letters that are kept at most, the last ones; None: any number.
        self.max_count = max_count
        #: Told of groups that are `"new"`, `"growing"`, `"regressed"` or `"unignored"`, with the letter that did it.
        self.on_news = on_news
        self._run = Scripts(client, self.keys)
        #: What is known of the groups, those without open letters included.
        self.grouped = Groups(client, self.keys, self._run)
        self._search = Search(client, self.keys, self._run)

    def ping(self) -> None:
        """Answer, or raise."""
        with reachable(self.client):
            self.client.ping()

    # -- the worker's side ---------------------------------------------------------------------------------------------

    def add(self, letter: Letter) -> Added:
        """Store a death; safe to repeat. Raises `UnserialisableLetter` for what cannot be stored; then nothing is."""
        return self._told([letter], [self._run("letter_add", self._add_arguments(letter))])[0]

    def add_many(self, letters: Sequence[Letter]) -> list[Added]:
        """`add` for each, in one round trip; one that cannot be stored raises when the others are."""
        with reachable(self.client):
            pipe = self.client.pipeline(transaction=False)
            for letter in letters:
                self._run("letter_add", self._add_arguments(letter), client=pipe)
            replies = pipe.execute()
        return self._told(letters, replies)

    def started(self, letter_id: str, token: str, copy: str, worker: str = "", *, fresh: bool = False) -> Start:
        """A worker asks whether this copy of a replayed letter may run: `"run"`; to be dropped: `"twin"`, `"gone"`.

        The first copy of a life wins. The same copy may come again, redelivered or as its own retry, unless its death
        is stored already; but not when it is `fresh`: not redelivered, no retry, not put off: it was published twice.
        """
        arguments = (letter_id, token, copy, worker, int(fresh), uuid.uuid4().hex)
        start: Start = self._run("letter_start", arguments).decode()
        return start

    def recovered(self, letter_id: str, copy: str, runtime: float = 0.0, worker: str = "") -> bool:
        """Note that a replay succeeded; False when the letter is finished already, or unknown."""
        arguments = (letter_id, copy, f"{runtime:.6f}", worker, self._kept)
        return bool(self._run("letter_recover", arguments) == b"recovered")

    def settle(self, letter_id: str, copy: str, state: LetterState, outcome: str) -> bool:
        """Note that a replay ended without success and without a letter of its own (ignored, rejected, discarded …).

        False when another copy is the one that counts.
        """
        arguments = (letter_id, copy, state.value, outcome, self._kept)
        return bool(self._run("letter_settle", arguments) == b"settled")

    # -- replay --------------------------------------------------------------------------------------------------------

    def claim(
        self,
        ids: Sequence[str],
        operation: str,
        *,
        lease: float = LEASE,
        states: Iterable[LetterState] = REPLAY.by_id,
        max_replays: int | None = None,
    ) -> list[Claim]:
        """Claim letters for a replay, keeping others away for `lease` seconds; one answer per id, in order.

        A letter in `retry` is given only once its lease is over, or to the operation that has it.
        """
        most = -1 if max_replays is None else max_replays
        return [
            _claim(reply)
            for batch in batches(ids)
            for reply in self._run("letter_claim", (operation, lease, most, _joined(states), *batch))
        ]

    def published(self, ids: Sequence[str], operation: str) -> int:
        """Note that the broker confirmed these replays; returns how many were noted (see `letter_publish.lua`)."""
        return sum(self._run("letter_publish", (operation, *batch)) for batch in batches(ids))

    def unclaim(self, ids: Sequence[str], operation: str) -> int:
        """Give claimed letters back to the state they came from; returns how many."""
        return sum(self._run("letter_unclaim", (operation, *batch)) for batch in batches(ids))

    # -- what people do ------------------------------------------------------------------------------------------------

    def discard(self, ids: Sequence[str], reason: str = "", by: str = "", operation: str = "") -> list[str]:
        """Drop letters that are not finished; returns the ids that were. A replay on its way will not run."""
        return self._move(ids, LetterState.DISCARDED, OPEN, by=by, note=reason, operation=operation)

    def review(self, ids: Sequence[str], reason: str = "", by: str = "", operation: str = "") -> list[str]:
        """Set failed letters aside for a person; returns the ids that were."""
        return self._move(ids, LetterState.REVIEW, (LetterState.FAILED,), by=by, note=reason, operation=operation)

    def restore(self, ids: Sequence[str], reason: str = "", by: str = "", operation: str = "") -> list[str]:
        """Put letters from review, or discarded ones, back among the failed; returns the ids that were."""
        states = (LetterState.REVIEW, LetterState.DISCARDED)
        return self._move(ids, LetterState.FAILED, states, by=by, note=reason, operation=operation)

    def edit(self, letter: Letter, *, by: str = "", reason: str = "", operation: str = "", after: str = "") -> str:
        """Keep what was changed in the letter since it was read, and what it was before.

        `"edited"`, `"unknown"`, `"passed"` (in another state), `"changed"` (by somebody else, or not last by the
        operation `after`), `"ours"` (by this operation, before).
        """
        message, size, died_at = message_of(letter), letter.size, f"{letter.died_at:.6f}"
        arguments = (letter.id, died_at, letter.edits, message, by, reason, size, operation, after)
        status: str = self._run("letter_edit", arguments).decode()
        return status

    def note(
        self, ids: Sequence[str], *, by: str, note: str = "", owner: str = "", force: bool = False,
        states: Iterable[LetterState] = OPEN, operation: str = "",
    ) -> Counter[str]:  # fmt: skip
        """Note on letters what a person says, and whose they are (`"-"`: nobody's).

        Returns how many were `"noted"`, `"unknown"`, `"passed"` (in another state) or `"taken"` (somebody else's).
        """
        fixed = (by, note, owner, int(force), _joined(states), operation)
        replies = (self._run("letter_note", (*fixed, *batch)) for batch in batches(ids))
        return Counter(status.decode() for reply in replies for status in reply)

    def notes(self, letter_id: str) -> list[dict[str, Any]]:
        """What people noted on the letter, the oldest first: `at` (unix s), `by`, `text`."""
        with reachable(self.client):
            found: Any = self.client.lrange(self.keys.notes(letter_id), 0, -1)
        return [json.loads(one.decode("utf-8", "replace")) for one in found]

    def versions(self, letter_id: str) -> list[Version]:
        """What the letter was before each edit by hand, the oldest first; the last 20."""
        with reachable(self.client):
            found: Any = self.client.lrange(self.keys.versions(letter_id), 0, -1)
        pairs = zip(found[::2], found[1::2], strict=True)
        return [Version(**json.loads(about.decode("utf-8", "replace")), message=message) for about, message in pairs]

    # -- reading -------------------------------------------------------------------------------------------------------

    def get(self, letter_id: str) -> Letter | None:
        """One letter, or None."""
        return self._search.get_many((letter_id,))[0]

    def get_many(self, ids: Sequence[str]) -> list[Letter | None]:
        """Letters by id, in the order asked, in one round trip; None for the unknown."""
        return self._search.get_many(ids)

    def find(
        self, where: Filter | None = None, *, cursor: str | None = None, limit: int = 50, seconds: float | None = None,
        largest: int | None = None,
    ) -> Page:  # fmt: skip
        """One page of letters, newest death first, and the cursor of the next. `cursor` is the last page's.

        `seconds`: return what was found within about so long, even if the page is not full. `largest`: leave out bodies
        of more bytes, which are not needed for a list.
        """
        return self._search.find(where or Filter(), cursor=cursor, limit=limit, seconds=seconds, largest=largest)

    def iterate(self, where: Filter | None = None, *, oldest_first: bool = False) -> Iterator[Letter]:
        """All letters that agree with the filter, in constant memory. What changes meanwhile may be seen or not."""
        return self._search.iterate(where or Filter(), oldest_first=oldest_first)

    def iterate_ids(self, where: Filter | None = None, *, oldest_first: bool = False) -> Iterator[str]:
        """Like `iterate`, ids only: messages are read only when the filter asks for what is in them."""
        return self._search.iterate_ids(where or Filter(), oldest_first=oldest_first)

    def count(self, where: Filter | None = None) -> int:
        """How many letters agree with the filter; one round trip when one index answers it."""
        return self._search.count(where or Filter())

    def breakdown(self, where: Filter | None = None, *, seconds: float | None = None) -> Breakdown:
        """What the letters are that agree with the filter: one call for each thousand of them.

        With `seconds`, about so long at most: it is then not whole, and of the newest letters.
        """
        return self.tally(self.iterate_ids(where), seconds=seconds)

    def tally(self, ids: Iterable[str], *, seconds: float | None = None) -> Breakdown:
        """The same of the letters with these ids; those that are not known are left out."""
        until = None if seconds is None else time.monotonic() + seconds
        told = Breakdown()
        for batch in batches(ids, TALLY):
            if until is not None and time.monotonic() >= until:
                told.is_whole = False
                break
            told.add(json.loads(self._run("letter_tally", batch)))
        return told

    def stats(self) -> StoreStats:
        """Figures from counters kept by the scripts: the cost does not grow with the letters."""
        return read_stats(self.client, self.keys)

    def groups(self, limit: int = 10) -> Sequence[ErrorGroup]:
        """The largest groups of open letters with the same fingerprint, largest first."""
        return self.grouped.list(limit=limit)

    def sweep(self, limit: int = 1000) -> int:
        """Remove up to `limit` letters finished `max_age` seconds ago, or beyond `max_count`; returns how many."""
        return int(self._run("letter_sweep", (self._kept, limit)))

    # -- within --------------------------------------------------------------------------------------------------------

    @property
    def _kept(self) -> str:
        """`max_age` and `max_count` as the scripts take them."""
        age, count = (-1 if one is None else one for one in (self.max_age, self.max_count))
        return f"{age}/{count}"

    def _add_arguments(self, letter: Letter) -> list[Any]:
        pairs = chain.from_iterable(letter_fields(letter).items())
        return [letter.id, letter.state.value, self._kept, group_facts(letter), message_of(letter), *pairs]

    def _told(self, letters: Sequence[Letter], replies: Sequence[Sequence[bytes]]) -> list[Added]:
        """How each was taken; news of groups go to `on_news`."""
        told = [(one, how.decode(), word.decode()) for one, (how, word) in zip(letters, replies, strict=True)]
        news = [(one, word) for one, how, word in told if word and how != "refused"]
        if news:
            self._tell(news)
        for letter, how, field in told:
            if how == "refused":
                raise UnserialisableLetter(f"the letter {letter.id!r} cannot be stored: {field} is not what it must be")
        return [cast("Added", how) for _, how, _ in told]

    def _tell(self, news: Sequence[tuple[Letter, str]]) -> None:
        """Whoever is told must not hold up the letters: they *are* stored."""
        try:
            self.on_news(news)
        except Exception:
            logger.exception("news of groups were not told", extra={"action": "news_not_told"})

    def _move(
        self, ids: Sequence[str], state: LetterState, states: Iterable[LetterState], *, by: str, note: str,
        operation: str,
    ) -> list[str]:  # fmt: skip
        fixed = (state.value, _joined(states), by, note, self._kept, operation)
        return [moved.decode() for batch in batches(ids) for moved in self._run("letter_move", (*fixed, *batch))]


def _joined(states: Iterable[LetterState]) -> str:
    return ",".join(state.value for state in states)


def _claim(reply: list[Any]) -> Claim:
    letter_id, status = reply[0].decode(), reply[1].decode()
    if status != "claimed":
        return Claim(letter_id, status, detail=reply[2].decode() if len(reply) > 2 else "")
    return Claim(letter_id, status, read_letter(letter_id, reply[2]))
