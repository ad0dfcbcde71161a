"""The keeper at the door through which a task leaves with its process: killed, out of memory, out of time.

Such an end is seen by the worker's main process alone. There it goes the same way as a failure in the body: understand,
decide, act, record; and then Celery is told what became of it, with everything that belongs to it (result, `on_failure`
or `on_retry`, signal, event, acknowledgement), once.

    child killed, or out of memory     `WorkerLostError`; billiard reports it to `on_failure`
    hard time limit                    `TimeLimitExceeded`; billiard reports it to `on_failure`, then to `on_timeout`
    the broker's connection was lost   the message will be delivered again while its task goes on: custody is told

Pools without children (threads, solo, eventlet) have no such ends but the last; gevent has the time limit.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from time import monotonic, time
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.app.trace import task_has_custom
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import get_pickled_exception
from celery.worker import state
from celery.worker.request import Request, logger
from kombu.utils.encoding import safe_repr, safe_str

from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.passage import Passage
from celery_recovery.recovery import Recovery
from celery_recovery.worker.memory import last_seen

__all__ = ("RecoverableRequest",)

#: How billiard words the end of a child.
_SIGNAL, _EXIT_CODE = re.compile(r"signal (\d+)"), re.compile(r"exitcode (-?\d+)")


class RecoverableRequest(Request):  # type: ignore[misc]  # celery is untyped
    """A worker's view of one task, in its main process."""

    #: Its process-level end was acted on: billiard reports a hard limit twice.
    _seen_to = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Celery makes a class of its own for each task's requests, whose `on_success` calls no other: wrap that."""
        super().__init_subclass__(**options)
        if "on_success" in vars(cls):
            cls.on_success = _around_on_success(vars(cls)["on_success"])

    # -- the ends

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Celery's own handler for what a child reports; ours for what ended the child."""
        exc = None if return_ok else self._process_end(exc_info.exception)
        if exc is None:
            super().on_failure(exc_info, send_failed_event, return_ok)
            ended = _bare(exc_info.exception)
            if not isinstance(ended, (Ignore, Reject)):  # of those the child has said itself what became of the message
                self._settle_if_cut_off("left" if isinstance(ended, Retry) else "done")
        elif isinstance(exc, WorkerLostError) and self._success_is_stored():
            if self.chord and not self.acknowledged:  # it may not have been counted: the next worker sees to that
                if self.is_asked_about:
                    Recovery.of(self.app).settled(self._context, "waiting")
                self.reject(requeue=True)
                return
            super().on_failure(exc_info, send_failed_event, return_ok)
            Recovery.of(self.app).completed(self._context)  # the child may have died before it could say so
        else:
            self._ended(exc)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A soft limit is raised in the body and fails there; a hard one ends here."""
        if soft:
            super().on_timeout(soft, timeout)
            return
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
        self._ended(TimeLimitExceeded(timeout))

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Celery's own; a pool that can end no single task (solo, threads) lets it run to its end.

        Under solo Celery's complaint would come up in the body, which this interrupts, and pass for its failure.
        """
        with suppress(NotImplementedError):
            super().cancel(pool, signal, emit_retry)

    def _process_end(self, exc: Any) -> BaseException | None:
        """What the process ended of; None: it did not end, or somebody meant it to."""
        exc = _bare(exc)
        if isinstance(exc, Terminated) or self._already_cancelled or self._already_revoked:
            return None
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            code = exc.code if isinstance(exc, SystemExit) else 130
            lost: BaseException = WorkerLostError(f"Worker exited prematurely: exitcode {code}.")
            return lost
        return exc if isinstance(exc, (WorkerLostError, TimeLimitExceeded, MemoryError)) else None

    def _success_is_stored(self) -> bool:
        """The child stored SUCCESS and died afterwards; Celery 5.6 does not ask."""
        ask = getattr(self, "_success_was_stored", None)
        return bool(ask()) if ask is not None else False

    def _ended(self, exc: BaseException) -> None:
        """Understand, decide, act, record; then tell Celery."""
        state.task_ready(self)
        if self._seen_to:
            return
        self._seen_to = True
        if state.should_terminate and not self.acknowledged:
            return  # a cold shutdown ended it: the message is still the broker's, which delivers it again
        context = self._context
        context.called_directly = False
        context.recovery_running = monotonic() - (time() - self.time_start if self.time_start else 0)
        context.recovery_evidence = self._evidence(exc)
        context.recovery_moved_on = self._moved_on()
        outcome = Recovery.of(self.app).failed(self.task, context, exc)
        einfo = _einfo(outcome)
        if isinstance(outcome, Retry):
            self._retried(outcome, einfo)
        elif isinstance(outcome, Reject):
            self.reject(requeue=outcome.requeue)
        elif isinstance(outcome, Ignore):
            self.acknowledge()
        else:
            self._failed(outcome, einfo, timed_out=isinstance(exc, TimeLimitExceeded))

    def _moved_on(self) -> bool:
        """Whether the process got further with a batch before it ended, which only its checkpoint can tell."""
        custody = Recovery.of(self.app).custody
        try:
            return custody is not None and custody.moved_on(self.passage)
        except StoreUnavailable:
            return False

    def _evidence(self, exc: BaseException) -> dict[str, Any]:
        """What is known of the process: signal or exit code, pid, and the memory it was last seen with (bytes)."""
        text = str(exc)
        number, code = _SIGNAL.search(text), _EXIT_CODE.search(text)
        known = {
            "signal": _signal_name(int(number[1])) if number else None,
            "exit_code": int(code[1]) if code else None,
            "time_limit": exc.args[0] if isinstance(exc, TimeLimitExceeded) and exc.args else None,
            "pid": self.worker_pid,
            "memory_bytes": last_seen(self.worker_pid) if self.worker_pid else None,
        }
        return {name: value for name, value in known.items() if value is not None}

    # -- telling Celery

    def _retried(self, retry: Any, einfo: Any) -> None:
        task, context = self.task, self._context
        if self.store_errors:
            task.backend.mark_as_retry(self.id, retry.exc, einfo.traceback, request=context)
        self.acknowledge()
        self.send_event("task-retried", exception=safe_repr(retry.exc), traceback=safe_str(einfo.traceback))
        self._hook(task.on_retry, retry.exc, self.id, self.args, self.kwargs, einfo)
        signals.task_retry.send(sender=task, request=context, reason=retry, einfo=einfo)

    def _failed(self, exc: BaseException, einfo: Any, *, timed_out: bool) -> None:
        task, context = self.task, self._context
        task.backend.mark_as_failure(
            self.id, exc, einfo.traceback, request=context, store_result=self.store_errors
        )  # fmt: skip
        self._let_go(timed_out=timed_out)
        self._hook(task.on_failure, exc, self.id, self.args, self.kwargs, einfo)
        if task_has_custom(task, "after_return"):
            self._hook(task.after_return, states.FAILURE, exc, self.id, self.args, self.kwargs, einfo)
        task.request_stack.push(context)  # so that receivers find `task.request`
        try:
            signals.task_failure.send(
                sender=task, task_id=self.id, exception=exc, args=self.args, kwargs=self.kwargs,
                traceback=einfo.traceback, einfo=einfo,
            )  # fmt: skip
        finally:
            task.request_stack.pop()
        raised = safe_repr(get_pickled_exception(exc))
        self.send_event("task-failed", exception=raised, traceback=einfo.traceback)

    def _let_go(self, *, timed_out: bool) -> None:
        """Acknowledge, or reject where the user has a dead-letter exchange of the broker's for it; never requeue."""
        task = self.task
        flag = "acks_on_timeout" if timed_out else "acks_on_failure"
        if getattr(task, flag, None) is False or task.acks_on_failure_or_timeout is False:
            self.reject(requeue=False)
        else:
            self.acknowledge()

    def _hook(self, hook: Any, *arguments: Any) -> None:
        """A hook of the user's, with the task's request in place; what it raises is its own affair."""
        self.task.request_stack.push(self._context)
        try:
            hook(*arguments)
        except Exception:  # noqa: BLE001  # logged; the task has ended, whatever the hook makes of it
            logger.exception("%s of %s[%s] raised", hook.__name__, self.name, self.id)
        finally:
            self.task.request_stack.pop()

    def revoked(self) -> bool:
        """Celery asks before it starts anything. What was taken from this worker while it was silent is not started."""
        if self.was_taken:
            logger.info("task %s[%s] is not started: another worker has it now", self.name, self.id)
            state.task_ready(self)
            return True
        return bool(super().revoked())

    # -- custody

    @property
    def was_taken(self) -> bool:
        """Another worker gave this message back to its queue, because this one was silent (see `lease.py`)."""
        lease = getattr(self._message.channel, "lease", None)
        return lease is not None and not lease.still_mine(self._message.delivery_tag)

    @property
    def passage(self) -> Passage:
        """Where its message stands in the life of the task."""
        return Passage.of(self.id, self._request_dict.get("recovery"), self._message.properties)

    @property
    def is_asked_about(self) -> bool:
        """Whether another worker may get this message, or one that follows or precedes it, and ask who runs it."""
        came_back = self.delivery_info.get("redelivered") or "recovery" in self._request_dict
        return bool(came_back) or self.is_cut_off or self.was_taken

    @property
    def is_cut_off(self) -> bool:
        """The channel it came by is gone, so it cannot be acknowledged: the broker delivers it again."""
        channel = self._message.channel
        if channel is None:
            return False
        if hasattr(channel, "closed"):  # kombu's virtual transports
            return bool(channel.closed)
        return hasattr(channel, "is_open") and not channel.is_open  # amqp

    def _settle_if_cut_off(self, how: Any) -> None:
        if self.task.acks_late and (self.is_cut_off or self.was_taken):
            Recovery.of(self.app).settled(self._context, how)


def _around_on_success(own: Callable[..., Any]) -> Callable[..., Any]:
    """A success whose acknowledgement cannot arrive is noted; and what was cut off is no success.

    Pools of greenlets report one that was killed as a success without a runtime: whoever killed it (a cold shutdown, a
    lost connection, a revoke) says what becomes of the message, which nobody may acknowledge here.
    """

    @wraps(own)
    def on_success(self: RecoverableRequest, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        failed, _, runtime = failed__retval__runtime
        if failed is False and runtime is None:  # a twin that Celery drops has no runtime either, but 0 for `failed`
            state.task_ready(self)
            return None
        told = own(self, failed__retval__runtime, **kwargs)
        if not failed:
            self._settle_if_cut_off("done")
        return told

    return on_success


def _bare(exc: Any) -> Any:
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


def _einfo(exc: BaseException) -> Any:
    try:
        raise exc  # noqa: TRY301
    except BaseException:  # noqa: BLE001  # it is only raised to be caught, as Celery does it
        return ExceptionInfo()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
