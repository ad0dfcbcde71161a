"""Starting, pausing and ending one process, and never leaving one behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from tests.services.directory import OwnDirectory

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("Process", "Service", "Unavailable", "free_port", "wait_until")

_PR_SET_PDEATHSIG = 1
#: Where servers listen: with 10,000 added, too, below what systems hand out to outgoing connections (Linux: 32768 on).
_PORTS = range(12_000, 22_000)
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Unavailable(Exception):
    """The service cannot run on this machine; the text says why."""


def free_port(*also: int) -> int:
    """A TCP port on the loopback address that is free at this moment, as is each that lies so far `also` above it.

    None that the system would give to an outgoing connection: one of those may come before a server starts, or while it
    is down. `OSError` if there is none.
    """
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):  # other test processes look for ports just now
        if all(map(_is_free, (port, *(port + offset for offset in also)))):
            return port
    raise OSError(f"no free port among {_PORTS.start} to {_PORTS.stop - 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(
    condition: Callable[[], object], *, timeout: float = 20.0, interval: float = 0.02, what: str = ""
) -> None:
    """Return as soon as `condition()` is true; `TimeoutError` after `timeout` seconds, naming `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what or getattr(condition, '__name__', condition)}")
        time.sleep(interval)


class Process:
    """A process group of its own that dies with us, even when we are killed.

    On Linux the kernel sends `death_signal` when the *thread* that started it ends: start from the main thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        parent = os.getpid()

        def before_exec() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
                if os.getppid() != parent:  # it died between fork and prctl
                    os._exit(1)

        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509 - only prctl and getppid are called in it
        )

    @property
    def pid(self) -> int:
        """Process id, also of its group."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its output, if `stdout` was a pipe."""
        return self._popen.stdout

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this one process."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Exit code; `subprocess.TimeoutExpired` after `timeout` seconds."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for the whole group, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)


class Service:
    """A server that is started, stopped, killed or paused, keeping its port and directory between starts."""

    #: How long to wait until it answers, in seconds.
    start_timeout = 20.0

    def __init__(self, *also: int) -> None:
        """`also`: how far above its own port it needs others."""
        self.port = free_port(*also)
        self._directory = OwnDirectory(f"{type(self).__name__}-")
        self.directory = self._directory.path
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """False before it is started and once it has ended."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """Everything it has printed so far."""
        path = self.directory / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start and wait until it answers."""
        with (self.directory / "output.log").open("ab") as output:
            self._process = self._spawn(output.fileno())
        try:
            wait_until(self._answers_or_ended, timeout=self.start_timeout, what=f"{type(self).__name__} to answer")
        except TimeoutError:
            self.kill()
            raise
        if not self._process.running:
            raise RuntimeError(f"{type(self).__name__} ended at once:\n{self.log[-2000:]}")
        return self

    def stop(self, timeout: float = 20.0) -> None:
        """SIGTERM, so that it can tidy up; SIGKILL after `timeout` seconds."""
        if self._process is None:
            return
        self._process.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            if self.answers():
                raise RuntimeError(f"{type(self).__name__} still answers after SIGKILL")

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its directory."""
        if self._process is not None:
            self.resume()
        self.stop()
        self._directory.remove()

    def answers(self) -> bool:
        """True if it speaks its protocol right now."""
        raise NotImplementedError

    def _spawn(self, output: int) -> Process:
        raise NotImplementedError

    def _answers_or_ended(self) -> bool:
        return self._process is None or not self._process.running or self.answers()
