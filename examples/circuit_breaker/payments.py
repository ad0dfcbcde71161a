"""The application: payments that need a bank, and the bank may be away.

`circuit="bank"` is all there is to it. The settings of the circuit only shorten its waits, so that the demo ends in
time: leave them out in production, the defaults suit it better.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request

from celery import Celery
from redis import Redis

from celery_recovery import RecoverableTask

__all__ = ("app", "charge", "counters")

REDIS = os.environ.get("EXAMPLE_REDIS", "redis://localhost:6379/0")
BANK = os.environ.get("EXAMPLE_BANK", "http://127.0.0.1:8080")

app = Celery("payments", broker=REDIS)
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    recovery_redis_url=REDIS,
    recovery_circuits={"bank": {"consecutive_failures": 8, "open_duration": 1, "max_open_duration": 3}},
)
counters = Redis.from_url(REDIS, decode_responses=True)


@app.task(base=RecoverableTask, circuit="bank")
def charge(number: int) -> None:
    """Ask the bank for one payment. A refused call is counted here: the bank cannot count it."""
    try:
        urllib.request.urlopen(f"{BANK}/charge/{number}", data=b"", timeout=5).close()
    except (urllib.error.URLError, ConnectionError):
        counters.incr("example:refused")
        raise
