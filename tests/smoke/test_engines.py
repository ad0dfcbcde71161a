"""The switch itself, and as much of the Docker engine as can be seen without a daemon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_celery", reason="pytest-celery is not installed (pip install 'celery-recovery[test]')")

from tests.smoke.nodes import RABBITMQ_IMAGE, REDIS_IMAGE
from tests.smoke.process_engine import ProcessDockerClient

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (Path(__file__).parent / "Dockerfile").read_text()


@pytest.mark.parametrize(("required", "code", "word"), [("", 0, "SKIPPED"), ("1", 1, "ERROR")])
def test_without_a_daemon(tmp_path: Path, required: str, code: int, word: str) -> None:
    """`--engine docker` skips with the reason in plain words; where services are required it fails."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsE", "-q", "--engine", "docker"]
    command += ["tests/smoke/test_recovering.py", "-k", "by_itself and redis"]
    env = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none", "CELERY_RECOVERY_REQUIRE_SERVICES": required}
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert re.search(rf"^{word}\b.*", done.stdout, re.MULTILINE), done.stdout
    assert "--engine docker: no Docker daemon answers" in done.stdout


def test_every_image_is_of_a_fixed_version() -> None:
    """Three numbers in each tag: what runs today runs next year."""
    base = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in (REDIS_IMAGE, RABBITMQ_IMAGE, *base):
        assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+", image), image


def test_the_context_of_the_image_is_whole(worker_image_context: str) -> None:
    """All that the package is built from, and nothing of the checkout beside it."""
    context = Path(worker_image_context)
    assert {path.name for path in context.iterdir()} == {
        "Dockerfile", "LICENSE", "README.md", "celery_recovery", "pyproject.toml"
    }  # fmt: skip
    package = context / "celery_recovery"
    assert (package / "py.typed").exists()
    assert list(package.rglob("*.lua"))
    assert not list(package.rglob("__pycache__"))


def test_processes_refuse_what_docker_would() -> None:
    """So a misspelt argument is found here, not where there is a daemon at last."""
    client = ProcessDockerClient()
    with pytest.raises(TypeError, match="'networks'"):
        client.containers.run(REDIS_IMAGE, command=["redis-server"], networks="n", labels={}, detach=True)
    with pytest.raises(TypeError, match="'build_args'"):
        client.images.build(path=".", build_args={})
    client.close()


def test_processes_refuse_what_they_cannot_do() -> None:
    """A RabbitMQ with settings that nobody would see to is none."""
    client = ProcessDockerClient()
    with pytest.raises(NotImplementedError, match="DEFAULT_USER"):
        client.containers.run(RABBITMQ_IMAGE, environment={"RABBITMQ_DEFAULT_USER": "u"}, network="n", labels={})
    client.close()
