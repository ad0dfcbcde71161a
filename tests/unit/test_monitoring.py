"""docs/monitoring.md says what is exported and what the rules are; the metrics keep to Prometheus' rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celery_recovery.monitoring.metrics import METRICS, Metric
from tests.unit.test_docs import table

yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
prometheus = pytest.importorskip(
    "celery_recovery.monitoring.prometheus", reason="pip install 'celery-recovery[prometheus]'"
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
RULES = yaml.safe_load((ROOT / "examples/monitoring/alerts.yml").read_text("utf-8"))["groups"]


def test_every_metric_is_documented() -> None:
    """Name, type, labels and meaning, in the order in which they are exported, and no other."""
    told = [
        (name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in table(PAGE, "metrics")
    ]
    assert told == [(prometheus.PREFIX + one.name, one.kind, one.labels, one.help) for one in METRICS]


def test_every_alert_is_documented() -> None:
    """With its severity."""
    told = [(name.strip("`"), severity) for name, severity, _ in table(PAGE, "alerts")]
    assert told == [(rule["alert"], rule["labels"]["severity"]) for group in RULES for rule in group["rules"]]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_keep_to_the_rules(metric: Metric) -> None:
    """Counters end in `_total`, and nothing else does; units are base units; the help is a sentence."""
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)\b", metric.name)
    assert re.fullmatch(r"[A-Z1].*[.]", metric.help)
    assert not {"le", "job", "instance"} & set(metric.labels)


def test_families_are_described_without_reading() -> None:
    """A registry learns all names at once, each once."""

    def never() -> None:
        raise AssertionError("it was read")

    families = list(prometheus.RecoveryCollector(never).describe())
    names = [family.name for family in families]
    assert len(names) == len(set(names)) == len(METRICS)
    assert not any(family.samples for family in families)
