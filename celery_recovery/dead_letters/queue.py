"""`DeadLetterQueue`: the operator's object. Command line, Flower and scripts all use it; none of them talks to Redis.

Its three queues, in words that operators use: *failed* (quarantined), *retry* (a replay is on its way), *review* (set
aside for a person).

    letters = Recovery.of(app).dead_letters
    letters.drain()
    letters.replay(Filter.parse({"task": "orders.*", "since": "24h"}), rate=50)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from celery import Celery

from celery_recovery.dead_letters.editing import Change, edited
from celery_recovery.dead_letters.figures import ErrorGroup, StoreStats
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.held import ChordWatch, fail_held
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.operations import Operations, who
from celery_recovery.dead_letters.replay import MAX_REPLAYS, Progress, Publishes, Replay, ReplayResult, Terms
from celery_recovery.dead_letters.scope import DISCARD, EDIT, REPLAY, RESTORE, REVIEW, Scope
from celery_recovery.dead_letters.search import Page, batches
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import LEASE, DeadLetterStore
from celery_recovery.exceptions import ConfigurationError, LetterNotFound

__all__ = ("ActionResult", "DeadLetterQueue", "DeadLetterView", "Edited", "Selection")

#: Which letters an action is for: those a filter finds, or these ids, or this one.
Selection: TypeAlias = Filter | Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """What became of a selection."""

    #: Letters that were to be acted on.
    selected: int
    #: Letters that were.
    done: int
    #: What the operator should know -> how many.
    warnings: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "warnings": dict(self.warnings)}


class Edited(NamedTuple):
    """One letter's item, before and after; `done`: it was changed."""

    id: str
    before: Any
    after: Any
    done: bool


class DeadLetterView:
    """One of the three queues."""

    def __init__(self, store: DeadLetterStore, states: tuple[LetterState, ...]) -> None:
        self._store = store
        self.states = states

    def count(self, where: Filter | None = None) -> int:
        """How many letters of this queue agree with the filter."""
        return self._store.count(replace(where or Filter(), state=self.states))

    def list(self, where: Filter | None = None, *, limit: int = 50) -> list[Letter]:
        """Letters of this queue, newest death first."""
        return self._store.find(replace(where or Filter(), state=self.states), limit=limit).letters


