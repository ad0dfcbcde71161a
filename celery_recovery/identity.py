"""Who this worker is: one name per life of a worker, and the facts that tell on its own machine whether it still lives.

The name is made once in the worker's main process, before its pool forks, so that its children share it. Two lives of
the same host and pid have two names.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ("IDENTITY", "Identity", "begin", "me")

#: The environment variable by which children that are not forked (macOS, Windows) learn whose they are.
IDENTITY = "CELERY_RECOVERY_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One life of one worker."""

    #: Unique among all lives of all workers.
    boot: str
    #: Process id of the main process, as its own machine or container sees it.
    pid: int
    #: When that process started, in the kernel's clock ticks since the machine started; 0: not known.
    started: int
    #: What the pid belongs to: the machine's boot and the pid namespace; empty: not known.
    place: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(self.to_dict())

    @classmethod
    def of_this_process(cls) -> Identity:
        """Made anew at every call."""
        pid = os.getpid()
        return cls(boot=uuid.uuid4().hex, pid=pid, started=_started(pid) or 0, place=_place())

    def is_gone(self) -> bool | None:
        """True: its main process has certainly ended; False: it certainly exists; None: not to be told from here."""
        if not self.place or self.place != _place() or not self.started:
            return None
        return _started(self.pid) != self.started


def begin() -> Identity:
    """A worker's main process begins its life here, whoever has started it; what it starts afterwards is its own."""
    me.cache_clear()
    os.environ.pop(IDENTITY, None)
    os.environ[IDENTITY] = me().to_json()
    return me()


@cache
def me() -> Identity:
    """The identity of this worker; children that are forked after the first call share it."""
    told = os.environ.get(IDENTITY)
    if told:
        parent = Identity(**json.loads(told))
        if parent.pid == os.getppid():
            return parent
    return Identity.of_this_process()


def _started(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat; None: no such process (a zombie counts as none), or no such file system."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


@cache
def _place() -> str:
    try:
        return (
            Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            + ":"
            + str(Path("/proc/self/ns/pid").readlink())
        )
    except OSError:
        return ""
