"""What replay, discard, review and restore have in common: options, dry run, and how results are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.command import option
from celery_recovery.cli.confirmation import Verb, show_selection
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.filters import filter_options
from celery_recovery.cli.session import Session
from celery_recovery.text import counted, visible

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter

__all__ = ("ACTION", "ActionOptions", "acting", "nothing", "show_dry_run", "tell_counts")

#: The options' heading in the help.
ACTION = "Action"


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that all of them have."""
    for add in (
        option("--json", "as_json", is_flag=True, group="Output", help="The result as one JSON document."),
        option("-y", "--yes", is_flag=True, group=ACTION, help="Do not ask."),
        option("--dry-run", is_flag=True, group=ACTION, help="Only show what would be done."),
        option("--all", "everything", is_flag=True, group=ACTION, help="No filter: all letters are meant."),
        filter_options,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = add(command)
    return command


class ActionOptions(NamedTuple):
    """The options that all of them have; `limit` is not for review and restore."""

    ids: tuple[str, ...]
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool
    limit: int | None = None


def show_dry_run(here: Session, verb: Verb, where: Filter, asked: ActionOptions) -> None:
    """Say what would be done, and do nothing."""
    figures = here.letters.breakdown(where)
    selected = min(figures.count, asked.limit or figures.count)
    if here.output.as_json:
        here.output.document({"dry_run": True, "selected": selected, "matched": figures.count, **figures.to_dict()})
    elif figures.count:
        show_selection(here, verb, figures, asked.limit)
        here.output.line(f"Dry run: {counted(selected)} would be {verb.past}.")
    if not figures.count:
        nothing(anything=asked.everything)


def tell_counts(here: Session, word: str, counts: Mapping[str, int]) -> None:
    """A line for each reason, with its number."""
    for what, count in counts.items():
        here.output.line(f"  {word} {count}: {visible(what)}")


def nothing(*, anything: bool) -> None:
    """End: nothing was chosen. Where all were meant, an empty queue is no failure."""
    if not anything:
        raise CommandFailure("No dead letter matches the filter. Nothing was done.", ExitCode.NOTHING)
    click.echo("There is nothing to do.", err=True)
