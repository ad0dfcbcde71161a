"""Real threads, also where gevent or eventlet has put greenlets in their place.

A greenlet runs only while no other one computes; what has to go on whatever the tasks do needs a thread of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ("now", "original", "start_thread")


def original(module: str, name: str) -> Any:
    """`module.name` as Python has it, before a green library replaced it."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    if "eventlet.patcher" in sys.modules:
        return getattr(sys.modules["eventlet.patcher"].original(module), name)
    return getattr(__import__(module), name)


def start_thread(target: Callable[[], None]) -> None:
    """Run `target` in a daemon thread of the operating system."""
    original("_thread", "start_new_thread")(target, ())


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
