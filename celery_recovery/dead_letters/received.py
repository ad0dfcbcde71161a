"""Reading a message of the dead-letter queue, or a stored letter: ours, of any version, or somebody else's.

Nothing here raises over a message, nor decodes its body: what is missing or garbage gets its default, because a letter
must stay visible whatever it holds.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.raw import load, unseal
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType, Frame

__all__ = (
    "FOREIGN", "HEADER", "KEPT_PROPERTIES", "LARGEST_COUNT", "LARGEST_NUMBER", "VERSION", "as_bytes", "clean_headers",
    "count", "finite", "mapping", "read_about", "read_error", "read_message", "read_origin", "text",
)  # fmt: skip

#: The header that is ours.
HEADER = "recovery"
#: Version of its layout.
VERSION = 1
#: Reason of a letter that did not come from us: shovelled in by hand, or by a broker's own dead-letter exchange.
FOREIGN = "foreign"

#: Message properties that mean something to the next consumer; all others belong to one delivery.
KEPT_PROPERTIES = ("correlation_id", "reply_to", "priority", "message_id", "app_id", "type")
#: Headers that belong to one delivery. A user's own may well begin with `x-`, so only the broker's are named.
_DELIVERY_HEADERS = re.compile(
    rf"(?:{HEADER}|redelivered|delivery_info|delivery_tag|x-(?:first-|last-)?death(?:-.*)?|x-(?:delivery|acquired)-count)",
    re.IGNORECASE,
)
#: Attempts that are read: as many as `recovery_history_length` may be.
_MOST_ATTEMPTS = 100
#: Places of secret arguments that are read.
_MOST_ARGS = 250
#: Numbers, and counts, are below these: a moment with more is in no calendar, and Lua writes larger ones as `1e+15`.
LARGEST_NUMBER, LARGEST_COUNT = 1e15, 10**9


def read_message(
    body: bytes | str,
    headers: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> dict[str, Any]:
    """The fields of the `Letter` that the message is."""
    raw = as_bytes(body, content_encoding)
    headers = mapping(headers)
    recovery = mapping(headers.get(HEADER))
    about = mapping(recovery.get("letter"))
    whole = unseal(raw) if mapping(about.get("raw")).get("sealed") is True else None
    if whole is not None:  # the message is in the body of this one
        raw, content_type, content_encoding = whole["body"], whole.get("content_type"), whole.get("content_encoding")
        headers, properties = mapping(whole.get("headers")), mapping(whole.get("properties"))
        recovery, about = mapping(whole.get("recovery")), {**about, "raw": whole.get("raw")}
    replay = _replay(recovery.get("replay"))
    previous = mapping(recovery.get("previous"))
    died_at = _number(about.get("died_at")) or _broker_death(headers) or time.time()
    review = about.get("action") == "manual_review"
    properties = mapping(properties)
    return {
        "id": text(about.get("id") or headers.get("id")) or f"unnamed-{hashlib.sha256(raw).hexdigest()[:24]}",
        "task": text(about.get("task") or headers.get("task")),
        "body": raw,
        "content_type": text(content_type) or "application/data",
        "content_encoding": text(content_encoding) or "binary",
        "headers": clean_headers(headers),
        "properties": {key: properties[key] for key in KEPT_PROPERTIES if properties.get(key) is not None},
        "origin": read_origin(recovery.get("origin"), properties, headers),
        "error": read_error(about.get("error"), died_at),
        **read_about({**about, **{name: recovery.get(name) for name in ("attempts", "deferrals", "replay", "batch")}}),
        "reason": text(about.get("reason")) or FOREIGN,
        "first_failure": _earliest(previous.get("first_failure"), recovery.get("first_failure"), died_at),
        "died_at": died_at,
        "held": about.get("held") is True,
        "replays": replay.get("number") or count(about.get("replays") or recovery.get("replays")),
        "raw": _raw(about.get("raw")),
        "state": LetterState.REVIEW if review else LetterState.FAILED,
    }


def read_about(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a letter beside its message, error and origin, each of its type whatever stands there."""
    attempts = [one for one in _sequence(told.get("attempts")) if isinstance(one, Mapping)][-_MOST_ATTEMPTS:]
    places = [at for at in _sequence(told.get("secret_args")) if type(at) is int and at >= 0]
    return {
        "detail": text(told.get("detail")),
        "attempts": tuple(_plain(mapping(one)) for one in attempts),
        "deferrals": count(told.get("deferrals")),
        "attempt": count(told.get("attempt")),
        "worker": text(told.get("worker")),
        "code_version": text(told.get("code_version")),
        "chords": tuple(map(text, _sequence(told.get("chords")))),
        "unserialisable": told.get("unserialisable") is True,
        "secret_args": tuple(places[:_MOST_ARGS]),
        "replay": _replay(told.get("replay")),
        "batch": dict(mapping(told.get("batch"))),
    }


def _replay(value: Any) -> dict[str, Any]:
    """Which replay died: texts and a number, as nothing else can be told to Redis."""
    names = ("token", "copy", "operation", "letter")
    found = {name: text(one) for name, one in mapping(value).items() if name in names and one is not None}
    number = count(mapping(value).get("number"))
    return {**found, "number": number} if number else found


