"""Whether this worker is to end, known to its pool's children without asking anybody: one byte that they share."""

from __future__ import annotations

import mmap
from typing import Any

from celery import signals

__all__ = ("is_stopping", "stop", "watch")

_flag: mmap.mmap | None = None


def watch(worker: Any) -> None:
    """Called in the main process before its pool forks; from then on a shutdown of any kind is seen.

    Celery sends its signal before a warm shutdown, but after the seconds of a soft one, in which tasks are to end.
    """
    global _flag  # noqa: PLW0603  # the process's own state, inherited by its children
    if _flag is None:
        _flag = mmap.mmap(-1, 1)
        signals.worker_shutting_down.connect(stop, weak=False)
    _flag[0] = 0
    wait = worker.wait_for_soft_shutdown

    def wait_for_soft_shutdown() -> None:
        stop()
        wait()

    worker.wait_for_soft_shutdown = wait_for_soft_shutdown


def stop(**_: Any) -> None:
    """The worker is to end."""
    if _flag is not None:
        _flag[0] = 1


def is_stopping() -> bool:
    """False, too, where no worker is."""
    return _flag is not None and _flag[0] == 1
