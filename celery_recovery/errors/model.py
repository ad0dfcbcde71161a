"""What is known about one failure: `ErrorInfo` and the words it is made of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from celery_recovery.errors.source import source_line

__all__ = ("ErrorInfo", "ErrorSeverity", "ErrorType", "Frame")

#: Frames, and classes of a chain, that are read: messages may be anybody's.
_MOST = 100


class ErrorType(str, enum.Enum):
    """What kind of fault it is. Values are what logs, metrics and filters print."""

    NETWORK = "network"  # a remote party: unreachable, slow, overloaded, refusing
    FILESYSTEM = "filesystem"  # files, directories, disks
    MEMORY = "memory"  # this process or machine ran out of it
    VALIDATION = "validation"  # well-formed input that is not acceptable
    PARSING = "parsing"  # input that cannot be read at all
    SCHEMA = "schema"  # two parties disagree about the shape of data
    BUSINESS_LOGIC = "business_logic"  # a rule of the user's domain said no
    SYSTEM = "system"  # workers, locks, limits, processes, databases as servers
    UNKNOWN = "unknown"  # no rule knew it

    def __str__(self) -> str:
        return self.value


class ErrorSeverity(str, enum.Enum):
    """How bad one failure is for the service, not for the task."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __str__(self) -> str:
        return self.value


class Frame(NamedTuple):
    """One line of a traceback, without its source text."""

    filename: str
    lineno: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """One understood failure. Plain data: it holds no exception, no frame, no lock."""

    #: The kind of fault.
    error_type: ErrorType
    #: Would the same task with the same input, a little later, have a reasonable chance?
    is_retryable: bool
    #: How bad it is.
    severity: ErrorSeverity
    #: Name of the rule that decided, e.g. `"http.status.503"`; `"unknown"` when none did.
    rule: str
    #: Qualified class name of the exception, e.g. `"requests.exceptions.ReadTimeout"`.
    exception: str
    #: Code in the fault's own terms: `"HTTP 503"`, `"ECONNREFUSED"`, `"SQLSTATE 40P01"`; or None.
    error_code: str | None = None
    #: The exception's text, cut to `MESSAGE_LIMIT` characters.
    message: str = ""
    #: Seconds the other side asked us to wait, from now; or None.
    retry_after: float | None = None
    #: Unix time (seconds) at which the failure was understood.
    timestamp: float = 0.0
    #: Groups failures that are the same; `"2:"` and 16 hex digits (the digit is the version).
    fingerprint: str = ""
    #: Qualified class names of the exception and its explicit causes, outermost first.
    class_chain: tuple[str, ...] = ()
    #: Outermost call first, at most `FRAME_LIMIT` frames (the middle is left out).
    frames: tuple[Frame, ...] = ()
    #: What the rule found worth keeping (status, errno, url host …); JSON scalars only.
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def traceback(self) -> str:
        """The traceback as text, as Python prints it, with source lines where they can be had here (`source.py`)."""
        lines = ["Traceback (most recent call last):"] if self.frames else []
        for frame in self.frames:
            lines.append(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}')
            source = source_line(*frame)
            if source:
                lines.append(f"    {source}")
        lines.append(f"{self.exception}: {self.message}" if self.message else self.exception)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` reads it back."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "error_type": self.error_type.value,
            "severity": self.severity.value,
            "class_chain": list(self.class_chain),
            "frames": [list(frame) for frame in self.frames],
            "context": dict(self.context),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ErrorInfo:
        """Read `to_dict`'s form; unknown keys are ignored, so that older readers read newer letters."""
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        known["error_type"] = ErrorType(data["error_type"])
        known["severity"] = ErrorSeverity(data["severity"])
        known["class_chain"] = tuple(data.get("class_chain", ()))
        known["class_chain"] = known["class_chain"][:_MOST]
        known["frames"] = tuple(Frame(*frame) for frame in tuple(data.get("frames", ()))[:_MOST])
        return cls(**known)
