"""Figures about the letters: how many of what, and the groups that died of the same thing."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("TABLES", "ErrorGroup", "StoreStats", "largest_groups", "read_stats")

#: What letters are counted by, beside their state, in the order shown.
TABLES = ("task", "error_type", "reason", "queue")


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Open letters that died of the same thing."""

    fingerprint: str
    #: Letters in it that are not finished.
    count: int
    #: Id of the newest letter, finished or not, which describes the group.
    newest_id: str
    #: Time of death of the oldest and newest letter kept (unix s).
    oldest: float
    newest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """Figures about the letters kept. `by_task` and its like count those that are not finished, largest first."""

    by_state: Mapping[str, int]
    by_task: Mapping[str, int]
    by_error_type: Mapping[str, int]
    by_reason: Mapping[str, int]
    by_queue: Mapping[str, int]
    #: Time of death of the oldest and newest letter that is not finished (unix s); None without any.
    oldest: float | None
    newest: float | None
    #: Since the store was last empty: added, again, duplicate, replayed, recovered, discarded, expired. And the bytes
    #: of all bodies kept.
    totals: Mapping[str, int] = field(default_factory=dict)

    @property
    def open(self) -> int:
        """Letters that are not finished."""
        return sum(self.by_state[state.value] for state in OPEN)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        tables = {f"by_{name}": dict(getattr(self, f"by_{name}")) for name in ("state", *TABLES)}
        return {
            "open": self.open,
            **tables,
            "oldest": self.oldest,
            "newest": self.newest,
            "totals": dict(self.totals),
        }


def read_stats(client: redis.Redis, keys: Keys) -> StoreStats:
    """From counters that the scripts keep, in one round trip: the cost does not grow with the letters."""
    states = [keys.index("state", state.value) for state in LetterState]
    with reachable(client):
        pipe = client.pipeline(transaction=False)
        for key in states:
            pipe.zcard(key)
        for name in TABLES:
            pipe.hgetall(keys.open(name))
        pipe.hgetall(keys.totals)
        for state in OPEN:
            pipe.zrange(keys.index("state", state.value), 0, 0, withscores=True)
            pipe.zrange(keys.index("state", state.value), -1, -1, withscores=True)
        replies: list[Any] = pipe.execute()
    counts, rest = replies[: len(states)], replies[len(states) :]
    by_task, by_error_type, by_reason, by_queue, totals = map(_counts, rest[:5])
    times = [time for end in rest[5:] for _, time in end]
    return StoreStats(
        by_state={state.value: count for state, count in zip(LetterState, counts, strict=True)},
        by_task=by_task,
        by_error_type=by_error_type,
        by_reason=by_reason,
        by_queue=by_queue,
        oldest=min(times, default=None),
        newest=max(times, default=None),
        totals=totals,
    )


def largest_groups(client: redis.Redis, keys: Keys, limit: int) -> list[ErrorGroup]:
    """The groups with the most open letters, largest first, in two round trips."""
    with reachable(client):
        counts = _counts(client.hgetall(keys.open("fingerprint")))
        largest = heapq.nsmallest(limit, counts.items(), key=lambda item: (-item[1], item[0]))
        pipe = client.pipeline(transaction=False)
        for fingerprint, _ in largest:
            pipe.zrange(keys.index("fingerprint", fingerprint), 0, 0, withscores=True)
            pipe.zrange(keys.index("fingerprint", fingerprint), -1, -1, withscores=True)
        ends: list[Any] = pipe.execute()
    return [
        ErrorGroup(fingerprint, count, newest[0][0].decode(), oldest[0][1], newest[0][1])
        for (fingerprint, count), oldest, newest in zip(largest, ends[::2], ends[1::2], strict=True)
        if oldest and newest
    ]


def _counts(reply: Mapping[Any, Any] | Any) -> dict[str, int]:
    """A hash of counts, largest first."""
    pairs = ((name.decode("utf-8", "replace"), int(count)) for name, count in reply.items())
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
