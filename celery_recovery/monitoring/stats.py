"""`SuccessRateMonitor`: attempts, recoveries and exhaustions per task and error type, over time.

Counted in memory, because it happens on the success path too, and written to Redis in one pipelined batch every few
seconds, by a thread that each process starts with its first count. What that means:

- a process that is killed loses the counts of at most one interval; one that ends in order loses none;
- while Redis is away, counts wait in memory, at most `PENDING_LIMIT` different ones, and are written later.

    minute ─► hash of  <task> <error type> <outcome> ─► count        (expires after the retention)
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
from dataclasses import dataclass
from typing import Any

import redis

from celery_recovery.errors.model import ErrorType
from celery_recovery.redis.client import address, reachable
from celery_recovery.redis.keys import Keys

__all__ = ("BUCKET", "Rate", "SuccessRateMonitor")

logger = logging.getLogger("celery_recovery")

#: Seconds in a time bucket.
BUCKET = 60
#: Different counts (time bucket, task, error type, outcome) that wait in memory while Redis is away.
PENDING_LIMIT = 10_000
#: Hashes read in one round trip.
READ_BATCH = 500

#: Outcomes of an attempt. `failed` takes the pipeline's word for what was done (`decision.Action` and its like).
FIRST_TRY, RECOVERED = "first_try", "recovered"
RETRIED = ("retry",)
DEAD_LETTERED = ("dead_letter", "manual_review")
#: No attempts of the task's own body: it asked to wait, or somebody else's task was only watched.
SNOOZED, WATCHED = "snooze", "watched:"

#: task, error type (empty for a success), outcome.
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What became of the attempts of one task, as far as they met one error type; empty: of those without an error."""

    task: str
    error_type: str
    #: Attempts that ended, of whatever kind.
    attempts: int = 0
    #: Successes without a retry before.
    first_try: int = 0
    #: Successes after one or more retries; the error type is that of the last failure before.
    recovered: int = 0
    #: Failures followed by another attempt.
    retried: int = 0
    #: Failures that ended as a dead letter, in review or not.
    dead_lettered: int = 0
    #: Failures that ended as in plain Celery, or were dropped.
    failed: int = 0
    #: Times it was put off without using an attempt.
    snoozed: int = 0
    #: Failures of tasks that are not ours, as Celery's signals tell.
    watched: int = 0

    @property
    def recovery_rate(self) -> float | None:
        """Share (0 to 1) of the tasks that failed, and have ended since, which succeeded; None when none has."""
        ended = self.recovered + self.dead_lettered + self.failed
        return self.recovered / ended if ended else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "recovery_rate": self.recovery_rate}


