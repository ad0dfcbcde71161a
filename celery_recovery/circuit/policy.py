"""`CircuitPolicy`: when a circuit opens, for how long, how it is probed, and how its tasks come back.

The names are resilience4j's; the defaults of the window are Hystrix's (10 s, 20 calls, 50 %, first wait 5 s), which
suit many workers that share one circuit better than resilience4j's (100 calls, 60 s).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from dataclasses import replace as _replace
from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import ConfigurationError, as_member, as_seconds

__all__ = ("COUNTED_TYPES", "ON_EMPTY", "ON_OPEN", "TASK_DEFAULTS", "CircuitPolicy", "circuit_name")

#: What becomes of a task whose circuit is open, and of a retry whose budget is empty.
ON_OPEN = ON_EMPTY = ("park", "fail", "dead_letter")
#: Errors that say something about the dependency. Bad data does not; nor does a bug, which is what most unknown
#: errors are: a circuit that opened over one would keep from a person what only a person can mend.
COUNTED_TYPES = frozenset({ErrorType.NETWORK, ErrorType.SYSTEM})

#: Share of the rate before it opened at which the return begins, and the least of both rates, in calls per second.
FIRST_SHARE, LEAST_RATE = 0.1, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """How one circuit behaves. Durations are seconds (a timedelta is accepted), rates shares from 0 to 1.

    Raises ConfigurationError that names the option, what was expected and what was given.
    """

    #: Share of failed calls in the window at which it opens; above 0, up to 1.
    failure_rate_threshold: float = 0.5
    #: Share of slow calls in the window at which it opens.
    slow_call_rate_threshold: float = 1.0
    #: A call that takes longer is slow, whether it fails or not.
    slow_call_duration: float = 60.0
    #: Calls in the window below which no share is computed.
    minimum_calls: int = 20
    #: The time that is looked back on, in tenths: up to one tenth less is counted.
    window: float = 10.0
    #: So many failures in a row, over all workers, open it too, whatever the share; None: only the shares do.
    consecutive_failures: int | None = None
    #: How long it is open the first time; twice as long each time that its probes fail.
    open_duration: float = 5.0
    #: How long at most. None: 60 s, or `open_duration` where that is longer.
    max_open_duration: float | None = None
    #: Probes, in all workers together, by whose shares it is decided whether it closes.
    half_open_permits: int = 3
    #: After this time the place of a probe that was not heard of again is given to another.
    permit_lease: float = 30.0
    #: How far behind the shared state a process may be; 0: it always asks.
    freshness: float = 0.2
    #: It opens for all only when it has opened on so many hosts; until then on each host alone. None: hosts do not
    #: count.
    host_quorum: int | None = None
    #: Calls per second at which parked tasks come back at first; None: a tenth of the rate before it opened.
    return_rate: float | None = None
    #: The rate of calls while they come back, as a multiple of the rate before it opened.
    return_peak: float = 2.0
    #: Error types that count as failures of a task's circuit.
    counts: frozenset[ErrorType] = COUNTED_TYPES
    #: What becomes of a task while it is open: `"park"`, `"fail"` or `"dead_letter"`.
    on_open: str = "park"
    #: Retries may be at most this share of all calls (see `budget.py`); None: there is no budget.
    retry_ratio: float | None = None
    #: Retries per second that are always allowed beside.
    retry_floor: float = 10.0
    #: What becomes of a retry when the budget is empty: `"park"`, `"fail"` or `"dead_letter"`.
    on_empty: str = "park"
    #: Queues that serve this circuit alone: workers stop consuming them while it is open.
    pauses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _CHECKS[item.name](getattr(self, item.name), f"circuit.{item.name}"))
        if self.max_open_duration is not None and self.max_open_duration < self.open_duration:
            expected = f"seconds >= open_duration ({self.open_duration:g})"
            raise ConfigurationError.of("circuit.max_open_duration", expected=expected, got=self.max_open_duration)

    @property
    def longest_open(self) -> float:
        """`max_open_duration` as a number of seconds."""
        return max(60.0, self.open_duration) if self.max_open_duration is None else self.max_open_duration

    def first_rate(self, steady: float) -> float:
        """Tasks per second at which the return begins, after `steady` calls per second."""
        return self.return_rate or max(steady * FIRST_SHARE, LEAST_RATE)

    def top_rate(self, steady: float) -> float:
        """Tasks per second that it grows to: with the new calls that is `return_peak` times `steady`."""
        return max(max(steady, LEAST_RATE) * (self.return_peak - 1), self.first_rate(steady))

    def open_for(self, openings: int) -> float:
        """Seconds that it stays open after so many openings in a row, 1-based."""
        return min(self.open_duration * 2.0 ** min(max(openings - 1, 0), 60), self.longest_open)

    def replace(self, **changes: Any) -> CircuitPolicy:
        """A copy with some fields changed. Raises ConfigurationError; for an unknown field with the nearest name."""
        _known(changes, "circuit")
        return _replace(self, **changes)

    def as_known(self, numbers: Mapping[str, float]) -> CircuitPolicy:
        """A copy with the numbers that the circuit's calls go by (`CircuitView.settings`)."""
        known: dict[str, Any] = {}
        for name, number in numbers.items():
            whole = _CHECKS.get(name) in _WHOLE
            known["max_open_duration" if name == "longest_open" else name] = (int(number) if whole else number) or None
        return _replace(self, **known)

    @classmethod
    def of(cls, value: Any, option: str = "circuit", base: CircuitPolicy | None = None) -> CircuitPolicy:
        """Read the forms that a user may write: a CircuitPolicy, a mapping of its fields, or None for `base`.

        Raises ConfigurationError; `option` is how it calls what was given.
        """
        base = base or cls()
        if value is None or isinstance(value, CircuitPolicy):
            return value or base
        if not isinstance(value, Mapping):
            raise ConfigurationError.of(option, expected="a CircuitPolicy or a mapping of its fields", got=value)
        _known(value, option)
        return base.replace(**value)


