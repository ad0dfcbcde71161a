"""Names and durations in findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ("listed", "named", "span")

#: Names that a finding shows; of more it gives the number.
SHOWN = 5


def listed(names: Iterable[str]) -> str:
    """`a, b, c, d, e and 7 more`."""
    ordered = sorted(names)
    rest = len(ordered) - SHOWN
    return ", ".join(ordered[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def named(tasks: Sequence[Any]) -> str:
    """`3 tasks: a, b, c`."""
    return f"{len(tasks)} task{'s' if len(tasks) > 1 else ''}: {listed(task.name for task in tasks)}"


def span(seconds: float) -> str:
    """`12.5 s`, in the unit that the settings have."""
    return f"{seconds:g} s" if seconds < 1e6 else f"{seconds:.0f} s"
