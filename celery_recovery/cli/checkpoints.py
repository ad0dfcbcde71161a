"""`recovery checkpoints …`: where tasks stand that have not succeeded, and how to make one begin anew."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.acting import ACTION
from celery_recovery.cli.command import ActingCommand, RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.progress import display
from celery_recovery.cli.table import Column
from celery_recovery.redact import Redactor
from celery_recovery.text import age, cut, duration, moment, visible

if TYPE_CHECKING:
    from celery_recovery.checkpoint import CheckpointStore, SavedCheckpoint

__all__ = ("checkpoints",)

_OUTPUT = "Output"
#: Lines of a list, unless all are asked for; characters of a state in it.
MOST, SHOWN = 50, 60
_COLUMNS = (
    Column("NAME", least=12), Column("SAVED", right=True), Column("SAVES", right=True), Column("BYTES", right=True),
    Column("ATTEMPT", right=True), Column("TASK", least=12, front=True), Column("STATE", least=8),
)  # fmt: skip
#: Seconds between two looks with --watch.
LOOK = 0.5
_json = option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of text.")


class _Here(NamedTuple):
    """One run of one command."""

    store: CheckpointStore
    output: Output
    redact: Redactor

    def plain(self, one: SavedCheckpoint) -> dict[str, Any]:
        """JSON-ready, secrets hidden."""
        document: dict[str, Any] = self.redact(one.to_dict())
        return document


@click.group(name="checkpoints")
def checkpoints() -> None:
    """Where tasks stand that have not succeeded."""


@checkpoints.command(name="list", cls=RecoveryCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@option("--task", "tasks", multiple=True, metavar="NAME", group="Filter", help="Of this task; * and ? match.")
@option("--all", "everything", is_flag=True, group=_OUTPUT, help=f"All of them, not only the first {MOST}.")
@_json
@click.pass_context
def list_checkpoints(
    ctx: click.Context, names: tuple[str, ...], tasks: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """List checkpoints, the one that was saved last in front. A NAME is `id:…`, `key:…` or `batch:…`; * and ? match.

    Exit code 1 when names or tasks match nothing.
    """
    with _here(ctx, as_json) as here:
        found = [one for one in here.store.iterate() if _matches(one, names, tasks)]
        shown = found if everything else found[:MOST]
        more = len(found) - len(shown)
        if as_json:
            here.output.document({"checkpoints": [here.plain(one) for one in shown], "more": more})
        elif shown:
            here.output.table(_COLUMNS, [_row(one, here.redact) for one in shown])
            if more:
                here.output.line(f"… and {more} more (--all)")
        if not found and (names or tasks):
            raise CommandFailure("No checkpoint matches.", ExitCode.NOTHING)
        if not found:
            here.output.note("No task has a checkpoint now.")


@checkpoints.command(cls=RecoveryCommand)
@click.argument("name", metavar="NAME")
@option("--watch", is_flag=True, group=_OUTPUT, help="Of a batch: follow it until its task has ended, or Ctrl-C.")
@_json
@click.pass_context
def show(ctx: click.Context, name: str, watch: bool, as_json: bool) -> None:
    """Show one checkpoint with its state. A NAME may be a task's id. Exit code 4: there is none."""
    if watch and as_json:
        raise click.UsageError("--watch: shows a bar, and no JSON document.")
    with _here(ctx, as_json) as here:
        found = _known(here, name)
        if watch:
            _follow(here, found)
            return
        one = here.plain(found)
        if as_json:
            here.output.document(one)
            return
        here.output.heading(one["name"])
        here.output.fields({
            "task": f"{one['task']}[{one['task_id']}], attempt {one['attempt']}",
            "worker": one["worker"],
            "begun": _when(one["begun_at"]),
            "taken over": _when(one["opened_at"]),
            "saved": f"{_when(one['saved_at'])}, {one['saves']} times" if one["saved_at"] else "never",
            "bytes": str(one["size"]),
            **_batch_fields(one["state"]),
        })  # fmt: skip
        here.output.title("State")
        here.output.block(json.dumps(one["state"], indent=2, ensure_ascii=False))


