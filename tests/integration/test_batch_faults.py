"""Batches that are killed, stopped, paused, and spread over many workers: each item is done, and few are twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from celery import chord

from celery_recovery import Filter, LetterState
from celery_recovery.batch.fan_out import Part
from tests.integration.batches_client import Batches, numbers
from tests.integration.jobs_client import eventually
from tests.services import Worker


@pytest.fixture
def jobs(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Batches:
    return Batches(worker, broker_url, other_redis_url)


@pytest.fixture
def on_redis(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Batches:
    return Batches(worker, redis_url, other_redis_url)


@pytest.mark.parametrize("how", ["loop", "each"])
def test_an_outage_is_one_failure_of_the_task(on_redis: Batches, how: str) -> None:
    """No item is set aside: the task is tried again, and again, from there; having got further costs no attempt."""
    on_redis.worker(concurrency=1)
    special = {str(n): "away" for n in range(6, 30)}
    sent = on_redis.send(how, "token", 30, special, max_delay=0.05, outage_after=4)
    eventually(lambda: on_redis.begun("token") > 2 + 24 * (how == "loop"), 30, "a retry")
    on_redis.ledger.client.set("back:token", 1)
    assert sent.get(timeout=30)["status"] == "succeeded"
    assert on_redis.done("token") == numbers(30)
    assert on_redis.items("token") == []


@pytest.mark.faults
@pytest.mark.parametrize("how", ["loop", "each"])
def test_killed(jobs: Batches, how: str) -> None:
    """SIGKILL in the middle: what was done since the last flush is done again, and nothing else."""
    jobs.worker(concurrency=1)
    jobs.send(how, "token", 40, {"5": "bad", "27": "hang"}, flush_every=10)
    pid = int(eventually(lambda: jobs.ledger.client.get("pid:token"), what="the task"))
    jobs.ledger.client.set("go:token", 1)
    os.kill(pid, signal.SIGKILL)
    assert jobs.result("token").get(timeout=60)["total"] == 40
    done = jobs.done("token")
    assert done.keys() == numbers(40, 5).keys()
    again = sorted(int(n) for n, times in done.items() if times > 1)
    assert again == list(range(26, 27))  # flushed with the letter of 5, then at 16 and 26
    assert len(jobs.items("token")) == 1


def test_shut_down(jobs: Batches) -> None:
    """A warm shutdown does not wait for the rest: the batch goes back into its queue between two items."""
    first = jobs.worker(concurrency=1)
    jobs.send("loop", "token", 400, {str(n): "slow:0.1" for n in range(400)})
    eventually(lambda: len(jobs.done("token")) > 3, what="a beginning")
    first.stop()
    done = jobs.done("token")
    assert len(done) < 100
    assert jobs.result("token").state == "RETRY"
    jobs.ledger.client.set("fast:token", 1)
    jobs.worker(concurrency=1)
    eventually(lambda: len(jobs.done("token")) > len(done) + 3, 40, "its going on")
    assert jobs.done("token").most_common(1)[0][1] == 1, "nothing was done twice"
    saved = jobs.store.get("batch:1:id:token")
    assert saved is not None
    assert saved.attempt == 1


@pytest.mark.faults
def test_killed_more_often_than_it_has_attempts(jobs: Batches) -> None:
    """A batch that gets further each time is neither exhausted nor poison; one that dies at the same item is."""
    jobs.worker(concurrency=1)
    jobs.send("each", "token", 30, {str(n): "hang" for n in range(2, 20, 2)}, flush_every=1)
    for n in range(2, 20, 2):
        pid = int(eventually(lambda: jobs.ledger.client.getdel("pid:token"), 40, f"the task at {n}"))
        jobs.ledger.client.set(f"go:token:{n}", 1)
        os.kill(pid, signal.SIGKILL)
    assert jobs.result("token").get(timeout=60)["succeeded"] == 30
    assert jobs.done("token") == numbers(30)


@pytest.mark.faults
def test_dying_at_the_same_item(jobs: Batches) -> None:
    """It is exhausted, as any task is; its letter says where."""
    jobs.worker(concurrency=1)
    jobs.send("each", "token", 30, {"7": "die"}, flush_every=5)
    eventually(jobs.letters, 60, "its letter")
    letter = jobs.letter("token")
    assert letter.reason == "exhausted"
    assert jobs.ledger.lines("token").count("begin") == 4  # the first got further, and does not count
    saved = jobs.store.get("batch:1:id:token")
    assert saved is not None
    assert saved.state["done"] == 5


def test_fanned_out(jobs: Batches) -> None:
    """The parts run side by side; the task's result is that of all, and what follows it waits for all."""
    jobs.worker(concurrency=2)
    first = jobs.app.signature("tests.apps.batches.whole", args=("token", 25, {"3": "bad", "24": "bad"}, 10))
    then = jobs.app.signature("tests.apps.batches.after", args=("token",))
    followed = (first.set(task_id="token") | then).apply_async()
    result = followed.get(timeout=40)
    expected = {"batch": "fan_out", "status": "succeeded_with_failures", "parts": 3, "total": 25, "succeeded": 23}
    assert expected.items() <= result.items()
    assert jobs.result("token").get(timeout=10) == result
    assert jobs.done("token") == numbers(25, 3, 24)
    lines = jobs.ledger.lines("token")
    assert (lines.count("part"), lines.count("after")) == (3, 1)
    jobs.dead_letters.drain()
    letters = jobs.dead_letters.list(limit=10)
    assert sorted(letter.error.message for letter in letters) == ["row 24 is bad", "row 3 is bad"]
    jobs.dead_letters.edit([letter.id for letter in letters], ["item.do="])
    assert {letter.parent for letter in letters} == {"token"}
    jobs.dead_letters.replay(Filter(parent=("token",)), regroup=True)
    eventually(lambda: jobs.done("token") == numbers(25), what="the replay")
    eventually(lambda: jobs.store.names() == [], what="the end of all batches")


