"""Letters as lines of JSON, to be kept, handed on, or run elsewhere.

    {"celery_recovery": 1, "letter": {...}, "message": {...}, "redacted": true}

A line, read back, is the letter again, failed. Without secrets, as exports are unless it is asked otherwise, what looks
like one is replaced in arguments and headers, and a body that is no plain JSON is left out. A letter that had some can
be looked at where it is imported, and is not replayed before an edit has put values in their place; one that had none
is whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from celery_recovery.dead_letters.carried import check
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.raw import dump, load
from celery_recovery.dead_letters.stored import about_of, from_about
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import Redactor

__all__ = ("line_of", "read_line")

VERSION = 1
#: Headers that hold Celery's text of the arguments: they are for people alone.
_REPRS = ("argsrepr", "kwargsrepr")
#: Fields of the message that are the letter's as they are.
_CARRIED = ("id", "task", "content_type", "content_encoding", "headers", "properties", "reason", "replays")


def line_of(letter: Letter, redact: Redactor | None) -> str:
    """One letter as a line, without its end; `redact` None: with its secrets."""
    told = {
        "celery_recovery": VERSION,
        "redacted": redact is not None,
        "letter": letter.to_dict(redact) if redact is not None else {"id": letter.id, "task": letter.task},
        "message": {
            "id": letter.id,
            "task": letter.task,
            **(_whole(letter) if redact is None else _hidden(letter, redact)),
            "content_type": letter.content_type,
            "content_encoding": letter.content_encoding,
            "reason": letter.reason,
            "first_failure": letter.first_failure,
            "died_at": letter.died_at,
            "held": letter.held,
            "replays": letter.replays,
        },
    }
    return dump(told)


def _whole(letter: Letter) -> dict[str, Any]:
    return {
        "body": base64.b64encode(letter.body).decode("ascii"),
        "headers": dict(letter.headers),
        "properties": dict(letter.properties),
        "about": about_of(letter),
    }


def _hidden(letter: Letter, redact: Redactor) -> dict[str, Any]:
    """Without secrets, and marked where that leaves it without something that a replay needs.

    A body that is no plain JSON, or too large to be looked through, is left out.
    """
    body = _hidden_body(letter, redact)
    headers, properties = letter.shown_headers(redact), redact(dict(letter.properties))
    ids = {"replay": letter.replay, "chords": letter.chords, "secret_args": letter.secret_args}
    about = {**redact(about_of(letter)), **ids}
    carried = {name: value for name, value in letter.headers.items() if name not in _REPRS}
    same = (
        body == letter.body
        and (about.get("batch") or {}) == letter.batch
        and properties == letter.properties
        and all(headers.get(name) == value for name, value in carried.items())
    )
    return {
        "body": None if body is None else base64.b64encode(body).decode("ascii"),
        "headers": headers,
        "properties": properties,
        "about": {**about, "redacted": letter.redacted or not same},
    }


def _hidden_body(letter: Letter, redact: Redactor) -> bytes | None:
    embed, decoded = letter.embed, letter.arguments
    if embed is None or decoded is None or letter.raw:
        return None
    args = redact.masked(letter.task, decoded[0], letter.secret_args)
    parts = [args, decoded[1], embed]
    hidden, is_whole = redact.whole(parts)
    if not is_whole:
        return None
    return letter.body if hidden == [*decoded, embed] else json.dumps(hidden).encode()


def read_line(text: str) -> Letter:
    """The letter of a line; it is failed, whatever it was, and nobody waits for it here.

    Raises `ConfigurationError`, naming the field, for what is no line of an export.
    """
    try:
        told = load(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError.of("line", expected=f"JSON ({type(exc).__name__}: {exc})", got=text[:60]) from None
    if not isinstance(told, Mapping) or not {"celery_recovery", "message"} <= told.keys():
        raise ConfigurationError.of("line", expected="a line of `dlq export`", got=text[:60])
    if told["celery_recovery"] != VERSION:
        raise ConfigurationError.of("line", expected=f"version {VERSION}", got=told["celery_recovery"])
    message = told["message"]
    check(message)
    about, body = from_about(message["about"]), message["body"]
    return Letter(
        **{**about, "unserialisable": about["unserialisable"] or body is None},
        **{name: message[name] for name in _CARRIED},
        body=base64.b64decode(body or ""),
        first_failure=float(message["first_failure"]),
        died_at=float(message["died_at"]),
    )
