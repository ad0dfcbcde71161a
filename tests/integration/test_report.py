"""`recovery report` and `Recovery.report`, of real workers and of a made-up week."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celery_recovery import Filter, RecoverableTask, Recovery
from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.exceptions import ConfigurationError, StoreUnavailable
from celery_recovery.report.model import Report
from tests.hostile import active_content
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_circuits import Circuits
from tests.integration.test_cli import Cli, Here, store_letters
from tests.integration.test_store import replayed
from tests.letters import letter
from tests.services import Worker
from tests.weeks import CHARGE, PARSE, SYNC, write_week

pytestmark = pytest.mark.redis


@pytest.fixture
def cli(redis_jobs: Jobs) -> Cli:
    return Cli(redis_jobs)


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def nothing() -> None:
    """A task."""


@pytest.fixture
def shop(redis_url: str) -> Recovery:
    """An app whose week is in the counts; `shop.sync` has the policy that made them."""
    app = Celery("shop", broker=redis_url, backend=redis_url, set_as_current=False)
    for name, policies in (("shop.sync", {"unknown": 8}), ("shop.notify", {"network": 3})):
        app.task(base=RecoverableTask, name=name, policies=policies, shared=False)(nothing)
    recovery = Recovery.of(app)
    write_week(recovery)
    return recovery


def kinds(made: Report) -> dict[tuple[str, str], Any]:
    return {(one.task.rpartition(".")[2], one.error_type): one for one in made.kinds}


def test_what_workers_did(redis_jobs: Jobs, cli: Cli) -> None:
    """One task recovers at its third attempt, one is exhausted, one is never retried, one letter is replayed."""
    redis_jobs.worker()
    redis_jobs.send("flaky", "t", 2).get(timeout=20)
    for token, error in (("u", "network"), ("v", "validation")):
        redis_jobs.send("broken", token, error).get(timeout=20, propagate=False)
    redis_jobs.send("fine", "w").get(timeout=20)
    recovery = Recovery.of(redis_jobs.app)
    eventually(lambda: redis_jobs.letters() == 2)
    redis_jobs.ledger.fix("v")
    recovery.dead_letters.replay(Filter(error_type=("validation",)), by="anna", reason="mended, token=hunter2")
    made = eventually(lambda: _ended(recovery.report("1h")), what="all counts")
    assert (made.headline.ended, made.headline.first_try, made.headline.replayed) == (5, 1, 1)
    assert made.headline.recovered == 1
    assert (made.headline.dead_lettered, made.headline.recovery_rate) == (2, 1 / 3)
    found = kinds(made)
    flaky, broken, bad = found["flaky", "network"], found["broken", "network"], found["broken", "validation"]
    assert [(one.attempt, one.recovered, one.failed) for one in flaky.steps] == [(2, 0, 1), (3, 1, 0)]
    assert (flaky.recovery_rate, flaky.wasted, broken.recovery_rate, broken.wasted) == (1.0, 0, 0.0, 2)
    assert flaky.median is not None
    assert 0 < flaky.median <= 5
    assert (broken.reasons, bad.reasons, bad.steps) == ({"exhausted": 1}, {"not_retryable": 1}, ())
    assert {(one.error_type, one.reason, one.count) for one in made.reasons} == {
        ("network", "exhausted", 1), ("validation", "not_retryable", 1),
    }  # fmt: skip
    assert (made.groups_new, made.groups_dead, [one.deaths for one in made.groups]) == (2, 2, [1, 1])
    (replay,) = made.replays.latest
    assert (replay.by, replay.published, replay.recovered, replay.died) == ("anna", 1, 1, 0)
    assert "hunter2" not in json.dumps(made.to_dict())
    (drift,) = made.drifts
    assert (drift.exception, drift.recovered) == ("builtins.ValueError", 1)
    assert sum(made.series.recovered) == 1
    assert sum(made.series.failed) == made.headline.failed_attempts == 6
    seen = json.loads(cli("report", "--since", "1h", "--format", "json").output)
    assert seen["headline"]["ended"] == 5
    limits = {(one["task"], one["error_type"]): one["max_attempts"] for one in seen["kinds"]}
    assert limits[f"{MODULE}.broken", "network"] == 3  # the command line knows the tasks


@pytest.mark.parametrize(("version", "found"), [("v1", 1), ("v2", 0), ("", 0)])
def test_a_replay_of_mended_code_is_no_drift(redis_url: str, version: str, found: int) -> None:
    """What died in other code says nothing of the word of the classifier; in the same code it does."""
    app = Celery("shop", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.recovery_code_version = version
    recovery = Recovery.of(app)
    store, now = recovery.dead_letters.store, time.time()
    store.add(letter("t", reason="not_retryable", code_version="v1", died_at=now - 60))
    replayed(store, "t", "copy")
    store.recovered("t", "copy")
    assert store.get("t").state is LetterState.RECOVERED
    assert len(recovery.report("1h").drifts) == found


def _ended(made: Report) -> Report | None:
    return made if made.headline.ended == 5 and made.drifts and made.replays.recovered else None


def test_a_week(shop: Recovery) -> None:
    """The story that the week tells is what the report says, and what it advises."""
    made = shop.report("7d")
    found = kinds(made)
    charge = found["charge", "network"]
    assert charge.recovered == pytest.approx(sum(step.recovered for step in charge.steps), abs=20)
    assert charge.recovery_rate == pytest.approx(0.9, abs=0.02)
    assert made.notes == ()
    assert [group.fingerprint for group in made.groups[:3]] == [PARSE, SYNC, CHARGE]
    assert sum(made.groups[0].trend) == made.groups[0].deaths >= 877
    assert "hunter2" not in repr(made)
    bank, search = made.circuits
    assert (bank.name, bank.openings, bank.parked) == ("payments-api", 3, 360)
    assert bank.open_seconds == pytest.approx(9000, abs=10)
    assert search.from_closed == 7
    says = {advice.rule: advice for advice in made.advice}
    assert says["cap_attempts"].subject == "shop.sync"
    assert says["cap_attempts"].figures["cap"] == 3
    assert says["raise_attempts"].subject == "shop.notify"
    assert says["mend_version"].subject == PARSE
    assert says["circuit_flaps"].subject == "search"
    assert {"poison", "write_rule", "give_circuit"} <= set(says)


def test_a_part_of_the_week(shop: Recovery) -> None:
    """A period that is over, of some tasks: their counts alone, beside those of the period before."""
    hour = time.time() // 3600 * 3600
    made = shop.report(hour - 26 * 3600, hour - 2 * 3600, tasks=["shop.p*"])
    assert {one.task for one in made.kinds} == {"shop.parse"}
    assert {one.task for one in made.groups} == {"shop.parse"}
    assert made.before is not None
    assert 0 < made.before.dead_lettered < made.headline.dead_lettered
    assert made.headline.dead_lettered == sum(made.series.dead_lettered) == sum(one.count for one in made.reasons)
    assert made.headline.first_try == 24 * 200
    assert made.standing.open == 900
    assert len(made.notes) == 2


def test_long_periods_are_read_by_the_hour(shop: Recovery) -> None:
    """And say the same as two halves that are read by the minute."""
    end = time.time() // 3600 * 3600
    whole = shop.report(end - 60 * 3600, end)
    halves = [shop.report(end - (30 + back) * 3600, end - back * 3600) for back in (30, 0)]
    for name in ("attempts", "first_try", "recovered", "dead_lettered", "retried"):
        assert getattr(whole.headline, name) == sum(getattr(half.headline, name) for half in halves) > 0
    assert whole.before is not None
    assert whole.before.attempts == shop.report(end - 120 * 3600, end - 60 * 3600).headline.attempts
    assert sum(whole.series.failed) == whole.headline.failed_attempts


def test_a_period_that_is_not_kept_any_more(shop: Recovery) -> None:
    """It is cut, and that is said; one that is gone altogether is refused."""
    made = shop.report("30d")
    assert made.until - made.since == pytest.approx(7 * 86400, abs=3600)
    assert "recovery_stats_retention" in made.notes[0]
    with pytest.raises(ConfigurationError, match="older counts are not kept"):
        shop.report("30d", "20d")


def test_policies_that_were_changed_since(shop: Recovery) -> None:
    """What is already so is not advised."""
    task = shop.app.tasks["shop.sync"]
    assert "cap_attempts" in {one.rule for one in shop.report("7d").advice}
    task.policies = {"unknown": 3}
    shop._policies.clear()
    assert "cap_attempts" not in {one.rule for one in shop.report("7d").advice}


def test_groups_people_spoke_of(redis_jobs: Jobs) -> None:
    """Resolved ones with letters left, and those that came back."""
    recovery = Recovery.of(redis_jobs.app)
    now = time.time()
    store_letters(redis_jobs, *(letter(f"a-{n}", died_at=now - 300 - n, fingerprint="1:a") for n in range(30)))
    store_letters(redis_jobs, *(letter(f"b-{n}", died_at=now - 300 - n, fingerprint="1:b") for n in range(3)))
    for one in ("1:a", "1:b"):
        recovery.dead_letters.resolve_group(one, by="anna")
    store_letters(redis_jobs, letter("b-9", died_at=time.time() + 1, fingerprint="1:b"))
    made = recovery.report("1h")
    assert made.groups_back == 1
    assert {advice.rule: advice.subject for advice in made.advice} == {"regression": "1:b", "replay_resolved": "1:a"}


def test_without_a_redis() -> None:
    """There is nothing to report from, and that is said as everywhere."""
    app = Celery("none", broker="memory://", set_as_current=False)
    with pytest.raises(ConfigurationError, match="recovery_redis_url"):
        Recovery.of(app).report()


def test_redis_away(own_redis: Any) -> None:
    """A sentence of its own, as from everything that reads the store."""
    app = Celery("away", broker=own_redis.url(), set_as_current=False)
    recovery = Recovery.of(app)
    recovery.report("1h")
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        recovery.report("1h")


def test_counting_that_is_off(redis_url: str) -> None:
    """Letters are told of all the same, and why nothing else is."""
    app = Celery("off", broker=redis_url, set_as_current=False)
    app.conf.recovery_stats = False
    recovery = Recovery.of(app)
    assert recovery.store is not None
    recovery.store.add_many([letter("x", died_at=time.time() - 60)])
    made = recovery.report("1h")
    assert made.notes[0].startswith("recovery_stats is off")
    assert [one.deaths for one in made.groups] == [1]


def test_a_circuit_that_somebody_forced(redis_jobs: Jobs) -> None:
    """It is told of, whoever uses it."""
    circuits = Recovery.of(redis_jobs.app).circuits
    circuits.get("bank").acquire().success()
    circuits.flush()
    circuits.set("bank", CircuitEvent.FORCE_OPEN, by="anna")
    (bank,) = Recovery.of(redis_jobs.app).report("1h").circuits
    assert (bank.state, bank.openings, bank.intervals[-1].state) == ("forced_open", 1, "forced_open")


def test_an_outage(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> None:
    """When the circuit was open, how often tasks were parked for it, and that no letter came of it."""
    circuits = Circuits(worker, redis_url, other_redis_url)
    circuits.worker(concurrency=2)
    tokens = circuits.broken(count=12)
    eventually(lambda: circuits.waiting() >= 8, what="tasks wait outside")
    recovery = Recovery.of(circuits.app)

    def told() -> Any:
        found = recovery.report("1h").circuits
        return found[0] if found and found[0].parked >= 8 and found[0].waiting else None

    during = eventually(told, what="the count of parked tasks")
    assert (during.name, during.from_closed) == ("dependency", 1)
    assert during.intervals[0].cause == "consecutive_failures"
    circuits.back()
    circuits.done(tokens)
    after = eventually(lambda: recovery.report("1h") if recovery.report("1h").headline.ended == 12 else None)
    (circuit,) = after.circuits
    assert (circuit.state, circuit.waiting, after.headline.dead_lettered) == ("closed", 0, 0)
    assert circuit.open_seconds >= 1
    assert circuit.intervals[-1].end <= after.until


# -- the command


def test_three_forms(here: Here) -> None:
    """Text, JSON and HTML say the same."""
    write_week(Recovery.of(here.jobs.app))
    text = here("report", "--since", "7d", columns=80).output
    assert "Cap unknown failures of shop.sync at 3 attempts." in text
    assert max(map(len, text.splitlines())) <= 120
    document = json.loads(here("report", "--since", "7d", "--format", "json").output)
    assert document["headline"]["recovered"] > 2000
    html = here("report", "--since", "7d", "--format", "html").output
    assert html.startswith("<!DOCTYPE html>")
    assert active_content(html) == []
    for advice in document["advice"]:
        assert advice["says"].replace("'", "&#x27;") in html
    for output in (text, json.dumps(document), html):
        assert "hunter2" not in output


def test_a_file(here: Here, tmp_path: Path) -> None:
    """Its name says its form; others may read it as any file; nothing is left beside it."""
    for name, begin in (("r.html", "<!DOCTYPE html>"), ("r.json", "{"), ("r.txt", "Recovery report of ")):
        ended = here("report", "-o", str(tmp_path / name))
        assert not ended.output
        assert (tmp_path / name).read_text("utf-8").startswith(begin)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~_umask()
    here("report", "-o", str(tmp_path / "r.html"), "--format", "text")
    assert (tmp_path / "r.html").read_text("utf-8").startswith("Recovery report of ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json", "r.txt"]


def test_commands_name_the_app(cli: Cli, redis_jobs: Jobs) -> None:
    """What is to be typed names the app that the report was asked with; from code, a place for it."""
    recovery = Recovery.of(redis_jobs.app)
    recovery.store.add(letter("old", died_at=time.time() - 8 * 86400))
    asked = json.loads(cli("report", "--format", "json").output)["advice"]
    assert [one["setting"] for one in asked] == [f"celery -A {MODULE} recovery dlq list --until 7d"]
    assert [one.setting for one in recovery.report("1h").advice] == ["celery -A your_app recovery dlq list --until 7d"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["/dev/full", "missing/r.html", "."])
def test_a_file_that_cannot_be_written(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Said in a sentence that names the option; a device stays what it is."""
    monkeypatch.chdir(tmp_path)
    ended = here("report", "-o", name, code=2)
    assert "--output: expected a file that can be written" in ended.errors
    assert not list(tmp_path.iterdir())
    assert name != "/dev/full" or Path(name).is_char_device()


