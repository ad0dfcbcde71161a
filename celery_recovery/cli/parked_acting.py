"""`recovery parked release` and `discard`: parked tasks run now, or never."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from celery_recovery.audit import recorded
from celery_recovery.cli.acting import ACTION
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.parked_filters import Lot, counted_tasks, lot, parked_filter_options
from celery_recovery.cli.progress import Stopped, display, stoppable
from celery_recovery.cli.table import Column
from celery_recovery.parking import ParkingResult
from celery_recovery.text import visible

if TYPE_CHECKING:
    from celery_recovery.parking import ParkedFilter

__all__ = ("discard", "release")

#: Parked tasks acted on between two looks at the keyboard.
BATCH = 100
#: Lines of one table of counts.
MOST = 12

#: Act on these keys.
Act: TypeAlias = Callable[[Lot, Sequence[str]], ParkingResult]


class _Verb(NamedTuple):
    """What is to be done, in words."""

    name: str
    past: str


_RELEASE, _DISCARD = _Verb("release", "released"), _Verb("discard", "discarded")


class _Asked(NamedTuple):
    """The options that both have."""

    ids: tuple[str, ...]
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool
    limit: int | None


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that both have."""
    for add in (
        option("--json", "as_json", is_flag=True, group="Output", help="The result as one JSON document."),
        option("-y", "--yes", is_flag=True, group=ACTION, help="Do not ask."),
        option("--dry-run", is_flag=True, group=ACTION, help="Only show what would be done."),
        option("--all", "everything", is_flag=True, group=ACTION, help="No filter: all parked tasks are meant."),
        option("-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION,
               help="Most tasks, those that are due first."),
        parked_filter_options,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):  # fmt: skip
        command = add(command)
    return command


@click.command(cls=ActingCommand)
@_acting
@click.pass_context
def release(ctx: click.Context, /, where: ParkedFilter, **options: Any) -> None:
    """Give parked tasks back to their queues now, due or not, and whatever their circuit says.

    Killed and run again, it loses none and runs none twice. What a worker is releasing at this moment is passed over.
    """

    def act(here: Lot, keys: Sequence[str]) -> ParkingResult:
        return here.parking.release(keys, via=None)

    _run(ctx, _RELEASE, where, _Asked(**options), act)


@click.command(cls=ActingCommand)
@_acting
@option("--note", default="discarded while parked", metavar="TEXT", group=ACTION,
        help="Stands in the result, for whoever asks why.")  # fmt: skip
@click.pass_context
def discard(ctx: click.Context, /, where: ParkedFilter, note: str, **options: Any) -> None:
    """Drop parked tasks for good. Their results become REVOKED, and chords and chains that wait for them end.

    There is no way back. A body that is not JSON is not read: then a chord or chain is not told, which is said.
    """

    def act(here: Lot, keys: Sequence[str]) -> ParkingResult:
        return here.parking.discard(keys, reason=note, via=None)

    _run(ctx, _DISCARD, where, _Asked(**options), act, prepare=_import_tasks)


def _run(
    ctx: click.Context,
    verb: _Verb,
    where: ParkedFilter,
    asked: _Asked,
    act: Act,
    prepare: Callable[[Lot], None] = lambda _: None,
) -> None:
    """Choose, show, ask, and act on one batch after the other."""
    where = replace(where, ids=tuple(dict.fromkeys((*where.ids, *asked.ids))))
    if where.is_empty and not asked.everything:
        raise click.UsageError(
            f"{verb.name} needs ids or a filter. To {verb.name} all parked tasks: --all (--dry-run shows which)."
        )
    with lot(ctx, as_json=asked.as_json) as here:
        _look_up(here, where)
        keys = tuple(islice(here.parking.store.iterate_keys(where), asked.limit))
        if keys and (asked.dry_run or not asked.yes):
            tables = _show(here, keys)
        if asked.dry_run:
            _tell_dry_run(here, verb, keys, tables if keys else {})
        elif keys:
            _confirm(verb, keys, yes=asked.yes)
            prepare(here)
            chosen = {field.name: getattr(where, field.name) for field in fields(where)}
            about = {"filter": {name: value for name, value in chosen.items() if value}, "selected": len(keys)}
            with recorded(here.parking.audit, f"parked {verb.name}", by=None, via="cli", **about) as told:
                ended = _in_batches(here, verb, keys, act)
                told["done"] = ended[0].done
            _exit(ctx, here, verb, ended)
        elif here.output.as_json:
            here.output.document(_document(ParkingResult(selected=0), interrupted=False))
        if not keys:
            _nothing(anything=asked.everything)


def _look_up(here: Lot, where: ParkedFilter) -> None:
    """Of a list of ids with a slip in it, nothing is done."""
    if not where.ids:
        return
    from celery_recovery.parking import ParkedFilter

    named = {name for one in here.parking.iterate(ParkedFilter(ids=where.ids)) for name in (one.id, one.key)}
    missing = [one for one in where.ids if one not in named]
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise CommandFailure(f"There is no parked task with the id {some}. Nothing was done.", ExitCode.UNKNOWN_ID)


