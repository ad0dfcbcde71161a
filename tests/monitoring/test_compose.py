"""docker-compose.yml: its parts agree with each other. Docker itself is asked where it is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="pip install pyyaml")

from tests.monitoring.site import CHOSEN, COMPOSE, HERE, ROOT, SERVICES  # noqa: E402  # needs yaml

TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
PROMETHEUS = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))


def mounts(service: str) -> dict[str, str]:
    """Place in the container -> what is mounted there."""
    return {parts[1]: parts[0] for one in SERVICES[service].get("volumes", ()) for parts in [one.split(":")]}


def test_all_that_is_wanted_is_there() -> None:
    """Redis, RabbitMQ, workers, Flower, Prometheus, Grafana, the exporter, and somebody who sends tasks."""
    assert set(SERVICES) == {"redis", "rabbitmq", "worker", "traffic", "flower", "metrics", "prometheus", "grafana"}


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_sound(service: str) -> None:
    """An image with a version, a health check, only loopback ports, and what it waits for is there and has one, too."""
    one: dict[str, Any] = SERVICES[service]
    if "build" not in one:
        assert re.search(r":v?\d+\.\d+\.\d+", one["image"]), one["image"]
    assert "healthcheck" in one or service == "traffic"
    assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))
    for other, how in one.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other]
    named = {source for source in mounts(service).values() if not source.startswith(".")}
    assert named <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_mounted_files_exist(service: str) -> None:
    """Docker would make an empty directory of what is not there."""
    for source in mounts(service).values():
        assert not source.startswith(".") or (ROOT / source).exists(), source


def test_no_secret_has_a_default() -> None:
    """Each has to be chosen, and the example of an environment file names them all, empty."""
    wanted = re.findall(r"\$\{(\w+)([^}]*)\}", TEXT)
    assert {name for name, _ in wanted} == set(CHOSEN)
    assert all(rest.startswith(":?") for _, rest in wanted)
    lines = (HERE / "env.example").read_text("utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == {f"{name}=" for name in CHOSEN}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "${" in str(value) or not re.search("PASS|SECRET|TOKEN|AUTH$", name), name


def test_redis_keeps_what_it_is_given() -> None:
    """On disk, and nothing is evicted."""
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_prometheus_finds_its_targets_and_rules() -> None:
    """Each target is a service that listens on that port, on all addresses; the rules lie where the file says."""
    for job in PROMETHEUS["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            service, _, port = target.partition(":")
            command = SERVICES[service]["command"]
            assert f"--port={port}" in command
            assert {"--host=0.0.0.0", "--address=0.0.0.0"} & set(command)
    places = mounts("prometheus")
    folder = PurePosixPath("/etc/prometheus/prometheus.yml").parent
    assert places[str(folder / "prometheus.yml")].endswith("examples/monitoring/prometheus.yml")
    assert [places[str(folder / file)] for file in PROMETHEUS["rule_files"]] == ["./examples/monitoring/alerts.yml"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    """The data source is the service; the provider looks where the dashboard is mounted; so does the home page."""
    (source,) = yaml.safe_load((HERE / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert any(port.endswith(":9090") for port in SERVICES["prometheus"]["ports"])
    (provider,) = yaml.safe_load((HERE / "grafana/provisioning/dashboards/celery-recovery.yml").read_text("utf-8"))[
        "providers"
    ]
    folder = provider["options"]["path"]
    mounted = ROOT / mounts("grafana")[folder]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (mounted / PurePosixPath(home).relative_to(folder)).exists()
    assert SERVICES["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_the_image_holds_what_the_services_need() -> None:
    """What the Dockerfile copies is there and not ignored; extras exist; the services' modules are copied."""
    build = SERVICES["worker"]["build"]
    dockerfile = ROOT / build["context"] / build["dockerfile"]
    text = dockerfile.read_text("utf-8")
    copied = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    rules = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text("utf-8").splitlines()
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(fnmatch(path, rule) for rule in let_in), path
    extras = re.search(r"'\.\[([\w,]+)\]'", text)
    assert extras
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert [one for one in extras[1].split(",") if not re.search(rf"^{one} = \[", project, re.MULTILINE)] == []
    assert "USER shop" in text
    assert {"examples/monitoring/shop.py", "examples/monitoring/traffic.py"} <= set(copied)


def test_docker_takes_it() -> None:
    """`docker compose config`, where there is one: no daemon is needed for that."""
    command = _compose()
    if command is None:
        pytest.skip("neither `docker compose` nor docker-compose is here")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **CHOSEN}
    run = subprocess.run(
        [*command, "config"], cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    run = subprocess.run([*command, "config"], cwd=ROOT, env={"PATH": env["PATH"]}, check=False, capture_output=True,
                         text=True, timeout=60)  # fmt: skip
    assert run.returncode != 0
    assert "examples/monitoring/env.example" in run.stderr


def _compose() -> list[str] | None:
    docker = shutil.which("docker")
    if docker is not None:
        asked = subprocess.run([docker, "compose", "version"], check=False, capture_output=True, timeout=30)
        if asked.returncode == 0:
            return [docker, "compose"]
    own = shutil.which("docker-compose")
    return None if own is None else [own]
