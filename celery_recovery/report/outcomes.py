"""How attempts ended, added up once for all that is told of them: the first lines, the series, tasks and types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from celery_recovery.monitoring.stats import SERIES, Rate, in_series
from celery_recovery.report.model import Headline, Series

__all__ = ("Outcomes",)

_COUNTS = (
    "attempts", "first_try", "replayed", "recovered", "dead_lettered", "failed", "retried", "snoozed", "watched",
)  # fmt: skip


class Outcomes:
    """Counts of a period that begins at `begin` and has `places` of `step` seconds (unix s, s)."""

    def __init__(self, begin: float, end: float, step: float, chosen: Callable[[str], bool] = lambda _: True) -> None:
        self._begin, self._step, self._chosen = begin, step, chosen
        self._places = {name: [0] * max(int(-(-(end - begin) // step)), 1) for name in SERIES}
        self._totals: dict[tuple[str, str], Counter[str]] = {}

    def add(self, at: float, task: str, error_type: str, outcome: str, count: int) -> None:
        """So many, at that time; of other tasks than the chosen ones: none."""
        if not self._chosen(task):
            return
        self._totals.setdefault((task, error_type), Counter())[outcome] += count
        for name in in_series(outcome):
            places = self._places[name]
            places[min(max(int((at - self._begin) // self._step), 0), len(places) - 1)] += count

    def add_all(self, lines: Iterable[tuple[int, tuple[str, ...], int]]) -> Outcomes:
        """What `SuccessRateMonitor.by_minute` tells."""
        for at, (task, error_type, outcome), count in lines:
            self.add(at, task, error_type, outcome, count)
        return self

    @property
    def rates(self) -> list[Rate]:
        """By task and error type."""
        return [Rate.of(task, error_type, outcomes) for (task, error_type), outcomes in self._totals.items()]

    @property
    def headline(self) -> Headline:
        """All together."""
        rates = self.rates
        return Headline(**{name: sum(getattr(rate, name) for rate in rates) for name in _COUNTS})

    @property
    def series(self) -> Series:
        """Over time."""
        places = {name: tuple(counts) for name, counts in self._places.items()}
        return Series(begin=self._begin, step=self._step, **places)
