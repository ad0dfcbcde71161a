"""What was counted by the hour, added up: for each task and error type, and for each group, in bounded memory.

An hour may have many groups, and a week very many. So when there are twice as many as `MOST_GROUPS`, the smallest are
dropped from those that are told apart; the sums by task and error type have them all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from celery_recovery.monitoring.measures import RECOVERIES
from celery_recovery.report.estimate import quantile
from celery_recovery.report.outcomes import Outcomes
from celery_recovery.report.sections import Step

__all__ = ("MOST_GROUPS", "GroupKey", "Tallies", "Tally", "Times", "tallied")

#: Groups that are told apart.
MOST_GROUPS = 5000

Labels = tuple[str, ...]
K = TypeVar("K")
V = TypeVar("V")
#: Task, error type, fingerprint.
GroupKey = tuple[str, str, str]


@dataclass(slots=True)
class Tally:
    """Retries and deaths, of one task and error type or of one group."""

    #: Number of the attempt, `"recovered"` or `"failed"` -> how many, and their worker time, ms.
    retries: Counter[tuple[int, str]] = field(default_factory=Counter)
    worked: Counter[tuple[int, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    #: Begin of an hour -> deaths.
    deaths: Counter[int] = field(default_factory=Counter)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The same, one number of attempt after the other."""
        return tuple(
            Step(
                attempt=number,
                recovered=self.retries[number, "recovered"],
                failed=self.retries[number, "failed"],
                recovered_seconds=self.worked[number, "recovered"] / 1000,
                failed_seconds=self.worked[number, "failed"] / 1000,
            )
            for number in sorted({number for number, _ in self.retries})
        )

    @property
    def size(self) -> int:
        """By which groups are compared."""
        return self.retries.total() + self.deaths.total()

    @property
    def wasted(self) -> int:
        """Retries that failed, without those on the way of a task that recovered.

        A task that recovered at its attempt n had n - 2 retries before that which failed.
        """
        failed = sum(count for (_, result), count in self.retries.items() if result == "failed")
        useful = sum((n - 2) * count for (n, result), count in self.retries.items() if result == "recovered")
        return max(failed - useful, 0)

    @property
    def wasted_seconds(self) -> float:
        """Worker time of those, as if all that failed had taken the same."""
        failed = sum(count for (_, result), count in self.retries.items() if result == "failed")
        seconds = sum(count for (_, result), count in self.worked.items() if result == "failed") / 1000
        return seconds * self.wasted / failed if failed else 0.0


@dataclass(slots=True)
class Times:
    """From the first failure to the success."""

    buckets: Counter[str] = field(default_factory=Counter)
    milliseconds: int = 0

    def quantile(self, share: float) -> float | None:
        """Seconds; an estimate from the buckets."""
        return quantile(share, self.buckets, RECOVERIES)

    @property
    def mean(self) -> float | None:
        """Seconds."""
        count = self.buckets.total()
        return self.milliseconds / 1000 / count if count else None


@dataclass(slots=True)
class Tallies:
    """All of a period."""

    kinds: dict[tuple[str, str], Tally] = field(default_factory=dict)
    groups: dict[GroupKey, Tally] = field(default_factory=dict)
    times: dict[tuple[str, str], Times] = field(default_factory=dict)
    #: Circuit, state -> transitions into it. Circuit -> times that a task was parked for it.
    circuits: Counter[tuple[str, str]] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    #: Task, how -> items of its batches.
    batches: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Groups, or deaths in them, that are not told apart.
    is_cut: bool = False
    #: Where attempts are added up; None: nowhere, they are read by the minute.
    outcomes: Outcomes | None = None

    def add(self, hour: int, labels: Labels, count: int, chosen: Callable[[str], bool]) -> None:
        """One line of the hashes of `measures.py`; what is not known (a newer version has counted it) is left out."""
        match labels:
            case ("attempts", task, kind, outcome):
                if self.outcomes is not None:
                    self.outcomes.add(hour, task, kind, outcome, count)
            case ("circuit", circuit, state):
                self.circuits[circuit, state] += count
            case ("parked", _, "circuit", circuit):
                self.parked[circuit] += count
            case (_, task, *_) if chosen(task):
                self._add_of_task(hour, labels, count)

    def _add_of_task(self, hour: int, labels: Labels, count: int) -> None:
        match labels:
            case ("retry" | "retry_ms" as what, task, kind, fingerprint, number, result):
                for tally in self._both(task, kind, fingerprint):
                    (tally.retries if what == "retry" else tally.worked)[int(number), result] += count
            case ("dead", task, kind, fingerprint, reason):
                for tally in self._both(task, kind, fingerprint):
                    tally.reasons[reason] += count
                    tally.deaths[hour] += count
            case ("recovery", task, kind, end):
                _made(self.times, (task, kind), Times).buckets[end] += count
            case ("recovery_ms", task, kind):
                _made(self.times, (task, kind), Times).milliseconds += count
            case ("batch", task, how):
                self.batches[task, how] += count

    def trim(self, at: int) -> None:
        """Forget the smallest groups beyond `MOST_GROUPS`, if there are more than `at`."""
        if len(self.groups) > at:
            self.is_cut = True
            largest = sorted(self.groups.items(), key=lambda item: -item[1].size)[:MOST_GROUPS]
            self.groups = dict(largest)

    def _both(self, task: str, kind: str, fingerprint: str) -> Iterable[Tally]:
        yield _made(self.kinds, (task, kind), Tally)
        if fingerprint:
            yield _made(self.groups, (task, kind, fingerprint), Tally)
        else:
            self.is_cut = True

    @property
    def reasons(self) -> Mapping[tuple[str, str], int]:
        """Error type, reason -> dead letters."""
        found: Counter[tuple[str, str]] = Counter()
        for (_, kind), tally in self.kinds.items():
            for reason, count in tally.reasons.items():
                found[kind, reason] += count
        return found


def tallied(
    lines: Iterable[tuple[int, Labels, int]],
    chosen: Callable[[str], bool] = lambda _: True,
    outcomes: Outcomes | None = None,
) -> Tallies:
    """Add up what `SuccessRateMonitor.by_hour` tells, of the `chosen` tasks; circuits are those of all."""
    tallies, last = Tallies(outcomes=outcomes), 0
    for hour, labels, count in lines:
        if hour != last:
            tallies.trim(2 * MOST_GROUPS)  # comparing them all is not for every hour
            last = hour
        tallies.add(hour, labels, count, chosen)
    tallies.trim(MOST_GROUPS)
    return tallies


def _made(known: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """The one of that key; `setdefault` would make one each time."""
    found = known.get(key)
    if found is None:
        found = known[key] = make()
    return found
