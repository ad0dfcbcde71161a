"""The states of a circuit and the legal ways between them, as data: Python, Lua and the tests read this one table.

    CLOSED ──too many failed, or slow──► OPEN ──its time is over──► HALF_OPEN ──probes passed──► CLOSED
                                           ▲                            │
                                           └───────probes failed────────┘

A person may force a circuit open, disable it (closed, whatever happens), close it, or reset it, from any state. The
words are resilience4j's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from celery_recovery.exceptions import RecoveryError

__all__ = ("TRANSITIONS", "CircuitEvent", "CircuitState", "IllegalTransition", "after", "as_lua")


class CircuitState(str, enum.Enum):
    """What becomes of a call. The word is what Redis, logs and events carry."""

    CLOSED = "closed"  # calls go through, and are counted
    OPEN = "open"  # calls are refused until its time is over
    HALF_OPEN = "half_open"  # a few calls go through as probes, all others are refused
    FORCED_OPEN = "forced_open"  # calls are refused until a person says otherwise, or the time they gave is over
    DISABLED = "disabled"  # calls go through, and nothing opens it

    def __str__(self) -> str:
        return self.value


class CircuitEvent(str, enum.Enum):
    """What moves a circuit from one state to another: the cause that its history gives."""

    FAILURE_RATE = "failure_rate"  # too large a share of the window failed
    SLOW_CALL_RATE = "slow_call_rate"  # too large a share of the window was slow
    CONSECUTIVE_FAILURES = "consecutive_failures"  # so many failed one after the other
    HOST_QUORUM = "host_quorum"  # it has opened on enough hosts
    WAIT_OVER = "wait_over"  # the time that it was to be open is over
    PROBES_PASSED = "probes_passed"
    PROBES_FAILED = "probes_failed"
    FORCE_OPEN = "force_open"  # a person: refuse all calls
    CLOSE = "close"  # a person: let calls through again
    HALF_OPEN = "half_open"  # a person: probe now
    DISABLE = "disable"  # a person: let calls through, whatever happens
    RESET = "reset"  # a person: as if it had never been used

    def __str__(self) -> str:
        return self.value


class IllegalTransition(RecoveryError):
    """The circuit is not in a state in which that can be done."""


_S, _E = CircuitState, CircuitEvent
_BY_HAND = {_E.FORCE_OPEN: _S.FORCED_OPEN, _E.CLOSE: _S.CLOSED, _E.DISABLE: _S.DISABLED, _E.RESET: _S.CLOSED}

#: From a state, by an event, to a state. What is not in here does not happen.
TRANSITIONS: Mapping[CircuitState, Mapping[CircuitEvent, CircuitState]] = MappingProxyType(
    {
        _S.CLOSED: {
            _E.FAILURE_RATE: _S.OPEN,
            _E.SLOW_CALL_RATE: _S.OPEN,
            _E.CONSECUTIVE_FAILURES: _S.OPEN,
            _E.HOST_QUORUM: _S.OPEN,
            **_BY_HAND,
        },
        _S.OPEN: {_E.WAIT_OVER: _S.HALF_OPEN, _E.HALF_OPEN: _S.HALF_OPEN, **_BY_HAND},
        _S.HALF_OPEN: {
            _E.PROBES_PASSED: _S.CLOSED, _E.PROBES_FAILED: _S.OPEN, _E.HALF_OPEN: _S.HALF_OPEN, **_BY_HAND,
        },
        _S.FORCED_OPEN: {_E.WAIT_OVER: _S.HALF_OPEN, _E.HALF_OPEN: _S.HALF_OPEN, **_BY_HAND},
        _S.DISABLED: {_E.HALF_OPEN: _S.HALF_OPEN, **_BY_HAND},
    }
)  # fmt: skip


def after(state: CircuitState, event: CircuitEvent) -> CircuitState:
    """The state that `event` leads to. Raises `IllegalTransition`, naming both."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        raise IllegalTransition(f"a circuit that is {state} knows no {event}")
    return found


def as_lua() -> str:
    """The same table for the scripts, as `TRANSITIONS[state][event]`."""
    rows = (
        f"{state} = {{{', '.join(f'{event} = {to.value!r}' for event, to in events.items())}}}"
        for state, events in TRANSITIONS.items()
    )
    return f"local TRANSITIONS = {{{', '.join(rows)}}}\n"
