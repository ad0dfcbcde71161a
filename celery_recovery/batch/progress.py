"""`Progress`: where a batch stands, as it is saved.

A batch goes through its source in order, so all that is done lies in front of one position: what is saved stays as
small after a million items as after one. Of sources with keys it holds a digest of the keys so far, by which a source
that has changed is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ("Digest", "Progress")


@dataclass(slots=True, kw_only=True)
class Progress:
    """One batch. Saved as JSON in its checkpoint."""

    batch: str = "1"
    #: Items from the front that need nothing more: the position of the next.
    done: int = 0
    #: What became of them.
    succeeded: int = 0
    failed: int = 0
    discarded: int = 0
    #: Replays of the task, and how many had failed when it was last replayed: these do not count towards a limit.
    replays: int = 0
    forgiven: int = 0
    #: Items in all; None: nobody knows.
    total: int | None = None
    #: Length of the source, where it told; digest of the keys of what is done, where there are keys.
    length: int | None = None
    digest: str | None = None
    #: Grows with each `on_change="restart"`: positions mean other items then.
    era: int = 0
    #: Seconds of work, over all runs; items per second of this one; when this was saved (unix s).
    seconds: float = 0.0
    rate: float | None = None
    at: float = 0.0

    @classmethod
    def load(cls, state: Any, batch: str) -> Progress:
        """What was saved, or the beginning."""
        if not isinstance(state, Mapping):
            return cls(batch=batch)
        known = {item.name for item in fields(cls)}
        return cls(**{**{name: value for name, value in state.items() if name in known}, "batch": batch})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, at the rate of this run; None: not known."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate

    def told(self) -> dict[str, Any]:
        """As the state PROGRESS carries it."""
        return {
            "batch": self.batch, "done": self.done, "succeeded": self.succeeded, "failed": self.failed,
            "discarded": self.discarded, "total": self.total, "rate": self.rate, "remaining": self.remaining,
        }  # fmt: skip


class Digest:
    """Of keys in their order, however many are added at once."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, keys: Iterable[Any]) -> None:
        """The next keys."""
        if text := "\n".join(map(repr, keys)):
            self._hash.update(f"{text}\n".encode("utf-8", "surrogatepass"))

    def text(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()
