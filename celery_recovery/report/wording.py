"""How numbers, shares and times of a report are written, in text and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from celery_recovery.report.model import LONG, Report
from celery_recovery.report.sections import Replays, Step
from celery_recovery.text import age, duration, moment

__all__ = ("about_counts", "about_replays", "count", "day", "headline", "period", "share", "took", "worth")


def count(number: float) -> str:
    """With thousands apart; a dash for none."""
    return f"{number:,.0f}" if number else "-"


def share(value: float | None) -> str:
    """In percent; 100 and 0 only where it is all or none."""
    if value is None:
        return "-"
    if value in (0, 1):
        return f"{value:.0%}"
    return f"{min(max(value * 100, 0.1), 99.9):.1f}%"


def took(seconds: float | None) -> str:
    """A time to recovery; the last bucket has no end."""
    if seconds is None:
        return "-"
    return "1d or more" if seconds >= 86400 else duration(seconds)


def day(unix: float) -> str:
    """A moment in UTC, to the minute."""
    return moment(unix)[:16]


def period(report: Report) -> str:
    """From when to when, and how long."""
    return f"{day(report.since)} to {day(report.until)} UTC ({duration(report.until - report.since)})"


def headline(report: Report) -> list[tuple[str, str, str]]:
    """The figures that stand first: name, value, and what else there is to say of it, such as the value before."""
    now, before, standing = report.headline, report.before, report.standing
    oldest = f"the oldest died {age(standing.oldest, report.made_at)} ago" if standing.oldest else ""
    overdue = f"{standing.overdue:,} overdue" if standing.overdue else ""
    rate = "" if before is None else f"before: {share(before.recovery_rate)}"
    parked = () if standing.parked is None else (("Parked now", count(standing.parked), overdue),)
    return [
        ("Recovery rate", share(now.recovery_rate), rate),
        *(
            (title, count(getattr(now, name)), "" if before is None else f"before: {getattr(before, name):,}")
            for name, title in _HEADLINE
        ),
        ("Open letters now", count(standing.open), oldest),
        *parked,
    ]


_HEADLINE = (
    ("ended", "Tasks that ended"), ("failed_attempts", "Failed attempts"), ("recovered", "Recovered"),
    ("replayed", "Done by a replay"), ("dead_lettered", "Dead letters"), ("failed", "Failed as in Celery"),
)  # fmt: skip


def worth(steps: Sequence[Step]) -> list[tuple[Step, float | None, float | None]]:
    """Each attempt with the share that it recovered, and the share of all retried tasks that had recovered by then."""
    begun = steps[0].tried if steps and steps[0].attempt == 2 else 0
    found, recovered = [], 0
    for step in steps:
        recovered += step.recovered
        own = step.recovered / step.tried if step.tried else None
        found.append((step, own, min(recovered / begun, 1.0) if begun else None))
    return found


def about_replays(sums: Replays) -> str:
    """All of them, in a sentence."""
    replays = "1 replay" if sums.count == 1 else f"{sums.count:,} replays"
    return (
        f"{replays} published {sums.published:,} of {sums.selected:,} letters: {sums.recovered:,} recovered,"
        f" {sums.died:,} died again, {sums.ended:,} ended otherwise, {sums.in_flight:,} are under way."
        f" Success: {share(sums.success_rate)}. Stopped by their canary: {sums.by_canary:,}."
    )


def about_counts(report: Report) -> tuple[str, ...]:
    """How it is counted, in sentences; then what is missing in this very report."""
    hours = f"from {day(report.hours_since)} UTC on, to the end of the last hour"
    long = report.until - report.since > LONG
    by_hour = "All is" if long else "Retries, times to recovery, reasons, groups and batches are"
    return (
        "A killed process takes along what it counted in its last seconds (recovery_stats_interval).",
        f"{by_hour} counted by the hour: {hours}.",
        "Times to recovery are estimates from buckets.",
        _WASTED,
        _NOT_COUNTED,
        *report.notes,
    )


_WASTED = (
    "Wasted are the retries that failed of tasks that did not recover, or have not yet: an estimate where one task met"
    " several error types."
)
_NOT_COUNTED = (
    "A replay counts as a task of its own. Messages that never became a task, and items of batches, have letters that"
    " are in no count but their group's."
)
