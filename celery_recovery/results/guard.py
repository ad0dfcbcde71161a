"""`Guard`: what `RecoverableTask.backend` is inside a worker. All that Celery reads of a backend passes through it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Any

from celery import Celery, Task, states
from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded

from celery_recovery import clock
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.results.bounded import bounded
from celery_recovery.results.keeper import MAIN_TIMEOUT, TASK_TIMEOUT, Keeper, refusal
from celery_recovery.results.owed import Outcome, Owed
from celery_recovery.results.watching import watch_softly

__all__ = ("GUARD", "Guard", "guarded", "install")

logger = logging.getLogger("celery_recovery")

_ATTRIBUTE = "_celery_recovery_guards"
#: Where a task keeps its guard.
GUARD = "_celery_recovery_guard"
#: Seconds before a hard time limit that are left for the last try and for writing the outcome down.
MARGIN = TASK_TIMEOUT + 2.0
#: Seconds that a blip of the backend is waited for where the recovery store can take the outcome.
BRIEFLY = 2.0

#: Told of a result that the backend refuses for good: the task, its request, the refusal.
Refused = Callable[[Task, Context, Exception], None]


class Guards:
    """The guards of one app's tasks, and what they share."""

    def __init__(
        self,
        keeper: Keeper,
        refused: Refused,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
        done: Callable[[Context], None] = lambda _: None,
    ) -> None:
        self.keeper = keeper
        #: Told of each success once its result is stored or owed: from then on nothing of the task is left to do.
        self.done = done
        #: Keeps the completed work's result as a dead letter.
        self.refused = refused
        #: Keeps soft time limits away: the body has ended.
        self.undisturbed = undisturbed


def install(
    app: Celery,
    keeper: Keeper,
    refused: Refused,
    undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
    done: Callable[[Context], None] = lambda _: None,
) -> None:
    """From now on, in this process and those forked from it, the app's recoverable tasks have guarded backends."""
    app.__dict__[_ATTRIBUTE] = Guards(keeper, refused, undisturbed, done)
    watch_softly(app, keeper)


def guarded(task: Task, backend: Any) -> Any:
    """The guard around this task's backend where the app has guards, else the backend."""
    guards: Guards | None = task.app.__dict__.get(_ATTRIBUTE)
    if guards is None:
        return backend
    return task.__dict__.setdefault(GUARD, Guard(task, guards))


