"""`gather`: a `Report` from one app. It only reads, and what it reads is bounded.

What costs is the counts: one hash for each hour, and one for each minute of a period of two days or less. What is asked
of letters, groups, circuits and operations has a limit each, so that a million letters cost no more than a thousand.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

from celery import Celery

from celery_recovery.circuit.circuits import Circuits
from celery_recovery.config import Settings
from celery_recovery.dead_letters.filter import parse_time
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.monitoring.counting import BUCKET, HOUR
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.parking import Parking
from celery_recovery.policy import RecoveryPolicy
from celery_recovery.redact import Redactor
from celery_recovery.report.advice import advise
from celery_recovery.report.circuits import circuits_of
from celery_recovery.report.groups import grouped
from celery_recovery.report.kinds import Limits, kinds_of
from celery_recovery.report.model import LONG, Headline, Report, Standing
from celery_recovery.report.outcomes import Outcomes
from celery_recovery.report.replays import drifts_of, replays_of
from celery_recovery.report.sections import Batch, Reason
from celery_recovery.report.tally import Tallies, tallied
from celery_recovery.text import duration, moment

__all__ = ("Sources", "gather")

#: Widths of the places in a series, seconds, and how many places there are at most.
STEPS, PLACES = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 86400), 60


class Sources(Protocol):
    """What a report is made from: a `Recovery`."""

    app: Celery

    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def redact(self) -> Redactor: ...  # noqa: D102
    @property
    def stats(self) -> SuccessRateMonitor: ...  # noqa: D102
    @property
    def dead_letters(self) -> DeadLetterQueue: ...  # noqa: D102
    @property
    def circuits(self) -> Circuits: ...  # noqa: D102
    @property
    def parked(self) -> Parking | None: ...  # noqa: D102
    def policies_of(self, task: Any) -> RecoveryPolicy: ...  # noqa: D102


class Period(NamedTuple):
    """From when to when, unix s; `since` on a whole minute, of a long one on a whole hour."""

    since: float
    until: float
    now: float

    @classmethod
    def read(cls, since: Any, until: Any, now: float) -> Period:
        """As a command line gives it: an age, ISO 8601 or unix seconds. Raises `ConfigurationError`."""
        begin = parse_time("since", since, now)
        end = now if until is None else min(parse_time("until", until, now), now)
        if begin >= end:
            raise ConfigurationError.of("since", expected=f"a time before {moment(end)} UTC", got=since)
        return cls.of(begin, end, now)

    @classmethod
    def of(cls, begin: float, end: float, now: float) -> Period:
        """It begins then, or a little before."""
        whole = HOUR if end - begin > LONG else BUCKET
        return cls(begin // whole * whole, end, now)

    @property
    def is_long(self) -> bool:
        """What is counted to the minute is read by the hour."""
        return self.until - self.since > LONG

    @property
    def last(self) -> float:
        """For what is read by minute or hour: one that only begins at `until` is not in it."""
        return self.until - 0.001 if self.until < self.now else self.until

    @property
    def before(self) -> Period:
        """The period of the same length before it."""
        return Period.of(2 * self.since - self.until, self.since, self.now)

    @property
    def step(self) -> float:
        """Seconds of one place in a series."""
        length = self.until - self.since
        return next((step for step in STEPS if length <= step * PLACES), STEPS[-1])


def gather(
    sources: Sources, since: Any = "24h", until: Any = None, *, tasks: Sequence[str] = (), now: float | None = None
) -> Report:
    """The report of a period: `since` and `until` are unix seconds, ISO 8601, or an age such as `"24h"`.

    `tasks`: names, `*` and `?` match. Raises `ConfigurationError` for times that make no sense and where there is no
    Redis, and `StoreUnavailable`.
    """
    period = Period.read(since, until, time.time() if now is None else now)
    return replace(report := _Gathering(sources, period, tuple(tasks)).report(), advice=advise(report))


class _Gathering:
    """One run of `gather`."""

    def __init__(self, sources: Sources, period: Period, tasks: tuple[str, ...]) -> None:
        self.sources, self.tasks = sources, tasks
        self.letters, self.stats = sources.dead_letters, sources.stats
        self.redact = sources.redact
        self.notes: list[str] = []
        self.period = self._kept(period)

    def report(self) -> Report:
        """All of it but the advice."""
        period, sources = self.period, self.sources
        hours_since = period.since // HOUR * HOUR
        outcomes, tallies = self._counted()
        limits = Limits(sources.app, sources.policies_of)
        step = max(period.step, float(HOUR))
        groups = grouped(
            self.letters.grouped, tallies, self.redact, limits,
            since=hours_since, until=period.until, step=step, chosen=self._chosen,
        )  # fmt: skip
        waiting = sources.parked.stats().by_circuit if sources.parked else {}
        circuits, left_out = circuits_of(sources.circuits, tallies, waiting, period.since, period.until)
        self.notes += left_out
        self._note_limits(tallies, groups.is_cut)
        return Report(
            app=sources.app.main or "",
            made_at=period.now,
            since=period.since,
            until=period.until,
            hours_since=hours_since,
            tasks=self.tasks,
            headline=outcomes.headline,
            before=self._before(),
            kinds=kinds_of(outcomes.rates, tallies, limits),
            series=outcomes.series,
            reasons=_reasons(tallies),
            groups=groups.groups,
            groups_dead=groups.dead,
            groups_new=groups.new,
            groups_back=groups.back,
            group_step=step,
            circuits=circuits,
            replays=replays_of(self.letters.operations, self.redact, period.since, period.until),
            drifts=drifts_of(self.letters, period.since, period.until, self._chosen, sources.settings.code_version),
            batches=_batches(tallies),
            standing=self._standing(),
            notes=tuple(self.notes),
        )

    # -- the period

    def _kept(self, period: Period) -> Period:
        """As much of it as was kept."""
        kept = self.sources.settings.stats_retention
        if not self.sources.settings.stats:
            self.notes.append("recovery_stats is off: no attempt was counted.")
        if period.since >= period.now - kept - HOUR:
            return period
        since = (period.now - kept) // HOUR * HOUR
        self.notes.append(
            f"Counts are kept for {duration(kept)} (recovery_stats_retention): the report begins at"
            f" {moment(since)} UTC, and not at {moment(period.since)}."
        )
        if since >= period.until:
            expected = f"a time after {moment(since)} UTC: older counts are not kept (recovery_stats_retention)"
            raise ConfigurationError.of("until", expected=expected, got=moment(period.until))
        return period._replace(since=since)

    def _chosen(self, task: str) -> bool:
        return not self.tasks or any(fnmatchcase(task, one) for one in self.tasks)

    # -- what was counted

    def _outcomes(self, period: Period) -> Outcomes:
        return Outcomes(period.since, period.until, period.step, self._chosen)

    def _counted(self) -> tuple[Outcomes, Tallies]:
        """Attempts, and what is counted beside them; of a long period both are read by the hour, at once."""
        period, outcomes = self.period, self._outcomes(self.period)
        if not period.is_long:
            outcomes.add_all(self.stats.by_minute(period.since, period.last))
        hours = self.stats.by_hour(period.since, period.last)
        return outcomes, tallied(hours, self._chosen, outcomes if period.is_long else None)

    def _before(self) -> Headline | None:
        before = self.period.before
        if before.since < self.period.now - self.sources.settings.stats_retention:
            return None
        outcomes = self._outcomes(before)
        if before.is_long:
            tallied(self.stats.by_hour(before.since, before.last), self._chosen, outcomes)
        else:
            outcomes.add_all(self.stats.by_minute(before.since, before.last))
        return outcomes.headline if outcomes.headline.attempts else None

    # -- what stands

    def _standing(self) -> Standing:
        figures = self.letters.stats()
        of_tasks = sum(count for task, count in figures.by_task.items() if self._chosen(task))
        parked = self.sources.parked.stats() if self.sources.parked else None
        return Standing(
            open=of_tasks if self.tasks else figures.open,
            by_state=dict(figures.by_state),
            oldest=figures.oldest,
            parked=parked.count if parked else None,
            overdue=parked.overdue if parked else 0,
            refused=parked.refused if parked else 0,
            oldest_due=parked.oldest_due if parked else None,
        )

    def _note_limits(self, tallies: Tallies, groups_cut: bool) -> None:
        if tallies.is_cut:
            self.notes.append("There were too many groups to tell all apart: the figures of a group may be too small.")
        if groups_cut:
            self.notes.append("There may be more groups that are new or came back: not all records were looked at.")
        if self.tasks:
            self.notes.append("Circuits, replays, the states of letters and parked tasks are those of all tasks.")
        if self.period.until < self.period.now:
            self.notes.append("The period is over; what waits is told as it is now.")


def _reasons(tallies: Tallies) -> tuple[Reason, ...]:
    found = [Reason(error_type=kind, reason=why, count=n) for (kind, why), n in tallies.reasons.items()]
    return tuple(sorted(found, key=lambda one: (-one.count, one.error_type, one.reason)))


def _batches(tallies: Tallies) -> tuple[Batch, ...]:
    items = tallies.batches
    found = [
        Batch(task=task, **{how: items[task, how] for how in ("succeeded", "failed", "discarded")})
        for task in sorted({task for task, _ in items})
    ]
    return tuple(one for one in found if one.succeeded or one.failed or one.discarded)
