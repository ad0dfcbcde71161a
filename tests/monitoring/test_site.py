"""The example as it runs: its services as processes on real Redis and RabbitMQ, scraped by a real Prometheus."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
pytest.importorskip("prometheus_client", reason="pip install 'celery-recovery[prometheus]'")
pytest.importorskip("flower", reason="pip install 'celery-recovery[flower]'")

from tests.integration.jobs_client import eventually  # noqa: E402  # after what may be missing
from tests.monitoring.needed import binary, missing  # noqa: E402
from tests.monitoring.site import HERE, Site, fetched  # noqa: E402
from tests.monitoring.test_rules_and_dashboard import ASKED  # noqa: E402
from tests.services import RabbitServer, RedisServer, Unavailable  # noqa: E402
from tests.services.process import Process, free_port  # noqa: E402

pytestmark = [pytest.mark.redis, pytest.mark.rabbitmq, pytest.mark.slow]

JOB = "celery-recovery"


@pytest.fixture(scope="module")
def site(rabbit_server: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Worker, exporter and Flower, running."""
    try:
        server = RedisServer()
    except Unavailable as why:
        missing(str(why))
    with server:
        here = Site(tmp_path_factory.mktemp("site"), server.url(), rabbit_server.fresh_url())
        try:
            for service in ("worker", "metrics", "flower"):
                here.start(service)
            yield here
        finally:
            here.close()


class Prometheus:
    """A real one that scrapes the site every second, with the example's own rules."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.port = free_port()
        config = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(HERE / file) for file in config["rule_files"]]
        for job in config["scrape_configs"]:
            targets = job["static_configs"][0]["targets"]
            ports = [site.ports[int(target.partition(":")[2])] for target in targets]
            job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}" for port in ports]
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        command = [binary("prometheus", "prometheus"), "--log.level=warn", f"--config.file={file}"]
        command += [f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self._log = directory / "prometheus.log"
        with self._log.open("wb") as output:
            self.process = Process(command, stdout=output.fileno(), cwd=directory)

    def asked(self, path: str, **query: str) -> Any:
        """The data that its HTTP interface answers; None while it does not."""
        text = fetched(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(text)["data"] if text else None

    def value(self, expression: str) -> float:
        """Of an expression that has one; 0 without."""
        found = self.asked("query", query=expression)
        return float(found["result"][0]["value"][1]) if found and found["result"] else 0.0


@pytest.fixture(scope="module")
def prometheus(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes already when the traffic begins: the first batch takes seconds, and the next comes minutes later."""
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), site)
    eventually(lambda: one.value("celery_recovery_up") == 1, timeout=90, what="the first scrape")
    site.start("traffic")
    yield one
    one.process.kill()


@pytest.mark.parametrize("service", ["metrics", "flower", "worker"])
def test_services_start_and_are_healthy(site: Site, service: str) -> None:
    """The command of the compose file starts, and its health check finds it healthy."""
    eventually(lambda: site.is_healthy(service), timeout=90, what=f"{service} to be healthy: {site.log(service)}")


def test_everything_happens(site: Site, prometheus: Prometheus) -> None:
    """Recoveries, dead letters, an open circuit, waiting tasks, items of a batch: Prometheus has seen all of it."""
    seen = {
        "recoveries": 'sum(celery_recovery_attempts_total{outcome="recovered"})',
        "retries": "sum(celery_recovery_retry_delay_seconds_count)",
        "dead letters": 'celery_recovery_letters{state="failed"}',
        "groups": 'celery_recovery_open_groups{state="open"}',
        "an opening": 'celery_recovery_circuit_transitions_total{circuit="bank",state="open"}',
        "tasks that wait for the bank": 'max_over_time(celery_recovery_circuit_waiting{circuit="bank"}[5m])',
        "a batch under way": 'max_over_time(celery_recovery_batches{task="shop.import_customers"}[5m])',
        "items": 'celery_recovery_batch_items_total{result="succeeded",task="shop.import_customers"}',
    }
    left = dict(seen)

    def all_seen() -> bool:
        for name, expression in list(left.items()):
            if prometheus.value(expression) > 0:
                del left[name]
        return not left

    deadline = time.monotonic() + 90
    while not all_seen():
        assert time.monotonic() < deadline, (sorted(left), site.log("worker")[-3000:])
        time.sleep(0.5)


def test_every_expression_is_answered(prometheus: Prometheus) -> None:
    """Prometheus understands each panel and each rule; those that filter nothing out have an answer."""
    eventually(
        lambda: prometheus.value("count_over_time(celery_recovery_up[1m])") >= 5, timeout=60, what="five scrapes"
    )
    for what, expression in ASKED.items():
        query = expression.replace("$job", JOB).replace("$__rate_interval", "1m").replace("$__range", "5m")
        found = prometheus.asked("query", query=query)
        assert found is not None, (what, query)
        if what.startswith("panel") and not re.search(r"> 0", query):
            assert found["result"], (what, query)
        ranged = prometheus.asked(
            "query_range", query=query, start=str(time.time() - 30), end=str(time.time()), step="5"
        )
        assert ranged is not None, (what, query)


def test_rules_are_evaluated(prometheus: Prometheus) -> None:
    """All are loaded and none fails; of the short-lived site nothing fires that says a figure is missing."""
    rules = [rule for group in prometheus.asked("rules")["groups"] for rule in group["rules"]]
    eventually(
        lambda: all(rule["health"] == "ok" for group in prometheus.asked("rules")["groups"] for rule in group["rules"]),
        what="the rules to be evaluated",
    )
    assert len(rules) == len([name for name in ASKED if name.startswith("alert ")])
    assert not [rule for rule in rules if rule.get("lastError")]
    pending = {alert["labels"]["alertname"] for alert in prometheus.asked("alerts")["alerts"]}
    assert not pending & {"RecoveryFiguresAbsent", "RecoveryStoreDown", "RecoveryPublishErrors"}


def test_flowers_figures_are_not_counted_twice(prometheus: Prometheus) -> None:
    """Flower is scraped for its own; ours come from the exporter alone."""
    eventually(lambda: prometheus.value('up{job="flower"}') == 1, timeout=60, what="Flower to be scraped")
    jobs = prometheus.asked("query", query="count by (job) (celery_recovery_up)")["result"]
    assert [one["metric"]["job"] for one in jobs] == [JOB]
    assert prometheus.asked("query", query='count({job="flower", __name__=~"flower_.*"})')["result"]


def test_cardinality(prometheus: Prometheus) -> None:
    """Some hundred series for an app of four tasks, and what a message says is in none."""
    assert prometheus.value('count({__name__=~"celery_recovery_.*"})') < 800
    tasks = prometheus.asked("label/task/values")
    assert {one for one in tasks if one.startswith("shop.")} == {
        "shop.charge", "shop.send_mail", "shop.print_label", "shop.import_customers",
    }  # fmt: skip
