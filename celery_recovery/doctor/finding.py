"""What the doctor finds, and the table of checks that find it.

A check is a small pure function over `Facts`. The words for the person on call, what follows and what to write, stand
with its registration; the function says where and with which value. `<name>` in those words is filled in by `found`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celery_recovery.doctor.facts import Facts

__all__ = ("CHECKS", "Check", "Finding", "Found", "Severity", "check", "found")


class Severity(str, enum.Enum):
    """How bad it is, the worst first."""

    LOSS = "loss"  # a task, its dead letter, or the chord that waits for it can vanish
    DUPLICATE = "duplicate"  # finished or running work can be done again
    DELAY = "delay"  # tasks can wait far longer than they have to, or for a person
    UNKNOWN = "unknown"  # a fact could not be had, so checks that need it said nothing
    ADVICE = "advice"  # nothing is lost; something would be better

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing in this configuration that somebody should know."""

    #: Stable word, e.g. `"publish-unconfirmed"`; what `--ignore` takes.
    code: str
    #: How bad it is.
    severity: Severity
    #: The setting, queue, server or worker that it is about.
    subject: str
    #: What was found there, with the value.
    what: str
    #: What happens to which task, and when.
    consequence: str
    #: What to write, or to do.
    fix: str

    def to_dict(self) -> dict[str, str]:
        """All fields as texts, for JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check's function says: where, what, and what its words leave open."""

    subject: str
    what: str
    words: Mapping[str, str]


def found(subject: str, what: str, **words: Any) -> Found:
    """Something was found; `words` replace `<name>` in the consequence and in the fix."""
    return Found(subject=subject, what=what, words={name: str(word) for name, word in words.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One entry of the table."""

    code: str
    severity: Severity
    #: What it looks for, in a line.
    title: str
    consequence: str
    fix: str
    look: Callable[[Facts], Iterable[Found]]

    def __call__(self, facts: Facts) -> Iterator[Finding]:
        """All that this check finds. Raises nothing of its own for a fact that is None."""
        for one in self.look(facts):
            yield Finding(
                code=self.code,
                severity=self.severity,
                subject=one.subject,
                what=one.what,
                consequence=_filled(self.consequence, one.words),
                fix=_filled(self.fix, one.words),
            )


#: Every check, by its code, in the order of registration.
CHECKS: dict[str, Check] = {}


def check(code: str, severity: Severity, *, consequence: str, fix: str) -> Callable[[Any], Any]:
    """Put a function into the table; the first line of its docstring says what it looks for."""

    def register(look: Callable[[Facts], Iterable[Found]]) -> Callable[[Facts], Iterable[Found]]:
        if code in CHECKS:
            raise ValueError(f"two checks are called {code}")
        title = (look.__doc__ or code).partition("\n")[0].rstrip(".")
        CHECKS[code] = Check(code=code, severity=severity, title=title, consequence=consequence, fix=fix, look=look)
        return look

    return register


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"<{name}>", word)
    return text
