"""Processes that look like the containers of docker-py: `ServiceNode` is a Redis or RabbitMQ, `WorkerNode` a worker."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.models.containers import ExecResult

from tests.services import Service
from tests.services.process import Process

__all__ = ("Node", "ServiceNode", "WorkerNode")

_ROOT = Path(__file__).resolve().parents[2]
#: What the wrapper around a container runs in it to see whether the ports that it publishes are open.
_LISTENING = "cat /proc/net/tcp /proc/net/tcp6"


class Node:
    """What the wrappers use of docker-py's `Container`; as there, `status` is that of the last `reload`."""

    def __init__(
        self,
        *,
        network: str,
        environment: Mapping[str, str],
        labels: Mapping[str, str],
        published: Mapping[int, int] | None = None,
    ) -> None:
        """`published`: the ports of a container, and where each is reached on this machine."""
        self.id = uuid.uuid4().hex + uuid.uuid4().hex
        self.name = f"process-{self.id[:12]}"
        self.status = "created"
        ports = {f"{port}/tcp": [{"HostPort": str(here)}] for port, here in (published or {}).items()}
        # Other nodes reach this one by its host name. On one machine that has to name the port, too.
        hostname = f"127.0.0.1:{min(published.values())}" if published else self.id[:12]
        self.attrs: dict[str, Any] = {
            "Config": {
                "Hostname": hostname,
                "Env": [f"{name}={value}" for name, value in environment.items()],
                "Labels": dict(labels),
            },
            "NetworkSettings": {"Networks": {network: {"IPAddress": "127.0.0.1"}}, "Ports": ports},
            "HostConfig": {"PortBindings": ports},
        }

    @property
    def running(self) -> bool:
        """Whether the main process exists right now."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, again or for the first time."""
        raise NotImplementedError

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM; SIGKILL after `timeout` seconds."""
        raise NotImplementedError

    def reload(self) -> None:
        """Look what became of it."""
        self.status = "running" if self.running else "exited"

    def restart(self, timeout: float = 10) -> None:
        """Stop it, if it runs, and start it."""
        if self.running:
            self.stop(timeout)
        self.start()

    def kill(self, signal: str | int | None = None) -> None:
        """SIGKILL ends the whole tree, as the death of its first process ends a container."""
        self._must_run()
        number = _number(signal)
        if number is _number(None):
            self._end()
        else:
            os.kill(self._pid, number)

    def wait(self, timeout: float | None = None) -> None:
        """Return at once: what `kill` and `remove` end is gone when they return."""

    def _must_run(self) -> None:
        if not self.running:
            raise APIError(f"409 Conflict: container {self.name} is not running")

    @property
    def _pid(self) -> int:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class ServiceNode(Node):
    """One of the suite's own servers; `port` is where a container of it would listen."""

    def __init__(self, service: Service, port: int, **what: Any) -> None:
        super().__init__(**what, published={port: service.port})
        self._service, self._port = service, port

    @property
    def running(self) -> bool:
        return self._service.running

    def start(self) -> None:
        self._service.start()

    def stop(self, timeout: float = 10) -> None:
        self._service.stop(timeout)

    def logs(self) -> bytes:
        return self._service.log.encode()

    def exec_run(self, cmd: str) -> ExecResult:
        """Only what the wrapper asks: the ports that are open, as the kernel's table would have them."""
        self._must_run()
        if cmd != _LISTENING:
            raise NotImplementedError(f"a server in a process runs no commands: {cmd}")
        line = f"0: 0100007F:{self._port:04X} 00000000:0000 0A\n" if self._service.answers() else ""
        return ExecResult(0, line.encode())

    def remove(self, *, force: bool) -> None:
        self._service.close()

    @property
    def _pid(self) -> int:
        return self._service.pid

    def _end(self) -> None:
        self._service.kill()


class WorkerNode(Node):
    """A worker in `directory`, which is its volume, with this Python and the package as it is in this checkout."""

    def __init__(self, command: Sequence[str], directory: Path, **what: Any) -> None:
        super().__init__(**what)
        self._directory = directory
        self._command = [part.replace("%h", self.id[:12]) for part in command]
        self._log = directory / f"{self.name}.log"
        self._process: Process | None = None
        path = os.pathsep.join((str(directory), str(_ROOT)))
        # Nothing of the environment of the tests, but what a program needs to run here at all.
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(directory),
            "TMPDIR": tempfile.gettempdir(),
            **what["environment"],
            "PYTHONPATH": path,
        }

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        with self._log.open("ab") as output:
            command, where = _here(self._command), self._directory
            self._process = Process(command, stdout=output.fileno(), env=self._environment, cwd=where)

    def stop(self, timeout: float = 10) -> None:
        if self._process is None:
            return
        self._process.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self._process.kill()  # and whoever of the group is left

    def reload(self) -> None:
        super().reload()
        if not self.running and self._process is not None:
            self._process.kill()  # the first process has ended, so the others end too

    def logs(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def exec_run(
        self,
        cmd: str | list[str],
        stdout: bool = True,
        stderr: bool = True,
        environment: Mapping[str, str] | None = None,
        demux: bool = False,
    ) -> ExecResult:
        """Run a command beside the worker. Output as of docker-py: one bytes, or with `demux` stdout and stderr."""
        self._must_run()
        done = subprocess.run(
            _here(shlex.split(cmd) if isinstance(cmd, str) else cmd),
            env={**self._environment, **(environment or {})},
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
            stderr=(subprocess.PIPE if demux else subprocess.STDOUT) if stderr else subprocess.DEVNULL,
            check=False,
        )
        return ExecResult(done.returncode, (done.stdout, done.stderr) if demux else done.stdout)

    def remove(self, *, force: bool) -> None:
        if self._process is not None:
            self._process.kill()

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()


def _here(command: Sequence[str]) -> list[str]:
    """The same command with this Python, which need not be on the PATH."""
    ours = {"python": [sys.executable], "celery": [sys.executable, "-m", "celery"]}
    return [*ours.get(command[0], command[:1]), *command[1:]]


def _number(name: str | int | None) -> signal.Signals:
    """As Docker reads it: `SIGKILL`, `KILL`, 9; None is SIGKILL."""
    if name is None:
        return signal.SIGKILL
    if isinstance(name, int):
        return signal.Signals(name)
    return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
