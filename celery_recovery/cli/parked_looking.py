"""`recovery parked list`: it changes nothing."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.parked_filters import Lot, lot, parked_filter_options
from celery_recovery.cli.table import Column
from celery_recovery.text import age, duration

if TYPE_CHECKING:
    from celery_recovery.parking import ParkedFilter

__all__ = ("list_parked", "show_parking", "when_due")

_OUTPUT = "Output"
_COLUMNS = (
    Column("ID"), Column("DUE"), Column("PARKED", right=True), Column("REASON"), Column("QUEUE", least=6),
    Column("TASK", least=12, front=True),
)  # fmt: skip
#: Where the column of circuits stands, if any of the tasks waits for one.
_CIRCUIT, _CIRCUIT_AT = Column("CIRCUIT", least=7), 4


@click.command(name="list", cls=RecoveryCommand)
@parked_filter_options
@option("-n", "--limit", type=click.IntRange(1), metavar="N", default=50, show_default=True, group=_OUTPUT,
        help="Most tasks.")  # fmt: skip
@option("--cursor", metavar="TEXT", group=_OUTPUT, help="Go on behind the page that printed this.")
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")
@click.pass_context
def list_parked(ctx: click.Context, where: ParkedFilter, limit: int, cursor: str | None, as_json: bool) -> None:
    """List parked tasks, the one that is due first in front. Exit code 1 when a filter matches nothing."""
    if cursor is not None and not re.fullmatch(r"-?[\d.e+-]+/.+", cursor):
        raise click.UsageError(f"--cursor: expected what an earlier page printed, got {cursor!r}.")
    with lot(ctx, as_json=as_json) as here:
        page = here.parking.find(where, limit=limit, cursor=cursor)
        shown = [parked.to_dict(here.redact) if as_json else parked.summary(here.redact) for parked in page.tasks]
        if as_json:
            here.output.document({"tasks": shown, "cursor": page.cursor})
        elif shown:
            _show(here.output, shown)
            if page.cursor is not None:
                here.output.note(f"More: the same with --cursor={shlex.quote(page.cursor)}")
        if not shown:
            _say_none(here, where)


def _show(output: Output, tasks: Sequence[Mapping[str, Any]]) -> None:
    """One line for each, and what keeps it below."""
    rows = [
        [one["id"], _when(one), age(one["parked_at"]), one["reason"],
         one["queue"] or one["exchange"] or "?", one["task"] or "?"]
        for one in tasks
    ]  # fmt: skip
    columns = list(_COLUMNS)
    if any(one["circuit"] for one in tasks):
        columns.insert(_CIRCUIT_AT, _CIRCUIT)
        for row, one in zip(rows, tasks, strict=True):
            row.insert(_CIRCUIT_AT, one["circuit"] or "-")
    output.table(columns, rows, below=[_kept_by(one) for one in tasks])


def _when(one: Mapping[str, Any]) -> str:
    """When it is due; one that waits for a circuit is not late because that was to be probed by now."""
    return "by circuit" if one["circuit"] and one["due"] <= time.time() else when_due(one["due"])


def _kept_by(one: Mapping[str, Any]) -> str:
    if not one["error"]:
        return ""
    times = "once" if one["refusals"] == 1 else f"{one['refusals']} times"
    return f"not released, tried {times}: {one['error']}"


def _say_none(here: Lot, where: ParkedFilter) -> None:
    """An empty lot is no failure; a filter that finds nothing may be misspelt."""
    if not where.is_empty:
        raise CommandFailure("No parked task matches the filter.", ExitCode.NOTHING)
    here.output.note("There are no parked tasks.")


def when_due(due: float) -> str:
    """`in 5m`, or how long ago."""
    left = due - time.time()
    return f"in {duration(left)}" if left > 0 else f"{age(due)} ago"


def show_parking(output: Output, stats: Mapping[str, Any]) -> None:
    """The parked tasks in one line, for a screen that shows other things too."""
    if not stats["count"]:
        return
    output.title("Parked tasks")
    refused = f"   refused by the broker {stats['refused']}" if stats["refused"] else ""
    first = f"   first due {when_due(stats['oldest_due'])}" if stats["oldest_due"] is not None else ""
    waiting = sum(stats["by_circuit"].values())
    circuits = f"   waiting for a circuit {waiting}" if waiting else ""
    output.line(f"  parked {stats['count']}   overdue {stats['overdue']}{circuits}{refused}{first}")
