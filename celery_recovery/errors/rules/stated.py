"""Shorthands of the families about remote services: name many classes at once, complete a verdict from an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from celery_recovery.errors.reading import attr, clean, number
from celery_recovery.errors.retry_after import from_headers
from celery_recovery.errors.rules.rule import Look, Verdict
from celery_recovery.errors.rules.status import by_status

__all__ = ("by_own_status", "each", "headers_of", "stated", "status_of", "text_code", "under")

_CODE_LIMIT = 80


def under(package: str, answer: Verdict | Look, names: str) -> dict[str, Verdict | Look]:
    """`answer` for the classes of these bare names anywhere in the top-level `package`."""
    return {f"{package}.*.{name}": answer for name in names.split()}


def each(verdict: Verdict, names: str) -> dict[str, Verdict]:
    """`verdict` for every one of these error codes."""
    return dict.fromkeys(names.split(), verdict)


def stated(verdict: Verdict, code: Any = None, headers: Any = None, wait: float | None = None) -> Verdict:
    """`verdict` with the instance's own code, and with the wait (seconds) it or its headers ask for."""
    if wait is None and headers is not None and verdict.retryable:
        wait = from_headers(headers)
    code = text_code(code) or verdict.code
    if code == verdict.code and wait is None:
        return verdict
    return replace(verdict, code=code, retry_after=wait if wait is not None else verdict.retry_after)


def text_code(code: Any) -> str | None:
    """An error code as short text; None when it is no text."""
    return clean(code, _CODE_LIMIT) if isinstance(code, str) and code else None


def status_of(exc: Any, *names: str) -> int | None:
    """The first of these attributes that is an HTTP status, then the same of `exc.response`."""
    for holder in (exc, attr(exc, "response")):
        if holder is None:
            continue
        for name in names or ("status_code", "status"):
            status = number(attr(holder, name))
            if status is not None and 100 <= status <= 599:
                return status
    return None


def headers_of(exc: Any) -> Any:
    """Response headers held by the exception or by its `response`; None when there are none."""
    return attr(exc, "headers") or attr(attr(exc, "response"), "headers")


def by_own_status(exc: Any) -> Verdict | None:
    """The verdict on the HTTP status that the exception or its response carries."""
    status = status_of(exc)
    return None if status is None else by_status(status, headers_of(exc))
