"""`Alerts`: what happens in this process, told to the outbox as far as a sink wants to hear of it.

It is told once the thing itself is in the store, at once, and with one round trip for all. A process that is killed in
between tells nobody; groups, circuits and operations are there all the same, and shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery_recovery.circuit.state import CircuitState
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring.alerts.alert import SAMPLES
from celery_recovery.monitoring.alerts.outbox import Outbox
from celery_recovery.monitoring.alerts.sink import Pace, Sink
from celery_recovery.operations.operation import OperationState
from celery_recovery.redact import Redactor
from celery_recovery.text import cut, visible

if TYPE_CHECKING:
    from celery_recovery.circuit.machine import Change
    from celery_recovery.dead_letters.letter import Letter
    from celery_recovery.monitoring.stats import Rate, SuccessRateMonitor
    from celery_recovery.operations.operation import Operation

__all__ = ("Alerts",)

logger = logging.getLogger("celery_recovery")

#: Characters of one text, and tasks that a flood names.
_TEXT, _TASKS = 300, 5
#: A happening, and the task that it belongs to.
Told = tuple[str, Mapping[str, Any]]


class Alerts:
    """Of one app. Nothing here raises: what has happened *has* happened, and a task may be waiting."""

    def __init__(self, outbox: Outbox, sinks: Sequence[Sink], hide: Redactor, flood: Pace | None) -> None:
        self.outbox = outbox
        self.sinks = tuple(sinks)
        self.hide = hide
        #: So many dead letters in so many seconds are one; None: none is.
        self.flood = flood

    # -- what happens

    def groups(self, news: Sequence[tuple[Letter, str]]) -> None:
        """Groups of letters are new, grow, or have come back."""
        by_event: dict[str, list[Told]] = {}
        for letter, word in news:
            by_event.setdefault(f"group_{word}", []).append((letter.task, _of_letter(letter)))
        for event, told in by_event.items():
            self.tell(event, told)

    def circuit(self, name: str, change: Change) -> None:
        """A circuit went into another state; that of one host is not the circuit."""
        event = "" if change.scope else _of_change(change)
        if event:
            told = {"circuit": name, "before": change.before.value, "after": change.after.value,
                    "cause": change.cause.value, "at": time.time(), **_figures(change.detail)}  # fmt: skip
            self.tell(event, [("", told)])

    def operation(self, operation: Operation, by_itself: bool) -> None:
        """An operation on many letters came to an end, or a rest."""
        event = _of_operation(operation) if by_itself or operation.state is OperationState.DONE else ""
        if event:
            names = ("kind", "by", "reason", "selected", "done", "message")
            told = {"operation": operation.id, **{name: getattr(operation, name) for name in names},
                    "state": operation.state.value, "recovered": operation.outcomes.recovered,
                    "died": operation.outcomes.died, "at": time.time()}  # fmt: skip
            self.tell(event, [("", told)])

    def poison(self, task: str, task_id: str, **known: Any) -> None:
        """A task has crashed its worker too often."""
        self.tell("poison", [(task, {"task": task, "id": task_id, "at": time.time(), **known})])

    def look_for_floods(self, stats: SuccessRateMonitor) -> None:
        """Count the dead letters of the last minutes. Raises `StoreUnavailable`."""
        flood = self.flood
        if flood is None or not any("dead_letter_flood" in sink.on for sink in self.sinks):
            return
        rates = stats.rates(time.time() - flood.seconds)
        for sink in self.sinks:
            if "dead_letter_flood" in sink.on:
                self._tell_flood(sink, flood, [rate for rate in rates if sink.wants("dead_letter_flood", rate.task)])

    def _tell_flood(self, sink: Sink, flood: Pace, rates: Sequence[Rate]) -> None:
        count, mark = sum(rate.dead_lettered for rate in rates), f"flood:{sink.id}"
        if count < flood.most or self.outbox.was_asked(mark):
            return
        tasks: dict[str, int] = {}
        for rate in sorted(rates, key=lambda rate: -rate.dead_lettered):
            if rate.dead_lettered and (rate.task in tasks or len(tasks) < _TASKS):
                tasks[rate.task] = tasks.get(rate.task, 0) + rate.dead_lettered
        told = {"letters": count, "minutes": round(flood.seconds / 60, 1), "by_task": tasks, "at": time.time()}
        self.outbox.add([(sink, [self._safe(told)], 1)], "dead_letter_flood")
        self.outbox.first_in(flood.seconds, mark)  # behind it: whoever dies in between tells it twice, not never

    # -- within

    def tell(self, event: str, told: Sequence[Told]) -> None:
        """Write it down for those who want to hear of it."""
        try:
            wanted = [(sink, self._samples(found), len(found)) for sink in self.sinks
                      if (found := [one for task, one in told if sink.wants(event, task)])]  # fmt: skip
            if wanted:
                self.outbox.add(wanted, event)
        except StoreUnavailable as exc:
            logger.warning(
                "an alert was not written down, and will not be sent: %s: %s", event, exc,
                extra={"action": "alert_not_written", "event": event},
            )  # fmt: skip
        except Exception:
            logger.exception("an alert was not written down", extra={"action": "alert_not_written", "event": event})

    def _samples(self, found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [self._safe(one) for one in found[:SAMPLES]]

    def _safe(self, told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without secrets, control characters, and long texts."""
        hidden: dict[str, Any] = self.hide(dict(told))
        return {name: cut(visible(value), _TEXT) if isinstance(value, str) else value for name, value in hidden.items()}


def _of_letter(letter: Letter) -> dict[str, Any]:
    error = letter.error
    return {
        "task": letter.task, "id": letter.id, "fingerprint": error.fingerprint, "error_type": error.error_type.value,
        "exception": error.exception, "message": error.message[:_TEXT * 4], "reason": letter.reason,
        "code_version": letter.code_version, "at": letter.died_at,
    }  # fmt: skip


def _of_change(change: Change) -> str:
    """What a transition is to people: that a probe failed, or that somebody forced it, is no news."""
    if change.before is CircuitState.CLOSED and change.after is CircuitState.OPEN:
        return "circuit_open"
    refused = (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.FORCED_OPEN)
    return "circuit_closed" if change.after is CircuitState.CLOSED and change.before in refused else ""


def _figures(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: detail[name] for name in ("calls", "failed", "slow") if name in detail}


def _of_operation(operation: Operation) -> str:
    if operation.state is OperationState.DONE:
        return "operation_done"
    if operation.state is OperationState.STOPPED:
        return "operation_stopped"
    if operation.state is OperationState.PAUSED:
        return "operation_failed" if operation.message.startswith("interrupted: ") else "operation_stopped"
    return ""
