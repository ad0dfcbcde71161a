"""The groups of a period: the largest, the new ones, and those that were resolved and came back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from celery_recovery.dead_letters.groups import ErrorGroup, Groups, GroupState
from celery_recovery.monitoring.counting import HOUR
from celery_recovery.redact import Redactor
from celery_recovery.report.kinds import Limits
from celery_recovery.report.sections import Group
from celery_recovery.report.tally import Tallies, Tally
from celery_recovery.text import cut

__all__ = ("Grouped", "grouped")

#: Groups that are told of, and records that are looked at.
MOST_TOLD, LOOKED_AT = 50, 2000
#: Characters of a text.
LONGEST = 500
#: Queues and versions that are told of each.
MOST_PARTS = 10


class Grouped(NamedTuple):
    """What was found."""

    #: Most deaths in the period first.
    groups: tuple[Group, ...]
    dead: int
    new: int
    back: int
    #: There were more records than are looked at.
    is_cut: bool


def grouped(
    records: Groups, tallies: Tallies, redact: Redactor, limits: Limits, *,
    since: float, until: float, step: float, chosen: Callable[[str], bool],
) -> Grouped:  # fmt: skip
    """Look at the records of those that died last, that have most open letters, and that were counted most.

    A death is counted by the worker, and again in the group's record when its letter is stored, which is where those of
    items and of messages that are no tasks are. The larger number is told.
    """
    newest = records.list(states=GroupState, limit=LOOKED_AT, newest_first=True)
    known = {one.fingerprint: one for one in (*newest, *records.list(limit=MOST_TOLD))}
    counted: dict[str, Tally] = {fingerprint: tally for (_, _, fingerprint), tally in tallies.groups.items()}
    missing = [one for one in _largest(counted) if one not in known]
    known |= {one.fingerprint: one for one in records.read(missing)}
    found = [
        _group(one, counted.get(one.fingerprint, Tally()), redact, limits, since, until, step)
        for one in known.values()
        if chosen(one.task)
    ]
    died = [one for one in found if one.deaths]
    told = sorted((one for one in found if one.deaths or one.open or one.steps), key=_weight)
    return Grouped(
        groups=tuple(told[:MOST_TOLD]),
        dead=len(died),
        new=sum(one.is_new for one in found),
        back=sum(one.is_regression for one in found),
        is_cut=len(newest) >= LOOKED_AT and newest[-1].last_seen >= since,
    )


def _largest(counted: Mapping[str, Tally]) -> Iterable[str]:
    """Those that died most often, and those that were retried most."""
    dead = sorted(counted, key=lambda one: -counted[one].reasons.total())[:MOST_TOLD]
    retried = sorted(counted, key=lambda one: -counted[one].retries.total())[:MOST_TOLD]
    return dict.fromkeys((*dead, *retried))


def _weight(group: Group) -> tuple[int, int, str]:
    return -group.deaths, -group.open, group.fingerprint


def _group(
    one: ErrorGroup, tally: Tally, redact: Redactor, limits: Limits, since: float, until: float, step: float
) -> Group:
    deaths = _deaths(one, tally, since, until)
    return Group(
        fingerprint=one.fingerprint,
        task=cut(one.task, LONGEST),
        error_type=one.error_type,
        exception=cut(one.exception, LONGEST),
        message=cut(redact(one.message), LONGEST),
        state=one.state.value,
        by=one.by,
        deaths=deaths.total(),
        open=one.count,
        oldest=one.oldest,
        first_seen=one.first_seen,
        last_seen=one.last_seen,
        is_new=since <= one.first_seen <= until,
        is_regression=bool(one.regressions) and since <= one.regressed_at <= until,
        regressed_in=one.regressed_in,
        queues=_first(one.queues),
        versions=_first(one.versions),
        versions_since=dict(one.versions_since),
        reasons=dict(tally.reasons),
        trend=_trend(deaths, since, until, step),
        steps=tally.steps,
        max_attempts=limits(one.task, one.error_type, one.exception),
    )


def _deaths(one: ErrorGroup, tally: Tally, since: float, until: float) -> Counter[int]:
    """Begin of an hour -> deaths in it."""
    this_hour = int(time.time()) // HOUR * HOUR
    recorded = {this_hour - HOUR * back: count for back, count in enumerate(reversed(one.trend))}
    hours = {hour for hour in (*tally.deaths, *recorded) if since <= hour < until}
    return Counter({hour: max(tally.deaths[hour], recorded.get(hour, 0)) for hour in hours})


def _trend(deaths: Mapping[int, int], since: float, until: float, step: float) -> tuple[int, ...]:
    places = [0] * max(int(-(-(until - since) // step)), 1)
    for hour, count in deaths.items():
        places[min(int((hour - since) // step), len(places) - 1)] += count
    return tuple(places)


def _first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(list(counts.items())[:MOST_PARTS])
