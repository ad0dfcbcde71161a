"""Circuits that stay open, open too lightly, or that somebody has forced and forgotten."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from celery_recovery.report.model import Advice, Report
from celery_recovery.report.sections import Circuit, Interval
from celery_recovery.text import as_written, duration, moment

__all__ = ("circuit_flaps", "circuit_forced", "circuit_stays_open")

#: `circuit_flaps`: openings of a circuit that was closed, and seconds that it stayed closed in between (median).
FLAPS, FLAP_SECONDS = 5, 300.0
#: `circuit_stays_open`: seconds. `circuit_forced`: seconds that it has been what somebody made it.
OPEN_SECONDS, FORCED_SECONDS = 3600.0, 86400.0
#: What counts where a circuit has not told its settings: those of `CircuitPolicy`.
_CALLS, _OPEN = 20, 5.0


def circuit_flaps(report: Report) -> Iterator[Advice]:
    """It opens, closes, and opens again at once."""
    for one in report.circuits:
        closed = _closed_between(one.intervals)
        if one.from_closed < FLAPS or len(closed) < FLAPS - 1 or median(closed) > FLAP_SECONDS:
            continue
        yield Advice(
            rule="circuit_flaps",
            subject=one.name,
            says=f"Let the circuit {one.name} open less lightly, and stay open longer.",
            evidence=f"It opened {one.from_closed:,} times out of being closed, and in between stayed closed for"
            f" {duration(median(closed))} (median).",
            setting=f"recovery_circuits = {{{json.dumps(one.name)}: {json.dumps(_calmer(one))}}}",
            place="a setting",
            figures={"openings": one.from_closed, "closed_seconds": median(closed)},
        )


def circuit_stays_open(report: Report) -> Iterator[Advice]:
    """What is behind it is still away."""
    for one in report.circuits:
        since = _not_closed_since(one, report.until)
        if one.state not in ("open", "half_open") or since is None or report.until - since < OPEN_SECONDS:
            continue
        yield Advice(
            rule="circuit_stays_open",
            subject=one.name,
            says=f"See to what is behind the circuit {one.name}: it has not closed.",
            evidence=f"It has not been closed since {moment(since)} UTC, for {duration(report.until - since)};"
            f" {one.waiting:,} tasks wait for it.",
            setting=f"celery -A your_app recovery circuits show {shlex.quote(one.name)}",
            figures={"seconds": report.until - since, "waiting": one.waiting},
        )


def circuit_forced(report: Report) -> Iterator[Advice]:
    """Somebody has forced or disabled it, and it still is."""
    for one in report.circuits:
        seconds = report.made_at - one.since
        if one.state not in ("forced_open", "disabled") or not one.since or seconds < FORCED_SECONDS:
            continue
        what = "refuses all calls" if one.state == "forced_open" else "protects nothing"
        yield Advice(
            rule="circuit_forced",
            subject=one.name,
            says=f"Is the circuit {one.name} still meant to be {one.state}? It {what}.",
            evidence=f"It is so since {moment(one.since)} UTC, for {duration(seconds)}; {one.waiting:,} tasks wait.",
            setting=f"celery -A your_app recovery circuits close {shlex.quote(one.name)}",
            figures={"seconds": seconds, "waiting": one.waiting},
        )


def _calmer(one: Circuit) -> dict[str, float]:
    """Settings that wait for twice as many calls, and stay open twice as long."""
    seconds = as_written((one.settings.get("open_duration") or _OPEN) * 2)
    changed = {"minimum_calls": int(one.settings.get("minimum_calls") or _CALLS) * 2, "open_duration": seconds}
    longest = one.settings.get("longest_open") or seconds
    return changed if seconds <= longest else {**changed, "max_open_duration": seconds}


def _closed_between(found: Sequence[Interval]) -> list[float]:
    """Seconds that it was closed between two times that it was not."""
    gaps = (after.begin - before.end for before, after in pairwise(found))
    return [gap for gap in gaps if gap > 0]


def _not_closed_since(one: Circuit, until: float) -> float | None:
    """Since when it was not closed without a break, up to the end of the period; None: it is closed then."""
    since = until
    for interval in reversed(one.intervals):
        if interval.end < since:
            break
        since = interval.begin
    return since if since < until else None
