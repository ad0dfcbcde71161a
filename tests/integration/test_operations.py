"""Acting on many: frozen sets, canaries, pausing, and tools that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from celery_recovery import Filter, Recovery
from celery_recovery.circuit.state import CircuitEvent, IllegalTransition
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.exceptions import ConfigurationError, PublishFailed
from celery_recovery.monitoring.fleet import FleetReader
from celery_recovery.operations.canary import Canary
from celery_recovery.operations.operation import OperationState
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_queue import _Refusing as Refusing
from tests.letters import DIED_AT, body, letter

pytestmark = pytest.mark.redis


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def fill(jobs: Jobs, count: int, task: str = "fine", *args: Any) -> list[str]:
    """Letters of a real task, the first the oldest; `args`: its arguments, else a token of its own for each."""
    letters = [
        replace(
            letter(f"{task}-{n:04}", died_at=DIED_AT + n),
            task=f"{MODULE}.{task}",
            body=body(*(args or (f"{task}-{n:04}",))),
            headers={**letter("x").headers, "id": f"{task}-{n:04}", "task": f"{MODULE}.{task}"},
            origin=Origin("celery", "", "celery", None),
        )
        for n in range(count)
    ]
    jobs.dead_letters.store.add_many(letters)
    return [one.id for one in letters]


def states(jobs: Jobs) -> dict[str, int]:
    return {state: count for state, count in jobs.dead_letters.stats().by_state.items() if count}


def operation(jobs: Jobs) -> Any:
    return jobs.dead_letters.operations.latest(1)[0]


class TestCanary:
    def test_wrong_fix_and_right_fix(self, here):
        """A replay of what is not mended stops after five letters; mended, the rest goes through."""
        jobs = here.jobs
        fill(jobs, 80, "broken", "canary")
        jobs.worker()
        told = here("dlq", "replay", "--task", "*.broken", "--canary", "--yes", code=8)
        assert "5 of 80 letters replayed" in told.output
        assert "Stopped by its canary: 5 of 5 replays died again, where 90% should recover" in told.errors
        assert operation(jobs).outcomes.died == 5
        assert jobs.dead_letters.count(Filter.parse({"state": "failed"})) == 80
        assert sum(one.replays for one in jobs.dead_letters.list(limit=80)) == 5  # the others are untouched

        jobs.ledger.fix("canary")
        told = here("operations", "resume", operation(jobs).id[:8])
        assert "75 recovered, 5 died again" in told.output
        assert states(jobs) == {"failed": 5, "recovered": 75}

    def test_no_outcome(self, here):
        """Nobody runs what it publishes: it waits for its time, pauses, and says so."""
        fill(here.jobs, 20)
        told = here("dlq", "replay", "--all", "--yes", "--canary=3", "--canary-wait=1s", code=5)
        assert "Paused: no outcome of 3 replays within 1 s" in told.errors
        assert (operation(here.jobs).state, operation(here.jobs).done) == (OperationState.PAUSED, 3)
        here("operations", "resume", operation(here.jobs).id, code=5)  # those three are not waited for again
        assert (operation(here.jobs).state, operation(here.jobs).done) == (OperationState.PAUSED, 6)

    def test_last_step(self, redis_jobs):
        """When nothing is left to hold back, an outcome that does not come ends the wait, and no more."""
        fill(redis_jobs, 3)
        result = redis_jobs.dead_letters.replay(Filter(), canary=Canary(first=5, wait=0.5))
        assert (result.state, result.published) == ("done", 3)

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("--canary=0",), "--canary: expected a whole number from 1, got 0"),
            (("--canary=5", "--canary-good=2"), "--canary-good: expected a share between 0 and 1"),
            (("--canary=5", "--canary-wait=soon"), "--canary-wait: expected unix seconds"),
            (("--canary-good=0.8",), "--canary-good: expected --canary beside it"),
        ],
    )
    def test_nonsense(self, here, words, told):
        """Options that make no sense are refused by name."""
        assert told in here("dlq", "replay", "--all", "--yes", *words, code=2).errors


class TestFrozen:
    def test_what_dies_meanwhile(self, redis_jobs):
        """A letter that dies while an operation runs is not part of it."""
        fill(redis_jobs, 3)
        late = replace(letter("late"), died_at=DIED_AT + 99)
        result = redis_jobs.dead_letters.discard(
            Filter(), rate=10, progress=lambda _: redis_jobs.dead_letters.store.add(late) and None
        )
        assert (result.selected, result.done) == (3, 3)
        assert states(redis_jobs) == {"discarded": 3, "failed": 1}

    def test_killed_while_it_is_written_down(self, redis_jobs):
        """A set that is not whole is never run."""
        letters = redis_jobs.dead_letters
        ids = fill(redis_jobs, 3)

        def killed() -> Any:
            yield ids[0]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            letters.operations.create("discard", killed(), by="ada", terms={"states": ["failed"], "rate": None})
        assert (letters.operations.orphans(), letters.operations.latest()) == ([], [])

    def test_one_runner(self, redis_jobs):
        """An operation that somebody runs is not run by another."""
        letters = redis_jobs.dead_letters
        made = letters.operations.create(
            "discard", fill(redis_jobs, 3), by="ada", terms={"states": ["failed"], "rate": None}
        )
        assert letters.operations.take(made.id)
        with pytest.raises(ConfigurationError, match="one that nobody runs"):
            letters.run(made.id)

    def test_lease_lost(self, redis_jobs):
        """A runner that was silent for too long finds another in its place, and leaves the rest to it."""
        letters = redis_jobs.dead_letters
        fill(redis_jobs, 30)

        def robbed(_: Any) -> None:
            key = letters.store.keys.operation_runner(operation(redis_jobs).id)
            letters.store.client.set(key, "another/1/x", px=60_000)

        result = letters.discard(Filter(), rate=1000, progress=robbed)
        assert result.done < 30 or letters.operations.get(result.operation).state is OperationState.RUNNING

    def test_cancelled_while_its_runner_was_silent(self, redis_jobs):
        """Nobody is known to run it, so it is cancelled at once; the runner that comes back leaves it so."""
        letters = redis_jobs.dead_letters
        fill(redis_jobs, 200)

        def silent(_: Any) -> None:
            now = operation(redis_jobs)
            letters.store.client.delete(letters.store.keys.operation_runner(now.id))
            if now.state is OperationState.RUNNING:
                letters.operations.ask(now.id, "cancelled", by="bob")

        letters.discard(Filter(), rate=40, progress=silent)  # 150 of them, a pause, 50
        assert operation(redis_jobs).state is OperationState.CANCELLED
        assert states(redis_jobs) == {"failed": 50, "discarded": 150}
        actions = [entry["action"] for entry in letters.operations.audit.entries()]
        assert "discard done" not in actions

    @pytest.mark.parametrize("asked", ["cancelled", "paused"])
    @pytest.mark.parametrize("verb", ["replay", "discard"])
    def test_a_rate_below_that_of_the_lease(self, redis_jobs, verb, asked):
        """One letter in 100 s: it is still known who runs it, and he stops within seconds of being asked."""
        letters = redis_jobs.dead_letters
        fill(redis_jobs, 3)
        lives = threading.Thread(target=lambda: getattr(letters, verb)(Filter(), rate=0.01), daemon=True)
        lives.start()
        eventually(lambda: letters.operations.latest(1) and operation(redis_jobs).runner, what="its runner")
        key = letters.store.keys.operation_runner(operation(redis_jobs).id)
        time.sleep(3)
        assert letters.store.client.pttl(key) > 12_500  # of 15 s: it is renewed while the rate lets it wait
        letters.operations.ask(operation(redis_jobs).id, asked, by="bob")
        lives.join(10)
        assert not lives.is_alive()
        assert operation(redis_jobs).state.value == asked
        assert operation(redis_jobs).done <= 1

    def test_of_a_newer_version(self, redis_jobs, caplog):
        """A state that this version does not know costs neither figures nor the operations of others."""
        letters = redis_jobs.dead_letters
        terms = {"states": ["failed"], "rate": None}
        odd, plain = (
            letters.operations.create("discard", fill(redis_jobs, 1), by="ada", terms=terms, unattended=True)
            for _ in range(2)
        )
        client, keys = letters.store.client, letters.store.keys
        client.hset(keys.operation(odd.id), "state", "verifying")
        for _ in range(2):
            assert [one.id for one in letters.operations.orphans()] == [plain.id]
        assert caplog.text.count("is left alone") == 1
        assert client.sismember(keys.operations_open, odd.id)
        recovery = Recovery.of(redis_jobs.app)
        fleet = FleetReader(client, keys, recovery.circuits, []).read()
        assert fleet.operations["discard", "verifying"] == 1


class TestAsked:
    def test_pause_and_go_on(self, here):
        """Paused by another process, it ends its batch; resumed, it goes on from there, and nothing is done twice."""
        jobs = here.jobs
        fill(jobs, 40)
        thread = threading.Thread(target=lambda: jobs.dead_letters.replay(Filter(), rate=10, lease=2))
        thread.start()
        eventually(lambda: jobs.dead_letters.operations.latest(1) and operation(jobs).done)
        assert "asked for" in here("operations", "pause", operation(jobs).id[:6], "--note", "lunch").output
        thread.join(20)
        paused = operation(jobs)
        assert (paused.state, paused.runner) == (OperationState.PAUSED, "")
        assert 0 < paused.done < 40
        shown = here("operations", "show", paused.id).output
        assert re.search(r"^ *State +paused by \S+$", shown, re.MULTILINE)
        told = here("operations", "resume", paused.id, "--json").output
        assert json.loads(told)["done"] == 40
        here("operations", "resume", paused.id, code=1)

    def test_cancelled(self, here):
        """Cancelled, the rest is as it was; and it stays cancelled."""
        ids = fill(here.jobs, 3)
        made = here.jobs.dead_letters.operations.create(
            "discard", ids, by="ada", terms={"states": ["failed"], "rate": None}
        )
        assert "cancelled" in here("operations", "cancel", made.id).output
        assert here.jobs.dead_letters.run(made.id).done == 0
        here("operations", "cancel", made.id, code=1)
        assert states(here.jobs) == {"failed": 3}

    def test_unknown(self, here):
        """An id that is not known has its exit code."""
        here("operations", "show", "feed", code=4)

    def test_list(self, here):
        """One line for each, and one document."""
        fill(here.jobs, 3)
        assert "There have been no operations." in here("operations", "list").errors
        here.jobs.dead_letters.discard(Filter(), by="ada", reason="noise")
        assert "discard" in here("operations", "list").output
        [one] = json.loads(here("operations", "list", "--json").output)["operations"]
        assert (one["state"], one["done"], one["by"], one["reason"]) == ("done", 3, "ada", "noise")


class TestAudit:
    def test_an_operation(self, here):
        """It says who did what, to how many, why, and how it went; begun and ended."""
        fill(here.jobs, 3)
        here("dlq", "discard", "--all", "--yes", "--note", "noise, all of it")
        entries = json.loads(here("audit", "--json").output)["entries"]
        assert [entry["action"] for entry in entries] == ["discard done", "discard begun"]
        assert (entries[0]["done"], entries[0]["via"]) == (3, "cli")
        assert entries[1]["reason"] == "noise, all of it"
        assert "discard done" in here("audit").output
        lines = here("audit", "--export").output.splitlines()
        assert [json.loads(line)["action"] for line in lines] == ["discard begun", "discard done"]

    def test_many(self, redis_jobs):
        """All entries are read, whatever their number, in both orders."""
        audit = redis_jobs.dead_letters.audit
        for n in range(1203):
            audit.add(f"act {n}", by="ada")
        told = [entry["action"] for entry in audit.entries()]
        assert (len(told), told[0], told[-1]) == (1203, "act 1202", "act 0")
        assert [entry["action"] for entry in audit.entries(newest_first=False)] == told[::-1]
        assert audit.forgotten == 0

    def test_everything_else(self, here):
        """What is done to circuits, parked tasks and checkpoints stands there, from the command line and from code."""
        recovery = Recovery.of(here.jobs.app)
        here("circuits", "open", "payments", "--unused", "--yes", "--reason", "maintenance")
        recovery.circuits.set("payments", CircuitEvent.RESET, by="ada")
        recovery.parked.discard(["nobody"], by="ada")
        recovery.checkpoints.clear("id:nobody", by="ada")
        with pytest.raises(IllegalTransition):
            recovery.circuits.set("payments", CircuitEvent.HALF_OPEN, by="ada")
        entries = json.loads(here("audit", "--json").output)["entries"]
        told = [(one["action"], one.get("target", ""), one["outcome"]) for one in reversed(entries)]
        assert told == [
            ("circuit force_open", "payments", "begun"), ("circuit force_open", "payments", "forced_open"),
            ("circuit reset", "payments", "begun"), ("circuit reset", "payments", "closed"),
            ("parked discard", "", "begun"), ("parked discard", "", "done"),
            ("checkpoint clear", "id:nobody", "begun"), ("checkpoint clear", "id:nobody", "done"),
            ("circuit half_open", "payments", "begun"),
            ("circuit half_open", "payments", "failed: IllegalTransition"),
        ]  # fmt: skip
        assert [one["via"] for one in entries] == ["code"] * 8 + ["cli"] * 2


class TestBrokerAway:
    def test_goes_on(self, redis_jobs):
        """A broker that goes away stops it; resumed, what it had not taken is published, and nothing twice."""
        letters = redis_jobs.dead_letters
        ids = fill(redis_jobs, 10)
        away = PublishFailed("away")
        away.__cause__ = ConnectionError("refused")
        real = letters.publisher
        letters.publisher = Refusing(real, {ids[4]: away})
        result = letters.replay(Filter())
        assert (result.published, result.state) == (4, "stopped")
        letters.publisher = real
        ended = letters.run(result.operation)
        assert (ended.done, ended.position, ended.state) == (10, 10, OperationState.DONE)
        redis_jobs.worker()
        eventually(lambda: states(redis_jobs) == {"recovered": 10})
        assert all(len(redis_jobs.ledger.lines(one)) == 1 for one in ids)


class TestKilled:
    def test_a_worker_goes_on(self, redis_jobs):
        """The tool is killed in the middle of a replay; a worker goes on, and each letter runs once."""
        fill(redis_jobs, 300)
        redis_jobs.worker()
        code = (
            "from celery_recovery import Filter, Recovery; from tests.apps.jobs import app;"
            "Recovery.of(app).dead_letters.replay(Filter(), rate=60, unattended=True)"
        )
        env = {
            **os.environ, "CELERY_BROKER_URL": redis_jobs.broker, "CELERY_RESULT_BACKEND": redis_jobs.backend,
            "JOBS_LEDGER": redis_jobs.ledger_url, "JOBS_CONF": json.dumps(redis_jobs.conf),
        }  # fmt: skip
        tool = subprocess.Popen([sys.executable, "-c", code], env=env)
        eventually(lambda: redis_jobs.dead_letters.operations.latest(1) and operation(redis_jobs).done > 30)
        tool.send_signal(signal.SIGKILL)
        tool.wait()
        assert operation(redis_jobs).state is OperationState.RUNNING
        eventually(lambda: operation(redis_jobs).state is OperationState.DONE, timeout=60)
        eventually(lambda: states(redis_jobs) == {"recovered": 300})
        assert all(len(redis_jobs.ledger.lines(f"fine-{n:04}")) == 1 for n in range(300))
        ended = operation(redis_jobs)
        assert (ended.done, ended.outcomes.recovered, ended.outcomes.died) == (300, 300, 0)

    def test_counts_after_a_kill_between_publish_and_note(self, redis_jobs):
        """The batch whose position was not noted is gone through again: nothing is published or counted twice."""
        letters = redis_jobs.dead_letters
        fill(redis_jobs, 10)
        real = letters.operations.advance

        def killed(operation_id: str, token: str, **what: Any) -> Any:
            if "position" in what:
                raise SystemExit
            return real(operation_id, token, **what)

        letters.operations.advance = killed
        with pytest.raises(SystemExit):
            letters.replay(Filter())
        letters.operations.advance = real
        assert (operation(redis_jobs).done, operation(redis_jobs).position) == (10, 0)
        ended = letters.run(operation(redis_jobs).id)
        assert (ended.done, ended.position, dict(ended.skipped)) == (10, 10, {})


def test_watched(here):
    """`show --watch` ends with the operation."""
    jobs = here.jobs
    fill(jobs, 20)
    thread = threading.Thread(target=lambda: jobs.dead_letters.discard(Filter(), rate=20))
    thread.start()
    eventually(lambda: jobs.dead_letters.operations.latest(1))
    began = time.monotonic()
    assert json.loads(here("operations", "show", operation(jobs).id, "--watch", "--json").output)["state"] == "done"
    assert time.monotonic() - began < 10
    thread.join()


def test_canary_in_code(redis_jobs):
    """From code: the result says that it was stopped, by what, and after how many."""
    fill(redis_jobs, 30, "broken", "code")
    redis_jobs.worker()
    result = redis_jobs.dead_letters.replay(Filter(), canary=Canary(first=2))
    assert result.by_canary
    assert (result.published, result.died) in {(6, 6), (5, 5), (4, 4), (3, 3)}
