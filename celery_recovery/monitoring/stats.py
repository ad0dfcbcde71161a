"""`SuccessRateMonitor`: attempts, recoveries and exhaustions per task and error type, over time.

    minute ─► hash of  <task> <error type> <outcome> ─► count        (expires after the retention)
    totals, hours      what else is counted: `measures.py`

How counts get from memory into Redis is in `counting.py`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

__all__ = ("BUCKET", "Rate", "SuccessRateMonitor")

#: Outcomes of an attempt. `failed` takes the pipeline's word for what was done (`decision.Action` and its like).
FIRST_TRY, RECOVERED = "first_try", "recovered"
RETRIED = ("retry",)
DEAD_LETTERED = ("dead_letter", "manual_review")
#: No attempts of the task's own body: it asked to wait, or somebody else's task was only watched.
SNOOZED, WATCHED = "snooze", "watched:"

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


class SuccessRateMonitor(Counting):
    """Counts in this process, and reads what all processes have counted; how is in `counting.py`."""

    #: Fingerprints met in this hour.
    _met: set[str] = set()  # noqa: RUF012  # replaced, never changed
    _met_in = 0

    # -- counting

    def succeeded(self, task: str) -> None:
        """A task succeeded at its first attempt."""
        self.count((task, "", FIRST_TRY))

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
        """An attempt counts in its minute, and in the totals; there a name that came from a message does not count."""
        yield from super().expand(labels, amount)
        task, error_type, outcome = labels
        yield self._keys.totals_of_rates, ("attempts", "" if outcome in _UNKNOWN else task, error_type, outcome), amount

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
        until = time.time() if until is None else until
        since = max(since, time.time() - self.retention - BUCKET)
        buckets = range(int(since) // BUCKET * BUCKET, int(until) + 1, BUCKET)
        totals: dict[tuple[str, str], Counter[str]] = {}
        for name, error_type, outcome, count in self._read(buckets):
            if task is None or name == task:
                totals.setdefault((name, error_type), Counter())[outcome] += count
        rates = [_rate(name, error_type, outcomes) for (name, error_type), outcomes in totals.items()]
        return sorted(rates, key=lambda rate: (-rate.attempts, rate.task, rate.error_type))

    def series(
        self, since: float, step: float = 3600.0, until: float | None = None,
        chosen: Callable[[str], bool] = lambda _: True,
    ) -> dict[str, list[int]]:  # fmt: skip
        """What was counted between two moments (unix s) in each `step` seconds, oldest first, of the `chosen` tasks.

        `"failed"` attempts of any end, `"recovered"` tasks, `"dead_lettered"` ones. Raises `StoreUnavailable`.
        """
        now = time.time()
        end = now if until is None else until
        begin = int(max(since, now - self.retention)) // BUCKET * BUCKET
        places = max(int((end - begin) // step), 0) + 1
        told = {name: [0] * places for name in ("failed", "recovered", "dead_lettered")}
        for bucket, task, _, outcome, count in self._buckets(range(begin, int(end) + 1, BUCKET)):
            if outcome in (FIRST_TRY, SNOOZED) or outcome.startswith(WATCHED) or not chosen(task):
                continue
            at = min(int((bucket - begin) // step), places - 1)
            told["recovered" if outcome == RECOVERED else "failed"][at] += count
            if outcome in DEAD_LETTERED:
                told["dead_lettered"][at] += count
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
                yield hours[place], tuple(json.loads(field)), count

    def _read(self, buckets: range) -> Iterable[tuple[str, str, str, int]]:
        return (rest for _, *rest in self._buckets(buckets))  # type: ignore[misc]

    def _buckets(self, buckets: range) -> Iterable[tuple[int, str, str, str, int]]:
        for place, counts in self._hashes([self._keys.rates(bucket) for bucket in buckets]):
            for key, count in counts.items():
                name, error_type, outcome = json.loads(key)
                yield buckets[place], name, error_type, outcome, count

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
