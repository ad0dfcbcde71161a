"""Every worker gives parked tasks back to their queues when they are due, or when their circuit lets them go.

A claim gives each task to one worker.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any

from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.parking import Parking
from celery_recovery.parking.paced import Turn
from celery_recovery.recovery import Recovery
from celery_recovery.worker.step import RecoveryStep

__all__ = ("ReleaseStep", "Releaser")

logger = logging.getLogger("celery_recovery")

#: Seconds between two looks at the parked tasks, at most. A look that finds nothing is one cheap call.
INTERVAL = 1.0
#: Seconds by which workers that wait for the same task come apart.
SPREAD = 0.1
#: Seconds between two looks while Redis or the broker are away: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0


class Releaser:
    """The thread that releases what is due while a worker lives, over connections that it shares with nobody."""

    def __init__(self, parking: Parking) -> None:
        self.parking = parking
        self.stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._random = random.SystemRandom()
        self._trouble = ""
        self._pause = FIRST_PAUSE
        #: Until when it asks the circuits as often as they wish, on the monotonic clock.
        self._returning_until = 0.0

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread = threading.Thread(target=self.work, name="recovery-release", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ask it to end, after the task that it is publishing, and wait up to `timeout` seconds."""
        self.stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def work(self) -> None:
        """Look, release, and wait for the next, until stopped. Nothing ends it but that."""
        while not self.stopped.is_set():
            self.stopped.wait(self.turn())

    def turn(self) -> float:
        """Release what is due, and what a circuit lets go; returns the seconds until the next look."""
        try:
            turn = self.parking.take_turn(goes_on=self._goes_on)
            paced = None if turn.stopped else self.parking.take_circuit_turn(goes_on=self._goes_on)
        except StoreUnavailable as exc:
            return self._troubled("Redis", str(exc))
        except Exception:  # it must outlive anything; what is parked is safe meanwhile
            logger.exception("the release of parked tasks starts again", extra={"action": "release_restarts"})
            return LONGEST_PAUSE
        stopped = turn.stopped or (paced.stopped if paced else "")
        if stopped:
            return self._troubled("the broker", stopped)
        self._well()
        wait = self._until_next(turn.next_due)
        return min(wait, self._until_asked(paced)) if paced else wait

    def _until_next(self, next_due: float | None) -> float:
        wait = INTERVAL if next_due is None else min(max(next_due, 0.0), INTERVAL)
        return wait + self._random.uniform(0, SPREAD) if wait else 0.0

    def _until_asked(self, paced: Turn) -> float:
        """A circuit whose tasks come back is asked ten times a second: by those that last had something to release.

        The others look every `INTERVAL`, and take part when they find that what is due is not done.
        """
        now = time.monotonic()
        if paced.released:
            self._returning_until = now + INTERVAL
        if now >= self._returning_until:
            return 0.0 if paced.next_due == 0.0 else INTERVAL + self._random.uniform(0, SPREAD)
        # Whoever asks just now is through soon.
        wait = INTERVAL if paced.next_due is None else min(max(paced.next_due, 0.0), SPREAD)
        return wait * self._random.uniform(1.0, 1.2)

    def _goes_on(self) -> bool:
        return not self.stopped.is_set()

    def _troubled(self, who: str, why: str) -> float:
        """Say so, once; come back later and later, not all workers at once."""
        if self._trouble != who:
            self._trouble, self._pause = who, FIRST_PAUSE
            logger.error(
                "parked tasks that are due wait until %s is back: %s", who, why, extra={"action": "release_waits"}
            )
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause * self._random.uniform(0.5, 1.0)

    def _well(self) -> None:
        if self._trouble:
            logger.info("%s is back; parked tasks are released", self._trouble, extra={"action": "release_goes_on"})
            self._trouble, self._pause = "", FIRST_PAUSE


class ReleaseStep(RecoveryStep):
    """Starts the releaser once the pool has forked. It runs whatever `recovery_park_after` says: others may park."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Wherever there is a store."""
        return Recovery.of(worker.app).parked is not None

    def create(self, worker: Any) -> Releaser:
        """The thread, not yet started."""
        parking = Recovery.of(worker.app).parked
        assert parking is not None  # noqa: S101  # include_if has seen to it
        return Releaser(parking)
