"""What others may listen to: a signal in this process, and an event for whoever watches the cluster.

    from celery_recovery.monitoring.events import circuit_changed

    @circuit_changed.connect
    def alert(sender, circuit, change, **_): ...

The event has the type `recovery-circuit-changed`. It is no `task-…` event: those say something of one task, and a tool
that counts workers by them would take the command line for one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.utils.dispatch import Signal

if TYPE_CHECKING:
    from celery_recovery.circuit.machine import Change

__all__ = ("EVENT", "announce", "circuit_changed")

logger = logging.getLogger("celery_recovery")

#: Sent in the process that brought the transition about: `sender` (the app), `circuit` (its name), `change` (`Change`).
circuit_changed = Signal(name="circuit_changed", providing_args={"circuit", "change"})
#: Type of the event. Its fields: circuit, before, after, cause, generation, scope, detail.
EVENT = "recovery-circuit-changed"


def announce(app: Celery, circuit: str, change: Change) -> None:
    """Send the signal and the event; the circuit has logged it. Never raises: it *has* changed, a task is waiting."""
    before, after, cause = str(change.before), str(change.after), str(change.cause)
    circuit_changed.send_robust(sender=app, circuit=circuit, change=change)
    try:
        _send(app, circuit=circuit, before=before, after=after, cause=cause, generation=change.generation,
              scope=change.scope, detail=dict(change.detail))  # fmt: skip
    except Exception as exc:  # noqa: BLE001  # whatever the broker's client raises: it is only news
        logger.info("the event of it was not sent: %s", exc, extra={"action": "event_not_sent"})


def _send(app: Celery, **fields: Any) -> None:
    """One try, in a connection of its own; an event is not worth waiting for a broker."""
    with app.connection_for_write(connect_timeout=1) as connection, app.events.Dispatcher(connection) as dispatcher:
        dispatcher.send(EVENT, retry=False, **fields)
