"""`Letter`: one dead letter, as it was published, as it is stored, as it is shown, and as it is published again.

A dead letter is a valid Celery message; what we know about its death travels in its `recovery` header, which
`received.py` reads:

    version         1
    attempts        the last ones (`recovery_history_length`), oldest first:
                    {n, at, error_type, fingerprint, exception, message, worker, runtime, delay}
    deferrals       how often it was put off without using an attempt
    first_failure   unix seconds
    origin          {queue (by name, or None), exchange, routing_key, priority}
    replay          {token, copy, number, operation}: the task that died was itself a replay
    previous        {first_failure, died_at}: of the lives before this replay
    batch           the item of a batch that it is (see `batch/item.py`)
    links           of a replay: the spans that its letters died in (see `monitoring/tracing.py`)
    letter          {error, reason, detail, action, held, chords, died_at, worker, code_version, attempt, replays,
                    unserialisable, secret_args}

and, of a message that never became a task, in `letter` also its {id, task, raw: {protocol, properties, recovery}} (see
`raw.py`), because its headers need not say.
"""

from __future__ import annotations

import ast
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from celery_recovery.batch.item import BatchHeader
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.raw import dump
from celery_recovery.dead_letters.received import FOREIGN, HEADER, VERSION, read_message, text
from celery_recovery.dead_letters.state import FINISHED, LetterState
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.redact import MASK, Redactor

__all__ = ("DECODED", "Letter", "Outgoing")

#: Bodies longer than this are not decoded to be shown or searched (bytes).
DECODED = 1_000_000
#: Bytes of a raw message that are shown, as text and as hexadecimal digits.
_PREVIEW, _HEX = 600, 48
#: Content types of bodies that are code, and bytes of one that are shown.
_PICKLED, _MAGIC = re.compile(r"pickle|python-serialize|yaml", re.IGNORECASE), 8
#: What a list tells of the error, and characters of a text in it.
_TOLD_OF_ERROR = ("error_type", "is_retryable", "severity", "rule", "exception", "error_code", "message", "retry_after",
                  "timestamp", "fingerprint")  # fmt: skip
