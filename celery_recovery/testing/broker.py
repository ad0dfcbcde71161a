"""A broker in memory: what is published stays in a list, as Redis would hold it, and is taken out by hand.

Not kombu's own `memory://`: that has one state for the whole process, and a queue gives only its first message. Here a
bench has a broker of its own, sees what waits, and takes the message that is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from celery import Celery
from celery.utils.time import maybe_iso8601
from kombu import Connection, pools
from kombu.serialization import prepare_accept_content
from kombu.transport import memory, virtual
from kombu.utils.json import dumps, loads

from celery_recovery.exceptions import ConfigurationError
from celery_recovery.testing.clock import FakeClock

__all__ = ("MemoryBroker", "Waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One message that waits in a queue."""

    #: In the order of publication.
    number: int
    queue: str
    #: Unix time of the bench.
    sent_at: float
    #: As a virtual transport writes it.
    raw: dict[str, Any]

    @property
    def headers(self) -> dict[str, Any]:
        """As it was published."""
        found: dict[str, Any] = self.raw.get("headers") or {}
        return found

    @property
    def id(self) -> str:
        """The task's id; empty where it is no task."""
        return str(self.headers.get("id") or "")

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.headers.get("task") or "")

    @property
    def due(self) -> float:
        """Unix time at which it is to start; 0: at once."""
        return _unix(self.headers.get("eta")) or 0.0

    @property
    def expires(self) -> float | None:
        """Unix time after which no worker starts it."""
        return _unix(self.headers.get("expires"))

    @property
    def priority(self) -> int | None:
        """As it was sent."""
        found = (self.raw.get("properties") or {}).get("priority")
        return found if isinstance(found, int) else None


class MemoryBroker:
    """The queues of one bench."""

    def __init__(self, app: Celery, clock: FakeClock) -> None:
        self.app = app
        self._clock = clock
        self._transport = _transport(self._put)
        self._last = 0
        self._waiting: list[Waiting] = []
        self._channel: Any = None

    def connect(self) -> Connection:
        """As `app.connection_for_write()` gives one."""
        return Connection(transport=self._transport)

    @property
    def last(self) -> int:
        """The number of what was published last."""
        return self._last

    def __iter__(self) -> Iterator[Waiting]:
        """What waits, in the order of publication."""
        return iter(tuple(self._waiting))

    def take(self, waiting: Waiting) -> Any:
        """Take it out, as kombu's message."""
        self._waiting.remove(waiting)
        return self.message(waiting)

    def message(self, waiting: Waiting) -> Any:
        """The message, as a consumer of this app gets it. Raises `ConfigurationError` for one of the old protocol."""
        if not waiting.id or not waiting.task:
            expected = "messages of Celery's protocol 2, as recoverable tasks are sent"
            raise ConfigurationError.of("task_protocol", expected=expected, got=f"a message in {waiting.queue}")
        if self._channel is None:
            self._channel = self.connect().channel()
        accept = prepare_accept_content(self.app.conf.accept_content)
        return self._channel.Message(waiting.raw, channel=self._channel, accept=accept)

    def give_back(self, waiting: Waiting) -> None:
        """Into its queue again, as a message that was delivered before."""
        properties = dict(waiting.raw["properties"])
        properties["delivery_info"] = {**properties.get("delivery_info", {}), "redelivered": True}
        self._waiting.append(replace(waiting, raw={**waiting.raw, "properties": properties}))

    def close(self) -> None:
        """Forget the pools that kombu keeps of its connections."""
        for group, template in ((pools.producers, _of_producers), (pools.connections, _of_connections)):
            for key, pool in list(group.items()):
                if template(pool).transport_cls is self._transport:
                    pool.force_close_all()
                    group.pop(key, None)  # by the key itself: it is made of options that change with their use

    def _put(self, queue: str, message: dict[str, Any]) -> None:
        written = loads(dumps(message))  # what cannot be written down fails here, as it would on the way to Redis
        self._last += 1
        self._waiting.append(Waiting(number=self._last, queue=queue, sent_at=self._clock.now(), raw=written))


def _of_producers(pool: Any) -> Any:
    return pool.connections.connection


def _of_connections(pool: Any) -> Any:
    return pool.connection


def _transport(put: Any) -> type:
    """A transport whose exchanges and bindings are its own, and whose queues are that list."""

    class Channel(memory.Channel):  # type: ignore[misc]  # kombu is untyped
        def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
            put(queue, message)

        def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: Any = None, **_: Any) -> None:
            for queue in self._lookup(exchange, routing_key):
                put(queue, message)

        def _size(self, queue: str) -> int:  # noqa: ARG002  # nobody consumes from here
            return 0

    class Transport(memory.Transport):  # type: ignore[misc]
        global_state = virtual.BrokerState()

    Transport.Channel = Channel
    return Transport


def _unix(moment: Any) -> float | None:
    if not isinstance(moment, str):
        return None
    when = maybe_iso8601(moment)
    return None if when is None else float(when.timestamp())
