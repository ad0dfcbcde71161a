"""Where a task's message came from, and the way back there."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from celery import Celery
from celery.app.task import Context
from kombu import Queue

__all__ = ("Origin",)

#: How Celery's native delayed delivery writes a routing key: 28 binary digits, then the original one.
_DELAYED = re.compile(r"(?:[01]\.){28}(.*)", re.DOTALL)


class Origin(NamedTuple):
    """Where a task's message came from, so that a retry or a replay can go back there."""

    #: Name of the Celery queue; None where no queue of the app matches.
    queue: str | None = None
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = None

    @classmethod
    def of(cls, app: Celery, request: Context) -> Origin:
        """Read it off the delivery, undoing what native delayed delivery did to the routing key."""
        delivery = request.delivery_info or {}
        exchange, key = delivery.get("exchange") or "", delivery.get("routing_key") or ""
        delayed = _DELAYED.fullmatch(key) if exchange.startswith("celery_delayed_") else None
        if delayed:
            key = delayed[1]
            exchange = next((q.exchange.name for q in app.amqp.queues.values() if q.routing_key == key), "")
        queue = _queue_of(app, exchange, key) if exchange else key
        return cls(queue or None, exchange, key, delivery.get("priority"))

    def route(self) -> dict[str, Any]:
        """Publishing options that lead back: to the queue and no other where it is known, else as it came."""
        if self.queue:
            return {"queue": self.queue, "exchange": "", "routing_key": self.queue}
        return {"exchange": self.exchange, "routing_key": self.routing_key}


def _queue_of(app: Celery, exchange: str, key: str) -> str | None:
    """The queue that brought it, as far as the bindings tell: of those that this worker consumes, or else of all."""
    for queues in (app.amqp.queues.consume_from, app.amqp.queues):
        for name, queue in queues.items():
            if queue.exchange and queue.exchange.name == exchange and _binds(queue, key):
                return str(name)
    return None


def _binds(queue: Queue, key: str) -> bool:
    """Whether the queue's binding lets the routing key through: topic patterns have `*` for a word, `#` for any."""
    if queue.exchange.type == "fanout" or queue.routing_key == key:
        return True
    pattern = (
        re.escape(queue.routing_key or "").replace(r"\*", r"[^.]+").replace(r"\#", ".*").replace(r"\..*", r"(\..*)?")
    )
    return queue.exchange.type == "topic" and re.fullmatch(pattern, key) is not None
