"""Chains, groups and chords around a task that dies and is brought back. On both brokers, Redis as result backend."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from celery_recovery import Filter, LetterState
from celery_recovery.actions import QUARANTINED
from tests.integration.jobs_client import Jobs, eventually

MODULE = "tests.apps.jobs"


def test_a_chain_goes_on_after_a_retry(jobs: Jobs) -> None:
    """A recovered step is a step like any other."""
    jobs.worker()
    result = chain(jobs.sig("flaky", "t"), jobs.sig("fine")).apply_async()
    assert result.get(timeout=20) is None
    eventually(lambda: jobs.ledger.lines("t") == ["run", "run", "run"])


def test_a_chain_goes_on_after_a_replay(jobs: Jobs) -> None:
    """The letter carries the rest of its chain."""
    jobs.worker()
    steps = chain(jobs.sig("broken", "t", value=5), jobs.sig("add", 2), jobs.sig("add", 10))
    result = steps.apply_async()
    first = result.parent.parent
    jobs.letter(first.id)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(first.id,)))
    assert eventually(lambda: jobs.result(result.id).state == "SUCCESS" and jobs.result(result.id).result) == 17


def test_a_group_is_complete_when_its_members_have_recovered(jobs: Jobs) -> None:
    """Retries inside a group need no attention."""
    jobs.worker()
    result = group(jobs.sig("flaky", f"t{n}") for n in range(5)).apply_async()
    assert result.get(timeout=20) == [f"t{n}" for n in range(5)]


def test_a_held_chord_member_replayed_lets_the_body_run_once(jobs: Jobs) -> None:
    """By default a chord waits for its dead member: the body runs once, in order, after the replay."""
    jobs.worker()
    header = [jobs.sig("fine", "a", 1), jobs.sig("broken", "b", value=2), jobs.sig("fine", "c", 3)]
    result = chord(header)(jobs.sig("total", token="body"))
    member = result.parent.results[1]
    letter = jobs.letter(member.id)
    assert letter.held
    assert eventually(lambda: jobs.result(member.id).state == QUARANTINED)
    assert jobs.ledger.lines("body") == []
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(member.id,)))
    assert eventually(lambda: jobs.result(result.id).state == "SUCCESS" and jobs.result(result.id).result) == 6
    assert jobs.ledger.lines("body") == ["total 6"]
    jobs.letter(member.id, state=LetterState.RECOVERED)


def test_a_replay_that_dies_again_keeps_the_chord_waiting(jobs: Jobs) -> None:
    """Any number of replays, one body."""
    jobs.worker()
    result = chord([jobs.sig("fine", "a", 1), jobs.sig("broken", "b", value=2)])(jobs.sig("total", token="body"))
    member = result.parent.results[1]
    jobs.letter(member.id)
    jobs.dead_letters.replay(Filter(ids=(member.id,)))
    jobs.letter(member.id, replays=1, state=LetterState.FAILED)
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(member.id,)))
    jobs.letter(member.id, state=LetterState.RECOVERED)
    eventually(lambda: jobs.ledger.lines("body") == ["total 3"])


def test_a_held_member_discarded_fails_the_chord(jobs: Jobs) -> None:
    """A person's no is an end: whoever waits for the chord learns of it, and errbacks fire."""
    jobs.worker()
    body = jobs.sig("total", token="body").on_error(jobs.sig("noted_error", token="errors"))
    result = chord([jobs.sig("fine", "a", 1), jobs.sig("broken", "b")])(body)
    member = result.parent.results[1]
    jobs.letter(member.id)
    jobs.dead_letters.discard(Filter(ids=(member.id,)), reason="not needed")
    eventually(lambda: jobs.result(result.id).state == "FAILURE")
    with pytest.raises(ChordError, match="quantity must be positive"):
        jobs.result(result.id).get()
    jobs.letter(member.id, state=LetterState.DISCARDED)
    assert jobs.ledger.lines("body") == []
    eventually(lambda: jobs.ledger.lines("errors"))


def test_a_chain_inside_a_chord_is_held_at_any_step(jobs: Jobs) -> None:
    """The first step of a chain in a chord's header holds the chord as its last one would."""
    jobs.worker()
    header = [chain(jobs.sig("broken", "b", value=2), jobs.sig("add", 40)), jobs.sig("fine", "a", 1)]
    result = chord(header)(jobs.sig("total", token="body"))
    letter = eventually(lambda: jobs.dead_letters.list(Filter(), limit=1))[0]
    assert letter.held
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(letter.id,)))
    eventually(lambda: jobs.ledger.lines("body") == ["total 43"])
    assert result.get(timeout=20) == 43


def test_on_fail_the_chord_fails_at_once(jobs_with: Callable[..., Jobs]) -> None:
    """With "fail" everything is as in plain Celery: a letter, and a chord that has failed."""
    jobs = jobs_with(recovery_on_dead_letter="fail")
    jobs.worker()
    result = chord([jobs.sig("fine", "a", 1), jobs.sig("broken", "b")])(jobs.sig("total", token="body"))
    eventually(lambda: jobs.result(result.id).state == "FAILURE")
    with pytest.raises(ChordError):
        jobs.result(result.id).get()
    assert not jobs.letter(result.parent.results[1].id).held


def test_on_hold_a_single_task_waits_too(jobs_with: Callable[..., Jobs]) -> None:
    """With "hold" no caller sees a failure until a person has decided."""
    jobs = jobs_with(recovery_on_dead_letter="hold")
    jobs.worker()
    sent = jobs.send("broken", "t")
    assert jobs.letter(sent.id).held
    assert eventually(lambda: jobs.result(sent.id).state == QUARANTINED)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    assert sent.get(timeout=20) == "t"


def test_a_chunk_with_a_bad_item_is_not_lost(jobs: Jobs) -> None:
    """Chunks of recoverable tasks fail as a whole, and come back as a whole."""
    jobs.worker()
    task = jobs.sig("broken")
    chunks = jobs.app.signature("celery.starmap", kwargs={"task": task, "it": [["a"], ["b"]]})
    jobs.ledger.fix("a")
    sent = chunks.apply_async()
    jobs.letter(sent.id)
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    assert eventually(lambda: jobs.result(sent.id).state == "SUCCESS" and jobs.result(sent.id).result) == ["a", "b"]


def test_links_fire_once_after_a_replay(jobs: Jobs) -> None:
    """`link` belongs to the success, whenever that comes."""
    jobs.worker()
    sent = jobs.sig("broken", "t").apply_async(link=jobs.sig("fine"))
    jobs.letter(sent.id)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    eventually(lambda: jobs.ledger.lines("t") == ["retries=0", "retries=0", "run"])


def test_a_held_chord_outlives_the_results_expiry(jobs_with: Callable[..., Jobs]) -> None:
    """The keys of a chord expire in Celery after `result_expires`; while a member is held they are kept alive."""
    jobs = jobs_with(result_expires=6)
    jobs.worker()
    result = chord([jobs.sig("fine", "a", 1), jobs.sig("broken", "b", value=2)])(jobs.sig("total", token="body"))
    member = result.parent.results[1]
    jobs.letter(member.id)
    died = time.monotonic()
    eventually(lambda: time.monotonic() - died > 12, what="twice the expiry")
    jobs.ledger.fix("b")
    replayed = jobs.dead_letters.replay(Filter(ids=(member.id,)))
    assert not replayed.warnings
    eventually(lambda: jobs.ledger.lines("body") == ["total 3"])
