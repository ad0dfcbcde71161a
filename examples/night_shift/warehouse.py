"""The application: three tasks, each with a bug that only some of its data meet.

`WAREHOUSE_RELEASE` says which release of the code runs here, as a deploy would: `1` has the bugs, `2` is what somebody
who had not read the letters thought was the fix, `3` mends what is wrong. Every run leaves a mark in Redis, so that it
can be counted afterwards that each order was done once.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import redis
from celery import Celery

from celery_recovery import ErrorType, RecoverableTask, RetryPolicy

__all__ = ("app", "book_invoice", "print_label", "sync_stock")

URL = os.environ.get("WAREHOUSE_REDIS", "redis://localhost:6379/0")
RELEASE = os.environ.get("WAREHOUSE_RELEASE", "1")

app = Celery("warehouse", broker=URL, backend=URL)
app.conf.update(
    task_ignore_result=True,
    recovery_code_version=f"release-{RELEASE}",
    recovery_policies={ErrorType.NETWORK: RetryPolicy(max_attempts=2, base_delay=0.1, max_delay=0.2)},
)
marks = redis.Redis.from_url(URL)


def done(task: str, order: str) -> None:
    """Mark the work as done; a second mark for one order would be counted as a repetition."""
    marks.hincrby(f"done:{task}", order, 1)


def amount(text: str, region: str) -> Decimal:
    """What the customer pays: `1,234.50`, or in Europe `1.234,50`."""
    if RELEASE == "3" and region == "eu":
        text = text.replace(".", "").replace(",", ".")
    elif RELEASE == "2":
        text = text.strip()  # "it must be the blanks"
    return Decimal(text.replace(",", "")) if region != "eu" else Decimal(text)


@app.task(base=RecoverableTask)
def book_invoice(order: str, *, total: str, region: str) -> None:
    """Book the invoice of an order."""
    amount(total, region)
    done("book_invoice", order)


@app.task(base=RecoverableTask)
def sync_stock(order: str, *, item: dict[str, Any]) -> None:
    """Take the item out of the stock; one supplier has renamed a field of its messages."""
    sku = item.get("sku") or item["article"] if RELEASE == "3" else item["sku"]
    marks.hincrby("stock", sku, -1)
    done("sync_stock", order)


@app.task(base=RecoverableTask)
def print_label(order: str, *, address: dict[str, str], service: str = "") -> None:
    """Print the label; the company's line is not always there. One printer is away, until release 3."""
    if service == "away" and RELEASE != "3":
        raise ConnectionRefusedError(111, f"the printer of {order} does not answer")
    company = address.get("company")
    line = company.upper() if RELEASE != "3" or company else ""  # type: ignore[union-attr]
    marks.rpush("labels", f"{line} {address['street']}")
    done("print_label", order)
