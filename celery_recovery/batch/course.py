"""`Course`: one batch in one attempt of its task; it outlives the body's runs (see `batch.py`)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

from celery_recovery import clock
from celery_recovery.batch.item import Item
from celery_recovery.batch.limits import Limits
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.batch.progress import Digest, Progress
from celery_recovery.exceptions import BatchStopped, CheckpointFenced, SourceChanged

__all__ = ("NO_KEY", "BeginAnew", "Course", "Keeps", "Unit", "Verdict")

logger = logging.getLogger("celery_recovery")

#: Stands for the key of an item that has none because its function raised.
NO_KEY = "\0no key"


class BeginAnew(Exception):
    """The body is to run again, with a source that nothing was taken of."""


class Unit:
    """What the body gets at once: an item, or with `chunks` a list of them."""

    __slots__ = ("failure", "fate", "final", "history", "items", "keys", "own", "start", "tries")

    def __init__(self, start: int, items: list[Any], keys: list[Any] | None, own: Sequence[Item] = ()) -> None:
        self.start = start
        self.items = items
        self.keys = keys
        #: Of items that came with the message: how.
        self.own = own
        #: Failed tries in place, and what is known of them.
        self.tries = 0
        self.history: Any = None
        #: What is to become of it when its turn comes again; "": it runs.
        self.fate = ""
        self.failure: Any = None
        #: It has waited, and this is its last try.
        self.final = False

    @property
    def end(self) -> int:
        """The position behind its last item."""
        return self.start + len(self.items)

    def halves(self) -> tuple[Unit, Unit]:
        """Two units; their tries count on, so that an unknown error is not tried again at each step."""
        middle = len(self.items) // 2
        made = []
        for part in (slice(None, middle), slice(middle, None)):
            half = Unit(
                self.start + (part.start or 0), self.items[part], self.keys[part] if self.keys else None,
                self.own[part] if self.own else (),
            )  # fmt: skip
            half.tries = self.tries
            made.append(half)
        return made[0], made[1]


class Verdict(NamedTuple):
    """What a failure means: `"task"`, `"retry"`, `"outage"`, `"data"`, `"discard"`."""

    how: str
    #: Seconds before another try.
    delay: float = 0.0
    fingerprint: str = ""
    exc: BaseException | None = None
    #: What the letter is made of.
    failure: Any = None


class Keeps(Protocol):
    """What the task's side does for a course (`task_batches.py`)."""

    def load(self) -> Any:
        """The saved state."""

    def save(self, state: dict[str, Any]) -> None:
        """Save it. Raises `CheckpointFenced`, `StoreUnavailable`."""

    def judge(self, exc: BaseException, unit: Unit, policy: BatchPolicy) -> Verdict:
        """What this failure means."""

    def set_aside(self, unit: Unit, item: Item, progress: Progress) -> None:
        """Keep the letter of the unit's failed item; when it returns, it is safe."""

    def ended(self, item: Item, how: str) -> None:
        """An item that came as a letter: `"recovered"` or `"discarded"`."""

    def may_run(self, item: Item) -> bool:
        """An item that came as a letter: False, when another copy of it runs, or did."""

    def tell(self, progress: Progress) -> None:
        """Report progress. Never raises."""

    def would_retry(self, exc: BaseException, *, moved_on: bool) -> bool:
        """Whether the task, if it failed of this, would be tried again."""

    def is_part(self) -> bool:
        """Others wait to hear how far all parts are together."""

    def stopping(self) -> bool:
        """The worker is to end."""

    def pause(self) -> BaseException:
        """What to leave with when it is."""


