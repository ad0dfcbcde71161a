"""`RecoverableTask`: the base class that teams put on their tasks. The seam between Celery and the pipeline.

Celery calls a task's `__call__` where it is overridden, and that is the first place that sees an exception, before the
result backend, the hooks and the signals do. `self.retry()` is the second door. Both lead to `Recovery`, where the life
of a failing task is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial, wraps
from typing import Any, ClassVar

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import maybe_make_aware

from celery_recovery import clock
from celery_recovery.batch.fan_out import JOINT, fan_name, joint_result
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.call import merged_call
from celery_recovery.checkpoint import Checkpoint
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.decision import Asked
from celery_recovery.following import body_has_ended, mark_following, publish_following
from celery_recovery.interrupts import ends_more_than_the_task
from celery_recovery.leash import leash, unleash
from celery_recovery.passage import new_message_id
from celery_recovery.policy import RetryPolicy
from celery_recovery.recovery import Recovery
from celery_recovery.results import GUARD, guarded
from celery_recovery.task_batches import Batches, note_batches
from celery_recovery.task_checkpoints import checkpoint_of
from celery_recovery.task_options import UNSAID, said

__all__ = ("RecoverableTask",)

logger = logging.getLogger("celery_recovery")

#: Celery's own tasks that steer others; they retry to wait, not because something failed.
_STEERING = frozenset(
    f"celery.{name}" for name in ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "group")
)
#: What a subclass may override, and what is put around it.
_AROUND: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {}


class RecoverableTask(Task):  # type: ignore[misc]  # celery is untyped
    """A Celery task whose failures are classified, retried by policy, and dead-lettered when they cannot recover.

    Use it as `base=RecoverableTask` on a task, or as `Celery(task_cls="celery_recovery:RecoverableTask")` for all.
    Celery's own options keep their meaning; `max_retries`, `default_retry_delay` and `autoretry_for` with its
    relatives, where a task sets them, are read as parts of the policy.
    """

    abstract = True
    Request = "celery_recovery.worker.request:RecoverableRequest"
    Strategy = "celery_recovery.worker.strategy:recoverable"

    #: One policy for every failure of this task: a `RetryPolicy`, a mapping of its fields, or a number of attempts.
    policy: ClassVar[RetryPolicy | Mapping[str, Any] | int | None] = None
    #: Policies by `ErrorType`, its word, or exception class; what is missing comes from the app, then the defaults.
    policies: ClassVar[Mapping[Any, Any] | None] = None
    #: What it depends on: a circuit's name, a callable from the task's arguments to a name or None, or a list of these.
    circuit: ClassVar[Any] = None
    #: Settings of those circuits, a `CircuitPolicy` or a mapping of its fields; the app's `recovery_circuits` wins.
    circuit_policy: ClassVar[CircuitPolicy | Mapping[str, Any] | None] = None
    #: What becomes of it while one of them is open: `"park"`, `"fail"`, `"dead_letter"`; None: as the circuit says.
    circuit_on_open: ClassVar[str | None] = None
    #: `circuit` and `circuit_policy`, checked when the task was bound.
    recovery_circuits: ClassVar[tuple[Any, ...]] = ()
    recovery_circuit_policy: ClassVar[CircuitPolicy | None] = None
    #: How its batches go on: a `BatchPolicy` or a mapping of its fields; `self.batch(…, …)` may change it.
    batch_policy: ClassVar[BatchPolicy | Mapping[str, Any] | None] = None
    #: What the caller sees when the task is dead-lettered: `"fail"`, `"hold"`, `"auto"`; None: the app's setting.
    recovery_on_dead_letter: ClassVar[str | None] = None

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        """Acknowledge late, unless the task or `recovery_acks_late` says otherwise: a message is kept until the end."""
        if cls.acks_late is None and Recovery.of(app).acks_late:
            cls.acks_late = True
        return super().bind(app)

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Wire the app, and refuse a policy that makes no sense now rather than at the first failure.

        Raises `ConfigurationError`.
        """
        super().on_bound(app)
        recovery = Recovery.of(app)
        if recovery.wire():
            app.on_after_finalize.connect(_recover_chunks, weak=False)
        recovery.check(cls)

    def __init_subclass__(cls, **options: Any) -> None:
        """Put recovery around what a subclass overrides: its `__call__` may never call ours, and `before_start`."""
        super().__init_subclass__(**options)
        for name, around in _AROUND.items():
            owner = next(base for base in cls.__mro__ if name in vars(base))
            if owner is cls or (owner is not Task and not issubclass(owner, RecoverableTask)):  # a mixin's counts too
                setattr(cls, name, around(vars(owner)[name]))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run under recovery when a worker (or `apply`) calls; a direct call from user code stays a plain call."""
        request = self.request
        if request.__dict__.pop("recovery_inner", False):  # a subclass's own `__call__` calls on
            return _body(self)(*args, **kwargs)
        if request.called_directly or "recovery_running" in request.__dict__ or self._is_plain(kwargs):
            return super().__call__(*args, **kwargs)
        return self._recovered(request, partial(_body(self), *args, **kwargs))

    def _recovered(self, request: Any, body: Callable[[], Any]) -> Any:
        request.recovery_running = clock.monotonic()
        request._protected = 1  # noqa: SLF001  # so that Celery gives a direct call from within the body its own request
        leashed = self.acks_late and leash()
        try:
            return Recovery.of(self.app).run(self, request, body)
        finally:
            if leashed:
                unleash()

    @property
    def backend(self) -> Any:
        """The result backend; inside a worker behind a guard that outlasts its absence (see `results`)."""
        return self.__dict__.get(GUARD) or guarded(self, super().backend)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    @property
    def checkpoint(self) -> Checkpoint:
        """Where this run stands: `self.checkpoint.load(default)`, `.save(state)`, `.clear()`. See `checkpoint.py`."""
        return checkpoint_of(Recovery.of(self.app), self, self.request)

    @property
    def batch(self) -> Batches:
        """`self.batch(items)`: go through many items, and on where the last run stood. See `batch/batch.py`."""
        return Recovery.of(self.app).batches(self, self.request)

    def _is_plain(self, kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for subclasses
        return self.name in _STEERING

    def apply_async(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """Celery's own, with a `message_id` by which the copies of this one message are known (see `passage.py`)."""
        send = partial(super().apply_async, args, kwargs, *positional)
        if not body_has_ended() or self.app.conf.task_always_eager:
            options.setdefault("message_id", new_message_id())
            return send(**options)
        mark_following(options)
        recovery = Recovery.of(self.app)
        return publish_following(self, send, options, recovery.publisher, recovery.store)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Ask for a retry, with Celery's own arguments, all optional.

        `countdown` (seconds) or `eta` (datetime) say when; without them the policy's delay applies, or the task's
        `default_retry_delay` where the task sets one. `max_retries` bounds this request only. Raises Celery's `Retry`
        (returns it with `throw=False`); when the attempts are used up, raises `exc`, or `MaxRetriesExceededError`.
        """
        request = self.request
        if request.called_directly or "recovery_running" not in request.__dict__:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        note_batches(request)
        call = merged_call(self.run, request, args, kwargs)
        if countdown is None and eta is None and (own := said(self, "default_retry_delay")) is not UNSAID:
            countdown = own
        if isinstance(eta, datetime):
            eta = maybe_make_aware(eta, self.app.timezone)
        asked = Asked.retry(countdown=countdown, eta=eta, max_retries=max_retries)
        outcome = Recovery.of(self.app).retry_requested(self, request, exc, asked, call, options)
        if throw:
            raise outcome
        return outcome


def _body(task: Task) -> Callable[..., Any]:
    """The user's function, without the wrapper that Celery puts around tasks with `autoretry_for`: one retry, ours."""
    body: Callable[..., Any] = getattr(task, "_orig_run", task.run)
    return body


