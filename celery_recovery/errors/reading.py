"""Read an exception that may be hostile: nothing here raises, and nothing trusts the instance's own hooks.

Interpreter slots (`__cause__`, `__traceback__`, `args`, the MRO, names) are read through the descriptors of
`BaseException` and `type`, which a class cannot override. Everything else may run foreign code, so it is fenced by
`except BaseException`: an attribute whose property raises is an attribute that is not there.
"""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = (
    "MESSAGE_LIMIT",
    "args_of",
    "attr",
    "cause_of",
    "clean",
    "context_of",
    "has_attributes",
    "is_of",
    "is_written",
    "mro_of",
    "number",
    "qualified_name",
    "text_of",
)

#: Characters of an exception's text that are kept.
MESSAGE_LIMIT = 2000
_CONTAINERS = (list, tuple, dict, set, frozenset, bytes, bytearray)
_BIG = 4096  # items of a container argument beyond which `str(exc)` is not asked

_HEAP = 1 << 9  # the flag of classes that are made while a program runs

_mro = type.__dict__["__mro__"].__get__
_flags = type.__dict__["__flags__"].__get__
_module = type.__dict__["__module__"].__get__
_qualname = type.__dict__["__qualname__"].__get__
_cause = BaseException.__dict__["__cause__"].__get__
_context = BaseException.__dict__["__context__"].__get__
_args = BaseException.__dict__["args"].__get__


def attr(thing: Any, name: str, default: Any = None) -> Any:
    """`getattr` that answers `default` whatever goes wrong."""
    try:
        return getattr(thing, name, default)
    except BaseException:  # even SystemExit: it was raised by a property, not by a person
        return default


def number(value: Any) -> int | None:
    """An int given as int or as short decimal text; anything else (bool too) is None."""
    try:
        if type(value) is int:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return int.__index__(value)
        if isinstance(value, (str, bytes)) and len(value) <= 12:
            return int(value)
    except BaseException:
        return None
    return None


def cause_of(exc: BaseException) -> BaseException | None:
    """The explicit cause (`raise … from cause`)."""
    cause: BaseException | None = _cause(exc)
    return cause


def context_of(exc: BaseException) -> BaseException | None:
    """What was being handled when it was raised, even if that is not to be shown (`from None`)."""
    context: BaseException | None = _context(exc)
    return context


def args_of(exc: BaseException) -> tuple[Any, ...]:
    """`exc.args` as the interpreter holds them."""
    args: tuple[Any, ...] = _args(exc)
    return args


def has_attributes(exc: BaseException) -> bool:
    """Was anything put on the instance itself?"""
    try:
        return bool(object.__getattribute__(exc, "__dict__"))
    except BaseException:
        return True


def mro_of(cls: type) -> tuple[type, ...]:
    """The real MRO, whatever the metaclass says."""
    mro: tuple[type, ...] = _mro(cls)
    return mro


def is_of(exc: BaseException, classes: tuple[type, ...]) -> bool:
    """`isinstance` that does not ask the instance."""
    return any(cls is one for cls in _mro(type(exc)) for one in classes)


def is_written(cls: type) -> bool:
    """Is the class written in Python, and not part of the interpreter?"""
    return bool(_flags(cls) & _HEAP)


def qualified_name(cls: type) -> str:
    """`module.qualname`; a module that is not text is left out."""
    try:
        module, name = _module(cls), _qualname(cls)
        return clean(f"{module}.{name}" if type(module) is str and module else str(name), 300)
    except BaseException:
        return "?"


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut to `limit` characters and made fit for UTF-8 and JSON (lone surrogates become `?`)."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def text_of(exc: BaseException) -> str:
    """`str(exc)`, cleaned and cut; a note in angle brackets when it cannot be had."""
    try:
        args = _args(exc)
        for arg in args:
            if isinstance(arg, _CONTAINERS) and len(arg) > _BIG:
                return clean(reprlib.repr(args[0] if len(args) == 1 else args))
        text = str(exc)
        # A subclass of str may lie about slicing and joining; its plain copy does not.
        return clean(text if type(text) is str else str.__str__(text))
    except BaseException as error:
        return f"<unprintable: {_qualname(type(error))}>"
