"""Write the order files that the shop works on: JSON, CSV and XML, some of them broken as real uploads are.

The same seed gives the same files. `python orders.py DIRECTORY [COUNT]` writes them without running anything.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ("DEFECTS", "Order", "write_orders")

_SEED = 20
_COUNTRIES = ("AT", "BE", "CH", "DE", "DK", "ES", "FR", "IT", "NL", "PL", "SE")
_PRODUCTS = tuple(f"{kind}-{size}" for kind in ("LAMP", "DESK", "CHAIR", "SHELF", "RUG") for size in ("S", "M", "L"))


@dataclass(frozen=True)
class Order:
    """One uploaded file, as the sender knows it."""

    id: str
    path: Path
    #: How many products it orders; each is reserved on its own.
    lines: int
    #: Key of `DEFECTS`, or None for a good file.
    defect: str | None


def write_orders(directory: Path, count: int) -> list[Order]:
    """Write `count` files into `directory` (made if missing); about one in thirty has a defect."""
    directory.mkdir(parents=True, exist_ok=True)
    dice = random.Random(_SEED)
    return [_write_order(directory, number, dice) for number in range(1, count + 1)]


def _write_order(directory: Path, number: int, dice: random.Random) -> Order:
    content = _content(number, dice)
    suffix = dice.choices(("json", "csv", "xml"), weights=(6, 3, 2))[0]
    defect = dice.choice(sorted(DEFECTS)) if dice.random() < 1 / 30 else None
    if defect:
        suffix, spoil = DEFECTS[defect]
        raw = spoil(content)
    else:
        raw = _FORMATS[suffix](content)
    path = directory / f"{content['order_id']}.{suffix}"
    path.write_bytes(raw)
    return Order(content["order_id"], path, len(content["lines"]), defect)


def _content(number: int, dice: random.Random) -> dict[str, Any]:
    # Two orders in three are for one product; the rest become a chord.
    products = dice.sample(_PRODUCTS, dice.choices((1, 2, 3), weights=(8, 3, 1))[0])
    return {
        "order_id": f"SO-{number:05d}",
        "customer": f"C{dice.randrange(10_000, 99_999)}",
        "country": dice.choice(_COUNTRIES),
        "postcode": f"{dice.randrange(1000, 99_999):05d}",
        "currency": dice.choice(("EUR", "EUR", "EUR", "CHF", "SEK")),
        "note": dice.choice(("", "", "leave at the door", "ring at Müller's", "à l'étage")),
        "lines": [
            {"sku": sku, "quantity": dice.randint(1, 4), "price": f"{dice.uniform(4, 400):.2f}"} for sku in products
        ],
    }


def _as_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _as_csv(content: dict[str, Any]) -> bytes:
    head = {name: value for name, value in content.items() if name != "lines"}
    text = io.StringIO()
    writer = csv.DictWriter(text, [*head, "sku", "quantity", "price"])
    writer.writeheader()
    writer.writerows({**head, **line} for line in content["lines"])
    return text.getvalue().encode()


def _as_xml(content: dict[str, Any]) -> bytes:
    root = ET.Element("order", {name: value for name, value in content.items() if name not in ("lines", "note")})
    ET.SubElement(root, "note").text = content["note"]
    for line in content["lines"]:
        ET.SubElement(root, "line", {name: str(value) for name, value in line.items()})
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _cut(raw: bytes) -> bytes:
    return raw[: len(raw) * 2 // 3]


def _with_first_line(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**content, "lines": [{**content["lines"][0], **changes}, *content["lines"][1:]]}


_FORMATS: dict[str, Callable[[dict[str, Any]], bytes]] = {"json": _as_json, "csv": _as_csv, "xml": _as_xml}

#: What goes wrong with uploads: the format it shows in, and how the good content turns into the bad file.
DEFECTS: dict[str, tuple[str, Callable[[dict[str, Any]], bytes]]] = {
    "upload cut off (JSON)": ("json", lambda content: _cut(_as_json(content))),
    "upload cut off (XML)": ("xml", lambda content: _cut(_as_xml(content))),
    "empty file": ("json", lambda _: b""),
    "saved as Latin-1": ("json", lambda content: _as_json({**content, "note": "à l'étage"}).decode().encode("latin-1")),
    "unescaped ampersand": ("xml", lambda content: _as_xml(content).replace(b"<note", b"<shop>A & B</shop><note")),
    "column missing": ("csv", lambda content: _as_csv(content).replace(b"quantity", b"qty")),
    "field missing": ("json", lambda content: _as_json({k: v for k, v in content.items() if k != "currency"})),
    "quantity is a word": ("csv", lambda content: _as_csv(_with_first_line(content, quantity="two"))),
    "negative quantity": ("json", lambda content: _as_json(_with_first_line(content, quantity=-3))),
}


if __name__ == "__main__":
    written = write_orders(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
    print(f"{len(written)} orders, {sum(order.defect is not None for order in written)} with a defect")
