"""Groups: letters that died of the same thing, told by their fingerprint, and what people have said about them.

A group outlives its letters: its record is kept for 90 days after its last death, so that one which was resolved and
comes back is known to. Each death is counted as its letter is stored (`letter_add.lua`):

    open      nobody has said anything
    resolved  somebody has mended it. A death after that is a regression, and opens it again; but not one in a version
              of the code that had the fault before (`recovery_code_version`)
    ignored   until a time, or for so many more deaths, or until somebody says otherwise
"""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from celery_recovery.dead_letters.figures import counts_of
from celery_recovery.exceptions import ConfigurationError, GroupNotFound
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("HOURS", "ErrorGroup", "GroupState", "Groups")

#: Hours of which deaths are told.
HOURS = 48
#: Records read in one round trip.
_BATCH = 500
_TEXTS = ("task", "error_type", "exception", "message", "code", "by", "note", "version", "regressed_in")


class GroupState(str, enum.Enum):
    """What people have said about a group. Values are the words shown everywhere."""

    OPEN = "open"
    RESOLVED = "resolved"
    IGNORED = "ignored"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Letters that died of the same thing. Times are unix seconds."""

    fingerprint: str
    #: Letters in it that are not finished.
    count: int
    #: Id of its newest letter, finished or not; empty when none is kept any more.
    newest_id: str
    #: Time of death of the oldest and newest letter kept; those of all deaths when none is kept.
    oldest: float
    newest: float
    state: GroupState = GroupState.OPEN
    task: str = ""
    error_type: str = ""
    #: Qualified class name, code and message of the last death.
    exception: str = ""
    code: str = ""
    message: str = ""
    #: All deaths since the record began, the first and the last.
    total: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    #: Deaths in each of the last `HOURS` hours, the last one is this hour.
    trend: Sequence[int] = ()
    #: Share (0 to 1) of all open letters.
    share: float = 0.0
    #: Who said what it is, when, why.
    by: str = ""
    note: str = ""
    at: float = 0.0
    #: Of a resolved one: the version of the code that mends it.
    version: str = ""
    #: Of an ignored one: until when (0: whenever), and at how many deaths it is told of again (0: never).
    until: float = 0.0
    quota: int = 0
    #: How often it came back, and when and in which version last.
    regressions: int = 0
    regressed_at: float = 0.0
    regressed_in: str = ""
    #: Deaths by queue, worker and version of the code, largest first.
    queues: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    #: Version of the code -> its first death in it.
    versions_since: Mapping[str, float] = field(default_factory=dict)

    @property
    def last_hour(self) -> int:
        """Deaths of this hour."""
        return self.trend[-1] if self.trend else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        parts = {name: dict(plain[name]) for name in ("queues", "workers", "versions", "versions_since")}
        return {**plain, **parts, "state": self.state.value, "trend": list(self.trend)}


class Groups:
    """Reads and changes the groups of one store; every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, run: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._run = run

    def list(
        self, *, states: Iterable[GroupState] | None = None, limit: int = 50, newest_first: bool = False
    ) -> Sequence[ErrorGroup]:
        """Groups in these states, those with the most open letters first; without states, all with open letters."""
        with reachable(self._client):
            counts = counts_of(self._client.hgetall(self._keys.open("fingerprint")))
            if states is not None:
                known: Any = self._client.zrevrange(self._keys.groups, 0, -1)
                counts |= {one: 0 for found in known if (one := found.decode("utf-8", "replace")) not in counts}
        if newest_first or states is not None:
            return self._chosen(counts, states, limit, newest_first=newest_first)
        return self.read(list(counts)[:limit], counts)

    def count(self) -> int:
        """How many groups have open letters."""
        with reachable(self._client):
            found: Any = self._client.hlen(self._keys.open("fingerprint"))
        return int(found)

    def get(self, fingerprint: str) -> ErrorGroup:
        """One group, by its fingerprint or the beginning of it. Raises `GroupNotFound`."""
        found = self.read([self.named(fingerprint)])
        if not found:
            raise GroupNotFound(f"There is no group with the fingerprint {fingerprint}.")
        return found[0]

    def named(self, fingerprint: str) -> str:
        """The whole fingerprint of what begins so, with its version or without. Raises `GroupNotFound`."""
        with reachable(self._client):
            records: Any = self._client.zrange(self._keys.groups, 0, -1)
            counted: Any = self._client.hkeys(self._keys.open("fingerprint"))
        known = {one.decode("utf-8", "replace") for one in (*records, *counted)}
        if fingerprint in known:
            return fingerprint
        found = [
            one for one in known if fingerprint and fingerprint in (one[: len(fingerprint)], _bare(one, fingerprint))
        ]
        if len(found) != 1:
            several = f"{len(found)} groups have" if found else "There is no group with"
            raise GroupNotFound(f"{several} a fingerprint that begins with {fingerprint}.")
        return str(found[0])

    def resolve(self, fingerprint: str, *, by: str, note: str = "", version: str = "") -> ErrorGroup:
        """It is mended, in that version of the code. Raises `GroupNotFound`."""
        return self._set(fingerprint, GroupState.RESOLVED, by, note, version=version)

    def ignore(
        self, fingerprint: str, *, by: str, note: str = "", until: float | None = None, more: int | None = None
    ) -> ErrorGroup:
        """Say nothing about it, until then (unix s), or for so many more deaths. Raises `GroupNotFound`."""
        if more is not None and more < 1:
            raise ConfigurationError.of("count", expected="a whole number from 1", got=more)
        if until is not None and until <= time.time():
            raise ConfigurationError.of("until", expected="a moment in the future", got=until)
        return self._set(fingerprint, GroupState.IGNORED, by, note, until=until, more=more)

    def reopen(self, fingerprint: str, *, by: str, note: str = "") -> ErrorGroup:
        """Take that back. Raises `GroupNotFound`."""
        return self._set(fingerprint, GroupState.OPEN, by, note)

    def read(self, fingerprints: Sequence[str], counts: Mapping[str, int] | None = None) -> Sequence[ErrorGroup]:
        """These groups, in two round trips for each 500; without those that are neither kept nor on record."""
        found: MutableSequence[ErrorGroup] = []
        for first in range(0, len(fingerprints), _BATCH):
            found += self._read(fingerprints[first : first + _BATCH], counts)
        return found

    # -- within

    def _chosen(
        self, counts: Mapping[str, int], states: Iterable[GroupState] | None, limit: int, *, newest_first: bool
    ) -> Sequence[ErrorGroup]:
        """Look at the state and the last death of all, and read the first of those wanted."""
        names = list(counts)
        wanted = set(GroupState if states is None else states)
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(self._keys.group(name), "state", "last_seen")
            replies: list[Any] = pipe.execute()
        rows = [
            (name, float(last or 0))
            for name, (state, last) in zip(names, replies, strict=True)
            if GroupState((state or b"open").decode()) in wanted
        ]
        rows.sort(key=lambda row: (-row[1] if newest_first else -counts[row[0]], -row[1], row[0]))
        return self.read([name for name, _ in rows[:limit]], counts)

    def _read(self, fingerprints: Sequence[str], counts: Mapping[str, int] | None) -> Sequence[ErrorGroup]:
        keys = self._keys
        with reachable(self._client):
            pipe = self._client.pipeline(transaction=False)
            for one in fingerprints:
                pipe.hget(keys.open("fingerprint"), one)
                pipe.zrange(keys.index("fingerprint", one), 0, 0, withscores=True)
                pipe.zrange(keys.index("fingerprint", one), -1, -1, withscores=True)
                pipe.hgetall(keys.group(one))
                pipe.hgetall(keys.group_parts(one))
            replies: list[Any] = pipe.execute()
            total = sum((counts or counts_of(self._client.hgetall(keys.open("fingerprint")))).values())
        rows = [replies[n : n + 5] for n in range(0, len(replies), 5)]
        found = [
            _group(one, int(count or 0), oldest, newest, _texts(record), _texts(parts), total)
            for one, (count, oldest, newest, record, parts) in zip(fingerprints, rows, strict=True)
        ]
        return [group for group in found if group is not None]

    def _set(
        self, fingerprint: str, state: GroupState, by: str, note: str, *, version: str = "",
        until: float | None = None, more: int | None = None,
    ) -> ErrorGroup:  # fmt: skip
        name = self.named(fingerprint)
        over = "" if until is None else f"{until:.3f}"
        arguments = (name, state.value, by, note, version, over, "" if more is None else more)
        if self._run("group_set", arguments) != b"done":
            raise GroupNotFound(f"There is no record of the group {fingerprint}.")
        return self.get(name)


