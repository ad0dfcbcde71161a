"""What a bench does not have says so."""

from __future__ import annotations

from typing import Any

__all__ = ("Absent", "NotOnTheBench")


class NotOnTheBench(NotImplementedError, AttributeError):
    """`celery_recovery.testing` has no stand-in for this: test it with a real Redis and a worker."""


class Absent:
    """Answers for all that it does not have."""

    #: How it is called in the message.
    _what = "this part"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and the like ask, and go on
            raise AttributeError(name)
        told = f"`{name}` of the {self._what} is not in memory on a test bench"
        raise NotOnTheBench(f"{told}: test it with a real Redis and a worker")