class SuccessRateMonitor:
    """Counts in this process, and reads what all processes have counted.

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
        self._counted: deque[_Key] = deque()
        self._pending: Counter[tuple[int, _Key]] = Counter()
        self._begin()
        _monitors.add(self)

    # -- counting

    def succeeded(self, task: str) -> None:
        """A task succeeded at its first attempt."""
        self._count((task, "", FIRST_TRY))

    def recovered(self, task: str, error_type: ErrorType | str) -> None:
        """A task succeeded after one or more retries; `error_type` is that of its last failure."""
        self._count((task, str(error_type), RECOVERED))

    def failed(self, task: str, error_type: ErrorType | str, done: str) -> None:
        """An attempt failed; `done` says what was done about it, such as `"retry"`, `"dead_letter"` or `"fail"`."""
        self._count((task, str(error_type), str(done)))

    def watched(self, task: str, error_type: ErrorType | str, what: str) -> None:
        """Celery's signals told of a failure of a task that is not ours."""
        self._count((task, str(error_type), WATCHED + what))

    def _count(self, key: _Key) -> None:
        self._counted.append(key)  # atomic, so that the success path needs no lock
        if not self._running:
            self._start()
        elif len(self._counted) >= PENDING_LIMIT:
            self._fold()

    # -- writing

    def flush(self) -> bool:
        """Write what was counted in this process; False when Redis is away: it is kept for the next time."""
        self._fold()
        with self._writing:
            pending, self._pending = self._pending, Counter()
            if not pending or self._client is None:
                return True
            try:
                self._write(pending)
            except redis.RedisError as exc:
                self._keep(pending)
                self._report_away(exc)
                return False
            self._was_away = False
            return True

    def _write(self, pending: Mapping[tuple[int, _Key], int]) -> None:
        assert self._client is not None  # noqa: S101  # `flush` has looked
        with self._client.pipeline() as pipe:
            for (bucket, key), count in pending.items():
                pipe.hincrby(self._keys.rates(bucket), json.dumps(key), count)
            for bucket in {bucket for bucket, _ in pending}:
                pipe.expire(self._keys.rates(bucket), int(self.retention) + BUCKET)
            pipe.execute()

    def _fold(self) -> None:
        """Add up what was appended, under the minute it is now."""
        counts: Counter[_Key] = Counter()
        try:
            for _ in range(len(self._counted)):
                counts[self._counted.popleft()] += 1
        except IndexError:  # another thread folds too
            pass
        bucket = int(time.time()) // BUCKET * BUCKET
        self._keep({(bucket, key): count for key, count in counts.items()})

    def _keep(self, counts: Mapping[tuple[int, _Key], int]) -> None:
        with self._keeping:
            for key, count in counts.items():
                if key in self._pending or len(self._pending) < PENDING_LIMIT:  # else it is lost: memory is dearer
                    self._pending[key] += count

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
        self._keeping = threading.Lock()
        self._writing = threading.Lock()
        self._running = False
        self._was_away = False

    def _start(self) -> None:
        self._running = True
        if self._client is not None:
            threading.Thread(target=_write_on, args=(weakref.ref(self),), name="recovery-stats", daemon=True).start()

    # -- reading

    def rates(self, since: float, until: float | None = None, task: str | None = None) -> list[Rate]:
        """What was counted between two moments (unix s, to the minute), by task and error type, most attempts first.

        Raises `StoreUnavailable`.
        """
        until = time.time() if until is None else until
        since = max(since, time.time() - self.retention - BUCKET)
        buckets = range(int(since) // BUCKET * BUCKET, int(until) + 1, BUCKET)
        totals: dict[tuple[str, str], Counter[str]] = {}
        for name, error_type, outcome, count in self._read(buckets):
            if task is None or name == task:
                totals.setdefault((name, error_type), Counter())[outcome] += count
        rates = [_rate(name, error_type, outcomes) for (name, error_type), outcomes in totals.items()]
        return sorted(rates, key=lambda rate: (-rate.attempts, rate.task, rate.error_type))

    def series(self, since: float, step: float = 3600.0) -> dict[str, list[int]]:
        """What was counted since then (unix s) in each `step` seconds, oldest first.

        `"failed"` attempts of any end, `"recovered"` tasks, `"dead_lettered"` ones. Raises `StoreUnavailable`.
        """
        now = time.time()
        begin = int(max(since, now - self.retention)) // BUCKET * BUCKET
        places = int((now - begin) // step) + 1
        told = {name: [0] * places for name in ("failed", "recovered", "dead_lettered")}
        for bucket, _, _, outcome, count in self._buckets(range(begin, int(now) + 1, BUCKET)):
            if outcome in (FIRST_TRY, SNOOZED) or outcome.startswith(WATCHED):
                continue
            at = min(int((bucket - begin) // step), places - 1)
            told["recovered" if outcome == RECOVERED else "failed"][at] += count
            if outcome in DEAD_LETTERED:
                told["dead_lettered"][at] += count
        return told

    def _read(self, buckets: range) -> Iterable[tuple[str, str, str, int]]:
        return (rest for _, *rest in self._buckets(buckets))  # type: ignore[misc]

    def _buckets(self, buckets: range) -> Iterable[tuple[int, str, str, str, int]]:
        if self._client is None:
            return
        for first in range(0, len(buckets), READ_BATCH):
            with reachable(self._client):
                pipe = self._client.pipeline(transaction=False)
                for bucket in buckets[first : first + READ_BATCH]:
                    pipe.hgetall(self._keys.rates(bucket))
                replies: list[dict[bytes, bytes]] = pipe.execute()
            for bucket, reply in zip(buckets[first : first + READ_BATCH], replies, strict=True):
                for key, count in reply.items():
                    name, error_type, outcome = json.loads(key)
                    yield bucket, name, error_type, outcome, int(count)


#: Monitors of this process: to be flushed when it ends, and to begin anew in a forked child.
_monitors: weakref.WeakSet[SuccessRateMonitor] = weakref.WeakSet()


def _rate(task: str, error_type: str, outcomes: Counter[str]) -> Rate:
    watched = sum(count for outcome, count in outcomes.items() if outcome.startswith(WATCHED))
    retried = sum(outcomes[outcome] for outcome in RETRIED)
    dead = sum(outcomes[outcome] for outcome in DEAD_LETTERED)
    attempts = outcomes.total() - watched - outcomes[SNOOZED]
    return Rate(
        task=task,
        error_type=error_type,
        attempts=attempts,
        first_try=outcomes[FIRST_TRY],
        recovered=outcomes[RECOVERED],
        retried=retried,
        dead_lettered=dead,
        failed=attempts - outcomes[FIRST_TRY] - outcomes[RECOVERED] - retried - dead,
        snoozed=outcomes[SNOOZED],
        watched=watched,
    )


def _write_on(monitor: weakref.ref[SuccessRateMonitor]) -> None:
    """The thread: flush every interval, as long as the monitor is in use."""
    while (alive := monitor()) is not None:
        interval = alive.interval
        del alive  # while it sleeps, the monitor may go
        time.sleep(interval)
        if (alive := monitor()) is not None:
            alive.flush()


def _flush_all() -> None:
    for monitor in list(_monitors):
        monitor.flush()


def _begin_anew() -> None:
    """In a forked child: what the parent counted is the parent's, and its thread and locks did not come along."""
    for monitor in list(_monitors):
        monitor._begin()  # noqa: SLF001  # of the same module


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
