"""Which letters an action is for, by the state they are in; the same for the operator's object and the command line.

A filter that names no state means fewer letters than ids do: who writes an id down has that letter in mind. What has
come to its end is never replayed, whoever asks, since completed work must not run again; a discarded letter can be
restored first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.exceptions import ConfigurationError

__all__ = ("ANNOTATE", "DISCARD", "EDIT", "REPLAY", "RESTORE", "REVIEW", "REVIEWED", "TAKE", "Scope", "either")

_FAILED, _REVIEW, _RETRY = LetterState.FAILED, LetterState.REVIEW, LetterState.RETRY
_DISCARDED = LetterState.DISCARDED
_OPEN = tuple(state for state in LetterState if state in OPEN)


class Scope(NamedTuple):
    """The states that letters may be in for one action."""

    #: The action, as the command line calls it.
    action: str
    #: What a filter means that names no state.
    by_filter: tuple[LetterState, ...]
    #: What it means when it names letters by id.
    by_id: tuple[LetterState, ...]
    #: What it may name.
    possible: tuple[LetterState, ...]

    def within(self, where: Filter) -> Filter:
        """The filter with its states named. Raises `ConfigurationError` for one that the action is not for."""
        for state in where.state:
            if state not in self.possible:
                expected = f"{either(self.possible)} (for {self.action})"
                raise ConfigurationError.of("state", expected=expected, got=str(state))
        return where if where.state else replace(where, state=self.by_id if where.ids else self.by_filter)


#: Review is left out of `by_filter`: those letters wait for a person's word on each. `retry` is in it: letters that a
#: killed replay left behind. `replayed` has to be asked for: the message is on its way, unless the broker lost it.
REPLAY = Scope("replay", by_filter=(_FAILED, _RETRY), by_id=(_FAILED, _REVIEW, _RETRY), possible=_OPEN)
DISCARD = Scope("discard", by_filter=(_FAILED, _REVIEW), by_id=_OPEN, possible=_OPEN)
EDIT = Scope("edit", by_filter=(_FAILED, _REVIEW), by_id=(_FAILED, _REVIEW), possible=(_FAILED, _REVIEW))
REVIEW = Scope("review", by_filter=(_FAILED,), by_id=(_FAILED,), possible=(_FAILED,))
TAKE = Scope("assign", by_filter=(_REVIEW,), by_id=(_FAILED, _REVIEW), possible=(_FAILED, _REVIEW))
ANNOTATE = Scope("annotate", by_filter=_OPEN, by_id=tuple(LetterState), possible=tuple(LetterState))
#: What is approved or rejected waits for a person's word.
REVIEWED = Scope("approve and reject", by_filter=(_REVIEW,), by_id=(_REVIEW,), possible=(_REVIEW,))
RESTORE = Scope("restore", by_filter=(_REVIEW,), by_id=(_REVIEW, _DISCARDED), possible=(_REVIEW, _DISCARDED))


def either(states: Sequence[LetterState]) -> str:
    """The states in words, as in `"failed, review or retry"`."""
    *others, last = map(str, states)
    return f"{', '.join(others)} or {last}" if others else last
