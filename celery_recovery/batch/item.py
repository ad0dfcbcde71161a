"""`Item`: one item of a batch as its dead letter, and the message of its replay, carry it.

batch           in the `recovery` header of an item's letter, and of what it is replayed as
parent        id of the task whose batch it is
name          of the batch, as the task calls it
items         a list; of a letter exactly one:
position    from 0, in the batch's source
key         text; None: the batch has no keys
value       the item as JSON text, as kombu writes it (dates, decimals and UUIDs come back as such); None: it
could not be written down, or is too large, and is looked up in the source again
tuple       the value is a tuple, which JSON has none of
shown       where there is no value: what it looked like
letter      {id, token, copy, number, operation} of the letter, where several are replayed as one message
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kombu.utils import json
from kombu.utils.encoding import safe_repr

__all__ = ("LARGEST", "BatchHeader", "Item", "letter_id")

#: Bytes of an item's JSON text that a letter carries: RabbitMQ wants all headers in one frame (128 KiB by default).
LARGEST = 32 * 1024
#: Characters of what cannot be carried that are shown, and of a key.
SHOWN, LONGEST_KEY = 500, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """See the module's docstring."""

    position: int
    key: str | None = None
    value: str | None = None
    tuple: bool = False
    shown: str = ""
    letter: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, position: int, key: Any, value: Any) -> Item:
        """Written down, as far as that gives the same value back."""
        name = None if key is None else (key if isinstance(key, str) else safe_repr(key))[:LONGEST_KEY]
        is_tuple = type(value) is tuple
        try:
            plain = list(value) if is_tuple else value
            told = json.dumps(plain)
            if len(told.encode()) <= LARGEST and _same(json.loads(told), plain):
                return cls(position=position, key=name, value=told, tuple=is_tuple)
        except Exception:  # noqa: BLE001  # the user's object: its comparison may do anything
            told = ""
        return cls(position=position, key=name, shown=safe_repr(value)[:SHOWN])

    @classmethod
    def from_dict(cls, data: Any) -> Item | None:
        """As a header holds it; None for what is none."""
        if not isinstance(data, Mapping) or not isinstance(position := data.get("position"), int) or position < 0:
            return None
        key, value, letter = data.get("key"), data.get("value"), data.get("letter")
        return cls(
            position=position,
            key=key if isinstance(key, str) else None,
            value=value if isinstance(value, str) else None,
            tuple=data.get("tuple") is True,
            shown=str(data.get("shown") or "")[:SHOWN],
            letter=dict(letter) if isinstance(letter, Mapping) else {},
        )

    def to_dict(self) -> dict[str, Any]:
        """As a header holds it."""
        told: dict[str, Any] = {"position": self.position, "key": self.key, "value": self.value}
        if self.tuple:
            told["tuple"] = True
        if self.value is None:
            told["shown"] = self.shown
        return {**told, "letter": dict(self.letter)} if self.letter else told

    def load(self) -> Any:
        """The item as the body gets it; only where there is a value. Raises ValueError."""
        found = json.loads(self.value)
        return tuple(found) if self.tuple else found

    def plain(self) -> Any:
        """The value as plain JSON, for people: None where there is none."""
        if self.value is None:
            return None
        try:
            return json.loads(self.value)
        except (ValueError, RecursionError):
            return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """The `batch` part of a `recovery` header."""

    parent: str
    name: str
    items: tuple[Item, ...]

    @classmethod
    def of(cls, recovery: Any) -> BatchHeader | None:
        """Read it off the `recovery` header, which may hold anything; None where it is no item's."""
        data = recovery.get("batch") if isinstance(recovery, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(data.get("items"), (list, tuple)):
            return None
        items = tuple(item for item in map(Item.from_dict, data["items"]) if item is not None)
        return (
            cls(parent=str(data.get("parent") or ""), name=str(data.get("name") or ""), items=items) if items else None
        )

    def to_dict(self) -> dict[str, Any]:
        """As the header holds it."""
        return {"parent": self.parent, "name": self.name, "items": [item.to_dict() for item in self.items]}


def letter_id(parent: str, name: str, era: int, position: int) -> str:
    """The id of an item's letter and task: the same however often the item fails."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{parent}\0{name}\0{era}\0{position}"))


def _same(found: Any, plain: Any) -> bool:
    """JSON turns tuples into lists and keys into text, at any depth; then it is not the same."""
    return type(found) is type(plain) and bool(found == plain)
