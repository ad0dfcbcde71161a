"""`BatchPolicy`: how a batch goes on, when it notes what is done, and when it stops.

The limits are judged when an item is set aside, over the items that this run has gone through (the last `window`):

    max_failures   so many in all, since the task was sent or replayed: the batch is not worth going on
    max_share      so large a part of the window failed
    max_alike      so large a part of the window failed with one fingerprint: this is not data, this is a bug

The shares count from `least` items on. What an *outage* does is not data either: `outage_after` items in a row whose
failures would pass with time are taken as one failure of the batch, and none of them is set aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from celery_recovery.exceptions import ConfigurationError, as_seconds

__all__ = ("ON_CHANGE", "ON_FAILURES", "BatchPolicy")

#: What a batch with failed items is to its caller, and what becomes of one whose source has changed.
ON_FAILURES, ON_CHANGE = ("succeed", "fail"), ("stop", "restart")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """One batch's settings. Durations in seconds, shares from 0 to 1; None where it is allowed: no limit.

    Raises `ConfigurationError` for a value that makes no sense.
    """

    #: What is done is noted after so many items …
    flush_every: int = 100
    #: … or so many seconds (Sidekiq's iterable jobs: 5), whichever is first. A kill repeats no more than that.
    flush_after: float = 5.0
    #: Tries of one item in place; the error's own policy may allow fewer.
    attempts: int = 3
    #: Longest wait before another try in place. Who asks for longer (`Retry-After`) ends the attempt of the whole task.
    max_delay: float = 5.0
    #: Items in a row that fail of what would pass with time: an outage.
    outage_after: int = 10
    #: Items set aside in all, since the task was sent or replayed.
    max_failures: int | None = 1000
    #: Part of the window that may fail.
    max_share: float | None = 0.5
    #: Part of the window that may fail alike.
    max_alike: float | None = 0.3
    #: Items that the shares look back on, and from how many on they count.
    window: int = 1000
    least: int = 50
    #: What a batch with items set aside is to its caller: `"succeed"`, with a result that says so, or `"fail"`.
    on_failures: str = "succeed"
    #: A source that is not what it was: `"stop"` (the task fails, and keeps where it stood) or `"restart"` (whatever
    #: the source has now is gone through).
    on_change: str = "stop"
    #: Seconds between two reports of progress to the result backend; None: it is not told.
    progress_every: float | None = 2.0

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _CHECKS[item.name](getattr(self, item.name), f"batch.{item.name}"))

    def replace(self, **changes: Any) -> BatchPolicy:
        """A copy with some fields changed. Raises `ConfigurationError`; for an unknown field with the nearest name."""
        for name in changes:
            if name not in _CHECKS:
                expected = f"one of {', '.join(_CHECKS)}"
                raise ConfigurationError.of(f"batch.{name}", expected=expected, got=name, known=_CHECKS)
        return replace(self, **changes)

    @classmethod
    def of(cls, value: Any) -> BatchPolicy:
        """Read the forms that a user may write: a BatchPolicy, a mapping of its fields, None for the defaults."""
        if value is None or isinstance(value, BatchPolicy):
            return value or cls()
        if isinstance(value, Mapping):
            return cls().replace(**value)
        raise ConfigurationError.of("batch_policy", expected="a BatchPolicy or a mapping of its fields", got=value)


def _whole(value: Any, option: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigurationError.of(option, expected="a whole number >= 1", got=value)


def _seconds(value: Any, option: str) -> float:
    return as_seconds(value, option)


def _share(value: Any, option: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1 and math.isfinite(value):
        return float(value)
    raise ConfigurationError.of(option, expected="a number above 0 and up to 1", got=value)


def _or_none(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, option: None if value is None else check(value, option)


def _one_of(words: tuple[str, ...]) -> Callable[[Any, str], Any]:
    def check(value: Any, option: str) -> str:
        if value in words:
            return str(value)
        raise ConfigurationError.of(option, expected=f"one of {', '.join(words)}", got=value, known=words)

    return check


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "flush_every": _whole,
    "flush_after": _seconds,
    "attempts": _whole,
    "max_delay": _seconds,
    "outage_after": _whole,
    "max_failures": _or_none(_whole),
    "max_share": _or_none(_share),
    "max_alike": _or_none(_share),
    "window": _whole,
    "least": _whole,
    "on_failures": _one_of(ON_FAILURES),
    "on_change": _one_of(ON_CHANGE),
    "progress_every": _or_none(_seconds),
}
