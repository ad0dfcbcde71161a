"""`Parking`: everything that is done with parked tasks. Workers, the command line and scripts all use it.

As in `Recovery.of(app).parked.release(ParkedFilter.parse({"task": "orders.*", "due_before": "+10m"}))`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import redis

from celery_recovery.audit import Audit, recorded
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.search import batches
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.parking.discard import end_result
from celery_recovery.parking.filter import ParkedFilter
from celery_recovery.parking.paced import PacedReturn, Pacer, Turn
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.parking.release import Release
from celery_recovery.parking.store import BATCH, Claimed, ParkedPage, ParkingStats, ParkingStore
from celery_recovery.redis.keys import Keys

__all__ = ("Parking", "ParkingResult", "Selection", "Turn")

#: Which parked tasks an action is for: those a filter finds, or these keys.
Selection: TypeAlias = ParkedFilter | Iterable[str]

#: Why a parked task was not acted on, by the status of its claim.
_SKIPPED = {"leased": "being released by a worker", "unknown": "no longer parked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingResult:
    """What became of a selection."""

    #: Tasks that were to be acted on.
    selected: int
    #: Tasks that were.
    done: int = 0
    #: Why -> how many.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Key -> error of those that no queue takes; they stay parked.
    failed: Mapping[str, str] = field(default_factory=dict)
    #: What the operator should know -> how many.
    warnings: Mapping[str, int] = field(default_factory=dict)
    #: Why it ended before it was through; empty when it was.
    stopped: str = ""
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


class Parking:
    """The parked tasks of one application. Every method may raise `StoreUnavailable`.

    `publisher` should give up before a lease is over; see `release.PATIENCE`. `pace` says how many of the tasks that
    wait for a circuit may go back now; without it they wait until `ParkedTask.latest`, or are released by hand.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        publisher: Publisher,
        letters: DeadLetterStore | None = None,
        pace: Pacer | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.store = ParkingStore(client, keys)
        self.publisher = publisher
        self.audit = audit
        #: Where the letter is whose replay waits here: it is told when that is discarded.
        self.letters = letters
        #: The way back of those that wait for a circuit.
        self.paced = PacedReturn(self.store, publisher, pace)

    # -- the worker's side

    def park(self, task: ParkedTask) -> None:
        """Park it, in one round trip; safe to repeat.

        Raises `StoreUnavailable` when Redis cannot take it (away, full, read-only), or failed a moment ago.
        """
        self.store.add(task)

    def release_due(self, limit: int = BATCH, *, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Give up to `limit` tasks that are due back to their queues; returns how many."""
        return self.take_turn(limit, goes_on=goes_on).released

    def take_turn(self, limit: int = BATCH, *, goes_on: Callable[[], bool] = lambda: True) -> Turn:
        """`release_due`, and when to look again; `goes_on` is asked between two tasks."""
        claimed = self.store.claim(uuid.uuid4().hex, limit=limit)
        if not claimed.tasks:
            return Turn(0, claimed.next_due)
        released = Release(self.store, self.publisher, goes_on=goes_on).run(claimed)
        return Turn(released.done, 0.0, released.stopped)

    def take_circuit_turn(self, *, goes_on: Callable[[], bool] = lambda: True) -> Turn:
        """Give back as many tasks of one circuit as may go now, those that have waited longest first."""
        return self.paced.turn(goes_on)

    # -- looking

    def get(self, key: str) -> ParkedTask | None:
        """One parked task by its key, or None."""
        return self.store.get_many((key,))[0]

    def find(self, where: ParkedFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> ParkedPage:
        """One page, the one that is due first in front, and the cursor of the next. `cursor` is the last page's."""
        return self.store.find(where or ParkedFilter(), cursor=cursor, limit=limit)

    def iterate(self, where: ParkedFilter | None = None) -> Iterator[ParkedTask]:
        """All that agree with the filter, in constant memory."""
        return self.store.iterate(where or ParkedFilter())

    def count(self, where: ParkedFilter | None = None) -> int:
        """How many agree with the filter."""
        return self.store.count(where or ParkedFilter())

    def stats(self) -> ParkingStats:
        """Figures about all of them; the cost does not grow with their number."""
        return self.store.stats()

    # -- acting

    def release(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        dry_run: bool = False,
        by: str | None = None,
        via: str | None = "code",
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> ParkingResult:
        """Give them back to their queues now, due or not. A broker that is away ends it early; they stay parked.

        `progress` is told after each batch how many are through, and of how many.
        """

        def release(claimed: Claimed) -> _Outcome:
            released = Release(self.store, self.publisher).run(claimed)
            return _Outcome(
                done=released.done, failed=released.refused, left=tuple(released.left), stopped=released.stopped
            )

        self._allow("parked release", dry_run=dry_run)
        with recorded(self.audit, "parked release", by=by, via=None if dry_run else via) as told:
            result = self._act(selection, release, limit=limit, dry_run=dry_run, progress=progress)
            told.update(selected=result.selected, done=result.done)
        return result

    def discard(
        self,
        selection: Selection,
        *,
        reason: str = "discarded while parked",
        limit: int | None = None,
        dry_run: bool = False,
        by: str | None = None,
        via: str | None = "code",
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> ParkingResult:
        """Drop them for good. The result of each becomes REVOKED first, with its chord and chain (`discard.py`)."""

        def discard(claimed: Claimed) -> _Outcome:
            return self._discard(claimed, reason)

        self._allow("parked discard", dry_run=dry_run)
        with recorded(self.audit, "parked discard", by=by, via=None if dry_run else via, reason=reason) as told:
            result = self._act(selection, discard, limit=limit, dry_run=dry_run, progress=progress)
            told.update(selected=result.selected, done=result.done)
        return result

    # -- within

    def _allow(self, action: str, *, dry_run: bool) -> None:
        if self.audit is not None and not dry_run:
            self.audit.allow(action)

    def _discard(self, claimed: Claimed, reason: str) -> _Outcome:
        warnings: list[str] = []
        ended: list[str] = []
        try:
            for parked in claimed.tasks:
                warning = end_result(self.publisher.app, parked, reason, self.letters)
                ended.append(parked.key)
                if warning:
                    warnings.append(warning)
        finally:
            done = self.store.remove(claimed.token, ended)
            self.store.unclaim(claimed.token, [parked.key for parked in claimed.tasks[len(ended) :]])
        return _Outcome(done=done, warnings=tuple(warnings))

    def _act(
        self,
        selection: Selection,
        act: Callable[[Claimed], _Outcome],
        *,
        limit: int | None,
        dry_run: bool,
        progress: Callable[[int, int], None],
    ) -> ParkingResult:
        """Act on the selection, frozen now, one claim after the other."""
        found = self.store.iterate_keys(selection) if isinstance(selection, ParkedFilter) else iter(selection)
        keys = tuple(islice(dict.fromkeys(found), limit))
        if dry_run:
            return ParkingResult(selected=len(keys), dry_run=True)
        told = _Sum()
        for batch in batches(keys, BATCH):
            self._act_on(batch, act, told)
            progress(told.through, len(keys))
            if told.stopped:
                break
        return ParkingResult(selected=len(keys), **told.to_dict())

    def _act_on(self, keys: list[str], act: Callable[[Claimed], _Outcome], told: _Sum) -> None:
        """Act on these; a claim may get fewer than it was asked for, and those that are left are asked for again."""
        rest = keys
        while rest and not told.stopped:
            claimed = self.store.claim(uuid.uuid4().hex, rest)
            outcome = act(claimed)
            told.add(claimed, outcome)
            through = ({parked.key for parked in claimed.tasks} | claimed.others.keys()) - set(outcome.left)
            rest = [key for key in rest if key not in through]


class _Outcome(NamedTuple):
    """What became of one claim."""

    done: int
    #: Key -> error of those that no queue takes.
    failed: Mapping[str, str] = MappingProxyType({})
    #: Keys that were not reached.
    left: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stopped: str = ""


class _Sum:
    """What became of all claims."""

    def __init__(self) -> None:
        self.through = 0
        self.done = 0
        self.skipped: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.warnings: Counter[str] = Counter()
        self.stopped = ""

    def add(self, claimed: Claimed, outcome: _Outcome) -> None:
        """One claim more."""
        self.through += len(claimed.tasks) + len(claimed.others) - len(outcome.left)
        self.done += outcome.done
        self.skipped.update(_SKIPPED[why] for why in claimed.others.values())
        self.failed.update(outcome.failed)
        self.warnings.update(outcome.warnings)
        self.stopped = outcome.stopped

    def to_dict(self) -> dict[str, Any]:
        """The fields of a result."""
        names = ("done", "skipped", "failed", "warnings", "stopped")
        return {name: getattr(self, name) for name in names}
