"""When a replay stops by itself: a few letters first, then growing steps, and a test of how they end.

Each outcome is evidence for one of two statements: *at least `good` of these letters recover* (the fault is mended) or
*at most `bad` of them do*. The evidence is Wald's likelihood ratio ("Sequential Tests of Statistical Hypotheses",
1945), summed as logarithms: a letter that recovers adds `log(bad / good)`, one that dies again
`log((1 - bad) / (1 - good))`. The replay stops as soon as the sum reaches `log(1 / risk)`. By Ville's inequality a
replay of which `good` or more recover is then stopped with a probability of `risk` at most, however long it is and
however often one looks.

Two sums are kept. That of the whole run stops a wrong fix soonest. That of the step alone sees a fix that works for the
first letters only, which a thousand successes before would hide. Each has half the risk; the steps share theirs, step
`k` having `6 / (pi k)^2` of it, which adds up to 1 over any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from celery_recovery.exceptions import ConfigurationError

__all__ = ("Canary", "Outcomes")


class Outcomes(NamedTuple):
    """How replays ended."""

    recovered: int = 0
    died: int = 0
    #: Neither: ignored, revoked, discarded on the way …
    ended: int = 0

    @property
    def settled(self) -> int:
        """All whose end is known."""
        return self.recovered + self.died + self.ended

    def since(self, before: Outcomes) -> Outcomes:
        """What was added."""
        return Outcomes(self.recovered - before.recovered, self.died - before.died, self.ended - before.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """How a replay follows its outcomes. Raises `ConfigurationError` for values that make no sense."""

    #: Letters of the first step.
    first: int = 5
    #: Each step is so many times as large as the one before.
    growth: float = 2.0
    #: Share (0 to 1) that recovers when the fault is mended, at least.
    good: float = 0.9
    #: Share that recovers when it is not, at most.
    bad: float = 0.5
    #: Probability that a replay of which `good` recover is stopped, at most.
    risk: float = 0.05
    #: Seconds to wait, after a step is published, for the ends of its letters; then the operation is paused.
    wait: float = 600.0

    def __post_init__(self) -> None:
        _check("canary", self.first >= 1, "a whole number from 1", self.first)
        _check("canary_growth", 1 <= self.growth <= 100, "a factor from 1 to 100", self.growth)
        _check("canary_good", 0 < self.good < 1, "a share between 0 and 1", self.good)
        _check("canary_bad", 0 < self.bad < self.good, f"a share between 0 and {self.good:g}", self.bad)
        _check("canary_risk", 0 < self.risk < 1, "a probability between 0 and 1", self.risk)
        _check("canary_wait", 0 < self.wait < math.inf, "seconds, above 0", self.wait)

    def size(self, step: int) -> int:
        """Letters of this step, from 1."""
        return math.ceil(min(self.first * self.growth ** min(step - 1, 1000), 1e9))

    def evidence(self, outcomes: Outcomes) -> float:
        """Logarithm of the likelihood ratio of "at most `bad`" to "at least `good`"."""
        died, recovered = math.log((1 - self.bad) / (1 - self.good)), math.log(self.bad / self.good)
        return outcomes.died * died + outcomes.recovered * recovered

    def stops(self, run: Outcomes, step: Outcomes, number: int) -> bool:
        """Whether these outcomes, of the run so far and of its step of that number, are enough to stop."""
        of_step = self.risk / 2 * 6 / (math.pi * number) ** 2
        return self.evidence(run) >= -math.log(self.risk / 2) or self.evidence(step) >= -math.log(of_step)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Canary:
        """Read `to_dict`'s form."""
        return cls(**data)


def _check(option: str, holds: bool, expected: str, got: Any) -> None:
    if not holds:
        raise ConfigurationError.of(option, expected=expected, got=got)