@checkpoints.command(cls=ActingCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@option("--dry-run", is_flag=True, group=ACTION, help="Only show what would be done.")
@option("-y", "--yes", is_flag=True, group=ACTION, help="Do not ask.")
@_json
@click.pass_context
def clear(ctx: click.Context, names: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Drop checkpoints: their tasks begin anew. A run that is under way is stopped at its next word, and begins anew.

    Exit code 4 when one is not known; nothing is done then.
    """
    with _here(ctx, as_json) as here:
        found = [_known(here, name) for name in dict.fromkeys(names)]
        if dry_run or not yes:
            here.output.table(_COLUMNS, [_row(one, here.redact) for one in found])
        if not dry_run:
            _confirm(len(found), yes=yes)
        done = [one.name for one in found if not dry_run and here.store.clear(one.name, via="cli")]
        if as_json:
            here.output.document({"dry_run": dry_run, "selected": len(found), "cleared": done})
        else:
            would = "would be " if dry_run else ""
            here.output.line(f"{_counted(len(found) if dry_run else len(done))} {would}dropped.")


def _follow(here: _Here, found: SavedCheckpoint) -> None:
    """A bar, as long as the checkpoint is there."""
    if not is_batch(found.state):
        raise CommandFailure(f"{found.name} is no batch: there is nothing to follow.", ExitCode.USAGE)
    last: SavedCheckpoint | None = found
    with display(here.output, found.task or found.name) as shown:
        while last is not None and is_batch(last.state):
            state = last.state
            failed = f"{state['failed']} failed" if state["failed"] else ""
            rate = f"{state['rate']:.0f}/s" if state["rate"] else ""
            shown(state["done"], state["total"] or 0, ", ".join(filter(None, (failed, rate))))
            found = last
            time.sleep(LOOK)
            last = here.store.get(found.name)
    here.output.line(f"{found.name} has ended: {batch_words(found.state)} when it was last seen.")


def is_batch(state: Any) -> bool:
    """Whether it is the state of a batch, and not a task's own."""
    if not isinstance(state, dict) or not {"batch", "done", "failed", "total", "rate", "era"} <= state.keys():
        return False
    return all(isinstance(state[name] or 0, (int, float)) for name in ("done", "failed", "total", "rate"))


def batch_words(state: dict[str, Any]) -> str:
    """How far a batch is."""
    total, rate = state["total"], state["rate"]
    of = f" of {total:,} ({state['done'] * 100 // total} %)" if total else ""
    failed = f", {state['failed']:,} failed" if state["failed"] else ""
    left = f", {duration((total - state['done']) / rate)} left" if total and rate and total > state["done"] else ""
    return f"{state['done']:,}{of}{failed}{f', {rate:,.0f}/s' if rate else ''}{left}"


def _batch_fields(state: Any) -> dict[str, str]:
    return {"batch": batch_words(state)} if is_batch(state) else {}


@contextmanager
def _here(ctx: click.Context, as_json: bool) -> Iterator[_Here]:
    """Connect to the store. Raises `ConfigurationError` where none is configured, and `StoreUnavailable`."""
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    recovery.dead_letters.store.ping()  # it says best what is missing
    store = recovery.checkpoints
    assert store is not None  # noqa: S101  # there is a Redis
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    yield _Here(store, output, recovery.redact)


def _matches(one: SavedCheckpoint, names: Sequence[str], tasks: Sequence[str]) -> bool:
    named = not names or any(fnmatchcase(one.name, name) or one.name == f"id:{name}" for name in names)
    return named and (not tasks or any(fnmatchcase(one.task, task) for task in tasks))


def _known(here: _Here, name: str) -> SavedCheckpoint:
    """The checkpoint of this name, or of this task's id. Raises `CommandFailure`."""
    found = here.store.get(name) or here.store.get(f"id:{name}") or here.store.get(f"batch:1:id:{name}")
    if found is None:
        near = difflib.get_close_matches(name, here.store.names(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise CommandFailure(f"There is no checkpoint {name}.{hint} Nothing was done.", ExitCode.UNKNOWN_ID)
    return found


def _confirm(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandFailure("Nobody to ask: say --yes to clear without a question.", ExitCode.USAGE)
    if not click.confirm(f"Drop {_counted(count)}?", err=True):
        raise CommandFailure("Nothing was done.", ExitCode.DECLINED)


def _row(one: SavedCheckpoint, hide: Redactor) -> list[str]:
    saved = f"{age(one.saved_at)} ago" if one.saved_at else "never"
    told = batch_words(one.state) if is_batch(one.state) else one.beginning(hide)
    state = cut(visible(told), SHOWN)
    return [one.name, saved, str(one.saves), str(one.size), str(one.attempt), one.task or "?", state]


def _when(unix: float) -> str:
    return f"{moment(unix)} UTC ({age(unix)} ago)"


def _counted(count: int) -> str:
    return "1 checkpoint" if count == 1 else f"{count} checkpoints"