class DeadLetterQueue:
    """Everything that can be done with the dead letters of one application.

    `drain` moves what waits in the broker's queue into the store, tells its argument how many after each batch, and
    returns how many. Every method may raise
    `StoreUnavailable`; those that act raise `ConfigurationError` for a filter with a state that they are not for (see
    `dead_letters/scope.py`).
    """

    def __init__(
        self,
        app: Celery,
        store: DeadLetterStore,
        publisher: Publishes,
        drain: Callable[[Callable[[int], None]], int] = lambda _: 0,
    ) -> None:
        self.app = app
        self.store = store
        self.publisher = publisher
        self._drain = drain
        self.operations = Operations(store.client, store.keys)
        #: Quarantined: nothing happens until someone acts.
        self.failed = DeadLetterView(store, (LetterState.FAILED,))
        #: Claimed by a replay, or replayed and not ended yet.
        self.retry = DeadLetterView(store, (LetterState.RETRY, LetterState.REPLAYED))
        #: Set aside for a person.
        self.review = DeadLetterView(store, (LetterState.REVIEW,))

    # -- looking

    def drain(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Move what waits in the broker's queue into the store, so that no worker is needed; returns how many.

        `progress` is told after each batch how many it were so far.
        """
        return self._drain(progress)

    def get(self, letter_id: str) -> Letter:
        """One letter. Raises `LetterNotFound`."""
        letter = self.store.get(letter_id)
        if letter is None:
            raise LetterNotFound(f"There is no dead letter with the id {letter_id}.")
        return letter

    def count(self, where: Filter | None = None) -> int:
        """How many letters agree with the filter."""
        return self.store.count(where)

    def list(self, where: Filter | None = None, *, limit: int = 50) -> list[Letter]:
        """Letters that agree with the filter, newest death first."""
        return self.store.find(where, limit=limit).letters

    def page(self, where: Filter | None = None, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Like `list`, with a cursor that continues."""
        return self.store.find(where, limit=limit, cursor=cursor)

    def iterate(self, where: Filter | None = None) -> Iterator[Letter]:
        """All letters that agree with the filter, newest death first, in constant memory."""
        return self.store.iterate(where)

    def stats(self) -> StoreStats:
        """Figures about all letters."""
        return self.store.stats()

    def groups(self, limit: int = 10) -> Sequence[ErrorGroup]:
        """The largest groups of open letters that died of the same thing."""
        return self.store.groups(limit)

    # -- acting

    def replay(  # noqa: PLR0913  # one parameter per option of the command
        self,
        selection: Selection,
        *,
        rate: float | None = None,
        limit: int | None = None,
        to_queue: str | None = None,
        force: bool = False,
        regroup: bool = False,
        dry_run: bool = False,
        max_replays: int = MAX_REPLAYS,
        lease: float = LEASE,
        by: str | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ReplayResult:
        """Publish letters again, the oldest death first.

        A filter without a state is about failed letters, and those that a killed replay left behind. `rate` is in
        letters per second (None: as fast as it goes), `limit` the most letters, `to_queue` another queue than the one
        they came from. `regroup` sends the items of one batch as one task (`rate` is then in messages). `force`
        replays what was replayed `max_replays` times already. `progress` is called after each
        batch, and once a second while it waits. Raises `ConfigurationError` for a rate or limit that makes no sense,
        and for a filter that names a finished state.
        """
        _check(rate=rate, limit=limit)
        states, ids = self._select(selection, REPLAY, limit=limit, oldest_first=True)
        if dry_run or not ids:
            return ReplayResult(operation="", selected=len(ids), dry_run=dry_run)
        operation = self.operations.begin(
            kind="replay", by=by or who(), filter=_described(selection), selected=len(ids), rate=rate, to_queue=to_queue
        )
        replay = Replay(
            self.store,
            self.publisher,
            operation,
            Terms(
                states=states,
                rate=rate,
                to_queue=to_queue,
                default_queue=self.app.conf.task_default_queue,
                max_replays=None if force else max_replays,
                lease=lease,
                regroup=regroup,
            ),
            warn=ChordWatch(self.app),
            progress=progress,
        )
        result = replay.run(ids)
        counts = {"published": result.published, "skipped": sum(result.skipped.values()), "failed": len(result.failed)}
        self.operations.note(operation, seconds=f"{result.seconds:.3f}", stopped=result.stopped, **counts)
        return result

    def discard(
        self,
        selection: Selection,
        *,
        reason: str = "",
        by: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> ActionResult:
        """Drop letters. A held one fails first, with its chord and chain: nobody may wait for it any longer.

        A filter without a state is about failed letters and those in review; ids, about all that are not finished.
        """
        _check(limit=limit)
        states, ids = self._select(selection, DISCARD, limit=limit)
        if dry_run:
            return ActionResult(selected=len(ids), done=0, dry_run=True)
        done, warnings = 0, Counter[str]()
        for batch in batches(ids):
            warnings.update(self._fail_held(batch, states))
            done += len(self.store.discard(batch, reason, by or who()))
        return ActionResult(selected=len(ids), done=done, warnings=warnings)

    def send_to_review(
        self, selection: Selection, *, reason: str = "", by: str | None = None, dry_run: bool = False
    ) -> ActionResult:
        """Set failed letters aside for a person."""
        _, ids = self._select(selection, REVIEW)
        done = 0 if dry_run else len(self.store.review(ids, reason, by or who()))
        return ActionResult(selected=len(ids), done=done, dry_run=dry_run)

    def restore(
        self, selection: Selection, *, reason: str = "", by: str | None = None, dry_run: bool = False
    ) -> ActionResult:
        """Put letters back among the failed: out of review or, when asked for by id or state, discarded ones."""
        _, ids = self._select(selection, RESTORE)
        done = 0 if dry_run else len(self.store.restore(ids, reason, by or who()))
        return ActionResult(selected=len(ids), done=done, dry_run=dry_run)

    def edit(
        self, selection: Selection, changes: Sequence[Change], *, reason: str = "", by: str | None = None,
        dry_run: bool = False,
    ) -> Sequence[Edited]:  # fmt: skip
        """Change the item that letters of a batch carry (see `editing.py`); nothing is replayed by it.

        Raises `ConfigurationError` where a change does not fit a letter; then none is changed.
        """
        _, ids = self._select(selection, EDIT)
        pairs = [
            (letter, edited(letter, changes))
            for batch in batches(ids)
            for letter in self.store.get_many(batch)
            if letter is not None
        ]
        return [
            Edited(
                old.id,
                _item_of(old),
                _item_of(new),
                not dry_run and self.store.edit(new, by=by or who(), reason=reason) == "edited",
            )
            for old, new in pairs
        ]

    # -- within

    def _select(
        self, selection: Selection, scope: Scope, *, limit: int | None = None, oldest_first: bool = False
    ) -> tuple[tuple[LetterState, ...], Sequence[str]]:
        """The states to act on, and the ids, frozen now: what dies while an operation runs is not part of it."""
        if isinstance(selection, str):
            selection = (selection,)  # an id, not its letters
        if not isinstance(selection, Filter):
            return scope.by_id, tuple(dict.fromkeys(islice(selection, limit)))
        where = scope.within(selection)
        return where.state, tuple(islice(self.store.iterate_ids(where, oldest_first=oldest_first), limit))

    def _fail_held(self, ids: Sequence[str], states: tuple[LetterState, ...]) -> Iterator[str]:
        """Fail those of the letters that are held; yields warnings."""
        for letter in self.store.get_many(ids):
            if letter is not None and letter.held and letter.state in states:
                warning = fail_held(self.app, letter)
                if warning:
                    yield warning


def _check(*, rate: float | None = None, limit: int | None = None) -> None:
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError.of("rate", expected="letters per second, above 0", got=rate)
    if limit is not None and limit < 1:
        raise ConfigurationError.of("limit", expected="a whole number from 1", got=limit)


def _item_of(letter: Letter) -> Any:
    header = letter.batch_header
    return header.items[0].plain() if header is not None else None


def _described(selection: Selection) -> str:
    return str(selection) if isinstance(selection, Filter) else "by id"
