"""`recovery dlq groups`, `group`, `resolve`, `ignore` and `reopen`: letters that died of the same thing."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import ActingCommand, RecoveryCommand, option
from celery_recovery.cli.letters import show_letters
from celery_recovery.cli.output import Output
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.table import Column
from celery_recovery.text import age, moment, short_class

if TYPE_CHECKING:
    from celery_recovery.dead_letters.groups import ErrorGroup

__all__ = ("ignore", "list_groups", "reopen", "resolve", "show_group", "sparkline")

_OUTPUT, _ACTION = "Output", "Action"
_BARS = "▁▂▃▄▅▆▇█"
#: Letters in which it is looked for what a group has in common, letters that are shown of it, values that are.
SAMPLE, SHOWN, VALUES = 200, 5, 12
_COLUMNS = (
    Column("LETTERS", right=True), Column("SHARE", right=True), Column("SINCE", right=True),
    Column("LAST", right=True), Column("24 HOURS"), Column("STATE"), Column("FINGERPRINT"),
    Column("TASK", least=8, front=True),
)  # fmt: skip
#: What somebody's exception or a person has said.
_FOREIGN = ("message", "note", "by", "version", "regressed_in")
_json = option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of text.")
_fingerprint = click.argument("fingerprint", metavar="FINGERPRINT")
_note = option("--note", default="", metavar="TEXT", group=_ACTION, help="For whoever asks why.")


@click.command(name="groups", cls=RecoveryCommand)
@option("--state", "states", multiple=True, metavar="STATE", group="Filter",
        help="open, resolved or ignored: also groups without open letters. Repeatable.")  # fmt: skip
@option("--newest", is_flag=True, group=_OUTPUT, help="The last death first, not the largest group.")
@option("-n", "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, group=_OUTPUT,
        help="Most groups.")  # fmt: skip
@_json
@click.pass_context
def list_groups(ctx: click.Context, states: Sequence[str], newest: bool, limit: int, as_json: bool) -> None:
    """List groups of letters that died of the same thing, the largest first.

    Without --state, those with open letters, whatever people have said about them.
    """
    from celery_recovery.dead_letters.groups import GroupState

    known = [state.value for state in GroupState]
    for state in states:
        if state not in known:
            raise click.UsageError(f"--state: expected one of {', '.join(known)}, got {state!r}.")
    wanted = [GroupState(state) for state in states] or None
    with session(ctx, as_json=as_json) as here:
        found = here.letters.grouped.list(states=wanted, limit=limit, newest_first=newest)
        shown = [_shown(here, group) for group in found]
        if as_json:
            here.output.document({"groups": shown})
        elif shown:
            _table(here.output, shown)
        else:
            here.output.note("There are no such groups." if states else "There are no open dead letters.")


def _shown(here: Session, group: ErrorGroup) -> dict[str, Any]:
    return {**group.to_dict(), **{name: here.redact(getattr(group, name)) for name in _FOREIGN}}


def _table(output: Output, groups: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            str(group["count"]),
            f"{group['share']:.0%}",
            age(group["first_seen"] or group["oldest"]),
            age(group["last_seen"] or group["newest"]),
            sparkline(group["trend"][-24:]),
            group["state"] + (f", back {group['regressions']}x" if group["regressions"] else ""),
            group["fingerprint"],
            group["task"] or "?",
        )
        for group in groups
    ]
    output.table(_COLUMNS, rows, below=[_sentence(group) for group in groups])


def _sentence(group: Mapping[str, Any]) -> str:
    error = short_class(group["exception"]) or "?"
    return f"{group['error_type'] or '?'}  {error}: {group['message']}"


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a row of bars, the largest as high as a line; a dot where there are none."""
    most = max(counts, default=0)
    return "".join(_BARS[min(7, (8 * count - 1) // most)] if count else "·" for count in counts)


@click.command(name="group", cls=RecoveryCommand)
@_fingerprint
@_json
@click.pass_context
def show_group(ctx: click.Context, fingerprint: str, as_json: bool) -> None:
    """Show one group: since when, how many an hour, where, what its letters have in common, and some of them.

    The first characters of the fingerprint are enough. Exit code 4 when there is no such group.
    """
    from celery_recovery.dead_letters.common import LARGEST, in_common
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.state import OPEN, LetterState

    with session(ctx, as_json=as_json) as here:
        group = here.letters.grouped.get(fingerprint)
        states = tuple(state for state in LetterState if state in OPEN) if group.count else ()
        where = Filter(fingerprint=(group.fingerprint,), state=states)
        sample = here.letters.list(where, limit=SAMPLE, largest=LARGEST)
        common = in_common(sample, here.redact)
        letters = [letter.to_dict(here.redact) for letter in sample[:SHOWN]]
        shown = {**_shown(here, group), "common": [one._asdict() for one in common], "letters": letters}
        if as_json:
            here.output.document(shown)
        else:
            _show(here.output, shown)
            if group.count:
                few = group.fingerprint[:10]
                here.output.note(f"Once it is mended: recovery dlq replay --fingerprint {few} --canary")
                here.output.note(f"Wrong arguments:   recovery dlq edit --fingerprint {few} --set … --dry-run")


def _show(output: Output, group: Mapping[str, Any]) -> None:
    output.heading(f"Group {group['fingerprint']}")
    output.fields(
        {
            "Task": group["task"],
            "Error": _sentence(group),
            "Code": group["code"],
            "Letters": f"{group['count']} open, {group['share']:.0%} of all open ones; {group['total']} deaths in all",
            "First": f"{moment(group['first_seen'])} ({age(group['first_seen'])} ago)" if group["first_seen"] else "",
            "Last": f"{moment(group['last_seen'])} ({age(group['last_seen'])} ago)" if group["last_seen"] else "",
            "48 hours": f"{sparkline(group['trend'])} (this hour {group['trend'][-1]}, at most {max(group['trend'])})",
            "State": _state(group),
            "Queues": _parts(group["queues"]),
            "Workers": _parts(group["workers"]),
            "Versions": _parts(group["versions"]),
        }
    )
    if group["common"]:
        output.title("In common")
        for one in group["common"][:VALUES]:
            output.fields({one["path"]: f"{one['value']!r} in {one['letters']} of {one['of']} looked at"})
    if group["letters"]:
        output.title("The newest letters")
        show_letters(output, group["letters"])
        output.block(group["letters"][0]["error"]["traceback"])


def _state(group: Mapping[str, Any]) -> str:
    said, by = _said(group), f" by {group['by']}, {age(group['at'])} ago" if group["by"] else ""
    times = "once" if group["regressions"] == 1 else f"{group['regressions']} times"
    more = [
        f"in version {group['version']}" if group["version"] else "",
        f"until {moment(group['until'])}" if group["until"] else "",
        f"until its death no. {group['quota'] + 1}" if group["quota"] else "",
        group["note"],
        f"came back {times}, last in {group['regressed_in'] or 'a version that is not known'}, "
        f"{age(group['regressed_at'])} ago" if group["regressions"] else "",
    ]  # fmt: skip
    return f"{said}{by}" + "".join(f"; {part}" for part in more if part)


def _said(group: Mapping[str, Any]) -> str:
    """The state, which is what somebody has said of it; of an open one, what that was before it came back."""
    if group["state"] != "open" or not group["by"]:
        return str(group["state"])
    if group["regressed_at"] > group["at"]:
        return "open; resolved"
    return "open; ignored" if group["until"] or group["quota"] else "open; opened again"


def _parts(counts: Mapping[str, int]) -> str:
    some = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:6])
    return some + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


@click.command(cls=ActingCommand)
@_fingerprint
@option("--in-version", "version", default="", metavar="TEXT", group=_ACTION,
        help="Version of the code that mends it. Deaths in versions that had it before do not count.")  # fmt: skip
@_note
@_json
@click.pass_context
def resolve(ctx: click.Context, fingerprint: str, version: str, note: str, as_json: bool) -> None:
    """Say that a group is mended. When it comes back after that, it is told as a regression.

    Its letters are not touched: replay or discard them.
    """
    _say(ctx, fingerprint, as_json, "resolved", note, version=version)


@click.command(cls=ActingCommand)
@_fingerprint
@option("--for", "seconds", metavar="TIME", group=_ACTION, help="For so long, as 90m, 12h, 7d.")
@option("--count", "more", type=int, metavar="N", group=_ACTION, help="For so many more deaths.")
@_note
@_json
@click.pass_context
def ignore(
    ctx: click.Context, fingerprint: str, seconds: str | None, more: int | None, note: str, as_json: bool
) -> None:
    """Say nothing of a group, for some time, for some deaths, or until it is opened again. Its letters are kept."""
    until = None
    if seconds is not None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", seconds.strip())
        if found is None or not float(found[1]):
            raise click.UsageError(f"--for: expected a time such as 90m, 12h or 7d, got {seconds!r}.")
        until = time.time() + float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]
    if more is not None and more < 1:
        raise click.UsageError(f"--count: expected a whole number from 1, got {more}.")
    _say(ctx, fingerprint, as_json, "ignored", note, until=until, more=more)


@click.command(cls=ActingCommand)
@_fingerprint
@_note
@_json
@click.pass_context
def reopen(ctx: click.Context, fingerprint: str, note: str, as_json: bool) -> None:
    """Take back what was said of a group."""
    _say(ctx, fingerprint, as_json, "reopened", note)


def _say(ctx: click.Context, fingerprint: str, as_json: bool, past: str, note: str, **what: Any) -> None:
    with session(ctx, as_json=as_json) as here:
        letters = here.letters
        acts: dict[str, Callable[..., ErrorGroup]] = {
            "resolved": letters.resolve_group, "ignored": letters.ignore_group, "reopened": letters.reopen_group,
        }  # fmt: skip
        group = acts[past](fingerprint, note=note, via="cli", **what)
        if as_json:
            here.output.document(_shown(here, group))
            return
        here.output.line(f"{group.fingerprint}: {_state(_shown(here, group))}.")
        if past == "resolved" and group.count:
            some = f"Its {group.count} open letters are as they were"
            here.output.note(f"{some}: recovery dlq replay --fingerprint {shlex.quote(group.fingerprint)} --canary")
