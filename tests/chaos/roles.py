"""What processes forked from the zygote do: be a worker, replay letters, run a command."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import time
from typing import Any

__all__ = ("command", "replay", "worker")


def worker(name: str, *options: str) -> int:
    """A Celery worker for `tests.apps.chaos`."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # its children inherit it
    app = _app()
    arguments = ["worker", "--hostname", name, "-l", "INFO", "--without-mingle", "--without-gossip"]
    app.worker_main([*arguments, "--without-heartbeat", *options])
    return 0


def replay(ids: list[str], lease: float) -> int:
    """Replay letters by code, as a script of an operator's would."""
    from celery_recovery import Recovery

    letters = Recovery.of(_app()).dead_letters
    letters.drain()
    result = letters.replay(ids, lease=lease)
    print(result)  # noqa: T201 - its log
    return 0 if not result.failed and not result.stopped else 3


def command(*arguments: str) -> int:
    """`celery -A tests.apps.chaos …`."""
    _app().start(list(arguments))
    return 0


def _app() -> Any:
    from tests.chaos import steps

    plan = os.environ.get("CHAOS_PLAN")
    if plan:
        steps.begin(steps.Plan.from_json(plan))
    started = time.monotonic()
    app = importlib.import_module("tests.apps.chaos").app
    print(f"app imported in {time.monotonic() - started:.2f} s")  # noqa: T201 - its log
    return app
