"""The life of a failing task, told once.

    message ──► worker ──► RecoverableTask.__call__ ──► Recovery.run
                             │ admit        delivered again, retried, replayed? twins are dropped, poison is kept away
                             │ enter        is what it needs there? an open circuit parks it, without using an attempt
                             │ (run)        the user's code
                             │ understand   exception ─► ErrorInfo: what kind of fault, worth a retry, how long
                             │ decide       policy, history, clock, dice ─► Decision                    (pure)
                             │ act          retry │ dead-letter (fail or hold) │ fail as Celery would
                             ▼ record       one log line and the counters, of what was really done

1. A first delivery just runs. Of any other message custody is asked who has it: another copy, a worker that still runs
   it, or nobody because its worker died (`admission.py`, `custody.py`). A task with a `circuit` goes through that
   first, in memory as long as it is closed; it hears of the end, too (`task_circuits.py`, `circuit/`).
2. The user's code raises. Celery's own `Retry`, `Ignore` and `Reject` pass untouched; they are not failures.
3. The exception is classified here, in the body, before Celery has stored anything: hooks and signals see the wrong
   class of it at times, fire twice for some ends and not at all for others. What kills the process comes the same way,
   in the worker's main process (`worker/request.py`).
4. `decide` chooses from plain values; nothing in it waits or writes. `self.retry()` and the control exceptions
   (`RetryIn`, `Snooze`, `Quarantine`, `Discard`) are only more input to it.
5. What will follow is announced to custody. A retry is published with confirm, its history in the `recovery` header;
   then `Retry` is raised, and only then Celery acknowledges the old message (`acks_late`, unless the user says no).
   Where it is due only after `recovery_park_after`, the worker that receives it parks it (`parking`).
6. A dead letter is published with confirm to its own durable queue as a valid Celery message; then the task ends: with
   the original exception (fail), or in state QUARANTINED with its chord left open (hold).
7. A worker's intake moves the letter into the store. A replay publishes it again with retries at 0 and a token;
   the first copy to start claims the token, and its end is written back on the letter.
8. Success costs one counter in memory.

Defaults: transient network errors get 8 attempts over some minutes, unknown ones 3, bad data none; see `policy.py`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, signals
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import raise_with_context

from celery_recovery import clock
from celery_recovery.actions import Failure, chords_of
from celery_recovery.admission import AlreadyDone, admit, is_first, passage_of, replay_of
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.call import Call
from celery_recovery.confirms import confirm
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.signature import parameters_of
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.decision import Action, Ask, Asked, Decision, Reason, Situation, decide, unix_time
from celery_recovery.errors.classifier import writable
from celery_recovery.errors.model import ErrorInfo, ErrorType
from celery_recovery.exceptions import (
    BatchFailed,
    BatchStopped,
    CheckpointFenced,
    ConfigurationError,
    NotAnException,
    Quarantine,
    RecoveryControl,
    SourceChanged,
)
from celery_recovery.handing_over import HandingOver
from celery_recovery.history import History
from celery_recovery.interrupts import ends_more_than_the_task, is_pools_time_limit, undisturbed
from celery_recovery.monitoring.told import Told
from celery_recovery.monitoring.watch import Watch
from celery_recovery.policy import RecoveryPolicy
from celery_recovery.task_batches import Batches, run_body
from celery_recovery.task_checkpoints import fenced, finish_checkpoints
from celery_recovery.task_circuits import counted, enter, give_back, succeeded
from celery_recovery.task_options import check_circuits, course_within, task_policy
from celery_recovery.telling import as_told, letter_told

if TYPE_CHECKING:
    from celery_recovery.report.model import Report

__all__ = ("Recovery",)

logger = logging.getLogger("celery_recovery")

_ATTRIBUTE = "_celery_recovery"
#: What every worker of a wired app does beside running tasks, by Celery's blueprint.
_STEPS = {
    "worker": (
        "bootsteps:IntakeStep", "presence:PresenceStep", "release:ReleaseStep", "settling:SettlingStep",
        "operating:OperatingStep", "alerting:AlertingStep",
    ),
    "consumer": ("lease:LeaseStep", "door:DoorStep", "presence:HoldStep", "pausing:PausingStep"),
}  # fmt: skip
_LEVELS = {
    Action.RETRY: logging.WARNING,
    Action.SNOOZE: logging.INFO,
    Action.DISCARD: logging.WARNING,
}


class Recovery(HandingOver):
    """The pipeline of one application, and through `Parts` all that it is made of."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app)
        self._policies: dict[str, RecoveryPolicy] = {}
        self._wired = False

    @classmethod
    def of(cls, app: Celery) -> Recovery:
        """The one `Recovery` of this app."""
        found: Recovery | None = app.__dict__.get(_ATTRIBUTE)
        return found or app.__dict__.setdefault(_ATTRIBUTE, cls(app))

    # -- the pipeline, top to bottom

    def run(self, task: Task, request: Context, body: Callable[[], Any]) -> Any:
        """Run one attempt of `task` and see it through to its end; returns or raises what Celery must see."""
        try:
            self.admit(task, request)
            enter(self, task, request)
            result = run_body(request, body)
            finish_checkpoints(request)
        except CheckpointFenced as exc:  # another run has it: not a failure, and nothing to be said of its end
            give_back(request)
            if request.is_eager:
                raise
            raise fenced(self, task, request) from exc
        except (Ignore, Reject, Retry) as exc:
            self.stepped_aside(request, exc)
            raise
        except BaseException as exc:
            hard_limits = (task.time_limit, (request.timelimit or (None,))[0])
            if ends_more_than_the_task(exc) or is_pools_time_limit(exc, *hard_limits):
                give_back(request)
                raise
            outcome = self.failed(task, request, exc)
            if outcome is exc:
                raise
            raise outcome from exc
        self.succeeded(task, request)
        return result

    def failed(self, task: Task, request: Context, exc: BaseException) -> BaseException:
        """Understand, decide, act, record. Returns the exception to leave with."""
        outcome = exc
        if "recovery_outcome" not in request.__dict__:  # else `self.retry()` has acted: one act per attempt
            with undisturbed():
                outcome = self._failed(task, request, exc)
        # Celery is lost with what is no Exception: it takes the worker for dead, or leaves the result open for ever
        return outcome if isinstance(outcome, Exception) else NotAnException.of(exc)

    def _failed(self, task: Task, request: Context, exc: BaseException) -> BaseException:
        try:
            failure = self.understand(task, request, exc)
            counted(self, task, request, exc, failure.info)
            decision = self.decide(failure, Asked.by(exc) or request.__dict__.get("recovery_asked"))
            outcome = self.act(failure, decision)
        except Exception:  # our own mistake must not hide the user's exception
            context = {"action": "recovery_failed", "task": task.name, "task_id": request.id}
            logger.exception("recovery of %s[%s] failed; it fails as in Celery", task.name, request.id, extra=context)
            return exc
        self.record(failure, decision, outcome)
        return outcome

    def retry_requested(
        self,
        task: Task,
        request: Context,
        exc: BaseException | None,
        asked: Asked,
        call: Call,
        options: Mapping[str, Any],
    ) -> BaseException:
        """`self.retry()`: the same steps, from inside the body. Returns `Retry`, or raises when no attempt is left."""
        cause = exc or sys.exc_info()[1] or Retry("Task can be retried", None)
        failure = self.understand(task, request, cause, call, options)
        counted(self, task, request, cause, failure.info)
        decision = self.decide(failure, asked)
        if decision.action in (Action.RETRY, Action.SNOOZE):
            with undisturbed():
                request.recovery_outcome = outcome = self.act(failure, decision)
                self.record(failure, decision, outcome)
            return outcome
        request.recovery_asked = asked  # should the exception below leave the body, `failed` decides the same of it
        if exc is not None:
            raise_with_context(exc)
        raise task.MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] {self._shown(task, call)}",
            task_args=call.args, task_kwargs=call.kwargs,
        )  # fmt: skip

    def admit(self, task: Task, request: Context) -> None:
        """Ask, of a message that is no first delivery, whether it may run: `Ignore` drops it, poison is a failure."""
        if is_first(request) or request.is_eager or "recovery_admitted" in request.__dict__:
            return
        request.recovery_admitted = True
        try:
            poison = admit(self, task, request)
        except AlreadyDone:
            self.completed(request)
            raise
        if self.tracing is not None:
            self.tracing.replayed(request.__dict__.get("recovery"))
        if poison is not None:
            raise poison

    def understand(
        self, task: Task, request: Context, exc: BaseException,
        call: Call | None = None, options: Mapping[str, Any] | None = None,
    ) -> Failure:  # fmt: skip
        """Everything that deciding and acting need, as one record."""
        runtime = clock.monotonic() - request.recovery_running
        info = self.classified(exc, task)
        evidence = request.__dict__.get("recovery_evidence") or {}
        if info.context or evidence:
            info = replace(info, context={**writable(info.context), **evidence})
        keep = self.settings.history_length
        before = History.from_header(request.__dict__.get("recovery"), retries=request.retries or 0, keep=keep)
        history = before.after(info, worker=request.hostname, runtime=runtime, keep=keep)
        return Failure(
            task=task,
            request=request,
            exc=exc,
            info=info,
            history=history,
            origin=Origin.of(self.app, request),
            call=call or Call(tuple(request.args or ()), dict(request.kwargs or {})),
            options=dict(options or {}),
            replay=replay_of(request),
            runtime=runtime,
            passage=passage_of(request),
            trace=self.tracing.attempt(task.name, request, runtime) if self.tracing is not None else None,
        )

    def decide(self, failure: Failure, asked: Asked | None, most: int | None = None) -> Decision:
        """Gather the plain values of the situation and let the pure function choose; at `most` so many attempts."""
        course = self.policies_of(failure.task).course(failure.exc, failure.info)
        by_hand = asked is not None and asked.ask is Ask.RETRY
        course = course_within(failure.task, course, by_hand=by_hand)
        retry = course.retry
        if most is not None:
            retry = retry.replace(max_attempts=min(retry.max_attempts or most, most))
        situation = Situation(
            info=failure.info,
            policy=retry,
            end=course.end,
            explicit=course.explicit,
            history=failure.history,
            now=failure.info.timestamp,
            expires=unix_time(failure.request.expires),
            asked=asked,
            expected=isinstance(failure.exc, (BatchFailed, *(failure.task.throws or ()))),
            poison="recovery_poison" in failure.request.__dict__,
            refused=failure.request.__dict__.get("recovery_refused"),
            probe=failure.request.__dict__.get("recovery_probe", ""),
            moved_on=most is None and failure.request.__dict__.get("recovery_moved_on") is True,
        )
        return decide(situation, self.random)

    def act(self, failure: Failure, decision: Decision) -> BaseException:
        """Carry it out. Eager tasks have no broker: they retry as Celery's eager mode does, and all else fails."""
        again = decision.action in (Action.RETRY, Action.SNOOZE)
        if failure.request.is_eager:
            return self.actions.retry(failure, decision) if decision.action is Action.RETRY else failure.exc
        if not again and decision.action not in (Action.DEAD_LETTER, Action.MANUAL_REVIEW):
            return failure.exc
        hold = self._holds(failure)
        failure, go, told = self.announced(failure, None if again else letter_told(failure, decision, hold=hold))
        if not go:
            return self.taken_over(failure, told)
        if told is not None:  # a letter that somebody began
            failure, decision, hold = as_told(failure, decision, told)
            again = False
        retry, dead_letter = self.actions.retry, self.actions.dead_letter
        outcome = retry(failure, decision) if again else dead_letter(failure, decision, hold=hold)
        if not isinstance(outcome, Retry):
            self.ended(failure, outcome)
        return outcome

    def record(self, failure: Failure, decision: Decision, outcome: BaseException) -> None:
        """Say once, in the log and in the counters, what was done. Never raises: it *has* been done."""
        try:
            self._record(failure, decision, outcome)
        except Exception:
            logger.exception("what became of %s was not recorded", failure.request.id, extra={"action": "not_recorded"})

    def _record(self, failure: Failure, decision: Decision, outcome: BaseException) -> None:
        done: str = decision.action
        reason: str = decision.reason.value
        if isinstance(outcome, Retry):
            pass
        elif isinstance(outcome, Reject):
            done, reason = "given_back", "broker_away"
        elif failure.request.is_eager and decision.action is not Action.DISCARD:
            done = Action.FAIL
        elif decision.action in (Action.RETRY, Action.SNOOZE):
            done, reason = Action.DEAD_LETTER, Reason.NOT_PUBLISHED.value
        self.stats.failed(failure.task.name, failure.info.error_type, str(done))
        if failure.replay and done in (Action.FAIL, Action.DISCARD):
            state = LetterState.DISCARDED if done == Action.DISCARD else LetterState.FAILED
            self.close_letter(failure.request, reason, state)
        told = _told(failure, decision, str(done), reason)
        self.stats.tell(told)
        if decision.reason is Reason.POISON and self.alerts is not None:
            self.alerts.poison(told.task, told.task_id, exception=told.exception, message=told.message,
                               fingerprint=told.fingerprint, error_type=told.error_type)  # fmt: skip
        if failure.trace is not None:
            failure.trace.decided(told, severity=failure.info.severity, held=isinstance(outcome, Ignore))
        info, request = failure.info, failure.request
        limit = decision.max_attempts or "∞"
        logger.log(
            logging.INFO if decision.reason is Reason.EXPECTED else _LEVELS.get(decision.action, logging.ERROR),
            "task %s[%s] attempt %s/%s: %s, %s%s: %s (%s: %s)",
            failure.task.name, request.id, decision.attempt, limit, done, reason,
            f" in {decision.delay:.1f} s" if isinstance(outcome, Retry) and decision.delay is not None else "",
            info.exception, info.error_type, " ".join(info.message.split()),
            extra={
                "action": str(done), "task": failure.task.name, "task_id": request.id, "attempt": decision.attempt,
                "max_attempts": decision.max_attempts, "reason": reason, "delay": decision.delay,
                "error_type": info.error_type.value, "error_code": info.error_code, "exception": info.exception,
                "rule": info.rule, "retryable": info.is_retryable, "severity": info.severity.value,
                "fingerprint": info.fingerprint, "held": isinstance(outcome, Ignore), "runtime": failure.runtime,
            },
        )  # fmt: skip

    def succeeded(self, task: Task, request: Context) -> None:
        """Count it. Never raises: the task has succeeded."""
        succeeded(request)
        request.recovery_body_ended = True  # what Celery publishes from here on must not be lost: see `following.py`
        header = request.__dict__.get("recovery")
        try:
            if header is None:
                self.stats.succeeded(task.name)
                return
            history = History.from_header(header, retries=request.retries or 0)
            if history.attempts and history.retries:
                self.stats.recovered(task.name, history.attempts[-1].error_type)
                self.stats.tell(_recovered(task, request, history))
            else:
                self.stats.succeeded(task.name, replayed=replay_of(request) is not None)
        except Exception:
            logger.exception("the success of %s was not recorded", request.id, extra={"action": "not_recorded"})

    def stepped_aside(self, request: Context, exc: BaseException) -> None:
        """Celery's own `Ignore` and `Reject` are the task's choice, not failures; only a replayed letter must know."""
        give_back(request)
        if "recovery_outcome" in request.__dict__:  # ours: what had to be said is said
            return
        if "recovery_claimed" in request.__dict__ and not isinstance(exc, Retry):
            self.settled(request, "waiting" if getattr(exc, "requeue", False) else "done")
        if isinstance(exc, Retry) or getattr(exc, "requeue", False):
            return
        done = LetterState.RECOVERED if isinstance(exc, Ignore) else LetterState.DISCARDED
        self.close_letter(request, type(exc).__name__.lower(), done)

    # -- what the steps need

    def _shown(self, task: Task, call: Call) -> str:
        """A call without its secrets, as Celery words it."""
        secret = self.redact.secret_among(parameters_of(task), len(call.args))
        return f"args:{self.redact.args('', call.args, secret)} kwargs:{self.redact(call.kwargs)}"

    def policies_of(self, task: Task) -> RecoveryPolicy:
        """The policy of one task: its own words over the app's, read once."""
        policies = self._policies.get(task.name)
        if policies is None:
            policies = self._policies[task.name] = task_policy(task, self.settings.policies)
        return policies

    def batches(self, task: Task, request: Context) -> Batches:
        """The batches of this run of a task."""
        return Batches(self, self, task, request)

    def classified(self, exc: BaseException, task: Task) -> ErrorInfo:
        """Classify what is behind an instruction (`raise Quarantine(…) from exc`), or else the exception itself."""
        if isinstance(exc, BatchStopped) and exc.__cause__ is not None:  # grouped with what its items failed of
            info = self.classifier.classify(exc.__cause__, task=task.name)
            told = f"{exc}: {info.message}"
            return replace(info, is_retryable=False, rule="recovery.batch_stopped", message=told)
        if isinstance(exc, SourceChanged):
            info = self.classifier.classify(exc, task=task.name)
            return replace(info, error_type=ErrorType.VALIDATION, is_retryable=False, rule="recovery.source_changed")
        subject = (exc.__cause__ or exc.__context__ or exc) if isinstance(exc, RecoveryControl) else exc
        info = self.classifier.classify(subject, task=task.name)
        if isinstance(subject, Quarantine) and info.error_type is ErrorType.UNKNOWN:
            return replace(info, error_type=ErrorType.BUSINESS_LOGIC, rule="recovery.quarantine")
        return info

    def report(self, since: Any = "24h", until: Any = None, *, tasks: Sequence[str] = ()) -> Report:
        """What failed in a period and what became of it: see `celery_recovery.report`.

        `since` and `until` are unix seconds, ISO 8601, or an age such as `"7d"`; `tasks` are names or patterns. Raises
        `ConfigurationError` for times that make no sense and where there is no Redis, and `StoreUnavailable`.
        """
        from celery_recovery.report.gather import gather

        return gather(self, since, until, tasks=tasks)

    def _holds(self, failure: Failure) -> bool:
        """Whether the caller is kept waiting: the task's or the app's word; "auto" holds where a chord waits."""
        mode = failure.task.recovery_on_dead_letter or self.settings.on_dead_letter
        return mode == "hold" or (mode == "auto" and bool(chords_of(failure.request)))

    # -- wiring

    def wire(self) -> bool:
        """Hook into the app: the intake of every worker, the flush of counters, the watch on other tasks. Idempotent.

        Called when the first `RecoverableTask` is bound; an app without one may call it to be watched only.
        Reads no setting: the app may not be configured yet. True the first time.
        """
        if self._wired:
            return False
        self._wired = True
        for blueprint, steps in _STEPS.items():
            self.app.steps[blueprint].update(f"celery_recovery.worker.{step}" for step in steps)
        confirm(self.app)
        self._watch.connect()
        signals.worker_process_shutdown.connect(self._flush)
        signals.worker_shutdown.connect(self._flush)
        return True

    def check(self, task: type[Task]) -> None:
        """Refuse a task whose policy makes no sense. Raises `ConfigurationError` naming task and option."""
        mode = task.recovery_on_dead_letter
        try:
            task_policy(task, None)
            BatchPolicy.of(task.batch_policy)
            task.recovery_circuits, task.recovery_circuit_policy = check_circuits(task)
            if mode not in (None, "fail", "hold", "auto"):
                raise ConfigurationError.of("recovery_on_dead_letter", expected="fail, hold or auto", got=mode)
        except ConfigurationError as exc:
            raise ConfigurationError(f"task {task.name}: {exc}") from exc

    @cached_property
    def _watch(self) -> Watch:
        return Watch(
            self.app,
            skip=lambda task: hasattr(task, "recovery_on_dead_letter"),
            seen=lambda *what: self.stats.watched(*what),  # noqa: PLW0108  # the stats are made when first used
            classify=lambda exc, task: self.classifier.classify(exc, task=task),
        )

    def _flush(self, **_: Any) -> None:
        if "stats" in self.__dict__:
            self.stats.flush()
        if "circuits" in self.__dict__:
            self.circuits.flush()


