"""The app of `jobs`, whose workers send alerts quickly, and can be made to die while they do."""

from __future__ import annotations

import os
from typing import Any

from celery_recovery.monitoring.alerts import outbox
from celery_recovery.worker import alerting
from tests.apps.crashing import arm
from tests.apps.jobs import app, ledger

__all__ = ("app", "note")

outbox.LEASE = 2.0
alerting.INTERVAL = alerting.PAUSE = 0.2
alerting.FIRST_WAIT = 0.3
alerting.FLOOD_LOOK = 0.5


def note(alert: Any) -> None:
    """A sink: what it was told is in the ledger."""
    ledger().note("alerts", f"{alert.id} {alert.tries} {alert.title}")


if os.environ.get("ALERTS_CRASH"):
    arm(os.environ["ALERTS_CRASH"], os.environ["JOBS_LEDGER"])
