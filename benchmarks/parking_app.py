"""The app of `parking.py`: one task, on Celery's own base or on ours; nothing of ours is wired for the former."""

from __future__ import annotations

import os

from celery import Celery

from celery_recovery import RecoverableTask

app = Celery("parking", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    recovery_redis_url=os.environ["BENCH_STORE_URL"],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=4,
)


@app.task(name="ship", **({"base": RecoverableTask} if os.environ["BENCH_KIND"] == "ours" else {}))
def ship(order_id: int, currency: str) -> None:
    """Never runs: it is due in ten minutes."""
