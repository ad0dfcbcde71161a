"""Where an exception comes from: the application's own functions on the way to it, nearest first.

The application is whatever is neither installed (site-packages, dist-packages), nor part of Python, nor this package;
besides the package that the task's name begins with, wherever that is. If nothing is left, it is the package that was
entered first.

A function *called* the next one if its code names it. If not, it was handed it and carries the call on: a decorator's
wrapper, a retry loop, a dispatcher, a thread pool's submitter. Carriers come and go without any change of the bug, so
they do not count, unless they are where it happened. Where a library stands between the two (it called back), or the
next one's name says nothing (it was made within a function), the carrier is told by its arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from types import CodeType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any, NamedTuple

from celery_recovery.errors.bytecode import Line
from celery_recovery.errors.functions import Function, functions_of
from celery_recovery.errors.reading import is_written, mro_of

__all__ = ("LIBRARY_NEAREST", "NEAREST", "NEAREST_OF_ONE", "Places", "package_of", "places_of")

#: Functions that count; so many if all those are of one module; so many of libraries if there are no others.
NEAREST, NEAREST_OF_ONE, LIBRARY_NEAREST = 3, 6, 2
_PLUMBING = frozenset({"celery", "kombu", "billiard", "celery_recovery", ""})
_ENDLESS = "builtins.RecursionError"
#: What strikes while any function runs: which one is chance.
_STRUCK = frozenset({"billiard.exceptions.SoftTimeLimitExceeded"})
_namespace = type.__dict__["__dict__"].__get__
_ITEMS = 8  # of *args that are looked at
_ROUND = 20  # calls in which a circle is looked for


class Places(NamedTuple):
    """What counts of a traceback."""

    #: Nearest first.
    functions: list[Function]
    #: What stands on the lines where these failed or called the next.
    lines: list[Line]

    @property
    def names(self) -> list[str]:
        """As `place_name` gives them."""
        return [function.place for function in self.functions]


def package_of(task: str) -> str:
    """The package that a task's name begins with."""
    return task.partition(".")[0] if "." in task else "."  # which is none


def places_of(steps: Sequence[TracebackType], package: str, name: str) -> Places:
    """Of a traceback, outermost call first. `package`: the application's; `name`: of the exception's class."""
    nearest_first = steps[::-1]
    frames = list(zip(nearest_first, functions_of(nearest_first), strict=True))
    if name == _ENDLESS:
        return _circle([one for _, one in frames[:_ROUND] if one.is_of(package)])
    walk = _Walk(package).through(frames)
    if not walk.found and (entered := _entered(frames)):
        walk = _Walk(entered).through(frames)
    if name in _STRUCK:
        return Places(walk.found[-1:], [])
    if not walk.found:
        return Places(walk.between[:LIBRARY_NEAREST], [])
    found = _nearest(walk.found)
    there = zip(found[:NEAREST], walk.steps, strict=False)
    return Places(found, [function.line(step.tb_lasti) for function, step in there])


_Frames = list[tuple[TracebackType, Function]]


def _circle(functions: list[Function]) -> Places:
    """Those that call each other; at which of them the stack ended is chance."""
    circle = [function for function, times in Counter(functions).items() if times > 1]
    return Places(sorted(circle, key=attrgetter("place")), [])


def _entered(frames: _Frames) -> str:
    """The installed package that was called first, but for those that call tasks."""
    for _, function in reversed(frames):
        if function.package not in _PLUMBING and "-packages/" in function.code.co_filename:
            return function.package
    return ""


class _Walk:
    """From the nearest call outwards, counting the application's functions that are callers."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[Function] = []
        self.steps: list[TracebackType] = []  # where each of them failed or called
        self.called: Function | None = None  # the one that was counted last
        self.carriers: list[Function] = []  # own ones that were met since
        self.between: list[Function] = []  # libraries' since the last own one

    def through(self, frames: _Frames) -> _Walk:
        package = self.package
        for step, function in frames:
            if function.library and function.package != package:
                self.between.append(function)
            elif function is not self.called and function not in self.carriers:  # recursion counts once
                self._meet(step, function)
        return self

    def _meet(self, step: TracebackType, function: Function) -> None:
        called = self.called
        if called is None:
            pass
        elif called.anonymous and function.contains(called):
            if self.found[-1] is called:  # a lambda or a comprehension is part of the function that it is written in
                self._forget(len(self.found) - 1)
        elif not self._is_caller(function, step.tb_frame, called):
            self.carriers.append(function)
            self.between = []
            return
        if function in self.found:
            self._forget(self.found.index(function) + 1)  # so does recursion by way of others
        else:
            self.found.append(function)
            self.steps.append(step)
        self.called, self.carriers, self.between = function, [], []

    def _forget(self, start: int) -> None:
        del self.found[start:], self.steps[start:]

    def _is_caller(self, function: Function, frame: FrameType, called: Function) -> bool:
        if function.anonymous:
            return False
        if called.name in function.names or (called.special and called.name != "__call__"):
            return True
        if any(one.name in function.names and one.module != function.module for one in self.carriers):
            return True  # a carrier's own helpers are no callers, but who uses it from elsewhere is
        if called.nested or called.special or (self.between and not self.carriers):
            return not _was_handed(function, frame, [called, *self.carriers, *self.between])
        return False


def _nearest(found: list[Function]) -> list[Function]:
    """The first few; if they are all of one module, such as a client's own layers, then up to the first that is not."""
    module = found[0].module if found else ""
    for number, function in enumerate(found[:NEAREST_OF_ONE], 1):
        if function.module != module:
            return found[: max(number, NEAREST)]
    return found[:NEAREST]


def _was_handed(function: Function, frame: FrameType, others: list[Function]) -> bool:
    """Is one of the others among the arguments of the call, or what it closes over?"""
    try:
        here = frame.f_locals
    except Exception:  # a frame that cannot be read
        return False
    for name in function.given:
        value = here.get(name)
        for one in value[:_ITEMS] if type(value) is tuple else (value,):
            code = _code_of(one)
            if code is not None and any(code is other.code for other in others):
                return True
    return False


def _code_of(value: Any) -> CodeType | None:
    """The code that runs when it is called, if that is the application's."""
    while type(value) is partial:
        value = value.func
    if type(value) is MethodType:
        value = value.__func__
    if type(value) is not FunctionType and is_written(type(value)):
        value = next((call for cls in mro_of(type(value)) if (call := _namespace(cls).get("__call__"))), None)
    return value.__code__ if type(value) is FunctionType else None
