"""Error codes in words, as APIs put them beside or inside an answer, and how they correct the answer's status.

Two statuses are used for both kinds of fault: 403 and 400 also tell that calls came too fast, 429 also that nothing is
left of what was paid for. The code beside the status, or the text, tells which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import args_of, attr, text_of
from celery_recovery.errors.rules.rule import Verdict
from celery_recovery.errors.rules.status import by_status

__all__ = ("codes_of", "corrected", "status_in")

_OWN = ("code", "status", "error_code", "error_type", "err_code", "errorCode", "errorType", "reason_code", "kind")
_BODIES = ("body", "json_body", "error_body", "response", "error", "errors", "details", "data", "payload")
_INSIDE = ("error", "Error", "errors")
_WORDS = ("code", "Code", "error_code", "errorCode", "type", "status", "reason", "error", "__type")
_NUMBERS = ("status_code", "status", "statusCode", "http_status", "httpStatus", "HTTPStatusCode", "code")
_LONGEST_CODE, _LONGEST_JSON = 60, 4096

_TOO_FAST = re.compile(r"rate[ _-]?limit|rate exceeded|too[ _]?many[ _]?requests|throttl|slow[ _]?down", re.IGNORECASE)
_USED_UP = re.compile(
    r"insufficient[ _]quota|billing|check your plan|credit balance|spend(?:ing)?[ _]limit|payment[ _]required",
    re.IGNORECASE,
)


def codes_of(exc: Any) -> Iterator[str]:
    """Codes in words: of the exception itself, then of a body that it holds as a dict, as JSON, or as an object."""
    for name in _OWN:
        value = attr(exc, name)
        yield from _word(attr(value, "name", value))  # enums
    for body in (*args_of(exc)[:1], *(attr(exc, name) for name in _BODIES)):
        for part in _parts(body):
            for key in _WORDS:
                yield from _word(part.get(key))
        yield from _word(attr(body, "code"))


def _word(value: Any) -> Iterator[str]:
    if isinstance(value, str) and 3 <= len(value) <= _LONGEST_CODE:
        yield value


def _parts(body: Any) -> Iterator[dict[Any, Any]]:
    """A body that is a dict, or JSON of one, and what it says under `error`; of a list of errors the first."""
    if isinstance(body, (str, bytes)):
        body = _read(body)
    if isinstance(body, (list, tuple)):
        body = body[0] if body else None
    if type(body) is not dict:
        return
    for key in _INSIDE:
        inner = body.get(key)
        if isinstance(inner, list):
            inner = inner[0] if inner else None
        if type(inner) is dict:
            yield inner
    yield body


def _read(body: str | bytes) -> Any:
    if len(body) > _LONGEST_JSON or body[:1] not in ("{", b"{"):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def status_in(body: dict[Any, Any]) -> Verdict | None:
    """The verdict on a status that an answer held as a dict tells, e.g. `{"statusCode": 429}`."""
    headers = body.get("headers") or body.get("HTTPHeaders")
    for part in (body, body.get("ResponseMetadata"), body.get("error")):
        if type(part) is dict:
            for key in _NUMBERS:
                found = by_status(part.get(key), headers)
                if found is not None:
                    return found
    return None


def corrected(exc: Any, verdict: Verdict | None) -> Verdict | None:
    """`verdict` on a status, unless the code or the text beside it says that it is of the other kind."""
    if verdict is None or verdict.code not in ("HTTP 400", "HTTP 403", "HTTP 429"):
        return verdict
    if verdict.code == "HTTP 429":
        if _says(_USED_UP, exc, text=True):
            return replace(verdict, error_type=ErrorType.BUSINESS_LOGIC, retryable=False, retry_after=None)
    elif not verdict.retryable and _says(_TOO_FAST, exc, text=verdict.code == "HTTP 403"):
        return replace(verdict, error_type=ErrorType.NETWORK, retryable=True, severity=None)
    return verdict


def _says(pattern: re.Pattern[str], exc: Any, *, text: bool) -> bool:
    return any(pattern.search(code) for code in codes_of(exc)) or (text and bool(pattern.search(text_of(exc)[:500])))
