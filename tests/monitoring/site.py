"""The services of docker-compose.yml as plain processes: their own commands and environment, on free ports."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.services.process import Process, free_port

__all__ = ("CHOSEN", "COMPOSE", "HERE", "ROOT", "SERVICES", "Site", "fetched")

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "examples" / "monitoring"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: Mapping[str, Any] = COMPOSE["services"]
#: What whoever starts it has to choose.
CHOSEN = {"RABBITMQ_PASSWORD": "chosen", "FLOWER_BASIC_AUTH": "anna:secret", "GRAFANA_PASSWORD": "chosen"}
#: The bank is away for five seconds in ten, so that there is something to see soon.
QUICK = {"SHOP_PERIOD": "10", "SHOP_AWAY": "5"}


class Site:
    """Starts services by name. `redis` and `rabbitmq` are addresses of servers that are there already."""

    def __init__(self, directory: Path, redis: str, rabbitmq: str) -> None:
        self.directory = directory
        self._addresses = {"redis://redis:6379/0": redis, "amqp://shop:chosen@rabbitmq:5672//": rabbitmq}
        #: Port in the container -> here.
        self.ports = {port: free_port() for port in (5555, 9808)}
        self._running: dict[str, Process] = {}

    def start(self, service: str) -> None:
        """As its container would."""
        with self._log(service).open("wb") as output:
            self._running[service] = Process(
                self._here(SERVICES[service]["command"]), stdout=output.fileno(), env=self._env(service), cwd=HERE
            )

    def log(self, service: str) -> str:
        """All that it has printed."""
        return self._log(service).read_text(errors="replace")

    def is_healthy(self, service: str) -> bool:
        """What its health check says."""
        assert self._running[service].running, self.log(service)
        kind, *words = SERVICES[service]["healthcheck"]["test"]
        command = ["sh", "-c", words[0].replace("$$", "$")] if kind == "CMD-SHELL" else words
        ended = subprocess.run(
            self._here(command), env=self._env(service), cwd=HERE, check=False, capture_output=True, timeout=30
        )
        return ended.returncode == 0

    def close(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.kill()

    def _here(self, command: Sequence[str]) -> list[str]:
        """The command with this interpreter, ports and addresses."""
        words = [self._on_our_ports(word) for word in command]
        own = {"celery": [sys.executable, "-m", "celery"], "python": [sys.executable]}
        return [*own.get(words[0], words[:1]), *words[1:]]

    def _on_our_ports(self, word: str) -> str:
        for port, here in self.ports.items():
            word = re.sub(rf"\b{port}\b", str(here), word)
        return word.replace("0.0.0.0", "127.0.0.1")

    def _env(self, service: str) -> dict[str, str]:
        told = {name: self._address(str(value)) for name, value in SERVICES[service].get("environment", {}).items()}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        python = os.pathsep.join((str(ROOT), *sys.path))
        return {**os.environ, "PATH": path, "PYTHONPATH": python, "HOSTNAME": socket.gethostname(), **QUICK, **told}

    def _address(self, value: str) -> str:
        value = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: CHOSEN[found[1]], value)
        return self._addresses.get(value, value)

    def _log(self, service: str) -> Path:
        return self.directory / f"{service}.log"


def fetched(url: str) -> str:
    """What a page says; empty when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return ""
