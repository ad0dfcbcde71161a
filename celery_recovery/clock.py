"""What time it is for everything that decides about a task, and how that waits: no module of the pipeline asks `time`.

Ask `clock.now()` and not a name imported from here: `celery_recovery.testing` puts a clock of its own in the place of
these three for as long as a test runs a task, and nothing else in the process notices. The circuits are given their
clock, and what only a worker does (leases, intake, replays, counts) goes by the real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ("monotonic", "now", "sleep")

#: Unix seconds.
now: Callable[[], float] = time.time
#: Seconds of a clock that never goes back: only differences count.
monotonic: Callable[[], float] = time.monotonic
#: Wait so many seconds.
sleep: Callable[[float], None] = time.sleep
