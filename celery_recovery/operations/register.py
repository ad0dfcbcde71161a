"""The operations of one store: their records, their frozen sets of letters, and who runs them.

    prepare ─► add ids … ─► begin ─► take ─► advance … ─► end
                                     (a lease; renewed while it runs)

A record that is begun has its whole set; one whose tool died before that does nothing. What its letters come to is
counted by the scripts that move them, in the same step, so a kill loses no count and makes none twice.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from celery_recovery.audit import Audit
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.search import batches
from celery_recovery.exceptions import OperationNotFound
from celery_recovery.operations.operation import ENDED, Operation, OperationState
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("LEASE", "Register")

#: Operations that are listed; the oldest beyond them are forgotten.
LIST_LIMIT = 1000
#: Seconds that a record and its set are kept after the last change.
RETENTION = 30 * 86400
#: Seconds after which an operation is taken from a runner that is not heard of.
LEASE = 15.0
#: Ids written in one round trip.
BATCH = 2000

logger = logging.getLogger("celery_recovery")
_Row = tuple[str, dict[str, str], str]
#: Ids of operations that were found not to be understood, in this process: each is told once.
_odd: set[str] = set()


class Register:
    """Reads and writes the records; every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, audit: Audit | None = None) -> None:
        self._client = client
        self._keys = keys
        self._run = Scripts(client, keys)
        self.audit = audit or Audit(client, keys)

    # -- making one

    def create(self, kind: str, ids: Iterable[str], *, by: str, unattended: bool = False, **what: Any) -> Operation:
        """Write down a set of letters and what is to be done with it; a kill before the end leaves nothing to run.

        `what`: filter, terms, reason, via.
        """
        self.audit.allow(kind)
        operation_id = uuid.uuid4().hex
        record = {"kind": kind, "by": by, "unattended": int(unattended), "created_at": f"{time.time():.3f}", **what}
        self._write(operation_id, {"state": OperationState.PREPARING.value, **record})
        selected = 0
        for batch in batches(ids, BATCH):
            with reachable(self._client), self._client.pipeline() as pipe:
                pipe.rpush(self._keys.operation_ids(operation_id), *batch)
                pipe.expire(self._keys.operation_ids(operation_id), RETENTION)
                pipe.execute()
            selected += len(batch)
        with reachable(self._client), self._client.pipeline() as pipe:
            pipe.zadd(self._keys.operations, {operation_id: time.time()})
            pipe.zremrangebyrank(self._keys.operations, 0, -LIST_LIMIT - 1)
            pipe.sadd(self._keys.operations_open, operation_id)
            self._hset(pipe, operation_id, {"state": OperationState.RUNNING.value, "selected": selected})
            told = {name: what.get(name) for name in ("filter", "reason", "via")}
            told["terms"] = self._terms(what.get("terms") or {})
            self.audit.add(f"{kind} begun", by=by, operation=operation_id, selected=selected, pipe=pipe, **told)
            pipe.execute()
        return self.get(operation_id)

    def _terms(self, terms: Mapping[str, Any]) -> dict[str, Any]:
        """What stands of them in the audit."""
        return {
            name: Edit.from_dict(value).told(self.audit.hide) if name == "edit" else value
            for name, value in terms.items()
        }

    # -- reading

    def get(self, operation_id: str) -> Operation:
        """One record. Raises `OperationNotFound`."""
        found = self._records((operation_id,))
        if not found:
            raise OperationNotFound(f"There is no operation with the id {operation_id}.")
        return found[0]

    def latest(self, limit: int = 20) -> list[Operation]:
        """The latest first."""
        with reachable(self._client):
            found: Any = self._client.zrevrange(self._keys.operations, 0, limit - 1)
        return self._records([one.decode() for one in found])

    def orphans(self) -> list[Operation]:
        """Those that should run, that nobody runs, and that any worker may go on with."""
        with reachable(self._client):
            found: Any = self._client.smembers(self._keys.operations_open)
        rows = self._rows([one.decode() for one in found])
        over = {state.value for state in ENDED}
        ended = [one for one, record, _ in rows if not record or record.get("state") in over]
        if ended:
            with reachable(self._client):
                self._client.srem(self._keys.operations_open, *ended)
        return [one for one in _read(rows) if one.is_orphan and one.unattended]

    def known(self, start: str) -> list[str]:
        """Ids that begin so."""
        with reachable(self._client):
            found: Any = self._client.zrevrange(self._keys.operations, 0, -1)
        return [one.decode() for one in found if one.decode().startswith(start)]

    def ids(self, operation_id: str, start: int, count: int) -> list[str]:
        """A part of its set, in the order in which it is gone through."""
        with reachable(self._client):
            found: Any = self._client.lrange(self._keys.operation_ids(operation_id), start, start + count - 1)
        return [one.decode() for one in found]

    def all_ids(self, operation_id: str, start: int = 0) -> Iterator[str]:
        """All of its set from there on, in constant memory."""
        while page := self.ids(operation_id, start, BATCH):
            yield from page
            start += len(page)

    # -- running

    def take(self, operation_id: str) -> str:
        """Become the one who runs it; returns the token of the lease, or an empty text: somebody else does."""
        token = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex}"
        key = self._keys.operation_runner(operation_id)
        with reachable(self._client):
            taken = self._client.set(key, token, nx=True, px=int(LEASE * 1000))
        return token if taken else ""

    def advance(self, operation_id: str, token: str, **what: Any) -> Operation | None:
        """Renew the lease and note what is known; the record as it is now, or None: the lease is another's."""
        pairs = [part for name, value in what.items() for part in (name, _text(value))]
        arguments = (operation_id, token, int(LEASE * 1000), RETENTION, *pairs)
        if self._run("operation_advance", arguments) != b"noted":
            return None
        return self.get(operation_id)

    def leave(self, operation_id: str, token: str) -> None:
        """Run it no longer."""
        self._run("operation_leave", (operation_id, token))

    # -- what people ask for

    def ask(self, operation_id: str, wanted: str, *, by: str, via: str = "", reason: str = "") -> Operation:
        """Ask for `"paused"`, `"cancelled"` or `"running"`. Whoever runs it follows after its batch.

        One that nobody runs is changed at once. What has ended stays as it is.
        """
        self.audit.allow(f"operation {wanted}")
        status = self._run("operation_ask", (operation_id, wanted, f"{wanted} by {by}")).decode()
        if status == "unknown":
            raise OperationNotFound(f"There is no operation with the id {operation_id}.")
        operation = self.get(operation_id)
        self.audit.add(
            f"{operation.kind} {wanted}", by=by, via=via, reason=reason, operation=operation_id, outcome=status
        )
        return operation

    # -- within

    def _write(self, operation_id: str, what: Mapping[str, Any]) -> None:
        with reachable(self._client), self._client.pipeline() as pipe:
            self._hset(pipe, operation_id, what)
            pipe.execute()

    def _hset(self, pipe: Any, operation_id: str, what: Mapping[str, Any]) -> None:
        key = self._keys.operation(operation_id)
        pipe.hset(key, mapping={name: _text(value) for name, value in what.items() if value is not None})
        pipe.hset(key, "changed_at", f"{time.time():.3f}")
        pipe.expire(key, RETENTION)

    def _records(self, ids: Iterable[str]) -> list[Operation]:
        return _read(self._rows(list(ids)))

    def _rows(self, ids: Sequence[str]) -> list[_Row]:
        """Id, record (empty: there is none), and who runs it."""
        if not ids:
            return []
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for one in ids:
                pipe.hgetall(self._keys.operation(one))
                pipe.get(self._keys.operation_runner(one))
            replies: list[Any] = pipe.execute()
        return [
            (
                one,
                {name.decode(): value.decode("utf-8", "replace") for name, value in record.items()},
                runner.decode().rpartition("/")[0] if runner else "",
            )
            for one, record, runner in zip(ids, replies[::2], replies[1::2], strict=True)
        ]


def _read(rows: Iterable[_Row]) -> list[Operation]:
    """Those that this version understands. What a newer one has written disturbs none of the others."""
    found = []
    for one, record, runner in rows:
        try:
            if record:
                found.append(Operation.from_record(one, record, runner))
        except (ValueError, TypeError) as exc:
            if one not in _odd:
                _odd.add(one)
                logger.warning(
                    "the operation %s is left alone, this version does not understand it: %s", one, exc,
                    extra={"action": "odd_operation", "operation": one},
                )  # fmt: skip
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)
