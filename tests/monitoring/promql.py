"""What a PromQL expression asks for: its selectors and the labels that it names. Enough of the grammar for ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ("Selector", "labels_named", "selectors")

_SELECTOR = re.compile(r"(?P<name>\b[a-z][a-z0-9_]*)(?P<matchers>\{[^}]*\})")
_BARE = re.compile(r"\bcelery_recovery_\w+\b(?!\{)")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


class Selector(NamedTuple):
    """A metric, and what is asked of its labels."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is meant."""
        return all(_holds(labels.get(name, ""), how, value) for name, how, value in self.matchers)


def _holds(given: str, how: str, wanted: str) -> bool:
    equal = re.fullmatch(wanted, given) is not None if "~" in how else given == wanted
    return equal != how.startswith("!")


def selectors(expression: str) -> Iterator[Selector]:
    """All of them, in order."""
    for found in _SELECTOR.finditer(expression):
        yield Selector(found["name"], tuple(_MATCHER.findall(found["matchers"])))
    for bare in _BARE.findall(expression):
        yield Selector(bare, ())


def labels_named(expression: str) -> Iterable[str]:
    """Labels by which something is grouped."""
    groups = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",") if label.strip()}
