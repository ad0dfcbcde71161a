"""`recovery operations list`, `show`, `pause`, `resume` and `cancel`.

An operation may be named by the first characters of its id, as far as they are its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.audit import who
from celery_recovery.cli.command import ActingCommand, RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.following import following, goes_on_with
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.table import Column
from celery_recovery.text import age, duration, moment

if TYPE_CHECKING:
    from celery_recovery.operations.operation import Operation
    from celery_recovery.redact import Redactor

__all__ = ("cancel", "list_operations", "pause", "resume", "show")

#: Characters of an id that are shown.
SHORT = 12
#: Seconds between two looks of `--watch`.
LOOK = 1.0
_OUTPUT = "Output"
_COLUMNS = (
    Column("ID"), Column("KIND"), Column("STATE"), Column("DONE", right=True), Column("OF", right=True),
    Column("RECOV", right=True), Column("DIED", right=True), Column("BEGUN", right=True), Column("BY", least=8),
    Column("WHICH", least=12),
)  # fmt: skip
_json = option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of text.")
_id = click.argument("start", metavar="ID")
_note = option("--note", default="", metavar="TEXT", group="Action", help="Stands in the audit, for whoever asks why.")


@click.command(name="list", cls=RecoveryCommand)
@option("-n", "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, group=_OUTPUT,
        help="Most operations, the latest first.")  # fmt: skip
@_json
@click.pass_context
def list_operations(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List operations, the latest first. One that should run, and that nobody runs, is `orphaned`."""
    with session(ctx, as_json=as_json) as here:
        found = here.letters.operations.latest(limit)
        if as_json:
            here.output.document({"operations": [one.to_dict(here.redact) for one in found]})
        elif found:
            here.output.table(_COLUMNS, [_row(one, here.redact) for one in found])
        else:
            here.output.note("There have been no operations.")


def _row(one: Operation, hide: Redactor) -> list[str]:
    counts = (one.done, one.selected, one.outcomes.recovered or "-", one.outcomes.died or "-")
    return [
        one.id[:SHORT],
        one.kind,
        _state(one),
        *map(str, counts),
        age(one.created_at),
        hide(one.by),
        hide(one.filter),
    ]


def _state(one: Operation) -> str:
    return "orphaned" if one.is_orphan else one.state.value


@click.command(cls=RecoveryCommand)
@_id
@option("--watch", is_flag=True, group=_OUTPUT, help="Follow it until it ends, stops, or pauses.")
@_json
@click.pass_context
def show(ctx: click.Context, start: str, watch: bool, as_json: bool) -> None:
    """Show one operation: who asked for what, how far it is, how its letters ended.

    Exit code 4 when there is no such operation.
    """
    with session(ctx, as_json=as_json) as here:
        one = _named(here, start)
        if watch:
            one = _watched(here, one)
        if as_json:
            here.output.document(one.to_dict(here.redact))
        else:
            _show(here, one)


def _watched(here: Session, one: Operation) -> Operation:
    """Follow it; Ctrl-C leaves it as it is."""
    from celery_recovery.cli.progress import display

    with display(here.output, one.kind.capitalize()) as tell:
        while one.state.value in ("running", "preparing") or one.in_flight:
            known = f"{one.outcomes.recovered} recovered, {one.outcomes.died} died again" if one.in_flight else ""
            tell(one.position, one.selected, known)
            try:
                time.sleep(LOOK)
            except KeyboardInterrupt:
                break
            one = here.letters.operations.get(one.id)
    return one


def _show(here: Session, one: Operation) -> None:
    output = here.output
    told = one.to_dict(here.redact)
    output.heading(f"Operation {one.id}")
    counts = {"skipped": one.skipped, "warning": one.warnings}
    asked = {name: value for name, value in told["terms"].items() if value not in (None, False) and name != "canary"}
    output.fields(
        {
            "Kind": one.kind,
            "State": _with_message(_state(one), told["message"]),
            "Asked by": ", ".join(filter(None, (told["by"], one.via and f"through {one.via}", moment(one.created_at)))),
            "Reason": told["reason"],
            "Letters": told["filter"] or "all",
            "Terms": ", ".join(f"{name} {value}" for name, value in asked.items()),
            "Canary": ", ".join(f"{name} {value:g}" for name, value in (one.terms.get("canary") or {}).items()),
            "Step": str(one.step or ""),
            "Through": f"{one.position} of {one.selected} in {duration(one.seconds)}",
            "Done": str(one.done),
            **{
                f"{name.capitalize()} {n}": f"{count} {why}"
                for name, found in counts.items()
                for n, (why, count) in enumerate(found.items(), 1)
            },
            "Failed": f"{len(one.failed)}, such as {next(iter(told['failed'].values()))}" if one.failed else "",
            "Outcomes": _outcomes(one),
            "Run by": one.runner,
        }
    )


