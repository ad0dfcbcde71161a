"""What an exception says about the dependency: it failed, it answered, or nothing."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from celery_recovery.exceptions import CircuitOpen, ConfigurationError, RecoveryControl

__all__ = ("Errors", "Judge", "Verdict", "judge_by")

#: Which errors: types (subclasses count too), or a callable that says whether.
Errors = type[BaseException] | Iterable[type[BaseException]] | Callable[[BaseException], bool]


class Verdict(enum.Enum):
    """What a call that raised counts as."""

    FAILURE = "failure"
    SUCCESS = "success"
    NOTHING = "nothing"  # it is as if the call had not been made


Judge = Callable[[BaseException], Verdict]

#: Ends of a process or a greenlet: no errors at all. gevent's exception is known by name, without importing gevent.
_ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)
#: Said by us or to us, not by the dependency: they count only where `record` names them, or is a callable.
_NOT_ITS_WORD = (CircuitOpen, RecoveryControl)


def judge_by(record: Errors, ignore: Errors) -> Judge:
    """Build the judge: what `ignore` matches is nothing, what `record` matches a failure, other errors successes.

    Raises ConfigurationError when either is neither types nor a callable. A callable that raises makes the judge raise.
    """
    recorded, ignored = _matcher(record, "record"), _matcher(ignore, "ignore")
    own_words = _NOT_ITS_WORD if _types(record) is not None else ()
    named = tuple(one for one in _types(record) or () if issubclass(one, _NOT_ITS_WORD))

    def judge(exc: BaseException) -> Verdict:
        if isinstance(exc, _ENDS) or type(exc).__name__ == "GreenletExit" or ignored(exc):
            return Verdict.NOTHING
        if isinstance(exc, own_words) and not isinstance(exc, named):
            return Verdict.NOTHING
        if recorded(exc):
            return Verdict.FAILURE
        return Verdict.SUCCESS if isinstance(exc, Exception) else Verdict.NOTHING

    return judge


def _matcher(errors: Errors, option: str) -> Callable[[BaseException], bool]:
    types = _types(errors)
    if types is not None:
        return lambda exc: isinstance(exc, types)
    if callable(errors) and not isinstance(errors, type):
        return errors
    expected = "exception types, or a callable that takes an exception"
    raise ConfigurationError.of(f"circuit.{option}", expected=expected, got=errors)


def _types(errors: Any) -> tuple[type[BaseException], ...] | None:
    """The types, when types were given."""
    given = (errors,) if isinstance(errors, type) else errors
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return None
    types = tuple(given)
    return types if all(isinstance(one, type) and issubclass(one, BaseException) for one in types) else None
