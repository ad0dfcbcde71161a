"""Every worker sends alerts: a thread for each sink, so that one that fails or hangs holds up no other, and no task.

A lease gives each alert to one worker; it is written down before, and sent again if that worker is killed.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

from celery_recovery.errors.reading import text_of
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring.alerts.alerts import Alerts
from celery_recovery.monitoring.alerts.outbox import Delivery
from celery_recovery.monitoring.alerts.sending import Sends, sender
from celery_recovery.monitoring.alerts.sink import Sink
from celery_recovery.monitoring.alerts.wrong import NotSent
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.recovery import Recovery
from celery_recovery.text import cut, visible
from celery_recovery.worker.step import RecoveryStep

__all__ = ("Alerter", "AlertingStep")

logger = logging.getLogger("celery_recovery")

#: Seconds between two looks for what is due, on average; and while something is wrong.
INTERVAL, PAUSE = 2.0, 15.0
#: Seconds between two looks for a flood, by one of all workers.
FLOOD_LOOK = 30.0
#: Tries before an alert is given up: about an hour and a half.
MOST_TRIES = 12
#: Seconds before the second try, doubled at each further one up to the longest; the longest that a sink may ask for.
FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 5.0, 900.0, 3600.0
_ERROR = 300


class Alerter:
    """The threads that send while a worker lives."""

    def __init__(self, alerts: Alerts, senders: Sequence[tuple[Sink, Sends]], stats: SuccessRateMonitor) -> None:
        self.alerts = alerts
        self.stats = stats
        self._senders = tuple(senders)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._random = random.SystemRandom()

    def start(self) -> None:
        """Begin, in daemon threads."""
        for sink, send in self._senders:
            self._begin(f"recovery-alerts-{sink.id}", lambda sink=sink, send=send: self.turn(sink, send))
        if self.alerts.flood is not None:
            self._begin("recovery-alerts-flood", self._look)

    def stop(self, timeout: float = 5.0) -> None:
        """Ask them to end, and wait up to `timeout` seconds; what is being sent then, the next worker sends."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout / max(len(self._threads), 1))

    def _begin(self, name: str, turn: Any) -> None:
        thread = threading.Thread(target=self._work, args=(turn,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, turn: Any) -> None:
        """Take turns until stopped. Nothing ends it but that."""
        while not self._stopped.is_set():
            try:
                pause = turn()
            except StoreUnavailable:
                pause = PAUSE
            except Exception:  # it must outlive anything; what is written down stays
                logger.exception("sending alerts starts again", extra={"action": "alerts_restart"})
                pause = PAUSE
            self._stopped.wait(self._random.uniform(0.5, 1.5) * pause)

    def turn(self, sink: Sink, send: Sends) -> float:
        """Send all that is due to one sink; returns the seconds until the next look. Raises `StoreUnavailable`."""
        while not self._stopped.is_set():
            delivery = self.alerts.outbox.take(sink)
            if delivery is None:
                break
            if delivery.alert.tries > MOST_TRIES:  # nobody has told how the last ones ended: they may kill workers
                self._failed(sink, delivery, NotSent("whoever tried to send it was not heard of again"))
            else:
                self._deliver(sink, send, delivery)
        return INTERVAL

    def _deliver(self, sink: Sink, send: Sends, delivery: Delivery) -> None:
        alert = delivery.alert
        try:
            send(alert)
        except BaseException as exc:  # noqa: BLE001  # a callable of the user's, a library: any error, `exit()` too
            self._failed(sink, delivery, exc)
            return
        self.alerts.outbox.sent(delivery)
        logger.info(
            "alert %s (%s) sent to %s", alert.id, alert.event, sink.name,
            extra={"action": "alert_sent", "event": alert.event, "sink": sink.name, "alert": alert.id},
        )  # fmt: skip

    def _failed(self, sink: Sink, delivery: Delivery, exc: BaseException) -> None:
        alert = delivery.alert
        said = exc.why if isinstance(exc, NotSent) else f"{type(exc).__name__}: {text_of(exc)}"
        why = cut(visible(self.alerts.hide.text(said)), _ERROR)
        last = alert.tries >= MOST_TRIES
        self.stats.troubled(1, of="alert")
        logger.log(
            logging.ERROR if last else logging.WARNING,
            "alert %s (%s) not sent to %s, %s: %s", alert.id, alert.event, sink.name,
            "given up" if last else f"try {alert.tries} of {MOST_TRIES}", why,
            extra={"action": "alert_not_sent", "event": alert.event, "sink": sink.name, "alert": alert.id},
        )  # fmt: skip
        if last:
            self.alerts.outbox.give_up(delivery, why)
        else:
            asked = exc.after if isinstance(exc, NotSent) and exc.after is not None else 0.0
            self.alerts.outbox.put_off(delivery, max(min(asked, LONGEST_ASKED), wait_after(alert.tries)), why)

    def _look(self) -> float:
        """For a flood of dead letters, if no other worker has just done so."""
        if self.alerts.outbox.first_in(FLOOD_LOOK * 0.9, "look"):
            self.alerts.look_for_floods(self.stats)
        return FLOOD_LOOK


def wait_after(tries: int) -> float:
    """Seconds until the next try after so many have failed."""
    return float(min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT))


class AlertingStep(RecoveryStep):
    """Starts the alerter once the pool has forked. A sink that cannot be used keeps a worker from starting."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Wherever somebody wants alerts, and there is a store."""
        return Recovery.of(worker.app).alerts is not None

    def create(self, worker: Any) -> Alerter:
        """The threads, not yet started."""
        recovery = Recovery.of(worker.app)
        alerts, secret = recovery.alerts, recovery.settings.alert_secret
        assert alerts is not None  # noqa: S101  # `include_if` has looked
        return Alerter(alerts, [(sink, sender(sink, secret)) for sink in alerts.sinks], recovery.stats)
