"""How one kind of error is retried: how often, how slowly, how long. The arithmetic itself is in `backoff.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from celery_recovery.backoff import Backoff, BackoffStrategy, Jitter, RandomSource, jittered, raw_delay
from celery_recovery.exceptions import ConfigurationError, as_member, as_seconds

__all__ = ("LONGEST_DELAY", "NEVER", "RetryPolicy")

#: No delay is longer, whoever asks for it: a year, in seconds. Beyond that dates overflow, and nobody waits any more.
LONGEST_DELAY = 365 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How one kind of error is retried. Durations are seconds; int, float and timedelta are accepted.

    Raises ConfigurationError that names the option, what was expected and what was given.
    """

    #: Runs in all, the first included; None: no limit in number (better with a `deadline`).
    max_attempts: int | None = 5
    #: Seconds that the backoff starts from.
    base_delay: float = 1.0
    #: Seconds that no computed delay exceeds. A server's own Retry-After may.
    max_delay: float = 300.0
    #: How the delay grows: a strategy, its name, or a callable from the failed attempt (1-based) to seconds.
    backoff: Backoff = BackoffStrategy.EXPONENTIAL
    #: How much of it is left to chance. EQUAL spreads almost as well as FULL, and with it at least half of the planned
    #: time is certain to pass before the attempts are used up; with FULL a run of low draws gives up early.
    jitter: Jitter = Jitter.EQUAL
    #: Seconds that no delay after an error falls below, whatever the jitter. None: half of `base_delay`, at most 0.5.
    min_delay: float | None = None
    #: Seconds after the *first failure* of this life of the task within which every retry has to start; None: no limit.
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name, value in _changed({}, _as_dict(self), "RetryPolicy").items():
            object.__setattr__(self, name, value)

    @property
    def floor(self) -> float:
        """`min_delay` as a number of seconds."""
        return min(0.5, self.base_delay / 2) if self.min_delay is None else self.min_delay

    def delay(self, attempt: int, previous: float | None, random: RandomSource) -> float:
        """Seconds to wait after the failure of `attempt` (1-based); `previous`: the delay before it, None at first."""
        return jittered(
            raw_delay(self.backoff, attempt, self.base_delay, self.max_delay),
            self.jitter,
            base=self.base_delay,
            previous=previous,
            maximum=self.max_delay,
            random=random,
            floor=self.floor,
        )

    def replace(self, **changes: Any) -> RetryPolicy:
        """A copy with some fields changed and checked; a bound that is not named gives way to one that is.

        Raises ConfigurationError; for an unknown field with the nearest name.
        """
        return RetryPolicy(**_changed(_as_dict(self), changes, "RetryPolicy"))

    @classmethod
    def of(cls, value: Any, option: str = "RetryPolicy") -> RetryPolicy:
        """Read the forms that a user may write; `option` is what a ConfigurationError calls it.

        A RetryPolicy is itself; a mapping gives its fields; an int is `max_attempts`; None or False is "never retry".
        """
        if isinstance(value, RetryPolicy):
            return value
        if value is None or value is False:
            return NEVER
        if isinstance(value, Mapping):
            return cls(**_changed(_DEFAULTS, value, option))
        if isinstance(value, int) and value is not True:
            return cls(max_attempts=_attempts(value, option))
        expected = "a RetryPolicy, a mapping of its fields, a number of attempts, or None"
        raise ConfigurationError.of(option, expected=expected, got=value)


def _as_dict(policy: RetryPolicy) -> dict[str, Any]:
    return {item.name: getattr(policy, item.name) for item in fields(policy)}


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any], option: str) -> dict[str, Any]:
    """All fields of a RetryPolicy from checked `values` and unchecked `changes`. `option` prefixes names in errors."""
    checked = {}
    for name, value in changes.items():
        if name not in _CHECKS:
            expected = f"one of {', '.join(_CHECKS)}"
            raise ConfigurationError.of(f"{option}.{name}", expected=expected, got=name, known=_CHECKS)
        checked[name] = _CHECKS[name](value, f"{option}.{name}")
    return _within_bounds({**_yielding(values, checked), **checked}, option)


def _yielding(values: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, with the bounds that are not named moved out of the way of those that are."""
    merged = {**values, **named}
    base, maximum, minimum = merged["base_delay"], merged["max_delay"], merged["min_delay"]
    if "max_delay" in named:
        within = {"base_delay": min(base, maximum), "min_delay": None if minimum is None else min(minimum, maximum)}
        return {**values, **within}
    return {**values, "max_delay": max(base, maximum, minimum or 0.0)}


def _within_bounds(values: dict[str, Any], option: str) -> dict[str, Any]:
    """min_delay and base_delay are at most max_delay."""
    base, maximum, minimum = values["base_delay"], values["max_delay"], values["min_delay"]
    if maximum < base:
        raise ConfigurationError.of(f"{option}.max_delay", expected=f"seconds >= base_delay ({base:g})", got=maximum)
    if minimum is not None and minimum > maximum:
        raise ConfigurationError.of(f"{option}.min_delay", expected=f"seconds <= max_delay ({maximum:g})", got=minimum)
    return values


def _attempts(value: Any, option: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ConfigurationError.of(option, expected="a whole number >= 1, or None for no limit", got=value)


def _delay(value: Any, option: str) -> float:
    return as_seconds(value, option, most=LONGEST_DELAY)


def _delay_or_none(value: Any, option: str) -> float | None:
    return None if value is None else _delay(value, option)


def _deadline(value: Any, option: str) -> float | None:
    return None if value is None else as_seconds(value, option)


def _backoff(value: Any, option: str) -> Backoff:
    return value if callable(value) else as_member(BackoffStrategy, value, option, also="a callable")


def _jitter(value: Any, option: str) -> Jitter:
    return as_member(Jitter, value, option)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "max_attempts": _attempts,
    "base_delay": _delay,
    "max_delay": _delay,
    "backoff": _backoff,
    "jitter": _jitter,
    "min_delay": _delay_or_none,
    "deadline": _deadline,
}
_DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(RetryPolicy)}

#: One run, no retry.
NEVER = RetryPolicy(max_attempts=1)
