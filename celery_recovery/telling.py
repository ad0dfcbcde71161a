"""A dead letter in few words: what custody is told before it is written, so that anybody can write it in our place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kombu.utils.encoding import safe_repr

from celery_recovery.actions import Failure
from celery_recovery.decision import Action, Decision, Reason
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.exceptions import NotAnException

__all__ = ("as_told", "exception_told", "letter_told")


def letter_told(failure: Failure, decision: Decision, *, hold: bool) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "how": "letter",
        "hold": hold,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "info": failure.info.to_dict(),
        "exc": exception_told(failure.exc),
    }


def as_told(failure: Failure, decision: Decision, told: Mapping[str, Any]) -> tuple[Failure, Decision, bool]:
    """The failure and the decision of that letter, and whether it holds; what cannot be read stays as it is now."""
    try:
        info = ErrorInfo.from_dict(told["info"])
        action, reason = Action(told["action"]), Reason(told["reason"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return failure, replace(decision, action=Action.DEAD_LETTER, delay=None), bool(told.get("hold"))
    exc = failure.exc
    if told.get("exc") != exception_told(exc):
        found = failure.task.backend.exception_to_python(told.get("exc"))
        exc = found if isinstance(found, Exception) else exc
    detail = str(told.get("detail") or "")
    decision = replace(decision, action=action, reason=reason, detail=detail, rule=info.rule, delay=None)
    return replace(failure, info=info, exc=exc), decision, bool(told.get("hold"))


def exception_told(exc: BaseException) -> dict[str, Any]:
    """An exception as result backends keep it, whatever its arguments are, and as the caller is to see it."""
    exc = exc if isinstance(exc, Exception) else NotAnException.of(exc)
    args = [arg if isinstance(arg, (str, int, float, bool, type(None))) else safe_repr(arg) for arg in exc.args]
    return {"exc_type": type(exc).__qualname__, "exc_message": args, "exc_module": type(exc).__module__}
