"""An app that the doctor looks at: sound, until `EXAMINED_CONF` (JSON) says otherwise.

`EXAMINED_PLAIN=1` makes the same tasks without recovery: the worker of a deployment that is not through yet.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

from celery_recovery import RecoverableTask

app = Celery(
    "examined",
    broker=os.environ.get("CELERY_BROKER_URL", "memory://"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://"),
)
app.conf.update(task_time_limit=300, worker_soft_shutdown_timeout=10, worker_hijack_root_logger=False)
app.conf.update(json.loads(os.environ.get("EXAMINED_CONF", "{}")))

options: dict[str, Any] = {} if os.environ.get("EXAMINED_PLAIN") else {"base": RecoverableTask}


@app.task(**options)
def charge(order: int) -> int:
    return order
