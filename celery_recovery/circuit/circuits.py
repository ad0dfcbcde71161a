"""`Circuits`: the circuits of one application, each made when its name first comes up.

Which settings a circuit has, the first that says something wins: the app's `recovery_circuits` by the exact name, then
by a pattern, in the order written; the first task that declares it; `TASK_DEFAULTS`. Two tasks that declare one circuit
differently are warned of: the circuit is one, so only one can be right.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from celery_recovery.audit import Audit, recorded
from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.budget import RetryBudget
from celery_recovery.circuit.machine import Answer, Change, Pace
from celery_recovery.circuit.policy import TASK_DEFAULTS, CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.store import CircuitStore, circuits, states_of
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import StoreUnavailable

__all__ = ("Circuits",)

logger = logging.getLogger("celery_recovery")

#: Circuits that a process keeps at hand: a callable may name one for each of many tenants. What goes is flushed.
MOST = 1000

Listener = Callable[[CircuitBreaker, Change], None]


class Circuits:
    """All circuits of an app. Without a Redis each process has its own."""

    def __init__(
        self,
        client: Any,
        prefix: str,
        policies: Mapping[str, Mapping[str, Any]],
        listener: Listener | None = None,
        audit: Audit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._clock = clock
        self._prefix = prefix
        self._policies = policies
        self._listener = listener
        self._audit = audit
        self._declared: dict[str, tuple[CircuitPolicy, str]] = {}
        self._ahead: set[str] = set()
        self._warned: set[tuple[str, str]] = set()
        self._made: OrderedDict[str, tuple[CircuitBreaker, RetryBudget | None]] = OrderedDict()
        self._lock = threading.Lock()

    # -- what tasks use

    def declare(self, name: str, policy: CircuitPolicy | None, who: str, *, ahead: bool = False) -> None:
        """A task (`who`) wants this circuit to be so. The first wins; one that wants it otherwise is warned of.

        `policy` None: as all are. `ahead`: the task itself names it, and not a callable, which may give any number.
        """
        if ahead:
            self._ahead.add(name)
        if policy is None:
            return
        known, first = self._declared.setdefault(name, (policy, who))
        if known is not policy and known != policy and (name, who) not in self._warned and len(self._warned) < MOST:
            self._warned.add((name, who))
            logger.warning(
                "the circuit %r of the task %s has other settings there than in %s; those of %s count."
                " recovery_circuits is the place for settings that tasks share",
                name, who, first, first, extra={"action": "circuit_differs", "circuit": name},
            )  # fmt: skip

    def get(self, name: str) -> CircuitBreaker:
        """The circuit of this name. Raises `ConfigurationError` for a name that is none."""
        return self._get(name)[0]

    def budget(self, name: str) -> RetryBudget | None:
        """The retry budget of this circuit; None: it has none."""
        return self._get(name)[1]

    def policy(self, name: str) -> CircuitPolicy:
        """The settings that count for this name."""
        own = self._policies.get(name)
        if own is None:
            own = next((found for pattern, found in self._policies.items() if fnmatchcase(name, pattern)), None)
        base = self._declared[name][0] if name in self._declared else TASK_DEFAULTS
        return base if own is None else CircuitPolicy.of(own, f"recovery_circuits[{name!r}]", base)

    @property
    def declared(self) -> list[str]:
        """What tasks and settings name ahead, in order: of those there are few, of what a callable names any number."""
        return sorted({*self._ahead, *self._plain()})

    def is_declared(self, name: str) -> bool:
        """Whether a task or a setting names it ahead."""
        return name in self._ahead or name in self._policies

    def pausing(self) -> dict[str, CircuitBreaker]:
        """Queue -> the circuit that it serves alone, by the policies that name queues (`pauses`)."""
        names = {*self._declared, *self._plain()}
        return {queue: self.get(name) for name in sorted(names) for queue in self.policy(name).pauses}

    def flush(self) -> None:
        """Report what is counted and not yet reported: a process ends."""
        for made in list(self._made.values()):
            _flush(*made)

    # -- what operators use; raises `StoreUnavailable`

    def names(self) -> list[str]:
        """All that were used in the last week, in order."""
        return sorted(circuits(self._redis(), self._prefix))

    def states(self) -> dict[str, CircuitState]:
        """The same with the state of each, a thousand in one round trip."""
        return states_of(self._redis(), self._prefix, self.names())

    def view(self, name: str) -> CircuitView:
        """One circuit, as it is now."""
        return self._store(name).read()

    def set(
        self, name: str, event: CircuitEvent, seconds: float | None = None, *, by: str = "", reason: str = "",
        via: str | None = "code",
    ) -> Answer:  # fmt: skip
        """Do by hand what `event` says. Raises `IllegalTransition`."""
        with recorded(
            self._audit, f"circuit {event.value}", by=by, via=via, target=name, reason=reason, seconds=seconds
        ) as told:
            answer = self._store(name).set(event, seconds, by=by, reason=reason)
            told["outcome"] = answer.state.value
        if self._listener is not None:
            breaker = self.get(name)
            for change in answer.changes:
                self._listener(breaker, change)
        return answer

    def pace(self, name: str, most: int) -> Pace:
        """How many of the tasks that wait for this circuit may go back to their queues now."""
        return self._store(name).pace(most)

    # -- within

    def _plain(self) -> list[str]:
        """Names in the settings that are no patterns."""
        return [name for name in self._policies if not any(mark in name for mark in "*?[")]

    def _get(self, name: str) -> tuple[CircuitBreaker, RetryBudget | None]:
        found = self._made.get(name)
        if found is not None:
            return found
        made = self._make(name)
        with self._lock:
            found = self._made.setdefault(name, made)
            let_go = self._made.popitem(last=False) if len(self._made) > MOST else None
        if let_go is not None:
            self._declared.pop(let_go[0], None)  # who names it again declares it again
            _flush(*let_go[1])
        return found

    def _make(self, name: str) -> tuple[CircuitBreaker, RetryBudget | None]:
        policy = self.policy(name)
        shared: dict[str, Any] = {"redis": self.client, "prefix": self._prefix, "clock": self._clock}
        breaker = CircuitBreaker(name, policy, **shared, on_transition=self._listener)
        if policy.retry_ratio is None:
            return breaker, None
        return breaker, RetryBudget(
            name, ratio=policy.retry_ratio, floor=policy.retry_floor, window=policy.window, freshness=policy.freshness,
            **shared,
        )  # fmt: skip

    def _store(self, name: str) -> CircuitStore:
        return CircuitStore(self._redis(), self._prefix, name, self.policy(name))

    def _redis(self) -> Any:
        if self.client is None:
            raise StoreUnavailable("circuits are shared, and seen, by way of a Redis; none is configured")
        return self.client


def _flush(breaker: CircuitBreaker, budget: RetryBudget | None) -> None:
    breaker.flush()
    if budget is not None:
        budget.flush()
