"""`recovery dlq discard`, `review` and `restore`: letters change their state, and nothing is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing, show_dry_run, tell_counts
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.editing import import_tasks
from celery_recovery.cli.failures import ExitCode
from celery_recovery.cli.following import FOR_PEOPLE, following
from celery_recovery.cli.session import Session, session
from celery_recovery.dead_letters.scope import DISCARD, RESTORE, REVIEW
from celery_recovery.text import counted

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.queue import ActionResult
    from celery_recovery.dead_letters.replay import Progress

__all__ = ("discard", "restore", "review")

_DISCARD = Verb(past="discarded", scope=DISCARD)
_SET_ASIDE = Verb(past="set aside", scope=REVIEW)
_RESTORE = Verb(past="restored", scope=RESTORE)

_note = option("--note", default="", metavar="TEXT", group=ACTION, help="Written on the letters, for whoever asks why.")


@click.command(cls=ActingCommand)
@acting
@_note
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, the newest deaths first."
)
@option("--rate", type=float, metavar="N", group=ACTION, help="Letters per second. Default: as fast as it goes.")
@click.pass_context
def discard(ctx: click.Context, /, where: Filter, note: str, rate: float | None, **options: Any) -> None:
    """Drop letters. A held one fails first, and the chord or chain that waits for it.

    Without --state and ids: failed letters and those in review. A discarded letter is kept for a while (setting
    recovery_letter_max_age), and until then `restore`, by id or with --state discarded, brings it back.
    """
    asked = ActionOptions(**options)

    def act(here: Session, chosen: Filter, follow: Callable[[Progress], None]) -> ActionResult:
        return here.letters.discard(chosen, reason=note, limit=asked.limit, rate=rate, **FOR_PEOPLE, progress=follow)

    _act(ctx, _DISCARD, where, asked, act, prepare=_import_tasks)


@click.command(cls=ActingCommand)
@acting
@_note
@click.pass_context
def review(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Set failed letters aside for a person: a replay of all letters passes them by."""

    def act(here: Session, chosen: Filter, follow: Callable[[Progress], None]) -> ActionResult:
        return here.letters.send_to_review(chosen, reason=note, **FOR_PEOPLE, progress=follow)

    _act(ctx, _SET_ASIDE, where, ActionOptions(**options), act)


@click.command(cls=ActingCommand)
@acting
@_note
@click.pass_context
def restore(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Put letters back among the failed: out of review or, by id or with --state discarded, discarded ones."""

    def act(here: Session, chosen: Filter, follow: Callable[[Progress], None]) -> ActionResult:
        return here.letters.restore(chosen, reason=note, **FOR_PEOPLE, progress=follow)

    _act(ctx, _RESTORE, where, ActionOptions(**options), act)


def _act(
    ctx: click.Context,
    verb: Verb,
    where: Filter,
    asked: ActionOptions,
    act: Callable[[Session, Filter, Callable[[Progress], None]], ActionResult],
    prepare: Callable[[Session, Filter], None] = lambda *_: None,
) -> None:
    """Choose, show, ask, and act on one batch after the other."""
    chosen = aim(verb, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        past = look_up(here, verb, chosen)
        if asked.dry_run:
            show_dry_run(here, verb, chosen, asked)
            return
        chosen = confirm(here, verb, chosen, limit=asked.limit, yes=asked.yes)
        prepare(here, chosen)
        with following(here, verb.name.capitalize(), verb.past) as follow:
            result = act(here, chosen, follow)
        _tell(here, verb, result, past)
        if not result.selected:
            nothing(anything=asked.everything)
        elif past or result.done < result.selected:
            ctx.exit(int(ExitCode.IN_PART))


def _tell(here: Session, verb: Verb, result: ActionResult, past: Counter[str]) -> None:
    if here.output.as_json:
        here.output.document({**result.to_dict(), "passed_over": past, "interrupted": False})
    elif result.selected:
        here.output.line(f"{result.done} of {counted(result.selected)} {verb.past}.")
        tell_counts(here, "warning", result.warnings)


def _import_tasks(here: Session, where: Filter) -> None:
    """Failing a held letter may call its errbacks here, as in a worker; they must be registered for that."""
    if here.letters.count(replace(where, held=True)):
        import_tasks(here)
