"""What is told of each task and error type, and how many attempts its policy allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from celery import Celery

from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.monitoring.stats import Rate
from celery_recovery.policy import RecoveryPolicy
from celery_recovery.report.sections import Kind
from celery_recovery.report.tally import Tallies, Tally, Times
from celery_recovery.retry_policy import RetryPolicy

__all__ = ("MOST_KINDS", "Limits", "kinds_of")

#: Tasks and error types that are told of.
MOST_KINDS = 200


class Limits:
    """What the policies of this process allow. Nothing here raises."""

    def __init__(self, app: Celery, policies_of: Callable[[Any], RecoveryPolicy]) -> None:
        self._app = app
        self._policies_of = policies_of

    def __call__(self, task: str, error_type: str, exception: str = "") -> int | None:
        """Most attempts, as far as a class's name tells; None: no limit, or the task is not known here."""
        policy = self.policy(task, error_type, exception)
        return None if policy is None else policy.max_attempts

    def policy(self, task: str, error_type: str, exception: str = "") -> RetryPolicy | None:
        """The policy, as far as a class's name tells; None: the task is not known here."""
        known = self._known(task)
        if known is None:
            return None
        try:
            info = ErrorInfo(
                error_type=ErrorType(error_type), is_retryable=True, severity=ErrorSeverity.MEDIUM, rule="",
                exception=exception,
            )  # fmt: skip
            return self._policies_of(known).course(None, info).retry
        except ValueError:  # a type that a newer version has counted, or a policy that makes no sense
            return None

    def has_circuit(self, task: str) -> bool | None:
        """Whether it declares one; None: it is not known here."""
        known = self._known(task)
        return None if known is None else bool(known.recovery_circuits)

    def _known(self, task: str) -> Any:
        found = self._app.tasks.get(task)
        return found if hasattr(found, "recovery_on_dead_letter") else None


def kinds_of(rates: Iterable[Rate], tallies: Tallies, limits: Limits) -> tuple[Kind, ...]:
    """Those with an error, the most failed attempts first."""
    counted = {(rate.task, rate.error_type): rate for rate in rates if rate.error_type}
    known = {key for key, rate in counted.items() if rate.attempts} | tallies.kinds.keys() | tallies.times.keys()
    kinds = [_kind(task, error_type, counted.get((task, error_type)), tallies) for task, error_type in known]
    kinds.sort(key=lambda kind: (-kind.failed_attempts, -kind.recovered, kind.task, kind.error_type))
    return tuple(_limited(kind, limits) for kind in kinds[:MOST_KINDS])


def _limited(kind: Kind, limits: Limits) -> Kind:
    policy = limits.policy(kind.task, kind.error_type)
    if policy is None:
        return replace(kind, has_circuit=limits.has_circuit(kind.task))
    return replace(
        kind,
        max_attempts=policy.max_attempts,
        delays=(max(policy.base_delay, policy.min_delay or 0.0), policy.max_delay),
        deadline=policy.deadline,
        has_circuit=limits.has_circuit(kind.task),
    )


def _kind(task: str, error_type: str, rate: Rate | None, tallies: Tallies) -> Kind:
    rate = rate or Rate(task=task, error_type=error_type)
    tally = tallies.kinds.get((task, error_type), Tally())
    times = tallies.times.get((task, error_type), Times())
    return Kind(
        task=task,
        error_type=error_type,
        failed_attempts=rate.retried + rate.dead_lettered + rate.failed,
        recovered=rate.recovered,
        dead_lettered=rate.dead_lettered,
        failed=rate.failed,
        steps=tally.steps,
        wasted=tally.wasted,
        wasted_seconds=tally.wasted_seconds,
        median=times.quantile(0.5),
        p95=times.quantile(0.95),
        mean=times.mean,
        reasons=dict(tally.reasons),
    )
