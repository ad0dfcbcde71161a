"""Replays on the record: who asked for what, when, and how it went."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from typing import Any

import redis

from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("Operations", "who")

#: Replays that are listed.
LIST_LIMIT = 1000
#: Seconds that a record is kept after its last change.
RETENTION = 30 * 86400


class Operations:
    """The records of one store; every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def begin(self, **what: Any) -> str:
        """Open a record; returns the operation's id, which tokens and headers carry too."""
        operation = uuid.uuid4().hex
        started = time.time()
        with reachable(self._client), self._client.pipeline() as pipe:
            pipe.zadd(self._keys.operations, {operation: started})
            pipe.zremrangebyrank(self._keys.operations, 0, -LIST_LIMIT - 1)
            pipe.expire(self._keys.operations, RETENTION)
            self._write(pipe, operation, {"started_at": f"{started:.3f}", **what})
            pipe.execute()
        return operation

    def note(self, operation: str, **what: Any) -> None:
        """Write down what is known now."""
        with reachable(self._client), self._client.pipeline() as pipe:
            self._write(pipe, operation, what)
            pipe.execute()

    def get(self, operation: str) -> dict[str, str]:
        """One record, as texts; empty when there is none."""
        with reachable(self._client):
            found: Any = self._client.hgetall(self._keys.operation(operation))
        return {name.decode(): value.decode() for name, value in found.items()}

    def latest(self, limit: int = 20) -> list[str]:
        """Ids, the latest first."""
        with reachable(self._client):
            found: Any = self._client.zrevrange(self._keys.operations, 0, limit - 1)
        return [operation.decode() for operation in found]

    def _write(self, pipe: Any, operation: str, what: dict[str, Any]) -> None:
        key = self._keys.operation(operation)
        pipe.hset(key, mapping={name: str(value) for name, value in what.items()})
        pipe.expire(key, RETENTION)


def who() -> str:
    """The person at this terminal, as `user@host`, as far as the system knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user id, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
