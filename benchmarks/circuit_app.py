"""The app of `circuit.py`: the same no-op task twice, on Celery's own base, and on ours with a circuit."""

from __future__ import annotations

import os

from celery import Celery

from celery_recovery import RecoverableTask

app = Celery("circuit", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    recovery_redis_url=os.environ["BENCH_STORE_URL"],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=64,
)


@app.task(name="plain")
def plain() -> None:
    """Celery's own base."""


@app.task(name="ours", base=RecoverableTask, circuit="dependency")
def ours() -> None:
    """Ours."""
