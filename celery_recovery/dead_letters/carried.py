"""What a carried letter must be: each field of its type, before anything of it is stored.

A worker's own message is read with defaults in place of what is odd (`received.py`), because its letter must not be
lost. A line of a file is not lost when it is refused, and whoever imports it can be told what is wrong with it.

Headers, properties, and what travels in `raw` and `batch`, are somebody's own data: those are carried as they were.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celery_recovery.dead_letters.received import LARGEST_COUNT, LARGEST_NUMBER
from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.exceptions import ConfigurationError

__all__ = ("check",)

#: Lists and objects within each other.
DEEPEST = 100


class _Kind(NamedTuple):
    """What a value must be, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]

    def or_none(self) -> _Kind:
        return _Kind(f"{self.expected}, or null", lambda value: value is None or self.holds(value))


def check(message: Any) -> None:
    """Raises `ConfigurationError` naming the first field of a carried message that is not what it must be."""
    if not isinstance(message, Mapping):
        raise ConfigurationError.of("message", expected="an object", got=message)
    for path, fields in _FIELDS.items():
        value = message
        for name in path.split(".")[1:]:
            value = value[name]
        _check_fields(path, value, fields)


def _check_fields(path: str, value: Mapping[str, Any], fields: Mapping[str, _Kind]) -> None:
    for name, kind in fields.items():
        is_there = name in value
        if not is_there and name in _OPTIONAL:
            continue
        if not is_there or not kind.holds(value[name]):
            got = value[name] if is_there else "nothing"
            raise ConfigurationError.of(f"{path}.{name}", expected=kind.expected, got=got)


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < LARGEST_NUMBER


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) < LARGEST_NUMBER  # which NaN is not


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_text(value) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_plain(value: Any) -> bool:
    """Not nested deeper than `DEEPEST`, which is looked at before."""
    if isinstance(value, Mapping):
        return all(_is_text(name) and _is_plain(one) for name, one in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else _is_scalar(value)


def _is_base64(value: Any) -> bool:
    try:
        return isinstance(value, str) and base64.b64decode(value, validate=True) is not None
    except ValueError:
        return False


def _is_frame(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    filename, line, function = value
    return _is_text(filename) and _is_count(line) and _is_text(function)


def _is_replay(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_count(one) if name == "number" else _is_text(one) for name, one in value.items()
    )


def _is_object(value: Any) -> bool:
    """An object that is not nested so deep that it could not be written down again."""
    if not isinstance(value, Mapping):
        return False
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in (one.values() if isinstance(one, Mapping) else one)
                 if isinstance(inner, (Mapping, list))]  # fmt: skip
    return not level


def _list_of(kind: _Kind) -> _Kind:
    return _Kind(
        f"a list, each of which is {kind.expected}",
        lambda value: isinstance(value, list) and all(map(kind.holds, value)),
    )


def _one_of(values: type[ErrorType | ErrorSeverity]) -> _Kind:
    known = [member.value for member in values]
    return _Kind(f"one of {', '.join(known)}", lambda value: value in known)


_TEXT = _Kind("text that UTF-8 can hold", _is_text)
_NAME = _Kind("text that UTF-8 can hold, and not empty", lambda value: _is_text(value) and value != "")
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_WHOLE = _Kind("a whole number", _is_whole)
_COUNT = _Kind(f"a whole number from 0 to {LARGEST_COUNT}", _is_count)
_NUMBER = _Kind("a finite number below 1e15", _is_number)
_OBJECT = _Kind(f"an object, of at most {DEEPEST} levels", _is_object)
_PLAIN = _Kind(
    "an object of texts, finite numbers, true, false and null, or of lists and objects of these",
    lambda value: isinstance(value, Mapping) and _is_plain(value),
)
_FRAME = _Kind("[file, line, function]", _is_frame)

#: Where -> name -> what must stand there. An object is looked at before what is in it.
_FIELDS: dict[str, dict[str, _Kind]] = {
    "message": {
        "id": _NAME,
        "task": _TEXT,
        "body": _Kind("text in base64", _is_base64).or_none(),
        "content_type": _TEXT,
        "content_encoding": _TEXT,
        "headers": _OBJECT,
        "properties": _OBJECT,
        "reason": _TEXT,
        "first_failure": _NUMBER,
        "died_at": _NUMBER,
        "held": _FLAG,
        "replays": _COUNT,
        "about": _OBJECT,
    },
    "message.about": {
        "detail": _TEXT,
        "attempts": _list_of(_PLAIN),
        "deferrals": _COUNT,
        "attempt": _COUNT,
        "worker": _TEXT,
        "code_version": _TEXT,
        "chords": _list_of(_TEXT),
        "unserialisable": _FLAG,
        "replay": _Kind("an object of texts, and a whole number as `number`", _is_replay),
        "secret_args": _list_of(_COUNT),
        "redacted": _FLAG,
        "raw": _OBJECT,
        "batch": _OBJECT,
        "origin": _OBJECT,
        "error": _OBJECT,
    },
    "message.about.origin": {
        "queue": _TEXT.or_none(),
        "exchange": _TEXT,
        "routing_key": _TEXT,
        "priority": _WHOLE.or_none(),
    },
    "message.about.error": {
        "error_type": _one_of(ErrorType),
        "is_retryable": _FLAG,
        "severity": _one_of(ErrorSeverity),
        "rule": _TEXT,
        "exception": _TEXT,
        "error_code": _TEXT.or_none(),
        "message": _TEXT,
        "retry_after": _NUMBER.or_none(),
        "timestamp": _NUMBER,
        "fingerprint": _TEXT,
        "class_chain": _list_of(_TEXT),
        "frames": _list_of(_FRAME),
        "context": _PLAIN,
    },
}
#: Fields that an export leaves out where there is nothing to tell.
_OPTIONAL = {"held", "code_version", "secret_args", "redacted", "raw", "batch"}
