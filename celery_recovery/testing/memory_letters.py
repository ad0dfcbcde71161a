"""`MemoryLetters`: the dead letters of one bench, by the rules of the store in Redis.

Only what a run and a replay need of it. Each method does what the script of its name in `redis/lua` does; a test drives
both side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.scope import REPLAY
from celery_recovery.dead_letters.state import FINISHED, LetterState
from celery_recovery.dead_letters.store import LEASE, Added, Claim, Start
from celery_recovery.testing.absent import Absent
from celery_recovery.testing.clock import FakeClock

__all__ = ("MemoryLetters",)

_FAILED, _REVIEW, _RETRY = LetterState.FAILED, LetterState.REVIEW, LetterState.RETRY
_REPLAYED, _RECOVERED = LetterState.REPLAYED, LetterState.RECOVERED
#: What stays of a letter that dies again.
_STAYS = ("operation", "token", "number", "copy", "runtime", "replayed_by", "by", "note", "assignee", "edits")


@dataclass(slots=True)
class _Entry:
    letter: Letter
    #: Of the letter as it came: what tells this death from others.
    death: str
    lease: float = 0.0
    claimed_from: LetterState = _FAILED


class MemoryLetters(Absent):
    """See `DeadLetterStore`, whose methods these are."""

    _what = "store of dead letters"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def __iter__(self) -> Iterator[Letter]:
        """All of them, in the order in which they died first."""
        return iter([entry.letter for entry in self._entries.values()])

    def get(self, letter_id: str) -> Letter | None:
        """One letter, or None."""
        entry = self._entries.get(letter_id)
        return None if entry is None else entry.letter

    # -- the worker's side

    def add(self, letter: Letter) -> Added:
        """`letter_add.lua`."""
        now, entry = self._clock.now(), self._entries.get(letter.id)
        if entry is None:
            sent = _of_replay(letter)
            self._entries[letter.id] = _Entry(letter.changed(stored_at=now, changed_at=now, **sent), letter.death)
            return "new"
        known = entry.letter
        if entry.death == letter.death or not _is_news(known, letter):
            return "duplicate"
        stays = {name: getattr(known, name) for name in _STAYS}
        entry.letter = letter.changed(
            **{**stays, **_of_replay(letter)},
            stored_at=known.stored_at,
            changed_at=now,
            outcome="died again",
            replays=max(known.replays, letter.replays),
            first_failure=min(known.first_failure, letter.first_failure),
        )
        entry.death, entry.lease = letter.death, 0.0
        return "again"

    def started(self, letter_id: str, token: str, copy: str, worker: str = "", *, fresh: bool = False) -> Start:
        """`letter_start.lua`."""
        letter = self.get(letter_id)
        if letter is None:
            return "run"
        if letter.state is LetterState.DISCARDED:
            return "gone"
        number = _number(token)
        is_current = token == letter.token
        if not is_current and number <= max(letter.number, letter.replays):
            return "twin"
        if is_current and letter.copy:
            is_dead = letter.state in (_FAILED, _REVIEW)
            return "run" if letter.copy == copy and not is_dead and not fresh else "twin"
        if is_current and letter.state is _RECOVERED:
            return "twin"
        self._move(letter, _REPLAYED, token=token, number=number, replays=number, copy=copy, replayed_by=worker)
        return "run"

    def recovered(self, letter_id: str, copy: str, runtime: float = 0.0, worker: str = "") -> bool:
        """`letter_recover.lua`."""
        letter = self.get(letter_id)
        if letter is None or letter.state in FINISHED:
            return False
        self._move(letter, _RECOVERED, outcome="recovered", copy=copy, runtime=runtime, replayed_by=worker)
        return True

    def settle(self, letter_id: str, copy: str, state: LetterState, outcome: str) -> bool:
        """`letter_settle.lua`."""
        letter = self.get(letter_id)
        if letter is None or letter.copy != copy or letter.state is not _REPLAYED:
            return False
        self._move(letter, state, outcome=outcome)
        return True

    # -- replay

    def claim(
        self,
        ids: Sequence[str],
        operation: str,
        *,
        lease: float = LEASE,
        states: Iterable[LetterState] = REPLAY.by_id,
        max_replays: int | None = None,
    ) -> list[Claim]:
        """`letter_claim.lua`."""
        return [self._claim(one, operation, lease, frozenset(states), max_replays) for one in ids]

    def published(self, ids: Sequence[str], operation: str) -> int:
        """`letter_publish.lua`."""
        claimed = [entry for one in ids if (entry := self._claimed(one, operation)) is not None]
        for entry in claimed:
            self._move(entry.letter, _REPLAYED, replays=entry.letter.number)
        return len(claimed)

    def unclaim(self, ids: Sequence[str], operation: str) -> int:
        """`letter_unclaim.lua`."""
        claimed = [entry for one in ids if (entry := self._claimed(one, operation)) is not None]
        for entry in claimed:
            self._move(entry.letter, entry.claimed_from)
        return len(claimed)

    def edit(
        self, letter: Letter, *, by: str = "", reason: str = "", operation: str = "", after: str = "",  # noqa: ARG002
    ) -> str:  # fmt: skip
        """`letter_edit.lua`, without the versions before."""
        known = self.get(letter.id)
        if known is None:
            return "unknown"
        if known.state not in (_FAILED, _REVIEW):
            return "passed"
        if known.died_at != letter.died_at or known.edits != letter.edits:
            return "changed"
        kept = self._entries[letter.id]
        kept.letter = letter.changed(edits=letter.edits + 1, by=by, note=reason, changed_at=self._clock.now())
        return "edited"

    # -- within

    def _claim(
        self, letter_id: str, operation: str, lease: float, states: frozenset[LetterState], most: int | None
    ) -> Claim:
        entry, now = self._entries.get(letter_id), self._clock.now()
        if entry is None:
            return Claim(letter_id, "unknown")
        letter = entry.letter
        is_sent = bool(letter.copy) or letter.state is _REPLAYED
        if is_sent and letter.state is not _RETRY and letter.operation == operation:
            return Claim(letter_id, "ours")
        if letter.state not in states:
            return Claim(letter_id, "passed", detail=letter.state.value)
        if letter.state is _RETRY and letter.operation != operation and entry.lease > now:
            return Claim(letter_id, "leased", detail=f"{entry.lease - now:.3f}")
        is_unstarted = not letter.copy and letter.state in (_RETRY, _REPLAYED)
        number = letter.number if is_unstarted else letter.replays + 1
        if most is not None and number > most:
            return Claim(letter_id, "exhausted", detail=str(letter.replays))
        if letter.state is not _RETRY:
            entry.claimed_from = _REVIEW if letter.state is _REVIEW else _FAILED
        self._move(
            letter, _RETRY, operation=operation, number=number, token=f"{letter_id}:{number}", copy="", outcome=""
        )
        entry.lease = now + lease
        return Claim(letter_id, "claimed", entry.letter)

    def _claimed(self, letter_id: str, operation: str) -> _Entry | None:
        entry = self._entries.get(letter_id)
        is_ours = entry is not None and entry.letter.state is _RETRY and entry.letter.operation == operation
        return entry if is_ours else None

    def _move(self, letter: Letter, state: LetterState, **changes: Any) -> None:
        entry = self._entries[letter.id]
        entry.letter = letter.changed(state=state, changed_at=self._clock.now(), **changes)
        entry.lease = 0.0


def _of_replay(letter: Letter) -> dict[str, Any]:
    """What a letter whose replay has died says of that."""
    told = {name: letter.replay[name] for name in ("token", "copy", "operation") if letter.replay.get(name)}
    return {**told, "number": letter.replays} if told else {}


def _is_news(known: Letter, letter: Letter) -> bool:
    """Whether a death tells something new of a letter that exists: by its life first, the number of replays."""
    life = letter.replays
    if known.state in (_RETRY, _REPLAYED):
        return 0 < life >= known.number
    if known.state not in FINISHED:
        return life > known.replays
    return life > known.number or (life == 0 and letter.died_at > known.changed_at)


def _number(token: str) -> int:
    _, found, digits = token.rpartition(":")
    return int(digits) if found and digits.isdigit() else 0
