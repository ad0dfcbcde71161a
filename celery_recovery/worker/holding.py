"""What the workers of one Redis broker hold: taken from the queues, not yet acknowledged, each worker in its own name.

Kombu pops a message and writes it down a moment later, in one hash for all; a worker killed in that moment loses it,
and whose a message is nobody can tell. Here a script moves it from the queue into the hash of the worker that takes it.

`<root>` is the transport's `global_keyprefix` and `unacked_key`; `<boot>` names one life of a worker (`identity.py`).

    <root>.lives         hash    boot -> JSON: `Identity`, hostname, lease (s). A field goes when the life holds nothing
    <root>.alive.<boot>  string  the heartbeat. Expires after the lease
    <root>.held.<boot>   hash    token -> length of the queue's key, `:`, the queue's key, the message as it was taken;
                                 `next` -> the last number given. Goes with the life
    <root>.taken.<boot>  set     tokens that others took from the worker. Expires a day after the last

A token is a number, a dot, and the name of the connection on which the message was asked for: an answer may be lost
with its connection. Numbers grow by one with each message and, at each heartbeat, to the clock's microseconds: none is
given twice, not even by a Redis that has lost its last seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, NamedTuple

import redis

__all__ = ("Holding", "Keys", "Taken", "connection_of", "number_of", "redelivered", "source")

#: Messages given back in one round trip.
CHUNK = 100
#: Seconds that a worker is told, when it comes back, what was taken from it.
REMEMBERED = 86400


class Keys:
    """Spells the keys of one broker."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.lives = f"{root}.lives"

    def alive(self, boot: str) -> str:
        """The heartbeat."""
        return f"{self.root}.alive.{boot}"

    def held(self, boot: str) -> str:
        """What it holds."""
        return f"{self.root}.held.{boot}"

    def taken(self, boot: str) -> str:
        """What was taken from it."""
        return f"{self.root}.taken.{boot}"


class Taken(NamedTuple):
    """One message out of its queue."""

    #: Which of the queues that were asked, from 0.
    which: int
    token: bytes
    message: bytes


