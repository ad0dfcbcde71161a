"""`recovery dlq edit`: arguments, or an item of a batch, are put right before they are replayed."""

from __future__ import annotations

import difflib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.filters import usage
from celery_recovery.cli.following import FOR_PEOPLE, following
from celery_recovery.cli.output import Output
from celery_recovery.cli.session import Session, session
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.queue import what_changes
from celery_recovery.dead_letters.scope import EDIT
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.text import counted, cut, visible

__all__ = ("edit", "import_tasks", "show_change")

_EDIT = Verb(past="edited", scope=EDIT)
#: Letters whose change is shown; characters of a line.
SHOWN, WIDE = 10, 200


@click.command(cls=ActingCommand)
@acting
@option(
    "--set",
    "changes",
    multiple=True,
    metavar="kwargs.NAME=VALUE",
    group=ACTION,
    help="The new value; also args.0=, item.FIELD=; := where it is JSON though the old one is text. Repeatable.",
)
@option("--patch", metavar="FILE", group=ACTION,
        help='A JSON patch (RFC 6902) of the document {"args": [...], "kwargs": {...}}.')  # fmt: skip
@option(
    "--undo", is_flag=True, group=ACTION, help="Bring the letters named back to what they were before their last edit."
)
@option("--no-validate", is_flag=True, group=ACTION,
        help="Do not look at the signature of the task, nor at its pydantic models.")  # fmt: skip
@option("--note", default="", metavar="TEXT", group=ACTION, help="Written on the letters, for whoever asks why.")
@option("-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, newest deaths first.")
@click.pass_context
def edit(
    ctx: click.Context,
    /,
    where: Filter,
    changes: tuple[str, ...],
    patch: str | None,
    undo: bool,
    no_validate: bool,
    note: str,
    **options: Any,
) -> None:
    """Change the arguments of letters, or the item of a batch that they carry, before they are replayed.

    All letters chosen get the same change; it is shown first, as a diff, and one that does not fit a letter changes
    none. What a letter was is kept: --undo brings it back. Nothing is replayed by this. Exit code 2 when a change does
    not fit.
    """
    asked = ActionOptions(**options)
    if undo and (changes or patch or not asked.ids):
        raise click.UsageError("--undo: expected ids of letters and nothing else, got other options or no id.")
    try:
        wanted = None if undo else Edit.of(changes, _read(patch), validate=not no_validate)
    except ConfigurationError as exc:
        raise usage(exc) from None
    chosen = aim(_EDIT, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        past = look_up(here, _EDIT, chosen)
        ids = tuple(islice(here.letters.store.iterate_ids(chosen), asked.limit))
        if not ids:
            nothing(anything=asked.everything)
            return
        done = _undo(here, ids, asked, note) if wanted is None else _edit(here, chosen, ids, wanted, asked, note)
        if not asked.dry_run and (past or done < len(ids)):
            ctx.exit(int(ExitCode.IN_PART))


def _edit(here: Session, chosen: Filter, ids: tuple[str, ...], wanted: Edit, asked: ActionOptions, note: str) -> int:
    """Try it on all, show it, ask, and do it; returns how many were edited."""
    if wanted.validate and (wanted.patch or any(not change.startswith("item") for change in wanted.changes)):
        import_tasks(here)
    plan = here.letters.try_edit(ids, wanted, samples=SHOWN, hide=here.redact)
    if plan.first_problem is not None:
        others = f" ({plan.misfits} of {counted(plan.selected)} do not fit; nothing was done)"
        raise click.UsageError(usage(plan.first_problem).message + (others if plan.selected > 1 else ""))
    changes = [one._asdict() for one in plan.samples]
    _show(here.output, asked, changes, plan.selected)
    done = 0
    if not asked.dry_run:
        confirm(here, _EDIT, chosen, limit=asked.limit, yes=asked.yes)
        with following(here, "Editing", "edited") as follow:
            done = here.letters.edit(ids, wanted, reason=note, where=chosen, **FOR_PEOPLE, progress=follow).done
    _tell(here.output, asked, plan.selected, changes, done=done)
    return done


def _read(name: str | None) -> Any:
    """The patch in a file. Raises click's UsageError."""
    if name is None:
        return ()
    try:
        operations = json.loads(Path(name).read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise click.UsageError(f"--patch: expected a file with a JSON patch, got {name!r}: {exc}.") from None
    if not isinstance(operations, list) or not operations:
        raise click.UsageError(f"--patch: expected a list of operations in {name!r}, got {type(operations).__name__}.")
    return operations


def import_tasks(here: Session) -> None:
    """The app's tasks, whose signatures are to be looked at."""
    try:
        here.app.loader.import_default_modules()
    except Exception as exc:  # the user's modules may fail in any way
        why = f"The app's task modules cannot be imported: {type(exc).__name__}: {exc}. Nothing was done."
        raise CommandFailure(why, ExitCode.USAGE) from exc


def _undo(here: Session, ids: tuple[str, ...], asked: ActionOptions, note: str) -> int:
    """Show what comes back, ask, and bring it back; returns how many."""
    versions = {one: here.letters.store.versions(one) for one in ids}
    unedited = [one for one, found in versions.items() if not found]
    if unedited:
        raise click.UsageError(f"--undo: expected letters that were edited, got {', '.join(unedited[:5])}.")
    changes = []
    for one, found in versions.items():
        letter = here.letters.get(one)
        before, after = what_changes(letter, found[-1].of(letter), here.redact)
        changes.append({"id": one, "before": before, "after": after})
    _show(here.output, asked, changes, len(ids))
    done = 0
    if not asked.dry_run:
        confirm(here, _EDIT, Filter(ids=ids, state=EDIT.by_id), limit=None, yes=asked.yes)
        for one in ids:
            here.letters.undo_edit(one, reason=note, via="cli")
            done += 1
    _tell(here.output, asked, len(ids), changes, done=done)
    return done


def _show(output: Output, asked: ActionOptions, changes: list[dict[str, Any]], selected: int) -> None:
    if not asked.as_json:
        for one in changes[:SHOWN]:
            show_change(output, one["id"], one["before"], one["after"])
        if selected > SHOWN:
            output.line(f"… and {selected - SHOWN} more")


def show_change(output: Output, letter_id: str, before: Any, after: Any) -> None:
    """A diff: on one line each where they are short, else line by line with some around."""
    output.line(visible(letter_id))
    old, new = (json.dumps(one, ensure_ascii=False) for one in (before, after))
    if max(len(old), len(new)) <= WIDE:
        output.line(f"  - {visible(old)}")
        output.line(f"  + {visible(new)}")
        return
    before_lines, after_lines = (json.dumps(one, ensure_ascii=False, indent=1).split("\n") for one in (before, after))
    for line in list(difflib.unified_diff(before_lines, after_lines, n=1, lineterm=""))[2:]:
        output.line(f"  {cut(visible(line), WIDE)}")


def _tell(output: Output, asked: ActionOptions, selected: int, changes: list[dict[str, Any]], *, done: int) -> None:
    if asked.as_json:
        output.document({"dry_run": asked.dry_run, "selected": selected, "done": done, "changes": changes})
    elif asked.dry_run:
        output.line(f"Dry run: {counted(selected)} would be edited.")
    else:
        output.line(f"{done} of {counted(selected)} edited.")
