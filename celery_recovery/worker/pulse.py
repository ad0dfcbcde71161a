"""The lease's thread: it beats, makes up for what could not be told to the broker, and looks after the others.

A thread of the operating system, with a connection of its own: neither a busy pool nor a busy event loop delays it.
"""

from __future__ import annotations

import gc
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis
from celery.worker import state

from celery_recovery.worker.books import Kept
from celery_recovery.worker.holding import Holding
from celery_recovery.worker.native import now, original, start_thread
from celery_recovery.worker.reaper import Reaper

if TYPE_CHECKING:
    from celery_recovery.worker.lease import Lease

__all__ = ("Pulse",)

logger = logging.getLogger("celery_recovery")

#: Seconds between two turns.
TURN = 0.25
#: Seconds between two looks at the register: from and to. In a fleet beyond `FLEET` lives each looks less often: all
#: together read no more of it, and still somebody looks every tenth of a second.
LOOKS, FLEET = (1.5, 2.5), 20
#: Seconds after a channel was closed at which what was dropped with it is cleared out of memory: Celery's requests
#: refer to themselves, so that only the garbage collector sees that nobody has them any more.
COLLECTIONS = (1.0, 5.0, 30.0, 120.0)
#: Seconds after which a pool of processes has said which of the tasks that it was sent it runs.
DROPPED = 5.0
#: Seconds between two searches for messages that are held and not known of; also after each lost connection. And
#: between two tries to reach a broker that this worker has left for another.
AUDIT = 30.0


class Pulse:
    """Runs until the lease is retired."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._reapers: dict[int, Reaper] = {}
        self._last = now()
        self._next_beat = self._last + lease.seconds / 3
        self._next_look = self._next_audit = self._next_left = 0.0
        self._loosened = 0.0
        self._collections: list[float] = []
        self._started = False

    def start(self) -> None:
        """Begin, once."""
        if not self._started:
            self._started = True
            start_thread(self._run)

    def _run(self) -> None:
        sleep = original("time", "sleep")
        while not self.lease.retired:
            sleep(TURN)
            holding = self.lease.second
            if holding is None:
                continue
            reaper = self._reapers.setdefault(id(holding), Reaper(holding))
            try:
                self._turn(holding, reaper)
            except redis.RedisError as exc:
                reaper.disturbed()
                self._next_beat = min(self._next_beat, now() + 1)
                logger.debug("the broker does not answer the lease's thread: %s", exc)
            except Exception:  # the thread must outlive anything
                logger.exception("the lease's thread goes on", extra={"action": "lease_failed"})

    def _turn(self, holding: Holding, reaper: Reaper) -> None:
        time_now = now()
        if time_now - self._last > self.lease.seconds / 3:
            reaper.disturbed()
        self._last = time_now
        if time_now >= self._next_beat:
            self._next_beat = time_now + self.lease.seconds / 3
            self.lease.beat(holding)
        if time_now >= self._next_look and not self.lease.retired:
            pause = random.uniform(*LOOKS)  # noqa: S311  # it spreads looks, it guards nothing
            self._next_look = time_now + pause * max(1.0, reaper.lives / FLEET)
            self._settle()
            self._audit(holding, time_now)
            reaper.look()

    def _settle(self) -> None:
        """What could not be told to the broker is told now; what nobody has any more goes back."""
        books = self.lease.books
        self._collect(now())
        for tag, kept in books.dropped(self._running()):
            books.give_up(tag, kept)
        for tag, kept in books.forgotten(now() - self.lease.visibility_timeout):
            logger.warning("a message was forgotten unacknowledged: it goes back", extra={"action": "forgotten"})
            kept.qos.forget(tag)
            books.give_up(tag, kept)
        self._make_up(books.unreleased, lambda holding, kept: holding.release(kept.token))
        self._make_up(
            books.unreturned, lambda holding, it: holding.give_back(tokens=[it[0].token], leftmost=it[1])
        )  # fmt: skip

    def _make_up(self, waiting: deque[Any], tell: Callable[[Holding, Any], object]) -> None:
        """Tell the broker, each in turn. What belongs to one that the worker has left waits, and holds up no other."""
        for _ in range(len(waiting)):
            kept = waiting[0] if isinstance(waiting[0], Kept) else waiting[0][0]
            holding = self.lease.twin(kept.holding)
            left = holding is not self.lease.second
            if left and now() < self._next_left:
                waiting.rotate(-1)
                continue
            try:
                tell(holding, waiting[0])
            except redis.RedisError:
                if not left:
                    raise
                self._next_left = now() + AUDIT
                waiting.rotate(-1)
            else:
                waiting.popleft()

    def _running(self) -> set[Any] | None:
        """Tags of the tasks that run, once all that is not among them is certainly dropped; None: not known."""
        if not self.lease.drops_waiting or now() - self.lease.books.loosened_at < DROPPED:
            return None
        try:
            return {request.message.delivery_tag for request in tuple(state.active_requests)}
        except RuntimeError:  # the set was changed meanwhile; there is a next turn
            return None

    def _collect(self, time_now: float) -> None:
        loosened = self.lease.books.loosened_at
        if loosened != self._loosened:
            self._loosened, self._collections = loosened, [loosened + seconds for seconds in COLLECTIONS]
        if self._collections and time_now >= self._collections[0]:
            self._collections.pop(0)
            gc.collect()

    def _audit(self, holding: Holding, time_now: float) -> None:
        """Messages whose connection was lost before this worker heard of them go back."""
        books = self.lease.books
        if not books.answer_lost and time_now < self._next_audit:
            return
        self._next_audit, books.answer_lost = time_now + AUDIT, False
        unknown = books.unknown(holding)
        if unknown:
            moved = holding.give_back(tokens=unknown)
            logger.info("%d messages whose delivery was cut off went back", moved, extra={"action": "cut_off"})