class Holding:
    """One life's messages at one broker, and the way to those of others. Raises redis-py's errors as they are."""

    def __init__(self, client: redis.Redis, keys: Keys, boot: str, life: str, lease: float) -> None:
        self.client = client
        self.keys = keys
        self.boot = boot
        self.life = life
        self.lease = lease
        self._scripts = {name: client.register_script(source(name)) for name in _NAMES}

    def beat(self) -> int:
        """Tell that this worker lives; 3: as it should be, else it was silent for a lease, or is new."""
        keys = (self.keys.lives, self.keys.alive(self.boot), self.keys.held(self.boot))
        return int(self._scripts["beat"](keys, (self.boot, self.life, int(self.lease * 1000), _seed())))

    def take(self, queues: Sequence[str], connection: str) -> Taken | None:
        """One message from the first of the queues' keys that has one."""
        keys = (self.keys.held(self.boot), *queues)
        reply = self._scripts["take"](keys, (connection,))
        if reply == -1:
            self.beat()
            reply = self._scripts["take"](keys, (connection,))
        return Taken(*reply) if isinstance(reply, list) else None

    def hold(self, queue: str, message: bytes, connection: str) -> bytes:
        """Write down what was taken in another way; returns its token."""
        value = _packed(queue, message)
        keys = (self.keys.held(self.boot), self.keys.lives)
        token = self._scripts["hold"](keys, (self.boot, self.life, _seed(), value, connection))
        return bytes(token)

    def release(self, *tokens: bytes) -> int:
        """Let go of what has ended; returns how many were still held."""
        return int(self.client.hdel(self.keys.held(self.boot), *tokens))

    def was_taken(self, token: bytes) -> bool:
        """Whether another worker has given this message back to its queue."""
        return bool(self.client.sismember(self.keys.taken(self.boot), token))  # type: ignore[arg-type]

    def lives(self) -> dict[str, dict[str, Any]]:
        """All registered lives by name; what cannot be read is a life of which nothing is known."""
        found: Any = self.client.hgetall(self.keys.lives)
        return {boot.decode(): _read(text) for boot, text in found.items()}

    def silent(self, boots: Sequence[str]) -> set[str]:
        """Those of these lives that have no heartbeat."""
        beats: Any = self.client.mget([self.keys.alive(boot) for boot in boots]) if boots else ()
        return {boot for boot, beat in zip(boots, beats, strict=True) if beat is None}

    def give_back(
        self,
        boot: str | None = None,
        tokens: Iterable[bytes] | None = None,
        *,
        force: bool = True,
        leftmost: bool = False,
    ) -> int:
        """Messages back to the queues they came from, marked as redelivered; how many were moved.

        `boot` None: one's own; `tokens` None: all, the oldest in front. Without `force` only while there is no
        heartbeat. Atomic for each message: whoever is killed here, or races here with another, loses and doubles none.
        """
        life = boot or self.boot
        found: Iterable[bytes] = self.tokens(life) if tokens is None else tokens
        remembered = 0 if boot is None else REMEMBERED * 1000
        moved = 0
        for chunk in _chunks(found):
            values: Any = self.client.hmget(self.keys.held(life), chunk)
            pipe = self.client.pipeline(transaction=False)
            for token, value in zip(chunk, values, strict=True):
                if value is None:
                    continue
                queue, message = _unpacked(value)
                self._scripts["give_back"](
                    (self.keys.held(life), self.keys.alive(life), self.keys.taken(life), queue),
                    (token, redelivered(message), "LPUSH" if leftmost else "RPUSH", int(force), remembered),
                    client=pipe,
                )
            replies = pipe.execute()
            moved += replies.count(1)
            if -1 in replies:
                break
        return moved

    def leave(self, boot: str | None = None, *, force: bool = True) -> bool:
        """Strike a life off the register; False: it holds messages, or (without `force`) lives."""
        life = boot or self.boot
        keys = (self.keys.lives, self.keys.alive(life), self.keys.held(life))
        return bool(self._scripts["leave"](keys, (life, int(force))))

    def tokens(self, boot: str | None = None) -> list[bytes]:
        """Of what a life holds, the newest first: the last to be pushed is the next to run."""
        fields: Any = self.client.hkeys(self.keys.held(boot or self.boot))
        return sorted((field for field in fields if field != b"next"), key=number_of, reverse=True)


_NAMES = ("beat", "give_back", "hold", "leave", "take")


@cache
def source(name: str) -> str:
    """The text of `lua/broker/<name>.lua`."""
    return (files("celery_recovery.redis") / "lua" / "broker" / f"{name}.lua").read_text(encoding="utf-8")


def number_of(token: bytes) -> int:
    """What tokens are ordered by."""
    return int(token.partition(b".")[0])


def connection_of(token: bytes) -> str:
    """Where the message was asked for."""
    return token.partition(b".")[2].decode()


def redelivered(message: bytes) -> bytes:
    """The message with kombu's two marks of a redelivery; as it is where it has no place for them, or is no message."""
    try:
        payload = json.loads(message)
    except (ValueError, RecursionError):
        return message
    with suppress(TypeError, KeyError):
        payload["headers"]["redelivered"] = True
    with suppress(TypeError, KeyError):
        payload["properties"]["delivery_info"]["redelivered"] = True
    return json.dumps(payload).encode()


def _packed(queue: str, message: bytes) -> bytes:
    key = queue.encode()
    return b"%d:%b%b" % (len(key), key, message)


def _unpacked(value: bytes) -> tuple[bytes, bytes]:
    length, _, rest = value.partition(b":")
    return rest[: int(length)], rest[int(length) :]


def _seed() -> int:
    return time.time_ns() // 1000


def _read(text: bytes) -> dict[str, Any]:
    try:
        life = json.loads(text)
    except ValueError:
        life = None
    return life if isinstance(life, dict) else {}


def _chunks(tokens: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(tokens)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
