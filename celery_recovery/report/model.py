"""`Report`: what a period was like, as one frozen value. `gather.py` makes it, pages and tables only show it.

Durations are seconds, times unix seconds, shares 0 to 1. Foreign texts in it (messages, notes, filters) are without
secrets already. Two clocks are in it:

- *to the minute*, or where the period is longer than two days to the hour: `headline`, `before`, `series`, and the
  counts of `kinds`;
- *to the hour*, the first and the last hour whole: retries, times to recovery, reasons, batches, trends of groups. They
  begin at `hours_since`, a little before `since`.

What a killed process counted in its last seconds is in neither. `notes` tells what else is missing in this report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from celery_recovery.report.sections import Batch, Circuit, Drift, Group, Kind, Reason, Replays

__all__ = ("LONG", "Advice", "Headline", "Report", "Series", "Standing")

#: Seconds of a period beyond which attempts, too, are read by the hour: the minutes of a week are 10,080 hashes.
LONG = 48 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What became of all attempts that ended. A replay counts as a task of its own."""

    #: Attempts, first ones and retries.
    attempts: int = 0
    #: Tasks that succeeded at once, did so when they were replayed, succeeded after retries, became letters, failed as
    #: in plain Celery.
    first_try: int = 0
    replayed: int = 0
    recovered: int = 0
    dead_lettered: int = 0
    failed: int = 0
    #: Failures followed by another attempt.
    retried: int = 0
    #: Times a task was put off without using an attempt.
    snoozed: int = 0
    #: Failures of tasks on another base class, as Celery's signals tell.
    watched: int = 0

    @property
    def ended(self) -> int:
        """Tasks that came to an end."""
        return self.first_try + self.replayed + self.recovered + self.dead_lettered + self.failed

    @property
    def failed_attempts(self) -> int:
        """Attempts that failed, whatever followed."""
        return self.retried + self.dead_lettered + self.failed

    @property
    def recovery_rate(self) -> float | None:
        """Share of the tasks that failed at least once, and have ended, which succeeded; None without any."""
        ended = self.recovered + self.dead_lettered + self.failed
        return self.recovered / ended if ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Counts over time. `failed` attempts of any end, `recovered` tasks, `dead_lettered` ones."""

    #: Begin of the first place, and seconds of each; the last place may be cut short.
    begin: float
    step: float
    failed: tuple[int, ...]
    recovered: tuple[int, ...]
    dead_lettered: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What waits now, whatever the period."""

    #: Letters that are not finished, of the tasks that were asked for; and of all, by state.
    open: int
    by_state: Mapping[str, int]
    #: Death of the oldest letter that is not finished; None without any.
    oldest: float | None
    #: Parked tasks; those that are overdue, those that no queue takes; None: nothing can be parked here.
    parked: int | None = None
    overdue: int = 0
    refused: int = 0
    oldest_due: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing that the figures say should be changed."""

    #: Which rule speaks (`advice.RULES`).
    rule: str
    #: What it is about: a task, a group, a circuit.
    subject: str
    #: What to do, in a sentence, and the figures behind it.
    says: str
    evidence: str
    #: To be copied: a command, or code, and then where it belongs.
    setting: str = ""
    place: str = ""
    #: The same figures for machines.
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report. See the module's docstring for its two clocks."""

    app: str
    made_at: float
    #: The period, and where what is counted by the hour begins.
    since: float
    until: float
    hours_since: float
    #: Names or patterns of tasks that it is limited to; empty: all. Circuits and replays are always those of all.
    tasks: tuple[str, ...]
    headline: Headline
    #: The period of the same length before it; None: that is not kept any more.
    before: Headline | None
    #: Most failed attempts first; at most 200.
    kinds: tuple[Kind, ...]
    series: Series
    reasons: tuple[Reason, ...]
    #: Most deaths first; at most 50.
    groups: tuple[Group, ...]
    #: Groups that had deaths in the period; new ones; resolved ones that came back.
    groups_dead: int
    groups_new: int
    groups_back: int
    #: Seconds of each place of a group's trend.
    group_step: float
    #: Those that refuse calls first; at most 30.
    circuits: tuple[Circuit, ...]
    replays: Replays
    drifts: tuple[Drift, ...]
    batches: tuple[Batch, ...]
    standing: Standing
    #: The most important first.
    advice: tuple[Advice, ...] = ()
    #: What is missing in this very report, in sentences.
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, with what is derived (rates) beside what is counted."""
        found: dict[str, Any] = _plain(self)
        return found


_DERIVED = ("ended", "failed_attempts", "recovery_rate", "success_rate", "tried")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        names = [item.name for item in fields(value)]
        more = [name for name in _DERIVED if name not in names and hasattr(value, name)]
        return {name: _plain(getattr(value, name)) for name in (*names, *more)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