_LONGEST = 2000
#: Items of a batch that are shown of one letter.
_MOST_ITEMS = 50
#: Version, trace, span and flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Outgoing(NamedTuple):
    """A message, with the fields that the publisher's `publish` takes: the body is raw and stays as it is."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    content_encoding: str
    queue: str | None
    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter. Times are unix seconds, sizes bytes."""

    #: The task's id, which is the letter's; the same through all its lives.
    id: str
    #: Name of the task; empty when the message does not say.
    task: str
    #: The raw body, never decoded to be stored or replayed.
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    #: The message's headers without what belonged to one delivery, and without `recovery`.
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: correlation_id, reply_to, priority and the like.
    properties: Mapping[str, Any] = field(default_factory=dict)
    #: Where it came from.
    origin: Origin = field(default_factory=Origin)
    #: What it died of.
    error: ErrorInfo
    #: Why it is here, in one word: `"exhausted"`, `"quarantined"`, `"foreign"` …
    reason: str = FOREIGN
    #: Why it is here, in a sentence.
    detail: str = ""
    #: The last attempts of this life, oldest first (see the module's docstring).
    attempts: tuple[Mapping[str, Any], ...] = ()
    #: How often it was put off without using an attempt.
    deferrals: int = 0
    first_failure: float = 0.0
    died_at: float = 0.0
    #: The attempt it died in, from 1; 0 when not known.
    attempt: int = 0
    #: Node name of the worker it died on.
    worker: str = ""
    #: Version of the code that it died in (`recovery_code_version`); empty when not known.
    code_version: str = ""
    #: True: its result is still open, so the chord or chain it belongs to can still be finished by a replay.
    held: bool = False
    #: Ids of the chord headers (groups) that wait for it, directly or at the end of its chain.
    chords: tuple[str, ...] = ()
    #: True: the body could not be serialised as the task had it, and holds `repr` texts instead.
    unserialisable: bool = False
    #: Places of positional arguments that are secret by the names of their parameters, from 0.
    secret_args: tuple[int, ...] = ()
    #: True: it was carried here, and `***` stands for its secrets.
    redacted: bool = False
    #: Replays behind it.
    replays: int = 0
    #: The replay that died, `{token, copy, number, operation}`; empty when it was no replay.
    replay: Mapping[str, Any] = field(default_factory=dict)
    #: What travels beside a message that never became a task (see `raw.py`); empty for any other.
    raw: Mapping[str, Any] = field(default_factory=dict)
    #: Of an item of a batch: the batch and the item (see `batch/item.py`); empty for any other.
    batch: Mapping[str, Any] = field(default_factory=dict)

    # What the store knows beside; the defaults are those of a letter that has just died.
    state: LetterState = LetterState.FAILED
    #: The replay that has it: one token per life, one copy per publication of it.
    operation: str = ""
    token: str = ""
    number: int = 0
    #: The copy that a worker started; empty when none did.
    copy: str = ""
    stored_at: float = 0.0
    changed_at: float = 0.0
    #: How the last replay ended: `"recovered"`, `"died again"`, or what the worker reported; empty when not known.
    outcome: str = ""
    #: Seconds that the recovering run took.
    runtime: float = 0.0
    #: Node name of the worker that ran the last replay.
    replayed_by: str = ""
    #: Who discarded it or set it aside, and what they noted.
    by: str = ""
    note: str = ""
    #: Whose it is, of those who review letters; empty: nobody's.
    assignee: str = ""
    #: How often it was changed by hand.
    edits: int = 0
    #: Bytes of a body that was not read along with the rest; 0: all of it is here.
    left_out: int = 0
    #: Why what is stored of it cannot be read; empty: it can.
    unreadable: str = ""

    @classmethod
    def from_message(
        cls,
        body: bytes | str,
        headers: Mapping[str, Any] | None,
        properties: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> Letter:
        """Read a message of the dead-letter queue. Never raises: what is missing or garbage gets its default.

        A message without our header is taken too, with an unknown error and the reason `"foreign"`.
        """
        return cls(**read_message(body, headers, properties, content_type, content_encoding))

    @property
    def death(self) -> str:
        """What tells one death of this task from another: the same death delivered twice is the same text."""
        return f"{self.replays}:{text(self.replay.get('copy'))}:{self.attempt}:{self.died_at:.6f}"

    @property
    def args_repr(self) -> str:
        """The positional arguments as Celery wrote them down; may be cut short."""
        return text(self.headers.get("argsrepr"))

    @property
    def kwargs_repr(self) -> str:
        """The keyword arguments as Celery wrote them down; may be cut short."""
        return text(self.headers.get("kwargsrepr"))

    @property
    def root_id(self) -> str | None:
        """Id of the task that began the workflow."""
        return text(self.headers.get("root_id")) or None

    @property
    def parent_id(self) -> str | None:
        """Id of the task that called this one."""
        return text(self.headers.get("parent_id")) or None

    @property
    def group(self) -> str | None:
        """Id of the group, or of the chord's header, that it is a member of."""
        return text(self.headers.get("group")) or None

    @property
    def trace_id(self) -> str | None:
        """Of the trace that it died in, where its message carries W3C's `traceparent`."""
        found = _TRACEPARENT.fullmatch(text(self.headers.get("traceparent")))
        return found[1] if found else None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.left_out or len(self.body)

    @property
    def is_finished(self) -> bool:
        """True when nothing is left to do with it."""
        return self.state in FINISHED

    @property
    def is_replayable(self) -> bool:
        """True when it is a message that still has its arguments; what was no message at all cannot be sent as one."""
        if self.left_out or self.unreadable:
            return False
        if self.raw:
            return not self.raw.get("item")
        return bool(self.task and text(self.headers.get("id"))) and not self.unserialisable and not self.lacks_secrets

    @property
    def lacks_secrets(self) -> bool:
        """True when it was carried here without its secrets, and no edit has put all of them back."""
        if not self.redacted:
            return False
        rest = {name: value for name, value in self.headers.items() if name not in ("argsrepr", "kwargsrepr")}
        return not self.edits or MASK.encode() in self.body or MASK in dump([rest, self.batch])

    @property
    def is_addressed(self) -> bool:
        """True when it says which task it is for, so that Celery's own fields in its headers mean what they say."""
        return not self.raw or bool(text(self.headers.get("task")) and text(self.headers.get("id")))

    @property
    def arguments(self) -> tuple[list[Any], dict[str, Any]] | None:
        """`(args, kwargs)`, or None when they cannot be had without unpickling anything.

        From the body when that is JSON text, else from Celery's `argsrepr` and `kwargsrepr` when those are complete
        and made of Python literals.
        """
        decoded = self._decoded()
        if decoded is not None:
            return decoded[0], decoded[1]
        try:
            args, kwargs = ast.literal_eval(self.args_repr), ast.literal_eval(self.kwargs_repr)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if isinstance(args, (list, tuple)) and isinstance(kwargs, dict) and ... not in args:
            return list(args), kwargs
        return None

    @property
    def embed(self) -> dict[str, Any] | None:
        """Celery's part of the body (callbacks, errbacks, chain, chord); None unless the body is JSON text."""
        decoded = self._decoded()
        return None if decoded is None else decoded[2]

    def _decoded(self) -> tuple[list[Any], dict[str, Any], dict[str, Any]] | None:
        """The body's three parts if it is plain JSON text in Celery's layout, else None."""
        if self.left_out or "json" not in self.content_type or self.headers.get("compression") or self.size > DECODED:
            return None
        try:
            args, kwargs, embed = json.loads(self.body.decode("utf-8"))
        except (ValueError, TypeError, RecursionError):
            return None
        if isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed, (dict, type(None))):
            return args, kwargs, embed or {}
        return None

    def message(self, *, to_queue: str | None = None, copy: str | None = None) -> Outgoing:
        """What to publish for a replay: a task at its first attempt, due at once, that knows its past.

        What never became a task goes as it came: its eta, expiry and retries are cleared where it has any.

        `copy` names this one publication (default: a new one). The letter must have been claimed, which gave it its
        token. `expires` goes, because a replay is asked for after the fact; time limits stay.
        """
        headers = dict(self.headers)
        if self.is_addressed or self.raw.get("protocol") == 1:  # which has them in its body; headers count more
            headers |= {"retries": 0, "eta": None, "expires": None}
        headers[HEADER] = {
            "version": VERSION,
            "attempts": [dict(attempt) for attempt in self.attempts],
            "retries": 0,
            "deferrals": 0,
            "replays": self.number,
            "origin": self.origin._asdict(),
            "previous": {"first_failure": self.first_failure, "died_at": self.died_at},
            "replay": {
                "token": self.token,
                "copy": copy or uuid.uuid4().hex,
                "number": self.number,
                "operation": self.operation,
                **({"letter": self.id} if self.raw else {}),
            },
            **({"batch": dict(self.batch)} if self.batch else {}),
            **({"theirs": self.raw["recovery"]} if "recovery" in self.raw else {}),
        }
        properties = dict(self.properties)
        if self.origin.priority is not None:
            properties["priority"] = self.origin.priority
        return Outgoing(
            self.body,
            headers,
            properties,
            self.content_type,
            self.content_encoding,
            to_queue or self.origin.queue,
            "" if to_queue else self.origin.exchange,
            "" if to_queue else self.origin.routing_key,
        )

    def summary(self, redact: Redactor | None = None) -> dict[str, Any]:
        """What a list tells of it, JSON-ready, without secrets, and short: no arguments, attempts, and traceback.

        Ids, and the names of task and group, are shown as they are: they are what it is found by.
        """
        hide = redact or _REDACT
        names = ("reason", "detail", "worker", "code_version", "outcome", "replayed_by", "assignee", "by", "note",
                 "content_type")  # fmt: skip
        error = {name: getattr(self.error, name) for name in _TOLD_OF_ERROR}
        return {
            "id": self.id,
            "task": self.task,
            "state": self.state.value,
            **{name: hide(_short(getattr(self, name))) for name in names},
            "error": {name: hide(_short(value)) for name, value in error.items()},
            "origin": {name: hide(_short(value)) for name, value in self.origin._asdict().items()},
            "attempt": self.attempt,
            "deferrals": self.deferrals,
            "first_failure": self.first_failure,
            "died_at": self.died_at,
            "held": self.held,
            "chords": list(self.chords),
            "unserialisable": self.unserialisable,
            "redacted": self.redacted,
            "replays": self.replays,
            "operation": self.operation,
            "runtime": self.runtime,
            "changed_at": self.changed_at,
            "edits": self.edits,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group": self.group,
            "trace_id": self.trace_id,
            "size": self.size,
        }

    def to_dict(self, redact: Redactor | None = None) -> dict[str, Any]:
        """JSON-ready form for people and machines, without secrets and without the raw body."""
        hide = redact or _REDACT
        return {
            **self.summary(hide),
            "detail": hide(self.detail),
            "error": {**hide(self.error.to_dict()), "traceback": hide(self.error.traceback)},
            "attempts": hide([{name: _short(value) for name, value in one.items()} for one in self.attempts]),
            **self.shown_arguments(hide),
            **({"raw": self._shown_raw(hide)} if self.raw else {}),
            **({"batch": self._shown_batch(hide)} if self.batch_header is not None else {}),
        }

    def shown_arguments(self, hide: Redactor) -> dict[str, Any]:
        """`args` and `kwargs` without secrets, by the names of the task's parameters, too; undecoded ones as text."""
        decoded = self._decoded()
        args, kwargs = (decoded[0], decoded[1]) if decoded else (self.args_repr, self.kwargs_repr)
        return {"args": hide.args(self.task, args, self.secret_args), "kwargs": hide(kwargs)}

    def shown_headers(self, hide: Redactor) -> dict[str, Any]:
        """The headers without secrets; they hold Celery's own text of the arguments."""
        shown: dict[str, Any] = hide(dict(self.headers))
        if "argsrepr" in shown:
            shown["argsrepr"] = hide.args(self.task, self.args_repr, self.secret_args)
        return shown

    def _shown_raw(self, hide: Redactor) -> dict[str, Any]:
        """The message as it came, fit for a screen: nothing is decoded but text, and all of it is cut."""
        properties = hide({**self.properties, **_mapping(self.raw.get("properties"))})
        shown = {
            name: hide(_preview(dump(value).encode("utf-8", "replace")))
            for name, value in (("headers", self.shown_headers(hide)), ("properties", properties))
        }
        return {"body": self._shown_body(hide), "content_encoding": hide(self.content_encoding), **shown}

    def _shown_body(self, hide: Redactor) -> str:
        """Its beginning; of what may be a pickle, in which no secret can be recognised, what tells that it is one."""
        if _PICKLED.search(self.content_type) or self.body[:1] == b"\x80":
            return f"{self.body[:_MAGIC].hex(' ')}… ({self.size} bytes)"
        shown: str = hide(_preview(self.body))
        return shown

    @property
    def batch_header(self) -> BatchHeader | None:
        """Of an item of a batch: which."""
        return BatchHeader.of({"batch": self.batch})

    @property
    def parent(self) -> str:
        """Id of the task whose batch the item is of; empty for any other letter."""
        header = self.batch_header
        return header.parent if header is not None else ""

    def _shown_batch(self, hide: Redactor) -> dict[str, Any] | None:
        header = self.batch_header
        if header is None:
            return None
        items = [
            {"position": item.position, "key": hide(item.key), "value": hide(item.plain()), "shown": hide(item.shown)}
            for item in header.items[:_MOST_ITEMS]
        ]
        return {"parent": header.parent, "name": header.name, "items": items}

    def changed(self, **values: Any) -> Letter:
        """A copy with other values."""
        return replace(self, **values)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(value: Any) -> Any:
    """A text that is longer than any of ours is a stranger's: of that the beginning."""
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value


def _preview(data: bytes) -> str:
    """Text as text, without control characters; anything else as hexadecimal digits. Cut."""
    cut = data[:_PREVIEW]
    more = f"… ({len(data)} bytes)" if len(data) > _PREVIEW else ""
    shown = cut.decode("utf-8", "ignore" if more else "replace")
    if "\ufffd" in shown or (more and len(shown.encode()) < len(cut) - 3):
        return f"{cut[:_HEX].hex(' ')}{'…' if len(data) > _HEX else ''} ({len(data)} bytes)"
    return "".join(char if char.isprintable() else " " for char in shown) + more


_REDACT = Redactor()
