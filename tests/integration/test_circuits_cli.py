"""`celery -A app recovery circuits …` as an operator meets it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celery_recovery import Recovery
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from tests.integration.jobs_client import Jobs
from tests.integration.test_cli import NOWHERE, Cli, Here, answered
from tests.integration.test_parking_cli import park

pytestmark = pytest.mark.redis

#: Opens after four failures in a row, for a minute.
POLICY = {"consecutive_failures": 4, "minimum_calls": 1000, "open_duration": 60}


@pytest.fixture
def jobs(redis_jobs: Jobs) -> Jobs:
    redis_jobs.conf["recovery_circuits"] = {"pay*": POLICY}
    redis_jobs.app.conf.update(redis_jobs.conf)
    return redis_jobs


@pytest.fixture
def here(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(jobs)
    here.capsys = capsys
    return here


def fail(jobs: Jobs, name: str, times: int = 4) -> None:
    """So many calls of the circuit that fail."""
    breaker = Recovery.of(jobs.app).circuits.get(name)
    for _ in range(times):
        breaker.acquire().failure(ConnectionError("away"))


def state(jobs: Jobs, name: str) -> CircuitState:
    return Recovery.of(jobs.app).circuits.view(name).state


def wait_for(jobs: Jobs, name: str, tasks: int = 1) -> None:
    for n in range(tasks):
        park(jobs, f"{name}-{n}", reason="circuit", circuit=name)


def test_open_circuits_come_first(here: Here) -> None:
    """With what waits for them, what failed, and when they are probed; the closed ones behind."""
    fail(here.jobs, "pay-a", times=1)
    fail(here.jobs, "pay-b")
    wait_for(here.jobs, "pay-b", tasks=3)
    lines = here("circuits", "list").output.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SINCE", "PROBES", "IN", "CALLS", "FAILED", "%", "SLOW", "%",
                                "WAITING", "SUSPECT"]  # fmt: skip
    assert re.match(r"pay-b +open +\d+s +(1m|\d+s) .* 3$", lines[1])
    assert re.match(r"pay-a +closed +\S+ +- +1 +100 +0 +-$", lines[2])
    listed = here.json("circuits", "list", "--state", "open")["circuits"]
    assert [(one["name"], one["waiting"]) for one in listed] == [("pay-b", 3)]
    assert [one["name"] for one in here.json("circuits", "list", "*-a")["circuits"]] == ["pay-a"]


def test_show_says_why(here: Here) -> None:
    """State, settings in force, and each transition with its figures, or with who wanted it and why."""
    fail(here.jobs, "pay-a")
    here("circuits", "close", "pay-a", "--yes", "--reason", "false alarm, token=hunter2")
    seen = here.json("circuits", "show", "pay-a")
    assert seen["policy"]["consecutive_failures"] == 4
    assert seen["policy"]["counts"] == ["network", "system"]
    assert [(one["cause"], one["after"]) for one in seen["history"]] == [
        ("close", "closed"), ("consecutive_failures", "open"),
    ]  # fmt: skip
    assert seen["history"][0]["by"]
    printed = here("circuits", "show", "pay-a").output
    assert "false alarm" in printed
    assert "of 4 calls 4 failed, 0 slow" in printed
    assert "hunter2" not in printed + str(seen)


def test_a_circuit_is_forced_open_closed_and_reset(here: Here) -> None:
    """And what follows is said."""
    fail(here.jobs, "pay-a", times=1)
    told = here("circuits", "open", "pay-a", "--for", "10m", "--yes").output
    assert told == "pay-a: forced open; calls are refused for 10m, then probed; its tasks are parked.\n"
    view = Recovery.of(here.jobs.app).circuits.view("pay-a")
    assert view.state is CircuitState.FORCED_OPEN
    assert view.until == pytest.approx(view.since + 600)
    wait_for(here.jobs, "pay-a", tasks=2)
    told = here("circuits", "close", "pay-a", "--yes").output
    assert told.startswith("pay-a: closed; the 2 tasks that wait return, 1 per second at first")
    assert state(here.jobs, "pay-a") is CircuitState.CLOSED
    assert "nothing opens it" in here("circuits", "close", "pay-a", "--disable", "--yes").output
    fail(here.jobs, "pay-a", times=5)
    assert state(here.jobs, "pay-a") is CircuitState.DISABLED
    assert here.json("circuits", "reset", "pay-a", "--yes")["circuits"][0]["after"] == "closed"


def test_patterns_take_those_that_are_not_so_yet(here: Here) -> None:
    """A dry run changes nothing; what is closed already is passed over."""
    fail(here.jobs, "pay-a")
    fail(here.jobs, "pay-b", times=1)
    dry = here.json("circuits", "close", "pay-*", "--dry-run")
    assert (dry["dry_run"], dry["selected"], dry["done"], dry["passed_over"]) == (True, 1, 0, ["pay-b"])
    assert "would be closed" in here("circuits", "close", "--all", "--dry-run").output
    assert state(here.jobs, "pay-a") is CircuitState.OPEN
    assert here.json("circuits", "close", "pay-a", "pay-b", "--yes", code=5)["done"] == 1
    assert state(here.jobs, "pay-a") is CircuitState.CLOSED
    assert "There is nothing to do." in here("circuits", "close", "--all", "--yes").errors


def test_status_shows_what_is_open(here: Here) -> None:
    """Nothing where all are closed."""
    fail(here.jobs, "pay-a", times=1)
    assert "Circuits" not in here("status").output
    assert here.json("status")["circuits"] == []
    fail(here.jobs, "pay-a", times=3)
    assert re.search(r"pay-a +open", here("status").output)
    assert [one["name"] for one in here.json("status")["circuits"]] == ["pay-a"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("show", "pay-aa"), 4, "There is no circuit pay-aa. Did you mean pay-a?"),
        (("open", "pay-a", "nope", "--yes"), 4, "There is no circuit nope. Nothing was done."),
        (("close", "nope-*", "--yes"), 1, "No circuit matches. Nothing was done."),
        (("close", "pay-a", "--yes"), 1, "1 circuit closed already. Nothing was done."),
        (("list", "--state", "disabled"), 1, "No circuit matches."),
        (("open", "--yes"), 2, "open needs names"),
        (("open", "pay-a"), 2, "Nobody to ask: say --yes"),
        (("open", "pay-a", "--for", "soon", "--yes"), 2, "expected a time such as 90s"),
        (("open", "pay-a", "--for", "0", "--yes"), 2, "expected a time such as 90s"),
        (("opne",), 2, "open"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    here: Here, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """On stderr, with its exit code, and nothing is changed."""
    fail(here.jobs, "pay-a", times=1)
    assert sentence in here("circuits", *words, code=code).errors
    assert state(here.jobs, "pay-a") is CircuitState.CLOSED


def test_a_name_that_nobody_has_used(here: Here) -> None:
    """Can be opened where that is said; without any circuit, a list is empty and no failure."""
    assert "No circuit was used" in here("circuits", "list").errors
    here("circuits", "open", "pay-new", "--unused", "--yes")
    assert state(here.jobs, "pay-new") is CircuitState.FORCED_OPEN


def test_it_asks_first(jobs: Jobs) -> None:
    """No: nothing is done; yes: it is."""
    cli = Cli(jobs)
    fail(jobs, "pay-a", times=1)
    no = answered(cli, "n\n", "circuits", "open", "pay-a")
    assert (no.code, state(jobs, "pay-a")) == (6, CircuitState.CLOSED)
    assert "Open 1 circuit?" in no.errors
    assert answered(cli, "y\n", "circuits", "open", "pay-a").code == 0
    assert state(jobs, "pay-a") is CircuitState.FORCED_OPEN


def test_redis_away(jobs: Jobs) -> None:
    """The store's address, code 3."""
    env: dict[str, Any] = {"JOBS_CONF": f'{{"recovery_redis_url": "{NOWHERE}"}}'}
    assert "does not answer" in Cli(jobs)("circuits", "list", code=3, env=env).errors


def test_foreign_text_is_harmless(here: Here) -> None:
    """A reason is anybody's."""
    circuits = Recovery.of(here.jobs.app).circuits
    circuits.set("pay-a", CircuitEvent.FORCE_OPEN, by="\x1b[2Jme", reason="a\nforged")
    for words in (("show", "pay-a"), ("show", "pay-a", "--json"), ("list",)):
        printed = here("circuits", *words).output
        assert "\x1b" not in printed
        assert "\nforged" not in printed
