"""Where a letter can be, and which ways lead from one place to the next."""

from __future__ import annotations

import enum

__all__ = ("FINISHED", "OPEN", "TRANSITIONS", "LetterState")


class LetterState(str, enum.Enum):
    """What is to become of a letter. Values are the words shown everywhere: CLI, logs, Redis."""

    FAILED = "failed"  # quarantined: nothing happens to it until someone acts
    REVIEW = "review"  # set aside for a person; a replay of all failed letters passes it by
    RETRY = "retry"  # claimed by a replay, not yet known to be published
    REPLAYED = "replayed"  # published again, outcome not known yet
    RECOVERED = "recovered"  # its replay succeeded
    DISCARDED = "discarded"  # dropped by a person, or by a policy that says so

    def __str__(self) -> str:
        return self.value


#: Nothing is left to do with these; they are kept for `letter_max_age` as a record, then removed.
FINISHED = frozenset({LetterState.RECOVERED, LetterState.DISCARDED})
#: These wait for someone or something, and are never removed by age.
OPEN = frozenset(LetterState) - FINISHED

_DEAD = frozenset({LetterState.FAILED, LetterState.REVIEW})

#: Every legal change of state; None is "no such letter". The scripts in `redis/lua` do these and no others, which
#: tests check. Some need a word. FAILED to REPLAYED or RECOVERED: a copy published by a replay that gave up
#: (`unclaim`), or whose claim Redis lost, is on its way after all, and has just started or succeeded. RECOVERED to
#: FAILED: a task was sent afresh under the same id, and died.
TRANSITIONS: dict[LetterState | None, frozenset[LetterState | None]] = {
    None: _DEAD,
    LetterState.FAILED: frozenset(LetterState),
    LetterState.REVIEW: frozenset(LetterState),
    LetterState.RETRY: frozenset(LetterState),
    LetterState.REPLAYED: frozenset(LetterState),
    LetterState.RECOVERED: _DEAD | {LetterState.REPLAYED, None},
    LetterState.DISCARDED: _DEAD | {None},
}
