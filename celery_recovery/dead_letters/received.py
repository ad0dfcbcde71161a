"""Reading a message of the dead-letter queue: ours, of any version, or what somebody else has put there.

Nothing here raises over a message, nor decodes its body: what is missing or garbage gets its default, because a letter
must stay visible whatever it holds.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.raw import load, unseal
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType

__all__ = ("FOREIGN", "HEADER", "KEPT_PROPERTIES", "VERSION", "as_bytes", "clean_headers", "read_message", "text")

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


def read_message(
    body: bytes | str,
    headers: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> dict[str, Any]:
    """The fields of the `Letter` that the message is."""
    raw = as_bytes(body, content_encoding)
    headers = _mapping(headers)
    recovery = _mapping(headers.get(HEADER))
    about = _mapping(recovery.get("letter"))
    whole = unseal(raw) if _mapping(about.get("raw")).get("sealed") is True else None
    if whole is not None:  # the message is in the body of this one
        raw, content_type, content_encoding = whole["body"], whole.get("content_type"), whole.get("content_encoding")
        headers, properties = _mapping(whole.get("headers")), _mapping(whole.get("properties"))
        recovery, about = _mapping(whole.get("recovery")), {**about, "raw": whole.get("raw")}
    replay = _replay(recovery.get("replay"))
    previous = _mapping(recovery.get("previous"))
    died_at = _number(about.get("died_at")) or _broker_death(headers) or time.time()
    review = about.get("action") == "manual_review"
    properties = _mapping(properties)
    return {
        "id": _encodable(text(about.get("id") or headers.get("id")))
        or f"unnamed-{hashlib.sha256(raw).hexdigest()[:24]}",
        "task": text(about.get("task") or headers.get("task")),
        "body": raw,
        "content_type": text(content_type) or "application/data",
        "content_encoding": text(content_encoding) or "binary",
        "headers": clean_headers(headers),
        "properties": {key: properties[key] for key in KEPT_PROPERTIES if properties.get(key) is not None},
        "origin": _origin(recovery.get("origin"), properties, headers),
        "error": _error(about.get("error"), died_at),
        "reason": text(about.get("reason")) or FOREIGN,
        "detail": text(about.get("detail")),
        "attempts": tuple(a for a in _sequence(recovery.get("attempts")) if isinstance(a, Mapping))[-_MOST_ATTEMPTS:],
        "deferrals": int(_number(recovery.get("deferrals"))),
        "first_failure": _earliest(previous.get("first_failure"), recovery.get("first_failure"), died_at),
        "died_at": died_at,
        "attempt": int(_number(about.get("attempt"))),
        "worker": text(about.get("worker")),
        "code_version": text(about.get("code_version")),
        "held": about.get("held") is True,
        "chords": tuple(map(text, _sequence(about.get("chords")))),
        "unserialisable": about.get("unserialisable") is True,
        "secret_args": tuple(at for at in _sequence(about.get("secret_args")) if type(at) is int and at >= 0)[
            :_MOST_ARGS
        ],
        "replays": int(_number(replay.get("number")) or _number(about.get("replays") or recovery.get("replays"))),
        "replay": replay,
        "raw": _raw(about.get("raw")),
        "batch": dict(_mapping(recovery.get("batch"))),
        "state": LetterState.REVIEW if review else LetterState.FAILED,
    }


def _replay(value: Any) -> dict[str, Any]:
    """Which replay died: texts and a number, as nothing else can be told to Redis."""
    names = ("token", "copy", "operation", "letter")
    found = {name: _encodable(text(one)) for name, one in _mapping(value).items() if name in names and one is not None}
    number = int(_number(_mapping(value).get("number")))
    return {**found, "number": number} if number else found


def _raw(value: Any) -> dict[str, Any]:
    """What travels beside a message that never became a task; empty for any other."""
    raw = dict(_mapping(value))
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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def text(value: Any) -> str:
    """Text of whatever a header holds; None is empty."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _encodable(name: str) -> str:
    """Without halves of surrogate pairs: no key can be made of them, and one such letter would hold up all others."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _number(value: Any) -> float:
    """A finite number, or 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if abs(number) < 1e15 else 0.0  # also drops nan and infinities


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
    when = _mapping(deaths[0]).get("time") if deaths else None
    try:
        return _number(when.timestamp() if isinstance(when, datetime) else when)
    except (ValueError, OverflowError):  # a date before the system's own calendar
        return 0.0


def _origin(value: Any, properties: Mapping[str, Any], headers: Mapping[str, Any]) -> Origin:
    """The origin we noted; else, for a foreign letter, where the broker says that it died."""
    origin = _mapping(value)
    if not origin:
        deaths = _sequence(headers.get("x-death"))
        death = _mapping(deaths[0]) if deaths else {}
        keys = _sequence(death.get("routing-keys"))
        origin = {**death, "routing_key": keys[0] if keys else "", "priority": properties.get("priority")}
    priority = origin.get("priority")
    return Origin(
        queue=text(origin.get("queue")) or None,
        exchange=text(origin.get("exchange")),
        routing_key=text(origin.get("routing_key")),
        priority=int(_number(priority)) if priority is not None else None,
    )


def _error(value: Any, died_at: float) -> ErrorInfo:
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
    plain = {name: text(getattr(noted, name)) for name in ("rule", "exception", "message", "fingerprint")}
    sound: dict[str, Any] = {**plain, "context": _mapping(noted.context)}
    return replace(noted, **sound, error_code=None if noted.error_code is None else text(noted.error_code))
