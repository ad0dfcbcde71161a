"""Whether the Redis of the circuits is away, as far as this process knows: asked rarely then, and said once.

One `Outage` for each address: all circuits and budgets of a process share it, so that one of them that waits in vain
spares the others the waiting, and the log has one line when it goes and one when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery_recovery.redis.client import address

__all__ = ("REST", "Outage", "outage_of")

logger = logging.getLogger("celery_recovery")

#: Seconds after a failure during which it is not asked again.
REST = 3.0


class Outage:
    """What is known of one Redis."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._resting_until = 0.0
        self._away = False
        self._lock = threading.Lock()

    @property
    def resting(self) -> bool:
        """It has failed a moment ago: do not ask."""
        return self._away and time.monotonic() < self._resting_until

    def failed(self, why: BaseException) -> None:
        """It was asked, and did not answer."""
        with self._lock:
            first, self._away = not self._away, True
            self._resting_until = time.monotonic() + REST
        if first:
            logger.warning(
                "circuits: each process decides by itself until Redis at %s is back: %s", self._where, why,
                extra={"action": "circuits_alone"},
            )  # fmt: skip

    def answered(self) -> None:
        """It was asked, and answered."""
        if not self._away:
            return
        with self._lock:
            was_away, self._away = self._away, False
        if was_away:
            logger.info(
                "circuits are shared again: Redis at %s is back", self._where, extra={"action": "circuits_shared"}
            )


_outages: dict[str, Outage] = {}


def outage_of(client: Any) -> Outage:
    """The one of the Redis that this client connects to."""
    where = address(client)
    return _outages.setdefault(where, Outage(where))
