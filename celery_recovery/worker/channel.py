"""Kombu's Redis channel, but nothing is ever between a queue and its worker: one script takes a message and holds it.

A blocking pop cannot be part of a script. So an idle channel does not block on the server: the script that finds all
queues empty reads them, with the notifications of client-side caching switched on (`CLIENT TRACKING`, RESP3, Redis 6),
and the server itself says when one of them changes:

    take ──► a message: delivered, take again           one round trip, and one for its acknowledgement
         └─► none: the socket is left readable by the poller; a notification, or a second gone by ──► take

Where the server refuses to notify, kombu's own BRPOP is used, and the message written down right after it: then a
worker killed in that moment loses one, as it does without us.

The rest is kombu's: the order of queues and priorities, the poller, publish and subscribe, its sweep of its own keys.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import cache, cached_property
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import NoScriptError

from celery_recovery.redis.client import CONNECT_TIMEOUT, SOCKET_TIMEOUT
from celery_recovery.worker.holding import Holding, source

if TYPE_CHECKING:
    from celery_recovery.worker.lease import Lease

__all__ = ("UndecodableMessage", "leased_transport")

logger = logging.getLogger("celery_recovery")

#: Seconds after which an idle channel asks again, whatever it was told: as often as kombu's BRPOP does.
RECHECK = 1.0


class UndecodableMessage(Exception):
    """An item of a queue is no message of kombu's; the cause says why."""


