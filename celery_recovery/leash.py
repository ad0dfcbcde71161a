"""A pool's child that outlives its main process goes on with its task, which nobody can acknowledge any more.

The broker gives that message to another worker, and the work is done twice. So while a child runs a task that is
acknowledged late, the kernel is told to end it with its main process (Linux; elsewhere the twin is not prevented).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

from celery_recovery.identity import me

__all__ = ("allow", "leash", "unleash")

_PR_SET_PDEATHSIG = 1
_prctl: Callable[[int, int], int] | None = None
_allowed = False


def allow() -> None:
    """Called in the main process before its pool forks, where it is its main thread that forks.

    The kernel looks at the thread: a child of a thread that ends would be killed with that thread.
    """
    global _allowed, _prctl  # noqa: PLW0603  # the process's own state, inherited by its children
    if sys.platform == "linux":
        _prctl = ctypes.CDLL(None).prctl
        _allowed = True


def leash() -> bool:
    """Tie this child to its main process; True if that was done."""
    if not _allowed or _prctl is None or os.getpid() == me().pid:
        return False
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != me().pid:  # it has died already
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def unleash() -> None:
    """Undo it: what else the child runs is not ours to end."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, 0)
