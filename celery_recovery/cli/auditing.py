"""`recovery audit`: what operators did."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from itertools import islice
from typing import Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.session import session
from celery_recovery.cli.table import Column
from celery_recovery.text import moment

__all__ = ("audit",)

_OUTPUT = "Output"
_COLUMNS = (Column("WHEN"), Column("BY", least=8), Column("VIA"), Column("ACTION"), Column("WHAT", least=20))
#: Fields with a column of their own.
_SHOWN = ("entry", "at", "by", "via", "action", "terms")
#: Fields of an entry, which is all texts, that are numbers; those that are or may be objects.
_NUMBERS = ("selected", "done", "skipped", "failed", "recovered", "died", "until", "more", "seconds")
_OBJECTS = ("terms", "filter")


@click.command(cls=RecoveryCommand)
@option("--since", metavar="TIME", group="Filter", help="From then on: an age such as 24h, ISO 8601, or unix seconds.")
@option("--by", metavar="NAME", group="Filter", help="Of this person.")
@option(
    "--action",
    metavar="WORD",
    group="Filter",
    help="Whose action, or a word of it, begins so, as replay, approve, circuit.",
)
@option("-n", "--limit", type=click.IntRange(1), metavar="N", default=50, show_default=True, group=_OUTPUT,
        help="Most entries, the latest first.")  # fmt: skip
@option("--export", is_flag=True, group=_OUTPUT, help="All entries, the oldest first, one JSON object a line.")
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")
@click.pass_context
def audit(ctx: click.Context, since: str | None, by: str | None, action: str | None, limit: int, export: bool,
          as_json: bool) -> None:  # fmt: skip
    """Show what operators did, from the command line, from Flower or from code: who, when, what, how it went.

    Entries are added and never changed. About a million are kept; it is said when older ones had to go.
    """
    begin = _begin(since)
    with session(ctx, as_json=as_json or export) as here:
        record = here.letters.audit
        found = (
            entry
            for entry in record.entries(since=begin, newest_first=not export)
            if (by is None or entry["by"] == by) and (action is None or _is(action, entry["action"]))
        )
        if record.forgotten:
            here.output.warn(f"The {record.forgotten} oldest entries were removed.")
        if export:
            for entry in found:
                click.echo(json.dumps(here.redact(_typed(entry))), file=sys.stdout)
            return
        entries = list(islice(found, limit))
        if as_json:
            here.output.document({"entries": [here.redact(_typed(entry)) for entry in entries]})
        elif entries:
            here.output.table(_COLUMNS, [_row(here.redact(entry)) for entry in entries])
        else:
            here.output.note("There is no entry.")


def _row(entry: dict[str, Any]) -> list[str]:
    rest = {name: value for name, value in entry.items() if name not in _SHOWN}
    if "operation" in rest:
        rest["operation"] = rest["operation"][:12]
    if (until := _number(rest.get("until", ""))) is not None:
        rest["until"] = moment(until).replace(" ", "T")
    what = " ".join(f"{name}={value}" for name, value in rest.items())
    return [moment(entry["at"]), entry["by"], entry.get("via", ""), entry["action"], what]


def _is(asked: str, action: str) -> bool:
    """True for `replay` of `replay begun`, and for `resolve` of `group resolved`."""
    return action.startswith(asked) or any(word.startswith(asked) for word in action.split())


def _typed(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its numbers and objects; what is none, as a value that was cut, stays a text."""
    typed = dict(entry)
    for name in _NUMBERS:
        if (number := _number(entry.get(name, ""))) is not None:
            typed[name] = number
    for name in _OBJECTS:
        if entry.get(name, "").startswith("{"):
            with suppress(ValueError):
                typed[name] = json.loads(entry[name])
    return typed


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\d{1,15}(\.\d{1,20})?", text):
        return None
    return float(text) if "." in text else int(text)


def _begin(since: str | None) -> float | None:
    from celery_recovery.cli.filters import usage
    from celery_recovery.dead_letters.filter import parse_time
    from celery_recovery.exceptions import ConfigurationError

    try:
        return None if since is None else parse_time("since", since, time.time())
    except ConfigurationError as exc:
        raise usage(exc) from None
