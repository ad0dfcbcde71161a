"""Directories of servers and workers: removed at the end, or, where their process was killed, by the next one.

Whoever owns a directory holds a lock on a file in it, which the kernel takes from a process that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from pathlib import Path

__all__ = ("OwnDirectory",)

_LOCK = "owner.lock"
#: Seconds that a directory is left alone: it is made first, and locked a moment later.
_TIME_TO_LOCK = 60.0
_swept: set[str] = set()


class OwnDirectory:
    """A new directory, `/tmp/{prefix}…`, until `remove` or the end of this process."""

    def __init__(self, prefix: str) -> None:
        if prefix not in _swept:
            _swept.add(prefix)
            sweep(prefix)
        self._temporary = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
        self.path = Path(self._temporary.name)
        self._lock = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """With all that is in it."""
        self._temporary.cleanup()
        self._lock.close()


def sweep(prefix: str) -> None:
    """Remove what processes that were killed have left behind of such directories."""
    for lock in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # somebody has it, or sweeps it just now
            if time.time() - lock.stat().st_mtime < _TIME_TO_LOCK:
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
