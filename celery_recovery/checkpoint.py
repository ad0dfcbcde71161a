"""`self.checkpoint`: where a task stands, kept through retries, redelivery, crashes and replays.

    @app.task(base=RecoverableTask, bind=True)
    def import_orders(self, path):
        done = self.checkpoint.load(0)          # 0 the first time, and again after a success
        for n, row in enumerate(read(path)):
            if n >= done:
                write(row)
                self.checkpoint.save(n + 1)     # any JSON

It is kept under the task's id; `self.checkpoint("orders-2026-11")` is one under a key of the user's own, which another
message of the same task finds again. Redis has it (`redis/keys.py`); nothing is kept, or asked, for a task that does
not use it.

**One run has it.** The first `load` or `save` of a run takes the checkpoint over, under a *fence*, a number that grows.
A run of which another has taken over (a worker that was taken for dead, and lives) is told so by `CheckpointFenced` at
its next word, and its message waits until the other run has ended.

**Success ends it.** The state stays for a day for the message that succeeded, because a worker may die before the
result is stored: run again, it finds what it had done. Every other run begins anew. A failure keeps it, for the retry,
and for the replay of its letter; after `recovery_checkpoint_ttl` it is dropped.

While Redis is away `load` and `save` raise `StoreUnavailable`: the attempt fails, and is retried by policy. A run that
did not know what it had done would do all of it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from celery_recovery.audit import Audit, recorded
from celery_recovery.exceptions import CheckpointFenced, CheckpointTooLarge, ConfigurationError
from celery_recovery.redact import Redactor
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("Checkpoint", "CheckpointStore", "Run", "SavedCheckpoint", "checkpoint_name")

#: Longest key, in characters.
LONGEST_KEY = 200
#: Characters of a state that a list tells.
BEGINNING = 2000


class Run(NamedTuple):
    """Who asks: one run of one message."""

    task: str
    task_id: str
    #: See `passage.py`; "": nothing tells the copies of its message apart.
    life: str = ""
    step: int = 0
    attempt: int = 1
    worker: str = ""
    #: A success counts for each message of this id, not for its own alone.
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """One checkpoint as it is shown. Times are unix seconds of the Redis server."""

    name: str
    task: str
    task_id: str
    worker: str
    attempt: int
    begun_at: float
    opened_at: float
    #: None: it was opened, and nothing is saved.
    saved_at: float | None
    saves: int
    #: Bytes of the state as JSON.
    size: int
    state: Any = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {name: getattr(self, name) for name in self.__slots__}

    def beginning(self, hide: Redactor) -> str:
        """The beginning of the state as text, without secrets, for a list."""
        return hide.text(json.dumps(self.state, ensure_ascii=False, default=repr)[:BEGINNING])


class CheckpointStore:
    """The checkpoints of one application. Every method raises `StoreUnavailable`. Durations are seconds."""

    def __init__(
        self, client: redis.Redis, keys: Keys, *, ttl: float, kept: float, most: int, audit: Audit | None = None
    ) -> None:
        self.client = client
        self.audit = audit
        self.keys = keys
        #: For how long the message of a success finds its state again.
        self.kept = kept
        #: Most bytes of a state as JSON.
        self.most = most
        self._ttl = ttl
        self._run = Scripts(client, keys)

    def open(self, name: str, run: Run) -> tuple[str, bytes | None]:
        """Take it over: the fence, and the state as JSON. Raises `CheckpointFenced` where a later message has it."""
        who = json.dumps({"task": run.task, "id": run.task_id, "worker": run.worker, "attempt": run.attempt})
        arguments = (name, run.life, run.step, who, self._seconds(self._ttl), int(run.once))
        fence, state = self._run("checkpoint_open", arguments)
        if fence == b"0":
            raise CheckpointFenced
        return fence.decode(), state

    def save(self, name: str, fence: str, state: bytes, progress: Run | None = None) -> None:
        """Save it; b"" forgets it. `progress`: this run has got further by it. Raises `CheckpointFenced`."""
        moved = (progress.life, progress.step) if progress is not None else ("", 0)
        arguments = (name, fence, state, self._seconds(self._ttl), *moved, self._seconds(self.kept))
        self._held(self._run("checkpoint_save", arguments))

    def finish(self, name: str, fence: str, run: Run) -> None:
        """The run has succeeded. Raises `CheckpointFenced`."""
        self._held(self._run("checkpoint_finish", (name, fence, run.life, self._seconds(self.kept))))

    def join(self, name: str, part: int, done: Sequence[int], total: int, who: Mapping[str, Any]) -> dict[str, Any]:
        """One part of a fanned-out batch is so far (done, succeeded, failed, discarded); what all are, together."""
        told = self._run("fan_note", (name, part, *done, total, json.dumps(who), self._seconds(self._ttl)))
        joint: dict[str, Any] = json.loads(told)
        return joint

    def get(self, name: str) -> SavedCheckpoint | None:
        """One checkpoint; None: there is none, or its task has succeeded."""
        with reachable(self.client):
            found: Any = self.client.hgetall(self.keys.checkpoint(name))
        fields = {key.decode(): value for key, value in found.items()}
        return _seen(name, fields) if fields and "finished" not in fields else None

    def names(self) -> list[str]:
        """Those of tasks that have not succeeded, the one that was saved last in front."""
        with reachable(self.client):
            found: Any = self.client.zrevrange(self.keys.checkpoints, 0, -1)
        return [name.decode("utf-8", "replace") for name in found]

    def iterate(self) -> Iterator[SavedCheckpoint]:
        """Each of them, without its state."""
        for name in self.names():
            if (one := self.get(name)) is not None:
                yield one

    def clear(self, name: str, *, by: str | None = None, via: str | None = "code") -> bool:
        """Drop it: a run that has it is told at its next word. False: there was none."""
        with recorded(self.audit, "checkpoint clear", by=by, via=via, target=name), reachable(self.client):
            pipeline = self.client.pipeline(transaction=True)
            pipeline.delete(self.keys.checkpoint(name))
            pipeline.zrem(self.keys.checkpoints, name)
            return bool(pipeline.execute()[0])

    @staticmethod
    def _held(answer: bytes) -> None:
        if answer != b"1":
            raise CheckpointFenced

    @staticmethod
    def _seconds(duration: float) -> int:
        return max(int(duration), 1)


class Checkpoint:
    """One checkpoint of one run. `self.checkpoint` is that of the task's id; call it with a key for another."""

    def __init__(self, store: CheckpointStore | None, run: Run, name: str, others: dict[str, Checkpoint]) -> None:
        self._store = store
        self._run = run
        self._name = name
        self._fence: str | None = None
        self._state: bytes | None = None
        #: All of this run, by name; to be finished with it.
        self._others = others
        others[name] = self

    def __call__(self, key: str) -> Checkpoint:
        """The one under a key of one's own, 1 to 200 printable characters; tasks of another name have others."""
        name = checkpoint_name(self._run, key)
        return self._others.get(name) or Checkpoint(self._store, self._run, name, self._others)

    def of_batch(self, name: str) -> Checkpoint:
        """Where a batch stands, beside what the task itself saves here."""
        full = f"batch:{name}:{self._name}"
        return self._others.get(full) or Checkpoint(self._store, self._run, full, self._others)

    def load(self, default: Any = None) -> Any:
        """What was saved last, by this run or one before; `default` if nothing was."""
        self._open()
        return default if self._state is None else json.loads(self._state)

    def save(self, state: Any, *, progress: bool = False) -> None:
        """Keep this; `progress`: a run that dies from here on has got further than those before it.

        Raises `CheckpointFenced`, `CheckpointTooLarge`, `StoreUnavailable`, and TypeError for no JSON.
        """
        told = json.dumps(state, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        if self._store is not None and len(told) > self._store.most:
            raise CheckpointTooLarge(
                f"the checkpoint of {self._run.task} is {len(told):,} bytes as JSON; recovery_checkpoint_size allows"
                f" {self._store.most:,}. Save where to go on, not what was done"
            )
        self._write(told, progress=progress)

    def clear(self) -> None:
        """Forget what was saved: the next `load` gives its default."""
        self._write(b"")

    def finish(self) -> None:
        """The run has succeeded; called by the task's base class."""
        if self._store is not None and self._fence is not None:
            self._store.finish(self._name, self._fence, self._run)

    def _write(self, told: bytes, *, progress: bool = False) -> None:
        fence = self._open()
        if self._store is not None:
            self._store.save(self._name, fence, told, self._run if progress else None)
        self._state = told or None

    def _open(self) -> str:
        if self._fence is None:
            self._fence, self._state = ("", None) if self._store is None else self._store.open(self._name, self._run)
        return self._fence


def checkpoint_name(run: Run, key: str | None = None) -> str:
    """The name that Redis knows it by. Raises `ConfigurationError` for a key that is none."""
    if key is None:
        return f"id:{run.task_id}"
    if isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY and key.isprintable():
        return f"key:{run.task}:{key}"
    raise ConfigurationError.of("checkpoint.key", expected="1 to 200 printable characters", got=key)


def _seen(name: str, fields: Mapping[str, bytes]) -> SavedCheckpoint:
    who = _json(fields.get("who", b"{}")) or {}
    saved = fields.get("saved_at")
    return SavedCheckpoint(
        name=name,
        task=str(who.get("task", "")),
        task_id=str(who.get("id", "")),
        worker=str(who.get("worker", "")),
        attempt=int(who.get("attempt", 0)),
        begun_at=float(fields.get("begun_at", 0)),
        opened_at=float(fields.get("opened_at", 0)),
        saved_at=float(saved) if saved else None,
        saves=int(fields.get("saves", 0)),
        size=int(fields.get("size", 0)),
        state=_json(fields["state"]) if "state" in fields else None,
    )


def _json(told: bytes) -> Any:
    try:
        return json.loads(told)
    except ValueError:
        return None
