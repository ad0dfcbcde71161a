"""Errors that are not understood, or not rightly, and tasks that are only watched."""

from __future__ import annotations

import json
from collections.abc import Iterator

from celery_recovery.report.estimate import at_least
from celery_recovery.report.model import Advice, Report
from celery_recovery.report.sections import Drift

__all__ = ("retry_what_replays_recover", "use_recoverable_task", "write_rule")

#: `write_rule`: failed attempts of any type, and the share of them that no rule knew, at least.
FAILURES, UNKNOWN_SHARE = 100, 0.2
#: `retry_what_replays_recover`: letters of one exception, and the share of them that recovers, at least.
REPLAYED, DRIFT_SHARE = 20, 0.8
#: `use_recoverable_task`: failures of tasks on another base class.
WATCHED = 50
#: Exceptions that are named.
NAMED = 3


def write_rule(report: Report) -> Iterator[Advice]:
    """Many failures are `unknown`: nobody knows whether a retry makes sense."""
    failures = sum(kind.failed_attempts for kind in report.kinds)
    unknown = sum(kind.failed_attempts for kind in report.kinds if kind.error_type == "unknown")
    if failures < FAILURES or at_least(unknown, failures) < UNKNOWN_SHARE:
        return
    names = dict.fromkeys(one.exception for one in report.groups if one.error_type == "unknown" and one.exception)
    some = ", ".join(list(names)[:NAMED])
    yield Advice(
        rule="write_rule",
        subject="unknown errors",
        says="Write rules for the errors that none of the rules knows" + (f", first for {some}." if some else "."),
        evidence=f"{unknown:,} of {failures:,} failed attempts were of the type unknown.",
        setting='recovery_rules = ["your_app.errors:rule"]',
        place="a setting",
        figures={"unknown": unknown, "failures": failures, "share_at_least": at_least(unknown, failures)},
    )


def retry_what_replays_recover(report: Report) -> Iterator[Advice]:
    """Called not retryable, and yet a replay of the same message succeeds."""
    for one in report.drifts:
        ended = one.recovered + one.died
        least = at_least(one.recovered, ended)
        if ended < REPLAYED or least < DRIFT_SHARE or _is_resolved(report, one):
            continue
        yield Advice(
            rule="retry_what_replays_recover",
            subject=one.task,
            says=f"Unless something was mended in between: have {one.exception} of {one.task} retried. It passes.",
            evidence=f"{one.recovered:,} of {ended:,} letters that the rule {one.rule} had called not retryable"
            " recovered when they were replayed unchanged.",
            setting=f'policies={{{json.dumps(one.exception)}: {{"max_attempts": 3, "base_delay": 30}}}}',
            place=f"an option of the task {one.task}",
            figures={"recovered": one.recovered, "ended": ended, "share_at_least": least},
        )


def _is_resolved(report: Report, one: Drift) -> bool:
    """Somebody has said that it was mended: of course its letters recover."""
    return any(
        group.state == "resolved" and (group.task, group.exception) == (one.task, one.exception)
        for group in report.groups
    )


def use_recoverable_task(report: Report) -> Iterator[Advice]:
    """Failures that are seen, and not recovered from."""
    watched = report.headline.watched
    if watched >= WATCHED:
        yield Advice(
            rule="use_recoverable_task",
            subject="tasks on other base classes",
            says="Give the tasks that are only watched the base class RecoverableTask: their failures are lost.",
            evidence=f"{watched:,} failures of such tasks were seen, and nothing was done about them.",
            setting="base=RecoverableTask",
            place="an option of these tasks",
            figures={"watched": watched},
        )
