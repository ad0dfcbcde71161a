"""A parked task that is discarded ends as a revoked one, so that nobody waits for it for ever.

REVOKED is Celery's own word for a task that a person took back before it ran. Where the body is JSON, the chord or
chain that waits for the task learns of it and its errbacks are called; for any other serialiser only the result is
ended, because nothing here unpickles a body.
"""

from __future__ import annotations

from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError

from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.parking.parked import ParkedTask

__all__ = ("BODY_NOT_READ", "end_result")

BODY_NOT_READ = "its body is not JSON: the result is REVOKED, a chord or chain that waits for it was not told"


def end_result(app: Celery, parked: ParkedTask, reason: str, letters: DeadLetterStore | None = None) -> str | None:
    """Make the task's result REVOKED, and tell whoever waits for it; returns a warning, or None.

    Of a replay that waits for its next attempt, the letter is told too.
    """
    letter = parked.letter
    if letters is not None and letter.replay:
        letters.settle(parked.id, str(letter.replay.get("copy", "")), LetterState.DISCARDED, reason)
    embed = letter.embed
    args, kwargs = letter.arguments or ([], {})
    parts = {name: (embed or {}).get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
    request = Context({**parked.headers, **parts, "args": args, "kwargs": kwargs, "delivery_info": {}})
    app.backend.mark_as_failure(
        parked.id,
        TaskRevokedError(reason),
        request=request,
        store_result=not parked.headers.get("ignore_result"),
        state=states.REVOKED,
    )
    return BODY_NOT_READ if embed is None else None
