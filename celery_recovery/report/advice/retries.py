"""How often to try: fewer attempts where late ones never recover, more where the last one still does.

What is counted here are *tasks that came so far*, not attempts: a task that fails eight times is one piece of evidence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from celery_recovery.policy import PERMANENT_TYPES
from celery_recovery.report.estimate import at_least, at_most
from celery_recovery.report.model import Advice, Report
from celery_recovery.report.sections import Group, Kind, Step
from celery_recovery.text import duration

__all__ = ("Cut", "cap_attempts", "cut_of", "give_circuit", "raise_attempts")

#: `cap_attempts`: tasks that came to the first attempt that is to go; the share of them that can still recover, at
#: most, where none was seen to; and where some were; the share of all retries that would be saved, at least.
CAP_TASKS, CAP_SHARE_NONE, CAP_SHARE_SOME, CAP_WORTH = 60, 0.05, 0.01, 0.2
#: `raise_attempts`: tasks that came to the last attempt, those that it left exhausted, the share that it recovers at
#: least; attempts beyond it, as a share of it, that other limits may have made; most attempts that are added.
RAISE_TASKS, RAISE_EXHAUSTED, RAISE_SHARE, RAISE_BEYOND, RAISE_MOST = 50, 20, 0.2, 0.02, 8
#: `give_circuit`: tasks of one kind that used all their attempts up.
CIRCUIT_EXHAUSTED = 50
#: Types that an outage makes.
_OUTAGES = ("network", "system", "filesystem")
_PERMANENT = {one.value for one in PERMANENT_TYPES}


class Cut(NamedTuple):
    """Attempts that are not worth it: all after `cap`."""

    cap: int
    #: Number of the last one that was made.
    last: int
    #: Tasks that came to attempt `cap` + 1, attempts from there on, and how many of these recovered.
    tasks: int
    attempts: int
    recovered: int
    #: Worker time of those attempts.
    seconds: float


def cut_of(steps: Sequence[Step]) -> Cut | None:
    """The fewest attempts that are enough; None where the figures do not allow to say, or little would be saved."""
    retries = sum(one.tried for one in steps)
    for step in steps:
        late = [one for one in steps if one.attempt >= step.attempt]
        recovered = sum(one.recovered for one in late)
        most = CAP_SHARE_SOME if recovered else CAP_SHARE_NONE
        attempts = sum(one.tried for one in late)
        if attempts < CAP_WORTH * retries:
            return None
        if step.tried >= CAP_TASKS and at_most(recovered, step.tried) <= most:
            return Cut(
                cap=step.attempt - 1, last=late[-1].attempt, tasks=step.tried,
                attempts=attempts, recovered=recovered,
                seconds=sum(one.failed_seconds + one.recovered_seconds for one in late),
            )  # fmt: skip
    return None


def cap_attempts(report: Report) -> Iterator[Advice]:
    """Late attempts recover nothing: of a whole kind, or else of one exception within it."""
    found = [advice for kind in report.kinds for advice in _caps(kind, report.groups)]
    yield from sorted(found, key=lambda advice: -advice.figures["attempts"])


def _caps(kind: Kind, groups: Sequence[Group]) -> Iterator[Advice]:
    cut = cut_of(kind.steps)
    if cut is not None:
        if _would_cap(kind.max_attempts, cut) and _is_harmless(kind.error_type in _PERMANENT, cut, kind.reasons):
            what = f"{kind.error_type} failures of {kind.task}"
            yield _cap(kind, what, cut, json.dumps(kind.error_type))
        return
    own = [one for one in groups if (one.task, one.error_type) == (kind.task, kind.error_type)]
    for exception in dict.fromkeys(one.exception for one in own if one.exception):
        yield from _cap_of_exception(kind, exception, own)


def _cap_of_exception(kind: Kind, exception: str, own: Sequence[Group]) -> Iterator[Advice]:
    """Of groups whose letters are gone nobody knows the exception: what they recovered may have been this one's."""
    its = [one for one in own if one.exception == exception]
    cut = cut_of(added(*(one.steps for one in its)))
    if cut is None:
        return
    unknown = _recovered_after(kind.steps, cut.cap) - _recovered_after(added(*(one.steps for one in own)), cut.cap)
    limits = [one.max_attempts for one in its]
    reasons = {reason for one in its for reason in one.reasons}
    if unknown > 0 or not all(_would_cap(limit, cut) for limit in limits) or not _is_harmless(True, cut, reasons):
        return
    some = f" (group {its[0].fingerprint})" if len(its) == 1 else f" ({len(its)} groups)"
    yield _cap(kind, f"{exception} in {kind.task}{some}", cut, json.dumps(exception), its[0].fingerprint)


def _would_cap(limit: int | None, cut: Cut) -> bool:
    """The policy may have been changed since."""
    return limit is None or limit > cut.cap