def _show(here: Lot, keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """What the selection is made of."""
    counts = {name: Counter[str]() for name in ("task", "queue", "reason", "circuit")}
    for first in range(0, len(keys), BATCH):
        for parked in here.parking.store.get_many(keys[first : first + BATCH]):
            for name in counts if parked is not None else ():
                counts[name][getattr(parked, name)] += 1
    counts["circuit"].pop("", None)
    here.output.heading("Parked tasks")
    for name, count in counts.items() if counts["circuit"] else list(counts.items())[:-1]:
        _show_counts(here, name, count.most_common())
    return {f"by_{name}": dict(count.most_common()) for name, count in counts.items()}


def _show_counts(here: Lot, name: str, counts: Sequence[tuple[str, int]]) -> None:
    rows = [(str(count), value or "(none)") for value, count in counts[:MOST]]
    if counts[MOST:]:
        rows.append((str(sum(count for _, count in counts[MOST:])), f"… of {len(counts) - MOST} more"))
    here.output.line()
    here.output.table((Column("TASKS", right=True), Column(name.upper(), least=12, front=True)), rows, indent=2)


def _tell_dry_run(here: Lot, verb: _Verb, keys: Sequence[str], tables: dict[str, dict[str, int]]) -> None:
    if here.output.as_json:
        here.output.document({"dry_run": True, "selected": len(keys), **tables})
    elif keys:
        here.output.line(f"Dry run: {counted_tasks(len(keys))} would be {verb.past}.")


def _confirm(verb: _Verb, keys: Sequence[str], *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandFailure(f"Nobody to ask: say --yes to {verb.name} without a question.", ExitCode.USAGE)
    if not click.confirm(f"{verb.name.capitalize()} {counted_tasks(len(keys))}?", err=True):
        raise CommandFailure("Nothing was done.", ExitCode.DECLINED)


def _in_batches(here: Lot, verb: _Verb, keys: Sequence[str], act: Act) -> tuple[ParkingResult, bool]:
    """The sum of what became of the batches, and whether Ctrl-C ended them."""
    total = ParkingResult(selected=len(keys))
    with display(here.output, verb.name.capitalize()) as show, stoppable() as check:
        try:
            for first in range(0, len(keys), BATCH):
                total = _sum(total, act(here, keys[first : first + BATCH]))
                show(min(first + BATCH, len(keys)), len(keys))
                if total.stopped:
                    break
                check()
        except (Stopped, KeyboardInterrupt):
            return total, True
    return total, False


def _sum(total: ParkingResult, more: ParkingResult) -> ParkingResult:
    return replace(
        total,
        done=total.done + more.done,
        skipped=Counter(total.skipped) + Counter(more.skipped),
        warnings=Counter(total.warnings) + Counter(more.warnings),
        failed={**total.failed, **more.failed},
        stopped=more.stopped,
    )


def _exit(ctx: click.Context, here: Lot, verb: _Verb, ended: tuple[ParkingResult, bool]) -> None:
    """Tell the result, and end with its code."""
    result, interrupted = ended
    hide = here.redact.text  # a broker's errors may hold addresses, with passwords
    failed = {one: hide(why) for one, why in result.failed.items()}
    result = replace(result, failed=failed, stopped=hide(result.stopped))
    if here.output.as_json:
        here.output.document(_document(result, interrupted=interrupted))
    else:
        here.output.line(f"{result.done} of {counted_tasks(result.selected)} {verb.past}.")
        told = {"skipped": result.skipped, "warning": result.warnings, "failed": Counter(result.failed.values())}
        for word, counts in told.items():
            for what, count in counts.items():
                here.output.line(f"  {word} {count}: {visible(what)}")
    if interrupted:
        raise CommandFailure("Interrupted: the other tasks are parked as before.", ExitCode.INTERRUPTED)
    if result.stopped:
        here.output.warn(f"Stopped: {result.stopped.rstrip('.')}. The other tasks are parked as before.")
        ctx.exit(int(ExitCode.AWAY))
    if result.done < result.selected:
        ctx.exit(int(ExitCode.IN_PART))


def _document(result: ParkingResult, *, interrupted: bool) -> dict[str, Any]:
    return {**result.to_dict(), "interrupted": interrupted}


def _nothing(*, anything: bool) -> None:
    """End: nothing was chosen. Where all were meant, an empty lot is no failure."""
    if not anything:
        raise CommandFailure("No parked task matches the filter. Nothing was done.", ExitCode.NOTHING)
    click.echo("There is nothing to do.", err=True)


def _import_tasks(here: Lot) -> None:
    """Ending a result may call the task's errbacks here, as in a worker; they must be registered for that."""
    try:
        here.app.loader.import_default_modules()
    except Exception as exc:  # the user's modules may fail in any way
        why = f"The app's task modules cannot be imported: {type(exc).__name__}: {exc}. Nothing was done."
        raise CommandFailure(why, ExitCode.USAGE) from exc