class GuardedMessage(virtual.Message):  # type: ignore[misc]  # kombu is untyped
    """Says which errors come from the item, before any consumer has seen it."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **options)
            hash(self.delivery_tag)
        except Exception as exc:
            raise UndecodableMessage(f"{type(exc).__name__}: {exc}") from exc


class LeasedQoS(kombu_redis.QoS):  # type: ignore[misc]  # kombu is untyped
    """Unacknowledged messages are held by the lease, not in kombu's hash; prefetching is counted as ever."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """A consumer gets this message; the channel knows under which token it is held."""
        token, self.channel.token = self.channel.token, None
        if token is not None:
            self.channel.lease.books.keep(self, self.channel.holding, token, message)
        virtual.QoS.append(self, weakref.ref(message), delivery_tag)  # the lease sees when nobody has it any more

    def ack(self, delivery_tag: Any) -> None:
        """Done with it."""
        self.channel.lease.release(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Done with it, or back to its queue, behind all others."""
        if requeue:
            self.channel.lease.give_back(delivery_tag, leftmost=True)
        else:
            self.channel.lease.release(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def get(self, delivery_tag: Any) -> Any:
        """The message; None if nobody has it any more."""
        return self._delivered[delivery_tag]()

    def forget(self, delivery_tag: Any) -> None:
        """Count it no longer."""
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> list[Any]:  # noqa: ARG002  # kombu's
        """All back to their queues."""
        self._flush()
        for delivery_tag in list(self._delivered):
            self.channel.lease.give_back(delivery_tag)
        self._delivered.clear()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002  # kombu's
        """The channel is closed: the lease sees to what it held."""
        self._on_collect.cancel()
        self._flush()
        self.channel.lease.channel_closed(list(self._delivered))
        self._delivered.clear()
        self._delivered.restored = True


#: In front of which class a mixin goes is known when a connection is made.
_Base: Any = object


class LeasedChannel(_Base):  # type: ignore[misc]
    """Goes in front of a kombu Redis channel."""

    lease: Lease
    Message = GuardedMessage
    #: The token of the message being delivered, until a consumer keeps it.
    token: bytes | None = None
    holding: Holding
    #: The connection is watched for a notification; nothing was asked.
    waiting = False
    _missed_at: float | None = None
    _prepared: Any = None
    #: Names the socket that `_prepared` is, in the tokens of what was asked for on it.
    _asked_on: str | None = None
    _queues: list[str]
    _take_pool: Any = None
    _sentinel_manager: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self.holding = self.lease.connected(self)
        except Exception:
            self.connection.cycle.discard(self)
            self._disconnect_pools()
            raise

    # -- connections

    @cached_property
    def client(self) -> Any:
        """As kombu's, but speaking RESP3 where the server notifies."""
        if not self._tracks():
            return self._create_client(asynchronous=True)
        self._take_pool = self._tracking_pool()
        return self.Client(connection_pool=self._take_pool)

    def lease_pool(self) -> Any:
        """A pool of connections to this channel's broker that belongs to the caller."""
        kept = getattr(self, "_sentinel_manager", None)  # from kombu 5.7 on; it closes it with the channel
        pool = self._get_pool()
        self._sentinel_manager = kept
        for option, seconds in _TIMEOUTS:
            if option in pool.connection_kwargs and pool.connection_kwargs[option] is None:
                pool.connection_kwargs[option] = seconds
        pool.max_connections = 2**31
        return pool

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params: dict[str, Any] = super()._connparams(asynchronous)
        return {**params, "protocol": 3} if self.__dict__.get("_resp3") else params

    def _tracking_pool(self) -> Any:
        self._resp3 = True
        try:
            return self._get_pool(asynchronous=True)
        finally:
            self._resp3 = False

    def _tracks(self) -> bool:
        """Whether the server notifies; tried once in a worker's life, and said once if not."""
        if self.lease.tracking is None:
            self._create_client().ping()  # away altogether is another matter, and raises
            pool = self._tracking_pool()
            try:
                connection = pool.get_connection()
                self._switch_on(connection)
                self.lease.tracking = True
            except (redis.RedisError, OSError, AttributeError) as exc:
                self.lease.tracking = False
                logger.warning(
                    "the broker does not notify of new messages (%s): queues are read with BRPOP, and a worker that is "
                    "killed in the moment between taking a message and writing that down loses it", exc,
                    extra={"action": "no_tracking"},
                )  # fmt: skip
            finally:
                pool.disconnect()
        return self.lease.tracking

    def _switch_on(self, connection: Any) -> None:
        connection._parser.set_invalidation_push_handler(self._notified)  # noqa: SLF001  # redis-py has no other way
        for command in (("CLIENT", "TRACKING", "ON", "NOLOOP"), ("SCRIPT", "LOAD", source("take"))):
            connection.send_command(*command)
            answer = connection.read_response()
        self._take = bytes_to_str(answer)

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()
        pool, self._take_pool = self._take_pool, None
        if pool is not None:
            pool.disconnect()

    # -- taking

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """One queue more: nothing was asked, and nothing will be told, of it, so ask at once."""
        self._missed_at = None
        return super().basic_consume(queue, *args, **kwargs)

    def _brpop_start(self, timeout: Any = None) -> None:
        """Ask for a message, or, where there was none a moment ago, wait to be told of one."""
        if not self.lease.tracking:
            super()._brpop_start(timeout)
            return
        connection = self.client.connection
        if connection._sock is not self._prepared:  # noqa: SLF001
            self._switch_on(connection)
            self.lease.books.closed(self._asked_on)
            self._asked_on = self.lease.books.opened()
            self._prepared, self._missed_at = connection._sock, None  # noqa: SLF001
        if self._missed_at is not None and monotonic() - self._missed_at < RECHECK:
            self.waiting, self._in_poll, self._brpop_sent_at = True, connection, None
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._queues, self.waiting = queues, False
        self._in_poll, self._brpop_sent_at = connection, monotonic()
        keys = self._queue_keys(queues)
        held = self.holding.keys.held(self.holding.boot)
        connection.send_command("EVALSHA", self._take, len(keys) + 1, held, *keys, self._asked_on)

    def ask_again(self) -> None:
        """Called before each poll: stop waiting when nothing was heard for long, in case a notification was lost."""
        if self.waiting and monotonic() - (self._missed_at or 0.0) >= RECHECK:
            self.waiting, self._in_poll = False, None

    def owed_nothing(self) -> bool:
        """Whether no answer is under way that a consumer may have; waiting ends where it may have none."""
        if self.waiting and not self.qos.can_consume():
            self.waiting, self._in_poll = False, None
        return not self._in_poll

    def _brpop_read(self, **options: Any) -> bool:
        if not self.lease.tracking:
            return self._popped(**options)
        reply = self._reply()
        if reply == -1:
            self.lease.beat(self.holding)
        if not isinstance(reply, list):
            raise Empty
        index, token, message = reply
        return self._hand_over(self._queues[index % len(self._queues)], token, message)

    def _reply(self) -> Any:
        """The script's answer; None: nothing yet."""
        connection = self.client.connection
        waiting, self.waiting = self.waiting, False
        try:
            reply = connection.read_response(push_request=waiting)
            if waiting:
                self._missed_at = None
            elif reply is None:
                self._missed_at = monotonic()
                self.read_notifications()
        except NoScriptError:
            self._prepared = None
            return None
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._answered()
        return None if waiting else reply

    def _answered(self) -> None:
        """Nothing is under way on the connection: the moment for what kombu, from 5.7 on, has to send on it."""
        self._in_poll = None
        getattr(self, "_flush_brpop_reauth", _nothing)()

    def read_notifications(self) -> None:
        """Those that have come already would not make the socket readable again."""
        connection = self.client.connection
        while connection.can_read(timeout=0):
            connection.read_response(push_request=True)

    def _notified(self, response: Any) -> Any:
        self._missed_at = None
        return response

    def _popped(self, **options: Any) -> bool:
        """BRPOP has answered."""
        try:
            popped = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._answered()
        if not popped:
            raise Empty
        key, message = bytes_to_str(popped[0]), popped[1]
        with self.lease.books.asking() as name:
            token = self.holding.hold(f"{self.global_keyprefix}{key}", message, name)
            self.lease.books.in_hand.add(token)
        return self._hand_over(key.rsplit(self.sep, 1)[0], token, message)

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:
        """One message, or None."""
        with self.lease.books.asking() as name:
            taken = self.holding.take(self._queue_keys([queue]), name)
            if taken is None:
                return None
            self.lease.books.in_hand.add(taken.token)
        try:
            message = self.Message(_payload(taken.message), channel=self)
        except UndecodableMessage as exc:
            self._undecodable(queue, taken.token, taken.message, exc.__cause__ or exc)
            return None
        if no_ack:
            self.holding.release(taken.token)
        else:
            self.token = taken.token
            self.qos.append(message, message.delivery_tag)
        self.lease.books.in_hand.discard(taken.token)
        return message

    def _queue_keys(self, queues: list[str]) -> list[str]:
        """Most important first; within one priority in the order given."""
        return [
            f"{self.global_keyprefix}{self._q_for_pri(queue, priority)}"
            for priority in self.priority_steps
            for queue in queues
        ]

    # -- delivering

    def _hand_over(self, queue: str, token: bytes, message: bytes) -> bool:
        self._queue_cycle.rotate(queue)
        self.lease.books.in_hand.add(token)
        if queue not in self.connection._callbacks:  # noqa: SLF001  # its consumer was cancelled meanwhile
            self.holding.give_back(tokens=[token])
            self.lease.books.in_hand.discard(token)
            return True
        self.token = token
        try:
            self.connection._deliver(_payload(message), queue)  # noqa: SLF001
        except UndecodableMessage as exc:
            self.token = None
            self._undecodable(queue, token, message, exc.__cause__ or exc)
            return True
        except BaseException:
            self.lease.books.in_hand.discard(token)
            raise
        if self.token is not None:  # its consumer acknowledges nothing
            self.token = None
            self.holding.release(token)
        self.lease.books.in_hand.discard(token)
        return True

    def _undecodable(self, queue: str, token: bytes, message: bytes, exc: BaseException) -> None:
        """It stays held and in hand, unless somebody takes it over."""
        context = {"action": "undecodable", "queue": queue}
        keeper: Callable[..., object] | None = self.lease.on_undecodable
        if keeper is None:
            logger.error("an item of the queue %s is no message and stays held: %s", queue, exc, extra=context)
            return
        try:
            keeper(message, queue, exc)
        except Exception:
            logger.exception("an item of the queue %s is no message and stays held", queue, extra=context)
        else:
            self.holding.release(token)
            self.lease.books.in_hand.discard(token)

    # -- the end

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        self.lease.give_back(message.delivery_tag, leftmost=leftmost)

    def close(self) -> None:
        """As kombu's; a channel that waits has no answer to read."""
        if self.waiting:
            self.waiting, self._in_poll = False, None
        super().close()
        self.lease.books.closed(self._asked_on)
        self._asked_on = None


class LeasedPoller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]  # kombu is untyped
    """Knows that a channel may wait without having asked."""

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802  # kombu's
        channel.ask_again()
        super()._register_BRPOP(channel)

    def on_readable(self, fileno: int) -> Any:
        """Notifications reach idle connections too; kombu would take that for the server's hanging up."""
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == "BRPOP" and channel.lease.tracking and channel.owed_nothing():
            try:
                channel.read_notifications()
            except channel.connection_errors:
                channel.client.connection.disconnect()
            return None
        return super().on_readable(fileno)

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Without an event loop: never sleep for longer than `RECHECK`."""
        return super().get(callback, timeout=RECHECK if timeout is None else min(timeout, RECHECK))


class LeasedTransport(_Base):  # type: ignore[misc]
    """Goes in front of a kombu Redis transport."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = LeasedPoller()


def leased_transport(plain: type, lease: Lease) -> type:
    """`plain`, a transport of kombu's for Redis (with or without sentinels), under a lease."""
    channel = _leased_channel(plain.Channel)  # type: ignore[attr-defined]
    made = type(f"Leased{plain.__name__}", (LeasedTransport, plain), {})
    made.Channel = type(channel.__name__, (channel,), {"lease": lease})  # type: ignore[attr-defined]
    return made


@cache
def _leased_channel(plain: type) -> type:
    return type(f"Leased{plain.__name__}", (LeasedChannel, plain), {"QoS": LeasedQoS})


def _nothing() -> None:
    """In place of what a kombu does not have."""


def _payload(message: bytes) -> Any:
    try:
        return loads(bytes_to_str(message))
    except Exception as exc:
        raise UndecodableMessage(f"{type(exc).__name__}: {exc}") from exc


_TIMEOUTS = (("socket_timeout", SOCKET_TIMEOUT), ("socket_connect_timeout", CONNECT_TIMEOUT))
