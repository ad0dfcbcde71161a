"""`Told`: one attempt that failed, or a task that recovered, as monitoring is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery_recovery.history import Attempt
from celery_recovery.text import cut

__all__ = ("Told",)

#: Characters of a message in the feed.
MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was done, and of what. Durations are seconds."""

    #: `"recovered"`, or what was done about a failure: a `decision.Action`, or `"given_back"`.
    what: str
    task: str
    task_id: str
    #: Of the failure; of a task that recovered, that of its last failure.
    error_type: str
    #: Why that was done (`decision.Reason`); empty for a success.
    reason: str = ""
    #: Number of this attempt, from 1, and the most there are; None: no limit.
    attempt: int = 1
    max_attempts: int | None = None
    #: Until the next attempt; None: there is none.
    delay: float | None = None
    #: How long this attempt ran.
    runtime: float = 0.0
    #: Of a task that recovered: since its first failure.
    took: float | None = None
    exception: str = ""
    message: str = ""
    fingerprint: str = ""
    #: Who ran it.
    worker: str = ""
    #: The failure after which this attempt was made; None: it was the first attempt.
    before: Attempt | None = None

    def entry(self) -> dict[str, Any]:
        """As the feed carries it: JSON-ready, short."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "before"}
        plain.update(id=plain.pop("task_id"), message=cut(self.message, MESSAGE_LIMIT))
        return {name: value for name, value in plain.items() if value not in (None, "")}
