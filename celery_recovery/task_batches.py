"""A task and its batches: made when a body first asks for one, told of each failure, and ended with the task.

    run_body      around the user's code: a failure that is one item's, not the task's, has the body run again
    Batches       `self.batch`: makes a batch, or finds the one that the last run of the body left
    _Keeper       what a batch needs of its task: its checkpoint, what a failure means, its letters

**Whose failure is it?** The item's, if the body raised while it had it, unless the exception speaks for the task:
one of ours, a soft time limit, no memory left, `Snooze`, `RetryIn`, `self.retry()`, a circuit that is open; or unless
the other side asks for more patience than a batch has in place. `Quarantine` and `Discard` are the item's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task
from celery.app.task import Context
from celery.canvas import Signature, chord, group
from celery.exceptions import Ignore, Reject, Retry

from celery_recovery import clock
from celery_recovery.actions import Failure
from celery_recovery.admission import passage_of
from celery_recovery.batch.batch import Batch, Source
from celery_recovery.batch.course import Course, Unit, Verdict
from celery_recovery.batch.fan_out import JOINT, Part, fan_name, joint_result, parts_of
from celery_recovery.batch.item import BatchHeader, Item, letter_id
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.batch.progress import Progress
from celery_recovery.call import Call
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.decision import Action, Asked, Decision
from celery_recovery.errors.model import ErrorInfo, ErrorType
from celery_recovery.exceptions import (
    BatchFailed,
    ConfigurationError,
    Discard,
    PublishFailed,
    Quarantine,
    RecoveryControl,
    RecoveryError,
    Snooze,
    StoreUnavailable,
)
from celery_recovery.history import History
from celery_recovery.stopping import is_stopping
from celery_recovery.task_checkpoints import checkpoint_of, finish_checkpoints

if TYPE_CHECKING:
    from celery_recovery.checkpoint import Checkpoint
    from celery_recovery.parts import Parts

__all__ = ("PROGRESS", "Batches", "note_batches", "run_body")

logger = logging.getLogger("celery_recovery")

#: The state of a task in the result backend while its batch goes on.
PROGRESS = "PROGRESS"
#: Seconds before an item that failed of nobody knows what is tried again in place.
AT_ONCE = 0.1
#: Characters of a batch's name.
LONGEST_NAME = 50


class Judges(Protocol):
    """What is needed of the pipeline (`Recovery`), beside its parts."""

    def classified(self, exc: BaseException, task: Task) -> ErrorInfo:
        """What kind of failure it is."""

    def understand(self, task: Task, request: Context, exc: BaseException) -> Failure:
        """The record of the task's failure."""

    def decide(self, failure: Failure, asked: Asked | None, most: int | None = None) -> Decision:
        """What to do about it, with `most` attempts."""


def run_body(request: Context, body: Callable[[], Any]) -> Any:
    """The user's code; again, as long as what fails in it is one item of a batch."""
    while True:
        try:
            result = body()
        except Exception as exc:
            courses = request.__dict__.get("recovery_batches")
            if not courses or (isinstance(exc, (Ignore, Reject, Retry)) and "recovery_outcome" in request.__dict__):
                raise
            names = request.__dict__["recovery_batch_names"]
            outcome = _failed([courses[name] for name in names if name in courses], exc)
            if outcome is None:
                request.recovery_batch_names = []
                continue
            request.recovery_moved_on = any(course.moved_on for course in courses.values())
            if outcome is exc:
                raise
            raise outcome from exc
        return _ended(request, result)


def note_batches(request: Context) -> None:
    """Note what is done now: what follows will be published in a moment, and must find it."""
    for course in request.__dict__.get("recovery_batches", {}).values():
        course.note()


def _failed(courses: list[Course], exc: BaseException) -> BaseException | None:
    """Ask the batch that the body began last; the others note where they stand."""
    if not courses:  # what failed stands before all of them
        return exc
    *others, last = courses  # a batch that was left by `break` has nothing to say of what comes after the next began
    try:
        for course in others:
            course.note()
        return last.failed(exc, unwound=True)
    except Exception as raised:  # noqa: BLE001  # our own: a letter could be kept nowhere, Redis is away
        return raised


def _ended(request: Context, result: Any) -> Any:
    """The body is through. A body that gives nothing has the result of its batch. Raises `BatchFailed`."""
    courses = request.__dict__.get("recovery_batches")
    if not courses:
        return result
    results = {name: Batch(course, Source(items=())).result for name, course in courses.items()}
    failed = [name for name, course in courses.items() if course.progress.failed]
    if any(courses[name].policy.on_failures == "fail" for name in failed):
        finish_checkpoints(request)
        told = "; ".join(f"{results[name]['failed']} of {results[name]['total']}" for name in failed)
        raise BatchFailed(f"{told} items were set aside: recovery dlq list --parent {request.id}")
    if result is not None:
        return result
    return next(iter(results.values())) if len(results) == 1 else {"batches": list(results.values())}


