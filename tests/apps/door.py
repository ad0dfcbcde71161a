"""The app of the tests about messages that never become tasks. What it lacks can be added: `DOOR_DEPLOYED=1`."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import signals

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger

__all__ = ("app",)

app.conf.accept_content = ["json"]
app.conf.update(json.loads(os.environ.get("DOOR_CONF", "{}")))


@app.task(base=RecoverableTask, name="door.note")
def note(*args: Any, **kwargs: Any) -> int:
    """Runs with anything."""
    return ledger().note("door", "note")


@app.task(base=RecoverableTask, name="door.one")
def one(token: str) -> int:
    ledger().note(token)
    return 1


if os.environ.get("DOOR_DEPLOYED"):

    @app.task(base=RecoverableTask, name="door.later")
    def later(token: str, value: int = 0) -> int:
        """Deployed later than its messages."""
        ledger().note(token)
        return value


@signals.task_unknown.connect
def _unknown(name: str, id: str, **_: Any) -> None:  # noqa: A002  # Celery's name for it
    ledger().note("signals", f"unknown {name} {id}")


@signals.task_rejected.connect
def _rejected(exc: Any, **_: Any) -> None:
    ledger().note("signals", f"rejected {type(exc).__name__}")
