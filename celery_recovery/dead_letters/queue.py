"""`DeadLetterQueue`: the operator's object. Command line, Flower and scripts all use it; none of them talks to Redis.

Its three queues, in words that operators use: *failed* (quarantined), *retry* (a replay is on its way), *review* (set
aside for a person).

    letters = Recovery.of(app).dead_letters
    letters.drain()
    letters.replay(Filter.parse({"task": "orders.*", "since": "24h"}), rate=50)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, tee
from typing import Any, NamedTuple, TypeAlias

from celery import Celery

from celery_recovery.audit import Audit, who
from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.figures import StoreStats
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import ErrorGroup, Groups
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.replay import MAX_REPLAYS, Progress, Publishes, ReplayResult, Traces, untraced
from celery_recovery.dead_letters.scope import ANNOTATE, DISCARD, EDIT, REPLAY, RESTORE, REVIEW, REVIEWED, TAKE, Scope
from celery_recovery.dead_letters.search import Page, batches
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import LEASE, DeadLetterStore
from celery_recovery.exceptions import ConfigurationError, LetterNotFound
from celery_recovery.operations.canary import Canary
from celery_recovery.operations.operation import Operation, OperationState
from celery_recovery.operations.register import Register
from celery_recovery.operations.runner import Runner, Tell, nobody
from celery_recovery.redact import Redactor

__all__ = ("ActionResult", "DeadLetterQueue", "DeadLetterView", "EditPlan", "Edited", "Selection", "what_changes",
           "what_is_edited")  # fmt: skip

#: Why a letter was not noted on, by the status that the store gives.
TAKEN = "somebody else's"
_NOT_NOTED = {"unknown": "no longer there", "passed": "in another state", "taken": TAKEN}
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
    #: Id of the operation; empty for a dry run, and when there was nothing to act on.
    operation: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "warnings": dict(self.warnings)}


class Edited(NamedTuple):
    """What an edit would make of one letter: arguments, or the item of a batch, before and after."""

    id: str
    before: Any
    after: Any


@dataclass(slots=True)
class EditPlan:
    """What an edit would do."""

    #: Letters it was tried on.
    selected: int = 0
    #: Some of them.
    samples: list[Edited] = field(default_factory=list)
    #: Letters that it does not fit, and why the first of them does not.
    misfits: int = 0
    first_problem: ConfigurationError | None = None
    #: False: there are more, which it was not tried on.
    is_whole: bool = True

    def add(self, letter: Letter, app: Celery, edit: Edit, samples: int, hide: Redactor | None = None) -> None:
        """Try it on one more."""
        self.selected += 1
        try:
            after = edit.onto(app, letter)
        except ConfigurationError as exc:
            self.misfits += 1
            self.first_problem = self.first_problem or exc
            return
        if len(self.samples) < samples:
            self.samples.append(Edited(letter.id, *what_changes(letter, after, hide)))


def what_is_edited(letter: Letter, hide: Redactor | None = None) -> Any:
    """The item of a batch, if the letter is one, else its arguments; None when they cannot be read.

    `hide`: without secrets.
    """
    header = letter.batch_header
    if header is not None:
        item = header.items[0].plain()
        return item if hide is None else hide(item)
    decoded = letter.arguments
    if decoded is None:
        return None
    if hide is not None:
        decoded = hide.args(letter.task, decoded[0], letter.secret_args), hide(decoded[1])
    return {"args": decoded[0], "kwargs": decoded[1]}


def what_changes(before: Letter, after: Letter, hide: Redactor | None = None) -> tuple[Any, Any]:
    """What is edited, before and after it. A secret that is another one then is told to be so, and not shown."""
    shown = what_is_edited(before, hide), what_is_edited(after, hide)
    if hide is None:
        return shown
    return shown[0], _marked(*shown, what_is_edited(before), what_is_edited(after))


def _marked(old: Any, new: Any, real_old: Any, real_new: Any) -> Any:
    """`new`, in which texts that look as in `old`, and are not the same behind that, say that they change."""
    if isinstance(new, str):
        return f"{new} (changed)" if old == new and real_old != real_new else new
    pairs = (old, new, real_old, real_new)
    if all(isinstance(one, dict) for one in pairs):
        known = {name for name in new if all(name in one for one in pairs)}
        return {name: _marked(*(one[name] for one in pairs)) if name in known else value for name, value in new.items()}
    if all(isinstance(one, list) for one in pairs):
        marked = [_marked(*four) for four in zip(*pairs, strict=False)]
        return [*marked, *new[len(marked) :]]
    return new


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
        waiting: Callable[[], int | None] = lambda: None,
        *,
        trace: Traces = untraced,
        tell: Tell = nobody,
        audit: Audit | None = None,
    ) -> None:
        self.app = app
        self.store = store
        self.publisher = publisher
        self._drain = drain
        self._waiting = waiting
        self._trace = trace
        self._tell = tell
        self.audit = audit or Audit(store.client, store.keys)
        self.operations = Register(store.client, store.keys, self.audit)
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
        self.audit.allow("drain")
        return self._drain(progress)

    def waiting(self) -> int | None:
        """Letters that wait in the broker's queue, as far as it says; it stays as it is."""
        return self._waiting()

    def get(self, letter_id: str) -> Letter:
        """One letter. Raises `LetterNotFound`."""
        letter = self.store.get(letter_id)
        if letter is None:
            raise LetterNotFound(f"There is no dead letter with the id {letter_id}.")
        return letter

    def count(self, where: Filter | None = None) -> int:
        """How many letters agree with the filter."""
        return self.store.count(where)

    def list(self, where: Filter | None = None, *, limit: int = 50, largest: int | None = None) -> list[Letter]:
        """Letters that agree with the filter, newest death first; without bodies of more than `largest` bytes."""
        return self.store.find(where, limit=limit, largest=largest).letters

    def page(
        self,
        where: Filter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        seconds: float | None = None,
        largest: int | None = None,
    ) -> Page:
        """Like `list`, with a cursor that continues; `seconds`: about so long at most, even if it is not full then."""
        return self.store.find(where, limit=limit, cursor=cursor, seconds=seconds, largest=largest)

    def iterate(self, where: Filter | None = None) -> Iterator[Letter]:
        """All letters that agree with the filter, newest death first, in constant memory."""
        return self.store.iterate(where)

    def breakdown(self, where: Filter | None = None, *, seconds: float | None = None) -> Breakdown:
        """What the letters are that agree with the filter: by state, task, error type, reason, queue and group.

        With `seconds`, about so long at most (`Breakdown.is_whole`).
        """
        return self.store.breakdown(where, seconds=seconds)

    def stats(self) -> StoreStats:
        """Figures about all letters."""
        return self.store.stats()

    def groups(self, limit: int = 10) -> Sequence[ErrorGroup]:
        """The largest groups of open letters that died of the same thing."""
        return self.store.groups(limit)

    @property
    def grouped(self) -> Groups:
        """All groups, with what people have said about them."""
        return self.store.grouped

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
        canary: Canary | None = None,
        dry_run: bool = False,
        max_replays: int = MAX_REPLAYS,
        lease: float = LEASE,
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        unattended: bool = False,
        only_begin: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ReplayResult:
        """Publish letters again, the oldest death first.

        A filter without a state is about failed letters, and those that a killed replay left behind. `rate` is in
        letters per second (None: as fast as it goes), `limit` the most letters, `to_queue` another queue than the one
        they came from. `regroup` sends the items of one batch as one task (`rate` is then in messages). `force`
        replays what was replayed `max_replays` times already. With a `canary` it goes in growing steps, waits for how
        they end, and stops by itself. `unattended`: when this process dies, a worker goes on with it; `only_begin`:
        it is written down, and a worker is to run all of it. `progress` is
        called after each batch, and once a second while it waits. Raises `ConfigurationError` for a rate or limit that
        makes no sense, and for a filter that names a finished state.
        """
        _check(rate=rate, limit=limit)
        states, ids = self._select(selection, REPLAY, limit=limit, oldest_first=True)
        if dry_run:
            return ReplayResult(operation="", selected=sum(1 for _ in ids), dry_run=True)
        terms = {
            "states": [state.value for state in states], "rate": rate, "to_queue": to_queue, "regroup": regroup,
            "max_replays": None if force else max_replays, "lease": lease,
            "canary": canary.to_dict() if canary is not None else None,
        }  # fmt: skip
        operation = self._begin("replay", selection, ids, terms, reason=reason, by=by, via=via,
                                unattended=unattended or only_begin)  # fmt: skip
        return _replay_result(self._through(operation, progress, only_begin=only_begin) if operation else None)

    def discard(  # noqa: PLR0913
        self,
        selection: Selection,
        *,
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        limit: int | None = None,
        dry_run: bool = False,
        rate: float | None = None,
        unattended: bool = False,
        only_begin: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ActionResult:
        """Drop letters. A held one fails first, with its chord and chain: nobody may wait for it any longer.

        A filter without a state is about failed letters and those in review; ids, about all that are not finished.
        """
        return self._move(
            "discard", DISCARD, selection, reason=reason, by=by, via=via, limit=limit, dry_run=dry_run, rate=rate,
            unattended=unattended, only_begin=only_begin, progress=progress,
        )  # fmt: skip

    def send_to_review(
        self,
        selection: Selection,
        *,
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        dry_run: bool = False,
        unattended: bool = False,
        only_begin: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ActionResult:
        """Set failed letters aside for a person."""
        return self._move("review", REVIEW, selection, reason=reason, by=by, via=via, dry_run=dry_run,
                          unattended=unattended, only_begin=only_begin, progress=progress)  # fmt: skip

    def restore(
        self,
        selection: Selection,
        *,
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        dry_run: bool = False,
        unattended: bool = False,
        only_begin: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ActionResult:
        """Put letters back among the failed: out of review or, when asked for by id or state, discarded ones."""
        return self._move("restore", RESTORE, selection, reason=reason, by=by, via=via, dry_run=dry_run,
                          unattended=unattended, only_begin=only_begin, progress=progress)  # fmt: skip

    def resolve_group(
        self, fingerprint: str, *, version: str = "", note: str = "", by: str | None = None, via: str = "code"
    ) -> ErrorGroup:
        """Say that a group is mended, in that version of the code; its letters are not touched.

        When it comes back, it is told as a regression. Raises `GroupNotFound`.
        """
        name = self.grouped.named(fingerprint)
        with self.audit.acting("group resolved", by=by or who(), via=via, target=name, reason=note, version=version):
            return self.grouped.resolve(name, by=by or who(), note=note, version=version)

    def ignore_group(
        self, fingerprint: str, *, until: float | None = None, more: int | None = None, note: str = "",
        by: str | None = None, via: str = "code",
    ) -> ErrorGroup:  # fmt: skip
        """Say nothing of a group, until then (unix s), for so many more deaths, or until somebody opens it again.

        Raises `GroupNotFound`, and `ConfigurationError` for a limit that makes no sense.
        """
        name = self.grouped.named(fingerprint)
        with self.audit.acting(
            "group ignored", by=by or who(), via=via, target=name, reason=note, until=until, more=more
        ):
            return self.grouped.ignore(name, by=by or who(), note=note, until=until, more=more)

    def reopen_group(self, fingerprint: str, *, note: str = "", by: str | None = None, via: str = "code") -> ErrorGroup:
        """Take back what was said of a group. Raises `GroupNotFound`."""
        name = self.grouped.named(fingerprint)
        with self.audit.acting("group reopened", by=by or who(), via=via, target=name, reason=note):
            return self.grouped.reopen(name, by=by or who(), note=note)

    def assign(
        self, selection: Selection, to: str | None, *, reason: str = "", force: bool = False, by: str | None = None,
        via: str = "code", dry_run: bool = False,
    ) -> ActionResult:  # fmt: skip
        """Say whose letters are, None: nobody's. Failed ones come into review; those of somebody else need `force`."""
        by = by or who()
        return self._note("take" if to == by else "assign", TAKE, selection, owner=to or "-", reason=reason,
                          force=force, by=by, via=via, dry_run=dry_run)  # fmt: skip

    def annotate(
        self, selection: Selection, text: str, *, by: str | None = None, via: str = "code", dry_run: bool = False
    ) -> ActionResult:
        """Note something on letters."""
        return self._note("annotate", ANNOTATE, selection, reason=text, by=by, via=via, dry_run=dry_run)

    def approve(self, selection: Selection, reason: str, *, by: str | None = None, **terms: Any) -> ReplayResult:
        """Replay letters out of review, with a reason that is noted on them; `terms` are those of `replay`."""
        chosen = self._in_review(selection, reason)
        if not terms.get("dry_run"):
            self._note("approve", ANNOTATE, chosen, reason=reason, text=f"approved: {reason}", by=by,
                       via=terms.get("via", "code"), dry_run=False)  # fmt: skip
        return self.replay(chosen, reason=reason, by=by, **terms)

    def reject(self, selection: Selection, reason: str, *, by: str | None = None, **terms: Any) -> ActionResult:
        """Discard letters out of review, with a reason that is noted on them; `terms` are those of `discard`."""
        chosen = self._in_review(selection, reason)
        if not terms.get("dry_run"):
            self._note("reject", ANNOTATE, chosen, reason=reason, text=f"rejected: {reason}", by=by,
                       via=terms.get("via", "code"), dry_run=False)  # fmt: skip
        return self.discard(chosen, reason=reason, by=by, **terms)

    def run(
        self,
        operation: str,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Operation:
        """Go through an operation from where it stands, until it ends, stops, or somebody asks it to.

        `goes_on` is asked after each batch: False leaves the operation running, for the next one to go on with.
        Raises `OperationNotFound`, and `ConfigurationError` when somebody else runs it.
        """
        self.audit.allow("run an operation")
        runner = Runner(
            self.app, self.store, self.publisher, self.operations, progress, goes_on,
            trace=self._trace, tell=self._tell,
        )  # fmt: skip
        return runner.run(operation)

    def try_edit(
        self, selection: Selection, edit: Edit, *, samples: int = 10, hide: Redactor | None = None,
        seconds: float | None = None,
    ) -> EditPlan:  # fmt: skip
        """What an edit would do: some letters before and after, and those that it does not fit; changes nothing.

        `hide`: the samples are without secrets. With `seconds`, about so long at most (`EditPlan.is_whole`).
        """
        _, ids = self._select(selection, EDIT)
        plan, until = EditPlan(), None if seconds is None else time.monotonic() + seconds
        for batch in batches(ids):
            if until is not None and time.monotonic() >= until:
                plan.is_whole = False
                break
            for letter in self.store.get_many(batch):
                if letter is not None:
                    plan.add(letter, self.app, edit, samples, hide)
        return plan

    def edit(  # noqa: PLR0913
        self,
        selection: Selection,
        edit: Edit | Sequence[str],
        *,
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        limit: int | None = None,
        unattended: bool = False,
        only_begin: bool = False,
        where: Filter | None = None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ActionResult:
        """Change the arguments of letters, or the item of a batch that they carry (see `editing.py`).

        Nothing is replayed by it. Raises `ConfigurationError` where it does not fit a letter; then none is changed.
        `where`: what ids were chosen by, for the record. With `only_begin` it is tried by whoever runs it; where it
        does not fit, the operation ends as cancelled.
        """
        _check(limit=limit)
        edit = edit if isinstance(edit, Edit) else Edit.of(edit)
        states, ids = self._select(selection, EDIT, limit=limit)
        if not only_begin:
            chosen, ids = tee(tuple(ids))
            plan = self.try_edit(chosen, edit, samples=0)
            if plan.first_problem is not None:
                raise plan.first_problem
        terms = {
            "states": [state.value for state in states], "rate": None, "edit": edit.to_dict(),
            **({"try": True} if only_begin else {}),
        }  # fmt: skip
        chosen_by = selection if where is None else where
        operation = self._begin("edit", chosen_by, ids, terms, reason=reason, by=by, via=via,
                                unattended=unattended or only_begin)  # fmt: skip
        if not operation:
            return ActionResult(selected=0, done=0)
        ended = self._through(operation, progress, only_begin=only_begin)
        return ActionResult(selected=ended.selected, done=ended.done, warnings=ended.skipped, operation=ended.id)

    def undo_edit(self, letter_id: str, *, reason: str = "", by: str | None = None, via: str = "code") -> Letter:
        """Bring a letter back to what it was before its last edit; undone itself, that brings the edit back.

        Raises `LetterNotFound`, and `ConfigurationError` when it was not edited, or is past it.
        """
        letter = self.get(letter_id)
        versions = self.store.versions(letter_id)
        if not versions:
            raise ConfigurationError.of("undo", expected="a letter that was edited", got=letter_id)
        with self.audit.acting("edit undone", by=by or who(), via=via, target=letter_id, reason=reason) as told:
            told["outcome"] = status = self.store.edit(versions[-1].of(letter), by=by or who(), reason=reason or "undo")
        if status != "edited":
            expected = "a letter that is failed or in review, and that nobody changes meanwhile"
            raise ConfigurationError.of("undo", expected=expected, got=f"{letter_id}: {status}")
        return self.get(letter_id)

    def undo_edits(
        self,
        selection: Selection,
        *,
        of: str = "",
        reason: str = "",
        by: str | None = None,
        via: str = "code",
        unattended: bool = False,
        only_begin: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> ActionResult:
        """Bring letters back to what they were before their last edit, as an operation; those without one are skipped.

        `of`: the id of an edit; letters that were not changed by it, or were changed again since, stay as they are.
        """
        states, ids = self._select(selection, EDIT)
        terms = {"states": [state.value for state in states], "rate": None, "of": of}
        operation = self._begin("undo", selection, ids, terms, reason=reason, by=by, via=via,
                                unattended=unattended or only_begin)  # fmt: skip
        if not operation:
            return ActionResult(selected=0, done=0)
        ended = self._through(operation, progress, only_begin=only_begin)
        return ActionResult(selected=ended.selected, done=ended.done, warnings=ended.skipped, operation=ended.id)

    # -- within

    def _in_review(self, selection: Selection, reason: str) -> Filter:
        """Those of the selection that wait for a person's word; ids as a filter."""
        if not reason.strip():
            raise ConfigurationError.of("reason", expected="a reason: it is noted on the letters", got=reason)
        ids = (selection,) if isinstance(selection, str) else selection
        where = ids if isinstance(ids, Filter) else Filter(ids=tuple(ids))
        return REVIEWED.within(where)

    def _note(  # noqa: PLR0913
        self, kind: str, scope: Scope, selection: Selection, *, reason: str, by: str | None, via: str, dry_run: bool,
        text: str = "", owner: str = "", force: bool = False,
    ) -> ActionResult:  # fmt: skip
        """`kind`: the action in the audit; `text`: what is noted, unless that is the reason."""
        states, ids = self._select(selection, scope)
        if dry_run:
            return ActionResult(selected=sum(1 for _ in ids), done=0, dry_run=True)
        counts, by = Counter[str](), by or who()
        about = {"filter": _described(selection, self.audit.hide), "reason": reason, "target": owner}
        with self.audit.acting(kind, by=by, via=via, **about) as told:
            for batch in batches(ids):
                counts += self.store.note(batch, by=by, note=text or reason, owner=owner, force=force, states=states)
            told.update(selected=counts.total(), done=counts["noted"])
        warnings = {_NOT_NOTED[why]: n for why, n in counts.items() if why != "noted"}
        return ActionResult(selected=counts.total(), done=counts["noted"], warnings=warnings)

    def _move(  # noqa: PLR0913
        self,
        kind: str,
        scope: Scope,
        selection: Selection,
        *,
        reason: str,
        by: str | None,
        via: str,
        dry_run: bool,
        unattended: bool,
        only_begin: bool,
        progress: Callable[[Progress], None],
        limit: int | None = None,
        rate: float | None = None,
    ) -> ActionResult:
        _check(rate=rate, limit=limit)
        states, ids = self._select(selection, scope, limit=limit)
        if dry_run:
            return ActionResult(selected=sum(1 for _ in ids), done=0, dry_run=True)
        terms = {"states": [state.value for state in states], "rate": rate}
        operation = self._begin(kind, selection, ids, terms, reason=reason, by=by, via=via,
                                unattended=unattended or only_begin)  # fmt: skip
        if not operation:
            return ActionResult(selected=0, done=0)
        ended = self._through(operation, progress, only_begin=only_begin)
        return ActionResult(selected=ended.selected, done=ended.done, warnings=ended.warnings, operation=ended.id)

    def _through(self, operation: str, progress: Callable[[Progress], None], *, only_begin: bool) -> Operation:
        """Run it, or leave it to whoever runs unattended ones."""
        return self.operations.get(operation) if only_begin else self.run(operation, progress=progress)

    def _begin(self, kind: str, selection: Selection, ids: Iterator[str], terms: Mapping[str, Any], *, reason: str,
               by: str | None, via: str, unattended: bool) -> str:  # fmt: skip
        """Freeze the set; returns the operation's id, empty when there is nothing in it."""
        first = next(ids, None)
        if first is None:
            return ""
        return self.operations.create(
            kind, chain((first,), ids), by=by or who(), filter=_described(selection, self.audit.hide), terms=terms,
            reason=reason, via=via, unattended=unattended,
        ).id  # fmt: skip

    def _select(
        self, selection: Selection, scope: Scope, *, limit: int | None = None, oldest_first: bool = False
    ) -> tuple[tuple[LetterState, ...], Iterator[str]]:
        """The states to act on, and the ids: what dies while an operation runs is not part of it."""
        if isinstance(selection, str):
            selection = (selection,)  # an id, not its letters
        if not isinstance(selection, Filter):
            return scope.by_id, islice(dict.fromkeys(selection), limit)
        where = scope.within(selection)
        return where.state, islice(self.store.iterate_ids(where, oldest_first=oldest_first), limit)


def _check(*, rate: float | None = None, limit: int | None = None) -> None:
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError.of("rate", expected="letters per second, above 0", got=rate)
    if limit is not None and limit < 1:
        raise ConfigurationError.of("limit", expected="a whole number from 1", got=limit)


def _described(selection: Selection, hide: Redactor) -> str:
    """For the record, without secrets."""
    return str(selection.without_secrets(hide)) if isinstance(selection, Filter) else "by id"


def _replay_result(ended: Operation | None) -> ReplayResult:
    """The record as the result of a replay; None: there was nothing to replay."""
    if ended is None:
        return ReplayResult(operation="", selected=0)
    stopped = ended.state not in (OperationState.DONE, OperationState.RUNNING)
    return ReplayResult(
        operation=ended.id,
        selected=ended.selected,
        published=ended.done,
        skipped=ended.skipped,
        failed=ended.failed,
        warnings=ended.warnings,
        stopped=ended.message if stopped else "",
        seconds=ended.seconds,
        recovered=ended.outcomes.recovered,
        died=ended.outcomes.died,
        by_canary=stopped and ended.by_canary,
        state=ended.state.value,
    )
