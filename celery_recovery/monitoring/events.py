"""What others may listen to: a signal in this process, and an event for whoever watches the cluster.

    from celery_recovery.monitoring.events import circuit_changed

    @circuit_changed.connect
    def alert(sender, circuit, change, **_): ...

The events have the types `recovery-circuit-changed` and `recovery-group-changed`. They are no `task-…` events:
those say something of one task, and a tool that counts workers by them would take the command line for one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.utils.dispatch import Signal

from celery_recovery.redact import Redactor

if TYPE_CHECKING:
    from celery_recovery.circuit.machine import Change
    from celery_recovery.dead_letters.letter import Letter

__all__ = ("EVENT", "GROUP_EVENT", "announce", "announce_groups", "circuit_changed", "group_changed")

logger = logging.getLogger("celery_recovery")

#: Sent in the process that brought the transition about: `sender` (the app), `circuit` (its name), `change` (`Change`).
circuit_changed = Signal(name="circuit_changed", providing_args={"circuit", "change"})
#: Type of the event. Its fields: circuit, before, after, cause, generation, scope, detail.
EVENT = "recovery-circuit-changed"

#: Sent in the process that stored the letter: `sender` (the app), `fingerprint`, `news` (`"new"`, `"growing"`,
#: `"regressed"`, `"unignored"`) and the `letter` that made it so.
group_changed = Signal(name="group_changed", providing_args={"fingerprint", "news", "letter"})
#: Type of the event. Its fields: fingerprint, news, task, error_type, exception, letter (its id), code_version.
GROUP_EVENT = "recovery-group-changed"
#: Events of groups that are sent at once; with more than that the cause is one, and the signal tells all.
MOST_AT_ONCE = 20
#: Seconds that somebody waits for an event to be sent.
PATIENCE = 1.0
#: The thread that sends, or has sent, the last ones.
_sending: list[threading.Thread] = []


def announce(app: Celery, circuit: str, change: Change, hide: Redactor | None = None) -> None:
    """Send the signal and the event; the circuit has logged it. Never raises: it *has* changed, a task is waiting.

    The event goes to whoever listens, and is without secrets.
    """
    before, after, cause = str(change.before), str(change.after), str(change.cause)
    circuit_changed.send_robust(sender=app, circuit=circuit, change=change)
    fields = {"circuit": circuit, "before": before, "after": after, "cause": cause, "generation": change.generation,
              "scope": change.scope, "detail": (hide or Redactor())(change.detail)}  # fmt: skip
    _send(app, EVENT, [fields])


def announce_groups(app: Celery, news: Sequence[tuple[Letter, str]]) -> None:
    """Log, and send signal and event, of groups that are new, grow, or have come back. Never raises."""
    told = []
    for letter, word in news:
        fingerprint, error = letter.error.fingerprint, letter.error
        logger.warning(
            "group %s is %s: %s: %s", fingerprint, word, letter.task, error.exception,
            extra={"action": "group_changed", "news": word, "task_id": letter.id, "fingerprint": fingerprint},
        )  # fmt: skip
        group_changed.send_robust(sender=app, fingerprint=fingerprint, news=word, letter=letter)
        told.append(
            {"fingerprint": fingerprint, "news": word, "task": letter.task, "error_type": str(error.error_type),
             "exception": error.exception, "letter": letter.id, "code_version": letter.code_version}
        )  # fmt: skip
    _send(app, GROUP_EVENT, told[:MOST_AT_ONCE])


def _send(app: Celery, kind: str, events: Sequence[dict[str, Any]]) -> None:
    """One try, in a thread of its own; whoever stores a letter, or counts a call, waits `PATIENCE` for it at most.

    A broker in alarm takes the message and never answers. Until such a thread has ended, no other is begun.
    """
    if any(thread.is_alive() for thread in _sending):
        logger.info("the event %s was not sent: the broker does not answer", kind, extra={"action": "event_not_sent"})
        return
    thread = threading.Thread(target=_sent, args=(app, kind, events), name="recovery-event", daemon=True)
    _sending[:] = [thread]
    thread.start()
    thread.join(PATIENCE)


def _sent(app: Celery, kind: str, events: Sequence[dict[str, Any]]) -> None:
    """Send them in a connection of their own; an event is not worth waiting for a broker."""
    try:
        with app.connection_for_write(connect_timeout=1) as connection, app.events.Dispatcher(connection) as dispatcher:
            for fields in events:
                dispatcher.send(kind, retry=False, **fields)
    except Exception as exc:  # noqa: BLE001  # whatever the broker's client raises: it is only news
        logger.info("the event %s was not sent: %s", kind, exc, extra={"action": "event_not_sent"})
