"""Changing the item of a batch that a letter carries, before it is replayed.

item.price=9.99      a field of the item; the new value is text where the old one is
item.lines.0.sku=…   inside it
item={…}             all of it
item.price:=9.99     the value is JSON, whatever the old one is
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from kombu.utils import json as kombu_json

from celery_recovery.batch.item import LARGEST
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.exceptions import ConfigurationError

__all__ = ("Change", "edited")

_EXPECTED = "item=VALUE, item.FIELD=VALUE or item.FIELD:=JSON"


class Change(NamedTuple):
    """One `--set`."""

    path: tuple[str, ...]
    value: str
    #: The value is JSON.
    is_json: bool

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read it. Raises `ConfigurationError`."""
        name, sign, value = text.partition("=")
        is_json = name.endswith(":")
        first, *path = name.removesuffix(":").split(".")
        if not sign or first != "item" or not all(path):
            raise ConfigurationError.of("set", expected=_EXPECTED, got=text)
        if is_json or not path:
            _parsed(value)
        return cls(tuple(path), value, is_json or not path)

    def onto(self, value: Any) -> Any:
        """The value with this change. Raises `ConfigurationError` where it has no such place."""
        if not self.path:
            return _parsed(self.value)
        here = value
        for step in self.path[:-1]:
            here = here[_place(here, step, self)]
        last = _place(here, self.path[-1], self, new=True)
        old = here.get(last) if isinstance(here, dict) else here[last]
        here[last] = self.value if isinstance(old, str) and not self.is_json else _parsed(self.value, text=True)
        return value


def edited(letter: Letter, changes: Sequence[Change]) -> Letter:
    """The letter with its item changed. Raises `ConfigurationError` where that cannot be."""
    header = letter.batch_header
    if header is None or len(header.items) != 1:
        expected = "a letter of one item of a batch"
        raise ConfigurationError.of("set", expected=expected, got=letter.id, hint="Only these have an item.")
    item = header.items[0]
    value = None if item.value is None else json.loads(item.value)
    for change in changes:
        if value is None and change.path:
            expected = "item=VALUE: its letter does not carry the item"
            raise ConfigurationError.of("set", expected=expected, got="item." + ".".join(change.path))
        value = change.onto(value)
    told = json.dumps(value)
    if len(told) > LARGEST:
        raise ConfigurationError.of("set", expected=f"an item of at most {LARGEST:,} bytes", got=f"{len(told):,} bytes")
    kombu_json.loads(told)  # what it cannot read no worker could
    changed = replace(item, value=told, tuple=item.tuple and isinstance(value, list), shown="")
    return letter.changed(batch=replace(header, items=(changed,)).to_dict())


def _place(here: Any, step: str, change: Change, *, new: bool = False) -> Any:
    if isinstance(here, dict) and (new or step in here):
        return step
    if isinstance(here, list) and step.isdigit() and int(step) < len(here):
        return int(step)
    path = "item." + ".".join(change.path)
    raise ConfigurationError.of("set", expected=f"a place that the item has; there is no {step!r}", got=path)


def _parsed(value: str, *, text: bool = False) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        if text:
            return value
        raise ConfigurationError.of("set", expected="JSON", got=value) from None
