"""A real `celery worker` in processes of its own, watched through its log."""

from __future__ import annotations

import functools
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.directory import OwnDirectory
from tests.services.process import Process

__all__ = ("Worker",)

_ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = itertools.count(1)


@functools.cache
def _temporary() -> OwnDirectory:
    """Where the workers of this process leave what they do not remove when they are killed."""
    return OwnDirectory("workers-")


class Worker:
    """One running worker for the app in `module`; `env` usually holds `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND`.

    `options` are further arguments of `celery worker`, `queues` names or None for the app's own choice.
    """

    def __init__(
        self,
        module: str,
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        loglevel: str = "INFO",
    ) -> None:
        self.name = f"w{next(_NUMBERS)}.{os.getpid()}@localhost"
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        command = [sys.executable, "-m", "celery", "-A", module, "worker", "--hostname", self.name, "-l", loglevel]
        command += ["--pool", pool, "--concurrency", str(concurrency), "--without-mingle", "--without-gossip"]
        command += ["--queues", ",".join(queues)] if queues else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_ROOT), *sys.path)), "PYTHONUNBUFFERED": "1"}
        environment["TMPDIR"] = str(_temporary().path)
        environment["C_FORCE_ROOT"] = "1"  # or Celery refuses pickle when the tests run as root
        environment.update(env or {})
        # SIGQUIT is Celery's cold shutdown: the pool's children go too.
        self._process = Process(
            [*command, *options], stdout=subprocess.PIPE, env=environment, cwd=_ROOT, death_signal=signal.SIGQUIT
        )
        self._reader = threading.Thread(target=self._read, name=self.name, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The main process."""
        return self._process.pid

    @property
    def children(self) -> list[int]:
        """Process ids below the main one: with prefork, its pool."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    @property
    def running(self) -> bool:
        """False once the main process has ended."""
        return self._process.running

    @property
    def log(self) -> str:
        """All it has logged so far."""
        with self._news:
            return "".join(self._lines)

    def wait_ready(self, timeout: float = 30.0) -> Worker:
        """Wait until it consumes; `RuntimeError` with its log if it ends or is not ready in time."""
        if not self.wait_log(r"\bready\.$", timeout):
            raise RuntimeError(f"{self.name} did not become ready:\n{self.log}")
        return self

    def wait_log(self, pattern: str, timeout: float = 20.0, *, count: int = 1) -> bool:
        """True as soon as `count` lines match; False after `timeout` seconds or at its end."""
        wanted = re.compile(pattern)

        def seen() -> bool:
            return sum(1 for line in self._lines if wanted.search(line.rstrip())) >= count

        with self._news:
            self._news.wait_for(lambda: seen() or self._ended, timeout)
            return seen()

    def stop(self, timeout: float = 30.0) -> int:
        """Warm shutdown: running tasks end first. Its exit code; killed and `TimeoutError` after `timeout` seconds."""
        self._process.signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.name} did not stop within {timeout:g} s:\n{self.log[-4000:]}") from None
        self._process.kill()  # children that outlived a broken pool
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """SIGKILL for the main process and its children alike."""
        self._process.kill()
        self._reader.join(5)

    def _read(self) -> None:
        output = self._process.stdout
        assert output is not None
        for line in output:
            with self._news:
                self._lines.append(line.decode(errors="replace"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
