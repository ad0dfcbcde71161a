"""Tasks that a shutdown finds running, prefetched or waiting, on top of `tests.apps.jobs`."""

from __future__ import annotations

import time
from typing import Any

from celery import Task, signals
from celery.exceptions import Reject

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, fault, ledger, pause

__all__ = ("app",)

#: The ledger's page of ends that no shutdown may give a task.
WRONG = "wrong-ends"


@signals.task_failure.connect(weak=False)
def failed(sender: Any = None, exception: Any = None, **_: Any) -> None:
    """Nothing here fails for good."""
    ledger().note(WRONG, f"failure {sender.name} {type(exception).__name__}")


@signals.task_revoked.connect(weak=False)
def revoked(sender: Any = None, **_: Any) -> None:
    """Nobody revokes anything here."""
    ledger().note(WRONG, f"revoked {getattr(sender, 'name', sender)}")


class Told(RecoverableTask):
    """Notes a failure that Celery tells its hook of."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ledger().note(WRONG, f"on_failure {args[0]} {type(exc).__name__}")


@app.task(base=Told)
def working(token: str, seconds: float, first: float = 0.0) -> str:
    """Says when it begins and when it is done; its first run may be longer."""
    begun = ledger().note(token, "begins")
    pause(token, first if begun == 1 and first else seconds)
    ledger().note(token, "done")
    return token


@app.task(base=Told, bind=True)
def failing_first(self: Task, token: str, seconds: float) -> str:
    """Its first attempt fails after a while; the second succeeds. A run that was cut off is no attempt."""
    ledger().note(token, f"begins {self.request.retries}")
    time.sleep(seconds)
    if not self.request.retries:
        ledger().note(token, "fails")
        raise fault("network")
    ledger().note(token, "done")
    return token


@app.task(base=Told)
def hopeless(token: str, seconds: float) -> None:
    """Becomes a dead letter after a while."""
    ledger().note(token, "begins")
    time.sleep(seconds)
    ledger().note(token, "fails")
    raise fault("validation")


@app.task(base=Told)
def given_back(token: str) -> str:
    """Goes back to the broker once, as it came: what comes then is a message delivered again."""
    if ledger().note(token) == 1:
        raise Reject("once more, please", requeue=True)
    return token