class Guard:
    """Delegates to the backend; the last word on a task is stored now or owed, and never raises for its absence."""

    def __init__(self, task: Task, guards: Guards) -> None:
        self._task = task
        self._guards = guards
        self._keeper = guards.keeper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend(TASK_TIMEOUT), name)

    def __reduce__(self) -> Any:
        """An `AsyncResult` that travels takes the backend itself with it."""
        return self._unguarded().__reduce__()

    # -- what Celery calls

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Context | None = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store a success, or owe it.

        Raises kombu's EncodeError for a result that the backend refuses for good, once it has its dead letter.
        """
        if request is not None and request.is_eager:
            self._unguarded().mark_as_done(task_id, result, request, store_result, state)
            return
        if not self._is_done_at_once(task_id, result, request, store_result, state):
            store = store_result and not (request is not None and request.ignore_result)
            outcome = Outcome(kind="done", id=task_id, state=state, result=result, request=request, store=store)
            if outcome.matters:
                with self._guards.undisturbed():
                    self._done(outcome)
        if request is not None:
            self._guards.done(request)

    def _is_done_at_once(self, task_id: str, result: Any, request: Context | None, *rest: Any) -> bool:
        """The way of nearly every task, and cheap: all is well. A soft time limit that strikes here is tried again."""
        absence = self._keeper.absence
        if absence.since is not None:
            return False
        began = time.monotonic()
        try:
            self._backend_for(request).mark_as_done(task_id, result, request, *rest)
        except SoftTimeLimitExceeded:
            return False
        except Exception as exc:  # noqa: BLE001  # any backend, any error; it is looked at where it comes up again
            if self._keeper.is_away(exc):
                absence.seen(exc, began)
            return False
        return True

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Context | None = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store a failure, or owe it; call its errbacks. Never raises in a worker."""
        if request is not None and request.is_eager:
            self._unguarded().mark_as_failure(task_id, exc, traceback, request, store_result, call_errbacks, state)
            return
        outcome = Outcome(
            kind="failure", id=task_id, state=state, result=exc, traceback=traceback, request=request,
            store=store_result,
        )  # fmt: skip
        with self._guards.undisturbed():
            stored = self._last_word(outcome) if outcome.matters else True
            if request is not None and call_errbacks and request.errbacks:
                self._call_errbacks(outcome, stored)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Context | None = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store a revocation, or owe it. Never raises."""
        self._last_word(
            Outcome(kind="revoked", id=task_id, state=state, result=str(reason), request=request, store=store_result)
        )

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Context | None = None,
        store_result: bool = True,  # noqa: ARG002  # Celery's
        state: str = states.RETRY,
    ) -> None:
        """News only: the next attempt is on its way. Never raises."""
        self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Context | None = None,
        **options: Any,
    ) -> Any:
        """A final state is stored or owed; any other is tried once, and dropped while the backend is away.

        Raises what the backend refuses for good.
        """
        if request is not None and request.is_eager:
            return self._unguarded().store_result(task_id, result, state, traceback, request=request, **options)
        outcome = Outcome(kind="store", id=task_id, state=state, result=result, traceback=traceback, request=request)
        if state in states.READY_STATES:
            self._last_word(outcome)
        else:
            self._news(outcome)
        return result

    def _get_task_meta_for(self, task_id: str) -> Any:
        """Celery asks whether the task of a lost worker had succeeded; what is owed counts like what is stored."""
        try:
            return self._backend(MAIN_TIMEOUT)._get_task_meta_for(task_id)  # noqa: SLF001
        except Exception:
            owed = self._owed(task_id)
            if owed is None:
                raise
            return {"status": owed.state, "result": None}

    # -- within

    def _unguarded(self) -> Any:
        own = getattr(self._task, "_backend", None)
        return self._task.app.backend if own is None else own

    def _backend(self, timeout: float) -> Any:
        return bounded(self._unguarded(), timeout)

    def _backend_for(self, request: Context | None) -> Any:
        return self._backend(TASK_TIMEOUT if self._is_running(request) else MAIN_TIMEOUT)

    def _is_running(self, request: Context | None) -> bool:
        """Called from where the task has just run; else from the worker's main process, whose event loop must go on."""
        return request is not None and self._task.request_stack.top is request

    def _patience(self, request: Context | None) -> float:
        """Seconds that may be waited here."""
        if request is None or not self._is_running(request):
            return 0.0
        hard: float | None = (request.timelimit or (None, None))[0] or self._task.time_limit
        if not hard:
            return self._keeper.timeout
        running: float = clock.monotonic() - request.__dict__.get("recovery_running", clock.monotonic())
        return max(0.0, min(self._keeper.timeout, float(hard) - running - MARGIN))

    def _done(self, outcome: Outcome) -> None:
        try:
            self._stored(outcome)
        except Exception as exc:
            refused = refusal(exc)
            self._guards.refused(self._task, outcome.request, refused)
            if refused is exc:
                raise
            raise refused from exc

    def _last_word(self, outcome: Outcome) -> bool:
        """Store it or owe it; False: owed. What the backend refuses becomes a failure that says so. Never raises."""
        try:
            return self._stored(outcome)
        except Exception as exc:  # noqa: BLE001  # any backend, any error
            return self._instead(outcome, exc)

    def _instead(self, outcome: Outcome, exc: Exception) -> bool:
        failure = replace(outcome, kind="failure", state=states.FAILURE, result=refusal(exc))
        try:
            self._keeper.fail(self._backend_for(outcome.request), outcome, exc, self._task.name)
        except Exception as away:  # noqa: BLE001
            self._owe_or_lose(failure, away)
            return False
        return True

    def _stored(self, outcome: Outcome) -> bool:
        """False: it is owed. Raises what the backend refuses for good.

        Where it can be owed safely, there is no point in waiting for long: the worker has other tasks to run.
        """
        keeper, backend = self._keeper, self._backend_for(outcome.request)
        patience = self._patience(outcome.request)
        error = keeper.attempt(backend, outcome, min(patience, BRIEFLY) if keeper.store else patience)
        if error is None:
            return True
        owed = self._written(outcome)
        if keeper.owe(owed, error, outcome.result):
            return False
        if keeper.store and patience > BRIEFLY:
            error = keeper.attempt(backend, outcome, patience)
        if error is not None:
            keeper.remember(owed, error, outcome.result)
        return error is None

    def _written(self, outcome: Outcome, errbacks: Sequence[Any] = ()) -> Owed:
        return Owed.of(self._task.app, self._unguarded(), self._task.name, outcome, errbacks)

    def _owe(self, outcome: Outcome, error: Exception | None, errbacks: Sequence[Any] = ()) -> None:
        owed = self._written(outcome, errbacks)
        if not self._keeper.owe(owed, error, outcome.result):
            self._keeper.remember(owed, error, outcome.result)

    def _news(self, outcome: Outcome) -> None:
        error = self._keeper.attempt(self._backend_for(outcome.request), outcome, 0.0)
        if error is not None:
            logger.warning(
                "task %s[%s]: state %s was not stored: %s", self._task.name, outcome.id, outcome.state, error,
                extra={"action": "state_not_stored", "task": self._task.name, "task_id": outcome.id,
                       "state": outcome.state},
            )  # fmt: skip

    def _call_errbacks(self, outcome: Outcome, stored: bool) -> None:
        """Each once: those that cannot be published now are owed with the outcome, or alone where that is stored."""
        unsent, error, request = [], None, copy(outcome.request)
        for errback in request.errbacks:  # type: ignore[union-attr]
            try:
                self._keeper.call_errback(self._unguarded(), self._task.name, outcome, errback)
            except Exception as exc:  # noqa: BLE001  # the broker is away
                error = exc
                unsent.append(errback)
        if unsent and stored:
            request.chord = request.chain = None  # type: ignore[union-attr]
            self._owe_or_lose(replace(outcome, request=request, store=False), error, unsent)
        elif unsent:
            self._owe_or_lose(outcome, error, unsent)

    def _owe_or_lose(self, outcome: Outcome, error: Exception | None, errbacks: Sequence[Any] = ()) -> None:
        try:
            self._owe(outcome, error, errbacks)
        except Exception as exc:  # noqa: BLE001  # it cannot even be written down
            logger.critical(
                "task %s[%s]: %s %s is lost, and %d errbacks: %s", self._task.name, outcome.id, outcome.state,
                self._keeper.shown(outcome.result), len(errbacks), exc,
                extra={"action": "result_lost", "task": self._task.name, "task_id": outcome.id,
                       "state": outcome.state},
            )  # fmt: skip

    def _owed(self, task_id: str) -> Owed | None:
        store = self._keeper.store
        try:
            return None if store is None else store.get(task_id)
        except StoreUnavailable:
            return None
