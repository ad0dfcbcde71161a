"""Held letters: the result of the task is still open, and a chord or chain may wait for it.

A replay that succeeds ends the wait. A discard must end it too: with the failure that the caller has not been told of.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.backends.base import Backend

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.exceptions import DiscardedLetter

__all__ = ("ChordWatch", "fail_held")

CHORD_FAILED = "its chord has failed already: the task runs, the chord's body does not"
CHORD_EXPIRED = "its chord is gone from the result backend: the task runs, the chord's body does not"


def fail_held(app: Celery, letter: Letter) -> str | None:
    """Fail the task as Celery would have: result, chord, chain and errbacks. Returns a warning, or None.

    Chord, chain and errbacks are in the body, which is read only when it is JSON; for any other serialiser the result
    alone is failed, and the warning says so.
    """
    embed = letter.embed
    error = letter.error
    exc = DiscardedLetter(f"{error.exception}: {error.message}" if error.message else error.exception)
    app.backend.mark_as_failure(letter.id, exc, traceback=error.traceback, request=_request(letter, embed or {}))
    if embed is None:
        return "its body is not JSON: the result was failed, a chord or chain that waits for it was not"
    return None


def _request(letter: Letter, embed: dict[str, Any]) -> Context:
    """The request as the worker had it, as far as a failure needs it."""
    args, kwargs = letter.arguments or ([], {})
    parts = {name: embed.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
    return Context({**letter.headers, **parts, "args": args, "kwargs": kwargs, "delivery_info": {}})


class ChordWatch:
    """Tells, before a letter is replayed, whether the chord it belongs to can still end."""

    def __init__(self, app: Celery) -> None:
        self._backend = app.backend
        self._known: dict[str, bool] = {}

    def __call__(self, letter: Letter) -> str | None:
        """A warning, or None when there is no chord or all is well."""
        if not letter.chords:
            return None
        if not letter.held:
            return CHORD_FAILED
        return None if all(map(self._waits, letter.chords)) else CHORD_EXPIRED

    def _waits(self, chord: str) -> bool:
        """False when Celery's Redis backend has forgotten the chord; other backends cannot be asked."""
        if type(self._backend).set_chord_size is Backend.set_chord_size:
            return True
        if chord not in self._known:
            self._known[chord] = self._backend.get(self._backend.get_key_for_group(chord, ".s")) is not None
        return self._known[chord]
