"""How a `Letter` is laid out in Redis: a hash of short values to filter by, and the message itself as one value.

The two are apart because Redis keeps a hash of short values in a tenth of the memory that it needs when one is long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.packing import packed, unpacked
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.errors.model import ErrorInfo

__all__ = ("about_of", "from_about", "group_facts", "letter_fields", "message_of", "read_letter", "with_message")

Fields = dict[str, Any]
#: Characters of a text that a group is told.
_TOLD = 300


def letter_fields(letter: Letter) -> Fields:
    """The letter hash of a death, without `state`."""
    replay = {name: letter.replay[name] for name in ("token", "copy", "operation") if letter.replay.get(name)}
    fields = {
        "task": letter.task,
        "error_type": letter.error.error_type.value,
        "fingerprint": letter.error.fingerprint,
        "queue": letter.origin.queue or "",
        "reason": letter.reason,
        "exception": letter.error.exception,
        "held": int(letter.held),
        "died_at": f"{letter.died_at:.6f}",
        "first_failure": f"{letter.first_failure:.6f}",
        "death": letter.death,
        "replays": letter.replays,
        "size": letter.size,
        **({"parent": letter.parent} if letter.parent else {}),
        **replay,
        **({"number": letter.replays} if replay else {}),
    }
    return {name: _encodable(value) for name, value in fields.items()}


def group_facts(letter: Letter) -> str:
    """What the record of its group is told beside the letter hash, as JSON."""
    error = letter.error
    return json.dumps(
        {
            "message": _told(error.message),
            "code": _told(error.error_code or ""),
            "worker": _told(letter.worker),
            "version": _told(letter.code_version),
        }
    )


def _told(text: str) -> str:
    """Cut, and without halves of surrogate pairs, over which Redis' JSON reader stumbles."""
    return text[:_TOLD].encode("utf-8", "replace").decode()


def about_of(letter: Letter) -> Fields:
    """What is told of a letter beside its message and the letter hash, JSON-ready; `from_about` reads it."""
    return {
        "origin": letter.origin._asdict(),
        "error": letter.error.to_dict(),
        "detail": letter.detail,
        "attempts": letter.attempts,
        "deferrals": letter.deferrals,
        "attempt": letter.attempt,
        "worker": letter.worker,
        "code_version": letter.code_version,
        "chords": letter.chords,
        "unserialisable": letter.unserialisable,
        "replay": letter.replay,
        **({"secret_args": letter.secret_args} if letter.secret_args else {}),
        **({"redacted": True} if letter.redacted else {}),
        **({"raw": letter.raw} if letter.raw else {}),
        **({"batch": letter.batch} if letter.batch else {}),
    }


def from_about(about: Mapping[str, Any]) -> Fields:
    """The fields of a letter that `about_of` has."""
    return {
        "origin": Origin(**about["origin"]),
        "error": ErrorInfo.from_dict(about["error"]),
        "detail": about["detail"],
        "attempts": tuple(about["attempts"]),
        "deferrals": about["deferrals"],
        "attempt": about["attempt"],
        "worker": about["worker"],
        "code_version": about.get("code_version") or "",
        "chords": tuple(about["chords"]),
        "unserialisable": about["unserialisable"],
        "replay": about["replay"],
        "secret_args": tuple(about.get("secret_args") or ()),
        "redacted": about.get("redacted") is True,
        "raw": about.get("raw") or {},
        "batch": about.get("batch") or {},
    }


def message_of(letter: Letter) -> bytes:
    """The message, as one value."""
    head = {
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
        "headers": letter.headers,
        "properties": letter.properties,
        "about": about_of(letter),
    }
    return packed(head, letter.body)


def read_letter(letter_id: str, row: Sequence[bytes]) -> Letter:
    """Hash and message, as `letter_read.lua` gives them, back to a letter."""
    fields, message = row
    text: dict[str, str] = json.loads(fields.decode("utf-8", "replace"))
    head, body = unpacked(message)
    return Letter(
        **from_about(head["about"]),
        id=letter_id,
        task=text["task"],
        body=body,
        content_type=head["content_type"],
        content_encoding=head["content_encoding"],
        headers=head["headers"],
        properties=head["properties"],
        reason=text["reason"],
        first_failure=float(text["first_failure"]),
        died_at=float(text["died_at"]),
        held=text["held"] == "1",
        replays=int(text["replays"]),
        state=LetterState(text["state"]),
        operation=text.get("operation", ""),
        token=text.get("token", ""),
        number=int(text.get("number") or 0),
        copy=text.get("copy", ""),
        stored_at=float(text.get("stored_at") or 0),
        changed_at=float(text.get("changed_at") or 0),
        outcome=text.get("outcome", ""),
        runtime=float(text.get("runtime") or 0),
        replayed_by=text.get("replayed_by", ""),
        by=text.get("by", ""),
        note=text.get("note", ""),
        assignee=text.get("assignee", ""),
        edits=int(text.get("edits") or 0),
        left_out=0 if body else int(text.get("size") or 0),
    )


def _encodable(value: Any) -> Any:
    """Half of a surrogate pair, as broken clients send, cannot be written as UTF-8; nor what is no text nor number."""
    return value if isinstance(value, (int, float)) else str(value).encode("utf-8", "replace")


def with_message(letter: Letter, message: bytes) -> Letter:
    """The letter with what can be edited of a message: body, headers and item."""
    head, body = unpacked(message)
    return letter.changed(body=body, headers=head["headers"], batch=head["about"].get("batch") or {})
