"""Redis brokers: messages belong to the worker that took them for as long as it lives, and not a lease longer.

    a worker connects ──► registers its life, then beats every third of a lease, from a thread of its own
      takes a message ──► it moves from its queue into what this life holds, in one step     (`channel.py`)
      acknowledges    ──► it is gone from there
      dies            ──► others give what it held back to the queues                        (`reaper.py`)
      shuts down      ──► does that itself, and strikes itself off the register
      loses its connection ──► what it can no longer run or acknowledge goes back, the rest stays its own

Kombu's `visibility_timeout` has no part in this: a task or a countdown may last as long as it likes. Messages under
kombu's own keys, of workers without this package, are still swept by kombu's rule.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import redis
from celery import bootsteps
from celery.concurrency.prefork import TaskPool
from celery.worker import state
from kombu.transport import redis as kombu_redis

from celery_recovery.identity import Identity, me
from celery_recovery.recovery import Recovery
from celery_recovery.worker.books import Books
from celery_recovery.worker.channel import leased_transport
from celery_recovery.worker.holding import Holding, Keys, number_of
from celery_recovery.worker.native import now
from celery_recovery.worker.pulse import Pulse

__all__ = ("Lease", "LeaseStep")

logger = logging.getLogger("celery_recovery")

#: How many times longer the lease is where tasks share the worker's process.
SHARED_PROCESS = 4
#: Seconds before the end of a lease from which on its state is asked for, not assumed.
MARGIN = 1.0


class Lease:
    """What one worker life holds at its broker. One per consumer, at `consumer.recovery_lease`."""

    def __init__(self, identity: Identity, seconds: float, hostname: str) -> None:
        self.identity = identity
        self.seconds = seconds
        self.books = Books()
        #: How often this worker was silent for a lease, or found its registration gone. Grows.
        self.silences = 0
        #: What becomes of an item of a queue that is no message: called with its bytes, the queue's name and what was
        #: wrong. When it returns, the item is let go; when it raises, or is None, the item stays held by this worker.
        self.on_undecodable: Callable[[bytes, str, Exception], object] | None = None
        #: Seconds after which a message that nobody has in memory any more goes back; the transport's option.
        self.visibility_timeout = 3600.0
        #: Whether the broker tells when a queue gets something; None: not known yet.
        self.tracking: bool | None = None
        #: Whether the consumer drops what does not run yet when it loses its connection, as it does with a pool of
        #: processes; other pools run it.
        self.drops_waiting = False
        #: It is over: nothing is registered any more.
        self.retired = False
        self._life = json.dumps({**identity.to_dict(), "hostname": hostname, "lease": seconds})
        self._holdings: dict[tuple[Any, ...], tuple[Holding, Holding]] = {}
        self._current: tuple[Holding, Holding] | None = None
        self._beaten = float("-inf")
        self._doubtful = 0
        self._pulse = Pulse(self)

    # -- for tasks

    def still_mine(self, delivery_tag: Any) -> bool:
        """False: another worker has given this message back to its queue while this one was silent; do not start it.

        No round trip, unless this worker may have been silent for a lease since it took the message. A broker that
        does not answer, or does not know, counts as True.
        """
        kept = self.books.newest(delivery_tag)
        if kept is None:
            return True
        with suppress(redis.RedisError):
            if now() - self._beaten >= self.seconds - MARGIN:
                self.beat(kept.holding)
            if number_of(kept.token) <= self._doubtful:
                return not kept.holding.was_taken(kept.token)
        return True

    # -- for channels

    def connected(self, channel: Any) -> Holding:
        """Register at this channel's broker. Raises the broker's errors."""
        pool = channel.lease_pool()
        address = pool.connection_kwargs
        place = tuple(address.get(part) for part in ("host", "port", "path", "db", "service_name"))
        first = place not in self._holdings
        if first:
            keys = Keys(f"{channel.global_keyprefix}{channel.unacked_key}")
            self._holdings[place] = (self._holding(pool, keys), self._holding(channel.lease_pool(), keys))
        self._current = self._holdings[place]
        self.visibility_timeout = float(channel.visibility_timeout)
        self.beat(self._current[0], first=first)
        self._pulse.start()
        return self._current[0]

    @property
    def second(self) -> Holding | None:
        """The same messages, by a connection of the lease's thread; None: not connected yet."""
        return self._current[1] if self._current else None

    def twin(self, holding: Holding) -> Holding:
        """The same messages, by a connection of the lease's thread: one of a greenlet's serves no other thread."""
        return next((twin for own, twin in tuple(self._holdings.values()) if own is holding), holding)

    def release(self, delivery_tag: Any) -> None:
        """It was acknowledged or rejected. A broker that is away is told later."""
        kept = self.books.strike(delivery_tag)
        if kept is None:
            return
        try:
            kept.holding.release(kept.token)
        except redis.RedisError:
            self.books.unreleased.append(kept)

    def give_back(self, delivery_tag: Any, *, leftmost: bool = False) -> None:
        """It goes back to its queue; `leftmost`: behind all others there."""
        kept = self.books.strike(delivery_tag)
        if kept is None:
            return
        try:
            kept.holding.give_back(tokens=[kept.token], leftmost=leftmost)
        except redis.RedisError:
            self.books.unreturned.append((kept, leftmost))

    def channel_closed(self, delivery_tags: Iterable[Any]) -> None:
        """A channel with unacknowledged messages was closed, mostly because its connection was lost.

        What runs goes on, and is acknowledged when it ends. What nobody can acknowledge any more, because nobody has
        the message, and what the consumer cancels (countdowns), goes back to its queue.
        """
        tags = list(delivery_tags)
        self.books.loosen(tags)
        cancelled = {request.message.delivery_tag for request in tuple(getattr(state, "scheduled_requests", ()))}
        for tag in cancelled.intersection(tags):
            kept = self.books.newest(tag)
            if kept is not None:
                self.books.give_up(tag, kept)

    def beat(self, holding: Holding, *, first: bool = False) -> None:
        """Tell that this worker lives, and notice if it had not for a lease. Raises redis-py's errors.

        No lock is held meanwhile: of two greenlets the second would stop the thread that the first needs to go on.
        """
        if self.retired:
            return
        started = now()
        found = holding.beat()
        self._beaten = started
        if self._has_ended_meanwhile(holding):
            return
        if found != 3 and not first and holding in (self._current or ()):
            self._was_silent(registered=bool(found & 1))

    # -- the end

    def retire(self) -> None:
        """All that is still held goes back to its queues, and this life off the register. Never raises."""
        self.retired = True
        for holding, _ in self._holdings.values():
            try:
                moved = holding.give_back()
                holding.leave()
            except redis.RedisError as exc:  # then others find that this process has ended, or its heartbeat
                logger.warning("what is held goes back later: %s", exc, extra={"action": "not_retired"})
                continue
            if moved:
                logger.info("%d unacknowledged messages went back to their queues", moved, extra={"action": "retired"})

    def _has_ended_meanwhile(self, holding: Holding) -> bool:
        """Then a beat may have registered what was struck off."""
        if self.retired:
            holding.leave()
        return self.retired

    def _was_silent(self, *, registered: bool) -> None:
        self.silences += 1
        self._doubtful = max(self._doubtful, self.books.last_number())
        logger.warning(
            "this worker was not heard for its lease of %g s%s: what others took from it is not started here",
            self.seconds, "" if registered else ", and its registration was gone",
            extra={"action": "lease_lost", "silences": self.silences},
        )  # fmt: skip

    def _holding(self, pool: Any, keys: Keys) -> Holding:
        client = redis.Redis(connection_pool=pool)
        return Holding(client, keys, self.identity.boot, self._life, self.seconds)


class LeaseStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Lets the consumer of a worker read through channels that hold messages under a lease."""

    def __init__(self, consumer: Any, **_: Any) -> None:
        consumer.recovery_lease = None
        self.lease: Lease | None = None

    def include_if(self, consumer: Any) -> bool:
        """Where the broker is Redis through kombu, unless `recovery_lease` is None."""
        seconds = Recovery.of(consumer.app).settings.lease
        return seconds is not None and _is_redis(consumer.app.connection_for_read())

    def create(self, consumer: Any) -> None:
        """Every connection that the consumer reads from is made with our transport."""
        seconds = Recovery.of(consumer.app).settings.lease or 0.0
        if not isinstance(consumer.pool, TaskPool):
            seconds *= SHARED_PROCESS
        lease = self.lease = consumer.recovery_lease = Lease(me(), seconds, consumer.hostname)
        lease.drops_waiting = isinstance(consumer.pool, TaskPool)

        def connection_for_read(heartbeat: Any = None) -> Any:
            connection = consumer.app.connection_for_read(heartbeat=heartbeat)
            plain = connection.get_transport_cls
            connection.get_transport_cls = lambda: leased_transport(plain(), lease)
            return consumer.ensure_connected(connection)

        consumer.connection_for_read = connection_for_read

    def start(self, consumer: Any) -> None:
        """Nothing: the lease begins with the connection."""

    def stop(self, consumer: Any) -> None:
        """Nothing: tasks that run go on being held."""

    def terminate(self, consumer: Any) -> None:
        """Nothing, as in `stop`; the end is `shutdown`."""

    def shutdown(self, consumer: Any) -> None:  # noqa: ARG002  # celery's
        """Once the pool has ended."""
        if self.lease is not None:
            self.lease.retire()


def _is_redis(connection: Any) -> bool:
    """Whether this is kombu's transport, with unacknowledged messages at all."""
    options = connection.transport_options or {}
    return issubclass(connection.get_transport_cls(), kombu_redis.Transport) and options.get("ack_emulation", True)
