"""Shapes that SDKs share: attributes that mean the same wherever they are found, on classes that nobody knows.

Asked in order, after the families' own protocols: a response's status, the exception's own status, a gRPC code, errno.
Flags such as `retryable` are no rule of their own: they correct whatever else is found (see `wishes`).
"""

from __future__ import annotations

from dataclasses import replace
from http.client import responses
from typing import Any, NamedTuple

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import args_of, attr, number
from celery_recovery.errors.retry_after import from_headers, reset, seconds
from celery_recovery.errors.rules.body import codes_of, corrected, status_in
from celery_recovery.errors.rules.names import by_name
from celery_recovery.errors.rules.os import by_errno
from celery_recovery.errors.rules.rule import Answer, Family, Verdict
from celery_recovery.errors.rules.status import by_status, by_status_text

__all__ = ("FAMILY", "Wishes", "by_grpc_name", "wishes")

_N, _B, _V, _S = ErrorType.NETWORK, ErrorType.BUSINESS_LOGIC, ErrorType.VALIDATION, ErrorType.SYSTEM

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html; which of them to retry: gRFC A6 and AIP-194.
_GRPC: dict[str, tuple[ErrorType, bool]] = {
    "CANCELLED": (_N, True),
    "UNKNOWN": (_N, True),
    "INVALID_ARGUMENT": (_V, False),
    "DEADLINE_EXCEEDED": (_N, True),
    "NOT_FOUND": (_B, False),
    "ALREADY_EXISTS": (_B, False),
    "PERMISSION_DENIED": (_N, False),
    "UNAUTHENTICATED": (_N, False),
    "RESOURCE_EXHAUSTED": (_N, True),
    "FAILED_PRECONDITION": (_B, False),
    "ABORTED": (_S, True),
    "OUT_OF_RANGE": (_V, False),
    "UNIMPLEMENTED": (_N, False),
    "INTERNAL": (_N, True),
    "UNAVAILABLE": (_N, True),
    "DATA_LOSS": (_S, False),
}


def by_grpc_name(name: Any) -> Verdict | None:
    """The verdict on a gRPC status given by its name, e.g. `"UNAVAILABLE"`."""
    known = _GRPC.get(name.upper()) if isinstance(name, str) else None
    return Verdict(*known, f"gRPC {name.upper()}", rule=f"grpc.{name.upper()}") if known else None


def _grpc(exc: Any) -> Answer:
    code = attr(exc, "code")
    if callable(code):
        code = code()
    return by_grpc_name(attr(code, "name")) or by_grpc_name(attr(attr(exc, "status"), "name"))


_STATUS_NAMES = (
    "status_code",
    "http_status",
    "status",
    "code",
    "http_code",
    "http_status_code",
    "response_code",
    "statusCode",
    "httpStatus",
    "httpStatusCode",
    "errcode",
)
_RESPONSES = ("response", "resp", "http_response", "raw_response")


def _response(exc: Any) -> Answer:
    response = next((held for name in _RESPONSES if (held := attr(exc, name)) is not None), None)
    if response is None:
        return None
    if isinstance(response, dict):
        return corrected(exc, status_in(response))
    for name in ("status_code", "status", "code"):
        status = number(attr(response, name))
        if status is not None:
            return corrected(exc, by_status(status, attr(response, "headers")))
    return None


def _status(exc: Any) -> Answer:
    for name in _STATUS_NAMES:
        value = attr(exc, name)
        if value is None or callable(value):
            continue
        value = attr(value, "code", value)  # an object that tells code and reason
        status = number(attr(value, "value", value))  # http.HTTPStatus and other enums
        if status is not None and 400 <= status <= 599:
            return corrected(exc, by_status(status, attr(exc, "headers") or attr(exc, "response_headers")))
    return None


def _arguments(exc: Any) -> Answer:
    """`HttpError(404, "Not Found")`, or an answer as a dict: only where the first argument cannot be anything else."""
    first, *others = args_of(exc)[:2] or (None,)
    if isinstance(first, dict):
        return corrected(exc, status_in(first))
    status = number(first)
    if status is None or not 400 <= status <= 599 or not others or not isinstance(others[0], str):
        return None
    named = "http" in type(exc).__name__.lower() or others[0] == responses.get(status)
    return corrected(exc, by_status(status)) if named else None


def _errno(exc: Any) -> Answer:
    """Only beside its text: `errno` alone is what database drivers call their own numbers, too."""
    return by_errno(attr(exc, "errno")) if isinstance(attr(exc, "strerror"), str) else None


def _code(exc: Any) -> Answer:
    """A code in words, such as `RATE_LIMITED`, read as a name would be."""
    for word in codes_of(exc):
        found = by_grpc_name(word) or by_status_text(word) or by_name(word)
        if found is not None:
            return replace(found, code=word, rule=f"code.{found.rule}")
    return None


class Wishes(NamedTuple):
    """What an exception says of itself; None where it says nothing."""

    retryable: bool | None
    retry_after: float | None


_YES = (
    "retryable",
    "retriable",
    "is_retryable",
    "is_retriable",
    "should_retry",
    "can_retry",
    "transient",
    "is_transient",
    "temporary",
    "is_temporary",
    "recoverable",
    "is_recoverable",
)
_NO = ("permanent", "is_permanent", "fatal", "is_fatal", "non_retryable", "unrecoverable")
_WAITS = ("retry_after", "retry_after_seconds", "retry_in", "retry_delay", "wait_seconds", "retryAfter")
_WAITS_MS = ("retry_after_ms", "retryAfterMs", "retry_after_millis", "retry_delay_ms")
_MOMENTS = ("retry_at", "reset_at")


def wishes(exc: Any) -> Wishes:
    """The exception's own flags and waits; a flag may be a method that needs no argument."""
    retryable = next((flag for name in _YES if (flag := _flag(exc, name)) is not None), None)
    if retryable is None and any(_flag(exc, name) for name in _NO):
        retryable = False
    return Wishes(retryable, wait_of(exc))


def wait_of(exc: Any) -> float | None:
    """Seconds the exception asks for in an attribute, or in its (response's) headers."""
    for name in _WAITS:
        value = attr(exc, name)
        if value is not None and not callable(value):
            wait = seconds(value)
            if wait is not None:
                return wait
    wait = _other_wait(exc)
    if wait is not None:
        return wait
    wait = from_headers(attr(exc, "headers") or attr(exc, "response_headers"))
    if wait is None:
        response = attr(exc, "response")
        wait = from_headers(attr(response, "headers")) if response is not None else None
    return wait


def _other_wait(exc: Any) -> float | None:
    """Waits in milliseconds, and moments when to come back."""
    for name in _WAITS_MS:
        wait = seconds(attr(exc, name))
        if wait is not None:
            return wait / 1000.0
    return next((wait for name in _MOMENTS if (wait := reset(attr(exc, name))) is not None), None)


def _flag(exc: Any, name: str) -> bool | None:
    value = attr(exc, name)
    if callable(value):
        try:
            value = value()
        except BaseException:
            return None
    return value if value is True or value is False else None


FAMILY = Family(
    name="protocol",
    protocols=(
        ("response", _response),
        ("status", _status),
        ("grpc", _grpc),
        ("arguments", _arguments),
        ("errno", _errno),
        ("code", _code),
    ),
)
