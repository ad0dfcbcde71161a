"""How long to wait: pure arithmetic from the attempt that failed to seconds. First step of every retry decision.

Jitter follows Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), with one addition: a floor. His full
jitter may draw 0, which for a task means "again, at once". We draw from `[floor, delay]` rather than raise low draws to
the floor, because the latter would make many tasks wake at exactly the same moment, and that is what jitter is against.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

__all__ = ("Backoff", "BackoffStrategy", "Jitter", "RandomSource", "jittered", "raw_delay")


class BackoffStrategy(str, enum.Enum):
    """How the delay grows with the attempts that have failed (n = 1, 2, 3, …)."""

    FIXED = "fixed"  # base
    LINEAR = "linear"  # base * n
    EXPONENTIAL = "exponential"  # base * 2**(n-1)
    FIBONACCI = "fibonacci"  # base * 1, 1, 2, 3, 5 …

    def __str__(self) -> str:
        return self.value


class Jitter(str, enum.Enum):
    """How much of the delay is left to chance. `d` is the delay, `b` the base, `p` the delay before."""

    NONE = "none"  # d
    FULL = "full"  # between floor and d
    EQUAL = "equal"  # between d/2 and d
    DECORRELATED = "decorrelated"  # between b and 3p; the strategy plays no part

    def __str__(self) -> str:
        return self.value


#: A strategy, or any callable from the attempt that failed (1-based) to seconds.
Backoff = BackoffStrategy | Callable[[int], float]


class RandomSource(Protocol):
    """What is needed of a random source: `random.Random`, or the module `random` itself."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number from `a` to `b`, each equally likely."""
        ...


def raw_delay(strategy: Backoff, attempt: int, base: float, maximum: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (1-based), without jitter, within 0..`maximum`.

    A callable's answer is clamped to 0..`maximum` (+inf too). Where it raises, or answers with anything that is not a
    number >= 0, the exponential delay stands in for it: a mistake in a formula must not cost the task its retry, nor
    turn into a retry at once.
    """
    attempt = max(attempt, 1)
    delay = _called(strategy, attempt) if callable(strategy) else None
    if delay is None:
        formula = _FORMULAS[strategy if isinstance(strategy, BackoffStrategy) else BackoffStrategy.EXPONENTIAL]
        delay = formula(base, attempt)
    return min(max(delay, 0.0), maximum)


def jittered(
    delay: float,
    jitter: Jitter,
    *,
    base: float,
    previous: float | None,
    maximum: float,
    random: RandomSource,
    floor: float = 0.0,
) -> float:
    """Spread `delay` by `jitter`; all in seconds. The result is within `floor`..`maximum`, never above `maximum`.

    `previous` is the delay before the attempt that failed (None: there was none), which only DECORRELATED looks at.
    """
    low, high = _range(delay, jitter, base, previous)
    low = min(max(low, floor), maximum)
    high = min(max(high, low), maximum)
    drawn = random.uniform(low, high) if low < high else low
    return min(max(drawn, low), high)  # uniform() may round beyond its bounds


def _range(delay: float, jitter: Jitter, base: float, previous: float | None) -> tuple[float, float]:
    """Where a jitter draws from, before floor and maximum."""
    if jitter is Jitter.FULL:
        return 0.0, delay
    if jitter is Jitter.EQUAL:
        return delay / 2, delay
    if jitter is Jitter.DECORRELATED:
        return base, 3 * (base if previous is None else previous)
    return delay, delay


def _called(formula: Callable[[int], object], attempt: int) -> float | None:
    """A user's answer (a number or a timedelta) as seconds, or None when it cannot be used."""
    try:
        answer = formula(attempt)
        if isinstance(answer, (bool, str, bytes)):
            return None
        delay = answer.total_seconds() if isinstance(answer, timedelta) else float(answer)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  # the user's code: it may raise anything
        return None
    return delay if delay >= 0 else None  # nan compares false


def _exponential(base: float, attempt: int) -> float:
    try:
        return math.ldexp(base, attempt - 1)
    except OverflowError:
        return math.inf


def _linear(base: float, attempt: int) -> float:
    try:
        return base * attempt
    except OverflowError:  # an int beyond a float's range
        return math.inf


def _fibonacci(base: float, attempt: int) -> float:
    """Stops where a float ends (the 1,477th number), whatever `attempt` is."""
    current, following = 0.0, 1.0
    for _ in range(min(attempt, 1477)):
        current, following = following, current + following
    return base * current if base else 0.0


_FORMULAS: dict[BackoffStrategy, Callable[[float, int], float]] = {
    BackoffStrategy.FIXED: lambda base, _attempt: base,
    BackoffStrategy.LINEAR: _linear,
    BackoffStrategy.EXPONENTIAL: _exponential,
    BackoffStrategy.FIBONACCI: _fibonacci,
}
