"""The letter of a message that never became a task: why it did not, and the message itself, whole.

Nothing here raises over a message, whatever it holds, and nothing decodes its body: that would run a pickle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from celery import Celery
from kombu.compression import compress, decompress

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.raw import MALFORMED, SEALED, UNKNOWN_TASK, dump, is_carriable, seal
from celery_recovery.dead_letters.received import HEADER, KEPT_PROPERTIES, VERSION, as_bytes, clean_headers, text
from celery_recovery.errors.fingerprint import fingerprint
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.errors.reading import clean, qualified_name, text_of
from celery_recovery.errors.wording import normal_message

__all__ = ("RawLetter", "Refusal", "letter_of", "letter_of_item", "message_in")

#: Characters of an id that is taken as it is, and of a message about a fault.
_LONGEST_ID, _MESSAGE = 200, 300
_LARGEST_PRIORITY = 255
#: Encodings that give the same bytes back.
_SAFE_ENCODINGS = (None, "binary", "utf-8", "us-ascii", "ascii")
#: The parts of a message that travel outside its body.
_CARRIED = ("headers", "properties", "recovery", "raw")


class Refusal(NamedTuple):
    """Why a message does not become a task."""

    reason: str
    #: Named like a classifier's rule.
    rule: str
    error_type: ErrorType
    severity: ErrorSeverity
    #: One sentence.
    message: str
    #: Qualified class name of what was raised.
    exception: str

    @classmethod
    def unknown_task(cls, name: str) -> Refusal:
        """No task of that name is registered in the worker."""
        told = f"the worker knows no task {name[:_MESSAGE]!r}"
        exception = "celery.exceptions.NotRegistered"
        return cls(UNKNOWN_TASK, "celery.unknown_task", ErrorType.SYSTEM, ErrorSeverity.HIGH, told, exception)

    @classmethod
    def malformed(cls, rule: str, error_type: ErrorType, exc: BaseException, message: str = "") -> Refusal:
        """It cannot be read, or not be handed to Celery."""
        told = clean(message or text_of(exc), _MESSAGE)
        return cls(MALFORMED, rule, error_type, ErrorSeverity.MEDIUM, told, qualified_name(type(exc)))

    def info(self, task: str) -> ErrorInfo:
        """As the letter keeps it."""
        return ErrorInfo(
            error_type=self.error_type,
            is_retryable=False,
            severity=self.severity,
            rule=self.rule,
            exception=self.exception,
            message=self.message,
            timestamp=time.time(),
            fingerprint=fingerprint(task, self.exception, self.rule, normal_message(self.message)),
            class_chain=(self.exception,),
        )


class RawLetter(NamedTuple):
    """What to publish to the dead letters."""

    #: Of the letter, and of the task where it has one.
    id: str
    task: str
    refusal: Refusal
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    content_encoding: str | None
    held: bool = False

    def to_letter(self) -> Letter:
        """The letter that an intake will make of it."""
        return Letter.from_message(self.body, self.headers, self.properties, self.content_type, self.content_encoding)


def letter_of(
    message: Any, refusal: Refusal, app: Celery, hostname: str, *,
    fields: Mapping[str, Any] | None = None, chords: Sequence[str] = (), held: bool = False,
) -> RawLetter:  # fmt: skip
    """The letter of a message. `fields` are Celery's, from headers or body, as far as they could be read."""
    headers = dict(_mapping(getattr(message, "headers", None)))
    properties = dict(_mapping(getattr(message, "properties", None)))
    fields = headers if fields is None else fields
    body = _body(message, headers)
    delivery = _mapping(getattr(message, "delivery_info", None))
    recovery = headers.pop(HEADER, None)
    past = dict(_mapping(recovery))
    if not isinstance(past.get("origin"), Mapping):
        past["origin"] = _origin(app, delivery, properties)._asdict()
    letter_id = _id_of(fields, past, (body, headers, properties), redelivered=bool(delivery.get("redelivered")))
    about = {
        **_about(letter_id, _name(fields.get("task")), refusal, hostname),
        "attempt": _attempt(fields.get("retries")),
        "replays": _attempt(_mapping(past.get("replay")).get("number")) - 1,
        "held": held,
        "chords": [text(chord)[:_LONGEST_ID] for chord in chords],
    }
    parts: dict[str, Any] = {
        "headers": headers,
        "properties": {key: value for key, value in properties.items() if _is_kept(key, value)},
        "content_type": getattr(message, "content_type", None),
        "content_encoding": getattr(message, "content_encoding", None),
        "recovery": past,
        "raw": _raw(message, headers, fields, properties, recovery),
    }
    return _sealed(about, refusal, body, parts) or RawLetter(
        letter_id,
        about["task"],
        refusal,
        body,
        {**clean_headers(headers), HEADER: {**past, "version": VERSION, "letter": {**about, "raw": parts["raw"]}}},
        parts["properties"],
        parts["content_type"] or "application/data",
        parts["content_encoding"],
        held,
    )


