"""The source line of a traceback's step, read here, where the traceback is shown.

Steps come out of messages, which anybody may have written. So a line is read from Python files alone, and shown only if
a function of the name that the step gives has it: neither a file of another kind can be had this way, nor what stands
in a module outside its functions, as settings do. That the file here is not the one that ran is seen the same way.
"""

from __future__ import annotations

import linecache
import os.path
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from inspect import CO_OPTIMIZED
from types import CodeType

__all__ = ("source_line",)

#: Bytes of a file that is read, and files that are remembered.
LARGEST, _FILES = 2_000_000, 200


def source_line(filename: object, lineno: object, name: object) -> str:
    """The line's text without its indentation; empty where it cannot be read, or is not of that function."""
    path = str(filename)
    if not path.endswith(".py") or type(lineno) is not int or not isinstance(name, str):
        return ""
    try:
        about = os.stat(path)  # noqa: PTH116  # Path's raises over a long name
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
        return ""
    if lineno not in _lines_of(path, about.st_mtime_ns, about.st_size).get(name, ()):
        return ""
    return linecache.getline(path, lineno).strip()


@lru_cache(_FILES)
def _lines_of(path: str, mtime: int, size: int) -> Mapping[str, frozenset[int]]:  # noqa: ARG001  # they tell versions apart
    """Name of a function -> the lines of all functions of that name."""
    linecache.checkcache(path)
    found: dict[str, frozenset[int]] = {}
    try:
        code = compile("".join(linecache.getlines(path)), path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for function in _functions_in(code):
        lines = frozenset(line for _, _, line in function.co_lines() if line)
        found[function.co_name] = found.get(function.co_name, frozenset()) | lines
    return found


def _functions_in(code: CodeType) -> Iterator[CodeType]:
    """All of them, nested ones, too; a class body is none."""
    waiting = [code]
    while waiting:
        one = waiting.pop()
        waiting += [inner for inner in one.co_consts if isinstance(inner, CodeType)]
        if one.co_flags & CO_OPTIMIZED:
            yield one
