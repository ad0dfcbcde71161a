"""What the caller of a task that no worker knows gets to see: as in Celery, or nothing yet, where it is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.exceptions import NotRegistered

from celery_recovery.actions import QUARANTINED, chords_of
from celery_recovery.dead_letters.chords import renew
from celery_recovery.dead_letters.letter import Letter

__all__ = ("chords_waiting", "end_unknown")

#: What can run code when it is read is not read for a task that is not there to want it.
_PICKLES = ("pickle", "python-serialize")
_CANVAS = ("callbacks", "errbacks", "chain", "chord")


def chords_waiting(message: Any, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the chords that wait for the task, as far as they can be read without unpickling; never raises."""
    try:
        if any(name in str(message.content_type) for name in _PICKLES):
            return ()
        payload = message.payload
        embed = payload if isinstance(payload, Mapping) else payload[2] or {}
        canvas = {name: embed.get(name) for name in _CANVAS}
        return tuple(map(str, chords_of(Context({**canvas, "group": fields.get("group")}))))
    except Exception:  # noqa: BLE001  # a body that cannot be read names no chord
        return ()


def end_unknown(app: Celery, letter: Letter) -> None:
    """Store the end of an unknown task as Celery does, or that it is held. Raises whatever the result backend does."""
    if letter.held:
        renew(app.backend, letter.chords)
        if not letter.headers.get("ignore_result"):
            meta = {"exc_type": letter.error.exception, "exc_message": letter.error.message, "reason": letter.reason}
            app.backend.store_result(letter.id, meta, QUARANTINED, request=_request(letter))
    else:
        app.backend.mark_as_failure(letter.id, NotRegistered(letter.task), request=_request(letter))


def _request(letter: Letter) -> Context:
    """As Celery makes it up: without canvas, because nobody has read the body."""
    names = ("correlation_id", "reply_to")
    known = {name: letter.properties.get(name) for name in names}
    return Context({"id": letter.id, "task": letter.task, "root_id": letter.root_id, "delivery_info": {}, **known})
