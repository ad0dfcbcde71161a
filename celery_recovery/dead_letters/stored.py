"""How a `Letter` is laid out in Redis: a hash of short values to filter by, and the message itself as one value.

The two are apart because Redis keeps a hash of short values in a tenth of the memory that it needs when one is long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.packing import packed, unpacked
from celery_recovery.dead_letters.received import count, finite, mapping, read_about, read_error, read_origin, text
from celery_recovery.dead_letters.state import LetterState

__all__ = ("about_of", "from_about", "group_facts", "letter_fields", "message_of", "read_letter", "with_message")

Fields = dict[str, Any]
#: Characters of a text that a group is told.
_TOLD = 300
_STATES = {state.value: state for state in LetterState}


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


def _told(whole: str) -> str:
    """Cut, and without halves of surrogate pairs, over which Redis' JSON reader stumbles."""
    return whole[:_TOLD].encode("utf-8", "replace").decode()


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
    """The fields of a letter that `about_of` has; what is odd there gets its default."""
    return {
        "origin": read_origin(about.get("origin"), {}, {}),
        "error": read_error(about.get("error"), 0.0),
        **read_about(about),
        "redacted": about.get("redacted") is True,
        "raw": dict(mapping(about.get("raw"))),
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
    """Hash and message, as `letter_read.lua` gives them, back to a letter.

    Never raises over what stands there: one letter that is odd must not hide the others on its page.
    """
    fields, message = row
    told: dict[str, str] = json.loads(fields.decode("utf-8", "replace"))
    head, body, unreadable = _message(message)
    state = told.get("state", "")
    if state not in _STATES:
        unreadable = unreadable or f"its state {state!r} is none"
    about = from_about(mapping(head.get("about")) if head else _about_of_hash(told))
    if unreadable:
        about["detail"] = f"what is stored of it cannot be read: {unreadable}"
    return Letter(
        **about,
        id=letter_id,
        task=told.get("task", ""),
        body=body,
        content_type=text(head.get("content_type")),
        content_encoding=text(head.get("content_encoding")),
        headers=mapping(head.get("headers")),
        properties=mapping(head.get("properties")),
        reason=told.get("reason", ""),
        first_failure=finite(told.get("first_failure")),
        died_at=finite(told.get("died_at")),
        held=told.get("held") == "1",
        replays=count(told.get("replays")),
        state=_STATES.get(state, LetterState.FAILED),
        operation=told.get("operation", ""),
        token=told.get("token", ""),
        number=count(told.get("number")),
        copy=told.get("copy", ""),
        stored_at=finite(told.get("stored_at")),
        changed_at=finite(told.get("changed_at")),
        outcome=told.get("outcome", ""),
        runtime=finite(told.get("runtime")),
        replayed_by=told.get("replayed_by", ""),
        by=told.get("by", ""),
        note=told.get("note", ""),
        assignee=told.get("assignee", ""),
        edits=count(told.get("edits")),
        left_out=0 if body else count(told.get("size")),
        unreadable=unreadable,
    )


def _message(value: bytes) -> tuple[Mapping[str, Any], bytes, str]:
    """Head and body, and why they cannot be read."""
    try:
        head, body = unpacked(value)
    except (ValueError, RecursionError) as exc:
        return {}, b"", f"{type(exc).__name__}: {exc}"
    if not isinstance(head, Mapping) or not isinstance(head.get("about"), Mapping):
        return {}, b"", "its message is none of ours"
    return head, body, ""


def _about_of_hash(told: Mapping[str, str]) -> Fields:
    """What the letter hash alone tells, of a letter whose message cannot be read."""
    error = {name: told.get(name, "") for name in ("error_type", "exception", "fingerprint")}
    fixed = {"severity": "medium", "is_retryable": False, "rule": "unknown", "message": ""}
    return {"error": {**error, **fixed}, "origin": {"queue": told.get("queue"), "routing_key": told.get("queue")}}


def _encodable(value: Any) -> Any:
    """Half of a surrogate pair, as broken clients send, cannot be written as UTF-8; nor what is no text nor number."""
    return value if isinstance(value, (int, float)) else str(value).encode("utf-8", "replace")


def with_message(letter: Letter, message: bytes) -> Letter:
    """The letter with what can be edited of a message: body, headers and item."""
    head, body = unpacked(message)
    return letter.changed(body=body, headers=head["headers"], batch=dict(mapping(head["about"].get("batch"))))
