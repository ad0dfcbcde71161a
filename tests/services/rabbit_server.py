"""A private RabbitMQ with its own epmd, as root or as an ordinary user, beside any other broker on the machine."""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services.process import Process, Service, Unavailable, free_port, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("RabbitServer",)


class RabbitServer(Service):
    """One RabbitMQ node with empty virtual hosts. Queues and messages outlive `kill` and `start`.

    Virtual hosts come in batches: one more at the start costs some 0.1 s, one more call of `rabbitmqctl` two seconds.
    """

    start_timeout = 90.0

    def __init__(self, *, batch: int = 2) -> None:
        self._binary = find_rabbitmq_server()
        super().__init__()
        self._epmd: Process | None = None
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._batch = batch
        self._made = 0
        self._unused: list[str] = []
        self._write_configuration()

    def url(self, vhost: str = "v1") -> str:
        """Address for kombu and Celery."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def fresh_url(self) -> str:
        """Address of a virtual host that nobody has used yet."""
        if not self._unused:
            self._define_batch()
            command = [Path(self._binary).with_name("rabbitmqctl"), "import_definitions", self._definitions]
            subprocess.run(command, env=self._environment(), cwd=self.directory, check=True, stdout=subprocess.DEVNULL)
        return self.url(self._unused.pop(0))

    def advanced(self, terms: str) -> None:
        """Settings in Erlang's own form, for the next start."""
        (self.directory / "advanced.config").write_text(terms + "\n")

    def answers(self) -> bool:
        """True once the AMQP handshake is answered; an open port alone comes seconds too early."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"AMQP\0\0\x09\x01")
                return link.recv(1) == b"\x01"
        except OSError:
            return False

    def start(self) -> Self:
        """Start epmd in the foreground first: the node would start one that stays for ever."""
        if self._epmd is None:
            command = [_find_epmd(), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            with (self.directory / "epmd.log").open("ab") as output:
                self._epmd = Process(command, stdout=output.fileno())
            wait_until(self._epmd_answers, what="epmd to answer")
        return super().start()

    def close(self) -> None:
        """Stop the node, then its epmd."""
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd = None

    def _epmd_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._epmd_port), timeout=1).close()
        except OSError:
            return False
        return True

    def _spawn(self, output: int) -> Process:
        return Process([self._binary], stdout=output, env=self._environment(), cwd=self.directory)

    def _write_configuration(self) -> None:
        home = self.directory / "home"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text("PRIVATETESTBROKER")
        cookie.chmod(0o400)
        self.advanced("[].")
        (self.directory / "enabled_plugins").write_text("[].\n")
        self._define_batch()
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "log.console": "true",
            "log.file": "false",
            "load_definitions": self._definitions,
        }
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        (self.directory / "rabbitmq.conf").write_text("".join(lines))

    @property
    def _definitions(self) -> Path:
        return self.directory / "definitions.json"

    def _define_batch(self) -> None:
        """Write down the next virtual hosts; a node reads the file when it starts, or when it is told to."""
        names = [f"v{n}" for n in range(self._made + 1, self._made + self._batch + 1)]
        self._definitions.write_text(json.dumps(_definitions(names)))
        self._made += self._batch
        self._unused += names

    def _environment(self) -> dict[str, str]:
        base = self.directory
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(base / "home"),
            "LANG": "C.UTF-8",
            # Without this a shell stays in front of the broker, and SIGKILL hits only the shell.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_CONF_ENV_FILE": str(base / "none"),  # leave the machine's own configuration out
            "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "enabled_plugins"),
            "RABBITMQ_NODENAME": f"rabbit{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
            "RABBITMQ_LOG_BASE": str(base / "log"),
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
        }


def _definitions(vhosts: list[str]) -> dict[str, Any]:
    """User `guest` and the virtual hosts, in RabbitMQ's import format."""
    salt = b"salt"
    digest = base64.b64encode(salt + hashlib.sha256(salt + b"guest").digest()).decode()
    user = {"name": "guest", "password_hash": digest, "tags": ["administrator"]}
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{**user, "hashing_algorithm": "rabbit_password_hashing_sha256"}],
        "vhosts": [{"name": name} for name in vhosts],
        "permissions": [{**everything, "vhost": name} for name in vhosts],
    }


def find_rabbitmq_server() -> str:
    """Path of RabbitMQ's own start script, not the distribution's wrapper, which changes user and directory."""
    patterns = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/*/opt/rabbitmq/sbin")
    for pattern in patterns:
        for directory in sorted(glob.glob(pattern)):  # noqa: PTH207 - an absolute pattern
            script = Path(directory) / "rabbitmq-server"
            if script.exists():
                _find_epmd()
                return str(script)
    raise Unavailable("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")


def _find_epmd() -> str:
    path = shutil.which("epmd")
    if path is None:
        raise Unavailable("RabbitMQ needs Erlang's epmd on the PATH")
    return path
