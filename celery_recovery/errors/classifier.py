"""From an exception to an `ErrorInfo`: judged by rules, cut to size, and never in the way.

    classify(exc)                                            # with the default rules

    classifier = ErrorClassifier(rules={OutOfStock: ErrorType.BUSINESS_LOGIC})

    @classifier.rule(PartnerError)
    def partner(exc):
        return transient(ErrorType.NETWORK, retry_after=exc.seconds) if exc.busy else None

A subclass may override `judge`. However it is made, a classifier answers: whatever the exception's own methods or a
rule raise counts as "not known".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from celery_recovery import clock
from celery_recovery.errors.anatomy import Steps, chain_of, frames_of, lineage, steps_of
from celery_recovery.errors.fingerprint import fingerprint, fingerprint_of
from celery_recovery.errors.judgement import SEVERITY, UNKNOWN, Case, Ruling, UserRule, verdict_of
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.errors.places import package_of
from celery_recovery.errors.reading import clean, mro_of, qualified_name, text_of
from celery_recovery.errors.retry_after import bounded
from celery_recovery.errors.rules import FAMILIES
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict
from celery_recovery.errors.rules.table import Table

__all__ = ("ErrorClassifier", "Rule", "Rules", "classify", "writable")

#: What a user's rule may be: a callable, asked with the exception; or a fixed answer for a class.
Rule = Callable[[Any], "Answer | ErrorType"]
#: Callables, or a mapping of class or qualified class name to a fixed answer or a callable.
Rules = Mapping[Any, Any] | Iterable[Rule]
_F = TypeVar("_F", bound=Callable[[Any], Any])
_CONTEXT, _CONTEXT_TEXT, _CODE = 20, 200, 100
_LEVELS = 5


class ErrorClassifier:
    """Understands exceptions by the user's rules first and those of the families then.

    `rules`: callables `exc -> Verdict | Through | ErrorType | None`, or a mapping of exception class (or its qualified
    name such as `"shop.errors.OutOfStock"`) to `ErrorType`, `Verdict` or such a callable; subclasses are included.
    `families`: the built-in rules, `celery_recovery.errors.rules.FAMILIES`.
    """

    def __init__(self, rules: Rules = (), *, families: Iterable[Family] = FAMILIES) -> None:
        self._table = Table(families)
        self._user: list[UserRule] = []
        if isinstance(rules, Mapping):
            self.add_rule(_by_mapping(rules), name="mapping", first=False)
        else:
            for look in rules:
                self.add_rule(look, first=False)

    def add_rule(self, look: Rule, *, name: str | None = None, first: bool = True) -> None:
        """Ask `look` before the built-in rules; `first`: before the user's other rules, too. Raises TypeError."""
        if not callable(look):
            raise TypeError(f"a rule must be callable (exc -> Verdict, ErrorType or None), got {look!r}")
        rule = UserRule(clean(str(name or getattr(look, "__name__", type(look).__name__)), _CODE), look)
        self._user.insert(0 if first else len(self._user), rule)

    def rule(self, *classes: type[BaseException]) -> Callable[[_F], _F]:
        """Decorator: ask the function for exceptions of these classes (none given: for all)."""

        def decorate(look: _F) -> _F:
            name = getattr(look, "__name__", "rule")
            self.add_rule(_only(classes, look) if classes else look, name=name)
            return look

        return decorate

    def judge(self, exc: BaseException) -> Ruling | Verdict | Through | ErrorType | None:
        """What the rules say of `exc`; None when nothing is known.

        To be overridden: asked once per failure, with the outermost exception; `super().judge(exc)` asks the rules.
        """
        return Case(self._table, self._user).judge(exc)

    def classify(self, exc: BaseException, *, task: str | None = None, now: float | None = None) -> ErrorInfo:
        """Everything that is known about `exc`. Never raises, whatever `exc` or a rule does.

        `task`: name of the task that failed, part of the fingerprint.
        `now`: Unix time of the failure; default: the clock.
        """
        timestamp = clock.now() if now is None else now
        try:
            return self._inform(exc, self._ruling(exc), task or "", timestamp)
        except BaseException as error:
            return _unreadable(exc, error, timestamp)

    def _ruling(self, exc: BaseException) -> Ruling:
        try:
            said = self.judge(exc)
        except BaseException:  # an overriding judge() failed: the rules still stand
            said = Case(self._table, self._user).judge(exc)
        if isinstance(said, Ruling):
            return said
        verdict = verdict_of(said)
        if isinstance(verdict, Through):
            inner = Case(self._table, self._user).judge(verdict.inner) if verdict.inner is not None else None
            return inner or Ruling(verdict.otherwise, "user.judge", exc)
        return Ruling(verdict, "user.judge", exc) if verdict else Ruling(UNKNOWN, "unknown", exc, certain=False)

    def _inform(self, exc: BaseException, ruling: Ruling, task: str, timestamp: float) -> ErrorInfo:
        verdict = ruling.verdict
        chain = chain_of(exc, self._table)
        message = text_of(exc)
        steps = steps_of(exc)
        code = None if verdict.code is None else clean(str(verdict.code), _CODE)
        return ErrorInfo(
            error_type=verdict.error_type,
            is_retryable=bool(verdict.retryable),
            severity=verdict.severity or SEVERITY[verdict.error_type],
            rule=ruling.rule,
            exception=chain[0],
            error_code=code,
            message=message,
            retry_after=_wait(verdict.retry_after),
            timestamp=timestamp,
            fingerprint=self._fingerprint(exc, message, ruling, task, steps),
            class_chain=chain,
            frames=frames_of(steps),
            context=_scalars(verdict.context) if verdict.context else {},
        )

    def _fingerprint(self, exc: BaseException, message: str, ruling: Ruling, task: str, steps: Steps) -> str:
        package = package_of(task)
        line = lineage(exc, ruling.exc, self._table, package)
        for _ in range(_LEVELS):  # a cause may be a wrapper of its own
            if line[-1] is ruling.exc:
                break
            ruling = Case(self._table, self._user).judge(line[-1]) or ruling._replace(verdict=UNKNOWN, exc=line[-1])
            line = line[:-1] + lineage(line[-1], ruling.exc, self._table, package)
        return fingerprint_of(line, message, ruling.verdict, task, steps, self._table)


