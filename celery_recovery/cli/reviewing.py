"""`recovery dlq take`, `assign`, `annotate`, `approve` and `reject`: letters that wait for a person's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.audit import who
from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing, show_dry_run, tell_counts
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.following import FOR_PEOPLE, following
from celery_recovery.cli.session import Session, session
from celery_recovery.dead_letters.scope import ANNOTATE, REVIEWED, TAKE
from celery_recovery.text import counted

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.queue import ActionResult
    from celery_recovery.dead_letters.replay import ReplayResult

__all__ = ("annotate", "approve", "assign", "reject", "take")

_TAKE, _NOTE = Verb(past="assigned", scope=TAKE), Verb(past="annotated", scope=ANNOTATE)
_APPROVE = Verb(past="replayed", scope=REVIEWED._replace(action="approve"))
_REJECT = Verb(past="discarded", scope=REVIEWED._replace(action="reject"))
_force = option("--force", is_flag=True, group=ACTION, help="Also letters that are somebody else's.")
_note = option("--note", default="", metavar="TEXT", group=ACTION, help="Noted on the letters.")
_reason = option("--note", required=True, metavar="TEXT", group=ACTION, help="Why; noted on the letters. Required.")
_rate = option("--rate", type=float, metavar="N", group=ACTION, help="Letters per second. Default: as fast as it goes.")


@click.command(cls=ActingCommand)
@acting
@_force
@_note
@click.pass_context
def take(ctx: click.Context, /, where: Filter, force: bool, note: str, **options: Any) -> None:
    """Make letters in review your own; failed ones named by id come into review."""
    me = who()
    _act(ctx, _TAKE, where, ActionOptions(**options),
         lambda here, chosen: here.letters.assign(chosen, me, reason=note, force=force, via="cli"))  # fmt: skip


@click.command(cls=ActingCommand)
@acting
@option("--to", required=True, metavar="NAME", group=ACTION, help="Whose they are to be; - is nobody's.")
@_force
@_note
@click.pass_context
def assign(ctx: click.Context, /, where: Filter, to: str, force: bool, note: str, **options: Any) -> None:
    """Say whose letters in review are; failed ones named by id come into review."""
    owner = None if to == "-" else to
    _act(ctx, _TAKE, where, ActionOptions(**options),
         lambda here, chosen: here.letters.assign(chosen, owner, reason=note, force=force, via="cli"))  # fmt: skip


@click.command(cls=ActingCommand)
@acting
@_reason
@click.pass_context
def annotate(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Note something on letters, for whoever looks at them next."""
    _act(ctx, _NOTE, where, ActionOptions(**options),
         lambda here, chosen: here.letters.annotate(chosen, note, via="cli"))  # fmt: skip


@click.command(cls=ActingCommand)
@acting
@_reason
@_rate
@click.pass_context
def approve(ctx: click.Context, /, where: Filter, note: str, rate: float | None, **options: Any) -> None:
    """Replay letters that wait in review, with a reason."""

    def act(here: Session, chosen: Filter) -> ReplayResult:
        if here.drained is None:
            raise CommandFailure("Nothing was replayed.", ExitCode.AWAY)
        with following(here, "Replaying", "replayed") as follow:
            return here.letters.approve(chosen, note, rate=rate, **FOR_PEOPLE, progress=follow)

    _act(ctx, _APPROVE, where, ActionOptions(**options), act)


@click.command(cls=ActingCommand)
@acting
@_reason
@click.pass_context
def reject(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Discard letters that wait in review, with a reason."""

    def act(here: Session, chosen: Filter) -> ActionResult:
        with following(here, "Discarding", "discarded") as follow:
            return here.letters.reject(chosen, note, **FOR_PEOPLE, progress=follow)

    _act(ctx, _REJECT, where, ActionOptions(**options), act)


def _act(
    ctx: click.Context,
    verb: Verb,
    where: Filter,
    asked: ActionOptions,
    act: Callable[[Session, Filter], ActionResult | ReplayResult],
) -> None:
    """Choose, show, ask, act, and tell."""
    chosen = aim(verb, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        past = look_up(here, verb, chosen)
        if asked.dry_run:
            show_dry_run(here, verb, chosen, asked)
            return
        chosen = confirm(here, verb, chosen, limit=None, yes=asked.yes)
        told = act(here, chosen).to_dict()
        done = told.get("done", told.get("published", 0))
        if asked.as_json:
            here.output.document({**told, "passed_over": dict(past)})
        elif told["selected"]:
            here.output.line(f"{done} of {counted(told['selected'])} {verb.past}.")
            tell_counts(here, "skipped", told.get("skipped", {}))
            tell_counts(here, "not done", told["warnings"])
        if not told["selected"]:
            nothing(anything=asked.everything)
        elif past or done < told["selected"]:
            ctx.exit(int(ExitCode.IN_PART))