class Batches:
    """`self.batch`: call it with what there is to do."""

    def __init__(self, parts: Parts, judges: Judges, task: Task, request: Context) -> None:
        self._parts, self._judges, self._task, self._request = parts, judges, task, request

    @property
    def is_replay(self) -> bool:
        """The task runs for items of dead letters only: what it does beside its batch may not be wanted again."""
        return BatchHeader.of(self._request.__dict__.get("recovery")) is not None

    def __call__(
        self,
        items: Iterable[Any] | Callable[[int], Iterable[Any]],
        *,
        key: Callable[[Any], Any] | None = None,
        commit: Callable[[], object] | None = None,
        total: int | None = None,
        name: str | None = None,
        under: str | None = None,
        **policy: Any,
    ) -> Batch:
        """Go through `items` one by one, from where the last run of this task stood.

        `items` may be a callable that is given the position to begin at. `key` names an item (how a source that has
        changed is noticed, and what its letter shows). `commit` is called before what is done is noted. `total` says
        how many there are where `items` cannot. `name` tells several batches of one task apart; `under` is a key of
        one's own, by which another message of the task finds the same batch. All else changes the `BatchPolicy`.

        Raises `ConfigurationError`, `StoreUnavailable`, `CheckpointFenced`; in its loop also `SourceChanged` and
        `BatchStopped`.
        """
        source = Source(items=items, key=key, commit=commit, total=total)
        return Batch(self._course(name, under, policy), source)

    def chunks(
        self,
        items: Iterable[Any] | Callable[[int], Iterable[Any]],
        size: int,
        *,
        key: Callable[[Any], Any] | None = None,
        commit: Callable[[], object] | None = None,
        total: int | None = None,
        name: str | None = None,
        under: str | None = None,
        **policy: Any,
    ) -> Batch:
        """The same in lists of up to `size` items; one failing of its data is halved until the bad ones are found."""
        source = Source(items=items, key=key, commit=commit, total=total, size=size)
        return Batch(self._course(name, under, policy), source)

    def fan_out(self, items: Iterable[Any], size: int, *, to: Signature | Task) -> Any:
        """Split `items` into tasks: `to`, with a list of up to `size` items as its first argument. `return` this.

        The task ends with it; what it was to give, and those who wait for it, get the result of all parts together
        (see `batch/fan_out.py`). All items are in memory while they are sent. Raises `ConfigurationError`.
        """
        task, request = self._task, self._request
        signature = to.s() if isinstance(to, Task) else to
        if not isinstance(signature, Signature):
            raise ConfigurationError.of("fan_out.to", expected="a task or a signature", got=to)
        lists = list(parts_of(items, size))
        if not lists:
            return joint_result(())
        total = sum(map(len, lists))
        if request.called_directly:
            return joint_result([signature.clone(args=(part,))() for part in lists])
        header = []
        for index, part in enumerate(lists):
            whose = Part(request.id, index, total, task.name)
            one = signature.clone(args=(part,))
            header.append(one.set(task_id=whose.id, headers={**one.options.get("headers", {}), **_header(whose)}))
        joint = task.app.signature(JOINT, kwargs={"parent": request.id})
        return task.replace(chord(group(header, app=task.app), joint, app=task.app))

    def _course(self, name: str | None, under: str | None, changes: Mapping[str, Any]) -> Course | None:
        request = self._request.__dict__
        courses: dict[str, Course] = request.setdefault("recovery_batches", {})
        names: list[str] = request.setdefault("recovery_batch_names", [])
        alone = self._request.called_directly
        if alone:
            courses, names = {}, []
        name = _checked_name(name, names)
        if any(course.out is not None and not course.left for course in courses.values()):
            raise ConfigurationError("batches do not nest: this one begins while an item of another is being worked on")
        names.append(name)
        header = None if alone else BatchHeader.of(request.get("recovery"))
        if header is not None and header.name != name:
            return None
        if name not in courses:
            policy = BatchPolicy.of(getattr(self._task, "batch_policy", None)).replace(**changes)
            keeper = _Keeper(self._parts, self._judges, self._task, self._request, name, under, header)
            replays = History.from_header(request.get("recovery")).replays
            courses[name] = Course(name, policy, keeper, header.items if header is not None else (), replays)
        return courses[name]


