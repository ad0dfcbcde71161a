"""`SuccessRateMonitor`: attempts, recoveries and exhaustions per task and error type, over time.

    minute ─► hash of  <task> <error type> <outcome> ─► count        (expires after the retention)
    totals, hours      what else is counted: `measures.py`

How counts get from memory into Redis is in `counting.py`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.monitoring.counting import BUCKET, HOUR, READ_BATCH, Counting, Labels
from celery_recovery.monitoring.measures import for_hours, for_totals, merged
from celery_recovery.monitoring.told import MESSAGE_LIMIT, Told
from celery_recovery.redis.client import reachable
from celery_recovery.text import cut

if TYPE_CHECKING:
    from celery_recovery.circuit.machine import Change
    from celery_recovery.dead_letters.letter import Letter
    from celery_recovery.operations.operation import Operation

__all__ = ("BUCKET", "SERIES", "Rate", "SuccessRateMonitor", "in_series")

#: Outcomes of an attempt. `failed` takes the pipeline's word for what was done (`decision.Action` and its like).
FIRST_TRY, REPLAYED, RECOVERED = "first_try", "replayed", "recovered"
#: Of those, the ones that met no error.
AT_ONCE = (FIRST_TRY, REPLAYED)
RETRIED = ("retry",)
DEAD_LETTERED = ("dead_letter", "manual_review")
#: No attempts of the task's own body: it asked to wait, or somebody else's task was only watched.
SNOOZED, WATCHED = "snooze", "watched:"

#: What is told over time.
SERIES = ("failed", "recovered", "dead_lettered")

#: Outcomes of tasks whose name somebody's message gave: there may be any number.
_UNKNOWN = (WATCHED + "unknown_task", WATCHED + "rejected")
#: Fingerprints that one process tells apart in an hour.
MOST_GROUPS = 500
#: Hours read in one round trip.
HOURS_READ = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What became of the attempts of one task, as far as they met one error type; empty: of those without an error."""

    task: str
    error_type: str
    #: Attempts that ended, of whatever kind.
    attempts: int = 0
    #: Successes without a retry before.
    first_try: int = 0
    #: Likewise, of letters that were replayed.
    replayed: int = 0
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

    @classmethod
    def of(cls, task: str, error_type: str, outcomes: Counter[str]) -> Rate:
        """From how often which outcome was counted."""
        watched = sum(count for outcome, count in outcomes.items() if outcome.startswith(WATCHED))
        retried = sum(outcomes[outcome] for outcome in RETRIED)
        dead = sum(outcomes[outcome] for outcome in DEAD_LETTERED)
        attempts = outcomes.total() - watched - outcomes[SNOOZED]
        return cls(
            task=task,
            error_type=error_type,
            attempts=attempts,
            first_try=outcomes[FIRST_TRY],
            replayed=outcomes[REPLAYED],
            recovered=outcomes[RECOVERED],
            retried=retried,
            dead_lettered=dead,
            failed=attempts - sum(outcomes[how] for how in (*AT_ONCE, RECOVERED)) - retried - dead,
            snoozed=outcomes[SNOOZED],
            watched=watched,
        )

    @property
    def recovery_rate(self) -> float | None:
        """Share (0 to 1) of the tasks that failed, and have ended since, which succeeded; None when none has."""
        ended = self.recovered + self.dead_lettered + self.failed
        return self.recovered / ended if ended else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "recovery_rate": self.recovery_rate}