def _raw(value: Any) -> dict[str, Any]:
    """What travels beside a message that never became a task; empty for any other."""
    raw = dict(mapping(value))
    for name in ("properties", "recovery"):
        if isinstance(raw.get(name), str):
            try:
                raw[name] = load(raw[name])
            except (ValueError, RecursionError):
                continue
    return raw


def clean_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that may travel on: none of one delivery's, none of a broker's (`x-death`, `x-delivery-count` …)."""
    return {str(key): value for key, value in headers.items() if not _DELIVERY_HEADERS.fullmatch(str(key))}


def mapping(value: Any) -> Mapping[str, Any]:
    """What is none is an empty one."""
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def text(value: Any) -> str:
    """Text of whatever a header holds; None is empty.

    Without halves of surrogate pairs: no key can be made of them, and one such letter would hold up all others.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None:
        return ""
    try:
        return str(value).encode("utf-8", "replace").decode()
    except (RecursionError, ValueError):  # nested too deep; an int of more digits than Python writes
        return f"a {type(value).__name__} that cannot be shown"


def finite(value: Any) -> float:
    """A finite number, or 0."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def _number(value: Any) -> float:
    """A finite number of a size that makes sense, or 0."""
    number = finite(value)
    return number if abs(number) < LARGEST_NUMBER else 0.0


def count(value: Any) -> int:
    """A whole number from 0 to `LARGEST_COUNT`, or 0."""
    number = finite(value)
    return int(number) if 0 < number <= LARGEST_COUNT else 0


def _plain(value: Any, deep: int = 5) -> Any:
    """What JSON has, with finite numbers, as it is; anything else, and what is nested deeper, as text."""
    if deep and isinstance(value, Mapping):
        return {text(name): _plain(one, deep - 1) for name, one in value.items()}
    if deep and isinstance(value, list):
        return [_plain(one, deep - 1) for one in value]
    return value if _is_plain(value) else text(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int))


def _earliest(*moments: Any) -> float:
    """The earliest of the moments that are known."""
    return min(filter(None, map(_number, moments)), default=0.0)


def as_bytes(body: bytes | str | Any, encoding: str | None) -> bytes:
    """The bytes of a body, whatever a transport has made of them."""
    if isinstance(body, str):
        try:
            return body.encode(encoding or "utf-8")
        except (LookupError, UnicodeEncodeError):
            return body.encode("utf-8", "surrogateescape")
    try:
        return bytes(body) if not isinstance(body, int) else b""
    except TypeError:
        return json.dumps(body, default=repr).encode()


def _broker_death(headers: Mapping[str, Any]) -> float:
    """When RabbitMQ dead-lettered it (whole seconds, from `x-death`); 0 if it did not."""
    deaths = _sequence(headers.get("x-death"))
    when = mapping(deaths[0]).get("time") if deaths else None
    try:
        return _number(when.timestamp() if isinstance(when, datetime) else when)
    except (ValueError, OverflowError):  # a date before the system's own calendar
        return 0.0


def read_origin(value: Any, properties: Mapping[str, Any], headers: Mapping[str, Any]) -> Origin:
    """The origin we noted; else, for a foreign letter, where the broker says that it died."""
    origin = mapping(value)
    if not origin:
        deaths = _sequence(headers.get("x-death"))
        death = mapping(deaths[0]) if deaths else {}
        keys = _sequence(death.get("routing-keys"))
        origin = {**death, "routing_key": keys[0] if keys else "", "priority": properties.get("priority")}
    priority = origin.get("priority")
    return Origin(
        queue=text(origin.get("queue")) or None,
        exchange=text(origin.get("exchange")),
        routing_key=text(origin.get("routing_key")),
        priority=int(_number(priority)) if priority is not None else None,
    )


def read_error(value: Any, died_at: float) -> ErrorInfo:
    """The error as noted; an unknown one when nothing was noted or it cannot be read."""
    try:
        noted = ErrorInfo.from_dict(value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ErrorInfo(
            error_type=ErrorType.UNKNOWN,
            is_retryable=False,
            severity=ErrorSeverity.MEDIUM,
            rule="unknown",
            exception="",
            message="" if value is None else "the error noted in the message cannot be read",
            timestamp=died_at,
        )
    names = ("rule", "exception", "message", "fingerprint")
    sound: dict[str, Any] = {
        **{name: text(getattr(noted, name)) for name in names},
        "error_code": None if noted.error_code is None else text(noted.error_code),
        "is_retryable": noted.is_retryable is True,
        "retry_after": None if noted.retry_after is None else _number(noted.retry_after),
        "timestamp": _number(noted.timestamp),
        "class_chain": tuple(map(text, noted.class_chain)),
        "frames": tuple(map(_frame, noted.frames)),
        "context": _plain(mapping(noted.context)),
    }
    return replace(noted, **sound)


def _frame(frame: Frame) -> Frame:
    return Frame(text(frame.filename), count(frame.lineno), text(frame.name))
