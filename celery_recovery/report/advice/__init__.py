"""`advise`: what the figures of a report say should be changed, each with its evidence. It is pure.

A rule is a function from a `Report` to any number of `Advice`, named by what it advises. Each has a smallest sample,
beside it as a constant, below which it is silent, and speaks only where a bound of 95 % confidence allows it
(`estimate.py`), not a mere average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from celery_recovery.report.advice.circuits import circuit_flaps, circuit_forced, circuit_stays_open
from celery_recovery.report.advice.letters import (
    mend_version,
    old_letters,
    poison,
    regression,
    replay_resolved,
    replays_die,
    retries_come_too_late,
)
from celery_recovery.report.advice.parked import parked_overdue, parked_refused
from celery_recovery.report.advice.retries import cap_attempts, give_circuit, raise_attempts
from celery_recovery.report.advice.words import retry_what_replays_recover, use_recoverable_task, write_rule
from celery_recovery.report.model import Advice, Report

__all__ = ("MOST", "MOST_OF_ONE", "RULES", "Rule", "advise")

Rule = Callable[[Report], Iterator[Advice]]

#: The most pressing first: what stands still, what gets worse, what costs, what could be better.
RULES: tuple[Rule, ...] = (
    parked_overdue,
    parked_refused,
    circuit_stays_open,
    poison,
    regression,
    mend_version,
    replays_die,
    replay_resolved,
    give_circuit,
    raise_attempts,
    cap_attempts,
    retries_come_too_late,
    retry_what_replays_recover,
    write_rule,
    circuit_flaps,
    circuit_forced,
    old_letters,
    use_recoverable_task,
)
#: So much of one rule, and in all: who gets more reads none.
MOST_OF_ONE, MOST = 5, 25


def advise(report: Report) -> tuple[Advice, ...]:
    """All that the rules say, in their order."""
    said = (advice for rule in RULES for advice in islice(rule(report), MOST_OF_ONE))
    return tuple(islice(said, MOST))