class Course:
    """One batch in one attempt of its task. Not safe for threads: a task has one."""

    def __init__(
        self, name: str, policy: BatchPolicy, keeps: Keeps, own: Sequence[Item] = (), replays: int = 0
    ) -> None:
        self.name = name
        self.policy = policy
        self.keeps = keeps
        #: The items that the message came with: this batch is replayed letters, and has no other source.
        self.own = own
        self.progress = Progress.load(keeps.load(), name)
        if self.progress.replays != replays:  # a person has looked at it: the failures so far are forgiven
            self.progress.replays, self.progress.forgiven = replays, self.progress.failed
        #: With the body now.
        self.out: Unit | None = None
        #: The loop was left with it.
        self.left = False
        #: To be worked on before the source goes on.
        self.again: deque[Unit] = deque()
        #: Failed of what would pass with time, the last in a row.
        self.waiting: list[Unit] = []
        #: Done, but not committed.
        self.unflushed: list[Unit] = []
        #: The position of the next item of the source.
        self.taken = self.progress.done
        self.commit: Callable[[], object] | None = None
        self.began = self.progress.done
        self._limits = Limits(policy)
        self._digest = Digest()
        self._keys: list[Any] = []
        self._recovered: list[Item] = []
        self.through = False
        self._since = clock.monotonic()
        self._worked = self.progress.seconds
        self._saved = self.progress.done
        self._flushed_at = self._told_at = self._since

    @property
    def moved_on(self) -> bool:
        """Something was done in this attempt."""
        return self._saved > self.began

    def begin(self, commit: Callable[[], object] | None) -> None:
        """A run of the body goes through it."""
        self.commit = commit
        if self.out is not None:  # the last run left the loop by `break`: nobody knows whether it is done
            self.again.appendleft(self.out)
            self.out = None

    # -- while it goes well

    def finished(self, unit: Unit, *, kept: bool = False) -> None:
        """The body came back: the unit is done; `kept`: what it did is committed already."""
        self.out = None
        if self.waiting:  # so the outage is over, or was none
            self._try_waiting_again(unit)
            return
        progress = self.progress
        progress.succeeded += len(unit.items)
        self._past(unit)
        self._recovered.extend(unit.own)
        if self.commit is not None and not kept:
            self.unflushed.append(unit)
        behind = progress.done - self._saved
        if behind and (
            behind >= self.policy.flush_every
            or clock.monotonic() - self._flushed_at >= self.policy.flush_after
            or kept
            or (self.commit is not None and len(unit.items) > 1)
        ):
            self.flush()

    def flush(self) -> None:
        """Commit, then note what is done. Raises what `commit` raises, `CheckpointFenced`, `StoreUnavailable`."""
        if self.commit is not None:
            self.commit()
            for unit in self.again:
                unit.fate = "kept" if unit.fate == "done" else unit.fate
        self.unflushed.clear()
        progress, now = self.progress, clock.monotonic()
        if self._keys:
            self._digest.add(self._keys)
            self._keys.clear()
            progress.digest = self._digest.text()
        worked = now - self._since
        progress.seconds, progress.at = self._worked + worked, clock.now()
        progress.rate = (progress.done - self.began) / worked if worked > 0 else None
        for item in self._recovered:
            self.keeps.ended(item, "recovered")
        self._recovered.clear()
        self.keeps.save(progress.to_dict())
        self._saved, self._flushed_at = progress.done, now
        every = self.policy.progress_every
        if every is not None and (now - self._told_at >= every or (self.through and self.keeps.is_part())):
            self._told_at = now
            self.keeps.tell(progress)

    def note(self) -> None:
        """Note what is done, unless it is noted; what is not committed is not done."""
        if self.progress.done > self._saved and self.commit is None:
            self.flush()

    def end(self) -> None:
        """The source is at its end. What still waits makes the task try again later, as long as its policy allows."""
        if self.waiting:
            exc = [unit.failure.exc for unit in self.waiting if unit.fate == "wait"][-1]
            if self.keeps.would_retry(exc, moved_on=self.moved_on):
                raise exc
            self._settle()
        if self.progress.total is None:
            self.progress.total = self.progress.done
        self.through = True
        if self.progress.done > self._saved:
            self.flush()
        elif self.keeps.is_part():
            self.keeps.tell(self.progress)

    def check_stop(self) -> None:
        """Between two items: where the worker is to end, what is done is noted, and the task leaves."""
        if self.keeps.stopping():
            if self.progress.done > self._saved:
                self.flush()
            raise self.keeps.pause()

    # -- when it does not

    def failed(self, exc: BaseException, *, unwound: bool) -> BaseException | None:
        """An exception left the body (`unwound`), or the function of `each`: what to leave with, or None to go on."""
        unit, self.out = self.out, None
        if isinstance(exc, BeginAnew):
            return None
        verdict = Verdict("task") if unit is None else self.keeps.judge(exc, unit, self.policy)
        if unit is None or verdict.how == "task":
            return self._left(exc, unwound)
        if verdict.how == "outage":
            if len(unit.items) > 1 or self._is_outage():
                return self._left(exc, unwound)
            return self._then(unit, verdict, "aside" if unit.final else "wait", unwound)
        if verdict.how == "retry":
            unit.tries += 1
            self._next(unit, unwound)
            self._sleep(verdict.delay)
            return None
        if verdict.how == "data" and len(unit.items) > 1:
            first, second = unit.halves()
            self.again.appendleft(second)
            self._next(first, unwound)
            return None
        return self._then(unit, verdict, "aside" if verdict.how == "data" else "discard", unwound)

    def meet(self, unit: Unit) -> bool:
        """A unit's turn has come again: False, when its fate was settled and it does not run."""
        if not unit.fate:
            return True
        stopped = self._meet(unit)
        if stopped is not None:
            raise stopped
        return False

    def _meet(self, unit: Unit) -> BaseException | None:
        if unit.fate == "wait":
            self.waiting.append(unit)
            return None
        if unit.fate in ("done", "kept"):
            kept, unit.fate = unit.fate == "kept", ""
            self.finished(unit, kept=kept)
            return None
        if self.waiting:  # behind those: what is done lies in front of one position
            self.waiting.append(unit)
            return None
        if unit.fate == "discard":
            self.progress.discarded += len(unit.items)
            for item in unit.own:
                self.keeps.ended(item, "discarded")
            self._past(unit)
            self.flush()
            return None
        return self._set_aside(unit)

    def _then(self, unit: Unit, verdict: Verdict, fate: str, unwound: bool) -> BaseException | None:
        """Its fate is settled, now or when those before it that were undone are done again."""
        unit.fate, unit.failure = fate, verdict
        if unwound and self.commit is not None:  # the body has left what it commits to
            self._next(unit, unwound)
            return None
        stopped = self._meet(unit)
        if stopped is not None and stopped.__cause__ is None:
            stopped.__cause__ = verdict.exc
        return stopped

    def _next(self, unit: Unit, unwound: bool) -> None:
        """It is the next one, behind those that were undone."""
        self.again.appendleft(unit)
        if unwound:
            self._undo()

    def _undo(self) -> None:
        """What was done and not committed is to be done again."""
        for unit in self.again if self.commit is not None else ():
            if unit.fate == "done":
                unit.fate = ""
        if not self.unflushed:
            return
        self.again.extendleft(reversed([*self.unflushed, *self.waiting]))  # in their order
        self.waiting.clear()
        self.progress.done = self.unflushed[0].start
        self.progress.succeeded -= sum(len(unit.items) for unit in self.unflushed)
        self.unflushed.clear()
        self._keys.clear()
        self._recovered.clear()

    def _left(self, exc: BaseException, unwound: bool) -> BaseException:
        """The attempt of the whole task has failed: what is done is noted all the same."""
        self.waiting.clear()
        if unwound:
            self._undo()
        if self.progress.done > self._saved:
            try:
                self.flush()
            except CheckpointFenced as fenced:
                return fenced
            except Exception:  # the attempt has failed already; what was not noted is done again
                logger.exception("batch %s: what is done was not noted", self.name, extra={"action": "batch_not_noted"})
        return exc

    def _set_aside(self, unit: Unit) -> BaseException | None:
        """Each item of it becomes a letter; what to leave with if these are too many."""
        verdict = unit.failure
        for offset, value in enumerate(unit.items):
            own = unit.own[offset] if unit.own else None
            key = unit.keys[offset] if unit.keys else None
            item = own or Item.of(unit.start + offset, None if key is NO_KEY else key, value)
            self.keeps.set_aside(unit, item, self.progress)
        self.progress.failed += len(unit.items)
        self._past(unit)
        self.flush()
        in_all = self.progress.failed - self.progress.forgiven
        why = self._limits.failed(verdict.fingerprint, self.progress.done - self.began, in_all)
        if not why:
            return None
        stopped = BatchStopped(f"{why}; batch {self.name} stops at item {self.progress.done}")
        stopped.__cause__ = verdict.exc
        return stopped

    def _is_outage(self) -> bool:
        """One more fails of what would pass with time, and none has succeeded in between."""
        waits = sum(unit.fate == "wait" for unit in self.waiting)
        return waits + 1 >= self.policy.outage_after or len(self.waiting) >= self.policy.window

    def _settle(self) -> None:
        """Those that waited failed for themselves."""
        units, self.waiting = self.waiting, []
        for unit in units:
            unit.fate = "aside" if unit.fate == "wait" else unit.fate
            stopped = self._meet(unit)
            if stopped is not None:
                raise stopped

    def _try_waiting_again(self, unit: Unit) -> None:
        """Each of those that wait once more, and for the last time; the one that succeeded is counted behind them."""
        for one in self.waiting:
            if one.fate == "wait":
                one.fate, one.final = "", True
        unit.fate = "done"
        self.again.extendleft(reversed([*self.waiting, unit]))
        self.waiting.clear()

    def _past(self, unit: Unit) -> None:
        """It needs nothing more."""
        self.progress.done = unit.end
        if unit.keys is not None:
            self._keys.extend(unit.keys)

    def _sleep(self, seconds: float) -> None:
        end = clock.monotonic() + seconds
        while (left := end - clock.monotonic()) > 0 and not self.keeps.stopping():
            clock.sleep(min(left, 0.25))

    # -- where it begins

    @property
    def saved(self) -> int:
        """Items that are noted as done."""
        return self._saved

    def changed(self, what: str) -> NoReturn:
        """The source is not what it was. Raises `SourceChanged`, or `BeginAnew`, as the policy says."""
        if self.policy.on_change == "stop":
            raise SourceChanged(
                f"batch {self.name}: {what}. Items that are done cannot be told from others; on_change='restart' goes"
                " through all that the source has now, or clear its checkpoint"
            )
        self.progress = Progress(batch=self.name, era=self.progress.era + 1, failed=self.progress.failed)
        self.again.clear()
        self.waiting.clear()
        self.unflushed.clear()
        self.taken = self.began = self._saved = 0
        self._digest, self._keys = Digest(), []
        raise BeginAnew

    def verified(self, digest: Digest) -> None:
        """The digest of the keys of all that is noted as done, as they are now."""
        known = self.progress.digest
        if known is not None and digest.text() != known:
            self.changed(f"the keys of its first {self.saved:,} items are not what they were")
        self._digest = digest
