"""`ParkingStore`: the parked tasks in Redis. Every change is one Lua script, on the server's clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import Any, NamedTuple

import redis

from celery_recovery.dead_letters.filter import is_glob
from celery_recovery.dead_letters.search import batches
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.parking.filter import ParkedFilter
from celery_recovery.parking.parked import ParkedTask, about_message, filed_by, read_parked
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("BATCH", "LEASE", "LONGEST", "Claimed", "Look", "ParkedPage", "ParkingStats", "ParkingStore")

#: Seconds that a claim keeps others away.
LEASE = 15.0
#: Most tasks claimed at once, and bytes of bodies after which a claim takes no more.
BATCH, BYTES = 100, 4_000_000
#: Tasks that one call of `parked_find` looks at, at most.
LOOK = 2000
#: Seconds after which a task goes back whatever its circuit says: one that never closes is to be noticed.
LONGEST = 3600.0
#: Seconds for which nobody else asks a circuit that one is about to ask.
LOOK_PAUSE = 1.0
#: Seconds after a failure in which `add` does not ask a Redis that is away again: a worker's consumer must not wait.
REST = 3.0


class ParkedPage(NamedTuple):
    """Some parked tasks, the one that is due first in front, and the cursor that continues; None at the end."""

    tasks: list[ParkedTask]
    cursor: str | None


class Claimed(NamedTuple):
    """What a claim got."""

    token: str
    tasks: list[ParkedTask]
    #: Key -> why not: `"leased"` or `"unknown"`.
    others: dict[str, str]
    #: Seconds until the next task is to be looked at; None: none is left.
    next_due: float | None


class Look(NamedTuple):
    """Whose turn it is among the circuits that tasks wait for."""

    #: To be asked now how many of its tasks may go; empty: none is.
    circuit: str
    #: Tasks that wait for it, and that nobody has claimed.
    waiting: int
    #: Seconds until the next one is to be asked; None: no task waits for a circuit.
    next_look: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingStats:
    """Figures about all parked tasks."""

    count: int
    #: Due by now, whatever a circuit says, and claimed by nobody.
    overdue: int
    #: No queue takes them; tried again now and then.
    refused: int
    #: When the first goes back by time (unix s): one that waits for a circuit an hour later. None without any.
    oldest_due: float | None
    #: Largest first.
    by_task: Mapping[str, int]
    by_queue: Mapping[str, int]
    by_reason: Mapping[str, int]
    #: Of those that wait for a circuit.
    by_circuit: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


class ParkingStore:
    """The parked tasks of one application in one Redis; every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client = client
        self.keys = keys
        self._scripts = Scripts(client, keys)
        self._failed_at: float | None = None

    # -- the life of an entry

    def add(self, parked: ParkedTask) -> bool:
        """Park it, in one round trip; False when it was parked already. Fails at once for a while after a failure."""
        if self._failed_at is not None and time.monotonic() - self._failed_at < REST:
            raise StoreUnavailable("the Redis that holds parked tasks was away a moment ago")
        pairs = chain.from_iterable(filed_by(parked).items())
        expires = "" if parked.expires is None else f"{parked.expires:.6f}"
        message = (about_message(parked), parked.body)
        arguments = (parked.key, f"{parked.due:.6f}", *message, LONGEST, expires, *pairs)
        return bool(self._run("parked_add", arguments) == b"parked")

    def claim(
        self,
        token: str,
        keys: Sequence[str] = (),
        *,
        circuit: str = "",
        next_look: float | None = None,
        limit: int = BATCH,
        lease: float | None = None,
    ) -> Claimed:
        """Claim those that are due, or the first in line for `circuit`, or the ones named; large bodies make it fewer.

        The claim lasts `lease` seconds (`LEASE`). In `next_look` seconds the circuit is to be asked again.
        """
        line = (circuit.encode("utf-8", "replace"), "" if next_look is None else f"{next_look:.6f}")
        wait, *replies = self._run("parked_claim", (token, lease or LEASE, limit, BYTES, *line, *keys))
        tasks, others = [], {}
        for key, status, *detail in replies:
            if status == b"claimed":
                tasks.append(read_parked(key.decode(), detail[0]))
            else:
                others[key.decode()] = status.decode()
        return Claimed(token, tasks, others, float(wait) if wait else None)

    def look(self) -> Look:
        """The circuit that is to be asked now; for `LOOK_PAUSE` seconds nobody else is told to ask it."""
        circuit, waiting, wait = self._run("parked_look", (LOOK_PAUSE,))
        return Look(circuit.decode("utf-8", "replace"), waiting, float(wait) if wait else None)

    def remove(self, token: str, keys: Sequence[str]) -> int:
        """Take away what this claim has seen to; returns how many of them were still its own."""
        return int(self._run("parked_remove", (token, *keys)))

    def unclaim(self, token: str, keys: Sequence[str], *, why: str = "", pause: float = 0.0) -> int:
        """Give claimed tasks back; refused by the broker (`why`), they are tried again after `pause` seconds."""
        arguments = (token, why[:500].encode("utf-8", "replace"), pause, *keys)
        return int(self._run("parked_unclaim", arguments)) if keys else 0

    # -- reading

    def get_many(self, keys: Sequence[str]) -> list[ParkedTask | None]:
        """Parked tasks by key, in the order asked; None for those that are not there."""
        rows = self._run("parked_read", keys) if keys else []
        return [read_parked(key, row) if row else None for key, row in zip(keys, rows, strict=True)]

    def find(self, where: ParkedFilter, *, cursor: str | None = None, limit: int = 50) -> ParkedPage:
        """One page, the one that is due first in front. `cursor` is the last page's."""
        keys = list(islice(self._walk(where, cursor, limit + 1), limit + 1))
        tasks = [parked for parked in self.get_many([key for _, key in keys[:limit]]) if parked is not None]
        more = len(keys) > limit > 0
        return ParkedPage(tasks, "{}/{}".format(*keys[limit - 1]) if more else None)

    def iterate(self, where: ParkedFilter) -> Iterator[ParkedTask]:
        """All that agree with the filter, in constant memory. What changes meanwhile may be seen or not."""
        for batch in batches(self.iterate_keys(where)):
            yield from (parked for parked in self.get_many(batch) if parked is not None)

    def iterate_keys(self, where: ParkedFilter) -> Iterator[str]:
        """Like `iterate`, keys only: messages are not read."""
        return (key for _, key in self._walk(where, None, LOOK))

    def count(self, where: ParkedFilter) -> int:
        """How many agree with the filter."""
        return self.stats().count if where.is_empty else sum(1 for _ in self.iterate_keys(where))

    def stats(self) -> ParkingStats:
        """Figures from counters that the scripts keep: the cost does not grow with the parked tasks."""
        count, overdue, refused, oldest, *counts = self._run("parked_stats", ())
        by_circuit, by_task, by_queue, by_reason = map(_counts, counts)
        return ParkingStats(
            count=count,
            overdue=overdue,
            refused=refused,
            oldest_due=float(oldest) if oldest else None,
            by_task=by_task,
            by_queue=by_queue,
            by_reason=by_reason,
            by_circuit=by_circuit,
        )

    # -- within

    def _walk(self, where: ParkedFilter, cursor: str | None, chunk: int) -> Iterator[tuple[str, str]]:
        """Score and key of those that agree, in the order of the index."""
        accepted = json.dumps(self._accepted(where))
        latest = "" if where.due_before is None else f"{where.due_before:.6f}"
        score, _, key = (cursor or "").partition("/")
        more = True
        while more:
            arguments = (score, key, min(chunk, LOOK), LOOK, latest, accepted)
            flag, last_score, last_key, found = self._run("parked_find", arguments)
            more = flag == b"1"
            score, key = (last_score.decode(), last_key.decode()) if last_score else (score, key)
            pairs = iter(found)
            yield from ((at.decode(), one.decode()) for one, at in zip(pairs, pairs, strict=True))

    def _accepted(self, where: ParkedFilter) -> dict[str, list[str]]:
        """Field of the hash -> accepted values, patterns resolved against those that occur."""
        asked = {"task": where.task, "queue": where.queue, "reason": where.reason, "circuit": where.circuit}
        accepted = {name: self._values(name, values) for name, values in asked.items() if values}
        return {**accepted, **({"ids": list(where.ids)} if where.ids else {})}

    def _values(self, dimension: str, asked: Sequence[str]) -> list[str]:
        if not any(map(is_glob, asked)):
            return list(asked)
        with reachable(self.client):
            known: Iterable[Any] = (
                self.client.zrange(self.keys.parked_circuits, 0, -1)
                if dimension == "circuit"
                else self.client.hkeys(self.keys.parked_count(dimension))
            )
        names = [value.decode("utf-8", "replace") for value in known]
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in asked)]

    def _run(self, name: str, arguments: Iterable[Any]) -> Any:
        try:
            reply = self._scripts(name, arguments)
        except StoreUnavailable:
            self._failed_at = time.monotonic()
            raise
        self._failed_at = None
        return reply


def _counts(reply: Sequence[bytes]) -> dict[str, int]:
    """A flat list of values and counts, largest first."""
    pairs = iter(reply)
    counts = [(name.decode("utf-8", "replace"), int(count)) for name, count in zip(pairs, pairs, strict=True)]
    return dict(sorted(counts, key=lambda pair: (-pair[1], pair[0])))
