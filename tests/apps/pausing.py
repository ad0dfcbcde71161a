"""Tasks on a queue that serves one circuit; what workers see of that circuit is what the test writes in a ledger."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import Celery

from celery_recovery.circuit.state import CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.worker import pausing
from celery_recovery.worker.lease import LeaseStep
from tests.apps.jobs import Ledger

app = Celery("pausing", broker=os.environ.get("CELERY_BROKER_URL", "memory://"))
app.conf.update(
    recovery_redis_url=os.environ.get("JOBS_LEDGER"),
    worker_hijack_root_logger=False,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)
pausing.PATIENCE = float(os.environ.get("PATIENCE", pausing.PATIENCE))


def seen(client: redis.Redis, name: str) -> CircuitView:
    """The circuit as the test has written it; it counts how often it was looked at."""
    if client.exists("away"):
        raise StoreUnavailable("away")
    client.incr("looks")
    state, generation, lasts = json.loads(client.get(f"circuit:{name}") or '["closed", 0, null]')
    return CircuitView(
        name=name, state=CircuitState(state), generation=generation, since=5.0,
        until=None if lasts is None else 5.0 + lasts, openings=0, calls=0, failed=0, slow=0, row=0, probing=0,
        steady=0.0, returning=None,
    )  # fmt: skip


class Pausing(pausing.PausingStep):
    """The step, with circuits of the test's own."""

    def source(self, app: Any) -> tuple[Mapping[str, str], Callable[[str], CircuitView] | None]:
        client = Ledger(os.environ["JOBS_LEDGER"]).client
        return {"payments": "payments-api"}, lambda name: seen(client, name)


app.steps["consumer"].update((LeaseStep, Pausing))


@app.task
def note(token: str, seconds: float = 0.0) -> None:
    Ledger(os.environ["JOBS_LEDGER"]).note(token)
    time.sleep(seconds)
