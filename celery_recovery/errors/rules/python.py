"""Python's own exceptions: what a bare built-in class says when no library gave it a meaning."""

from __future__ import annotations

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Family, permanent, transient

__all__ = ("FAMILY",)

_BUG = permanent(ErrorType.UNKNOWN)
_HIGH = ErrorSeverity.HIGH
_BUGS = """
    ArithmeticError AttributeError BufferError FloatingPointError GeneratorExit IndexError LookupError NameError
    NotImplementedError OverflowError ReferenceError StopAsyncIteration StopIteration TypeError UnboundLocalError
    ZeroDivisionError
"""

FAMILY = Family(
    name="python",
    classes={
        **{f"builtins.{name}": _BUG for name in _BUGS.split()},
        "builtins.AssertionError": permanent(ErrorType.VALIDATION),
        "builtins.EOFError": permanent(ErrorType.PARSING),
        "builtins.KeyError": permanent(ErrorType.SCHEMA),
        "builtins.KeyboardInterrupt": transient(ErrorType.SYSTEM),
        "builtins.MemoryError": transient(ErrorType.MEMORY, severity=_HIGH),
        "builtins.RecursionError": permanent(ErrorType.UNKNOWN, severity=_HIGH),
        "builtins.ImportError": permanent(ErrorType.SYSTEM, severity=_HIGH),
        "builtins.SyntaxError": permanent(ErrorType.PARSING),
        "builtins.SystemError": permanent(ErrorType.SYSTEM, severity=_HIGH),
        "builtins.SystemExit": transient(ErrorType.SYSTEM),  # it was ended, who knows of what
        "builtins.UnicodeError": permanent(ErrorType.PARSING),
        "builtins.ValueError": permanent(ErrorType.VALIDATION),
        "builtins.Warning": permanent(ErrorType.UNKNOWN),
    },
)
