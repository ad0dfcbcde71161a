"""Letters of a Redis broker: looked at in their list, stored, and only then taken out of it.

Kombu takes a message out of its list first and notes that it did afterwards; whoever dies in between takes the message
along. A letter may be stored twice and is still one (`store.add`), so nobody need own it meanwhile: it stays in its
list until the store has it. A turn, which ends by itself, keeps intakes from doing the same work side by side.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from itertools import chain
from typing import Any

import redis
from kombu import Queue

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import StoreUnavailable

__all__ = ("ListedLetters", "is_listed")

logger = logging.getLogger("celery_recovery")

#: Seconds that a turn lasts at most, and seconds between two looks at whether it is over.
TURN, LOOK = 5.0, 0.1


def is_listed(channel: Any) -> bool:
    """Whether the channel's queues are lists in Redis."""
    return hasattr(channel, "_q_for_pri") and hasattr(channel, "priority_steps") and hasattr(channel, "pool")


class ListedLetters:
    """The letters that wait in one queue of a Redis broker. Methods raise redis-py's errors and `StoreUnavailable`."""

    def __init__(self, channel: Any, queue: Queue, store: DeadLetterStore) -> None:
        self.store = store
        self._channel = channel
        self._client = redis.Redis(connection_pool=channel.pool)
        prefix = getattr(channel, "global_keyprefix", "") or ""
        steps = channel.priority_steps
        self._keys = [f"{prefix}{channel._q_for_pri(queue.name, step)}" for step in steps]  # noqa: SLF001
        self._turn = f"{prefix}{queue.name}.turn"

    def move(self, limit: int, *, patient: bool = False) -> int:
        """Move up to `limit` letters of each priority, the oldest first; returns how many are in the store now.

        0 also where somebody else has the turn; `patient` waits for it.
        """
        mine = uuid.uuid4().hex
        deadline = time.monotonic() + TURN
        while not self._client.set(self._turn, mine, nx=True, px=int(TURN * 1000)):
            if not patient or time.monotonic() > deadline:
                return 0
            time.sleep(LOOK)
        try:
            return self._move(limit)
        finally:
            if self._client.get(self._turn) == mine.encode():
                self._client.delete(self._turn)

    def _move(self, limit: int) -> int:
        pipe = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipe.lrange(key, -limit, -1)
        found = [(key, item) for key, items in zip(self._keys, pipe.execute(), strict=True) for item in reversed(items)]
        stored = list(chain.from_iterable(self._stored(found[n : n + limit]) for n in range(0, len(found), limit)))
        for key, item in stored:
            pipe.lrem(key, -1, item)  # type: ignore[arg-type]  # bytes are what it takes
        pipe.execute()
        return len(stored)

    def _stored(self, found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Those that the store has now: all; or, where one is refused, all others."""
        letters = [self._letter(item) for _, item in found]
        try:
            self.store.add_many(letters)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001  # one bad letter must not hold up the others
            return [pair for pair, letter in zip(found, letters, strict=True) if self._takes(self.store.add, letter)]
        return found

    @staticmethod
    def _takes(add: Callable[[Letter], Any], letter: Letter) -> bool:
        try:
            add(letter)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("a dead letter cannot be stored; it stays in the queue", extra={"action": "intake_skips"})
            return False
        return True

    def _letter(self, item: bytes) -> Letter:
        """The item as kombu reads it; what is no message is a letter all the same, as it is."""
        try:
            message = self._channel.message_to_python(json.loads(item))
            return Letter.from_message(
                message.body, message.headers, message.properties, message.content_type, message.content_encoding
            )
        except Exception:  # noqa: BLE001  # an item may be anything
            return Letter.from_message(item, {}, {}, "application/data", "binary")
