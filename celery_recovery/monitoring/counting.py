"""Counted in memory, written to Redis in one pipelined batch every few seconds, by a thread of each process.

Counting happens on the success path too, so it never waits for Redis. What that means:

- a process that is killed loses what it counted in the last interval; one that ends in order loses nothing;
- while Redis is away, counts wait in memory, at most `PENDING_LIMIT` different ones, and are written later.

Beside counts there is the feed: what happened, one entry each, for whoever looks on (`recovery watch`). It is bounded
in memory and in Redis; what there was no room for is told as a number.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from celery_recovery.redis.client import address, trouble
from celery_recovery.redis.keys import Keys

__all__ = ("BUCKET", "HOUR", "Counting")

logger = logging.getLogger("celery_recovery")

#: Seconds in the two sizes of time buckets.
BUCKET, HOUR = 60, 3600
#: Different counts (key and field) that wait in memory while Redis is away.
PENDING_LIMIT = 10_000
#: Entries of the feed that wait in one process, and that are kept in Redis, about.
FEED_WAITS, FEED_KEPT = 1000, 10_000
#: Seconds after which the feed is written: whoever looks on wants to see it now.
FEED_DELAY = 1.0
#: Seconds that totals are kept after the last count.
TOTALS_KEPT = 90 * 86400
#: Hashes read in one round trip.
READ_BATCH = 500

#: Labels of what is counted; the first says what it is, where it is no `(task, error type, outcome)`.
Labels = tuple[str, ...]


class Counting:
    """Counts of this process on their way to Redis, and what all processes have counted on the way back.

    `client` None: counted in memory only, and nothing can be read. Counting never raises and never waits for Redis.
    """

    def __init__(
        self,
        client: redis.Redis | None,
        keys: Keys | None = None,
        *,
        interval: float = 5.0,
        retention: float = 7 * 86400.0,
    ) -> None:
        self._client = client
        self._keys = keys or Keys()
        #: Seconds between two writes.
        self.interval = interval
        #: Seconds that counts are kept.
        self.retention = retention
        self._counted: deque[Labels] = deque()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._entries: deque[dict[str, Any]] = deque(maxlen=FEED_WAITS)
        self._keeping, self._writing, self._woken = threading.Lock(), threading.Lock(), threading.Event()
        #: Entries of the feed that there was no room for.
        self._missed = 0
        self._running = self._was_away = False
        _all.add(self)

    # -- counting

    def count(self, labels: Labels) -> None:
        """Once more; added up when it is written. The success path: atomic, so that it needs no lock."""
        self._counted.append(labels)
        if not self._running:
            self._start()
        if len(self._counted) >= PENDING_LIMIT:
            self._fold()

    def add(self, key: str, amounts: Mapping[Labels, int]) -> None:
        """So many more, under one Redis key."""
        self._keep({(key, json.dumps(labels)): amount for labels, amount in amounts.items() if amount})
        if not self._running:
            self._start()

    def feed(self, **entry: Any) -> None:
        """Tell those who look on, soon."""
        if len(self._entries) >= FEED_WAITS:
            self._missed += 1
        self._entries.append({"at": round(time.time(), 3), **entry})
        if not self._running:
            self._start()
        self._woken.set()

    def expand(self, labels: Labels, amount: int) -> Iterable[tuple[str, Labels, int]]:
        """Where what `count` counted is added: Redis key, labels and amount."""
        yield self._keys.rates(int(time.time()) // BUCKET * BUCKET), labels, amount

    # -- writing

    def flush(self) -> bool:
        """Write what was counted in this process; False when Redis is away: it is kept for the next time."""
        self._fold()
        with self._writing:
            with self._keeping:  # nobody adds to what is being written
                pending, self._pending = self._pending, Counter()
            entries = self._told()
            if self._client is None or not (pending or entries):
                return True
            try:
                self._write(pending, entries)
            except Exception as exc:  # noqa: BLE001  # that of Redis as a rule; none may end the thread
                self._keep(pending)
                self._missed += len(entries)
                self._report_away(exc)
                return False
            self._was_away = False
            return True

    def _write(self, pending: Mapping[tuple[str, str], int], entries: Iterable[dict[str, Any]]) -> None:
        assert self._client is not None  # noqa: S101  # `flush` has looked
        totals = self._keys.totals_of_rates
        with self._client.pipeline() as pipe:
            for (key, field), count in pending.items():
                pipe.hincrby(key, field, count)
            for key in {key for key, _ in pending}:
                pipe.expire(key, TOTALS_KEPT if key == totals else int(self.retention) + HOUR)
            for entry in entries:
                told = json.dumps(entry, default=str)
                pipe.xadd(self._keys.feed, {"e": told}, maxlen=FEED_KEPT, approximate=True)
            replies = pipe.execute(raise_on_error=False)  # one that fails here leaves all others done: no second time
        if wrong := [reply for reply in replies if isinstance(reply, Exception)]:
            logger.warning("%s counts are lost: %s", len(wrong), wrong[0], extra={"action": "stats_lost"})

    def _fold(self) -> None:
        """Add up what was appended, under the time it is now."""
        counts: Counter[Labels] = Counter()
        try:
            for _ in range(len(self._counted)):
                counts[self._counted.popleft()] += 1
        except IndexError:  # another thread folds too
            pass
        if self._client is not None and (failed := trouble(self._client)):
            self.troubled(failed)
        expanded: Counter[tuple[str, str]] = Counter()
        for one, count in counts.items():
            for key, labels, amount in self.expand(one, count):
                expanded[key, json.dumps(labels)] += amount
        self._keep(expanded)

    def troubled(self, failures: int) -> None:
        """So many calls of this process to its Redis have failed since the last time."""

    def _keep(self, counts: Mapping[tuple[str, str], int]) -> None:
        with self._keeping:
            for key, count in counts.items():
                if key in self._pending or len(self._pending) < PENDING_LIMIT:  # else it is lost: memory is dearer
                    self._pending[key] += count

    def _told(self) -> list[dict[str, Any]]:
        """The entries that wait, and how many there was no room for."""
        missed, self._missed = self._missed, 0
        entries = [self._entries.popleft() for _ in range(len(self._entries))]
        return [*entries, {"at": round(time.time(), 3), "what": "missed", "count": missed}] if missed else entries

    def _report_away(self, exc: Exception) -> None:
        """Once per absence."""
        if not self._was_away and self._client is not None:
            logger.warning(
                "statistics wait in memory: Redis at %s does not answer: %s",
                address(self._client), exc, extra={"action": "stats_wait"},
            )  # fmt: skip
        self._was_away = True

    # -- the thread, which does not survive a fork and is started again in the child

    def _begin(self) -> None:
        """Start from nothing, as a new process does."""
        self._counted.clear()
        self._pending.clear()
        self._entries.clear()
        self._keeping, self._writing, self._woken = threading.Lock(), threading.Lock(), threading.Event()
        self._missed = 0
        self._running = self._was_away = False

    def _start(self) -> None:
        self._running = True
        if self._client is None:
            return
        thread = threading.Thread(target=_write_on, args=(weakref.ref(self),), name="recovery-stats", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there is no room for a thread, or the process is about to end
            self._running = False


#: Those of this process: to be flushed when it ends, and to begin anew in a forked child.
_all: weakref.WeakSet[Counting] = weakref.WeakSet()


def _write_on(counting: weakref.ref[Counting]) -> None:
    """The thread: flush every interval, or soon after the feed was told something, as long as it is in use."""
    while (alive := counting()) is not None:
        interval, woken = alive.interval, alive._woken  # noqa: SLF001  # of the same module
        del alive  # while it sleeps, the monitor may go
        if woken.wait(interval):
            time.sleep(min(FEED_DELAY, interval))
            woken.clear()
        if (alive := counting()) is not None:
            alive.flush()


def _flush_all() -> None:
    for counting in list(_all):
        counting.flush()


def _begin_anew() -> None:
    """In a forked child: what the parent counted is the parent's, and its thread and locks did not come along."""
    for counting in list(_all):
        counting._begin()  # noqa: SLF001  # of the same module


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
