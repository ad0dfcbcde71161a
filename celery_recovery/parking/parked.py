"""`ParkedTask`: one message that waits, as it was received, as it is laid out in Redis, and as it is published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.utils.time import maybe_iso8601
from kombu.utils.json import dumps as dump_tagged
from kombu.utils.json import loads as load_tagged

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.redact import Redactor

__all__ = ("ParkedTask", "about_message", "filed_by", "read_parked")

_REDACT = Redactor()
#: What is shown of a parked task as it would be of a letter.
_AS_A_LETTER = ("args", "kwargs", "attempts", "deferrals", "root_id", "parent_id", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedTask:
    """One parked task. Times are unix seconds, sizes bytes."""

    #: Unique per publication: the `copy` under which it will be published. Parked twice, it is one entry.
    key: str
    #: The task's id.
    id: str
    #: Name of the task.
    task: str
    #: When it goes back to its queue; of one that waits for a circuit: when that was to be probed.
    due: float
    parked_at: float
    #: Why it waits: `"retry"`, `"snooze"`, `"eta"`, `"circuit"`.
    reason: str
    #: Name of the queue it goes back to; empty: `exchange` and `routing_key` say where.
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    #: The raw body, never decoded.
    body: bytes
    #: With the `recovery` header, completed by the passage of the message to come.
    headers: Mapping[str, Any]
    #: correlation_id, reply_to, priority and the like.
    properties: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    #: Node name of the worker that parked it.
    worker: str = ""
    #: Name of the circuit that it waits for, and goes back by; empty: it goes back when it is due.
    circuit: str = ""

    # What the store knows beside.
    #: Until when a release has it; 0: nobody has.
    claimed_until: float = 0.0
    #: Why the broker refused it, and how often; it is tried again now and then.
    error: str = ""
    refusals: int = 0
    #: Of one with a circuit: when it goes back whatever the circuit says (unix s); 0 without.
    latest: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    @property
    def expires(self) -> float | None:
        """When Celery revokes it instead of running it (unix s); None: never, as far as one can tell."""
        try:
            when = maybe_iso8601(self.headers.get("expires"))
            return float(when.timestamp()) if when is not None and when.tzinfo is not None else None
        except (AttributeError, TypeError, ValueError, OverflowError):
            return None

    @property
    def letter(self) -> Letter:
        """The same message as a letter, which knows how to read arguments without unpickling anything."""
        return Letter.from_message(self.body, self.headers, self.properties, self.content_type, self.content_encoding)

    def message(self) -> dict[str, Any]:
        """What is published: the message as it was, due at once. An `expires` stays: the worker sees to it."""
        return {
            "body": self.body,
            "headers": {**self.headers, "eta": None},
            "properties": self.properties,
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
        }

    def to_dict(self, redact: Redactor | None = None) -> dict[str, Any]:
        """JSON-ready form for people and machines, without secrets and without the raw body."""
        as_letter, hide = self.letter.to_dict(redact), redact or _REDACT
        own = ("key", "id", "task", "due", "parked_at", "reason", "queue", "exchange", "routing_key", "worker",
               "circuit", "latest", "claimed_until", "error", "refusals", "content_type", "size")  # fmt: skip
        plain = {**{name: getattr(self, name) for name in own}, **{name: as_letter[name] for name in _AS_A_LETTER}}
        return {**plain, **{name: hide(plain[name]) for name in ("worker", "error", "content_type")}}

    def summary(self, redact: Redactor | None = None) -> dict[str, Any]:
        """What a list tells of it: the same without what has to be read out of the message."""
        own = ("key", "id", "task", "due", "parked_at", "reason", "queue", "exchange", "circuit", "refusals")
        return {**{name: getattr(self, name) for name in own}, "error": (redact or _REDACT)(self.error)}


def filed_by(parked: ParkedTask) -> dict[str, Any]:
    """The hash of short values that it is filtered by, without `due`."""
    words = {"id": parked.id, "task": parked.task, "queue": parked.queue, "reason": parked.reason}
    if parked.circuit:
        words["circuit"] = parked.circuit
    return {
        **{name: word.encode("utf-8", "replace") for name, word in words.items()},
        "parked_at": f"{parked.parked_at:.6f}",
        "size": parked.size,
    }


def about_message(parked: ParkedTask) -> str:
    """The message without its body, as JSON behind a letter that tells how it is written.

    Raises `StoreUnavailable` when headers or properties hold what cannot be written down faithfully.
    """
    names = ("headers", "properties", "content_type", "content_encoding", "exchange", "routing_key", "worker")
    about = {name: getattr(parked, name) for name in names}
    for mark, dump in (("j", json.dumps), ("k", dump_tagged)):  # kombu's knows dates, decimals, bytes: AMQP does too
        try:
            return mark + str(dump(about, separators=(",", ":")))
        except (TypeError, ValueError, RecursionError) as exc:
            refused = exc
    raise StoreUnavailable(f"the message of {parked.id} cannot be written down to be parked: {refused}")


def read_parked(key: str, row: Sequence[bytes]) -> ParkedTask:
    """The three parts of `parked_read.lua` back to a parked task."""
    fields, told, body = row
    text: dict[str, str] = json.loads(fields.decode("utf-8", "replace"))
    about = json.loads(told[1:]) if told[:1] == b"j" else load_tagged(told[1:])
    return ParkedTask(
        key=key,
        id=text["id"],
        task=text["task"],
        due=float(text["due"]),
        parked_at=float(text["parked_at"]),
        reason=text["reason"],
        queue=text["queue"],
        body=body,
        claimed_until=float(text.get("claimed_until") or 0),
        error=text.get("error", ""),
        refusals=int(text.get("refusals") or 0),
        circuit=text.get("circuit", ""),
        latest=float(text.get("latest") or 0),
        **about,
    )
