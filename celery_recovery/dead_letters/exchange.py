"""The broker's side of dead letters: where they are published, and the one publisher everything of ours goes through.

Every message that we publish — a retry, a dead letter, a replay — is the next durable copy of a task whose last copy is
about to be acknowledged. So it is published *with confirm* (RabbitMQ answers once it is responsible for the message;
Redis's reply to the write says the same) and, when the broker is away, for a bounded time, again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from amqp.exceptions import MessageNacked
from celery import Celery
from celery.canvas import Signature
from kombu import Connection, Exchange, Producer, Queue, pools
from kombu.exceptions import EncodeError, LimitExceeded, OperationalError

from celery_recovery.exceptions import PublishFailed, Unroutable, UnserialisableLetter
from celery_recovery.forks import kept_from_children

__all__ = ("NOT_ENCODABLE", "Publisher", "dead_letter_queue")

#: Seconds between our tries: short at first (a failover), never long (the worker's slot is waiting).
_PAUSES = (0.2, 0.5, 1.0, 2.0)
#: AMQP's reply code for a message that no queue takes.
_NO_ROUTE = 312
#: What a serialiser raises for a value it does not know.
NOT_ENCODABLE = (EncodeError, TypeError, ValueError, AttributeError, RecursionError)


def dead_letter_queue(exchange: str, queue: str, queue_type: str = "classic") -> Queue:
    """The durable queue that dead letters wait in, bound to its own direct exchange.

    `queue_type` is `"classic"` or `"quorum"` (RabbitMQ only; other brokers ignore it).
    """
    arguments = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
    return Queue(queue, Exchange(exchange, type="direct", durable=True), routing_key=queue, queue_arguments=arguments)


class Publisher:
    """Publishes confirmed messages, for at most `timeout` seconds each.

    It has connections of its own, made when first needed: the application's pool may be configured without confirms,
    and one lost message on it is enough to break the promise.
    """

    def __init__(self, app: Celery, timeout: float, on_failure: Callable[[], None] = lambda: None) -> None:
        self.app = app
        self.timeout = timeout
        #: Called for each try that failed.
        self._on_failure = on_failure
        # Kombu does not retry, we do: it would send again what an alarmed broker has taken and not confirmed yet.
        # `mandatory`: RabbitMQ confirms what it can route nowhere, unless it is told to give it back.
        self._manner = {"retry": False, "confirm_timeout": timeout, "mandatory": True}

    def publish(  # noqa: PLR0913  # a message has that many parts
        self,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        properties: Mapping[str, Any],
        content_type: str,
        content_encoding: str,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str = "",
        producer: Producer | None = None,
    ) -> None:
        """Publish a raw body as it is, to `queue` by name, or to `exchange` with `routing_key`.

        Raises `PublishFailed` when the broker did not confirm it in time, `Unroutable` when no queue takes it.
        """
        place: dict[str, Any] = {"exchange": exchange, "routing_key": routing_key}
        if queue:  # through the default exchange: to this queue and no other
            place = {"exchange": "", "routing_key": queue, "declare": [self.app.amqp.queues[queue]]}

        def send(producer: Producer) -> None:
            _check_route(producer, place["exchange"], place["routing_key"])
            producer.publish(
                body,
                headers=dict(headers),
                content_type=content_type,
                content_encoding=content_encoding,
                delivery_mode=2,
                **self._manner,
                **{**properties, **place},
            )

        self.patiently(send, producer)

    def publish_letter(self, queue: Queue, message: Any, serializers: tuple[str, ...]) -> None:
        """Publish Celery's own message tuple (`headers, properties, body, …`) to the dead-letter exchange.

        Raises `UnserialisableLetter` when none of `serializers` can write the body, `PublishFailed` as above.
        """
        headers, properties, body = message[0], message[1], message[2]

        def send(producer: Producer, serializer: str) -> None:
            bound = _is_routed(producer, queue.exchange.name, queue.routing_key)
            producer.publish(
                body,
                headers=headers,
                serializer=serializer,
                exchange=queue.exchange if bound else "",  # a binding that Redis has lost: to the queue itself
                routing_key=queue.routing_key if bound else queue.name,
                declare=[queue],
                delivery_mode=2,
                **self._manner,
                **properties,
            )

        self._with_any_serializer(send, serializers)

    def publish_raw_letter(
        self,
        queue: Queue,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        properties: Mapping[str, Any],
        content_type: str,
        content_encoding: str | None,
    ) -> None:
        """Publish a message as it is to the dead-letter exchange. Raises `PublishFailed` as above."""

        def send(producer: Producer) -> None:
            bound = _is_routed(producer, queue.exchange.name, queue.routing_key)
            producer.publish(
                body,
                headers=dict(headers),
                content_type=content_type,
                content_encoding=content_encoding,
                exchange=queue.exchange if bound else "",
                routing_key=queue.routing_key if bound else queue.name,
                declare=[queue],
                delivery_mode=2,
                **self._manner,
                **properties,
            )

        self.patiently(send)

    def publish_signature(self, signature: Signature, serializers: tuple[str, ...]) -> None:
        """Publish a task the way `apply_async` does: routes, signals, events and native delayed delivery as usual.

        Raises `UnserialisableLetter` and `PublishFailed` like `publish_letter`.
        """
        options = signature.options

        def send(producer: Producer, serializer: str) -> None:
            if not options.get("queue"):
                _check_route(producer, options.get("exchange") or "", options.get("routing_key") or "")
            signature.apply_async(producer=producer, serializer=serializer, **self._manner)

        self._with_any_serializer(send, serializers)

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        """A producer whose channel is in confirm mode, from a pool of our own (one per process).

        Whatever goes wrong with it costs its connection, with all that was declared on it, at once: a silent broker
        would keep us waiting for its goodbye.
        """
        connection: Connection = self.app.connection_for_write()
        options: dict[str, Any] = {**(connection.transport_options or {}), "confirm_publish": True}
        if connection.transport.driver_type == "amqp":
            options = {"read_timeout": self.timeout, "write_timeout": self.timeout, **options}
        connection.transport_options = options
        with pools.producers[connection].acquire(block=True, timeout=self.timeout) as producer:
            kept_from_children(producer.connection)
            try:
                yield producer
            except BaseException:
                if producer.connection is not None:
                    producer.connection.collect()
                raise

    def _with_any_serializer(self, send: Callable[..., None], serializers: tuple[str, ...]) -> None:
        refused: Exception | None = None
        for serializer in serializers:
            try:
                return self.patiently(partial(send, serializer=serializer))
            except NOT_ENCODABLE as exc:
                refused = exc
        raise UnserialisableLetter(
            f"none of the serialisers {', '.join(serializers)} can write it: {refused}"
        ) from refused

    def patiently(self, send: Callable[[Producer], None], producer: Producer | None = None) -> None:
        """Call `send` until the broker has confirmed, or `timeout` seconds are over.

        Raises `PublishFailed`, `Unroutable`; what else `send` raises as it is.
        """
        deadline = time.monotonic() + self.timeout
        tries = 0
        while True:
            try:
                if producer is not None and tries == 0:
                    return send(producer)
                with self.producer() as pooled:
                    return send(pooled)
            except _transport_errors(self.app) as exc:
                failure: Exception = exc
                self._on_failure()
            unroutable = getattr(failure, "reply_code", None) == _NO_ROUTE
            if tries and unroutable:  # declaring its queue again was no help
                raise Unroutable(f"no queue takes the message: {failure}") from failure
            pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
            tries += 1
            if time.monotonic() + pause > deadline:
                raise PublishFailed(
                    f"the broker did not take the message within {self.timeout:g} s ({tries} tries): {failure}"
                ) from failure
            time.sleep(pause)


def _transport_errors(app: Celery) -> tuple[type[Exception], ...]:
    """What this client raises when a connection or a channel is lost, or the broker will not have a message."""
    connection = app.connection_for_write()
    lost = (*connection.connection_errors, *connection.channel_errors)
    return (OperationalError, LimitExceeded, MessageNacked, *lost)


def _check_route(producer: Producer, exchange: str, routing_key: str) -> None:
    """Refuse what would vanish on the way. Raises `Unroutable`."""
    if not _is_routed(producer, exchange, routing_key):
        raise Unroutable(f"no queue is bound to the exchange {exchange!r} for the routing key {routing_key!r}")


def _is_routed(producer: Producer, exchange: str, routing_key: str) -> bool:
    """False where kombu's own exchanges (Redis) would drop a message in silence; real brokers tell us themselves."""
    lookup = getattr(producer.channel, "_lookup", None)
    return not exchange or lookup is None or bool(lookup(exchange, routing_key))
