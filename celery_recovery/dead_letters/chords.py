"""Chords that wait for a held letter must still be there when it is replayed.

Celery's Redis backend keeps a chord's counters and collected results under keys that expire with `result_expires` (a
day by default). While a member is held, they are given a new lease now and then. Other backends keep chords without
expiry, or in the results themselves; there is nothing to do for them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.state import OPEN
from celery_recovery.dead_letters.store import DeadLetterStore

__all__ = ("keep_alive", "renew")

logger = logging.getLogger("celery_recovery")

#: What the Redis backend appends to a group's key: the header, collected results, tally, size, members done.
_SUFFIXES = ("", ".j", ".t", ".s", ".d")
#: Longest seconds between two rounds; a third of the lease where that is shorter.
LONGEST_INTERVAL = 3600.0


def keep_alive(backend: Any, store: DeadLetterStore) -> float:
    """Renew every chord that a held letter belongs to; returns the seconds until the next round. Never raises."""
    lease = _lease(backend)
    if not lease:
        return LONGEST_INTERVAL
    try:
        held = store.iterate(Filter(held=True, state=tuple(OPEN)))
        renew(backend, {chord for letter in held for chord in letter.chords})
    except Exception as exc:  # noqa: BLE001  # any store, any error; there is a next round before the keys expire
        logger.warning("held chords were not renewed: %s", exc, extra={"action": "chords_not_renewed"})
        return min(lease / 10, 60.0)
    return min(lease / 3, LONGEST_INTERVAL)


def renew(backend: Any, chords: Iterable[str]) -> None:
    """Give the keys of these chords a lease from now; those that do not exist stay away. Never raises."""
    lease = _lease(backend)
    try:
        for chord in chords if lease else ():
            for suffix in _SUFFIXES:
                backend.expire(backend.get_key_for_group(chord, suffix), int(lease))
    except Exception as exc:  # noqa: BLE001  # any backend, any error: the letter is what counts
        logger.warning("held chords were not renewed: %s", exc, extra={"action": "chords_not_renewed"})


def _lease(backend: Any) -> float:
    """Seconds that the backend keeps a chord; 0 where it does not forget it."""
    keeps = hasattr(backend, "on_chord_part_return") and hasattr(backend, "expire")
    return float(backend.expires or 0) if keeps and hasattr(backend, "get_key_for_group") else 0.0
