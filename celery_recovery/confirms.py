"""What the app publishes is confirmed, too: the tasks it sends, the next of a chain, callbacks, the body of a chord.

RabbitMQ answers that it has a message only where it is asked to; without, a message that was sent a moment before the
broker died is gone, and nobody is told. Celery does not ask. An app with a recoverable task does, for every message,
unless its `broker_transport_options` say otherwise (`confirm_publish`); Redis answers in any case.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import pools

__all__ = ("ConfirmedAMQP", "confirm")


class ConfirmedAMQP(AMQP):  # type: ignore[misc]  # celery is untyped
    """Celery's own, whose pool of producers waits for confirms."""

    _producer_pool: Any = None

    @property
    def producer_pool(self) -> Any:
        """As Celery makes it, on channels in confirm mode."""
        if self._producer_pool is None:
            connection = self.app.connection_for_write()
            if connection.transport.driver_type == "amqp":
                connection.transport_options = {"confirm_publish": True, **(connection.transport_options or {})}
            self._producer_pool = pools.producers[connection]
            self._producer_pool.limit = self.app.pool.limit
        return self._producer_pool

    publisher_pool = producer_pool


def confirm(app: Celery) -> None:
    """Let this app publish so, from now on. Reads no setting and opens no connection."""
    made = app.__dict__.get("amqp")
    if made is None:
        app.amqp_cls = ConfirmedAMQP
    elif type(made) is AMQP:
        made.__class__ = ConfirmedAMQP
        made._producer_pool = None  # noqa: SLF001  # it is made again when it is used
