"""What pytest-celery asks of a Docker client, done with processes of this machine.

pytest-celery reaches Docker through one object, the client. `ProcessDockerClient` takes its place: an image `redis:…`
is a private Redis, `rabbitmq:…` a private RabbitMQ, and the image that the suite builds is this checkout, run by this
Python. Names and semantics are Docker's where the suite can notice: `status` is that of the last `reload`, SIGKILL
takes the whole process tree, any other signal goes to the main process alone, a command runs in the node's own
directory and environment, and data outlive `kill` and `restart`. What Docker gives beside that (networks, limits, file
systems, other users) is not imitated. Arguments that docker-py would refuse are refused, as are those that mean nothing
here.
"""

from __future__ import annotations

import contextlib
import inspect
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest
from docker.api import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.models import containers
from pytest_docker_tools.exceptions import TimeoutError as NotReady

from tests.services import RabbitServer, RedisServer, wait_until
from tests.services.directory import OwnDirectory
from tests.smoke.process_nodes import Node, ServiceNode, WorkerNode

__all__ = ("ProcessDockerClient", "process_docker_client")

#: The virtual host that a `RabbitServer` has from the start; the image makes the one that this variable names.
VHOST_VARIABLE, VHOST = "RABBITMQ_DEFAULT_VHOST", "v1"


@contextlib.contextmanager
def process_docker_client() -> Iterator[ProcessDockerClient]:
    """A client for the run, and the tools around it told that nothing here is a container, nor takes seconds."""
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(ProcessDockerClient()) as client:
        # Where the tests themselves run in a container, the tools would use the container's ports, not the published.
        patch.setattr(import_module("pytest_docker_tools.wrappers.container"), "tests_inside_container", lambda: False)
        for module in (
            "pytest_docker_tools.factories.container",
            "pytest_docker_tools.wrappers.container",
            "pytest_celery.api.container",
            "pytest_celery.api.base",
        ):
            patch.setattr(import_module(module), "wait_for_callable", _wait_for_callable)
        yield client


def _wait_for_callable(message: str, func: Any, timeout: float = 30) -> None:
    """As the tools wait, but looking twenty times a second, not once."""
    try:
        wait_until(func, timeout=timeout, interval=0.05, what=message)
    except TimeoutError as exc:
        raise NotReady(str(exc)) from None


class ProcessDockerClient:
    """Duck type of `docker.DockerClient`; `close` ends whatever it has started."""

    def __init__(self) -> None:
        self._directory = OwnDirectory("smoke-")
        self.volumes = _Volumes(self._directory.path)
        self.containers = _Containers(self.volumes)
        self.networks = _Networks()
        self.images = _Images()

    def close(self) -> None:
        """End what still runs, and remove the volumes."""
        for node in self.containers.started:
            node.remove(force=True)
        self._directory.remove()


class _Containers:
    def __init__(self, volumes: _Volumes) -> None:
        self._volumes = volumes
        self.started: list[Node] = []

    def run(self, image: str, **options: Any) -> Node:
        """Start a node of this image. `Unavailable` where its server is not installed."""
        _docker_takes(image=image, **options)
        node = self._make(image, **options)
        self.started.append(node)
        node.start()
        return node

    def create(self, image: str, volumes: Mapping[str, Mapping[str, str]], **options: Any) -> _Filler:
        """What a volume is filled through."""
        _docker_takes(image=image, volumes=volumes, **options)
        return _Filler(self._volumes.path(volumes))

    def _make(
        self,
        image: str,
        *,
        network: str,
        labels: Mapping[str, str],
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, Mapping[str, str]] | None = None,
        ports: Mapping[str, None] | None = None,
        detach: bool = True,
    ) -> Node:
        what = {"network": network, "labels": labels, "environment": environment or {}}
        if image.startswith("redis:"):
            assert command is not None
            return ServiceNode(RedisServer(options=tuple(command[1:])), 6379, **what)
        if image.startswith("rabbitmq:"):
            if what["environment"] != {VHOST_VARIABLE: VHOST}:
                raise NotImplementedError(f"a RabbitMQ with other settings: {environment}")
            return ServiceNode(RabbitServer(), 5672, **what)
        assert command is not None
        assert volumes is not None
        return WorkerNode(command, self._volumes.path(volumes), **what)


class _Named:
    """A network, an image or a volume: a name, and that it can be removed."""

    def __init__(self, name: str) -> None:
        self.id = self.name = name

    def remove(self, force: bool = False) -> None:
        """Nothing is left of it."""


class _Volumes:
    """Each is a directory of its name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str, labels: Mapping[str, str]) -> _Named:
        (self._directory / name).mkdir()
        return _Named(name)

    def path(self, volumes: Mapping[str, Mapping[str, str]]) -> Path:
        """Where the one volume of these is."""
        (name,) = volumes
        return self._directory / name


class _Networks:
    def create(self, name: str, labels: Mapping[str, str]) -> _Named:
        return _Named(name)


class _Images:
    """Nothing is built: the code of this checkout is what runs."""

    def build(self, **options: Any) -> tuple[_Named, Iterator[Any]]:
        """An image by the name of its tag, and no lines of a log."""
        inspect.signature(APIClient.build).bind(None, **options)
        return _Named(options.get("tag") or uuid.uuid4().hex), iter(())


class _Filler:
    """The container through which files come into a volume."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put_archive(self, path: str, data: IO[bytes]) -> None:
        """Unpack a tar file with the files of the volume."""
        with tarfile.open(fileobj=data) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                content = archive.extractfile(member)
                assert content is not None
                target = self._directory / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())

    def remove(self, *, force: bool) -> None:
        """Nothing is left of it."""


def _docker_takes(**options: Any) -> None:
    """Raise as docker-py does for arguments of a container that it does not know or cannot make sense of."""
    options.pop("detach", None)
    containers._create_container_args({**options, "version": DEFAULT_DOCKER_API_VERSION})
