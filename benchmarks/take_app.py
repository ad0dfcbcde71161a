"""The app of `redis_take.py`: one no-op task and one that tells how long it was under way; `BENCH_LEASE`: 1 or 0."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

from celery_recovery.recovery import Recovery

LEASE = os.environ["BENCH_LEASE"] == "1"

app = Celery("take", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=16,
)
if LEASE:
    app.conf.update(recovery_redis_url=os.environ["BENCH_STORE_URL"], recovery_intake=False)
    Recovery.of(app).wire()

store = redis.Redis.from_url(os.environ["BENCH_STORE_URL"])


@app.task(name="nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(name="arrived")
def arrived(key: str, sent: float) -> None:
    """Note the seconds since it was sent."""
    store.rpush(key, time.time() - sent)