def _around_call(own: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's `__call__`, as in `with flask_app.app_context(): return self.run(*args, **kwargs)`."""

    @wraps(own)
    def call(self: RecoverableTask, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or "recovery_running" in request.__dict__ or self._is_plain(kwargs):
            return own(self, *args, **kwargs)

        def body() -> Any:  # a batch may have it run again
            request.recovery_inner = True
            return own(self, *args, **kwargs)

        return self._recovered(request, body)

    return call


def _around_before_start(own: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's `before_start`, which Celery calls before `__call__`: an attempt that fails there has failed."""

    @wraps(own)
    def before_start(self: RecoverableTask, task_id: str, args: Any, kwargs: Any) -> Any:
        request = self.request
        if "recovery_running" in request.__dict__:  # called from the one of a subclass
            return own(self, task_id, args, kwargs)
        request.recovery_running = clock.monotonic()
        try:
            Recovery.of(self.app).admit(self, request)
            return own(self, task_id, args, kwargs)
        except (Ignore, Reject, Retry) as exc:
            Recovery.of(self.app).stepped_aside(request, exc)
            raise
        except BaseException as exc:
            if ends_more_than_the_task(exc):
                raise
            outcome = Recovery.of(self.app).failed(self, request, exc)
            if outcome is exc:
                raise
            raise outcome from exc
        finally:
            request.__dict__.pop("recovery_running", None)

    return before_start


def _around_hook(own: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's `on_failure` or `on_retry`: what it raises must not take the place of what the task has raised.

    Celery calls such a hook twice, and stores the hook's exception as the task's.
    """
    if isinstance(own, (staticmethod, classmethod)):
        return own

    @wraps(own)
    def hook(self: RecoverableTask, *args: Any, **kwargs: Any) -> Any:
        try:
            return own(self, *args, **kwargs)
        except (Reject, MemoryError):  # the one is an instruction, the other no mistake of the hook's
            raise
        except Exception:
            context = {"action": "hook_failed", "task": self.name, "task_id": self.request.id}
            logger.exception("%s of %s[%s] raised", own.__name__, self.name, self.request.id, extra=context)

    return hook


_AROUND.update(__call__=_around_call, before_start=_around_before_start, on_failure=_around_hook, on_retry=_around_hook)


class _Chunks(RecoverableTask):
    """Celery's `map` and `starmap`, which also carry `chunks`: they call the items' task directly, in one message.

    Where that task is recoverable, the message is. It is retried and replayed as a whole, its finished items included.
    """

    abstract = True

    def _is_plain(self, kwargs: Mapping[str, Any]) -> bool:
        item = kwargs.get("task")
        return not isinstance(self.app.tasks.get(item.get("task") if item else None), RecoverableTask)


class _Joint(RecoverableTask):
    """The body of the chord of a batch that was fanned out."""

    abstract = True
    name = JOINT

    def run(self, results: Sequence[Any], parent: str) -> dict[str, Any]:
        """The results of the parts as one; nobody needs to follow them any more."""
        store = Recovery.of(self.app).checkpoints
        if store is not None:
            store.clear(fan_name(parent))
        return joint_result(results)


def _recover_chunks(sender: Celery, **_: Any) -> None:
    for name in ("celery.map", "celery.starmap"):
        plain = sender.tasks.pop(name)
        body = {"name": name, "run": staticmethod(plain.run), "__module__": __name__, "__doc__": plain.__doc__}
        sender.register_task(type(name.rpartition(".")[2], (_Chunks,), body)())
    joint = {"__module__": __name__, "__doc__": _Joint.__doc__}
    sender.register_task(type("joint", (_Joint,), joint)())  # a class of each app's own: Celery binds classes to apps
