"""What letters have in common: values that nearly all of them have at the same place of their arguments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.redact import MASK

__all__ = ("Common", "in_common")

#: Share of the letters that must have it.
SHARE = 0.9
#: Letters below which nothing is said.
LEAST = 3
#: Levels of nested data, values of one letter, and characters of a value that are looked at.
_DEPTH, _MOST, _LONGEST = 4, 200, 200


class Common(NamedTuple):
    """A value that letters share."""

    #: Where, as the filter's `--arg` writes it: `region`, `order.country`, `0`.
    path: str
    value: Any
    #: Letters that have it, of those whose arguments could be read.
    letters: int
    of: int


def in_common(letters: Iterable[Letter], hide: Any = lambda value: value) -> list[Common]:
    """Values shared by nine in ten of the letters, those shared by most first; secrets are taken out by `hide`."""
    seen: Counter[tuple[str, str]] = Counter()
    read = 0
    for letter in letters:
        arguments = letter.arguments
        if arguments is not None:
            read += 1
            args, kwargs = arguments
            seen.update(set(_flat({**{str(n): value for n, value in enumerate(hide(args))}, **hide(kwargs)})))
    if read < LEAST:
        return []
    found = [Common(path, json.loads(value), n, read) for (path, value), n in seen.items() if n >= SHARE * read]
    return sorted(found, key=lambda one: (-one.letters, one.path))


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and value, as JSON, of every scalar; of so many at most."""
    waiting: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in data.items()]
    told = 0
    while waiting and told < _MOST:
        path, value, depth = waiting.pop()
        if isinstance(value, Mapping) and depth < _DEPTH:
            waiting += [(f"{path}.{key}", item, depth + 1) for key, item in list(value.items())[:_MOST]]
        elif isinstance(value, (list, tuple)) and depth < _DEPTH:
            waiting += [(f"{path}.{n}", item, depth + 1) for n, item in enumerate(value[:10])]
        elif value == MASK:
            continue  # what is hidden is the same everywhere
        elif isinstance(value, (str, int, float, bool, type(None))) and len(text := json.dumps(value)) <= _LONGEST:
            told += 1
            yield path, text
