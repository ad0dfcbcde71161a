"""Chords that wait for a held letter must still be there when it is replayed.

Celery's Redis backend keeps a chord's counters and collected results under keys that expire with `result_expires` (a
day by default). While a member is held, they are given a new lease now and then. Other backends keep chords without
expiry, or in the results themselves; there is nothing to do for them.
"""

from __future__ import annotations

import logging
from typing import Any

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.state import OPEN
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import StoreUnavailable

__all__ = ("keep_alive",)

logger = logging.getLogger(__name__)

#: What the Redis backend appends to a group's key: the header, collected results, tally, size, members done, claim.
_SUFFIXES = ("", ".j", ".t", ".s", ".d")


def keep_alive(backend: Any, store: DeadLetterStore) -> int:
    """Renew the keys of every chord that a held letter belongs to; returns how many chords. Never raises."""
    if not hasattr(backend, "on_chord_part_return") or not hasattr(backend, "expire") or not backend.expires:
        return 0
    try:
        chords = {chord for letter in store.iterate(Filter(held=True, state=tuple(OPEN))) for chord in letter.chords}
        for chord in chords:
            renew(backend, chord)
    except StoreUnavailable as exc:
        logger.warning("held chords were not renewed: %s", exc, extra={"action": "chords_not_renewed"})
        return 0
    except Exception:  # any backend, any error; there is a next round long before the keys expire
        logger.exception("held chords were not renewed", extra={"action": "chords_not_renewed"})
        return 0
    return len(chords)


def renew(backend: Any, chord: str) -> None:
    """Give the keys of one chord `result_expires` seconds from now; those that do not exist stay away."""
    for suffix in _SUFFIXES:
        backend.expire(backend.get_key_for_group(chord, suffix), int(backend.expires))
