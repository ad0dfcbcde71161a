"""What a task went through so far, as it travels with its message in the `recovery` header.

Whoever reads it may meet another version of it, or garbage: nothing here raises over a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from celery_recovery.errors.model import ErrorInfo, ErrorType

__all__ = ("Attempt", "History", "seconds_or_none")

#: Attempts that travel with a message.
HISTORY_LENGTH = 10
#: Characters of a message that travel with each.
MESSAGE_LIMIT = 200
#: Seconds beyond any date: a header with more is garbage.
_LARGEST = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that failed, as it travels with the message."""

    #: Which attempt of its life it was, 1-based.
    n: int
    #: Unix time of the failure.
    at: float
    #: What kind of fault it met.
    error_type: ErrorType
    #: Groups failures that are the same.
    fingerprint: str = ""
    #: Qualified class name.
    exception: str = ""
    #: The exception's text, cut to `MESSAGE_LIMIT` characters.
    message: str = ""
    #: Host name of the worker.
    worker: str = ""
    #: Seconds it ran; None: not known.
    runtime: float | None = None
    #: Seconds from this failure to the next start, as decided; None: there was no next.
    delay: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` reads it back."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "error_type": self.error_type.value,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Attempt | None:
        """Read `to_dict`'s form: what makes no sense gets its default; None for what is no mapping."""
        if not isinstance(data, Mapping):
            return None
        return cls(
            n=max(_count(data.get("n")), 1),
            at=seconds_or_none(data.get("at")) or 0.0,
            error_type=_error_type(data.get("error_type")),
            runtime=seconds_or_none(data.get("runtime")),
            delay=seconds_or_none(data.get("delay")),
            **{name: _text(data.get(name)) for name in ("fingerprint", "exception", "message", "worker")},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a task went through so far. It travels in the `recovery` header, so that no store is needed to decide."""

    #: Failed attempts, newest last; the oldest are forgotten.
    attempts: tuple[Attempt, ...] = ()
    #: Retries in this life: Celery's `request.retries`.
    retries: int = 0
    #: How often it was put off without using an attempt.
    deferrals: int = 0
    #: Unix time of the first failure in this life; None: none yet.
    first_failure: float | None = None
    #: How often it came back from the dead letters.
    replays: int = 0
    #: Seconds of the last delay after an error; None: there was none.
    last_delay: float | None = None

    @property
    def attempt(self) -> int:
        """The number of the attempt that is running or has just failed, 1-based."""
        return self.retries + 1

    @classmethod
    def from_header(cls, header: Any, *, retries: int | None = None, keep: int = HISTORY_LENGTH) -> History:
        """Read the `recovery` header, which may be missing, from another version, or garbage; never raises.

        `retries` is Celery's own count, and wins over the header's. The newest `keep` attempts are read.
        """
        data = header if isinstance(header, Mapping) else {}
        listed = data.get("attempts")
        attempts = map(Attempt.from_dict, listed[-max(keep, 1) :] if isinstance(listed, (list, tuple)) else ())
        return cls(
            attempts=tuple(attempt for attempt in attempts if attempt is not None),
            retries=_count(data.get("retries") if retries is None else retries),
            deferrals=_count(data.get("deferrals")),
            first_failure=seconds_or_none(data.get("first_failure")),
            replays=_count(data.get("replays")),
            last_delay=seconds_or_none(data.get("last_delay")),
        )

    def to_header(self) -> dict[str, Any]:
        """JSON-ready form, for the `recovery` header."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "attempts": [attempt.to_dict() for attempt in self.attempts]}

    def after(
        self, info: ErrorInfo, *, worker: str | None = None, runtime: float | None = None, keep: int = HISTORY_LENGTH
    ) -> History:
        """With the failure that just happened; the newest `keep` attempts are kept."""
        failed = Attempt(
            n=self.attempt,
            at=info.timestamp,
            error_type=info.error_type,
            fingerprint=info.fingerprint,
            exception=_text(info.exception),
            message=_text(info.message),
            worker=worker or "",
            runtime=runtime,
        )
        first = info.timestamp if self.first_failure is None else self.first_failure
        return replace(self, attempts=(*self.attempts, failed)[-max(keep, 1) :], first_failure=first)

    def retried(self, delay: float | None) -> History:
        """As the next attempt carries it, which starts `delay` seconds after this failure."""
        attempts = (*self.attempts[:-1], *(replace(last, delay=delay) for last in self.attempts[-1:]))
        return replace(self, attempts=attempts, retries=self.retries + 1, last_delay=delay)

    def snoozed(self) -> History:
        """A snooze is no failure: what `after` noted of it is taken back."""
        noted = any(attempt.at == self.first_failure for attempt in self.attempts[-1:])
        first = None if noted else self.first_failure
        return replace(self, attempts=self.attempts[:-1], first_failure=first, deferrals=self.deferrals + 1)


def seconds_or_none(value: Any) -> float | None:
    """A finite number >= 0 as float, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LARGEST:
        return None
    return float(value)


def _count(value: Any) -> int:
    """A whole number >= 0, or 0."""
    return min(value, 10**9) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text(value: Any) -> str:
    """Text that any serialiser can write, cut; empty for anything else."""
    return value[:MESSAGE_LIMIT].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _error_type(value: Any) -> ErrorType:
    try:
        return ErrorType(value)
    except ValueError:
        return ErrorType.UNKNOWN
