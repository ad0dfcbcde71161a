"""An outcome that the result backend does not have yet: as a record, in the store, and on its way to the backend."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Literal

import redis
from celery import Celery
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.result import result_from_tuple
from celery.utils.functional import arity_greater
from kombu.exceptions import EncodeError, SerializerNotInstalled
from kombu.serialization import dumps, loads, registry

from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("CLAIM_EXPIRES", "LEASE", "Outcome", "Owed", "OwedStore", "call_errback", "chord_is_claimed")

#: Seconds for which a claimed record is nobody else's; then its settler is taken for dead.
LEASE = 30.0
#: Records that one store keeps at most; beyond, results stay in the workers' memory.
LIMIT = 100_000
#: Seconds that a record is kept where results do not expire themselves.
LONGEST = 30 * 86400.0
#: Seconds after which a chord's dispatch, claimed by a try that failed, is looked at again (Celery's claim: 6 s).
CLAIM_EXPIRES = 10.0

#: What the backends read of a request when they store an outcome.
_FACTS = (
    "id", "task", "group", "group_index", "chord", "root_id", "parent_id", "ignore_result", "hostname", "retries",
    "delivery_info", "stamps", "stamped_headers", "reply_to", "correlation_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended, as Celery hands it to the backend."""

    #: The backend's method: `mark_as_<kind>`, or `store_result`.
    kind: Literal["done", "failure", "revoked", "store"]
    id: str
    state: str
    #: Return value, exception, either of them as the backend prepares it for storage, or the reason of a revocation.
    result: Any
    traceback: str | None = None
    request: Context | None = None
    #: False: the result is ignored, but a chord or an errback waits.
    store: bool = True

    @property
    def matters(self) -> bool:
        """Whether the backend has anything to do."""
        return self.store or bool(self.request and (self.request.chord or self.request.chain))

    def store_in(self, backend: Any) -> None:
        """Store it and complete the chord; errbacks are not called. Raises whatever the backend raises."""
        if self.kind == "done":
            backend.mark_as_done(self.id, self.result, self.request, self.store, self.state)
        elif self.kind == "revoked":
            backend.mark_as_revoked(self.id, self.result, self.request, self.store, self.state)
        elif self.kind == "failure":
            backend.mark_as_failure(
                self.id, self.result, traceback=self.traceback, request=self.request, store_result=self.store,
                call_errbacks=False, state=self.state,
            )  # fmt: skip
        else:
            backend.store_result(self.id, self.result, self.state, traceback=self.traceback, request=self.request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """An outcome written down, so that another process can store it later."""

    id: str
    #: Name of the task; empty when not known.
    task: str
    state: str
    #: Unix time (seconds) at which it was first to be stored.
    at: float
    #: Tells this record from an older or newer one of the same task.
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    #: The result, written by the backend's own serialiser.
    result: bytes
    result_type: str
    #: Everything else that storing needs, written by whichever accepted serialiser can.
    facts: bytes
    facts_type: str
    #: How often settling it has failed for reasons of its own.
    tries: int = 0

    @classmethod
    def of(cls, app: Celery, backend: Any, task: str, outcome: Outcome, errbacks: Sequence[Any] = ()) -> Owed:
        """Write it down; `errbacks` are those still to be called. Raises kombu's EncodeError where that cannot be."""
        prepared = outcome.result
        if outcome.kind != "revoked":
            prepared = backend.encode_result(prepared, outcome.state)
        own = (backend.serializer,) if backend.serializer in registry._encoders else ("json",)  # noqa: SLF001
        result_type, result = _written(prepared, own)
        accepted = (registry.type_to_name.get(name, name) for name in app.conf.accept_content or ())
        facts_type, facts = _written(_facts(app, outcome, errbacks), ("json", *accepted))
        return cls(
            id=outcome.id, task=task, state=outcome.state, at=time.time(),
            result=result, result_type=result_type, facts=facts, facts_type=facts_type,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.result) + len(self.facts)

    def read(self, app: Celery) -> tuple[Outcome, list[Any]]:
        """The outcome again, and the errbacks still to be called."""
        facts = _read(self.facts, self.facts_type)
        request = None
        if facts["request"] is not None:
            request = Context(facts["request"])
            request._children = [result_from_tuple(child, app) for child in facts["children"] or ()]  # noqa: SLF001
        outcome = Outcome(
            kind=facts["kind"], id=self.id, state=self.state, result=_read(self.result, self.result_type),
            traceback=facts["traceback"], request=request, store=facts["store"],
        )  # fmt: skip
        return outcome, facts["errbacks"] or []


def call_errback(backend: Any, outcome: Outcome, errback: Any) -> None:
    """Call one as Celery would: in this process, or as a task of its own. Raises what publishing raises.

    Celery sends even a single one as a group, whose results the Redis backend subscribes to: after the errback was
    sent, and for 20 s in vain.
    """
    request = copy(outcome.request)
    assert request is not None  # noqa: S101  # without one there are no errbacks
    signature = backend.app.signature(errback)
    if _is_called_here(backend, signature):
        request.errbacks = [errback]
        exc = backend.exception_to_python(outcome.result)
        backend._call_task_errbacks(request, exc, outcome.traceback)  # noqa: SLF001  # Celery has no other name for it
    else:
        signature.apply_async((outcome.id,), parent_id=outcome.id, root_id=request.root_id or outcome.id)


def _is_called_here(backend: Any, signature: Any) -> bool:
    """Celery's own rule: errbacks known here that take more than a task's id."""
    try:
        header = getattr(signature.type, "__header__", None)
    except NotRegistered:
        return False
    if header is None or isinstance(header, partial):
        return False
    takes_more = getattr(backend, "_errback_arity_greater", None)  # since Celery 5.7
    return bool(takes_more(signature, 1) if takes_more else arity_greater(header, 1))


def chord_is_claimed(backend: Any, request: Context | None) -> bool:
    """True while some process has taken it on to send the chord's body, and has not said that it did.

    Celery's Redis backend lets one process claim that, for some seconds. One that fails in the middle leaves the claim
    behind, and a repetition within those seconds does nothing and says nothing.
    """
    if request is None or not (request.chord and request.group):
        return False
    if not hasattr(type(backend), "_chord_part_return_script"):
        return False
    claim = backend.client.get(backend.get_key_for_group(request.group, ".c"))
    return claim not in (None, b"done", "done")


class OwedStore:
    """Owed outcomes in the recovery store, claimed with a lease. Every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, *, expires: float | None) -> None:
        self._run = Scripts(client, keys)
        self._expires = int(expires or LONGEST)

    def add(self, owed: Owed, delay: float = 0.0) -> bool:
        """Keep it, in place of an older one of the same task; due in `delay` seconds. False: there are too many."""
        pairs = [part for item in asdict(owed).items() for part in item]
        return bool(self._run("owed_add", (owed.id, delay, self._expires, LIMIT, *pairs)) == b"owed")

    def claim(self, count: int, lease: float = LEASE) -> list[Owed]:
        """Up to `count` that are due, the longest due first; nobody else gets them for `lease` seconds."""
        return [_record(row) for row in self._run("owed_claim", (count, lease))]

    def settled(self, owed: Owed) -> bool:
        """Remove it; False when a newer one has taken its place."""
        return bool(self._run("owed_settle", (owed.id, owed.mark)) == b"settled")

    def release(self, owed: Owed, delay: float, *, failed: bool = False) -> None:
        """Claimed in vain: due again in `delay` seconds. `failed`: for a reason of its own."""
        self._run("owed_release", (owed.id, owed.mark, delay, int(failed)))

    def get(self, task_id: str) -> Owed | None:
        """The record of one task; None: nothing is owed for it."""
        row = self._run("owed_read", (task_id,))
        return _record(row) if row else None


def _facts(app: Celery, outcome: Outcome, errbacks: Sequence[Any]) -> dict[str, Any]:
    request = outcome.request
    kept: dict[str, Any] | None = None
    if request is not None:
        names = [*_FACTS]
        names += ["chain"] if outcome.kind == "failure" else []
        names += ["args", "kwargs"] if app.conf.find_value_for_key("extended", "result") else []
        kept = {name: value for name in names if (value := getattr(request, name, None)) is not None}
    return {
        "kind": outcome.kind,
        "store": outcome.store,
        "traceback": None if outcome.traceback is None else str(outcome.traceback),
        "request": kept,
        "children": [child.as_tuple() for child in getattr(request, "children", None) or ()],
        "errbacks": list(errbacks),
    }


def _written(data: Any, serializers: Iterable[str]) -> tuple[str, bytes]:
    """By the first serialiser that can; raises what the first installed one raised."""
    refused: Exception | None = None
    for serializer in dict.fromkeys(serializers):
        try:
            content_type, encoding, body = dumps(data, serializer=serializer)
        except SerializerNotInstalled:
            continue
        except Exception as exc:  # noqa: BLE001  # kombu wraps what it knows; a value may raise anything
            refused = refused or exc
            continue
        return f"{content_type};{encoding}", body.encode() if isinstance(body, str) else body
    raise refused or EncodeError("no serialiser is installed")


def _read(body: bytes, kind: str) -> Any:
    content_type, _, encoding = kind.partition(";")
    return loads(body, content_type, encoding, accept={content_type})


def _record(row: list[bytes]) -> Owed:
    """A hash as Redis sends it."""
    values = {key.decode(): value for key, value in zip(row[::2], row[1::2], strict=True)}
    read: dict[str, Any] = {}
    for item in fields(Owed):
        value = values[item.name]
        read[item.name] = value if item.type == "bytes" else value.decode()
    return Owed(**{**read, "at": float(read["at"]), "tries": int(read["tries"])})