def _told(failure: Failure, decision: Decision, done: str, reason: str) -> Told:
    """What monitoring is told of a failure."""
    info, history = failure.info, failure.history
    return Told(
        what=done,
        task=failure.task.name,
        task_id=failure.request.id,
        error_type=info.error_type.value,
        reason=reason,
        attempt=decision.attempt,
        max_attempts=decision.max_attempts,
        delay=decision.delay if done in (Action.RETRY, Action.SNOOZE) else None,
        runtime=failure.runtime,
        exception=info.exception,
        message=info.message,
        fingerprint=info.fingerprint,
        worker=failure.request.hostname or "",
        before=history.attempts[-2] if history.retries and len(history.attempts) > 1 else None,
    )


def _recovered(task: Task, request: Context, history: History) -> Told:
    """What it is told of a success after failures."""
    last = history.attempts[-1]
    began = request.__dict__.get("recovery_running")
    return Told(
        what="recovered",
        task=task.name,
        task_id=request.id,
        error_type=last.error_type.value,
        attempt=history.attempt,
        runtime=clock.monotonic() - began if began is not None else 0.0,
        took=max(clock.now() - history.first_failure, 0.0) if history.first_failure else None,
        exception=last.exception,
        fingerprint=last.fingerprint,
        worker=request.hostname or "",
        before=last,
    )
