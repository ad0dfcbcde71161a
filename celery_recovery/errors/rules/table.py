"""Families compiled for look-up: which rules speak for a class, and in what order.

A class is found by `module.qualname`, or by `package.*.Name` (top package and bare name), so that a library may move
its classes between private modules. What is found is kept per class, weakly and at most `_KEPT` of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import NamedTuple

from celery_recovery.errors.reading import mro_of, qualified_name
from celery_recovery.errors.rules.names import by_name
from celery_recovery.errors.rules.rule import Family, Look, Verdict

_namespace = type.__dict__["__dict__"].__get__
_ANSWERS_FOR_ANY = frozenset({"__getattr__", "__getattribute__", "__slots__"})

__all__ = ("Plan", "Step", "Table")

_KEPT = 2048
_GROUPS = frozenset({"BaseExceptionGroup", "MultiError"})


class Step(NamedTuple):
    """One rule that speaks for a class."""

    family: str
    name: str
    answer: Verdict | Look


class Plan(NamedTuple):
    """All rules that speak for one class, most specific class first."""

    #: Qualified name of the class itself.
    name: str
    #: Is it one of Python's own?
    builtin: bool
    #: Rules of libraries' classes.
    specific: tuple[Step, ...]
    #: Rules of Python's own classes that it derives from.
    base: tuple[Step, ...]
    #: What the class's name, or else that of a class it derives from, suggests.
    named: Verdict | None
    #: Do its classes give it attributes of its own, or ways to answer for any?
    shaped: bool
    #: Is it an exception group (of Python's, the backport's, or trio's)?
    group: bool


class Table:
    """The compiled rules of some families."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._steps: dict[str, Step] = {}
        self.protocols: list[Step] = []
        for family in families:
            for name, answer in family.classes.items():
                self._steps.setdefault(name, Step(family.name, f"{family.name}.{name.rpartition('.')[2]}", answer))
            for name, look in family.protocols:
                rule = name if name.startswith(f"{family.name}.") else f"{family.name}.{name}"
                self.protocols.append(Step(family.name, rule, look))
        # By id, not by class: a metaclass may forbid hashing. The weak reference says whether the id is still its own.
        self._plans: dict[int, tuple[weakref.ref[type], Plan]] = {}

    def plan(self, cls: type) -> Plan:
        """The rules for `cls`, from memory if it was asked before."""
        kept = self._plans.get(id(cls))
        if kept is not None and kept[0]() is cls:
            return kept[1]
        plan = self._make(cls)
        if len(self._plans) >= _KEPT:
            self._plans.clear()
        self._plans[id(cls)] = (weakref.ref(cls), plan)
        return plan

    def _make(self, cls: type) -> Plan:
        specific: list[Step] = []
        base: list[Step] = []
        named: Verdict | None = None
        shaped = group = False
        for ancestor in mro_of(cls):
            full = qualified_name(ancestor)
            builtin = full.startswith("builtins.")
            step = self._find(full)
            if step is not None:
                (base if builtin else specific).append(step)
            name = full.rpartition(".")[2]
            group = group or name in _GROUPS
            if not builtin:
                named = named or by_name(name)
                shaped = shaped or _shapes(ancestor)
        full = qualified_name(cls)
        return Plan(full, full.startswith("builtins."), tuple(specific), tuple(base), named, shaped, group)

    def _find(self, full: str) -> Step | None:
        step = self._steps.get(full)
        if step is None and "." in full:
            step = self._steps.get(f"{full.partition('.')[0]}.*.{full.rpartition('.')[2]}")
        return step


def _shapes(cls: type) -> bool:
    """Does the class hold anything but methods with Python's own names?"""
    return any(
        name in _ANSWERS_FOR_ANY or not name.startswith("__") for name in _namespace(cls) if isinstance(name, str)
    )
