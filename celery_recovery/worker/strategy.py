"""What a worker does with a message of a recoverable task when it receives it: what is not due for long is parked.

Celery holds a task with an ETA in the worker's memory, unacknowledged, with one more prefetched in its place: 100,000
of them are all in one worker, and each is subject to the broker's timeouts. Here the message goes to Redis as it is and
is then acknowledged; when it is due, some worker gives it back to its queue. Its result stays as it was. The worker
sends no `task-received` event and no signal for it: nobody has received it to run it; that comes with its release.

Whatever is unusual about a message is Celery's business: it is held in memory as always.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from celery.utils.time import maybe_iso8601
from celery.worker.strategy import default

from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.received import HEADER, VERSION
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.parking import ParkedTask, Parking
from celery_recovery.passage import Passage
from celery_recovery.recovery import Recovery

__all__ = ("recoverable",)

logger = logging.getLogger("celery_recovery")

Handler = Callable[..., Any]

#: Message properties that mean something to the next consumer; all others belong to one delivery.
_KEPT = ("correlation_id", "reply_to", "priority", "message_id", "app_id", "type")


def recoverable(task: Any, app: Any, consumer: Any, **options: Any) -> Handler:
    """Celery's own strategy, and in front of it the way to the parked tasks. It costs one look at the headers."""
    handle: Handler = default(task, app, consumer, **options)
    recovery = Recovery.of(app)
    park_after, parking = recovery.settings.park_after, recovery.parked
    if park_after is None or parking is None:
        return handle
    attendant = _Attendant(task, app, consumer, parking, park_after)

    def receive(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        if body is None and message.headers.get("eta") is not None and attendant.parks(message):
            return ack(logger, consumer.connection_errors)
        return handle(message, body, ack, reject, callbacks)

    return receive


class _Attendant:
    """Parks the messages of one task, as one consumer receives them."""

    def __init__(self, task: Any, app: Any, consumer: Any, parking: Parking, park_after: float) -> None:
        self.task = task
        self.app = app
        self.parking = parking
        self.park_after = park_after
        self._hostname = consumer.hostname
        self._revoked = consumer.controller.state.revoked

    def parks(self, message: Any) -> bool:
        """True when it is parked now, and may be acknowledged; False when Celery is to handle it. Never raises."""
        try:
            parked = self._parked(message)
            if parked is None:
                return False
            self.parking.park(parked)
        except StoreUnavailable as exc:
            _say_once(self.parking, exc)
            return False
        except Exception:  # what is odd about a message is not for us to say
            logger.exception("a message is not parked, and left to Celery", extra={"action": "not_parked"})
            return False
        _say_again(self.parking)
        logger.info(
            "task %s[%s] is parked for %.0f s", parked.task, parked.id, parked.due - parked.parked_at,
            extra={"action": "parked", "task": parked.task, "task_id": parked.id, "reason": parked.reason,
                   "due": parked.due},
        )  # fmt: skip
        return True

    def _parked(self, message: Any) -> ParkedTask | None:
        """The message as it is parked; None when it is not to be."""
        headers, now = message.headers, time.time()
        due, task_id = _moment(headers["eta"]), headers.get("id")
        if due is None or due - now <= self.park_after or not isinstance(task_id, str):
            return None
        if task_id in self._revoked or _is_over(headers.get("expires"), now):
            return None  # Celery revokes it now
        origin = self._origin(message)
        if origin is None:
            return None
        header = headers.get(HEADER)
        passage = _next(Passage.of(task_id, header, message.properties), headers["eta"])
        told = dict(header) if isinstance(header, Mapping) else {}
        kept = {name: value for name, value in headers.items() if name != "compression"}  # kombu has unpacked the body
        return ParkedTask(
            key=passage.copy,
            id=task_id,
            task=self.task.name,
            due=due,
            parked_at=now,
            reason="retry" if headers.get("retries") else "eta",
            queue=origin.queue or "",
            body=_as_bytes(message),
            headers={**kept, HEADER: {"version": VERSION, "origin": origin._asdict(), **told, **passage.to_header()}},
            properties={name: message.properties[name] for name in _KEPT if message.properties.get(name) is not None},
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            worker=self._hostname,
        )

    def _origin(self, message: Any) -> Origin | None:
        """The queue to go back to; None where one message would not do, or where it would find no queue any more.

        A fanout gives each worker a copy of its own, and a queue that ends with its consumer or a message that expires
        in the broker alone mean what they mean only where they are. (With `expires`, Celery sets both.)
        """
        delivery = {**(message.delivery_info or {}), "priority": message.properties.get("priority")}
        origin = Origin.of(self.app, SimpleNamespace(delivery_info=delivery))
        queue = self.app.amqp.queues.consume_from.get(origin.queue)
        if queue is None or (message.properties.get("expiration") and not message.headers.get("expires")):
            return None
        fanout = queue.exchange is not None and queue.exchange.type == "fanout"
        arguments = queue.queue_arguments or {}
        ends = queue.exclusive or queue.auto_delete or queue.expires or "x-expires" in arguments
        return origin if queue.durable and not ends and not fanout else None


def _next(passage: Passage, eta: Any) -> Passage:
    """The passage of the released message. Of a known life the copy is always the same: parked twice, it is one."""
    if not passage.life:
        return passage.next()
    mark = f"{passage.life}\0{passage.step}\0{eta}"
    return passage.next(hashlib.sha256(mark.encode("utf-8", "replace")).hexdigest()[:32])


def _moment(eta: Any) -> float | None:
    """Unix time of an ETA or of `expires`; None when it is no moment, or one without a time zone."""
    try:
        when = maybe_iso8601(eta)
        return None if when.tzinfo is None else float(when.timestamp())
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def _is_over(expires: Any, now: float) -> bool:
    """Whether a message has expired, or says so in a way that Celery has to judge."""
    if expires is None:
        return False
    end = _moment(expires)
    return end is None or end <= now


def _as_bytes(message: Any) -> bytes:
    body = message.body
    return body.encode(message.content_encoding or "utf-8") if isinstance(body, str) else bytes(body)


#: The parkings whose Redis was found away, in this process: an outage is told once, not for each task.
_away: set[int] = set()


def _say_once(parking: Parking, exc: StoreUnavailable) -> None:
    if id(parking) not in _away:
        _away.add(id(parking))
        logger.warning(
            "tasks that are not due for long stay in this worker, because they cannot be parked: %s", exc,
            extra={"action": "not_parked"},
        )  # fmt: skip


def _say_again(parking: Parking) -> None:
    if id(parking) in _away:
        _away.discard(id(parking))
        logger.info("tasks that are not due for long are parked again", extra={"action": "parked_again"})
