"""The app of `outage.py`: one task that calls the dependency, as plain Celery retries it and with a circuit.

What each call met is a line in a file that all processes append to: `time task outcome`, where the outcome is
`answered`, `refused` or, for a task that was given up, `failed`.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from celery import Celery
from celery.signals import task_failure

from celery_recovery import RecoverableTask

app = Celery("outage", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    recovery_redis_url=os.environ["OUTAGE_STORE_URL"],
    broker_connection_retry_on_startup=True,
)

#: The usual recipe, as Celery's own documentation gives it.
RECIPE: dict[str, Any] = {
    "autoretry_for": (ConnectionError,),
    "retry_backoff": True,
    "max_retries": int(os.environ.get("OUTAGE_MAX_RETRIES", "5")),
}
OURS: dict[str, Any] = {"base": RecoverableTask, "circuit": "dependency"}


@app.task(name="order", **(OURS if os.environ["OUTAGE_KIND"] == "ours" else RECIPE))
def order(number: int) -> None:
    """Call the dependency once."""
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ["OUTAGE_PORT"])), timeout=5) as link:
            link.sendall(b"%d\n" % number)
            if link.recv(16) != b"done\n":
                raise ConnectionResetError("the dependency hung up")
    except OSError:
        note(number, "refused")
        raise
    note(number, "answered")


@task_failure.connect
def gave_up(args: tuple[Any, ...] = (), **_: Any) -> None:
    """No attempt is left to the task."""
    note(args[0], "failed")


def note(number: int, outcome: str) -> None:
    """Append one line; so short a write is not torn."""
    line = f"{time.time():.4f} {number} {outcome}\n".encode()
    file = os.open(os.environ["OUTAGE_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)
