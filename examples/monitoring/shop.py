"""An app to look at: it fails by the clock, so that every picture of the dashboard has something to show.

    charge           needs a bank, which is away for one minute in five; its circuit opens, and the tasks wait
    send_mail        now and then a connection is reset; nearly always a retry helps
    print_label      has a bug: orders from one region are dead letters until somebody acts
    import_customers goes through a thousand rows, of which a few are bad

No real bank, mail or printer is asked. `traffic.py` sends the tasks.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from celery import Celery

from celery_recovery import ErrorType, RecoverableTask, RetryPolicy

__all__ = ("app", "charge", "import_customers", "print_label", "send_mail")

REDIS = os.environ.get("SHOP_REDIS", "redis://localhost:6379/0")
BROKER = os.environ.get("SHOP_BROKER", REDIS)
#: The bank is away in the last so many seconds of each period.
PERIOD, AWAY = (int(os.environ.get(name, default)) for name, default in (("SHOP_PERIOD", "300"), ("SHOP_AWAY", "60")))
ROWS = 1000

app = Celery("shop", broker=BROKER)
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    recovery_redis_url=REDIS,
    recovery_key_prefix="shop",
    recovery_code_version=os.environ.get("SHOP_VERSION", "1"),
    recovery_policies={ErrorType.NETWORK: RetryPolicy(max_attempts=4, base_delay=1, max_delay=10)},
    recovery_circuits={"bank": {"consecutive_failures": 5, "open_duration": 5, "max_open_duration": 15}},
)


@app.task(base=RecoverableTask, circuit="bank")
def charge(order: int) -> None:
    """Ask the bank, which is away by the clock."""
    if time.time() % PERIOD > PERIOD - AWAY:
        raise ConnectionRefusedError(f"order {order}: the bank is away")


@app.task(base=RecoverableTask)
def send_mail(order: int) -> None:
    """One in ten is cut off."""
    if random.random() < 0.1:
        raise ConnectionResetError(f"order {order}: the mail server hung up")


@app.task(base=RecoverableTask)
def print_label(order: int, region: str) -> str:
    """No retry helps against a bug."""
    carriers = {"us": "eagle", "apac": "tiger"}
    return f"{carriers[region]}-{order}"


@app.task(base=RecoverableTask, bind=True)
def import_customers(self: Any, number: int) -> None:
    """A batch: bad rows are set aside, the others go on."""
    for row in self.batch(range(ROWS), total=ROWS):
        time.sleep(0.01)
        if row % 250 == number % 250:
            raise ValueError(f"row {row}: the balance '12O' is no number")
