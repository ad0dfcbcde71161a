"""Letters that wait for a person's word: taken, noted on, approved, rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_recovery import Filter
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.text import moment
from tests.integration.jobs_client import Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_operations import fill, states

pytestmark = pytest.mark.redis


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def listed(here: Here, *words: str, code: int = 0) -> set[str]:
    told = here("dlq", "list", *words, "--json", code=code).output
    return {one["id"] for one in json.loads(told)["letters"]} if code == 0 else set()


def test_take_and_assign(here):
    """What is taken is found under its owner; somebody else's is left alone, unless it is forced."""
    letters = here.jobs.dead_letters
    ids = fill(here.jobs, 4)
    letters.send_to_review(ids[:3])
    assert letters.assign(Filter(), "ada").done == 3
    assert letters.get(ids[3]).state.value == "failed"
    told = here("dlq", "take", *ids[:2], "--yes", code=5)
    assert "not done 2: somebody else's" in told.output
    assert listed(here, "--assignee", "ada") == set(ids[:3])
    here("dlq", "assign", ids[0], "--to", "bob", "--force", "--yes", "--note", "yours, I think")
    here("dlq", "assign", ids[1], "--to", "-", "--force", "--yes")
    assert listed(here, "--assignee", "ada") == {ids[2]}
    assert listed(here, "--assignee", "-", "--state", "review") == {ids[1]}
    assert listed(here, "--assignee", "-", "--id", ids[0], "--id", ids[1]) == {ids[1]}
    assert listed(here, "--assignee", "-", "--assignee", "ada", "--state", "review") == {ids[1], ids[2]}
    for words in (["dlq", "list"], ["dlq", "list", "--state", "review"]):
        table = [line.split() for line in here(*words).output.splitlines()]
        owner = {line[0]: line[2] for line in table if line and line[0] in ids}
        assert {one: owner[one] for one in ids[:3]} == {ids[0]: "bob", ids[1]: "-", ids[2]: "ada"}
    assert "ASSIGNEE" not in here("dlq", "list", "--state", "failed").output
    assert "ASSIGNEE" in here("dlq", "list", "--assignee", "-", "--state", "review").output
    shown = here("dlq", "show", ids[0]).output
    assert "yours, I think" in shown
    assert "bob" in shown
    here("dlq", "assign", ids[3], "--to", "bob", "--yes")
    assert letters.get(ids[3]).state.value == "review"


def test_approved_and_rejected(here):
    """An approval replays, a rejection discards; both need a reason, which stands on the letter and in the audit."""
    ids = fill(here.jobs, 3)
    here.jobs.dead_letters.send_to_review(ids[:2])
    here("dlq", "approve", ids[0], "--yes", code=2)
    here("dlq", "approve", ids[0], "--yes", "--note", " ", code=2)
    assert "1 of 1 letter replayed" in here("dlq", "approve", ids[0], "--yes", "--note", "checked with the bank").output
    here("dlq", "reject", ids[1], "--yes", "--note", "a test order")
    assert states(here.jobs) == {"failed": 1, "replayed": 1, "discarded": 1}
    assert "approved: checked with the bank" in here("dlq", "show", ids[0]).output
    assert "rejected: a test order" in here("dlq", "show", ids[1]).output
    here("dlq", "approve", ids[2], "--yes", "--note", "no", code=1)  # it does not wait for anybody's word
    entries = json.loads(here("audit", "--json").output)["entries"]
    assert {one["reason"] for one in entries if one["action"] == "replay begun"} == {"checked with the bank"}
    here.jobs.worker()
    eventually(lambda: here.jobs.dead_letters.get(ids[0]).state.value == "recovered")


def test_words_of_the_audit(here):
    """The audit says what the person did, in the words of the command line; its JSON has numbers and objects."""
    ids = fill(here.jobs, 4)
    letters = here.jobs.dead_letters
    letters.send_to_review(ids)
    here("dlq", "take", ids[0], "--yes")
    here("dlq", "assign", ids[1], "--to", "bob", "--yes")
    here("dlq", "approve", ids[0], "--yes", "--note", "fine")
    here("dlq", "reject", ids[1], "--yes", "--note", "a test")
    fingerprint = letters.groups()[0].fingerprint
    here("dlq", "ignore", fingerprint, "--for", "1h")
    for verb, action in (("take", "take"), ("assign", "assign"), ("approve", "approve"), ("reject", "reject"),
                         ("ignore", "group ignored")):  # fmt: skip
        told = here.json("audit", "--action", verb)["entries"]
        assert [one["action"] for one in told] == [action, action], verb
    approved = here.json("audit", "--action", "approve")["entries"][0]
    assert (approved["reason"], approved["selected"], approved["done"]) == ("fine", 1, 1)
    exported = [json.loads(line) for line in here("audit", "--export").output.splitlines()]
    [begun] = [one for one in exported if one["action"] == "replay begun"]
    assert begun["terms"]["states"] == ["review"]
    until = here.json("audit", "--action", "ignore")["entries"][0]["until"]
    assert isinstance(until, float)
    assert f"until={moment(until).replace(' ', 'T')}" in here("audit", "--action", "ignore").output


def test_annotated(here):
    """Notes add up, the last hundred are kept; they go with the letter."""
    [one] = fill(here.jobs, 1)
    letters = here.jobs.dead_letters
    for n in range(103):
        letters.annotate([one], f"note {n} \x1b[2J password=hunter2", by="ada")
    notes = letters.store.notes(one)
    assert (len(notes), notes[0]["by"]) == (100, "ada")
    shown = here("dlq", "show", one).output
    assert "note 102" in shown
    assert "hunter2" not in shown
    assert "\x1b" not in shown
    letters.discard([one])
    letters.store.max_age = 0
    letters.store.sweep()
    assert letters.store.notes(one) == []


@pytest.mark.parametrize(
    "words", [("take",), ("approve", "--note", "x"), ("reject", "--note", "x"), ("assign", "--to", "x")]
)
def test_dry_run(here, words):
    """A dry run shows what is meant, and does nothing."""
    here.jobs.dead_letters.send_to_review(fill(here.jobs, 2))
    assert "Dry run: 2 letters would be" in here("dlq", *words, "--all", "--dry-run").output
    assert states(here.jobs) == {"review": 2}
    assert here.jobs.dead_letters.audit.forgotten == 0


def test_reason_from_code(redis_jobs):
    """From code, too."""
    for act in (redis_jobs.dead_letters.approve, redis_jobs.dead_letters.reject):
        with pytest.raises(ConfigurationError, match="reason: expected a reason"):
            act(["a"], " ")


def test_mixed_selection(redis_jobs: Any) -> None:
    """A filter for approval finds what waits in review, and nothing else."""
    ids = fill(redis_jobs, 4)
    redis_jobs.dead_letters.send_to_review(ids[:2])
    assert redis_jobs.dead_letters.reject(Filter(), "noise").done == 2
    assert states(redis_jobs) == {"failed": 2, "discarded": 2}