def test_a_disk_that_is_full(cli: Cli, tmp_path: Path) -> None:
    """The report that was there before stays, whole, and nothing else."""
    target = tmp_path / "r.html"
    target.write_text("the last one")
    process = cli.start("report", "-o", str(target), preexec_fn=_may_write_little)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    assert "--output: expected a file that can be written" in errors
    assert target.read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def _may_write_little() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_command_lines_that_make_no_sense(here: Here) -> None:
    """Refused with the option's name."""
    assert "--since" in here("report", "--since", "soon", code=2).errors
    assert "--until" in here("report", "--until", "2h ago", code=2).errors
    assert "--since" in here("report", "--since", "1h", "--until", "2h", code=2).errors
    assert "--format" in here("report", "--format", "pdf", code=2).errors


def test_an_empty_store(here: Here) -> None:
    """Nothing has failed, which is no failure."""
    assert "Nothing has failed." in here("report").output


def test_what_a_report_says_of_many_groups(redis_url: str) -> None:
    """A hundred thousand labels of an hour each cost some memory for a time, and leave a bounded report."""
    app = Celery("many", broker=redis_url, set_as_current=False)
    recovery = Recovery.of(app)
    hour = int(time.time()) // 3600 * 3600
    for n in range(12_000):
        labels = ("dead", "a", "network", f"1:{n:016x}", "exhausted")
        recovery.stats.add(recovery.keys.measures(hour - n % 3 * 3600), {labels: 1 + n % 7})
        if n % 9000 == 0:
            assert recovery.stats.flush()
    assert recovery.stats.flush()
    made = recovery.report("6h")
    assert made.reasons[0].count == sum(1 + n % 7 for n in range(12_000))
    assert len(made.groups) <= 50
    assert any("too many groups" in note for note in made.notes)
