"""What the commands for circuits have in common: the session, names and patterns, and how circuits look in a table."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.redact import Redactor
from celery_recovery.text import age, duration

if TYPE_CHECKING:
    from celery_recovery.circuit.circuits import Circuits
    from celery_recovery.circuit.view import CircuitView
    from celery_recovery.recovery import Recovery

__all__ = (
    "Board", "board", "counted_circuits", "is_quiet", "matching", "percent", "probes_in", "show_circuits", "show_open",
    "unknown",
)  # fmt: skip

#: Those that refuse calls come first.
_ORDER = ("open", "forced_open", "half_open", "disabled", "closed")
#: Suspects named in a table.
_MOST_HOSTS = 3
_COLUMNS = (
    Column("NAME", least=12, front=True), Column("STATE"), Column("SINCE", right=True), Column("PROBES IN", right=True),
    Column("CALLS", right=True), Column("FAILED %", right=True), Column("SLOW %", right=True),
    Column("WAITING", right=True), Column("SUSPECT", least=8),
)  # fmt: skip


class Board(NamedTuple):
    """One run of one command."""

    recovery: Recovery
    circuits: Circuits
    output: Output
    #: Hides secrets, the user's own included.
    redact: Redactor

    def waiting(self) -> Mapping[str, int]:
        """Circuit -> parked tasks that wait for it."""
        return self.recovery.parked.stats().by_circuit if self.recovery.parked else {}

    def names(self, waiting: Mapping[str, int]) -> list[str]:
        """All circuits that were used in the last week, or that tasks wait for."""
        return sorted({*self.circuits.names(), *waiting})

    def seen(self, view: CircuitView, waiting: Mapping[str, int]) -> dict[str, Any]:
        """A circuit, JSON-ready, with what is known of it beside Redis' record."""
        document: dict[str, Any] = self.redact(view.to_dict())
        suspects = sorted(view.hosts) if view.state.value == "closed" else []
        return {**document, "name": view.name, "waiting": waiting.get(view.name, 0), "suspects": suspects}

    def all(self, names: Sequence[str], waiting: Mapping[str, int]) -> list[dict[str, Any]]:
        """The circuits of these names without their history, those that refuse calls first."""
        seen = [self.seen(self.circuits.view(name), waiting) for name in names]
        for one in seen:
            del one["history"]
        return sorted(seen, key=_weight)


@contextmanager
def board(ctx: click.Context, *, as_json: bool = False) -> Iterator[Board]:
    """Connect to the store. Raises `ConfigurationError` where none is configured, and `StoreUnavailable`."""
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    recovery.dead_letters.store.ping()  # it says best what is missing
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    try:
        ctx.obj.app.loader.import_default_modules()  # tasks declare circuits, and what settings these have
    except Exception as exc:  # noqa: BLE001  # the user's modules may fail in any way
        output.warn(
            f"The app's task modules cannot be imported: {type(exc).__name__}: {exc}."
            " Settings that tasks give their circuits are not known here."
        )
    yield Board(recovery, recovery.circuits, output, recovery.redact)


def matching(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The known names that are wanted, by name or by pattern; a name that is known is no pattern.

    Raises `CommandFailure` for a name that is not known: of a list with a slip in it, nothing is done.
    """
    from celery_recovery.dead_letters.filter import is_glob

    found: dict[str, None] = {}
    for one in wanted:
        if one in known:
            found[one] = None
        elif is_glob(one):
            found.update(dict.fromkeys(name for name in known if fnmatchcase(name, one)))
        else:
            raise CommandFailure(f"{unknown(known, one)} Nothing was done.", ExitCode.UNKNOWN_ID)
    return list(found)


def unknown(known: Sequence[str], name: str) -> str:
    """The sentence for a name that nobody has used, with the nearest that somebody has."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"There is no circuit {name}." + (f" Did you mean {nearest[0]}?" if nearest else "")


def show_circuits(output: Output, circuits: Sequence[Mapping[str, Any]], indent: int = 0) -> None:
    """One line for each."""
    output.table(_COLUMNS, [_cells(one) for one in circuits], indent=indent)


def show_open(output: Output, circuits: Sequence[Mapping[str, Any]]) -> None:
    """Those that are not simply closed, for a screen that shows other things too."""
    if circuits:
        output.title("Circuits")
        show_circuits(output, circuits, indent=2)


def is_quiet(circuit: Mapping[str, Any]) -> bool:
    """Whether it is closed, for all and on every host: there is nothing to say of it."""
    return circuit["state"] == "closed" and not circuit["suspects"]


def percent(share: float | None) -> str:
    """A share from 0 to 1 as a number of hundredths; `-` without calls."""
    return "-" if share is None else f"{share * 100:.0f}"


def probes_in(circuit: Mapping[str, Any]) -> str:
    """When calls are let through again to see how they fare."""
    if circuit["state"] == "half_open":
        return "probing"
    if circuit["state"] not in ("open", "forced_open"):
        return "-"
    if circuit["until"] is None:
        return "never"
    left = circuit["until"] - time.time()
    return duration(left) if left > 0 else "now"


def counted_circuits(circuits: int) -> str:
    """The number with its noun."""
    return "1 circuit" if circuits == 1 else f"{circuits} circuits"


def _cells(one: Mapping[str, Any]) -> list[str]:
    hosts = one["suspects"]
    more = f" and {len(hosts) - _MOST_HOSTS} more" if len(hosts) > _MOST_HOSTS else ""
    return [
        one["name"], one["state"], age(one["since"]) if one["since"] else "-", probes_in(one), str(one["calls"]),
        percent(one["failure_rate"]), percent(one["slow_call_rate"]), str(one["waiting"] or "-"),
        ", ".join(hosts[:_MOST_HOSTS]) + more,
    ]  # fmt: skip


def _weight(one: Mapping[str, Any]) -> tuple[int, bool, int, str]:
    """Open ones first, then those with a suspect, then by the tasks that wait."""
    return _ORDER.index(one["state"]), not one["suspects"], -one["waiting"], one["name"]
