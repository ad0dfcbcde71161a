"""Before letters are acted on: which they are, what they are made of, and whether that is meant."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.figures import show_breakdown
from celery_recovery.cli.filters import usage
from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.scope import Scope, either
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.text import counted

if TYPE_CHECKING:
    from celery_recovery.cli.session import Session

__all__ = ("Verb", "aim", "confirm", "look_up", "show_selection")

#: Smallest step between two times of death that the store tells apart (s).
_TICK = 1e-6


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What is to be done with letters, in words, and which ones it is about."""

    #: As in "3 letters replayed".
    past: str
    #: The states that letters may be in for it.
    scope: Scope

    @property
    def name(self) -> str:
        """As in "replay 3 letters"."""
        return self.scope.action


def aim(verb: Verb, where: Filter, ids: Sequence[str], *, everything: bool) -> Filter:
    """The filter, with the ids given as arguments, and its states named.

    Raises click's UsageError when it would take every letter and `--all` does not say so, and for a state that letters
    cannot be in for this.
    """
    where = replace(where, ids=tuple(dict.fromkeys((*where.ids, *ids))))
    if where.is_empty and not everything:
        raise click.UsageError(
            f"{verb.name} needs ids or a filter. To {verb.name} all letters: --all (--dry-run shows which they are)."
        )
    try:
        return verb.scope.within(where)
    except ConfigurationError as exc:
        raise usage(exc) from None


def look_up(here: Session, verb: Verb, where: Filter) -> Counter[str]:
    """Of the letters named by id, those that are past this: state -> how many.

    Raises `CommandFailure` when one is not known (of a list with a slip in it, nothing is done), and when all are past
    it.
    """
    states = {letter.id: letter.state for letter in here.letters.iterate(Filter(ids=where.ids))} if where.ids else {}
    missing = [one for one in where.ids if one not in states]
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise CommandFailure(f"There is no dead letter with the id {some}. Nothing was done.", ExitCode.UNKNOWN_ID)
    past = Counter(state.value for state in states.values() if state not in where.state)
    if past:
        counts = ", ".join(f"{count} {state}" for state, count in past.items())
        sentence = f"{verb.name} is for letters that are {either(where.state)}. Of those named, {counts}."
        if past.total() == len(states):
            raise CommandFailure(f"{sentence} Nothing was done.", ExitCode.NOTHING)
        here.output.warn(sentence)
    return past


def confirm(here: Session, verb: Verb, where: Filter, *, limit: int | None, yes: bool) -> Filter:
    """Show what would be done and ask; returns the filter, now closed to letters that die meanwhile.

    Raises `CommandFailure` when nothing matches, when the answer is no, and when there is nobody to ask.
    """
    if yes:
        return where
    figures = here.letters.breakdown(where)
    if not figures.count:
        return where
    show_selection(here, verb, figures, limit)
    if not sys.stdin.isatty():
        raise CommandFailure(f"Nobody to ask: say --yes to {verb.name} without a question.", ExitCode.USAGE)
    count = min(figures.count, limit or figures.count)
    if not click.confirm(f"{verb.name.capitalize()} {counted(count)}?", err=True):
        raise CommandFailure("Nothing was done.", ExitCode.DECLINED)
    if figures.newest is None:
        return where
    until = figures.newest + _TICK
    return replace(where, until=until if where.until is None else min(where.until, until))


def show_selection(here: Session, verb: Verb, figures: Breakdown, limit: int | None) -> None:
    """What matches, and how much of it `limit` leaves."""
    show_breakdown(here.output, figures, ("task", "error_type", "fingerprint"))
    if limit is not None and limit < figures.count:
        here.output.line(f"  of these, {counted(limit)} will be {verb.past} (--limit)")
