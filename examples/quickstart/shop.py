"""The application: an order goes from its uploaded file to its shipment, one Celery task a step.

    parse_order ─► reserve_stock (one per product, a chord if several) ─► charge_payment ─► ship

Nothing in the tasks deals with failure. `base=RecoverableTask` is all there is to it, and the settings at the top only
shorten the delays, so that the demo ends in time.
"""

from __future__ import annotations

import csv
import json
import os
import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from celery import Celery, chain, group

from celery_recovery import ErrorType, RecoverableTask, RetryPolicy

__all__ = ("app", "charge_payment", "fulfil", "parse_order", "reserve_stock", "ship")

REDIS = os.environ.get("QUICKSTART_REDIS", "redis://localhost:6379/0")
SERVICE = os.environ.get("QUICKSTART_SERVICE", "http://127.0.0.1:8080")
TIMEOUT = 1.0  # seconds for an answer

app = Celery("shop", broker=REDIS, backend=REDIS)
app.conf.update(
    result_extended=True,  # the demo's books ask how often a task was retried
    recovery_policies={
        ErrorType.NETWORK: RetryPolicy(max_attempts=8, base_delay=0.2, max_delay=5),
        # An answer that is cut short may be whole the next time, unlike an order file.
        requests.JSONDecodeError: RetryPolicy(max_attempts=4, base_delay=0.2, max_delay=2),
    },
)
http = requests.Session()


class InvalidOrder(ValueError):
    """The file can be read, and what it orders makes no sense."""


@app.task(base=RecoverableTask)
def parse_order(path: str) -> dict[str, Any]:
    """Read one uploaded file and check what is in it."""
    file = Path(path)
    order = READERS[file.suffix](file)
    for line in order["lines"]:
        line["quantity"] = int(line["quantity"])
        if line["quantity"] < 1:
            raise InvalidOrder(f"order {order['order_id']}: quantity {line['quantity']} of {line['sku']}")
    total = sum(line["quantity"] * Decimal(line["price"]) for line in order["lines"])
    return {**order, "total": str(total), "currency": order["currency"].upper()}


@app.task(base=RecoverableTask)
def reserve_stock(order: dict[str, Any], number: int) -> dict[str, Any]:
    """Reserve one product of the order."""
    line = order["lines"][number]
    post("/stock", f"{order['order_id']}/{number}", order, sku=line["sku"], quantity=line["quantity"])
    return order


@app.task(base=RecoverableTask)
def charge_payment(order: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any]:
    """Charge the customer once everything is reserved; a chord hands over one copy of the order per product."""
    order = order[0] if isinstance(order, list) else order
    answer = post("/payments", order["order_id"], order, amount=order["total"], currency=order["currency"])
    return {**order, "payment": answer["reference"]}


@app.task(base=RecoverableTask)
def ship(order: dict[str, Any]) -> str:
    """Hand the parcel to the carrier; its tracking number is the result."""
    address = {"postcode": order["postcode"], "country": order["country"]}
    return str(post("/shipments", order["order_id"], order, **address)["reference"])


def post(path: str, key: str, order: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Ask the partner's service for one effect; the key lets it recognise a request that it has had before."""
    answer = http.post(
        SERVICE + path,
        json={"order_id": order["order_id"], **fields},
        headers={"Idempotency-Key": key},
        timeout=TIMEOUT,
    )
    answer.raise_for_status()
    return dict(answer.json())


def fulfil(path: Path, products: int) -> Any:
    """The canvas for one order file with that many products."""
    reservations = [reserve_stock.s(number) for number in range(products)]
    reserve = reservations[0] if products == 1 else group(reservations)
    return chain(parse_order.s(str(path)), reserve, charge_payment.s(), ship.s())


def _read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text("utf-8")))


def _read_csv(file: Path) -> dict[str, Any]:
    with file.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text, strict=True))
    lines = [{name: row[name] for name in ("sku", "quantity", "price")} for row in rows]
    return {**rows[0], "lines": lines}


def _read_xml(file: Path) -> dict[str, Any]:
    root = ET.parse(file).getroot()
    return {**root.attrib, "lines": [dict(line.attrib) for line in root.iter("line")]}


READERS = {".json": _read_json, ".csv": _read_csv, ".xml": _read_xml}
