"""A Celery app without anything of ours: what the service tests run."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("plain")


@app.task
def process_id() -> int:
    """Who ran it."""
    return os.getpid()
