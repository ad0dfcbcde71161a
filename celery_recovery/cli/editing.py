"""`recovery dlq edit`: an item of a batch is put right before it is replayed."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import ExitCode
from celery_recovery.cli.filters import usage
from celery_recovery.cli.output import Output
from celery_recovery.cli.session import session
from celery_recovery.cli.text import counted, cut, visible
from celery_recovery.dead_letters.editing import Change
from celery_recovery.dead_letters.scope import EDIT
from celery_recovery.exceptions import ConfigurationError

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter

__all__ = ("edit",)

_EDIT = Verb(past="edited", scope=EDIT)
#: Letters whose change is shown; characters of a value.
SHOWN, WIDE = 10, 200


@click.command(cls=RecoveryCommand)
@acting
@option(
    "--set",
    "changes",
    multiple=True,
    required=True,
    metavar="item.FIELD=VALUE",
    group=ACTION,
    help="The new value; item=JSON for all of it, := where the value is JSON though the old one is text. Repeatable.",
)
@option("--note", default="", metavar="TEXT", group=ACTION, help="Written on the letters, for whoever asks why.")
@option("-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, newest deaths first.")
@click.pass_context
def edit(ctx: click.Context, /, where: Filter, changes: tuple[str, ...], note: str, **options: Any) -> None:
    """Change the item that letters of a batch carry, before they are replayed. Letters of whole tasks have none.

    All letters chosen get the same change; it is shown first, and one that does not fit changes nothing. Nothing is
    replayed by this. Exit code 2 when a change does not fit a letter.
    """
    asked = ActionOptions(**options)
    try:
        parsed = [Change.parse(text) for text in changes]
    except ConfigurationError as exc:
        raise usage(exc) from None
    chosen = aim(_EDIT, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        past = look_up(here, _EDIT, chosen)
        ids = tuple(islice(here.letters.store.iterate_ids(chosen), asked.limit))
        if not ids:
            nothing(anything=asked.everything)
            return
        try:
            shown = here.letters.edit(ids, parsed, dry_run=True)
        except ConfigurationError as exc:
            raise usage(exc) from None
        plain = [{"id": one.id, "before": here.redact(one.before), "after": here.redact(one.after)} for one in shown]
        if not asked.as_json:
            _show(here.output, plain)
        if asked.dry_run:
            _tell(here.output, as_json=asked.as_json, changes=plain, done=0, dry_run=True)
            return
        confirm(here, _EDIT, chosen, limit=asked.limit, yes=asked.yes)
        done = sum(one.done for one in here.letters.edit(ids, parsed, reason=note))
        _tell(here.output, as_json=asked.as_json, changes=plain, done=done, dry_run=False)
        if past or done < len(ids):
            ctx.exit(int(ExitCode.IN_PART))


def _show(output: Output, changes: list[dict[str, Any]]) -> None:
    for one in changes[:SHOWN]:
        output.line(one["id"])
        output.line(f"  - {_text(one['before'])}")
        output.line(f"  + {_text(one['after'])}")
    if len(changes) > SHOWN:
        output.line(f"… and {len(changes) - SHOWN} more")


def _text(value: Any) -> str:
    return cut(visible(json.dumps(value, ensure_ascii=False)), WIDE)


def _tell(output: Output, *, as_json: bool, changes: list[dict[str, Any]], done: int, dry_run: bool) -> None:
    if as_json:
        output.document({"dry_run": dry_run, "selected": len(changes), "done": done, "changes": changes})
    elif dry_run:
        output.line(f"Dry run: {counted(len(changes))} would be edited.")
    else:
        output.line(f"{done} of {counted(len(changes))} edited.")
