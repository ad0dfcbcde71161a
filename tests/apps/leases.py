"""The app of the tests of leases: late acknowledgement, a ledger, and workers that can be put on another machine.

`LEASES_ELSEWHERE`: no worker can tell from the kernel whether another one lives, as if each had its own machine.
`LEASES_PLAIN`: tasks without this package, in a worker that takes no part.
"""

from __future__ import annotations

import json
import os
import time

from celery import Celery, Task

from celery_recovery import RecoverableTask
from celery_recovery.identity import Identity
from tests.apps.jobs import ledger, pause

app = Celery("leases", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ.get("CELERY_RESULT_BACKEND"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    recovery_redis_url=os.environ["JOBS_LEDGER"],
    recovery_intake=False,
    recovery_park_after=None,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
app.conf.update(json.loads(os.environ.get("JOBS_CONF", "{}")))

if os.environ.get("LEASES_ELSEWHERE"):
    Identity.is_gone = lambda self: None  # type: ignore[method-assign]

BASE: type[Task] = Task if os.environ.get("LEASES_PLAIN") else RecoverableTask


@app.task(base=BASE, bind=True)
def work(self: Task, token: str, seconds: float = 0.0) -> None:
    """Notes its start and its end."""
    book = ledger()
    book.note(token, f"start {self.request.delivery_info.get('redelivered')}")
    pause(token, seconds)
    book.note(token, "end")


@app.task(base=BASE, bind=True)
def first_run_hangs(self: Task, token: str) -> None:
    """Ends only where it runs a second time."""
    if ledger().note(token) == 1:
        time.sleep(3600)


@app.task(base=BASE)
def compute(token: str, seconds: float) -> None:
    """Keeps the interpreter busy."""
    book = ledger()
    book.note(token, "start")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    book.note(token, "end")
