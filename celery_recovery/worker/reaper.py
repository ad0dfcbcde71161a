"""Gives the messages of dead workers back to their queues.

Who is dead? On the reaper's own machine the kernel knows: a process that has ended is robbed at once, one that exists
is never robbed, be it stopped, swapped out or silent. Of other machines only the heartbeat tells: a worker silent for
a whole lease is taken for dead. That is the bound: a worker on another machine, paused or cut off for longer than its
lease, may be robbed alive. It finds out before it starts anything else (`Lease.still_mine`), and what it was running
meanwhile runs twice unless the twin is recognised.

After an outage of Redis all heartbeats are gone. A reaper therefore robs nobody on the heartbeat's word until Redis has
been there, and has been heard, for the whole lease of the life in question.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from redis import ResponseError

from celery_recovery.identity import Identity
from celery_recovery.worker.holding import Holding
from celery_recovery.worker.native import now

__all__ = ("Reaper",)

logger = logging.getLogger("celery_recovery")


class Reaper:
    """Looks after all lives at one broker but its own. Raises redis-py's errors as they are."""

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        #: How many there were at the last look.
        self.lives = 0
        self._calm_since: float | None = None

    def disturbed(self) -> None:
        """Redis did not answer, or this process was not heard: heartbeats may be missing for no fault of theirs."""
        self._calm_since = None

    def look(self) -> int:
        """Give back what the dead hold; how many messages."""
        if self._calm_since is None:
            self._calm_since = now() - self._uptime()
        lives = self.holding.lives()
        self.lives = len(lives)
        gone = {boot: _identity(boot, lives[boot]).is_gone() for boot in lives if boot != self.holding.boot}
        calm = now() - self._calm_since
        asked = [boot for boot, state in gone.items() if state is None and calm >= _lease(lives[boot])]
        silent = self.holding.silent(asked)
        return sum(
            self._bury(boot, lives[boot], force=state is True)
            for boot, state in gone.items()
            if state or boot in silent
        )

    def _bury(self, boot: str, life: Mapping[str, Any], *, force: bool) -> int:
        moved = self.holding.give_back(boot, force=force)
        self.holding.leave(boot, force=force)
        if moved:
            logger.warning(
                "worker %s is gone (%s): %d unacknowledged messages went back to their queues",
                life.get("hostname", boot), "its process has ended" if force else "silent for its lease", moved,
                extra={"action": "given_back_for", "worker": life.get("hostname"), "count": moved},
            )  # fmt: skip
        return moved

    def _uptime(self) -> float:
        """How long the server has been there, in seconds; where it may not be asked, only this reaper's own time."""
        try:
            server: Any = self.holding.client.info("server")
            return float(server["uptime_in_seconds"])
        except (KeyError, ResponseError):
            return 0.0


def _identity(boot: str, life: Mapping[str, Any]) -> Identity:
    """What is known of a life; nothing of a register's entry that cannot be read."""
    try:
        return Identity(boot=boot, pid=int(life["pid"]), started=int(life["started"]), place=str(life["place"]))
    except (KeyError, TypeError, ValueError):
        return Identity(boot=boot, pid=0, started=0, place="")


def _lease(life: Mapping[str, Any]) -> float:
    try:
        return float(life["lease"])
    except (KeyError, TypeError, ValueError):
        return 60.0
