"""A process that has everything imported and forks workers from itself: half a second a worker, instead of two.

    Nursery().spawn("tests.chaos.roles:worker", [...], env={...}, log=path) -> Spawned

The zygote itself (`python -m tests.chaos.zygote`) reads one JSON order a line and answers with the new pid. It is the
reaper of all that its children leave behind, and when its standard input ends it kills every group that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ("Nursery", "Spawned")

_ROOT = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36
#: What a worker imports.
_WARM = (
    "celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.concurrency.prefork",
    "celery.worker.worker", "celery.worker.consumer",
    "celery.worker.request", "celery.worker.strategy", "celery.app.trace", "celery.app.amqp",
    "celery.app.log", "celery.app.events", "celery.app.control", "celery.backends.redis", "celery.result",
    "celery.canvas", "celery.fixups.django", "kombu.transport.redis", "kombu.transport.pyamqp", "kombu.pools",
    "kombu.mixins", "billiard.pool", "billiard.popen_fork", "celery_recovery", "celery_recovery.recovery",
    "celery_recovery.dead_letters.queue", "celery_recovery.cli.dlq", "celery_recovery.worker.bootsteps",
    "celery_recovery.worker.request", "celery_recovery.worker.strategy", "celery_recovery.worker.lease",
    "celery_recovery.worker.presence", "celery_recovery.worker.release", "celery_recovery.worker.settling",
    "celery_recovery.worker.door",
)  # fmt: skip


class Spawned:
    """One process group."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log

    @property
    def running(self) -> bool:
        """Whether its first process lives; it is reaped at once when it ends."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def group_running(self) -> bool:
        """Whether any of its group lives."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def children(self) -> list[int]:
        """Pids right below the first one."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    @property
    def log(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL for the whole group; returns when it is gone."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            time.sleep(0.01)
        raise RuntimeError(f"process group {self.pid} outlives SIGKILL")

    def stop(self, timeout: float = 20.0) -> bool:
        """Warm shutdown; False when it had to be killed after `timeout` seconds."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.running and time.monotonic() < deadline:
            time.sleep(0.01)
        in_time = not self.running
        self.kill()
        return in_time


class Nursery:
    """The harness's side of the zygote. Safe to use from several threads."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1", "C_FORCE_ROOT": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            cwd=_ROOT, env=environment,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._read()

    def spawn(self, call: str, arguments: Sequence[Any] = (), *, env: Mapping[str, str], log: Path) -> Spawned:
        """Fork a process of its own group that calls `module:function` with these arguments, and exits."""
        order = {"call": call, "arguments": list(arguments), "env": dict(env), "log": str(log)}
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return Spawned(int(self._read()["pid"]), log)

    def close(self) -> None:
        """End it, and with it all that it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the zygote has died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for module in _WARM:
        importlib.import_module(module)
    from tests.chaos import steps

    steps.install()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the answer
    groups = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        groups.append(pid)
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201 - the answer
    for pid in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _become(order: dict[str, Any]) -> None:
    """In the child: its own group, log and environment, then the call, and no way back."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(order["log"])
        os.environ.update(order["env"])
        sys.argv = ["celery"]
        module, _, name = order["call"].partition(":")
        code = getattr(importlib.import_module(module), name)(*order["arguments"]) or 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - it ends here, and says why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


if __name__ == "__main__":
    _serve()
