"""`CircuitView`: all that can be seen of one circuit, for people, pages and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_recovery.circuit.machine import Change
from celery_recovery.circuit.state import CircuitState

__all__ = ("CircuitView",)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitView:
    """One circuit at one moment. Times are unix seconds of the Redis server, rates calls per second."""

    name: str
    state: CircuitState
    generation: int
    #: When it came into this state; 0.0: it was never used.
    since: float
    #: When its time is over; None: it has none.
    until: float | None
    #: Openings since it was closed last.
    openings: int
    #: In the window, or of the probes while half open.
    calls: int
    failed: int
    slow: int
    #: Failures since the last success.
    row: int
    #: Places for probes that are held.
    probing: int
    #: Calls per second before it opened last; 0.0: it never has.
    steady: float
    #: Tasks per second that return at present; None: none do.
    returning: float | None
    #: Host -> state of its own circuit, where that is not closed (with `host_quorum`). Alone, it is the suspect.
    hosts: Mapping[str, CircuitState] = field(default_factory=dict)
    #: The latest first.
    history: tuple[Change, ...] = ()
    #: The settings that its calls named last: numbers of `CircuitPolicy`, 0.0 for None; empty: of this process's own.
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def failure_rate(self) -> float | None:
        """Share of failed calls; None without calls."""
        return self.failed / self.calls if self.calls else None

    @property
    def slow_call_rate(self) -> float | None:
        """Share of slow calls; None without calls."""
        return self.slow / self.calls if self.calls else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("hosts", "history", "settings", "state")
        }
        return {
            **plain,
            "state": self.state.value,
            "failure_rate": self.failure_rate,
            "slow_call_rate": self.slow_call_rate,
            "settings": dict(self.settings),
            "hosts": {host: state.value for host, state in self.hosts.items()},
            "history": [
                {"at": one.at, "before": one.before.value, "after": one.after.value, "cause": one.cause.value,
                 "generation": one.generation, "scope": one.scope, **one.detail}
                for one in self.history
            ],
        }  # fmt: skip
