"""What a run throws for dice."""

from __future__ import annotations

__all__ = ("Longest",)


class Longest:
    """Jitter switched off: of all delays that the dice allow, the longest, so that a run is the same each time.

    For other throws give `random.Random(7)`, or anything with its `uniform`.
    """

    def uniform(self, a: float, b: float, /) -> float:
        """The larger end."""
        return max(a, b)
