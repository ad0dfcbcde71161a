"""`recovery circuits open`, `close` and `reset`: what a person says counts more than what the calls say."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.circuit.machine import DOUBLING
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.cli.acting import ACTION
from celery_recovery.cli.circuits_board import Board, board, counted_circuits, matching, show_circuits
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.text import duration, visible

if TYPE_CHECKING:
    from celery_recovery.circuit.policy import CircuitPolicy

__all__ = ("close", "open_circuits", "reset")

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 365 * 86400.0
_TASKS = {"park": "its tasks are parked", "fail": "its tasks fail", "dead_letter": "its tasks become dead letters"}


@dataclass(frozen=True)
class _Verb:
    """What is to be done, and in words."""

    name: str
    past: str
    event: CircuitEvent
    #: A circuit that is in this state already, for all and on every host, is passed over; None: none is.
    already: CircuitState | None = None


_OPEN = _Verb("open", "forced open", CircuitEvent.FORCE_OPEN)
_CLOSE = _Verb("close", "closed", CircuitEvent.CLOSE, CircuitState.CLOSED)
_DISABLE = _Verb("disable", "disabled", CircuitEvent.DISABLE, CircuitState.DISABLED)
_RESET = _Verb("reset", "reset", CircuitEvent.RESET)


class _Asked(NamedTuple):
    """The options that all of them have."""

    names: tuple[str, ...]
    reason: str
    everything: bool
    unused: bool
    dry_run: bool
    yes: bool
    as_json: bool
    #: How long, for `open`; None: until somebody says otherwise.
    seconds: float | None = None


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that all of them have."""
    for add in (
        option("--json", "as_json", is_flag=True, group="Output", help="The result as one JSON document."),
        option("-y", "--yes", is_flag=True, group=ACTION, help="Do not ask."),
        option("--dry-run", is_flag=True, group=ACTION, help="Only show what would be done."),
        option("--unused", is_flag=True, group=ACTION, help="A NAME may be one that no worker has used yet."),
        option("--all", "everything", is_flag=True, group=ACTION, help="All circuits are meant."),
        option("--reason", default="", metavar="TEXT", group=ACTION,
               help="Stands in the history, for whoever asks why."),
        click.argument("names", nargs=-1, metavar="[NAME]..."),
    ):  # fmt: skip
        command = add(command)
    return command


def _seconds(ctx: click.Context, parameter: click.Parameter, given: str | None) -> float | None:  # noqa: ARG001
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", given.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise click.BadParameter(f"expected a time such as 90s, 10m, 2h or 1d, up to a year, got {given!r}.")
    return seconds


@click.command(name="open", cls=ActingCommand)
@_acting
@option("--for", "seconds", metavar="TIME", callback=_seconds, group=ACTION,
        help="For so long, as 90s, 10m, 2h; then it is probed. Default: until it is closed or reset.")  # fmt: skip
@click.pass_context
def open_circuits(ctx: click.Context, /, **options: Any) -> None:
    """Force circuits open: no calls go through. For maintenance, or when you know more than the figures say.

    In a NAME * and ? match.
    """
    _run(ctx, _OPEN, _Asked(**options))


@click.command(cls=ActingCommand)
@_acting
@option(
    "--disable", is_flag=True, group=ACTION, help="Force closed: nothing opens them until they are closed or reset."
)
@click.pass_context
def close(ctx: click.Context, /, disable: bool, **options: Any) -> None:
    """Close circuits: calls go through and are counted, and parked tasks come back at a growing pace.

    In a NAME * and ? match.
    """
    _run(ctx, _DISABLE if disable else _CLOSE, _Asked(**options))


@click.command(cls=ActingCommand)
@_acting
@click.pass_context
def reset(ctx: click.Context, /, **options: Any) -> None:
    """Make circuits closed and as if never used: counts, openings and the rate before the last one are forgotten.

    In a NAME * and ? match.
    """
    _run(ctx, _RESET, _Asked(**options))


def _run(ctx: click.Context, verb: _Verb, asked: _Asked) -> None:
    """Choose, show, ask, and act on one after the other."""
    if not asked.names and not asked.everything:
        raise click.UsageError(
            f"{verb.name} needs names. To {verb.name} all circuits: --all (--dry-run shows which they are)."
        )
    with board(ctx, as_json=asked.as_json) as here:
        found = _chosen(here, asked)
        due = [one for one in found if not _already(verb, one)]
        past = [one["name"] for one in found if _already(verb, one)]
        if due and (asked.dry_run or not asked.yes):
            show_circuits(here.output, due)
        if due and not asked.dry_run:
            _confirm(verb, due, asked)
        done, stopped = _act(here, verb, due, asked)
        if asked.as_json:
            here.output.document(
                {"dry_run": asked.dry_run, "selected": len(due), "done": 0 if asked.dry_run else len(done),
                 "circuits": done, "passed_over": past, "stopped": stopped}
            )  # fmt: skip
        _exit(ctx, here, verb, asked, len(due), past, stopped)