def letter_of_item(item: bytes, refusal: Refusal, hostname: str, queue: str) -> RawLetter:
    """The letter of what stood in a queue and was no message at all, not even a broken one."""
    letter_id = f"unnamed-{uuid.uuid4().hex[:24]}"
    about = {**_about(letter_id, "", refusal, hostname), "raw": {"protocol": 0, "item": True}}
    header = {"version": VERSION, "origin": Origin(queue, "", queue)._asdict(), "letter": about}
    return RawLetter(letter_id, "", refusal, item, {HEADER: header}, {}, "application/data", "binary")


def message_in(item: bytes, queue: str) -> Any:
    """The message that an item of a Redis queue was meant to be, with all that is there of one; None: it is not."""
    try:
        found = json.loads(item)
        properties = found.get("properties") or {}
        body = _body_in(found)
        if body is None:
            return None
        delivery = {**(properties.get("delivery_info") or {})}
        return SimpleNamespace(
            body=body,
            headers=found.get("headers"),
            properties=properties,
            content_type=found.get("content-type"),
            content_encoding=found.get("content-encoding"),
            delivery_info={"exchange": "", "routing_key": queue, **delivery},
            errors=["never read"],
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _sealed(about: dict[str, Any], refusal: Refusal, body: bytes, parts: dict[str, Any]) -> RawLetter | None:
    """The whole message in the body of another, unless any broker can carry it as it is."""
    labels = (parts["content_type"], parts["content_encoding"])
    labelled = all(label is None or _is_label(label) for label in labels)
    # What a client library would undo, or fail to, before anyone can see it.
    packed = "compression" in parts["headers"] or parts["content_encoding"] not in _SAFE_ENCODINGS
    if labelled and not packed and is_carriable({name: parts[name] for name in _CARRIED}):
        return None
    header = {"version": VERSION, "letter": {**about, "raw": {"sealed": True}}}
    whole = seal(body, **parts)
    return RawLetter(about["id"], about["task"], refusal, whole, {HEADER: header}, {}, SEALED, "utf-8", about["held"])


def _about(letter_id: str, task: str, refusal: Refusal, hostname: str) -> dict[str, Any]:
    """The part of the header that is the letter's own."""
    info = refusal.info(task)
    return {
        "id": letter_id,
        "task": task,
        "error": info.to_dict(),
        "reason": refusal.reason,
        "detail": refusal.message,
        "action": "dead_letter",
        "died_at": info.timestamp,
        "worker": hostname,
        "unserialisable": False,
    }


def _raw(
    message: Any, headers: Mapping[str, Any], fields: Mapping[str, Any], properties: Mapping[str, Any], recovery: Any
) -> dict[str, Any]:
    """What travels beside (see `dead_letters/raw.py`)."""
    beside: dict[str, Any] = {"protocol": 2 if "task" in headers else 1 if "task" in fields else 0}
    left = {key: value for key, value in properties.items() if not _is_kept(key, value)}
    left.pop("application_headers", None)
    if left:
        beside["properties"] = dump(left)
    if recovery is not None and not isinstance(recovery, Mapping):
        beside["recovery"] = dump(recovery)
    unread = getattr(message, "recovery_unread", None)
    if unread is not None:
        beside |= {"frame": unread.hex(), "item": True}
    if not isinstance(getattr(message, "headers", None), Mapping):
        beside["headers"] = dump(getattr(message, "headers", None))
    return beside


def _id_of(fields: Mapping[str, Any], past: Mapping[str, Any], content: tuple[Any, ...], *, redelivered: bool) -> str:
    """The task's id; else one that the same message has again when it comes back, as far as anything tells."""
    properties = content[2]
    for own in (fields.get("id"), _mapping(past.get("replay")).get("letter")):
        if isinstance(own, str) and 0 < len(own) <= _LONGEST_ID and own.isprintable():
            return own
    marks = (properties.get("message_id"), properties.get("delivery_tag"))
    mark = next((mark for mark in marks if isinstance(mark, str) and mark), None)
    if mark is None and not redelivered:  # two messages that are the same are still two
        return f"unnamed-{uuid.uuid4().hex[:24]}"
    told = repr((mark, content[0])) if mark else dump([repr(part) for part in content])
    return f"unnamed-{hashlib.sha256(told.encode('utf-8', 'replace')).hexdigest()[:24]}"


def _body(message: Any, headers: dict[str, Any]) -> bytes:
    """Its bytes. What kombu has decompressed is compressed again, or else loses the header that says so."""
    own = getattr(message, "recovery_body", None) or _body_in(getattr(message, "_raw", None))
    if own is not None:
        return bytes(own)
    body = getattr(message, "body", None)
    raw = as_bytes(b"" if body is None else body, getattr(message, "content_encoding", None))
    how = headers.get("compression")
    if not how or getattr(message, "errors", None):
        return raw
    try:
        packed: bytes = compress(raw, how)[0]
        if decompress(packed, how) == raw:
            return packed
    except Exception:  # noqa: BLE001  # whatever a compressor raises
        packed = b""
    del headers["compression"]
    return raw


def _body_in(envelope: Any) -> bytes | None:
    """The body in an envelope of kombu's, as it was before anything was done to it."""
    body, properties = _mapping(envelope).get("body"), _mapping(_mapping(envelope).get("properties"))
    if not isinstance(body, str):
        return None
    try:
        coded = properties.get("body_encoding") == "base64"
        return base64.b64decode(body, validate=True) if coded else body.encode("utf-8", "surrogatepass")
    except ValueError:
        return None


def _origin(app: Celery, delivery: Mapping[str, Any], properties: Mapping[str, Any]) -> Origin:
    """Where it came from, as the broker says."""
    place = {name: text(delivery.get(name)) for name in ("exchange", "routing_key")}
    priority = properties.get("priority")
    known = isinstance(priority, int) and 0 <= priority <= _LARGEST_PRIORITY
    return Origin.of(app, SimpleNamespace(delivery_info={**place, "priority": priority if known else None}))


def _is_kept(key: str, value: Any) -> bool:
    """A property that goes with the letter: one that no broker acts upon, of the kind that it should be."""
    if key == "priority":
        return isinstance(value, int) and 0 <= value <= _LARGEST_PRIORITY
    return key in KEPT_PROPERTIES and isinstance(value, str) and len(value) <= _LONGEST_ID


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()


def _name(value: Any) -> str:
    return clean(value, _LONGEST_ID) if isinstance(value, str) else ""


def _attempt(retries: Any) -> int:
    """1-based; of retries that make no sense, 1."""
    sensible = isinstance(retries, int) and 0 <= retries < 10**6
    return retries + 1 if sensible else 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