def circuit_name(value: Any, option: str = "circuit") -> str:
    """A name fit for a key: 1 to 200 characters without spaces, control characters and braces.

    Raises ConfigurationError.
    """
    if isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable() and not re.search(r"[\s{}]", value):
        return value
    expected = "a name of 1 to 200 characters without spaces, control characters and braces"
    raise ConfigurationError.of(option, expected=expected, got=value)


def _known(names: Iterable[Any], option: str) -> None:
    for name in names:
        if name not in _CHECKS:
            expected = f"one of {', '.join(_CHECKS)}"
            raise ConfigurationError.of(f"{option}.{name}", expected=expected, got=name, known=_CHECKS)


def _share(value: Any, option: str) -> float:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not 0 < number <= 1:
        raise ConfigurationError.of(option, expected="a share above 0 and up to 1", got=value)
    return float(number)


def _positive(value: Any, option: str) -> float:
    seconds = as_seconds(value, option, most=_LONGEST)
    if seconds <= 0:
        raise ConfigurationError.of(option, expected="seconds > 0", got=value)
    return seconds


def _seconds(value: Any, option: str) -> float:
    return as_seconds(value, option, most=_LONGEST)


def _count(value: Any, option: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return value
    raise ConfigurationError.of(option, expected="a whole number from 1 to 1,000,000", got=value)


def _number(least: float, what: str) -> Check:
    def check(value: Any, option: str) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least < value < _LONGEST:
            return float(value)
        raise ConfigurationError.of(option, expected=what, got=value)

    return check


def _types(value: Any, option: str) -> frozenset[ErrorType]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError.of(option, expected="a list of error types", got=value)
    return frozenset(as_member(ErrorType, one, option) for one in value)


def _word(words: tuple[str, ...]) -> Check:
    def check(value: Any, option: str) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ConfigurationError.of(option, expected=f"one of {', '.join(words)}", got=value, known=words)

    return check


def _queues(value: Any, option: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, Iterable) and not isinstance(names, bytes):
        named = tuple(names)
        if all(isinstance(name, str) and name for name in named):
            return named
    raise ConfigurationError.of(option, expected="the name of a queue, or a list of them", got=value)


def _or_none(check: Check) -> Check:
    return lambda value, option: None if value is None else check(value, option)


#: From a value and the option's full name to the value to keep; raises ConfigurationError.
Check = Callable[[Any, str], Any]
_LONGEST = 365 * 86400.0
_count_or_none = _or_none(_count)
_WHOLE = (_count, _count_or_none)
_CHECKS: dict[str, Check] = {
    "failure_rate_threshold": _share,
    "slow_call_rate_threshold": _share,
    "slow_call_duration": _positive,
    "minimum_calls": _count,
    "window": _positive,
    "consecutive_failures": _count_or_none,
    "open_duration": _positive,
    "max_open_duration": _or_none(_positive),
    "half_open_permits": _count,
    "permit_lease": _positive,
    "freshness": _seconds,
    "host_quorum": _count_or_none,
    "return_rate": _or_none(_number(0, "calls per second > 0")),
    "return_peak": _number(1, "a multiple > 1"),
    "counts": _types,
    "on_open": _word(ON_OPEN),
    "retry_ratio": _or_none(_share),
    "retry_floor": _number(0, "retries per second > 0"),
    "on_empty": _word(ON_EMPTY),
    "pauses": _queues,
}

#: What tasks get where nobody says otherwise. A share over 10 s takes 5 s to notice that all calls fail; twenty
#: failures in a row, in a fleet that is busy, take a fraction of one.
TASK_DEFAULTS = CircuitPolicy(consecutive_failures=20)