def test_fanned_out_and_killed(on_redis: Batches) -> None:
    """A part goes on where it stood; fanned out twice, no part does its work twice."""
    on_redis.worker(concurrency=2)
    on_redis.send("whole", "token", 20, {"13": "hang"}, 10)
    pid = int(eventually(lambda: on_redis.ledger.client.get("pid:token"), what="the second part"))
    eventually(lambda: on_redis.done("token")["9"], what="the first part")
    joint = eventually(lambda: on_redis.store.get("batch:1:id:token"), what="joint progress")
    assert joint.task == "tests.apps.batches.whole"
    assert (joint.state["total"], joint.state["done"]) == (20, 10)
    on_redis.ledger.client.set("go:token", 1)
    os.kill(pid, signal.SIGKILL)
    assert on_redis.result("token").get(timeout=40)["succeeded"] == 20
    done = on_redis.done("token")
    assert done.keys() == numbers(20).keys()
    assert [n for n, times in done.items() if times > 1] == ["10", "11", "12"]  # not flushed yet
    first = on_redis.app.signature("tests.apps.batches.part", args=([{"id": 0, "do": ""}], "token"))
    whose = Part("token", 0, 20, "tests.apps.batches.whole")
    again = first.apply_async(task_id=whose.id, headers={"recovery": whose.to_header()})
    eventually(lambda: on_redis.ledger.lines("token").count("part") == 4, what="the part, sent again")
    assert again.get(timeout=10)["succeeded"] == 10
    assert on_redis.done("token") == done


def test_in_a_chord(jobs: Batches) -> None:
    """The chord goes on with what succeeded; a replayed item is nobody's member, and is counted nowhere."""
    jobs.worker(concurrency=2)
    parts = [jobs.app.signature("tests.apps.batches.each", args=(name, 6, {"2": "bad"})) for name in ("one", "two")]
    body = jobs.app.signature("tests.apps.batches.total", args=("token",))
    assert chord(parts, body, app=jobs.app)().get(timeout=40) == 10
    jobs.dead_letters.drain()
    letters = jobs.dead_letters.list(limit=10)
    assert [(letter.group, letter.chords, letter.held) for letter in letters] == [(None, (), False)] * 2
    jobs.dead_letters.edit([letter.id for letter in letters], ["item.do="])
    jobs.dead_letters.replay([letter.id for letter in letters])
    for letter in letters:
        jobs.letter(letter.id, state=LetterState.RECOVERED)
    assert jobs.ledger.lines("token") == ["total"]


def test_a_soft_time_limit_is_a_pause(on_redis: Batches) -> None:
    """The task goes on in its next run, with the same attempt, as long as it gets further."""
    on_redis.worker(concurrency=1)
    special = {str(n): "slow:0.3" for n in range(20)}
    sent = on_redis.send("each", "token", 20, special, options={"soft_time_limit": 1})
    assert sent.get(timeout=60)["succeeded"] == 20
    assert on_redis.begun("token") > 4  # more runs than the task has attempts
    assert on_redis.done("token") == numbers(20)


@pytest.mark.faults
def test_its_worker_is_killed(jobs: Batches) -> None:
    """All of it, with SIGKILL: another worker goes on."""
    first = jobs.worker(concurrency=1)
    jobs.send("each", "token", 40, {"27": "hang"}, flush_every=10)
    eventually(lambda: jobs.ledger.client.get("pid:token"), what="the task")
    jobs.ledger.client.set("go:token", 1)
    first.kill()
    jobs.worker(concurrency=1)
    assert jobs.result("token").get(timeout=90)["total"] == 40
    assert sorted(int(n) for n, times in jobs.done("token").items() if times > 1) == list(range(20, 27))
    assert jobs.done("token").keys() == numbers(40).keys()


def test_shut_down_softly(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> None:
    """SIGQUIT with a soft shutdown, as platforms that give a worker some seconds use it."""
    jobs = Batches(worker, redis_url, other_redis_url, conf={"worker_soft_shutdown_timeout": 20})
    first = jobs.worker(concurrency=1)
    jobs.send("each", "token", 400, {str(n): "slow:0.1" for n in range(400)})
    eventually(lambda: len(jobs.done("token")) > 3, what="a beginning")
    os.kill(first.pid, signal.SIGQUIT)
    eventually(lambda: not first.running, 30, "its end")
    done = jobs.done("token")
    assert len(done) < 100
    saved = jobs.store.get("batch:1:id:token")
    assert saved is not None
    assert saved.state["done"] == len(done)
    jobs.worker(concurrency=1)
    eventually(lambda: len(jobs.done("token")) > len(done) + 3, 40, "its going on")
    assert jobs.done("token").most_common(1)[0][1] == 1, "nothing was done twice"
