"""The filter's options, the same on every command that takes one, and what they make: a `Filter`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import option

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.exceptions import ConfigurationError

__all__ = ("FILTER_NAMES", "as_filter", "filter_options", "usage")

_GROUP = "Filter"
_TIME = "Unix seconds, ISO 8601 (UTC unless it says otherwise), or an age such as 15m, 24h, 7d."

_OPTIONS = (
    option("--task", multiple=True, metavar="NAME", group=_GROUP, help="Task name; * and ? match. Repeatable."),
    option("--error-type", multiple=True, metavar="TYPE", group=_GROUP, help="As network, validation. Repeatable."),
    option("--exception", multiple=True, metavar="CLASS", group=_GROUP,
           help="Qualified class name; * and ? match. Repeatable."),
    option("--reason", multiple=True, metavar="WORD", group=_GROUP, help="Why it is a dead letter. Repeatable."),
    option("--fingerprint", multiple=True, metavar="TEXT", group=_GROUP,
           help="Error group, or its first characters. Repeatable."),
    option("--queue", multiple=True, metavar="NAME", group=_GROUP,
           help="Queue that it came from; * and ? match. Repeatable."),
    option("--state", multiple=True, metavar="STATE", group=_GROUP,
           help="failed, review, retry, replayed, recovered or discarded. Repeatable."),
    option("--id", multiple=True, metavar="ID", group=_GROUP, help="Task id. Repeatable."),
    option("--parent", multiple=True, metavar="ID", group=_GROUP,
           help="Id of the task whose batch it was an item of. Repeatable."),
    option("--since", metavar="TIME", group=_GROUP, help=f"Died at that time or later. {_TIME}"),
    option("--until", metavar="TIME", group=_GROUP, help="Died at that time or earlier."),
    option("--text", metavar="TEXT", group=_GROUP,
           help="Found, without case, in message, exception, task, id or arguments."),
    option("--arg", multiple=True, metavar="KEY=VALUE", group=_GROUP,
           help="Keyword argument; order.id=7 looks inside, 0=7 is the first positional one. Repeatable."),
    option("--assignee", multiple=True, metavar="NAME", group=_GROUP,
           help="Whose it is in review; - is nobody's. Repeatable."),
    option("--operation", multiple=True, metavar="ID", group=_GROUP,
           help="The replay that had it last, as `operations list` names it in full. Repeatable."),
    option("--held/--not-held", default=None, group=_GROUP, help="Whether a caller, chord or chain waits for it."),
)  # fmt: skip

#: The parameters that the options above fill, as `Filter.parse` names them.
FILTER_NAMES = (
    "task", "error_type", "exception", "reason", "fingerprint", "queue", "state", "id", "parent", "since", "until",
    "text", "arg", "held", "assignee", "operation",
)  # fmt: skip


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filter's options; its function gets them as one `where`."""

    @functools.wraps(command)
    def with_filter(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in FILTER_NAMES}
        return command(*args, where=as_filter(given), **options)

    decorated: Callable[..., Any] = with_filter
    for add in reversed(_OPTIONS):
        decorated = add(decorated)
    return decorated


def as_filter(given: dict[str, Any]) -> Filter:
    """The filter that the options ask for. Raises click's UsageError naming the option."""
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.exceptions import ConfigurationError

    try:
        return Filter.parse(given)
    except ConfigurationError as exc:
        raise usage(exc) from None


def usage(exc: ConfigurationError) -> click.UsageError:
    """What is wrong with a filter, said of the option that it came from."""
    return click.UsageError(f"--{exc.option.replace('_', '-')}: expected {exc.expected}, got {exc.got}.")
