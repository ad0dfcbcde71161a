"""From the durable queue into the store: how letters become visible.

The queue is the letter's first home and the store its second. A letter leaves the first only after the second has it:
`store.add` → acknowledge. A kill in between delivers it again, and `add` knows it already. (In the lists of a Redis
broker, which kombu empties before it notes that it did, letters are looked at and not taken: `listed.py`.)

Two callers: a thread in every worker (`Intake`), and `drain`, which operator commands call first, so that no worker is
needed to see what is there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Connection, Queue
from kombu.message import Message
from kombu.mixins import ConsumerMixin

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.listed import ListedLetters, is_listed
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import StoreUnavailable

__all__ = ("PREFETCH", "Intake", "drain", "waiting")

logger = logging.getLogger("celery_recovery")

#: Letters held unacknowledged at once; more would only make a crash redeliver more.
PREFETCH = 100
#: Seconds between two looks at a store that is away: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Seconds between two looks at an empty queue of a Redis broker.
LISTED_PAUSE = 0.5
#: Seconds after which a letter held by a dead intake goes back to the queue (Redis broker only). It may be this short
#: because the intake keeps its unacknowledged messages under names of its own, apart from those of running tasks.
VISIBILITY_TIMEOUT = 30


def take(messages: Sequence[Message], store: DeadLetterStore) -> None:
    """Store messages of the dead-letter queue in one round trip, then acknowledge them.

    Raises `StoreUnavailable`; they are then still unacknowledged.
    """
    letters = [
        Letter.from_message(
            message.body,
            headers=message.headers,
            properties=message.properties,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
        )
        for message in messages
    ]
    added = store.add_many(letters)
    for message in messages:
        message.ack()
    for letter, how in zip(letters, added, strict=True):
        logger.debug("dead letter %s stored (%s)", letter.id, how, extra={"action": "stored", "task_id": letter.id})


def intake_connection(app: Celery, queue: Queue) -> Connection:
    """A connection of the intake's own; on Redis its unacknowledged letters are kept apart from the workers' tasks."""
    connection: Connection = app.connection_for_read(heartbeat=0)
    names = {key: f"{queue.name}.{key}" for key in ("unacked_key", "unacked_index_key", "unacked_mutex_key")}
    options = connection.transport_options or {}
    connection.transport_options = {**options, **names, "visibility_timeout": VISIBILITY_TIMEOUT}
    return connection


def drain(app: Celery, queue: Queue, store: DeadLetterStore, progress: Callable[[int], None] = lambda _: None) -> int:
    """Move what waits in the queue into the store; return how many. `progress` is told how many it were so far.

    Raises `StoreUnavailable`; the broker's errors as they are.
    """
    taken = 0
    with intake_connection(app, queue) as connection:
        channel = connection.default_channel
        bound = queue(channel)
        bound.declare()
        _restore(channel)
        listed = ListedLetters(channel, queue, store) if is_listed(channel) else None
        while listed is not None and (moved := listed.move(PREFETCH, patient=True)):
            taken += moved
            progress(taken)
        if listed is not None:  # what it has left cannot be stored
            return taken
        waiting = iter(lambda: bound.get(no_ack=False), None)
        while batch := list(islice(waiting, PREFETCH)):
            taken += _taken(batch, store)
            progress(taken)
    return taken


def _taken(batch: Sequence[Message], store: DeadLetterStore) -> int:
    """Take all; where one cannot be stored, all others: it goes back to the queue when the connection ends."""
    try:
        take(batch, store)
        return len(batch)
    except StoreUnavailable:
        raise
    except Exception:  # noqa: BLE001  # one bad letter must not hold up the others
        return sum(_takes(message, store) for message in batch)


def _takes(message: Message, store: DeadLetterStore) -> bool:
    try:
        take([message], store)
    except StoreUnavailable:
        raise
    except Exception:
        logger.exception("a dead letter cannot be stored; it stays in the queue", extra={"action": "intake_skips"})
        return False
    return True


def waiting(app: Celery, queue: Queue) -> int | None:
    """How many letters wait in the queue, which is left as it is; None where the broker does not say."""
    with app.connection_for_read(heartbeat=0) as connection:
        errors = (*connection.connection_errors, *connection.channel_errors, *connection.transport.channel_errors)
        try:
            return int(queue(connection.default_channel).queue_declare(passive=True).message_count)
        except connection.connection_errors:
            raise
        except (KeyError, ValueError, *errors):  # there is no such queue yet, or this user may not ask
            return None


def _restore(channel: Any) -> None:
    """On Redis, what an intake held that was killed since; real brokers give it back themselves."""
    restore = getattr(getattr(channel, "qos", None), "restore_visible", None)
    if restore is not None:
        restore(interval=1)


class Intake(ConsumerMixin):  # type: ignore[misc]  # kombu is untyped
    """The thread that keeps moving letters while a worker lives.

    It has a thread and a connection of its own, so that a slow or absent store never holds up the worker's consumer.
    """

    def __init__(
        self, app: Celery, queue: Queue, store: DeadLetterStore, housekeeping: Callable[[], float] = lambda: 3600.0
    ) -> None:
        self.queue = queue
        self.store = store
        self.housekeeping = housekeeping
        self.connection = intake_connection(app, queue)
        self.stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._due = 0.0

    @property
    def should_stop(self) -> bool:
        """Read by kombu between two events."""
        return self.stopped.is_set()

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread = threading.Thread(target=self.work, name="recovery-intake", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ask it to end and wait up to `timeout` seconds; what it has not acknowledged goes back to the queue."""
        self.stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def work(self) -> None:
        """Consume until stopped. An absent store ends the consumer, not the thread: letters stay in the queue."""
        pause = FIRST_PAUSE
        while not self.should_stop:
            began = time.monotonic()
            try:
                self.store.ping()
                self._consume()
            except StoreUnavailable as exc:
                if time.monotonic() - began > LONGEST_PAUSE:  # it had worked; a store may answer and refuse to write
                    pause = FIRST_PAUSE
                logger.error(
                    "dead letters stay in the queue %s until the store is back: %s", self.queue.name, exc,
                    extra={"action": "intake_waits"},
                )  # fmt: skip
                self.stopped.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except self.connection.connection_errors as exc:
                logger.warning(
                    "the intake of dead letters waits for the broker: %s", exc, extra={"action": "intake_waits"}
                )
                self.stopped.wait(FIRST_PAUSE)
            except Exception:  # the intake must outlive anything; the letters are safe in the queue meanwhile
                logger.exception("the intake of dead letters starts again", extra={"action": "intake_restarts"})
                self.stopped.wait(LONGEST_PAUSE)

    def _consume(self) -> None:
        """Until stopped, or until the store is away."""
        with self.connection.clone() as connection:
            channel = connection.default_channel
            if is_listed(channel):
                self.queue(channel).declare()
                listed = ListedLetters(channel, self.queue, self.store)
                while not self.should_stop:
                    self.on_iteration()
                    if not listed.move(PREFETCH):
                        self.stopped.wait(LISTED_PAUSE)
                return
        self.run()

    def get_consumers(self, consumer: Callable[..., Any], channel: Any) -> list[Any]:  # noqa: ARG002  # kombu's
        """Raw messages of the one queue."""
        return [consumer(queues=[self.queue], on_message=self._on_message, prefetch_count=PREFETCH)]

    def _on_message(self, message: Message) -> None:
        try:
            take([message], self.store)
        except StoreUnavailable:
            raise
        except Exception:  # one bad letter must not hold up the others; unacknowledged, it is not lost
            logger.exception("a dead letter cannot be stored; it stays in the queue", extra={"action": "intake_skips"})

    def on_decode_error(self, message: Message, exc: Exception) -> None:  # noqa: ARG002  # kombu's
        """Kombu's default acknowledges, which would lose it."""
        logger.error("a dead letter cannot be read; it stays in the queue: %s", exc, extra={"action": "intake_skips"})

    def on_iteration(self) -> None:
        """Called about once a second: housekeeping when it is due; it answers with the seconds until the next time."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self.housekeeping()
