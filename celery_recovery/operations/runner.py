"""Goes through the frozen set of one operation, in whatever process: a command, a worker, Flower.

    take the lease ─► a batch ─► note the position ─► asked to pause or to end? ─► the next batch …
                                 with a canary: up to the end of a step, then wait for how its letters end

Killed anywhere, the next runner begins with the batch whose position was not noted. Doing that batch twice changes
nothing: a letter that this operation has published is not claimed for it again, and one that has moved moves no more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from celery import Celery

from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.held import ChordWatch, fail_held
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.pace import Pace
from celery_recovery.dead_letters.replay import Progress, Publishes, Replay, Terms, Traces, untraced
from celery_recovery.dead_letters.search import batches
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.operations.canary import Canary
from celery_recovery.operations.operation import ENDED, Operation, OperationState
from celery_recovery.operations.register import LEASE, Register

__all__ = ("Runner", "Tell", "nobody")

#: Letters that are moved at once.
BATCH = 500
#: Ids read at once.
PAGE = 2000
#: Seconds between two looks at how the letters of a step end.
LOOK = 0.25
#: Seconds within which the lease is renewed.
BEAT = 1.0
#: Errors that the record keeps.
FAILURES = 100


#: Told of an operation that begins, comes to a step or ends; and whether it ends by itself, and not as people asked.
Tell = Callable[[Operation, bool], None]


def nobody(operation: Operation, by_itself: bool) -> None:
    """Nobody looks on."""


class _Ended(Exception):  # how the run ends, not an error
    """The run is over: the state that the operation comes to, and why."""

    def __init__(self, state: OperationState, message: str = "", *, by_canary: bool = False) -> None:
        super().__init__(message)
        self.state = state
        self.message = message
        self.by_canary = by_canary


class Runner:
    """Runs operations of one store, one at a time."""

    def __init__(
        self,
        app: Celery,
        store: DeadLetterStore,
        publisher: Publishes,
        register: Register,
        progress: Callable[[Progress], None] = lambda _: None,
        goes_on: Callable[[], bool] = lambda: True,
        *,
        trace: Traces = untraced,
        tell: Tell = nobody,
    ) -> None:
        self.app = app
        self.store = store
        self.publisher = publisher
        self.register = register
        self.progress = progress
        self.goes_on = goes_on
        self.trace = trace
        self.tell = tell

    def run(self, operation_id: str) -> Operation:
        """Go through the rest of its set. Raises `OperationNotFound`, `ConfigurationError` and `StoreUnavailable`."""
        operation = self.register.get(operation_id)
        if operation.state in ENDED or operation.state is OperationState.PREPARING:
            return operation
        token = self.register.take(operation_id)
        if not token:
            runner = operation.runner or "another process"
            got = f"{operation_id}, run by {runner}"
            raise ConfigurationError.of("operation", expected="one that nobody runs", got=got)
        run = _Run(self, operation, token)
        try:
            return run.through()
        finally:
            self.register.leave(operation_id, token)

    def act(self, operation: Operation) -> Callable[[Sequence[str]], _Part]:
        """What is done with a batch of an operation that publishes nothing."""
        if operation.kind in ("edit", "undo"):
            return self._editing(operation)
        states = tuple(LetterState(state) for state in operation.terms["states"])
        about = {"reason": operation.reason, "by": operation.by, "operation": operation.id}
        store = self.store
        move = {"discard": store.discard, "review": store.review, "restore": store.restore}[operation.kind]

        def moved(ids: Sequence[str]) -> _Part:
            warnings = Counter(self._fail_held(ids, states)) if operation.kind == "discard" else Counter[str]()
            move(ids, **about)
            return _Part(warnings=warnings)

        return moved

    def _editing(self, operation: Operation) -> Callable[[Sequence[str]], _Part]:
        terms = operation.terms
        change = partial(Edit.from_dict(terms["edit"]).onto, self.app) if "edit" in terms else self._before_its_edit
        about = {
            "reason": operation.reason,
            "by": operation.by,
            "operation": operation.id,
            "after": terms.get("of", ""),
        }

        def edited(ids: Sequence[str]) -> _Part:
            skipped = Counter[str]()
            for letter in self.store.get_many(ids):
                if letter is None:
                    skipped["no longer there"] += 1
                    continue
                try:
                    status = self.store.edit(change(letter), **about)
                except ConfigurationError as exc:
                    status = f"does not fit: expected {exc.expected}"
                if status not in ("edited", "ours"):
                    skipped[status] += 1
            return _Part(skipped)

        return edited

    def _before_its_edit(self, letter: Letter) -> Letter:
        """What it was before its last edit. Raises `ConfigurationError`."""
        versions = self.store.versions(letter.id)
        if not versions:
            raise ConfigurationError.of("undo", expected="a letter that was edited", got=letter.id)
        return versions[-1].of(letter)

    def _fail_held(self, ids: Sequence[str], states: Sequence[LetterState]) -> list[str]:
        """Fail those of the letters that are held; returns warnings."""
        held = (one for one in self.store.get_many(ids) if one is not None and one.held and one.state in states)
        return [warning for letter in held if (warning := fail_held(self.app, letter))]

    def replay(self, operation: Operation, beat: Callable[[Progress], None], idle: Callable[[], None]) -> Replay:
        """What publishes the batches of a replay."""
        terms = operation.terms
        return Replay(
            self.store,
            self.publisher,
            operation.id,
            Terms(
                states=tuple(LetterState(state) for state in terms["states"]),
                rate=terms["rate"],
                to_queue=terms["to_queue"],
                default_queue=self.app.conf.task_default_queue,
                max_replays=terms["max_replays"],
                lease=terms["lease"],
                regroup=terms["regroup"],
            ),
            warn=ChordWatch(self.app),
            progress=beat,
            idle=idle,
            trace=self.trace,
        )


class _Part:
    """What one batch has added to the record."""

    def __init__(
        self,
        skipped: Mapping[str, int] | None = None,
        failed: Mapping[str, str] | None = None,
        warnings: Mapping[str, int] | None = None,
        stopped: str = "",
    ) -> None:
        self.skipped = Counter(skipped or {})
        self.failed = dict(failed or {})
        self.warnings = Counter(warnings or {})
        self.stopped = stopped


class _Run:
    """One runner's time with one operation."""

    def __init__(self, runner: Runner, operation: Operation, token: str) -> None:
        self.runner = runner
        self.operation = operation
        self.token = token
        self.canary = _canary_of(operation)
        self._begun = self._beaten = time.monotonic()
        self._worked_before, self._done_before = operation.seconds, operation.done
        self._before = _Part(operation.skipped, operation.failed, operation.warnings)
        self._told = self._before
        #: How things stood when this run began, and when the step did.
        self._base = self._step_base = operation.outcomes
        self._step, self._step_end = 0, operation.position
        #: Replays of earlier runs whose end is not known: they are not waited for again.
        self._unknown = operation.in_flight

    def through(self) -> Operation:
        """All of the rest, or as much as may be."""
        try:
            with ExitStack() as stack:
                self._note(state=OperationState.RUNNING.value, wanted="", message="", by_canary=0)
                self._tell_others()
                if self.operation.terms.get("try") and not self.operation.position:
                    self._try_first()
                part = self._part_of(stack)
                while self.operation.position < self.operation.selected:
                    self._through_some(part)
                raise _Ended(OperationState.DONE)  # noqa: TRY301  # one way out
        except _Ended as end:
            return self._end(end)
        except BaseException as exc:
            self._broken_off(exc)
            raise

    def _try_first(self) -> None:
        """An edit that nobody has tried yet: it has to fit all of its letters, or changes none. Raises `_Ended`."""
        edit, misfits, first = Edit.from_dict(self.operation.terms["edit"]), 0, ""
        self._note(message="trying it on all letters before any is changed")
        for ids in batches(self.runner.register.all_ids(self.operation.id), BATCH):
            for letter in self.runner.store.get_many(ids):
                problem = _misfit(edit, self.runner.app, letter)
                misfits, first = misfits + bool(problem), first or problem
            self._note()
            self._heed()
        if misfits:
            why = f"it does not fit {misfits:,} of {self.operation.selected:,} letters; the first: {first}"
            raise _Ended(OperationState.CANCELLED, f"nothing was changed: {why}")
        self._note(message="")

    def _part_of(self, stack: ExitStack) -> Callable[[Sequence[str]], _Part]:
        operation = self.operation
        if operation.kind != "replay":
            pace = Pace(operation.terms["rate"], idle=self._idle)
            act = self.runner.act(operation)

            def paced(ids: Sequence[str]) -> _Part:
                pace.wait()
                part = act(ids)
                pace.done(len(ids))
                return part

            return paced
        replay = stack.enter_context(self.runner.replay(operation, self._beat, self._idle))

        def replayed(ids: Sequence[str]) -> _Part:
            result = replay.run(ids)
            return _Part(result.skipped, result.failed, result.warnings, result.stopped)

        return replayed

    def _through_some(self, part: Callable[[Sequence[str]], _Part]) -> None:
        """One page of ids, in batches; with a canary, up to the end of the step, and on to how it ends."""
        self._open_step()
        position = self.operation.position
        page = self.runner.register.ids(self.operation.id, position, min(PAGE, self._step_end - position))
        if not page:
            raise _Ended(OperationState.CANCELLED, "its letters are not on record any more")
        size = self._size()
        for start in range(0, len(page), size):
            batch = page[start : start + size]
            self._merge(part(batch))
            if not self._told.stopped:  # what the broker did not take is still to be done
                self._note(position=self.operation.position + len(batch))
            self._tell()
            self._heed()
        if self.canary is not None and self.operation.position >= self._step_end:
            self._wait_for_outcomes(self.canary)

    def _size(self) -> int:
        rate = self.operation.terms["rate"]
        if self.operation.kind == "replay":
            return Terms(rate=rate, lease=self.operation.terms["lease"], regroup=self.operation.terms["regroup"]).batch
        return BATCH if rate is None else max(1, min(BATCH, int(rate * LEASE / 4)))

    # -- the canary

    def _open_step(self) -> None:
        """Begin the next step, if the last one is through."""
        if self.canary is None:
            self._step_end = self.operation.selected
        elif self.operation.position >= self._step_end:
            self._step += 1
            self._step_base = self.operation.outcomes
            self._step_end = min(self.operation.selected, self._step_end + self.canary.size(self._step))
            self._note(step=self._step)
            self._tell_others()

    def _wait_for_outcomes(self, canary: Canary) -> None:
        """Until all replays have ended, or enough of them to stop. Raises `_Ended`."""
        until = time.monotonic() + canary.wait
        while self.operation.in_flight > self._unknown:
            if time.monotonic() >= until:
                if self.operation.position >= self.operation.selected:
                    return  # nothing is left to hold back
                more = self.operation.in_flight - self._unknown
                why = f"no outcome of {more} replays within {canary.wait:g} s; resume goes on"
                raise _Ended(OperationState.PAUSED, why)
            time.sleep(LOOK)
            self._note()
            self._tell(f"waiting for {self.operation.in_flight - self._unknown} outcomes of step {self._step}")
            self._heed()
        self._judge(canary)

    def _judge(self, canary: Canary) -> None:
        """Stop if the outcomes say so."""
        outcomes = self.operation.outcomes
        run, step = outcomes.since(self._base), outcomes.since(self._step_base)
        if canary.stops(run, step, self._step):
            ended = run.recovered + run.died
            message = f"{run.died} of {ended} replays died again, where {canary.good:.0%} should recover"
            raise _Ended(OperationState.STOPPED, message, by_canary=True)

    # -- the record

    def _heed(self) -> None:
        """Follow what a person asked for, the outcomes, and the process that we are in. Raises `_Ended`."""
        if self._told.stopped:
            raise _Ended(OperationState.STOPPED, self._told.stopped)
        if self.canary is not None:
            self._judge(self.canary)
        if self.operation.wanted:
            raise _Ended(OperationState(self.operation.wanted), self.operation.message)
        if not self.runner.goes_on():
            raise _Ended(OperationState.RUNNING)

    def _merge(self, part: _Part) -> None:
        """A part counts from the beginning of the run if it is a replay's, else from the last part on."""
        before = self._before if self.operation.kind == "replay" else self._told
        self._told = _Part(
            before.skipped + part.skipped,
            before.failed | part.failed,
            before.warnings + part.warnings,
            part.stopped,
        )

    def _note(self, **what: Any) -> None:
        """Write down what is known, renew the lease, and learn what is wanted. Raises `_Ended` if we have lost it."""
        told = self._told
        kept = dict(list(told.failed.items())[:FAILURES])
        now = self.runner.register.advance(
            self.operation.id, self.token, seconds=self._seconds, skipped=told.skipped, failed=kept,
            warnings=told.warnings, **what,
        )  # fmt: skip
        self._beaten = time.monotonic()
        if now is None:
            raise _Ended(OperationState.RUNNING, "another process goes on with it")
        self.operation = now

    def _beat(self, within: Progress) -> None:
        """Within a batch: renew the lease now and then."""
        if time.monotonic() - self._beaten >= BEAT:
            self._note()
        self._tell(waiting=within.waiting, published=within.published)

    def _idle(self) -> None:
        """While the rate lets it wait: renew the lease, and follow what is asked for. Raises `_Ended`."""
        if time.monotonic() - self._beaten >= BEAT:
            self._note()
            self._heed()

    def _tell(self, note: str = "", waiting: float | None = None, published: int = 0) -> None:
        now = self.operation
        done = max(now.done, self._done_before + published)
        self.runner.progress(
            Progress(now.selected, done, self._told.skipped.total(), len(self._told.failed), waiting,
                     recovered=now.outcomes.recovered, died=now.outcomes.died, note=note, operation=now.id)
        )  # fmt: skip

    @property
    def _seconds(self) -> float:
        return self._worked_before + time.monotonic() - self._begun

    def _end(self, end: _Ended, *, asked: bool = False) -> Operation:
        """Write down how it ended. What another process goes on with is left to it."""
        if end.state is OperationState.RUNNING:
            return self.operation
        ended = {"ended_at": time.time()} if end.state in ENDED else {}
        by_itself = not (asked or self.operation.wanted)
        try:
            self._note(state=end.state.value, message=end.message, by_canary=int(end.by_canary), wanted="", **ended)
        except _Ended:
            return self.operation  # another process has taken it over
        now = self.operation
        self.runner.register.audit.add(
            f"{now.kind} {end.state.value}", by=now.by, via=now.via, operation=now.id, selected=now.selected,
            done=now.done, skipped=self._told.skipped.total(), failed=len(self._told.failed), outcome=end.message,
            recovered=now.outcomes.recovered, died=now.outcomes.died,
        )  # fmt: skip
        self._tell_others(by_itself=by_itself)
        return now

    def _tell_others(self, *, by_itself: bool = False) -> None:
        """Those who look on; they never raise."""
        self.runner.tell(self.operation, by_itself)

    def _broken_off(self, exc: BaseException) -> None:
        """Interrupted, or a mistake: paused, so that it goes on when somebody says so."""
        with suppress(Exception):  # Redis is away, maybe that is why; the lease ends by itself
            asked = not isinstance(exc, Exception)  # Ctrl-C
            self._end(_Ended(OperationState.PAUSED, f"interrupted: {type(exc).__name__}"), asked=asked)


def _misfit(edit: Edit, app: Celery, letter: Letter | None) -> str:
    """Why it does not fit; empty: it does, or the letter is no longer there."""
    try:
        if letter is not None:
            edit.onto(app, letter)
    except ConfigurationError as exc:
        return str(exc)
    return ""


def _canary_of(operation: Operation) -> Canary | None:
    data = operation.terms.get("canary")
    return Canary.from_dict(data) if data else None