def _with_message(state: str, message: str) -> str:
    """`paused: its canary …`; the state stands once where the message begins with it, as in `paused by ada`."""
    return message if message.startswith(f"{state} ") else ": ".join(filter(None, (state, message)))


def _outcomes(one: Operation) -> str:
    if one.kind != "replay" or not one.done:
        return ""
    ended = f", {one.outcomes.ended} ended otherwise" if one.outcomes.ended else ""
    return f"{one.outcomes.recovered} recovered, {one.outcomes.died} died again{ended}, {one.in_flight} on their way"


def _asking(verb: str, wanted: str) -> Callable[..., Any]:
    def command(ctx: click.Context, start: str, note: str, as_json: bool) -> None:
        with session(ctx, as_json=as_json) as here:
            one = _named(here, start)
            if one.state.value in ("done", "cancelled"):
                raise CommandFailure(f"It is {one.state.value} already. Nothing was done.", ExitCode.NOTHING)
            now = here.letters.operations.ask(one.id, wanted, by=who(), via="cli", reason=note)
            if as_json:
                here.output.document(now.to_dict(here.redact))
            else:
                follows = "" if now.state.value == wanted else f" asked for; {now.runner} follows after its batch"
                here.output.line(
                    f"{now.kind} {now.id[:SHORT]}: {wanted}{follows}, {now.position} of {now.selected} done."
                )

    command.__name__ = verb
    return command


pause = click.command(cls=ActingCommand, help="Ask whoever runs it to pause after the batch that is running.")(
    _id(_note(_json(click.pass_context(_asking("pause", "paused")))))
)
cancel = click.command(
    cls=ActingCommand, help="End it after the batch that is running. The rest of its letters stay as they are."
)(_id(_note(_json(click.pass_context(_asking("cancel", "cancelled"))))))


@click.command(cls=ActingCommand)
@_id
@option("--detach", is_flag=True, group="Action", help="Leave it to the workers, and return at once.")
@_note
@_json
@click.pass_context
def resume(ctx: click.Context, start: str, detach: bool, note: str, as_json: bool) -> None:
    """Go on with an operation that was paused, stopped, or left behind by a tool that died.

    A canary begins anew, with its first step.
    """
    with session(ctx, as_json=as_json) as here:
        one = _named(here, start)
        if one.state.value in ("done", "cancelled", "preparing"):
            raise CommandFailure(f"It is {one.state.value}. Nothing was done.", ExitCode.NOTHING)
        if one.runner:
            raise CommandFailure(f"It is running, by {one.runner}. Nothing was done.", ExitCode.NOTHING)
        one = here.letters.operations.ask(one.id, "running", by=who(), via="cli", reason=note)
        if not detach:
            with following(here, one.kind.capitalize(), "done") as follow:
                one = here.letters.run(one.id, progress=follow)
        if as_json:
            here.output.document(one.to_dict(here.redact))
        else:
            _show(here, one)
        if one.state.value in ("stopped", "paused"):
            here.output.note(f"To go on: {goes_on_with(one.id)}")
            ctx.exit(int(ExitCode.STOPPED if one.by_canary else ExitCode.IN_PART))


def _named(here: Session, start: str) -> Operation:
    """The operation whose id begins so. Raises `CommandFailure`."""
    found = here.letters.operations.known(start)
    if len(found) > 1:
        raise CommandFailure(f"{len(found)} operations have an id that begins with {start}.", ExitCode.USAGE)
    return here.letters.operations.get(found[0] if found else start)
