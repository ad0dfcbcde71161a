"""Release: claimed tasks are published to their queues, confirmed, and only then removed, one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from amqp.exceptions import MessageNacked

from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.exceptions import PublishFailed, StoreUnavailable, Unroutable
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.parking.store import LEASE, Claimed, ParkingStore

__all__ = ("PATIENCE", "Release", "Released")

logger = logging.getLogger("celery_recovery")

#: Seconds to go on trying to publish one task: with `PUBLISH_UNTIL`, less than the lease.
PATIENCE = 5.0
#: Share of the lease after which claimed tasks that are not published yet are given back.
PUBLISH_UNTIL = 0.5
#: AMQP's reply code for a message that no queue takes.
_NO_ROUTE = 312
#: Seconds until a task that no queue takes is tried again: at first, doubled each time, and at most.
FIRST_TRY, LAST_TRY = 30.0, 3600.0


@dataclass(slots=True)
class Released:
    """What became of the tasks of one claim."""

    #: Published and removed.
    done: int = 0
    #: Key -> error of those that no queue takes; they stay parked.
    refused: dict[str, str] = field(default_factory=dict)
    #: Keys that were given back, to be claimed again: the time was over, or the broker is away.
    left: list[str] = field(default_factory=list)
    #: Why the broker took nothing more; empty when it did.
    stopped: str = ""


class Release:
    """Publishes the tasks of one claim. Raises `StoreUnavailable`; its claim then ends by itself."""

    def __init__(
        self, store: ParkingStore, publisher: Publisher, *, goes_on: Callable[[], bool] = lambda: True
    ) -> None:
        self.store = store
        self.publisher = publisher
        self._goes_on = goes_on
        self._told = Released()
        #: Queues that took nothing in this claim: the broker is not asked again for each task of theirs.
        self._closed: dict[tuple[str, str, str], str] = {}

    def run(self, claimed: Claimed) -> Released:
        """Release them, the first one due first."""
        until = time.monotonic() + LEASE * PUBLISH_UNTIL
        waiting = list(claimed.tasks)
        try:
            while waiting and time.monotonic() < until and self._goes_on():
                self._one(claimed.token, waiting[0])
                waiting.pop(0)
        except PublishFailed as exc:
            self._told.stopped = str(exc)
        except StoreUnavailable:
            raise
        except BaseException:
            with suppress(StoreUnavailable):
                self._give_back(claimed.token, waiting)
            raise
        self._give_back(claimed.token, waiting)
        return self._told

    def _give_back(self, token: str, waiting: list[ParkedTask]) -> None:
        self._told.left = [parked.key for parked in waiting]
        self.store.unclaim(token, self._told.left)

    def _one(self, token: str, parked: ParkedTask) -> None:
        """Publish and remove one. A broker that is away ends the claim; a task that it refuses only waits."""
        place = (parked.queue, parked.exchange, parked.routing_key)
        if place in self._closed:
            self._refuse(token, parked, Unroutable(self._closed[place]))
            return
        try:
            self._publish(parked)
        except PublishFailed as exc:
            if not _takes_nothing(exc):
                raise
            self._closed[place] = str(exc)
            self._refuse(token, parked, exc)
        except Exception as exc:  # noqa: BLE001  # whatever it is about this message, the others are not to blame
            self._refuse(token, parked, exc)
        else:
            self.store.remove(token, (parked.key,))
            self._told.done += 1

    def _publish(self, parked: ParkedTask) -> None:
        """To the queue by its name. It is declared only where that is needed, and the app knows how.

        A queue that other workers made may have arguments that this one does not know of.
        """
        message: Mapping[str, Any] = parked.message()
        if not parked.queue:
            self.publisher.publish(**message, exchange=parked.exchange, routing_key=parked.routing_key)
            return
        try:
            self.publisher.publish(**message, routing_key=parked.queue)
        except PublishFailed as exc:
            if not _takes_nothing(exc) or parked.queue not in self.publisher.app.amqp.queues:
                raise
            self.publisher.publish(**message, queue=parked.queue)

    def _refuse(self, token: str, parked: ParkedTask, exc: Exception) -> None:
        why = str(exc) if isinstance(exc, PublishFailed) else f"{type(exc).__name__}: {exc}"
        pause = min(FIRST_TRY * 2 ** min(parked.refusals, 20), LAST_TRY)
        self.store.unclaim(token, (parked.key,), why=why, pause=pause)
        self._told.refused[parked.key] = why
        logger.error(
            "parked task %s[%s] is due and cannot go to its queue %s; it stays parked, next try in %.0f s: %s",
            parked.task, parked.id, parked.queue or parked.routing_key, pause, why,
            extra={"action": "not_released", "task": parked.task, "task_id": parked.id},
        )  # fmt: skip


def _takes_nothing(exc: PublishFailed) -> bool:
    """Whether the broker is there, and has no queue for it, or one that is full."""
    no_route = isinstance(exc, Unroutable) or getattr(exc.__cause__, "reply_code", None) == _NO_ROUTE
    return no_route or isinstance(exc.__cause__, MessageNacked)
