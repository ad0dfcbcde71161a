"""The demo's accounts: they say where every order is that was submitted.

They are put together from four sources that do not know each other: the list of what was submitted, Celery's result
backend, the service's own ledger of effects, and the dead-letter store. What they do not agree on is a problem, and the
demo fails.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orders import Order

__all__ = ("Books", "Submitted", "read_ledger", "read_results")

FINISHED = frozenset({"SUCCESS", "FAILURE", "QUARANTINED"})


@dataclass(frozen=True)
class Submitted:
    """One order that was sent off, and the ids of its tasks."""

    order: Order
    parse: str
    reserve: tuple[str, ...]
    charge: str
    ship: str

    @property
    def ids(self) -> tuple[str, ...]:
        """All its tasks, in order."""
        return (self.parse, *self.reserve, self.charge, self.ship)


@dataclass(frozen=True)
class Effect:
    """One row of the service's ledger."""

    requests: int
    effects: int


Results = Mapping[str, Mapping[str, Any]]  # by task id
Ledger = Mapping[str, Mapping[tuple[str, str], Effect]]  # by order, then path and key


@dataclass
class Books:
    """The end of every order, and what is wrong with the accounts."""

    submitted: int
    ends: dict[str, str] = field(default_factory=dict)  # by order
    problems: list[str] = field(default_factory=list)
    retried: int = 0
    twice: int = 0
    asked_again: int = 0

    @classmethod
    def balance(
        cls,
        submitted: Iterable[Submitted],
        results: Results,
        ledger: Ledger,
        letters: Mapping[str, str],
        before: Books | None = None,
    ) -> Books:
        """Find each order's end. `letters` gives the error type of each waiting letter by task id."""
        known = list(submitted)
        books = cls(len(known))
        earlier = before.ends if before else {}
        for one in known:
            books._enter(one, results, ledger.get(one.order.id, {}), letters, earlier.get(one.order.id, ""))
        strangers = letters.keys() - {task_id for one in known for task_id in one.ids}
        books.problems += [f"letter {task_id} belongs to nothing that was submitted" for task_id in sorted(strangers)]
        return books

    def count(self, prefix: str) -> int:
        """How many orders have an end that starts so."""
        return sum(end.startswith(prefix) for end in self.ends.values())

    def dead_by_type(self) -> Counter[str]:
        """Dead-lettered orders by error type."""
        return Counter(end.removeprefix("dead ") for end in self.ends.values() if end.startswith("dead "))

    @property
    def balanced(self) -> bool:
        """True if every order has exactly one end and the four sources agree."""
        return not self.problems and not self.count("open") and len(self.ends) == self.submitted

    def _enter(
        self,
        one: Submitted,
        results: Results,
        effects: Mapping[tuple[str, str], Effect],
        letters: Mapping[str, str],
        earlier: str,
    ) -> None:
        order_id = one.order.id
        shipped = results.get(one.ship, {}).get("status") == "SUCCESS"
        waiting = [task_id for task_id in one.ids if task_id in letters]
        retries = sum(results.get(task_id, {}).get("retries") or 0 for task_id in one.ids)
        if shipped and waiting:
            self.problems.append(f"{order_id} is shipped and has a dead letter, too")
        self.ends[order_id] = self._end(shipped, [letters[task_id] for task_id in waiting], retries, earlier)
        self.retried += retries
        self._check_effects(one, effects, shipped)

    @staticmethod
    def _end(shipped: bool, waiting: list[str], retries: int, earlier: str) -> str:
        if waiting:
            return f"dead {waiting[0]}"
        if not shipped:
            return "open"
        if earlier.startswith("dead"):
            return "replayed"
        return earlier or ("recovered" if retries else "first try")

    def _check_effects(self, one: Submitted, effects: Mapping[tuple[str, str], Effect], shipped: bool) -> None:
        done = Counter(path for (path, _), effect in effects.items() for _ in range(effect.effects))
        due = {"/stock": one.order.lines, "/payments": 1, "/shipments": 1}
        for path, number in due.items():
            if shipped and done[path] < number:
                self.problems.append(f"{one.order.id} counts as shipped; {done[path]} of {number} {path} took place")
        self.twice += sum(effect.effects > 1 for effect in effects.values())
        self.asked_again += sum(effect.requests > 1 for effect in effects.values())


def read_results(backend: Any, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What Celery's result backend has about these tasks, by id; nothing for those that have not ended."""
    wanted = list(ids)
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(wanted), 1000):
        chunk = wanted[start : start + 1000]
        stored = backend.mget([backend.get_key_for_task(task_id) for task_id in chunk])
        found.update({task_id: backend.decode(raw) for task_id, raw in zip(chunk, stored, strict=True) if raw})
    return found


def read_ledger(path: Path) -> dict[str, dict[tuple[str, str], Effect]]:
    """The service's own account of what took place, by order."""
    by_order: dict[str, dict[tuple[str, str], Effect]] = defaultdict(dict)
    link = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    for where, key, order_id, requests, effects in link.execute("SELECT * FROM effect"):
        by_order[order_id][where, key] = Effect(requests, effects)
    link.close()
    return by_order