class _Keeper:
    """See `Keeps` in `batch/course.py`."""

    def __init__(
        self, parts: Parts, judges: Judges, task: Task, request: Context, name: str, under: str | None,
        header: BatchHeader | None,
    ) -> None:  # fmt: skip
        self._parts, self._judges, self._task, self._request, self._name = parts, judges, task, request, name
        self._header = header
        #: One item of one letter, or nothing to recover with: its failure is the task's.
        self._alone = (
            bool(request.called_directly)
            or bool(request.is_eager)
            or (header is not None and len(header.items) == 1 and not header.items[0].letter)
        )
        #: Where it is a part of a batch that was fanned out: which.
        self._part = Part.of(request.__dict__.get("recovery"))
        #: Items that monitoring was told of.
        self._counted = {"succeeded": 0, "failed": 0, "discarded": 0}
        self._checkpoint: Checkpoint | None = None
        if header is None or not self._alone:
            own = checkpoint_of(parts, task, request)
            self._checkpoint = (own if under is None else own(under)).of_batch(name)

    def load(self) -> Any:
        """The saved state."""
        state = None if self._checkpoint is None else self._checkpoint.load()
        if isinstance(state, Mapping):
            self._counted = {how: int(state.get(how) or 0) for how in self._counted}
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Save it, and count what was not counted."""
        if self._checkpoint is not None:
            self._checkpoint.save(state, progress=True)
        counted = {how: state[how] for how in self._counted}
        moved = {how: max(counted[how] - self._counted[how], 0) for how in counted}
        self._counted = counted
        self._parts.stats.batch_moved(self._task.name, **moved)

    def would_retry(self, exc: BaseException, *, moved_on: bool) -> bool:
        """Whether the task, if it failed of this, would be tried again."""
        self._request.recovery_moved_on = moved_on
        decision = self._judges.decide(self._judges.understand(self._task, self._request, exc), None)
        return decision.action in (Action.RETRY, Action.SNOOZE)

    def is_part(self) -> bool:
        """Others wait to hear how far all parts are together."""
        return self._part is not None

    def stopping(self) -> bool:
        """The worker is to end."""
        return is_stopping()

    def pause(self) -> BaseException:
        """Back into the queue, with the same attempt."""
        return Snooze(0, "the worker shuts down")

    def tell(self, progress: Progress) -> None:
        """State PROGRESS in the result backend, of a part also that of the whole."""
        request = self._request
        if self._alone:
            return
        try:
            self._tell(request.id, progress.told())
            if self._parts.sends_task_events:
                self._tell_watchers(progress)
            if self._part is not None and self._parts.checkpoints is not None:
                done = (progress.done, progress.succeeded, progress.failed, progress.discarded)
                who = {"task": self._part.task, "id": self._part.parent, "worker": request.hostname or "", "attempt": 1}
                name, number, total = fan_name(self._part.parent), self._part.number, self._part.total
                joint = self._parts.checkpoints.join(name, number, done, total, who)
                rate = joint.get("rate")
                remaining = (total - joint["done"]) / rate if rate else None
                self._tell(self._part.parent, {**joint, "remaining": remaining})
        except Exception as exc:  # noqa: BLE001  # any backend, any error: it is only news
            logger.debug("progress of %s was not told: %s", request.id, exc)

    def _tell_watchers(self, progress: Progress) -> None:
        """An event, for Flower: its state is that of the result backend, its result says how far it is."""
        of = "" if progress.total is None else f" of {progress.total:,}"
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        self._task.send_event("task-progress", retry=False, result=f"{progress.done:,}{of}{failed}", retries=0)

    def _tell(self, task_id: str, told: dict[str, Any]) -> None:
        if not (self._request.ignore_result or self._task.ignore_result):
            self._task.backend.store_result(task_id, told, PROGRESS, request=self._request)

    def judge(self, exc: BaseException, unit: Unit, policy: BatchPolicy) -> Verdict:
        """See the module's docstring."""
        if self._alone or not _is_items(exc):
            return Verdict("task")
        info = self._judges.classified(exc, self._task)
        many, unknown = len(unit.items) > 1, info.error_type is ErrorType.UNKNOWN
        failure = self._failure(exc, info, unit)
        decision = self._judges.decide(failure, Asked.by(exc), policy.attempts)
        verdict = Verdict("data", 0.0, info.fingerprint, exc, (failure, decision))
        if decision.action is Action.DISCARD:
            return verdict._replace(how="discard")
        if many and (unknown or not info.is_retryable):
            return verdict
        if decision.action is Action.RETRY:
            if (info.retry_after or 0.0) > policy.max_delay:
                return Verdict("task")
            unit.history = decision.onto(failure.history)
            most = min(AT_ONCE, policy.max_delay) if unknown else policy.max_delay
            return verdict._replace(how="retry", delay=min(decision.delay or 0.0, most))
        if info.is_retryable and not unknown and not isinstance(exc, Quarantine):
            return verdict._replace(how="outage")
        return verdict

    def set_aside(self, unit: Unit, item: Item, progress: Progress) -> None:
        """Publish the item's letter. Raises `PublishFailed` where it can be kept nowhere."""
        failure, decision = unit.failure.failure
        if decision.action is Action.FAIL:  # as the policy says, or the task's `throws`: no letter
            kept = "failed"
        else:
            kept = "set aside"
            failure = replace(failure, request=self._request_of(item, progress), replay=dict(item.letter) or None)
            if number := item.letter.get("number"):
                failure = replace(failure, history=replace(failure.history, replays=number))
            if not self._parts.actions.keep_letter(failure, decision):
                raise PublishFailed(f"the dead letter of item {item.position} could be kept nowhere")
        info, request = failure.info, self._request
        logger.error(
            "task %s[%s] batch %s: item %d%s %s: %s: %s", self._task.name, request.id, self._name, item.position,
            "" if item.key is None else f" ({item.key})", kept, info.exception, info.message,
            extra={"action": "item_set_aside", "task": self._task.name, "task_id": request.id, "batch": self._name,
                   "position": item.position, "key": item.key, "letter": failure.request.id,
                   "error_type": info.error_type.value, "fingerprint": info.fingerprint},
        )  # fmt: skip
        if failure.trace is not None:
            letter = failure.request.id if kept == "set aside" else ""
            failure.trace.set_aside(info, batch=self._name, position=item.position, letter=letter)

    def ended(self, item: Item, how: str) -> None:
        """Write it on the item's letter. Raises `StoreUnavailable`."""
        store, letter = self._parts.store, item.letter
        if store is None or not letter:
            return
        if how == "recovered":
            store.recovered(letter["id"], letter["copy"], 0.0, self._request.hostname or "")
        else:
            store.settle(letter["id"], letter["copy"], LetterState.DISCARDED, how)

    def may_run(self, item: Item) -> bool:
        """The first copy of a replayed letter runs; every other does not."""
        store, letter, request = self._parts.store, item.letter, self._request
        if store is None or not letter:
            return True
        again = bool((request.delivery_info or {}).get("redelivered")) or bool(request.retries)
        again = again or bool(History.from_header(request.__dict__.get("recovery")).deferrals)
        try:
            token, copy = letter["token"], letter["copy"]
            return store.started(letter["id"], token, copy, request.hostname or "", fresh=not again) == "run"
        except StoreUnavailable:
            return True

    def _failure(self, exc: BaseException, info: ErrorInfo, unit: Unit) -> Failure:
        """The record of this try, as if the item were the task."""
        request = self._request
        before = unit.history or History(retries=unit.tries)
        runtime, tracing = clock.monotonic() - request.recovery_running, self._parts.tracing
        keep = self._parts.settings.history_length
        return Failure(
            task=self._task,
            request=request,
            exc=exc,
            info=info,
            history=before.after(info, worker=request.hostname, keep=keep),
            origin=Origin.of(self._parts.app, request),
            call=Call(tuple(request.args or ()), dict(request.kwargs or {})),
            options={},
            replay=None,
            runtime=runtime,
            passage=passage_of(request),
            trace=tracing.attempt(self._task.name, request, runtime) if tracing is not None else None,
        )

    def _request_of(self, item: Item, progress: Progress) -> Context:
        """The request of a task that is this item alone: nobody waits for it, and nothing follows it."""
        request, header = self._request, self._header
        parent = header.parent if header is not None else request.id
        whole = self._part.parent if self._part is not None else parent  # listed under what a person has sent
        own = BatchHeader(parent=whole, name=self._name, items=(replace(item, letter={}),))
        made = Context(request.__dict__)
        made.update(
            headers=request.headers,
            id=item.letter.get("id") or letter_id(parent, self._name, progress.era, item.position),
            parent_id=parent, root_id=request.root_id or parent, group=None, group_index=None, chord=None, chain=None,
            callbacks=None, errbacks=None, reply_to=None, replaced_task_nesting=0, retries=0,
            recovery={"batch": own.to_dict()},
        )  # fmt: skip
        return made


def _header(part: Part) -> dict[str, Any]:
    return {"recovery": part.to_header()}


def _is_items(exc: BaseException) -> bool:
    if isinstance(exc, RecoveryControl):
        return isinstance(exc, (Quarantine, Discard))
    task_level = (RecoveryError, SoftTimeLimitExceeded, MemoryError, Ignore, Reject, Retry)
    return isinstance(exc, Exception) and not isinstance(exc, task_level)


def _checked_name(name: str | None, known: list[str]) -> str:
    """The batch's name: the user's, or its number. Raises `ConfigurationError`."""
    name = str(len(known) + 1) if name is None else name
    if not (isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME and name.isprintable() and ":" not in name):
        expected = f"1 to {LONGEST_NAME} printable characters, none of them a colon"
        raise ConfigurationError.of("batch.name", expected=expected, got=name)
    if name in known:
        expected = "a name that no other batch of this task has"
        raise ConfigurationError.of("batch.name", expected=expected, got=name)
    return name
