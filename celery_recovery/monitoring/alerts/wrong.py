"""`NotSent`: a sink did not take an alert."""

from __future__ import annotations

__all__ = ("NotSent",)


class NotSent(Exception):
    """Not sent, and why; `after`: the seconds that the sink wants to be left alone."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why, after)
        self.why = why
        self.after = after

    def __str__(self) -> str:
        return self.why
