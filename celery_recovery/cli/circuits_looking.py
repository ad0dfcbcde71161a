"""`recovery circuits list` and `show`: they change nothing."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.circuit.state import CircuitState
from celery_recovery.cli.circuits_board import Board, board, matching, percent, probes_in, show_circuits, unknown
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.text import age, moment

if TYPE_CHECKING:
    from celery_recovery.circuit.policy import CircuitPolicy

__all__ = ("list_circuits", "show")

_OUTPUT = "Output"
#: Lines of a list, unless all are asked for.
MOST = 50
_STATES = click.Choice([state.value for state in CircuitState])
_HISTORY = (Column("AT"), Column("FROM"), Column("TO"), Column("CAUSE"), Column("HOST"), Column("WHY", least=20))
_json = option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")


@click.command(name="list", cls=RecoveryCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@option("--state", "states", multiple=True, type=_STATES, group="Filter", help="In this state. Repeatable.")
@option("--all", "everything", is_flag=True, group=_OUTPUT, help=f"All of them, not only the first {MOST}.")
@_json
@click.pass_context
def list_circuits(
    ctx: click.Context, names: tuple[str, ...], states: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """List circuits that were used in the last week, the open ones first.

    In a NAME * and ? match. Exit code 1 when names or states match nothing.
    """
    with board(ctx, as_json=as_json) as here:
        found = _found(here, names, states)
        shown = found if everything else found[:MOST]
        if as_json:
            here.output.document({"circuits": shown, "more": len(found) - len(shown)})
        elif shown:
            show_circuits(here.output, shown)
            if len(shown) < len(found):
                here.output.line(f"… and {len(found) - len(shown)} more (--all)")
        if not found and (names or states):
            raise CommandFailure("No circuit matches.", ExitCode.NOTHING)
        if not found:
            here.output.note("No circuit was used in the last week.")


def _found(here: Board, names: Sequence[str], states: Sequence[str]) -> list[dict[str, Any]]:
    waiting = here.waiting()
    known = here.names(waiting)
    found = here.all(matching(known, names) if names else known, waiting)
    return [one for one in found if not states or one["state"] in states]


@click.command(cls=RecoveryCommand)
@click.argument("name", metavar="NAME")
@_json
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one circuit in full: state, figures, hosts, the settings in force, and every transition with its cause.

    Exit code 4 when nobody has used it.
    """
    with board(ctx, as_json=as_json) as here:
        waiting = here.waiting()
        known = here.names(waiting)
        if name not in known:
            raise CommandFailure(unknown(known, name), ExitCode.UNKNOWN_ID)
        view = here.circuits.view(name)
        seen = here.seen(view, waiting)
        seen["policy"] = _plain(here.circuits.policy(name).as_known(view.settings))
        if as_json:
            here.output.document(seen)
        else:
            _show(here.output, seen)


def _plain(policy: CircuitPolicy) -> dict[str, Any]:
    """The settings, JSON-ready."""
    return {item.name: _json_ready(getattr(policy, item.name)) for item in fields(policy)}


def _json_ready(value: Any) -> Any:
    if isinstance(value, (frozenset, tuple)):
        return sorted(one.value if isinstance(one, enum.Enum) else str(one) for one in value)
    return value


def _show(output: Output, seen: Mapping[str, Any]) -> None:
    output.heading(seen["name"])
    output.fields(_state(seen))
    if seen["hosts"]:
        output.title("Hosts where it is not closed")
        output.fields(seen["hosts"])
    output.title("Settings")
    output.fields({name: _setting(value) for name, value in seen["policy"].items()})
    if seen["history"]:
        output.title("Transitions, the latest first")
        output.table(_HISTORY, [_transition(one) for one in seen["history"]], indent=2)


def _state(seen: Mapping[str, Any]) -> dict[str, str]:
    since = f", since {moment(seen['since'])} UTC ({age(seen['since'])} ago)" if seen["since"] else ", never used"
    probes = probes_in(seen)
    counted = "probes" if seen["state"] == "half_open" else "calls in the window"
    return {
        "state": seen["state"] + since,
        "probes in": "" if probes in ("-", "probing") else probes,
        counted: f"{seen['calls']}, {seen['failed']} failed ({percent(seen['failure_rate'])} %),"
        f" {seen['slow']} slow ({percent(seen['slow_call_rate'])} %)",
        "probing now": str(seen["probing"] or ""),
        "failures in a row": str(seen["row"] or ""),
        "openings": f"{seen['openings']} since it was closed last" if seen["openings"] else "",
        "rate before": f"{seen['steady']:g} calls per second, before it opened last" if seen["steady"] else "",
        "waiting": f"{seen['waiting']} parked tasks" if seen["waiting"] else "",
        "returning": f"{seen['returning']:.3g} tasks per second" if seen["returning"] and seen["waiting"] else "",
        "generation": str(seen["generation"]),
    }


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) or "-" if isinstance(value, list) else "-" if value is None else str(value)


def _transition(one: Mapping[str, Any]) -> list[str]:
    return [moment(one["at"]), one["before"], one["after"], one["cause"], one["scope"] or "-", _why(one)]


def _why(one: Mapping[str, Any]) -> str:
    """The figures behind a transition, or who wanted it and why."""
    told = []
    if one.get("calls") is not None:
        told.append(f"of {one['calls']} calls {one.get('failed', 0)} failed, {one.get('slow', 0)} slow")
    if one.get("by"):
        told.append(f"by {one['by']}")
    if one.get("reason"):
        told.append(str(one["reason"]))
    return ": ".join(told)