def _bare(fingerprint: str, start: str) -> str:
    """The beginning of what follows the version of a fingerprint."""
    return fingerprint.partition(":")[2][: len(start)]


def _texts(reply: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in reply.items()}


def _group(
    fingerprint: str, count: int, oldest: Any, newest: Any, record: Mapping[str, str], parts: Mapping[str, str],
    total: int,
) -> ErrorGroup | None:  # fmt: skip
    if not newest and not record:
        return None
    seen = float(record.get("first_seen") or 0), float(record.get("last_seen") or 0)
    hour = int(time.time() // 3600)
    return ErrorGroup(
        fingerprint=fingerprint,
        count=count,
        newest_id=newest[0][0].decode() if newest else "",
        oldest=oldest[0][1] if oldest else seen[0],
        newest=newest[0][1] if newest else seen[1],
        state=GroupState(record.get("state") or "open"),
        total=int(record.get("total") or 0),
        first_seen=seen[0],
        last_seen=seen[1],
        trend=[int(record.get(f"h{hour - back}") or 0) for back in reversed(range(HOURS))],
        share=count / total if total else 0.0,
        at=float(record.get("at") or 0),
        until=float(record.get("until") or 0),
        quota=int(float(record.get("quota") or 0)),
        regressions=int(record.get("regressions") or 0),
        regressed_at=float(record.get("regressed_at") or 0),
        queues=_part(parts, "queue"),
        workers=_part(parts, "worker"),
        versions=_part(parts, "version"),
        versions_since={version: at for version, at in _part(parts, "since", float).items() if version != "…"},
        **{name: record.get(name, "") for name in _TEXTS},
    )


def _part(parts: Mapping[str, str], name: str, kind: type[Any] = int) -> dict[str, Any]:
    """What is kept of each value of one kind, the largest first."""
    found = {field.partition(" ")[2]: kind(n) for field, n in parts.items() if field.startswith(f"{name} ")}
    return dict(Counter(found).most_common())
