"""The nodes: pytest-celery's fixtures with our images, our app, and servers that live as long as the run.

Everything here is true of both engines. Which one it is decides `docker_client` alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import celery
import pytest
from celery import Celery
from kombu import Connection
from pytest_celery import (
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryWorkerContainer,
    RabbitMQContainer,
    RedisContainer,
)
from pytest_docker_tools import build, container, fxtr, network

from tests.services import Unavailable
from tests.smoke.process_engine import VHOST, VHOST_VARIABLE, process_docker_client
from tests.smoke.shop import Shop

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
#: Never `latest`, and the same as in docker-compose.yml: a run next year is of the same servers as one today.
REDIS_IMAGE = "redis:7.4.1-alpine"
RABBITMQ_IMAGE = "rabbitmq:3.13.7-alpine"
WORKER_IMAGE = "celery-recovery/smoke-worker:local"
#: What the worker's image is built from; paths from the top of the checkout.
CONTEXT = ("celery_recovery", "pyproject.toml", "README.md", "LICENSE", "tests/smoke/Dockerfile")
#: Every queue that the app declares and does not remove itself.
QUEUES = ("celery", "celery.dead_letters")


def missing(what: object) -> NoReturn:
    """Skip the test and say why; where services are required, fail."""
    if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
        pytest.fail(f"a required service is missing: {what}")
    pytest.skip(str(what))


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> str:
    """`process` or `docker`."""
    return str(pytestconfig.getoption("--engine", "process"))


@pytest.fixture(scope="session")
def docker_client(engine: str) -> Iterator[Any]:
    """The one object through which pytest-celery reaches containers."""
    if engine == "process":
        with process_docker_client() as client:
            yield client
        return
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as exc:
        missing(f"--engine docker: no Docker daemon answers ({exc})")
    yield client
    client.close()


# -- servers: one of each for the run


class ShopRabbitMQ(RabbitMQContainer):
    """With a virtual host of the same name on both engines."""

    @property
    def vhost(self) -> str:
        return VHOST


default_pytest_celery_network = network(scope="session")

default_redis_broker = container(
    image=REDIS_IMAGE,
    ports={"6379/tcp": None},
    network="{default_pytest_celery_network.name}",
    command=fxtr("redis_command"),
    wrapper_class=RedisContainer,
    timeout=60,
    scope="session",
)

default_redis_backend = container(
    image=REDIS_IMAGE,
    ports={"6379/tcp": None},
    network="{default_pytest_celery_network.name}",
    command=fxtr("redis_command"),
    wrapper_class=RedisContainer,
    timeout=60,
    scope="session",
)

default_rabbitmq_broker = container(
    image=RABBITMQ_IMAGE,
    ports={"5672/tcp": None},
    network="{default_pytest_celery_network.name}",
    environment={VHOST_VARIABLE: VHOST},
    wrapper_class=ShopRabbitMQ,
    timeout=120,
    scope="session",
)


@pytest.fixture(scope="session")
def redis_command() -> list[str]:
    """A Redis that keeps what it has confirmed, whatever kills it."""
    return RedisContainer.command("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(
    params=[
        pytest.param("celery_redis_broker", marks=pytest.mark.redis, id="redis"),
        pytest.param("celery_rabbitmq_broker", marks=pytest.mark.rabbitmq, id="rabbitmq"),
    ]
)
def celery_broker(request: pytest.FixtureRequest) -> Iterator[CeleryTestBroker]:
    """Each broker in turn, running and empty: in this order, so that all processes of a run see the same tests."""
    broker = _node(request, request.param)
    _empty(broker)
    yield broker
    broker.teardown()


@pytest.fixture
def celery_backend(request: pytest.FixtureRequest) -> Iterator[CeleryTestBackend]:
    """Redis, empty."""
    backend = _node(request, "celery_redis_backend")
    _empty(backend)
    yield backend
    backend.teardown()


def _node(request: pytest.FixtureRequest, name: str) -> Any:
    """A server node that runs, even if the last test has left it dead."""
    try:
        node = request.getfixturevalue(name)
    except Unavailable as exc:
        missing(exc)
    node.container.reload()
    if node.container.status != "running":
        node.restart()
    return node


def _empty(node: CeleryTestBroker | CeleryTestBackend) -> None:
    if isinstance(node.container, RedisContainer):
        with node.container.client as client:
            client.flushall()
        return
    with Connection(node.config()["host_url"]) as link:
        for queue in QUEUES:
            link.default_channel.queue_delete(queue)


# -- the worker: one for each test


@pytest.fixture(scope="session")
def worker_image_context(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with what goes into the worker's image and nothing else."""
    context = tmp_path_factory.mktemp("worker-image")
    for name in CONTEXT:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context)
    return str(context)


celery_base_worker_image = build(
    path=fxtr("worker_image_context"), tag=WORKER_IMAGE, buildargs={"CELERY_VERSION": celery.__version__}
)


@pytest.fixture
def default_worker_initial_content() -> dict[str, bytes]:
    """The app, in one file."""
    return {"app.py": (_HERE / "shop_app.py").read_bytes()}


@pytest.fixture
def default_worker_command(default_worker_container_cls: type[CeleryWorkerContainer]) -> list[str]:
    """Two processes, and no time spent on getting to know other workers."""
    return default_worker_container_cls.command("--concurrency", "2", "--without-mingle", "--without-gossip")


# -- what a test holds


class ShopSetup(CeleryTestSetup):
    """Makes the app of the tests' side: it sends, and has no tasks of its own."""

    @classmethod
    def create_setup_app(cls, celery_setup_config: dict[str, Any], celery_setup_app_name: str) -> Celery:
        """Not the current app: other tests in this process have theirs."""
        app = Celery(celery_setup_app_name, set_as_current=False)
        app.config_from_object(celery_setup_config)
        if celery_setup_config["broker_url"].startswith("amqp"):
            # An app with a recoverable task sees to that itself; this one has none.
            app.conf.broker_transport_options = {"confirm_publish": True}
        return app


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    """Ours."""
    return ShopSetup


@pytest.fixture
def shop(celery_setup: CeleryTestSetup) -> Iterator[Shop]:
    """Broker, backend and a worker that runs the shop's tasks; of a failed test the worker's log is shown."""
    shop = Shop(celery_setup)
    yield shop
    shop.close()
    print(f"--- log of {celery_setup.worker.hostname()}\n{celery_setup.worker.logs()}")  # noqa: T201
