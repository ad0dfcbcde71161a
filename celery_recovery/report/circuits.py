"""When circuits were not closed, from the transitions that Redis remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from celery_recovery.circuit.circuits import Circuits
from celery_recovery.circuit.machine import HISTORY_LIMIT
from celery_recovery.circuit.state import CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.report.sections import Circuit, Interval
from celery_recovery.report.tally import Tallies

__all__ = ("circuit_of", "circuits_of", "intervals")

#: Circuits that are looked at, and that are told of.
LOOKED_AT, MOST_CIRCUITS = 200, 30
#: Those that refuse calls first.
_ORDER = ("open", "forced_open", "half_open", "disabled", "closed")
_CLOSED, _OPEN = CircuitState.CLOSED, (CircuitState.OPEN, CircuitState.FORCED_OPEN)


class _Span(NamedTuple):
    """A time in one state."""

    begin: float
    end: float
    state: CircuitState
    cause: str = ""


def circuits_of(
    circuits: Circuits, tallies: Tallies, waiting: Mapping[str, int], since: float, until: float
) -> tuple[tuple[Circuit, ...], list[str]]:
    """Those that were not closed all the time, or for which tasks wait; and in sentences what was left out.

    `waiting`: circuit -> parked tasks. A callable may name one for each of many tenants, so not all are looked at.
    """
    opened = Counter(dict.fromkeys((*circuits.names(), *waiting), 0))
    for (name, state), count in tallies.circuits.items():
        opened[name] += count if state in _OPEN else 0
    names = sorted(opened, key=lambda name: (-opened[name], -waiting.get(name, 0), name))
    found = [
        circuit_of(
            circuits.view(name), since, until,
            waiting=waiting.get(name, 0), parked=tallies.parked[name], opened=opened[name],
        )
        for name in names[:LOOKED_AT]
    ]  # fmt: skip
    told = [one for one in found if one.intervals or one.openings or one.waiting or one.state != "closed"]
    told.sort(key=lambda one: (_ORDER.index(one.state), -one.open_seconds, -one.openings, one.name))
    notes = []
    if len(names) > LOOKED_AT:
        notes.append(f"Of {len(names):,} circuits only the {LOOKED_AT} that opened most were looked at.")
    if len(told) > MOST_CIRCUITS:
        notes.append(f"{len(told) - MOST_CIRCUITS} more circuits were not closed all the time.")
    return tuple(told[:MOST_CIRCUITS]), notes


def circuit_of(
    view: CircuitView, since: float, until: float, *, waiting: int = 0, parked: int = 0, opened: int = 0
) -> Circuit:
    """One circuit in the period. `opened`: transitions into an open state that were counted, remembered or not."""
    within = [one for one in view.history if not one.scope and since <= one.at <= until and one.after in _OPEN]
    found = intervals(view, since, until)
    return Circuit(
        name=view.name,
        state=view.state.value,
        since=view.since,
        waiting=waiting,
        parked=parked,
        openings=max(len(within), opened),
        from_closed=sum(one.before is _CLOSED for one in within),
        open_seconds=_seconds(found, ("open", "forced_open")),
        probing_seconds=_seconds(found, ("half_open",)),
        intervals=found,
        known_since=view.history[-1].at if _is_cut(view) and view.history[-1].at > since else None,
        settings=dict(view.settings),
    )


def intervals(view: CircuitView, since: float, until: float) -> tuple[Interval, ...]:
    """The times within the period in which it was not closed, the oldest first."""
    return tuple(
        Interval(
            begin=max(span.begin, since),
            end=min(span.end, until),
            state=span.state.value,
            cause=span.cause,
            cut=span.begin < since,
        )
        for span in _spans(view, until)
        if span.state is not _CLOSED and span.begin < until and span.end > max(since, span.begin)
    )


def _spans(view: CircuitView, until: float) -> Iterable[_Span]:
    """All that is known of its life. Transitions of single hosts say nothing of it."""
    changes = [one for one in reversed(view.history) if not one.scope]
    if not changes:  # forgotten, a week after the last
        yield _Span(view.since, until, view.state)
        return
    if not _is_cut(view):  # else it may have been in any state before that
        yield _Span(float("-inf"), changes[0].at, changes[0].before)
    for one, following in zip(changes, [*changes[1:], None], strict=True):
        end = following.at if following is not None else max(until, one.at)
        yield _Span(one.at, end, one.after, one.cause.value)


def _is_cut(view: CircuitView) -> bool:
    """Redis keeps so many transitions."""
    return len(view.history) >= HISTORY_LIMIT


def _seconds(found: Iterable[Interval], states: Sequence[str]) -> float:
    return sum(one.end - one.begin for one in found if one.state in states)
