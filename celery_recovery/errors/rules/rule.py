"""What a rule is: the contract between the classifier and the families of rules beside this file.

A family is data first. It maps *qualified class names* (as `module.qualname`, never an import) to a `Verdict` or to a
small function that looks at the instance. Protocol rules look at any exception's attributes, whatever its class.

    FAMILY = Family(
        name="csv",
        classes={
            "_csv.Error": permanent(PARSING),
            "smtplib.SMTPResponseException": _by_smtp_code,      # Callable[[exc], Verdict | Through | None]
        },
        protocols=(("http.response", _by_response_status),),
    )

A function answers with a `Verdict`, with `Through(inner, otherwise)` when the exception is only a wrapper and its
inside is what counts, or with None: "not mine, ask on". It may raise: that counts as None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from celery_recovery.errors.model import ErrorSeverity, ErrorType

__all__ = ("Answer", "Family", "Look", "Through", "Verdict", "each", "permanent", "transient")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of an exception."""

    error_type: ErrorType
    retryable: bool
    #: In the fault's own terms, e.g. `"HTTP 503"`, `"ECONNREFUSED"`, `"SQLSTATE 40P01"`.
    code: str | None = None
    #: Seconds from now, if the other side said so.
    retry_after: float | None = None
    #: None: by error type.
    severity: ErrorSeverity | None = None
    #: More precise than the class or protocol that answered, e.g. `"status.503"`; the family's name is put before it.
    rule: str | None = None
    #: JSON scalars worth keeping.
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Through:
    """The exception is a wrapper: judge `inner`; if nothing is known about that, `otherwise`."""

    inner: BaseException | None
    otherwise: Verdict


Answer: TypeAlias = "Verdict | Through | None"
Look = Callable[[Any], Answer]


def transient(error_type: ErrorType, code: str | None = None, **more: Any) -> Verdict:
    """A fault that may be gone a little later."""
    return Verdict(error_type, True, code, **more)


def permanent(error_type: ErrorType, code: str | None = None, **more: Any) -> Verdict:
    """A fault that stays until a person or a deploy changes something."""
    return Verdict(error_type, False, code, **more)


def each(module: str, names: str, answer: Verdict | Look) -> dict[str, Verdict | Look]:
    """The same answer for several classes of one module, e.g. `each("httpx", "ReadError WriteError", verdict)`."""
    return {f"{module}.{name}": answer for name in names.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The rules about one family of libraries."""

    name: str
    #: Qualified class name -> verdict or look. Found along the exception's MRO, most specific class first.
    #: `package.*.Name` stands for a class of that name anywhere in the package, when nothing names it exactly.
    classes: Mapping[str, Verdict | Look] = field(default_factory=dict)
    #: (name, look), asked in order when no class rule of a *specific* class answered.
    protocols: tuple[tuple[str, Look], ...] = ()
