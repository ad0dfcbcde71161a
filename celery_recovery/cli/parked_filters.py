"""What the commands for parked tasks have in common: the filter's options, and the session."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.command import option
from celery_recovery.cli.filters import usage
from celery_recovery.cli.output import Output
from celery_recovery.redact import Redactor

if TYPE_CHECKING:
    from celery import Celery

    from celery_recovery.parking import ParkedFilter, Parking

__all__ = ("PARKED_FILTER_NAMES", "Lot", "counted_tasks", "lot", "parked_filter_options")

_GROUP = "Filter"
_OPTIONS = (
    option("--task", multiple=True, metavar="NAME", group=_GROUP, help="Task name; * and ? match. Repeatable."),
    option("--queue", multiple=True, metavar="NAME", group=_GROUP,
           help="Queue that it goes back to; * and ? match. Repeatable."),
    option("--reason", multiple=True, metavar="WORD", group=_GROUP,
           help="Why it is parked: retry, snooze, eta or circuit. Repeatable."),
    option("--circuit", multiple=True, metavar="NAME", group=_GROUP,
           help="Circuit that it waits for; * and ? match. Repeatable."),
    option("--id", multiple=True, metavar="ID", group=_GROUP,
           help="Task id, or the key of one parked message. Repeatable."),
    option("--due-before", metavar="TIME", group=_GROUP,
           help="Due at that time or earlier: +15m, +24h (from now), unix seconds, or ISO 8601."),
)  # fmt: skip

#: The parameters that the options above fill, as `ParkedFilter.parse` names them.
PARKED_FILTER_NAMES = ("task", "queue", "reason", "circuit", "id", "due_before")


class Lot(NamedTuple):
    """One run of one command."""

    app: Celery
    parking: Parking
    output: Output
    #: Hides secrets, the user's own included.
    redact: Redactor


@contextmanager
def lot(ctx: click.Context, *, as_json: bool = False) -> Iterator[Lot]:
    """Connect to the store. Raises `ConfigurationError` where none is configured, and `StoreUnavailable`."""
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    recovery.dead_letters.store.ping()  # it says best what is missing
    assert recovery.parked is not None  # noqa: S101  # they have one Redis
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    yield Lot(ctx.obj.app, recovery.parked, output, recovery.redact)


def parked_filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filter's options; its function gets them as one `where`."""

    @functools.wraps(command)
    def with_filter(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in PARKED_FILTER_NAMES}
        return command(*args, where=_filter(given), **options)

    decorated: Callable[..., Any] = with_filter
    for add in reversed(_OPTIONS):
        decorated = add(decorated)
    return decorated


def _filter(given: dict[str, Any]) -> ParkedFilter:
    from celery_recovery.exceptions import ConfigurationError
    from celery_recovery.parking import ParkedFilter

    try:
        return ParkedFilter.parse(given)
    except ConfigurationError as exc:
        raise usage(exc) from None


def counted_tasks(tasks: int) -> str:
    """The number with its noun."""
    return "1 parked task" if tasks == 1 else f"{tasks} parked tasks"
