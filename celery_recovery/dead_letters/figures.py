"""Figures about the letters: how many of what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("TABLES", "StoreStats", "counts_of", "read_stats")

#: What letters are counted by, beside their state, in the order shown.
TABLES = ("task", "error_type", "reason", "queue")


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
    by_task, by_error_type, by_reason, by_queue, totals = map(counts_of, rest[:5])
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


def counts_of(reply: Mapping[Any, Any] | Any) -> dict[str, int]:
    """A hash of counts, largest first."""
    pairs = ((name.decode("utf-8", "replace"), int(count)) for name, count in reply.items())
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