def _chosen(here: Board, asked: _Asked) -> list[dict[str, Any]]:
    waiting = here.waiting()
    known = here.names(waiting)
    if asked.unused:
        known = sorted({*known, *(name for name in asked.names if not any(mark in name for mark in "*?["))})
    return here.all(known if asked.everything else matching(known, asked.names), waiting)


def _already(verb: _Verb, one: Mapping[str, Any]) -> bool:
    return verb.already is not None and one["state"] == verb.already.value and not one["suspects"]


def _confirm(verb: _Verb, due: Sequence[Mapping[str, Any]], asked: _Asked) -> None:
    if asked.yes:
        return
    if not sys.stdin.isatty():
        raise CommandFailure(f"Nobody to ask: say --yes to {verb.name} without a question.", ExitCode.USAGE)
    if not click.confirm(f"{verb.name.capitalize()} {counted_circuits(len(due))}?", err=True):
        raise CommandFailure("Nothing was done.", ExitCode.DECLINED)


def _act(here: Board, verb: _Verb, due: Sequence[Mapping[str, Any]], asked: _Asked) -> tuple[list[dict[str, Any]], str]:
    """Those that were done, each with what follows; and why the others were not."""
    from celery_recovery.audit import who

    done: list[dict[str, Any]] = []
    would = "would be " if asked.dry_run else ""
    for one in due:
        after = None
        try:
            if not asked.dry_run:
                answer = here.circuits.set(
                    one["name"], verb.event, asked.seconds, by=who(), reason=asked.reason, via="cli"
                )
                after = answer.state.value
        except StoreUnavailable as exc:
            return done, str(exc)
        follows = _follows(verb, one, here.circuits.policy(one["name"]).as_known(one["settings"]), asked.seconds)
        done.append({"name": one["name"], "before": one["state"], "after": after, **follows})
        here.output.line(f"{visible(one['name'])}: {would}{verb.past}; {follows['follows']}.")
    return done, ""


def _follows(verb: _Verb, one: Mapping[str, Any], policy: CircuitPolicy, seconds: float | None) -> dict[str, Any]:
    """What becomes of calls and of parked tasks, in a sentence and in figures."""
    if verb.event is CircuitEvent.FORCE_OPEN:
        until = "until somebody closes or resets it" if seconds is None else f"for {duration(seconds)}, then probed"
        waiting = f", {one['waiting']} wait already" if one["waiting"] else ""
        return {"waiting": one["waiting"], "follows": f"calls are refused {until}; {_TASKS[policy.on_open]}{waiting}"}
    steady = 0.0 if verb.event is CircuitEvent.RESET else one["steady"]
    first, top = policy.first_rate(steady), policy.top_rate(steady)
    calls = "calls go through, and nothing opens it; " if verb.event is CircuitEvent.DISABLE else ""
    figures = {"waiting": one["waiting"], "first_rate": first, "top_rate": top}
    return {**figures, "follows": calls + _returns(one["waiting"], first, top)}


def _returns(waiting: int, first: float, top: float) -> str:
    if not waiting:
        return "no task waits for it"
    tasks = "the task that waits returns" if waiting == 1 else f"the {waiting} tasks that wait return"
    growing = f", growing to {top:.3g}" if top > first else ""
    return (
        f"{tasks}, {first:.3g} per second at first{growing}, all within about {duration(_lasting(waiting, first, top))}"
    )


def _lasting(waiting: int, first: float, top: float) -> float:
    """Seconds until so many have returned, at a rate that doubles every `DOUBLING` seconds up to `top`."""
    growing = DOUBLING * (top - first) / math.log(2)  # tasks that return while it grows
    if waiting <= growing:
        return DOUBLING * math.log2(1 + waiting * math.log(2) / (DOUBLING * first))
    return DOUBLING * math.log2(top / first) + (waiting - growing) / top


def _exit(
    ctx: click.Context, here: Board, verb: _Verb, asked: _Asked, due: int, past: Sequence[str], stopped: str
) -> None:
    """End with the code that fits."""
    if stopped:
        raise CommandFailure(f"Redis is away: {stopped.rstrip('.')}. The other circuits are as before.", ExitCode.AWAY)
    named = [name for name in past if name in asked.names]
    if named:
        here.output.warn(f"Already {verb.past}: {', '.join(named)}.")
    if not due and asked.everything:
        here.output.note("There is nothing to do.")
    elif not due:
        sentence = f"{counted_circuits(len(past))} {verb.past} already." if past else "No circuit matches."
        raise CommandFailure(f"{sentence} Nothing was done.", ExitCode.NOTHING)
    elif named and not asked.dry_run:
        ctx.exit(int(ExitCode.IN_PART))
