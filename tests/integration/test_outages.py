"""The example of a circuit, and an outage of some seconds by the benchmark's own hand, with real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("redis_server")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


def test_the_example_makes_every_payment_once():
    """A bank that is away for some seconds costs hardly an attempt, and no payment."""
    ended = run("examples/circuit_breaker/run.py", "--rate", "15", "--before", "3", "--outage", "5", "--after", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "The books balance." in ended.stdout


def test_a_short_outage_costs_no_task(tmp_path):
    """Every task is done once, none is a dead letter, and hardly any beside the first meets the outage."""
    result = tmp_path / "outage.json"
    run(
        "benchmarks/outage.py", "--kinds", "ours", "--rate", "15", "--before", "4", "--outage", "6", "--after", "4",
        "--json", str(result), "--picture", str(tmp_path / "outage.png"),
    )  # fmt: skip
    ours = json.loads(result.read_text())["figures"]["ours"]
    assert [ours[key] for key in ("failed", "dead_letters", "missing", "done_twice")] == [0, 0, 0, 0], ours
    assert ours["opened_after"] is not None, ours
    # In so short a run the probes weigh more than in that of a minute, and a loaded machine is slow to hear: the bound
    # is wide, and still far from the attempts that backoff takes.
    assert ours["attempts_beside"] <= 1.25, ours
