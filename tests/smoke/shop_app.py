"""The app of the smoke tests, as a team would write it: put into the worker node as `app.py`, alone.

So it imports nothing of the tests, and what it did is seen in Redis, the only place that all nodes and the tests share.
Celery itself reads `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND`.
"""

from __future__ import annotations

import os
import time

import redis
from celery import Celery, Task

from celery_recovery import RecoverableTask

#: Three attempts, without much delay.
QUICK = {"max_attempts": 3, "base_delay": 0.1, "max_delay": 0.5}

app = Celery("shop")
app.conf.update(
    recovery_policies={"network": QUICK, "system": QUICK},
    recovery_lease=5,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
ledger = redis.Redis.from_url(os.environ["CELERY_RESULT_BACKEND"], decode_responses=True)

#: Opens after four failures in a row, for two seconds; what was parked comes back at once.
CARRIER = {"consecutive_failures": 4, "minimum_calls": 1000, "open_duration": 2, "max_open_duration": 2,
           "half_open_permits": 1, "return_rate": 50}  # fmt: skip


def note(order: str, word: str) -> int:
    """Add a line to what happened with an order; returns how many it has."""
    return int(ledger.rpush(f"ledger:{order}", word))


@app.task(name="shop.charge", base=RecoverableTask)
def charge(order: str, failures: int = 0) -> str:
    """The bank hangs up the first `failures` times."""
    if note(order, "charge") <= failures:
        raise ConnectionResetError(104, "Connection reset by peer")
    return order


@app.task(name="shop.weigh", base=RecoverableTask)
def weigh(order: str, grams: int) -> int:
    """No weight is below zero, until somebody mends the scales."""
    note(order, "weigh")
    if grams < 0 and not ledger.exists("mended:scales"):
        raise ValueError(f"weight must be positive, got {grams}")
    return abs(grams)


@app.task(name="shop.address", base=RecoverableTask)
def address(order: str) -> None:
    """Not known, whoever asks."""
    raise KeyError("street")


@app.task(name="shop.total", base=RecoverableTask)
def total(weights: list[int], order: str) -> int:
    """Of a parcel."""
    note(order, f"total {sum(weights)}")
    return sum(weights)


@app.task(name="shop.pack", base=RecoverableTask, bind=True)
def pack(self: Task, order: str) -> str:
    """Takes until it is told to end. The ledger has the process that runs it, as its own node numbers it."""
    note(order, f"pid {os.getpid()}")
    deadline = time.monotonic() + 60
    while not ledger.exists("packed"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody has packed {order}")
        time.sleep(0.02)
    note(order, "packed")
    return order


@app.task(name="shop.ship", base=RecoverableTask, circuit="carrier", circuit_policy=CARRIER)
def ship(order: str) -> str:
    """By a carrier that may be away."""
    note(order, "ship")
    if ledger.exists("away:carrier"):
        raise ConnectionRefusedError(111, "Connection refused")
    return order
