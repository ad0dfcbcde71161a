"""`recovery dlq discard`, `review` and `restore`: letters change their state, and nothing is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing, show_dry_run, tell_counts
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.progress import Stopped, display, stoppable
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.text import counted
from celery_recovery.dead_letters.scope import DISCARD, RESTORE, REVIEW
from celery_recovery.dead_letters.search import batches

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.queue import ActionResult

__all__ = ("discard", "restore", "review")

_DISCARD = Verb(past="discarded", scope=DISCARD)
_SET_ASIDE = Verb(past="set aside", scope=REVIEW)
_RESTORE = Verb(past="restored", scope=RESTORE)

#: Letters acted on between two looks at the keyboard.
BATCH = 500

_note = option("--note", default="", metavar="TEXT", group=ACTION, help="Written on the letters, for whoever asks why.")


@click.command(cls=RecoveryCommand)
@acting
@_note
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, the newest deaths first."
)
@click.pass_context
def discard(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Drop letters. A held one fails first, and the chord or chain that waits for it.

    Without --state and ids: failed letters and those in review. A discarded letter is kept for a while (setting
    recovery_letter_max_age), and until then `restore`, by id or with --state discarded, brings it back.
    """

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.discard(batch, reason=note)

    _act(ctx, _DISCARD, where, ActionOptions(**options), act, prepare=_import_tasks)


@click.command(cls=RecoveryCommand)
@acting
@_note
@click.pass_context
def review(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Set failed letters aside for a person: a replay of all letters passes them by."""

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.send_to_review(batch, reason=note)

    _act(ctx, _SET_ASIDE, where, ActionOptions(**options), act)


@click.command(cls=RecoveryCommand)
@acting
@_note
@click.pass_context
def restore(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Put letters back among the failed: out of review or, by id or with --state discarded, discarded ones."""

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.restore(batch, reason=note)

    _act(ctx, _RESTORE, where, ActionOptions(**options), act)


def _act(
    ctx: click.Context,
    verb: Verb,
    where: Filter,
    asked: ActionOptions,
    act: Callable[[Session, Sequence[str]], ActionResult],
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
        ids = tuple(islice(here.letters.store.iterate_ids(chosen), asked.limit))
        result = _in_batches(here, verb, ids, act)
        _tell(here, verb, result, past)
        if result.interrupted:
            raise CommandFailure("Interrupted: the other letters are as before.", ExitCode.INTERRUPTED)
        if not ids:
            nothing(anything=asked.everything)
        elif past or result.done < len(ids):
            ctx.exit(int(ExitCode.IN_PART))


class _Result(NamedTuple):
    """What became of the batches."""

    selected: int
    done: int
    warnings: Counter[str]
    interrupted: bool


def _in_batches(
    here: Session, verb: Verb, ids: Sequence[str], act: Callable[[Session, Sequence[str]], ActionResult]
) -> _Result:
    done, through, warnings = 0, 0, Counter[str]()
    with display(here.output, verb.name.capitalize()) as show, stoppable() as check:
        try:
            for batch in batches(ids, BATCH):
                result = act(here, batch)
                done += result.done
                through += len(batch)
                warnings.update(result.warnings)
                show(through, len(ids))
                check()
        except (Stopped, KeyboardInterrupt):
            return _Result(len(ids), done, warnings, through < len(ids))
    return _Result(len(ids), done, warnings, interrupted=False)


def _tell(here: Session, verb: Verb, result: _Result, past: Counter[str]) -> None:
    if here.output.as_json:
        here.output.document({**result._asdict(), "warnings": result.warnings, "passed_over": past, "dry_run": False})
    elif result.selected:
        here.output.line(f"{result.done} of {counted(result.selected)} {verb.past}.")
        tell_counts(here, "warning", result.warnings)


def _import_tasks(here: Session, where: Filter) -> None:
    """Failing a held letter may call its errbacks here, as in a worker; they must be registered for that."""
    if not here.letters.count(replace(where, held=True)):
        return
    try:
        here.app.loader.import_default_modules()
    except Exception as exc:  # the user's modules may fail in any way
        why = f"The app's task modules cannot be imported: {type(exc).__name__}: {exc}. Nothing was done."
        raise CommandFailure(why, ExitCode.USAGE) from exc
