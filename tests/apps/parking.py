"""`tests.apps.jobs` with claims on parked tasks that end soon, for tests that kill their holders."""

from __future__ import annotations

import os

from celery_recovery.parking import store
from tests.apps.jobs import app

__all__ = ("app",)

store.LEASE = float(os.environ.get("JOBS_PARKED_LEASE", store.LEASE))
