"""`recovery status`: one screen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.circuits_board import Board, is_quiet, show_open
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.figures import group_documents, show_groups, show_states
from celery_recovery.cli.parked_looking import show_parking
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.table import Column
from celery_recovery.text import age

if TYPE_CHECKING:
    from celery_recovery.cli.output import Output

__all__ = ("status",)

_GROUP = "Output"
_COUNTS = ("attempts", "first_try", "recovered", "replayed", "retried", "dead_lettered", "failed", "watched")
_COLUMNS = (
    Column("TASK, ERROR TYPE", least=16, front=True),
    *(
        Column(title, right=True)
        for title in ("RUNS", "1ST TRY", "RECOV", "REPLAY", "RETRY", "DEAD", "FAILED", "WATCHED")
    ),
)


@click.command(cls=RecoveryCommand)
@option("--since", metavar="TIME", default="1h", show_default=True, group=_GROUP,
        help="Count attempts from then on: an age such as 15m or 24h, ISO 8601, or unix seconds.")  # fmt: skip
@option("-n", "--limit", type=click.IntRange(1), metavar="N", default=8, show_default=True, group=_GROUP,
        help="Most tasks, and most error groups.")  # fmt: skip
@option("--json", "as_json", is_flag=True, group=_GROUP, help="One JSON document instead of tables.")
@click.pass_context
def status(ctx: click.Context, since: str, limit: int, as_json: bool) -> None:
    """Show letters by queue, open circuits, parked tasks, rates, and the largest error groups, on one screen."""
    begin = _begin(since)
    with session(ctx, as_json=as_json) as here:
        document = _gathered(here, begin, limit)
        if as_json:
            here.output.document(document)
        else:
            _show(here.output, document, limit)


def _begin(since: str) -> float:
    from celery_recovery.dead_letters.filter import parse_time
    from celery_recovery.exceptions import ConfigurationError

    try:
        return parse_time("--since", since, time.time())
    except ConfigurationError as exc:
        raise click.UsageError(str(exc)) from None


def _gathered(here: Session, begin: float, limit: int) -> dict[str, Any]:
    """The whole status, JSON-ready."""
    figures = here.letters.stats()
    rates = here.recovery.stats.rates(begin)
    return {
        "app": here.app.main or "",
        "drained": here.drained,
        "open": figures.open,
        "by_state": dict(figures.by_state),
        "oldest": figures.oldest,
        "newest": figures.newest,
        "since": begin,
        "rates": [rate.to_dict() for rate in rates],
        "groups": group_documents(here, here.letters.groups(limit)),
        "parked": here.recovery.parked.stats().to_dict() if here.recovery.parked else None,
        "circuits": _not_closed(here),
    }


def _not_closed(here: Session) -> list[dict[str, Any]]:
    """Circuits that are not simply closed."""
    seen = Board(here.recovery, here.recovery.circuits, here.output, here.redact)
    waiting = seen.waiting()
    return [one for one in seen.all(seen.names(waiting), waiting) if not is_quiet(one)]


def _show(output: Output, document: dict[str, Any], limit: int) -> None:
    output.heading(f"Dead letters of {document['app'] or 'the app'}")
    show_states(output, document["by_state"], document["oldest"])
    show_open(output, document["circuits"])
    if document["parked"] is not None:
        show_parking(output, document["parked"])
    output.title(f"Attempts of the last {age(document['since'])}")
    _show_rates(output, document["rates"], limit)
    show_groups(output, document["groups"])


def _show_rates(output: Output, rates: Sequence[dict[str, Any]], limit: int) -> None:
    """For each task a line with its sums, below it one for each error type that it met."""
    if not rates:
        output.line("  none counted")
        return
    tasks: dict[str, list[dict[str, Any]]] = {}
    for rate in rates:
        tasks.setdefault(rate["task"], []).append(rate)
    sums = {task: _sums(of_task) for task, of_task in tasks.items()}
    largest = sorted(tasks, key=lambda task: (-sum(sums[task].values()), task))
    rows = [row for task in largest[:limit] for row in _rows(task, sums[task], tasks[task])]
    output.table(_COLUMNS, rows, indent=2)
    if len(largest) > limit:
        output.line(f"  … and {len(largest) - limit} more tasks (--limit)")


def _rows(task: str, sums: dict[str, int], rates: Iterable[dict[str, Any]]) -> Iterable[list[str]]:
    yield [task, *_numbers(sums)]
    for rate in rates:
        if rate["error_type"]:
            yield [f"  {rate['error_type']}", *_numbers(rate)]


def _sums(rates: Iterable[dict[str, Any]]) -> dict[str, int]:
    rates = list(rates)
    return {name: sum(rate[name] for rate in rates) for name in _COUNTS}


def _numbers(rate: dict[str, Any]) -> list[str]:
    return [str(rate[name] or "-") for name in _COUNTS]
