"""How much memory the pool's children were last seen with: when one has been killed, it is too late to ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ("last_seen", "look")

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_seen: dict[int, int] = {}


def look(pids: Iterable[int]) -> None:
    """Note the resident memory of these processes, and forget all others. Where there is no /proc, nothing is known."""
    found = {}
    for pid in pids:
        try:
            found[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            if pid in _seen:
                found[pid] = _seen[pid]
    _seen.clear()
    _seen.update(found)


def last_seen(pid: int) -> int | None:
    """Bytes; None: not known."""
    return _seen.get(pid)
