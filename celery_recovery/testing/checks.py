"""What assertions look at, and how they say that it is not so: all of it at once, with the whole life of the task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from kombu.utils.json import dumps, loads

from celery_recovery.decision import Reason
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import as_member
from celery_recovery.testing.run import Outcome, Run, Start
from celery_recovery.testing.story import Teller

__all__ = ("Check", "Kind", "as_stored", "close", "is_of", "kind_name")

#: Which failures: a type, or its word; an exception class; or its qualified or plain name.
Kind: TypeAlias = ErrorType | type[BaseException] | str
#: Seconds by which delays may differ.
TOLERANCE = 0.001


class Check:
    """Gathers all that is not as it was wanted, to say it at once."""

    def __init__(self, run: Run, wanted: str) -> None:
        if not isinstance(run, Run):
            raise TypeError(f"expected a Run, as run_task() gives it, got {type(run).__name__}")
        self._run, self._wanted = run, wanted
        self.shown = Teller(run.bench.redact).shown
        self._wrong: list[str] = []

    def holds(self, condition: bool, otherwise: str) -> None:
        """Or else this is wrong."""
        if not condition:
            self._wrong.append(otherwise)

    def equal(self, what: str, found: object, wanted: object) -> None:
        """Both are the same."""
        self.holds(found == wanted, f"{what}: expected {self.shown(wanted)}, got {self.shown(found)}")

    def outcome(self, wanted: Outcome) -> None:
        """It ended so."""
        found = self._run.outcome
        self.holds(found is wanted, f"it is {found.value.replace('_', '-')}{_hint(self._run)}")

    def failure(
        self, error_type: ErrorType | str | None, reason: Reason | str | None,
        exception: type[BaseException] | str | None, message: str | None,
    ) -> None:  # fmt: skip
        """What it failed of at last, and why it ended by that. None: anything."""
        error = self._run.error
        if error_type is not None:
            wanted = as_member(ErrorType, error_type, "error_type")
            found = "no failure" if error is None else error.error_type.value
            rule = "" if error is None else f" (rule {error.rule})"
            self.holds(found == wanted.value, f"error type: expected {wanted.value}, got {found}{rule}")
        if reason is not None:
            self.equal("reason", self._run.reason, as_member(Reason, reason, "reason").value)
        if exception is not None:
            last = self._run.exception
            self.holds(is_kind(exception, last), f"exception: expected {kind_name(exception)}, got {self.shown(last)}")
        if message is not None:
            text = "" if error is None else error.message
            self.holds(message in text, f"message: {self.shown(text)} is without {self.shown(message)}")

    def counts(self, attempts: int | None, delays: Sequence[float] | None, waited: float | None) -> None:
        """So many attempts; seconds before each further start, and in all. None: any."""
        run = self._run
        if attempts is not None:
            self.equal("attempts", len(run.attempts), attempts)
        if delays is not None:
            self.holds(close(run.delays, delays), f"delays: expected {list(delays)} s, got {list(run.delays)}")
        if waited is not None:
            self.holds(close([run.waited], [waited]), f"waited: expected {waited:g} s, got {run.waited:g}")

    def done(self) -> None:
        """Raise AssertionError if anything was wrong."""
        __tracebackhide__ = True
        if self._wrong:
            wrong = "\n".join(f"  - {one}" for one in self._wrong)
            raise AssertionError(f"expected {self._wanted}:\n{wrong}\nIts life:\n{self._run.story()}")


def is_of(kind: Kind, start: Start) -> bool:
    """Whether the start failed of this kind."""
    if isinstance(kind, type):
        return isinstance(start.exception, kind)
    if isinstance(kind, ErrorType) or kind in {one.value for one in ErrorType}:
        return start.error is not None and start.error.error_type == kind
    return is_kind(kind, start.exception)


def is_kind(kind: type[BaseException] | str, exc: BaseException | None) -> bool:
    if isinstance(kind, type):
        return isinstance(exc, kind)
    names = {name for cls in type(exc).__mro__ for name in (cls.__name__, f"{cls.__module__}.{cls.__qualname__}")}
    return exc is not None and kind in names


def kind_name(kind: object) -> str:
    """As messages call it."""
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _hint(run: Run) -> str:
    """How to go on with what has not ended."""
    if run.outcome is Outcome.WAITING:
        return (
            f" after {len(run.starts)} starts, as many as its bench allows in one call (`starts`); resume(run) goes on"
        )
    if run.parked is None:
        return ""
    why = f"the circuit {run.parked.circuit} is open" if run.parked.circuit else f"of its {run.parked.reason}"
    return f", because {why}; resume(run) goes on"


def close(found: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether these seconds are the same, one by one."""
    return len(found) == len(wanted) and all(
        math.isclose(one, other, rel_tol=1e-6, abs_tol=TOLERANCE) for one, other in zip(found, wanted, strict=True)
    )


def as_stored(value: Any) -> Any:
    """As it comes back from a JSON result backend; what JSON does not know stays as it is."""
    try:
        return loads(dumps(value))
    except (TypeError, ValueError):
        return value
