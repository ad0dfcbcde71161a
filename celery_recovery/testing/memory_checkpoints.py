"""`MemoryCheckpoints`: the checkpoints of one bench, by the rules of those in Redis.

Each method does what the script of its name in `redis/lua` does; a test drives both side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery_recovery.checkpoint import Run
from celery_recovery.exceptions import CheckpointFenced
from celery_recovery.testing.absent import Absent
from celery_recovery.testing.clock import FakeClock

__all__ = ("MemoryCheckpoints",)


@dataclass(slots=True)
class _Entry:
    begun_at: float
    #: Unix time at which it is dropped.
    ends: float = 0.0
    fence: int = 0
    life: str = ""
    step: int = 0
    state: bytes | None = None
    #: Life of the run that has succeeded; "-": not known; None: none has.
    finished: str | None = None
    #: Number of a part -> what it has done, of a batch that was fanned out.
    parts: dict[int, tuple[int, ...]] = field(default_factory=dict)


class MemoryCheckpoints(Absent):
    """See `CheckpointStore`, whose methods these are. Durations are seconds."""

    _what = "checkpoints"

    def __init__(self, clock: FakeClock, *, ttl: float, kept: float, most: int) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._fence = 0
        self._ttl = ttl
        #: For how long the message of a success finds its state again.
        self.kept = kept
        #: Most bytes of a state as JSON.
        self.most = most

    def open(self, name: str, run: Run) -> tuple[str, bytes | None]:
        """`checkpoint_open.lua`. Raises `CheckpointFenced`."""
        entry, now = self._entry(name) or _Entry(self._clock.now()), self._clock.now()
        if run.life and entry.life == run.life and entry.step > run.step:
            raise CheckpointFenced
        if entry.finished is not None and not run.once and (not run.life or entry.finished != run.life):
            entry.finished = entry.state = None
        self._fence = entry.fence = max(self._fence + 1, int(now * 1e6))  # time may stand still here
        entry.life, entry.step, entry.ends = run.life, run.step, now + self._ttl
        self._entries[name] = entry
        return str(entry.fence), entry.state

    def save(self, name: str, fence: str, state: bytes, progress: Run | None = None) -> None:  # noqa: ARG002
        """`checkpoint_save.lua`, without the note of progress: no process dies here. Raises `CheckpointFenced`."""
        entry = self._held(name, fence)
        entry.state, entry.ends = state or None, self._clock.now() + self._ttl

    def finish(self, name: str, fence: str, run: Run) -> None:
        """`checkpoint_finish.lua`. Raises `CheckpointFenced`."""
        entry = self._held(name, fence)
        entry.finished, entry.ends = run.life or "-", self._clock.now() + self.kept

    def join(self, name: str, part: int, done: Sequence[int], total: int, who: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """`fan_note.lua`."""
        now = self._clock.now()
        entry = self._entries[name] = self._entry(name) or _Entry(now)
        entry.parts[part] = tuple(done)
        sums = [sum(column) for column in zip(*entry.parts.values(), strict=True)]
        spent = now - entry.begun_at
        joint = {
            "batch": "fan_out", **dict(zip(("done", "succeeded", "failed", "discarded"), sums, strict=True)),
            "total": total, "era": 0, "rate": sums[0] / spent if spent > 0 else None,
        }  # fmt: skip
        entry.state, entry.ends = json.dumps(joint).encode(), now + self._ttl
        return joint

    def clear(self, name: str, **_: Any) -> bool:
        """Drop it; False: there was none."""
        return self._entry(name) is not None and self._entries.pop(name, None) is not None

    def state(self, name: str) -> Any:
        """What is saved under this name; None: nothing, or its task has succeeded."""
        entry = self._entry(name)
        return None if entry is None or entry.finished is not None or entry.state is None else json.loads(entry.state)

    def names(self) -> Iterator[str]:
        """All of tasks that have not succeeded."""
        return (name for name in list(self._entries) if self.state(name) is not None)

    def seconds_left(self, name: str) -> float | None:
        """Until it is dropped; None: there is none."""
        entry = self._entry(name)
        return None if entry is None else entry.ends - self._clock.now()

    def _entry(self, name: str) -> _Entry | None:
        entry = self._entries.get(name)
        return entry if entry is not None and entry.ends > self._clock.now() else None

    def _held(self, name: str, fence: str) -> _Entry:
        entry = self._entry(name)
        if entry is None or str(entry.fence) != fence:
            raise CheckpointFenced
        return entry
