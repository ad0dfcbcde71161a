"""Celery's own task options, read as parts of the policy.

A team that moves a task over keeps its options, and they keep their meaning: `max_retries`, `default_retry_delay`,
`autoretry_for`, `dont_autoretry_for`, `retry_kwargs`, `retry_backoff`, `retry_backoff_max`, `retry_jitter`. Only what a
task says itself counts; Celery's built-in defaults (3 retries, 180 s) do not. And what it says of its circuits.
"""

from __future__ import annotations

import re
from typing import Any

from celery import Task

from celery_recovery.backoff import BackoffStrategy, Jitter
from celery_recovery.circuit.policy import ON_OPEN, TASK_DEFAULTS, CircuitPolicy, circuit_name
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.policy import Course, RecoveryPolicy, RecoveryStrategy, RetryPolicy

__all__ = ("UNSAID", "check_circuits", "course_within", "declared_circuits", "said", "task_policy")

#: What `said` answers for an option that the task does not set; None is a word of its own (`max_retries=None`).
UNSAID: Any = object()
#: `Course.source` where the task's own `policy=` or `policies=` spoke.
_TASKS_OWN = re.compile(r"polic(y|ies)\b")


def said(task: type[Task] | Task, option: str) -> Any:
    """The option's value where the task, or a base class of the user's, sets it; else `UNSAID`."""
    own = vars(task).get(option, UNSAID) if not isinstance(task, type) else UNSAID
    if own is not UNSAID:
        return own
    for cls in task.__mro__ if isinstance(task, type) else type(task).__mro__:
        if cls is Task:
            break
        if option in vars(cls):
            return vars(cls)[option]
    return UNSAID


def task_policy(task: type[Task] | Task, app_policies: Any) -> RecoveryPolicy:
    """The task's `policies=` and `policy=`, over what its autoretry options say, over the app's.

    Raises `ConfigurationError` naming the option.
    """
    policy = RecoveryPolicy.build(app_policies).refined(_autoretry(task) or None)
    return policy.refined(task.policies, task.policy)


def course_within(task: Task, course: Course, *, by_hand: bool = False) -> Course:
    """The course with the task's own `max_retries`, unless a policy of the task's said more.

    `by_hand`: the task called `self.retry()`. Where no policy says how often, or one says that nothing is retried by
    itself, Celery's own limit is meant then (3).
    """
    limit, never = said(task, "max_retries"), course.retry.max_attempts == 1
    if by_hand and limit is UNSAID and (never or course.source == "default"):
        limit = task.max_retries
    if limit is UNSAID or (never and not by_hand) or (_TASKS_OWN.match(course.source) and not never):
        return course
    return course.replace(retry=course.retry.replace(max_attempts=None if limit is None else max(int(limit), 0) + 1))


def declared_circuits(task: type[Task]) -> tuple[Any, ...]:
    """What `circuit=` names: names and callables. Celery makes a method of a function, which it is not."""
    own = said(task, "circuit")
    if own is UNSAID or own is None:
        return ()
    listed = own if isinstance(own, (list, tuple)) else (own,)
    return tuple(getattr(one, "__func__", one) for one in listed)


def check_circuits(task: type[Task]) -> tuple[tuple[Any, ...], CircuitPolicy | None]:
    """`declared_circuits`, and the task's `circuit_policy=` over the defaults; None: it says nothing of them.

    What makes no sense is refused where the task is declared. Raises `ConfigurationError`.
    """
    declared = declared_circuits(task)
    for one in declared:
        if isinstance(one, str):
            circuit_name(one, "circuit")
        elif not callable(one):
            raise ConfigurationError.of("circuit", expected="a name, a callable, or a list of these", got=one)
    on_open = task.circuit_on_open
    if on_open is not None and on_open not in ON_OPEN:
        expected = f"one of {', '.join(ON_OPEN)}"
        raise ConfigurationError.of("circuit_on_open", expected=expected, got=on_open, known=ON_OPEN)
    if task.circuit_policy is None:
        return declared, None
    return declared, CircuitPolicy.of(task.circuit_policy, "circuit_policy", TASK_DEFAULTS)


def _autoretry(task: type[Task] | Task) -> dict[Any, Any]:
    """`autoretry_for` and its relatives, in the forms of a policy; the body then runs without Celery's wrapper."""
    retried = tuple(getattr(task, "autoretry_for", ()) or ())
    if not retried:
        return {}
    refused = tuple(getattr(task, "dont_autoretry_for", ()) or ())
    return {
        **dict.fromkeys(retried, _autoretry_policy(task)),
        **dict.fromkeys(refused, RecoveryStrategy.DEAD_LETTER),
    }


def _autoretry_policy(task: type[Task] | Task) -> RetryPolicy:
    """Celery: exponential from `retry_backoff` up to `retry_backoff_max`, full jitter; without it a fixed countdown."""
    options = dict(getattr(task, "retry_kwargs", None) or {})
    retries = options.get("max_retries", task.max_retries)
    attempts = None if retries is None else max(int(retries), 0) + 1
    factor = float(getattr(task, "retry_backoff", 0) or 0)
    if not factor:
        delay = float(options.get("countdown", task.default_retry_delay))
        return RetryPolicy(
            max_attempts=attempts, base_delay=delay, max_delay=delay, backoff=BackoffStrategy.FIXED, jitter=Jitter.NONE
        )
    most = max(float(getattr(task, "retry_backoff_max", 600)), factor)
    jitter = Jitter.FULL if getattr(task, "retry_jitter", True) else Jitter.NONE
    return RetryPolicy(max_attempts=attempts, base_delay=factor, max_delay=most, jitter=jitter)
