"""From an exception to an `ErrorInfo`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from celery_recovery.errors.fingerprint import fingerprint
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType, Frame
from celery_recovery.errors.reading import cause_of, clean, qualified_name, text_of
from celery_recovery.errors.rules import FAMILIES
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict
from celery_recovery.errors.rules.table import Step, Table

__all__ = ("ErrorClassifier", "classify")

_UNKNOWN = Verdict(ErrorType.UNKNOWN, True)
_SEVERITY = {
    ErrorType.NETWORK: ErrorSeverity.MEDIUM,
    ErrorType.FILESYSTEM: ErrorSeverity.MEDIUM,
    ErrorType.MEMORY: ErrorSeverity.HIGH,
    ErrorType.VALIDATION: ErrorSeverity.LOW,
    ErrorType.PARSING: ErrorSeverity.LOW,
    ErrorType.SCHEMA: ErrorSeverity.MEDIUM,
    ErrorType.BUSINESS_LOGIC: ErrorSeverity.LOW,
    ErrorType.SYSTEM: ErrorSeverity.HIGH,
    ErrorType.UNKNOWN: ErrorSeverity.MEDIUM,
}
_traceback = BaseException.__dict__["__traceback__"].__get__


class ErrorClassifier:
    """Understands exceptions by rules."""

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._table = Table(families)

    def classify(self, exc: BaseException, *, task: str | None = None, now: float | None = None) -> ErrorInfo:
        """Everything known about `exc`; never raises."""
        verdict, rule = self.judge(exc) or (_UNKNOWN, "unknown")
        name = self._table.plan(type(exc)).name
        message = text_of(exc)
        return ErrorInfo(
            error_type=verdict.error_type,
            is_retryable=verdict.retryable,
            severity=verdict.severity or _SEVERITY[verdict.error_type],
            rule=rule,
            exception=name,
            error_code=verdict.code,
            message=message,
            retry_after=verdict.retry_after,
            timestamp=time.time() if now is None else now,
            fingerprint=fingerprint(task or "", name, message),
            class_chain=_chain(exc),
            frames=_frames(exc),
            context=dict(verdict.context),
        )

    def judge(self, exc: BaseException, depth: int = 0) -> tuple[Verdict, str] | None:
        """The verdict and the name of the rule; None when nothing is known."""
        if depth > 20:
            return None
        plan = self._table.plan(type(exc))
        for step in plan.specific:
            found = self._ask(step, exc, depth)
            if found:
                return found
        if not plan.builtin:
            for step in self._table.protocols:
                found = self._ask(step, exc, depth)
                if found:
                    return found
        for step in plan.base:
            found = self._ask(step, exc, depth)
            if found:
                return found
        cause = cause_of(exc)
        return self.judge(cause, depth + 1) if cause is not None else None

    def _ask(self, step: Step, exc: BaseException, depth: int) -> tuple[Verdict, str] | None:
        answer = _answer(step.answer, exc)
        if isinstance(answer, Through):
            inner = self.judge(answer.inner, depth + 1) if isinstance(answer.inner, BaseException) else None
            return inner or (answer.otherwise, _named(step, answer.otherwise))
        return (answer, _named(step, answer)) if answer is not None else None


def _answer(rule: Verdict | Look, exc: BaseException) -> Answer:
    if isinstance(rule, Verdict):
        return rule
    try:
        return rule(exc)
    except BaseException:
        return None


def _named(step: Step, verdict: Verdict) -> str:
    return f"{step.family}.{verdict.rule}" if verdict.rule else step.name


def _chain(exc: BaseException | None) -> tuple[str, ...]:
    names: list[str] = []
    seen: set[int] = set()
    while exc is not None and len(names) < 20 and id(exc) not in seen:
        seen.add(id(exc))
        names.append(qualified_name(type(exc)))
        exc = cause_of(exc)
    return tuple(names)


def _frames(exc: BaseException) -> tuple[Frame, ...]:
    outer: list[Any] = []
    inner: deque[Any] = deque(maxlen=20)
    tb = _traceback(exc)
    while tb is not None:
        (outer if len(outer) < 10 else inner).append(tb)
        tb = tb.tb_next
    return tuple(
        Frame(clean(tb.tb_frame.f_code.co_filename), tb.tb_lineno, clean(tb.tb_frame.f_code.co_name))
        for tb in (*outer, *inner)
    )


_default = ErrorClassifier()


def classify(exc: BaseException, *, task: str | None = None, now: float | None = None) -> ErrorInfo:
    """What the default rules know about `exc`; never raises."""
    return _default.classify(exc, task=task, now=now)