def _is_harmless(pointed: bool, cut: Cut, reasons: Container[str]) -> bool:
    """Whether the setting only takes away.

    More than one attempt for an exception, or for a type that is not retried as a rule, means "retry all of these".
    """
    return not pointed or cut.cap == 1 or "not_retryable" not in reasons


def _cap(kind: Kind, what: str, cut: Cut, key: str, fingerprint: str = "") -> Advice:
    many = f"Attempts {cut.cap + 1} to {cut.last}" if cut.last > cut.cap + 1 else f"Attempt {cut.last}"
    outage = " One long outage can look like this: then a circuit is the better answer."
    return Advice(
        rule="cap_attempts",
        subject=fingerprint or kind.task,
        says=f"Cap {what} at {cut.cap} attempt{'s' if cut.cap > 1 else ''}.",
        evidence=f"{many} recovered {cut.recovered:,} of the {cut.tasks:,} tasks that came so far, in"
        f" {cut.attempts:,} attempts and {duration(cut.seconds)} of worker time."
        + (outage if kind.error_type in _OUTAGES and not kind.has_circuit else ""),
        setting=f'policies={{{key}: {{"max_attempts": {cut.cap}}}}}',
        place=f"an option of the task {kind.task}",
        figures={"cap": cut.cap, "tasks": cut.tasks, "attempts": cut.attempts, "recovered": cut.recovered,
                 "seconds": cut.seconds, "share_at_most": at_most(cut.recovered, cut.tasks)},
    )  # fmt: skip


def raise_attempts(report: Report) -> Iterator[Advice]:
    """The last attempt still recovers many, and the rest is exhausted. Silent where `cap_attempts` speaks."""
    for kind in report.kinds:
        last, exhausted = _last(kind.steps), kind.reasons.get("exhausted", 0)
        if last is None or exhausted < RAISE_EXHAUSTED or kind.error_type in _PERMANENT or cut_of(kind.steps):
            continue
        least = at_least(last.recovered, last.tried)
        if least < RAISE_SHARE or kind.max_attempts not in (None, last.attempt):
            continue
        limit = last.attempt + _more(last.recovered / last.tried)
        yield Advice(
            rule="raise_attempts",
            subject=kind.task,
            says=f"Give {kind.error_type} failures of {kind.task} {limit} attempts.",
            evidence=f"Attempt {last.attempt}, the last, still recovered {last.recovered:,} of {last.tried:,} tasks;"
            f" {exhausted:,} were then out of attempts.",
            setting=f'policies={{{json.dumps(kind.error_type)}: {{"max_attempts": {limit}}}}}',
            place=f"an option of the task {kind.task}",
            figures={"attempts": last.attempt, "tasks": last.tried, "recovered": last.recovered,
                     "exhausted": exhausted, "share_at_least": least, "limit": limit},
        )  # fmt: skip


def _last(steps: Sequence[Step]) -> Step | None:
    """The last attempt that enough tasks came to; None where many came further."""
    enough = [step for step in steps if step.tried >= RAISE_TASKS]
    if not enough:
        return None
    beyond = sum(step.tried for step in steps if step.attempt > enough[-1].attempt)
    return enough[-1] if beyond <= RAISE_BEYOND * enough[-1].tried else None


def _more(share: float) -> int:
    """Attempts that leave a tenth of them, if each recovers as many as the last."""
    return RAISE_MOST if share <= 0 else min(math.ceil(math.log(0.1) / math.log(1 - min(share, 0.99))), RAISE_MOST)


def give_circuit(report: Report) -> Iterator[Advice]:
    """Tasks without a circuit burn their attempts in an outage."""
    for kind in report.kinds:
        exhausted = kind.reasons.get("exhausted", 0)
        if kind.error_type != "network" or kind.has_circuit is not False or exhausted < CIRCUIT_EXHAUSTED:
            continue
        yield Advice(
            rule="give_circuit",
            subject=kind.task,
            says=f"Give {kind.task} a circuit: its tasks then wait for what is away, and use no attempt.",
            evidence=f"{exhausted:,} tasks used up all their attempts on network failures and became letters.",
            setting='circuit="the-service-it-calls"',
            place=f"an option of the task {kind.task}",
            figures={"exhausted": exhausted},
        )


def added(*several: Sequence[Step]) -> tuple[Step, ...]:
    """The same numbers of attempts together."""
    found: dict[int, Step] = {}
    for step in (step for steps in several for step in steps):
        known = found.get(step.attempt, Step(attempt=step.attempt, recovered=0, failed=0))
        found[step.attempt] = Step(
            attempt=step.attempt,
            recovered=known.recovered + step.recovered,
            failed=known.failed + step.failed,
            failed_seconds=known.failed_seconds + step.failed_seconds,
            recovered_seconds=known.recovered_seconds + step.recovered_seconds,
        )
    return tuple(found[number] for number in sorted(found))


def _recovered_after(steps: Sequence[Step], cap: int) -> int:
    return sum(step.recovered for step in steps if step.attempt > cap)
