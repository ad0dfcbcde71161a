"""`celery -A app recovery checkpoints …` as an operator meets it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_recovery import Recovery
from celery_recovery.checkpoint import Checkpoint, CheckpointStore, Run, checkpoint_name
from celery_recovery.exceptions import CheckpointFenced
from tests.integration.jobs_client import Jobs
from tests.integration.test_cli import NOWHERE, Cli, Here, answered

pytestmark = pytest.mark.redis


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def store_of(jobs: Jobs) -> CheckpointStore:
    store = Recovery.of(jobs.app).checkpoints
    assert store is not None
    return store


def saved(
    jobs: Jobs, state: Any, *, task: str = "shop.load", task_id: str = "4711", key: str | None = None
) -> Checkpoint:
    """The checkpoint of a run that has saved this."""
    run = Run(task, task_id, "life", 0, 2, "w@host")
    made = Checkpoint(store_of(jobs), run, checkpoint_name(run, key), {})
    made.save(state)
    return made


def test_list(here: Here) -> None:
    """The one that was saved last in front; by name, id, or task."""
    saved(here.jobs, {"row": 17})
    saved(here.jobs, [1, 2], task="shop.mail", key="november")
    lines = here("checkpoints", "list").output.splitlines()
    assert lines[0].split() == ["NAME", "SAVED", "SAVES", "BYTES", "ATTEMPT", "TASK", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == ["key:shop.mail:november", "id:4711"]
    assert '{"row": 17}' in lines[2]
    for words, name in (
        (("4711",), "id:4711"),
        (("--task", "shop.m*"), "key:shop.mail:november"),
        (("key:*",), "key:"),
    ):
        assert here("checkpoints", "list", *words).output.splitlines()[1].startswith(name)
    here("checkpoints", "list", "nobody", code=1)


def test_none(here: Here) -> None:
    """It is said, and is no error."""
    assert "No task has a checkpoint now." in here("checkpoints", "list").errors


def test_show(here: Here) -> None:
    """By name or by the task's id; secrets are hidden; an unknown one has the code 4."""
    saved(here.jobs, {"row": 17, "api_token": "hunter2"})
    for name in ("4711", "id:4711"):
        text = here("checkpoints", "show", name).output
        assert "shop.load[4711], attempt 2" in text
        assert '"row": 17' in text
        assert "hunter2" not in text
    document = json.loads(here("checkpoints", "show", "4711", "--json").output)
    assert (document["state"]["row"], document["saves"]) == (17, 1)
    assert "Did you mean id:4711?" in here("checkpoints", "show", "id:4712", code=4).errors


def test_clear(here: Here) -> None:
    """Dry run, no question without a terminal, then done; the run that has it is told."""
    run = saved(here.jobs, 1)
    assert "1 checkpoint would be dropped." in here("checkpoints", "clear", "4711", "--dry-run").output
    here("checkpoints", "clear", "4711", code=2)
    here("checkpoints", "clear", "4711", "nobody", "--yes", code=4)
    assert store_of(here.jobs).get("id:4711") is not None
    document = json.loads(here("checkpoints", "clear", "4711", "--yes", "--json").output)
    assert document == {"dry_run": False, "selected": 1, "cleared": ["id:4711"]}
    with pytest.raises(CheckpointFenced):
        run.save(2)


def test_it_asks(redis_jobs: Jobs) -> None:
    """At a terminal."""
    saved(redis_jobs, 1)
    assert answered(Cli(redis_jobs), "n\n", "checkpoints", "clear", "4711").code == 6
    assert store_of(redis_jobs).names() == ["id:4711"]
    assert answered(Cli(redis_jobs), "y\n", "checkpoints", "clear", "4711").code == 0
    assert store_of(redis_jobs).names() == []


def test_redis_away(redis_jobs: Jobs) -> None:
    """The store's address, code 3."""
    env: dict[str, Any] = {"JOBS_CONF": f'{{"recovery_redis_url": "{NOWHERE}"}}'}
    assert "does not answer" in Cli(redis_jobs)("checkpoints", "list", code=3, env=env).errors


def test_foreign_text_is_harmless(here: Here) -> None:
    """A state is anybody's."""
    saved(here.jobs, {"name": "\x1b[2Jme\nforged"})
    for words in (("list",), ("show", "4711"), ("show", "4711", "--json")):
        printed = here("checkpoints", *words).output
        assert "\x1b" not in printed
        assert "\nforged" not in printed
