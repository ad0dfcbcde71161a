"""What letters have in common: values that nearly all of them have at the same place of their arguments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.redact import MASK, Redactor

__all__ = ("LARGEST", "Common", "in_common")

#: Share of the letters that must have it.
SHARE = 0.9
#: Letters below which nothing is said.
LEAST = 3
#: Levels of nested data, values of one letter, and characters of a value that are looked at.
_DEPTH, _MOST, _LONGEST = 4, 200, 200
#: Bytes of a letter that is looked into.
LARGEST = 50_000


class Common(NamedTuple):
    """A value that letters share."""

    #: Where, as the filter's `--arg` writes it: `region`, `order.country`, `0`.
    path: str
    value: Any
    #: Letters that have it, of those whose arguments could be read.
    letters: int
    of: int


def in_common(letters: Iterable[Letter], hide: Redactor | None = None) -> list[Common]:
    """Values shared by nine in ten of the letters, those shared by most first; without what `hide` takes for a secret.

    Very large letters are passed over: to read them all would take longer than anybody waits.
    """
    seen: Counter[tuple[str, str]] = Counter()
    read = 0
    for letter in letters:
        arguments = letter.arguments if letter.size <= LARGEST and not letter.left_out else None
        if arguments is not None:
            read += 1
            args = arguments[0] if hide is None else hide.masked(letter.task, arguments[0], letter.secret_args)
            seen.update(set(_flat({**{str(n): value for n, value in enumerate(args)}, **arguments[1]}, hide)))
    if read < LEAST:
        return []
    found = [Common(path, json.loads(value), n, read) for (path, value), n in seen.items() if n >= SHARE * read]
    return sorted(found, key=lambda one: (-one.letters, one.path))


def _flat(data: Mapping[Any, Any], hide: Redactor | None) -> Iterator[tuple[str, str]]:
    """Place and value, as JSON, of every scalar; of so many at most."""
    is_secret = hide.is_secret if hide is not None else lambda _: False
    waiting: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in data.items() if not is_secret(key)]
    told = 0
    while waiting and told < _MOST:
        path, value, depth = waiting.pop()
        if isinstance(value, Mapping) and depth < _DEPTH:
            inner = list(value.items())[:_MOST]
            waiting += [(f"{path}.{key}", item, depth + 1) for key, item in inner if not is_secret(key)]
        elif isinstance(value, (list, tuple)) and depth < _DEPTH:
            waiting += [(f"{path}.{n}", item, depth + 1) for n, item in enumerate(value[:10])]
        elif value != MASK and (text := _told(value)) and (hide is None or hide(value) == value):
            told += 1
            yield path, text


def _told(value: Any) -> str:
    """A short scalar as JSON; of anything else an empty text."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return ""
    try:
        text = json.dumps(value) if isinstance(value, (str, int, float, bool, type(None))) else ""
    except ValueError:  # an integer of thousands of digits
        return ""
    return text if len(text) <= _LONGEST else ""
