"""`recovery dlq list`, `show` and `stats`: they change nothing."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.editing import show_change
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.figures import group_documents, show_breakdown, show_groups, show_totals
from celery_recovery.cli.filters import filter_options
from celery_recovery.cli.letters import show_letter, show_letters
from celery_recovery.cli.session import PATIENCE, Session, session
from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.scope import Scope
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.text import moment

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.letter import Letter

__all__ = ("LIST", "list_letters", "show", "stats")

_OUTPUT = "Output"
_OPEN, _ANY = tuple(state for state in LetterState if state in OPEN), tuple(LetterState)
LIST = Scope("list", by_filter=_OPEN, by_id=_ANY, possible=_ANY)
_json = option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")


@click.command(name="list", cls=RecoveryCommand)
@filter_options
@option(
    "-n",
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    show_default=True,
    group=_OUTPUT,
    help="Most letters.",
)
@option("--cursor", metavar="TEXT", group=_OUTPUT, help="Go on behind the page that printed this.")
@_json
@click.pass_context
def list_letters(ctx: click.Context, where: Filter, limit: int, cursor: str | None, as_json: bool) -> None:
    """List letters, the newest death first.

    Without --state and --id, those that are not finished. Exit code 1 when a filter matches nothing.
    """
    if cursor is not None and not re.fullmatch(r"-?\d+(\.\d+)?/.+", cursor):
        raise click.UsageError(f"--cursor: expected what an earlier page printed, got {cursor!r}.")
    with session(ctx, as_json=as_json) as here:
        letters, cursor = _found(here, LIST.within(where), limit, cursor, largest=None if as_json else 0)
        shown = [letter.to_dict(here.redact) if as_json else letter.summary(here.redact) for letter in letters]
        if as_json:
            here.output.document({"letters": shown, "cursor": cursor})
        elif shown:
            show_letters(here.output, shown, whose=LetterState.REVIEW in where.state)
            _say_more(here, where, cursor, limit)
        if not shown:
            _say_none(here, where)


def _found(
    here: Session, where: Filter, limit: int, cursor: str | None, largest: int | None
) -> tuple[list[Letter], str | None]:
    """A full page; where many letters have to be looked at for it, it is told how far back it is."""
    letters: list[Letter] = []
    while True:
        page = here.letters.page(where, limit=limit - len(letters), cursor=cursor, seconds=PATIENCE, largest=largest)
        letters, cursor = letters + page.letters, page.cursor
        if page.looked_until is None:
            return letters, cursor
        here.output.note(f"{len(letters)} found, back to {moment(page.looked_until)} …")


def _say_more(here: Session, where: Filter, cursor: str | None, limit: int) -> None:
    if cursor is not None:
        options = " ".join(filter(None, (str(where), "" if limit == 50 else f"--limit={limit}")))
        here.output.note(f"More: recovery dlq list {options} --cursor={shlex.quote(cursor)}".replace("  ", " "))


def _say_none(here: Session, where: Filter) -> None:
    """An empty queue is no failure; a filter that finds nothing may be misspelt."""
    if not where.is_empty:
        raise CommandFailure("No dead letter matches the filter.", ExitCode.NOTHING)
    here.output.note("There are no open dead letters.")


@click.command(cls=RecoveryCommand)
@click.argument("letter_id", metavar="ID")
@_json
@click.pass_context
def show(ctx: click.Context, letter_id: str, as_json: bool) -> None:
    """Show one letter in full: error, attempts, arguments, origin, replays.

    Exit code 4 when there is no such letter. Secrets in arguments and messages are hidden.
    """
    with session(ctx, as_json=as_json) as here:
        found = here.letters.get(letter_id)
        notes = here.redact(here.letters.store.notes(letter_id))
        letter = {**found.to_dict(here.redact), "notes": notes, "versions": _versions(here, found)}
        if as_json:
            here.output.document(letter)
            return
        show_letter(here.output, letter)
        if notes:
            here.output.title("Notes")
            for one in notes:
                here.output.line(f"  {moment(one['at'])}  {one['by']}: {one['text']}")
        for one in letter["versions"]:
            why = f": {one['note']}" if one["note"] else ""
            here.output.title(f"Edit {one['number'] + 1}, by {one['by']}, {moment(one['at'])}{why}")
            show_change(here.output, letter_id, one["before"], one["after"])


def _versions(here: Session, letter: Letter) -> list[dict[str, Any]]:
    """What each edit has changed."""
    from celery_recovery.dead_letters.queue import what_changes

    versions = here.letters.store.versions(letter.id)
    states = [*(version.of(letter) for version in versions), letter]
    changes = [what_changes(old, new, here.redact) for old, new in pairwise(states)]
    return [
        {
            "number": one.number,
            "at": one.at,
            "by": here.redact(one.by),
            "note": here.redact(one.note),
            "before": old,
            "after": new,
        }
        for one, (old, new) in zip(versions, changes, strict=True)
    ]


@click.command(cls=RecoveryCommand)
@filter_options
@_json
@click.pass_context
def stats(ctx: click.Context, where: Filter, as_json: bool) -> None:
    """Count letters by state, task, error type, reason and queue, and name the largest error groups.

    With a filter, the letters that it matches are read one by one, and there are no totals. Exit code 1 when it
    matches nothing.
    """
    with session(ctx, as_json=as_json) as here:
        if where.is_empty:
            _stats_of_all(here)
        else:
            _stats_of_some(here, where)


def _stats_of_all(here: Session) -> None:
    figures = here.letters.stats()
    groups = group_documents(here, here.letters.groups(10))
    if here.output.as_json:
        here.output.document({**figures.to_dict(), "groups": groups})
        return
    show_breakdown(here.output, Breakdown.of_stats(figures))
    show_groups(here.output, groups)
    show_totals(here.output, figures.totals)


def _stats_of_some(here: Session, where: Filter) -> None:
    figures = here.letters.breakdown(where)
    if not figures.count:
        raise CommandFailure("No dead letter matches the filter.", ExitCode.NOTHING)
    if here.output.as_json:
        here.output.document(figures.to_dict())
        return
    show_breakdown(here.output, figures)
