"""Letters as lines of JSON, to be kept, handed on, or run elsewhere.

    {"celery_recovery": 1, "letter": {...}, "message": {...}, "redacted": true}

A line, read back, is the letter again, failed. Without secrets, as exports are unless it is asked otherwise, what looks
like one is replaced in arguments and headers, and a body that is no plain JSON is left out: such a letter can be looked
at, not replayed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.raw import dump, load
from celery_recovery.dead_letters.stored import about_of, from_about
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import Redactor

__all__ = ("line_of", "read_line")

VERSION = 1


def line_of(letter: Letter, redact: Redactor | None) -> str:
    """One letter as a line, without its end; `redact` None: with its secrets."""
    hide: Any = redact or (lambda value: value)
    body, readable = letter.body, True
    if redact is not None:
        embed, decoded = letter.embed, letter.arguments
        readable = embed is not None and decoded is not None and not letter.raw
        body = json.dumps([*hide(list(decoded)), hide(embed)]).encode() if readable and decoded else b""
    told = {
        "celery_recovery": VERSION,
        "redacted": redact is not None,
        "letter": letter.to_dict(redact) if redact is not None else {"id": letter.id, "task": letter.task},
        "message": {
            "id": letter.id,
            "task": letter.task,
            "body": base64.b64encode(body).decode("ascii") if readable else None,
            "content_type": letter.content_type,
            "content_encoding": letter.content_encoding,
            "headers": hide(dict(letter.headers)),
            "properties": hide(dict(letter.properties)),
            "about": hide(about_of(letter)),
            "reason": letter.reason,
            "first_failure": letter.first_failure,
            "died_at": letter.died_at,
            "held": letter.held,
            "replays": letter.replays,
        },
    }
    return dump(told)


def read_line(text: str) -> Letter:
    """The letter of a line; it is failed, whatever it was, and nobody waits for it here.

    Raises `ConfigurationError` for what is no line of an export.
    """
    try:
        told = load(text)
        message = told["message"]
        if told["celery_recovery"] != VERSION:
            raise ConfigurationError.of("line", expected=f"version {VERSION}", got=told["celery_recovery"])
        body = base64.b64decode(message["body"], validate=True) if message["body"] is not None else None
        about = message["about"]
        return Letter(**_fields(message, about, body))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, ConfigurationError):
            raise
        expected = f"a line of `dlq export`: {type(exc).__name__}: {exc}"
        raise ConfigurationError.of("line", expected=expected, got=text[:60]) from None


def _fields(message: Mapping[str, Any], about: Mapping[str, Any], body: bytes | None) -> dict[str, Any]:
    return {
        **from_about(about),
        "id": str(message["id"]),
        "task": str(message["task"]),
        "body": body or b"",
        "content_type": str(message["content_type"]),
        "content_encoding": str(message["content_encoding"]),
        "headers": dict(message["headers"]),
        "properties": dict(message["properties"]),
        "reason": str(message["reason"]),
        "first_failure": float(message["first_failure"]),
        "died_at": float(message["died_at"]),
        "replays": int(message["replays"]),
        "unserialisable": bool(about["unserialisable"]) or body is None,
    }
