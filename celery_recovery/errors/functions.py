"""The functions of a traceback: whose they are, what they are called, what they say. Remembered by their code."""

from __future__ import annotations

import sysconfig
import weakref
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import Any

from celery_recovery.errors.bytecode import Line, fields_of, line_of, names_of, names_outside, raises_at, texts_of
from celery_recovery.errors.reading import clean, is_written, mro_of
from celery_recovery.errors.wording import words_in

__all__ = ("Function", "functions_of", "is_library", "is_ours", "place_name", "words_of_class")

_KEPT = 2048
_SHOWN = 300  # characters
_NESTED = 0x10  # the flag of code that was compiled inside another function
_PYTHON = tuple({f"{Path(p)}/" for key in ("stdlib", "platstdlib") if (p := sysconfig.get_paths().get(key))})
_OURS = f"{Path(__file__).resolve().parents[1]}/"
_namespace = type.__dict__["__dict__"].__get__

_EMPTY = Line("", frozenset())
_functions: dict[int, Function] = {}
_classes: dict[int, tuple[weakref.ref[type], frozenset[str]]] = {}


class Function:
    """One function; what takes time to find out is found out when it is asked for."""

    __slots__ = (
        "_aliases", "_lines", "_names", "_outside", "_raises", "_words", "anonymous", "code", "fields", "given",
        "library", "module", "name", "nested", "package", "place", "shown", "special",
    )  # fmt: skip

    def __init__(self, code: CodeType, namespace: dict[str, Any]) -> None:
        module = dict.get(namespace, "__name__")
        module = module if type(module) is str else ""
        qualified = getattr(code, "co_qualname", code.co_name)  # of Python 3.11 and newer: with the class
        self.code = code  # held, so that its identity stays its own
        self.name = code.co_name
        #: File and name as they are shown: cut to size, fit for UTF-8.
        self.shown = (clean(code.co_filename, _SHOWN), clean(code.co_name, _SHOWN))
        #: Where it stands, as `place_name` gives it.
        self.place = place_name(code.co_filename, module, qualified.rpartition("<locals>.")[2])
        self.module = self.place.partition(":")[0]
        #: The package or module at the top of the module's name.
        self.package = module.partition(".")[0]
        #: Is it installed, part of Python, or ours?
        self.library = is_library(code.co_filename)
        #: Is it a lambda, a comprehension, a generator expression?
        self.anonymous = code.co_name.startswith("<") and code.co_name != "<module>"
        #: Is it called by operators, statements, imports, and so not by its name?
        self.special = code.co_name.startswith("__") or code.co_name == "<module>"
        #: Its arguments, and what it closes over.
        self.given = (*code.co_varnames[: _arguments_of(code)], *code.co_freevars)
        #: Was it made in another function?
        self.nested = bool(code.co_flags & _NESTED)
        # The namespace itself may be large, and is not kept.
        self._aliases, self._outside = names_outside(code, namespace)
        #: What those of the module's templates that it names leave to be filled in.
        self.fields = frozenset(field for text in self._outside for field in fields_of(text))
        self._names: frozenset[str] | None = None
        self._words: frozenset[str] | None = None
        self._lines: dict[int, Line] = {}
        self._raises: dict[int, bool] = {}

    @property
    def names(self) -> frozenset[str]:
        """What its code names, by `names_of`."""
        if self._names is None:
            self._names = frozenset([*names_of(self.code), *self._aliases])
        return self._names

    @property
    def words(self) -> frozenset[str]:
        """The words that its string constants give to a message; one that stands alone is no part of a message."""
        if self._words is None:
            texts = [text for text in (*texts_of(self.code), *self._outside) if " " in text]
            self._words = frozenset(word for text in texts for word in words_in(text))
        return self._words

    def is_of(self, package: str) -> bool:
        """Is it the application's, whose package may be known by name?"""
        return not self.library or self.package == package

    def raises(self, offset: int) -> bool:
        """Is there a `raise` at this instruction?"""
        known = self._raises.get(offset)
        if known is None:
            known = self._raises[offset] = raises_at(self.code, offset)
        return known

    def line(self, offset: int) -> Line:
        """What stands on the line of the instruction there, by `line_of`."""
        known = self._lines.get(offset)
        if known is None:
            try:
                known = line_of(self.code, offset)
            except Exception:  # code that a tool has made up
                known = _EMPTY
            self._lines[offset] = known
        return known

    def contains(self, other: Function) -> bool:
        """Is the other one written inside it?"""
        return any(const is other.code for const in self.code.co_consts)


def _arguments_of(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)


def functions_of(steps: Iterable[TracebackType]) -> list[Function]:
    """The functions of some steps of a traceback, in their order."""
    found = []
    for step in steps:
        frame = step.tb_frame
        code = frame.f_code
        known = _functions.get(id(code))
        if known is None or known.code is not code:
            if len(_functions) >= _KEPT:
                _functions.clear()
            known = _functions[id(code)] = Function(code, frame.f_globals)
        found.append(known)
    return found


def is_library(filename: str) -> bool:
    """Is the file installed, part of Python, or ours?"""
    path = filename.replace("\\", "/")
    return "/site-packages/" in path or "/dist-packages/" in path or path.startswith(("<frozen ", _OURS, *_PYTHON))


def is_ours(filename: str) -> bool:
    """Is the file one of this package?"""
    return filename.startswith(_OURS)


def place_name(filename: str, module: str, function: str) -> str:
    """`shop.tasks:charge` for `/srv/app-17/shop/tasks.py`; without a module that fits the file, the file's own name."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    fits = module.rpartition(".")[2] == stem or stem == "__init__"
    return f"{module if fits and module else stem}:{function}"


def words_of_class(cls: type) -> Collection[str]:
    """Words that a class gives to its messages: in its attributes, and in the constants of `__init__` and `__str__`."""
    kept = _classes.get(id(cls))
    if kept is not None and kept[0]() is cls:
        return kept[1]
    words = frozenset(word for text in _texts_of_class(cls) for word in words_in(text))
    if len(_classes) >= _KEPT:
        _classes.clear()
    _classes[id(cls)] = (weakref.ref(cls), words)
    return words


def _texts_of_class(cls: type) -> Iterator[str]:
    for ancestor in mro_of(cls):
        if is_written(ancestor):
            for name, value in _namespace(ancestor).items():
                if type(value) is str and not str(name).startswith("__"):
                    yield value
                elif type(value) is FunctionType and name in ("__init__", "__str__"):
                    yield from texts_of(value.__code__)
