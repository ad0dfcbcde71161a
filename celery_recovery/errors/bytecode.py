"""What a code object says about the source it was compiled from: the source itself may be gone, or newer.

Functions that are written inside another one (lambdas, comprehensions) are part of it.
"""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FunctionType
from typing import Any, NamedTuple

__all__ = ("Line", "fields_of", "line_of", "names_of", "names_outside", "raises_at", "texts_of")

_DEPTH = 5
_RAISE = dis.opmap["RAISE_VARARGS"]
_FIELD = re.compile(r"\{(\w+)[^{}]*\}|\$\{?(\w+)\}?|%\((\w+)\)")  # of str.format, string.Template, and the % operator
_DIGITS = re.compile(r"\d+")


def _inside(code: CodeType, depth: int) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)] if depth < _DEPTH else []


def names_of(code: CodeType, depth: int = 0) -> set[str]:
    """Attributes, variables of the module and of functions around it, functions inside it."""
    names = {*code.co_names, *code.co_freevars}
    for inner in _inside(code, depth):
        names |= {inner.co_name} | names_of(inner, depth + 1)
    return names


def names_outside(code: CodeType, namespace: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of what it names in its module: the first names of functions, and texts whose names are in capitals."""
    functions, texts = [], []
    for name in names_of(code):
        thing = dict.get(namespace, name)
        if type(thing) is FunctionType and thing.__code__.co_name != name:
            functions.append(thing.__code__.co_name)
        elif type(thing) is str and name.isupper():
            texts.append(thing)
    return tuple(functions), tuple(texts)


def texts_of(code: CodeType, depth: int = 0) -> list[str]:
    """String constants, whole."""
    texts = [const for const in code.co_consts if type(const) is str]
    for inner in _inside(code, depth):
        texts += texts_of(inner, depth + 1)
    return texts


def fields_of(text: str) -> Iterator[str]:
    """Names of what a template leaves to be filled in."""
    for found in _FIELD.finditer(text):
        yield found[found.lastindex or 0]


def raises_at(code: CodeType, offset: int) -> bool:
    """Is the instruction there a `raise` statement's (or an `assert`'s)? If not, it failed in C."""
    raw = code.co_code
    return 0 <= offset < len(raw) and raw[offset] == _RAISE


class Line(NamedTuple):
    """What stands on a line."""

    #: Names and single words in alphabetical order, digits as `#`.
    marks: str
    #: The single words alone, as they are.
    texts: frozenset[str]


def line_of(code: CodeType, offset: int) -> Line:
    """What stands on the line of the instruction there; all lines of an expression that is written on several."""
    raw = code.co_code
    first, last = _lines_at(code, offset)
    its = b"".join([raw[start:end] for start, end, line in code.co_lines() if line and first <= line <= last])
    names: set[str] = set()
    texts: set[str] = set()
    for one in dis.get_instructions(code.replace(co_code=its)) if its else ():  # to read all of it may take long
        if one.arg is not None:
            (texts if one.opcode in dis.hasconst else names).update(_words(one.argval))
    return Line(",".join(sorted(names | {_DIGITS.sub("#", text) for text in texts})), frozenset(texts))


def _lines_at(code: CodeType, offset: int) -> tuple[int, int]:
    """First and last line of what the instruction does."""
    if sys.version_info >= (3, 11):
        first, last, *_ = next(islice(code.co_positions(), offset // 2, None))
        if first is not None:
            return first, last or first
    return next((line, line) for start, end, line in code.co_lines() if line and start <= offset < end)


def _words(value: Any) -> list[str]:
    """Names, and texts of one word; sentences are left to the message, but not what they leave to be filled in."""
    if type(value) is str:
        return [value] if value.isidentifier() else list(fields_of(value))
    if type(value) is tuple:
        return [word for one in value for word in _words(one)]
    if isinstance(value, CodeType):
        return [word for name in (*value.co_names, *value.co_varnames, *texts_of(value)) for word in _words(name)]
    return []
