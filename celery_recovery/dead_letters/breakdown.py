"""What a selection of letters is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_recovery.dead_letters.figures import TABLES

if TYPE_CHECKING:
    from celery_recovery.dead_letters.figures import StoreStats

__all__ = ("Breakdown",)


@dataclass(kw_only=True)
class Breakdown:
    """Counts by state, of all; by task and its like, of those that are not finished."""

    by_state: Counter[str] = field(default_factory=Counter)
    by_task: Counter[str] = field(default_factory=Counter)
    by_error_type: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    by_queue: Counter[str] = field(default_factory=Counter)
    by_fingerprint: Counter[str] = field(default_factory=Counter)
    #: Letters that a caller, chord or chain waits for; None: not counted.
    held: int | None = 0
    #: Letters that are not finished.
    open: int = 0
    #: Time of death of the oldest and newest that is not finished (unix s); None without any.
    oldest: float | None = None
    newest: float | None = None
    #: False: there are more, which were not counted.
    is_whole: bool = True

    @classmethod
    def of_stats(cls, stats: StoreStats) -> Breakdown:
        """The figures that the store keeps of all letters."""
        tables: Any = {f"by_{name}": Counter(getattr(stats, f"by_{name}")) for name in ("state", *TABLES)}
        return cls(**tables, held=None, open=stats.open, oldest=stats.oldest, newest=stats.newest)

    @property
    def count(self) -> int:
        """All letters."""
        return self.by_state.total()

    def table(self, name: str) -> Counter[str]:
        """The counts by `"task"`, `"error_type"` and so on."""
        found: Counter[str] = getattr(self, f"by_{name}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, largest counts first."""
        tables = {f"by_{name}": dict(self.table(name).most_common()) for name in ("state", *TABLES)}
        if self.by_fingerprint:
            tables["by_fingerprint"] = dict(self.by_fingerprint.most_common(20))
        ends = {"oldest": self.oldest, "newest": self.newest}
        return {"open": self.open, "held": self.held, **tables, **ends}

    def add(self, tally: Mapping[str, Any]) -> None:
        """What `letter_tally.lua` has counted of some letters more."""
        for name in ("state", *TABLES, "fingerprint"):
            self.table(name).update(tally[name] or {})  # an empty table is an empty list in Lua's JSON
        self.open += tally["open"]
        self.held = (self.held or 0) + tally["held"]
        if "oldest" in tally:
            oldest, newest = float(tally["oldest"]), float(tally["newest"])
            self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
            self.newest = newest if self.newest is None else max(self.newest, newest)