def _only(classes: tuple[type[BaseException], ...], look: Callable[[Any], Any]) -> Rule:
    def ask(exc: Any) -> Any:
        mro = mro_of(type(exc))
        return look(exc) if any(cls in mro for cls in classes) else None

    return ask


def _by_mapping(rules: Mapping[Any, Any]) -> Rule:
    """The entry of the most specific class counts; keys are classes or their qualified names."""
    by_name = {key if isinstance(key, str) else qualified_name(key): value for key, value in rules.items()}

    def ask(exc: Any) -> Any:
        for cls in mro_of(type(exc)):
            answer = by_name.get(qualified_name(cls))
            if answer is not None:
                return answer(exc) if callable(answer) else answer
        return None

    return ask


def _wait(value: Any) -> float | None:
    return bounded(float(value)) if isinstance(value, (int, float)) else None


def _scalars(context: Mapping[str, Any]) -> dict[str, Any]:
    """JSON scalars only, and not too many or too long."""
    kept: dict[str, Any] = {}
    for key, value in list(context.items())[:_CONTEXT]:
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            kept[clean(str(key), _CODE)] = value
        else:
            kept[clean(str(key), _CODE)] = clean(str(value), _CONTEXT_TEXT)
    return kept


def writable(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """As it is where JSON can write it; else scalars. A classifier of the user's own may say anything."""
    try:
        json.dumps(context, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _scalars(context)
    return context


def _unreadable(exc: Any, error: BaseException, timestamp: float) -> ErrorInfo:
    """The least that can be said, when looking at the exception itself failed."""
    name = qualified_name(type(exc))
    return ErrorInfo(
        error_type=ErrorType.UNKNOWN,
        is_retryable=UNKNOWN.retryable,
        severity=ErrorSeverity.MEDIUM,
        rule="unreadable",
        exception=name,
        message=f"<unreadable: {qualified_name(type(error))}>",
        timestamp=timestamp,
        fingerprint=fingerprint("", name),
        class_chain=(name,),
    )


_default = ErrorClassifier()


def classify(exc: BaseException, *, task: str | None = None, now: float | None = None) -> ErrorInfo:
    """What the built-in rules know about `exc`. Never raises, whatever `exc` does; see `ErrorClassifier.classify`."""
    return _default.classify(exc, task=task, now=now)