class SuccessRateMonitor(Counting):
    """Counts in this process, and reads what all processes have counted; how is in `counting.py`."""

    #: Fingerprints met in this hour.
    _met: set[str] = set()  # noqa: RUF012  # replaced, never changed
    _met_in = 0

    # -- counting

    def succeeded(self, task: str, *, replayed: bool = False) -> None:
        """A task succeeded at its first attempt; `replayed`: at the first after it was a dead letter."""
        self.count((task, "", REPLAYED if replayed else FIRST_TRY))

    def recovered(self, task: str, error_type: ErrorType | str) -> None:
        """A task succeeded after one or more retries; `error_type` is that of its last failure."""
        self.count((task, str(error_type), RECOVERED))

    def failed(self, task: str, error_type: ErrorType | str, done: str) -> None:
        """An attempt failed; `done` says what was done about it, such as `"retry"`, `"dead_letter"` or `"fail"`."""
        self.count((task, str(error_type), str(done)))

    def watched(self, task: str, error_type: ErrorType | str, what: str) -> None:
        """Celery's signals told of a failure of a task that is not ours."""
        self.count((task, str(error_type), WATCHED + what))

    def tell(self, told: Told) -> None:
        """What an attempt that failed, or a task that recovered, adds to totals, hours and the feed."""
        self._total(for_totals(told))
        self.add(self._keys.measures(self._hour()), for_hours(self._few(told)))
        self.feed(**told.entry())

    def circuit_changed(self, circuit: str, change: Change, *, named: bool) -> None:
        """A circuit went into another state; `named`: it was declared by that name, so that there are few."""
        labels = ("circuit", circuit if named else "", change.after.value)
        if not change.scope:  # that of one host is not the circuit
            self._total({labels: 1})
            self.add(self._keys.measures(self._hour()), {("circuit", circuit, change.after.value): 1})
        self.feed(what="circuit", circuit=circuit, before=change.before.value, after=change.after.value,
                  cause=change.cause.value, scope=change.scope)  # fmt: skip

    def group_changed(self, news: str, letter: Letter) -> None:
        """A group of letters is new, grows, or has come back."""
        self._total({("group", news): 1})
        self.feed(what="group", news=news, task=letter.task, id=letter.id, fingerprint=letter.error.fingerprint,
                  exception=letter.error.exception, error_type=letter.error.error_type.value,
                  message=cut(letter.error.message, MESSAGE_LIMIT))  # fmt: skip

    def operation_moved(self, operation: Operation) -> None:
        """An operation on many letters began, came to a step, or ended."""
        self.feed(what="operation", id=operation.id, kind=operation.kind, state=operation.state.value, by=operation.by,
                  selected=operation.selected, position=operation.position, step=operation.step,
                  recovered=operation.outcomes.recovered, died=operation.outcomes.died,
                  message=cut(operation.message, MESSAGE_LIMIT))  # fmt: skip

    def batch_moved(self, task: str, *, succeeded: int, failed: int, discarded: int) -> None:
        """So many more items of a batch are done with."""
        items = {"succeeded": succeeded, "failed": failed, "discarded": discarded}
        counted: dict[Labels, int] = {("batch", task, how): count for how, count in items.items()}
        self._total(counted)
        self.add(self._keys.measures(self._hour()), counted)

    def waits(self, task: str, reason: str, circuit: str = "") -> None:
        """A task was parked instead of run: for a `"circuit"` that is open, or its `"budget"` that is empty."""
        self.add(self._keys.measures(self._hour()), {("parked", task, reason, circuit): 1})

    def troubled(self, failures: int, of: str = "redis") -> None:
        """So many calls to Redis (or of `"publish"`, to the broker) have failed."""
        self._total({("error", of): failures})

    def expand(self, labels: Labels, amount: int) -> Iterable[tuple[str, Labels, int]]:
        """An attempt counts in its minute, its hour, and the totals; there a name that came from a message does not."""
        yield from super().expand(labels, amount)
        task, error_type, outcome = labels
        counted = ("attempts", "" if outcome in _UNKNOWN else task, error_type, outcome)
        yield self._keys.totals_of_rates, counted, amount
        yield self._keys.measures(self._hour()), counted, amount

    def _total(self, amounts: Mapping[Labels, int]) -> None:
        self.add(self._keys.totals_of_rates, amounts)

    def _few(self, told: Told) -> Told:
        """Without fingerprints, once this process has met too many in this hour: a hash is no place for 100,000."""
        hour = self._hour()
        if hour != self._met_in:
            self._met_in, self._met = hour, set()
        names = {told.fingerprint, told.before.fingerprint if told.before else ""}
        if len(self._met | names) > MOST_GROUPS:
            before = None if told.before is None else replace(told.before, fingerprint="")
            return replace(told, fingerprint="", before=before)
        self._met = self._met | names
        return told

    @staticmethod
    def _hour() -> int:
        return int(time.time()) // HOUR * HOUR

    # -- reading

    def rates(self, since: float, until: float | None = None, task: str | None = None) -> list[Rate]:
        """What was counted between two moments (unix s, to the minute), by task and error type, most attempts first.

        Raises `StoreUnavailable`.
        """
        totals: dict[tuple[str, str], Counter[str]] = {}
        for _, (name, error_type, outcome), count in self.by_minute(since, until):
            if task is None or name == task:
                totals.setdefault((name, error_type), Counter())[outcome] += count
        rates = [Rate.of(name, error_type, outcomes) for (name, error_type), outcomes in totals.items()]
        return sorted(rates, key=lambda rate: (-rate.attempts, rate.task, rate.error_type))

    def series(self, since: float, step: float = 3600.0) -> dict[str, list[int]]:
        """What was counted since then (unix s) in each `step` seconds, oldest first.

        `"failed"` attempts of any end, `"recovered"` tasks, `"dead_lettered"` ones. Raises `StoreUnavailable`.
        """
        now = time.time()
        begin = int(max(since, now - self.retention)) // BUCKET * BUCKET
        places = int((now - begin) // step) + 1
        told = {name: [0] * places for name in SERIES}
        for bucket, (_, _, outcome), count in self.by_minute(begin, now):
            for name in in_series(outcome):
                told[name][min(int((bucket - begin) // step), places - 1)] += count
        return told

    def totals(self) -> Counter[Labels]:
        """Everything that was ever counted, by the labels of `measures.py`. Raises `StoreUnavailable`."""
        if self._client is None:
            return Counter()
        with reachable(self._client):
            reply: Any = self._client.hgetall(self._keys.totals_of_rates)
        return merged((tuple(json.loads(field)), int(count)) for field, count in reply.items())

    def hours(self, since: float, until: float | None = None) -> Counter[Labels]:
        """What was counted in the hours between two moments (unix s), likewise. Raises `StoreUnavailable`."""
        return merged((labels, count) for _, labels, count in self.by_hour(since, until))

    def by_hour(self, since: float, until: float | None = None) -> Iterator[tuple[int, Labels, int]]:
        """The same hour by hour (its begin, unix s), the oldest first: an hour may have many groups."""
        until = time.time() if until is None else until
        since = max(since, time.time() - self.retention - HOUR)
        hours = range(int(since) // HOUR * HOUR, int(until) + 1, HOUR)
        for place, reply in self._hashes([self._keys.measures(hour) for hour in hours], HOURS_READ):
            for field, count in reply.items():
                yield hours[place], _labels(field), count

    def by_minute(self, since: float, until: float | None = None) -> Iterator[tuple[int, Labels, int]]:
        """`(task, error type, outcome)` minute by minute (its begin, unix s), the oldest first."""
        until = time.time() if until is None else until
        since = max(since, time.time() - self.retention - BUCKET)
        buckets = range(int(since) // BUCKET * BUCKET, int(until) + 1, BUCKET)
        for place, counts in self._hashes([self._keys.rates(bucket) for bucket in buckets]):
            for field, count in counts.items():
                yield buckets[place], _labels(field), count

    def _hashes(self, keys: Sequence[str], batch: int = READ_BATCH) -> Iterable[tuple[int, dict[bytes, int]]]:
        """Which of the keys, and its counts; `batch` of them in one round trip."""
        if self._client is None:
            return
        for first in range(0, len(keys), batch):
            with reachable(self._client):
                pipe = self._client.pipeline(transaction=False)
                for key in keys[first : first + batch]:
                    pipe.hgetall(key)
                replies: list[dict[bytes, bytes]] = pipe.execute()
            for place, reply in enumerate(replies, first):
                if reply:
                    yield place, {field: int(count) for field, count in reply.items()}


def in_series(outcome: str) -> tuple[str, ...]:
    """In which of `SERIES` attempts with this outcome count."""
    if outcome in (*AT_ONCE, SNOOZED) or outcome.startswith(WATCHED):
        return ()
    if outcome == RECOVERED:
        return ("recovered",)
    return ("failed", "dead_lettered") if outcome in DEAD_LETTERED else ("failed",)


@lru_cache(maxsize=10_000)
def _labels(field: bytes) -> Labels:
    """Most come again, minute after minute."""
    return tuple(json.loads(field))
