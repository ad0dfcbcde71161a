"""`Fleet`: how all processes and the store stand at one moment, in figures; read in a bounded number of round trips.

What it costs does not grow with the letters: all of it is read from counters and the ends of indexes. It grows with
the tasks of the app, the circuits (10,000 at most), the groups and batches (as many as `GROUPS` and `BATCHES`), and the
operations that have not ended.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import redis

from celery_recovery.dead_letters.figures import counts_of
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.monitoring.counting import Labels
from celery_recovery.monitoring.measures import merged
from celery_recovery.monitoring.words import ERROR_TYPES, REASONS
from celery_recovery.operations.operation import ENDED
from celery_recovery.parking.store import ParkingStats, ParkingStore
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

if TYPE_CHECKING:
    from celery_recovery.circuit.circuits import Circuits
    from celery_recovery.circuit.state import CircuitState

__all__ = ("Batches", "Fleet", "FleetReader")

#: Groups and checkpoints that are looked at, those that were heard of last.
GROUPS, BATCHES = 10_000, 1_000
_ENDED = frozenset(state.value for state in ENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The batches of one task that were begun and have not come to their end."""

    count: int = 0
    #: Items that need nothing more, and items in all, of those batches that know how many they have.
    done: int = 0
    expected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One moment. Times are unix seconds."""

    at: float
    #: Names of the recoverable tasks that this process knows, and of the circuits that they or settings name.
    tasks: Sequence[str]
    declared: Sequence[str]
    #: All that was ever counted, by the labels of `measures.py`; None: the app does not count.
    totals: Mapping[Labels, int] | None
    #: State -> letters kept.
    letters: Mapping[str, int]
    #: Letters that are not finished, by those values that are known here.
    by_task: Mapping[str, int]
    by_error_type: Mapping[str, int]
    by_reason: Mapping[str, int]
    #: State -> time of death of its oldest letter, of states that are not finished and not empty.
    oldest: Mapping[str, float]
    #: added, again, duplicate, replayed, recovered, discarded, expired; and the bytes of all bodies kept.
    flow: Mapping[str, int]
    #: State -> groups with letters that are not finished.
    groups: Mapping[str, int]
    #: All circuits that were used in the last week.
    circuits: Mapping[str, CircuitState]
    parked: ParkingStats
    #: Results that the backend does not have yet.
    owed: int
    #: Checkpoints of tasks that have not succeeded.
    checkpoints: int
    #: (kind, state) -> operations that have not ended; kind -> letters that these are not through with.
    operations: Mapping[tuple[str, str], int]
    operation_letters: Mapping[str, int]
    #: By task.
    batches: Mapping[str, Batches]

    @property
    def open(self) -> int:
        """Letters that are not finished."""
        return sum(self.letters[state.value] for state in OPEN)


class FleetReader:
    """Reads it. `client` decides how long that may take; `counts` False: the app does not count."""

    def __init__(
        self, client: redis.Redis, keys: Keys, circuits: Circuits, tasks: Sequence[str], *, counts: bool = True
    ) -> None:
        self._client = client
        self._keys = keys
        self._circuits = circuits
        self._tasks = tasks
        self._counts = counts
        self._parked = ParkingStore(client, keys)
        self._run = Scripts(client, keys)

    def read(self) -> Fleet:
        """As it is now. Raises `StoreUnavailable`."""
        store, operations, checkpoints = self._read_store()
        counted, left = self._read_operations(operations)
        return Fleet(
            at=time.time(),
            tasks=self._tasks,
            declared=self._circuits.declared,
            totals=self._read_totals() if self._counts else None,
            circuits=self._circuits.states(),
            parked=self._parked.stats(),
            operations=counted,
            operation_letters=left,
            batches=self._read_batches(checkpoints),
            **store,
        )

    def _read_store(self) -> tuple[dict[str, Any], list[str], list[str]]:
        """What the store knows at one moment; ids of operations, and names of checkpoints, to be looked at."""
        keys, states = self._keys, list(LetterState)
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=True)
            for state in states:
                pipe.zcard(keys.index("state", state.value))
                pipe.zrange(keys.index("state", state.value), 0, 0, withscores=True)
            for dimension, names in self._dimensions().items():
                pipe.hmget(keys.open(dimension), *names)
            pipe.hgetall(keys.totals)
            pipe.zcard(keys.owed)
            pipe.zcard(keys.checkpoints)
            pipe.zrevrange(keys.checkpoints, 0, BATCHES - 1)
            pipe.smembers(keys.operations_open)
            self._run("group_states", (GROUPS,), client=pipe)
            replies: list[Any] = pipe.execute()
        ends, rest = replies[: 2 * len(states)], iter(replies[2 * len(states) :])
        letters = {state.value: ends[2 * n] for n, state in enumerate(states)}
        firsts = {state.value: ends[2 * n + 1] for n, state in enumerate(states) if state in OPEN}
        opened = {f"by_{dimension}": _counts(names, next(rest)) for dimension, names in self._dimensions().items()}
        flow, owed, checkpoints, names, operations, groups = rest
        store = {
            "letters": letters,
            "oldest": {state: first[0][1] for state, first in firsts.items() if first},
            **opened,
            "flow": counts_of(flow),
            "owed": owed,
            "checkpoints": checkpoints,
            "groups": {state.decode(): count for state, count in zip(groups[::2], groups[1::2], strict=True)},
        }
        return store, sorted(map(_text, operations)), [name for name in map(_text, names) if name.startswith("batch:")]

    def _read_totals(self) -> Mapping[Labels, int]:
        with reachable(self._client):
            reply: Any = self._client.hgetall(self._keys.totals_of_rates)
        return merged((tuple(json.loads(field)), int(count)) for field, count in reply.items())

    def _dimensions(self) -> dict[str, Sequence[str]]:
        """What letters are counted by here, and which values are looked at: others may be any number."""
        return {"task": self._tasks or ("",), "error_type": ERROR_TYPES, "reason": REASONS}

    def _read_operations(self, ids: Sequence[str]) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        counted: Counter[tuple[str, str]] = Counter()
        left: Counter[str] = Counter()
        replies = self._each([self._keys.operation(one) for one in ids], "kind", "state", "selected", "position")
        for kind, state, selected, position in replies:
            if kind is not None and _text(state or b"done") not in _ENDED:  # a newer version may know more states
                counted[_text(kind), _text(state)] += 1
                left[_text(kind)] += max(int(selected or 0) - int(position or 0), 0)
        return counted, left

    def _read_batches(self, names: Sequence[str]) -> dict[str, Batches]:
        found: dict[str, Batches] = {}
        for who, state in self._each([self._keys.checkpoint(name) for name in names], "who", "state"):
            whose, stands = _document(who), _document(state)
            task = str(whose.get("task", ""))
            known = found.get(task, Batches())
            done, expected = stands.get("done"), stands.get("total")
            if isinstance(done, int) and isinstance(expected, int):
                known = replace(known, done=known.done + done, expected=known.expected + expected)
            found[task] = replace(known, count=known.count + 1)
        return found

    def _each(self, keys: Sequence[str], *fields: str) -> list[list[Any]]:
        """These fields of each hash, in one round trip."""
        if not keys:
            return []
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for key in keys:
                pipe.hmget(key, *fields)
            replies: list[Any] = pipe.execute()
        return replies


def _counts(names: Sequence[str], reply: Sequence[bytes | None]) -> dict[str, int]:
    return {name: int(count or 0) for name, count in zip(names, reply, strict=True)}


def _document(text: bytes | None) -> dict[str, Any]:
    """A JSON object; an empty one for what is none."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
