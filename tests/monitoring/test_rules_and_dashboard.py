"""Alert rules and dashboard ask for what is exported, and for nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.needed import binary, missing
from tests.monitoring.promql import labels_named, selectors
from tests.services import RedisServer, Unavailable
from tests.unit.test_docs import _understood

yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
parser = pytest.importorskip("prometheus_client.parser", reason="pip install 'celery-recovery[prometheus]'")

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "examples" / "monitoring"
DASHBOARD = json.loads((HERE / "grafana/dashboards/celery-recovery.json").read_text("utf-8"))
GROUPS = yaml.safe_load((HERE / "alerts.yml").read_text("utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: Name -> expression, of everything that is asked.
ASKED = {
    **{f"alert {name}": rule["expr"] for name, rule in RULES.items()},
    **{f"panel {panel['title']} {one['refId']}": one["expr"] for panel in PANELS for one in panel["targets"]},
    "annotation": DASHBOARD["annotations"]["list"][1]["expr"],
}
#: What Prometheus itself adds to every series.
SCRAPED = {"job", "instance"}

Exported = Mapping[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    """Name of each sample -> label sets, as `recovery metrics --once` prints them of the example before it ever ran."""
    try:
        server = RedisServer()
    except Unavailable as why:
        missing(str(why))
    with server:
        env = {**os.environ, "SHOP_REDIS": server.url(), "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
        command = [sys.executable, "-m", "celery", "-A", "shop", "recovery", "metrics", "--once"]
        text = subprocess.run(command, cwd=HERE, env=env, check=True, capture_output=True, text=True, timeout=60).stdout
    found: dict[str, list[dict[str, str]]] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.mark.parametrize("what", ASKED)
def test_every_selector_finds_something(what: str, exported: Exported) -> None:
    """Metric and labels exist, and for each the values that are asked for; every branch of a pattern, too."""
    found = list(selectors(ASKED[what]))
    assert found, ASKED[what]
    for selector in found:
        assert selector.name in exported, selector.name
        matchers = tuple(one for one in selector.matchers if one[0] not in SCRAPED)
        series = exported[selector.name]
        assert any(selector._replace(matchers=matchers).chooses(labels) for labels in series), selector
        for name, how, value in matchers:
            assert all(name in labels for labels in series), (selector.name, name)
            known = {labels[name] for labels in series}
            wanted = value.split("|") if "~" in how else [value]
            assert set(wanted) <= known, (selector.name, name, set(wanted) - known)


@pytest.mark.parametrize("what", ASKED)
def test_labels_exist(what: str, exported: Exported) -> None:
    """What an expression groups by, some of its metrics have."""
    known = {label for one in selectors(ASKED[what]) for labels in exported[one.name] for label in labels}
    assert set(labels_named(ASKED[what])) <= known | SCRAPED


@pytest.mark.parametrize("name", RULES)
def test_alerts_say_what_to_do(name: str, exported: Exported) -> None:
    """A summary, a description, a severity, and a command that exists; only labels that the expression has left."""
    rule = RULES[name]
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "command"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    command = re.sub(r"\{\{ \$labels\.\w+ \}\}", "failed", told["command"])
    words = command.removeprefix("celery -A your_app recovery ")
    assert words != command
    assert _understood(words) == "", command
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(told)))
    grouped = set(labels_named(rule["expr"]))
    own = {label for one in selectors(rule["expr"]) for labels in exported[one.name] for label in labels}
    assert named <= (grouped or own), name


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panels_explain_themselves(panel: Mapping[str, Any]) -> None:
    """A description, a unit, and legends that name labels which are there."""
    assert panel["description"]
    assert "unit" in panel["fieldConfig"]["defaults"] or panel["type"] == "state-timeline"
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= set(labels_named(target["expr"])), panel["title"]
        assert 'job="$job"' in target["expr"]
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_metric_is_shown(exported: Exported) -> None:
    """The dashboard leaves none out."""
    shown = {one.name for what, expression in ASKED.items() if what != "annotation" for one in selectors(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


def test_the_layout_has_no_holes() -> None:
    """No panel lies on another, and none sticks out; ids are unique."""
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    assert len(taken) == 24 * (max(y for _, y in taken) + 1)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool(words: tuple[str, ...]) -> None:
    """Prometheus' own tool takes rules and configuration, and the rules fire when they should, and only then."""
    command = [binary("promtool", "prometheus"), *words]
    ended = subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_is_tried() -> None:
    """Each rule has a case in which it fires."""
    cases = (HERE / "alerts_test.yml").read_text("utf-8")
    assert set(re.findall(r'alertname="(\w+)"', cases)) == set(RULES)
