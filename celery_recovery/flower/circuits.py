"""Circuits: those that refuse calls first, and one of them with its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_recovery.circuit.state import CircuitState
from celery_recovery.flower.access import Page
from celery_recovery.flower.verbs import of_circuit

__all__ = ("PAGES", "waiting_or_not_closed")

#: Circuits on one page, and in the overview. Of the others only the state is asked for.
MOST, FEW = 100, 20
_ORDER = (
    CircuitState.OPEN, CircuitState.FORCED_OPEN, CircuitState.HALF_OPEN, CircuitState.DISABLED, CircuitState.CLOSED,
)  # fmt: skip


def waiting_or_not_closed(page: Page) -> list[dict[str, Any]]:
    """The first of those that are not closed, or have tasks waiting."""
    waiting, states = _waiting(page), page.recovery.circuits.states()
    return _seen(page, {name: one for name, one in states.items() if one is not CircuitState.CLOSED}, waiting, FEW)


def _waiting(page: Page) -> Mapping[str, int]:
    return page.recovery.parked.stats().by_circuit if page.recovery.parked else {}


def _seen(
    page: Page, states: Mapping[str, CircuitState], waiting: Mapping[str, int], most: int
) -> list[dict[str, Any]]:
    """The first of these, and of those that are waited for, as they are now."""
    known = {**dict.fromkeys(waiting, CircuitState.CLOSED), **states}
    names = sorted(known, key=lambda name: (_ORDER.index(known[name]), -waiting.get(name, 0), name))[:most]
    circuits = page.recovery.circuits
    return [{**circuits.view(name).to_dict(), "name": name, "waiting": waiting.get(name, 0)} for name in names]


class Circuits(Page):
    """All circuits."""

    async def get(self) -> None:
        await self.connect()
        self.show("circuits", "circuits", most=MOST, **await self.aside(self._gather))

    def _gather(self) -> dict[str, Any]:
        states = self.recovery.circuits.states()
        return {"circuits": _seen(self, states, _waiting(self), MOST), "count": len(states)}


class Circuit(Page):
    """One circuit and its history."""

    async def get(self) -> None:
        await self.connect()
        name = self.one("name")
        view = await self.aside(self.recovery.circuits.view, name)
        waiting = await self.aside(_waiting, self)
        self.show("circuit", "circuits", circuit={**view.to_dict(), "name": name}, waiting=waiting.get(name, 0),
                  buttons=of_circuit(view.state.value))  # fmt: skip


PAGES = ((r"/circuits", Circuits, "recovery-circuits"), (r"/circuit", Circuit, "recovery-circuit"))
