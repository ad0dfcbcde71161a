"""`celery -A app recovery parked …` as an operator meets it."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

import pytest

from celery_recovery import Recovery
from celery_recovery.parking import ParkedTask, Parking
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import NOWHERE, Cli, Here, waiting
from tests.letters import body

pytestmark = pytest.mark.redis


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def parking_of(jobs: Jobs) -> Parking:
    parking = Recovery.of(jobs.app).parked
    assert parking is not None
    return parking


def park(jobs: Jobs, task_id: str, due: float = 600, **changes: Any) -> ParkedTask:
    """A parked `fine`, due in so many seconds."""
    headers = {"lang": "py", "id": task_id, "task": f"{MODULE}.fine", "retries": 0, "root_id": task_id,
               "argsrepr": "()", "kwargsrepr": "{}"}  # fmt: skip
    fields: dict[str, Any] = {
        "key": uuid.uuid4().hex, "id": task_id, "task": f"{MODULE}.fine", "due": time.time() + due,
        "parked_at": time.time(), "reason": "eta", "queue": "celery", "body": body(task_id), "headers": headers,
    }  # fmt: skip
    parked = ParkedTask(**{**fields, **changes})
    parking_of(jobs).park(parked)
    return parked


def test_from_end_to_end(redis_jobs: Jobs) -> None:
    """Parked by a worker, listed, released by hand, and run; the next one is discarded, and its caller told."""
    redis_jobs.conf["recovery_park_after"] = 5
    cli = Cli(redis_jobs)
    redis_jobs.worker()
    first, second = (redis_jobs.send("fine", token, countdown=600) for token in ("a", "b"))
    eventually(lambda: parking_of(redis_jobs).count() == 2)
    assert first.id in cli("parked", "list").output
    assert "parked 2   overdue 0   first due in 9m" in cli("status").output
    assert cli("parked", "release", first.id, "--yes").output == "1 of 1 parked task released.\n"
    first.get(timeout=20)
    result = cli.json("parked", "discard", second.id, "--yes", "--note", "not any more")
    assert (result["selected"], result["done"], result["interrupted"]) == (1, 1, False)
    assert second.state == "REVOKED"
    assert cli("parked", "list").output == ""
    assert redis_jobs.ledger.lines("b") == []


def test_list(here: Here) -> None:
    """Soonest first, in pages, with what keeps a task that no queue takes."""
    for n in range(3):
        park(here.jobs, f"id-{n}", due=100 * n + 50)
    stuck = park(here.jobs, "stuck", due=-60)
    store = parking_of(here.jobs).store
    store.claim("t", (stuck.key,))
    store.unclaim("t", (stuck.key,), why="NO_ROUTE", pause=3600)
    listed = here.json("parked", "list", "--limit", "2")
    assert [one["id"] for one in listed["tasks"]] == ["id-0", "id-1"]
    more = here.json("parked", "list", "--cursor", listed["cursor"])
    assert [(one["id"], one["error"]) for one in more["tasks"]] == [("id-2", ""), ("stuck", "NO_ROUTE")]
    printed = here("parked", "list").output
    assert "not released, tried once: NO_ROUTE" in printed
    assert "1m ago" in printed
    assert re.search(r"in (50|4\d)s", printed)
    assert here.json("status")["parked"]["refused"] == 1
    assert "refused by the broker 1" in here("status").output


def test_filters(here: Here) -> None:
    """As asked for; all that is given must hold."""
    park(here.jobs, "a", due=60, queue="mail")
    park(here.jobs, "b", due=600, reason="retry")

    def ids(*words: str) -> list[str]:
        return [one["id"] for one in here.json("parked", "list", *words)["tasks"]]

    assert ids("--queue", "m*") == ids("--due-before", "+5m") == ids("--id", "a") == ["a"]
    assert ids("--reason", "retry") == ["b"]
    assert ids("--task", "*.fine") == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("list", "--task", "nope"), 1, "No parked task matches the filter."),
        (("release", "--task", "nope", "--yes"), 1, "Nothing was done."),
        (("discard", "--task", "nope", "--dry-run"), 1, "No parked task matches the filter."),
        (("release", "a", "nope", "--yes"), 4, "There is no parked task with the id nope. Nothing was done."),
        (("release", "--yes"), 2, "release needs ids or a filter"),
        (("discard", "--yes"), 2, "discard needs ids or a filter"),
        (("discard", "a"), 2, "Nobody to ask: say --yes"),
        (("list", "--due-before", "soon"), 2, "--due-before: expected unix seconds"),
        (("list", "--cursor", "x"), 2, "--cursor: expected what an earlier page printed"),
        (("relaese",), 2, "release"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    here: Here, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """On stderr, with its exit code, and nothing is changed."""
    park(here.jobs, "a")
    assert sentence in here("parked", *words, code=code).errors
    assert parking_of(here.jobs).count() == 1
    assert waiting(here.jobs) == 0


def test_an_empty_lot_is_no_failure(here: Here) -> None:
    """Where all are meant."""
    assert "There are no parked tasks." in here("parked", "list").errors
    assert "There is nothing to do." in here("parked", "release", "--all", "--yes").errors


def test_a_dry_run_does_nothing(here: Here) -> None:
    """It shows what would be done."""
    park(here.jobs, "a")
    park(here.jobs, "b")
    assert "Dry run: 2 parked tasks would be discarded." in here("parked", "discard", "--all", "--dry-run").output
    told = here.json("parked", "release", "--all", "--dry-run", "--limit", "1")
    assert (told["selected"], told["by_queue"]) == (1, {"celery": 1})
    assert parking_of(here.jobs).count() == 2


def test_what_a_worker_releases_is_passed_over(here: Here) -> None:
    """Done in part, with the reason."""
    taken = park(here.jobs, "a")
    park(here.jobs, "b")
    parking_of(here.jobs).store.claim("worker", (taken.key,))
    result = here.json("parked", "release", "--all", "--yes", code=5)
    assert (result["done"], result["skipped"]) == (1, {"being released by a worker": 1})


def test_many(here: Here) -> None:
    """More than fit one claim, each once."""
    for n in range(450):
        park(here.jobs, f"id-{n}")
    assert here.json("parked", "release", "--all", "--yes")["done"] == 450
    assert waiting(here.jobs) == 450
    assert parking_of(here.jobs).count() == 0


def test_the_broker_away(redis_jobs: Jobs) -> None:
    """Code 3; they stay parked."""
    park(redis_jobs, "a")
    env = {"CELERY_BROKER_URL": NOWHERE, "JOBS_CONF": json.dumps({"recovery_publish_timeout": 1})}
    cli = Cli(redis_jobs)
    ended = cli("parked", "release", "--all", "--yes", code=3, env=env)
    assert "The other tasks are parked as before." in ended.errors
    assert parking_of(redis_jobs).stats().overdue == 0
    assert parking_of(redis_jobs).count() == 1


def test_redis_away(redis_jobs: Jobs) -> None:
    """The store's address, code 3."""
    ended = Cli(redis_jobs)("parked", "list", code=3, env={"JOBS_CONF": json.dumps({"recovery_redis_url": NOWHERE})})
    assert "Redis at 127.0.0.1:1/0 does not answer" in ended.errors


def test_foreign_text_and_secrets(here: Here) -> None:
    """Control characters are spelled out, secrets are hidden."""
    evil = "\x1b[2J\nforged"
    park(here.jobs, evil, task=evil, queue=evil, reason="eta", body=body(password="hunter2"))
    for words in (("list",), ("list", "--json"), ("discard", "--all", "--dry-run")):
        printed = here("parked", *words)
        assert "\x1b" not in printed.output + printed.errors
        assert "\nforged" not in printed.output
        assert "hunter2" not in printed.output
