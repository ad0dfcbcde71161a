"""The worker's own account of what it holds: which token each delivery has, and who still has the message.

Written by the consumer's thread and read by the lease's. What the broker holds for this worker and the account does not
know was cut off on its way here; what the account knows and nobody has in memory will never be acknowledged.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from celery_recovery.worker.holding import Holding, connection_of, number_of
from celery_recovery.worker.native import now, original

__all__ = ("Books", "Kept")


class Kept(NamedTuple):
    """One delivery that is held."""

    holding: Holding
    token: bytes
    #: The message, as long as somebody has it.
    message: Callable[[], Any]
    #: When it was delivered, on the clock of `native.now`.
    since: float
    #: Counts what is delivered; kombu's `QoS`.
    qos: Any


class Books:
    """What is held, by delivery tag. Two deliveries may have one tag: they are told apart in the order they came."""

    def __init__(self) -> None:
        #: Tokens of what is just being delivered, and of what is kept aside because it is no message.
        self.in_hand: set[bytes] = set()
        #: To be let go, and to be given back (True: behind all others), once the broker answers.
        self.unreleased: deque[Kept] = deque()
        self.unreturned: deque[tuple[Kept, bool]] = deque()
        #: When a channel with unacknowledged messages was closed last, on the clock of `native.now`.
        self.loosened_at = 0.0
        #: A connection has gone, and perhaps an answer with it.
        self.answer_lost = False
        self._kept: dict[Any, list[Kept]] = {}
        self._loose: dict[Any, Kept] = {}
        self._asking: set[str] = set()
        self._names = count(1)
        self._last_name = 0
        self._lock = original("_thread", "allocate_lock")()

    # -- deliveries

    def keep(self, qos: Any, holding: Holding, token: bytes, message: Any) -> None:
        """A consumer is given this message."""
        kept = Kept(holding, token, weakref.ref(message), now(), qos)
        with self._lock:
            self._kept.setdefault(message.delivery_tag, []).append(kept)

    def newest(self, delivery_tag: Any) -> Kept | None:
        """The last delivery with this tag."""
        held = self._kept.get(delivery_tag)
        return held[-1] if held else None

    def strike(self, delivery_tag: Any, kept: Kept | None = None) -> Kept | None:
        """Take this delivery, or the oldest with the tag, off the books; None: it was not on them."""
        with self._lock:
            held = self._kept.get(delivery_tag, [])
            found = kept or (held[0] if held else None)
            if found is None or found not in held:
                return None
            held.remove(found)
            if not held:
                del self._kept[delivery_tag]
            return found

    def last_number(self) -> int:
        """The greatest of the tokens' numbers."""
        with self._lock:
            return max((number_of(kept.token) for held in self._kept.values() for kept in held), default=0)

    # -- what will not be acknowledged

    def loosen(self, delivery_tags: Iterable[Any]) -> None:
        """Their channel is closed: each goes back as soon as nobody has it in memory."""
        for tag in delivery_tags:
            kept = self.newest(tag)
            if kept is not None:
                self._loose[tag] = kept
                self.loosened_at = now()

    def give_up(self, delivery_tag: Any, kept: Kept) -> None:
        """Nobody will acknowledge it: to be given back."""
        self._loose.pop(delivery_tag, None)
        if self.strike(delivery_tag, kept) is not None:
            self.unreturned.append((kept, False))

    def dropped(self, running: set[Any] | None = None) -> Iterator[tuple[Any, Kept]]:
        """Of what is loose, what nobody has any more; with `running`, also what is not among these tags."""
        for tag, kept in list(self._loose.items()):
            if kept not in self._kept.get(tag, ()):
                self._loose.pop(tag, None)  # acknowledged meanwhile
            elif kept.message() is None or (running is not None and tag not in running):
                yield tag, kept

    def forgotten(self, before: float) -> list[tuple[Any, Kept]]:
        """What was delivered before that moment and nobody has in memory."""
        with self._lock:
            held = [(tag, kept) for tag, all_kept in self._kept.items() for kept in all_kept]
        return [(tag, kept) for tag, kept in held if kept.since < before and kept.message() is None]

    # -- answers that are on their way

    def opened(self) -> str:
        """A name for a connection on which messages are asked for."""
        self._last_name = next(self._names)
        name = str(self._last_name)
        self._asking.add(name)
        return name

    def closed(self, name: str | None) -> None:
        """It is no more."""
        if name is not None:
            self._asking.discard(name)
            self.answer_lost = True

    @contextmanager
    def asking(self) -> Iterator[str]:
        """A name for a single question, whose answer is in hand at the end."""
        name = self.opened()
        try:
            yield name
        except BaseException:
            self.closed(name)
            raise
        self._asking.discard(name)

    def unknown(self, holding: Holding) -> list[bytes]:
        """Tokens that the broker holds for this worker, and whose answer is lost. Raises redis-py's errors.

        The order of the lines matters: what is asked for, or moves from hand to the books, meanwhile, is known.
        """
        last_name, asking = self._last_name, set(self._asking)
        tokens = holding.tokens()
        known = set(self.in_hand)
        with self._lock:
            known.update(kept.token for held in self._kept.values() for kept in held)
        known.update(kept.token for kept in tuple(self.unreleased))
        known.update(kept.token for kept, _ in tuple(self.unreturned))
        return [
            token
            for token in tokens
            if token not in known and int(name := connection_of(token)) <= last_name and name not in asking
        ]
