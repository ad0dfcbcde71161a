"""The result backend is away, or refuses: nothing is lost, nothing runs twice, nothing stays unacknowledged."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from celery import chord
from kombu.exceptions import EncodeError

from celery_recovery import Filter
from tests.integration.jobs_client import eventually
from tests.integration.results_client import Results
from tests.integration.test_parking import unacknowledged
from tests.services import RedisServer, Worker

pytestmark = pytest.mark.faults

Make = Callable[..., Results]


@pytest.fixture
def results(worker: Callable[..., Worker], redis_url: str, other_redis_url: str, own_redis: RedisServer) -> Make:
    """Broker on Redis, the backend apart; with settings."""

    def make(**conf: object) -> Results:
        return Results(worker, redis_url, other_redis_url, own_redis, conf)

    return make


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_success_and_failure_on_every_pool(results: Make, pool: str) -> None:
    """Bodies, hooks, signals and errbacks once; results late, not lost; news dropped; the queue empty."""
    jobs = results()
    running = jobs.worker(pool=pool)
    jobs.server.kill()
    links = [jobs.task("follow", "after"), jobs.task("follow", "after too")]
    fine = jobs.task("fine", "fine", 42).apply_async(link=links)
    early = jobs.task("early", "early", 43).apply_async()
    wrong = jobs.task("wrong", "wrong").apply_async(
        link_error=[jobs.task("mourn").clone(kwargs={"token": "e"}), jobs.task("mourn_by_id")]
    )
    jobs.until("fine", "run", "on_success", "task_success")
    jobs.until("early", "run", "on_success", "task_success")
    jobs.until("wrong", "run", "on_failure ValueError", "task_failure")
    news = [jobs.task(name, name).apply_async() for name in ("tracked", "telling")]
    for one, name in zip(news, ("tracked", "telling"), strict=True):
        jobs.until(name, "run", "on_success", "task_success")
        assert running.wait_log(rf"{one.id}\]: state (STARTED|PROGRESS) was not stored")
    jobs.until("after", "follow 42")
    jobs.until("after too", "follow 42")
    jobs.until("e", "mourn ValueError")
    jobs.until(wrong.id, "mourn_by_id")
    assert jobs.count_owed() >= 3
    jobs.server.start()
    assert jobs.ready(fine.id) == ("SUCCESS", 42)
    assert jobs.ready(early.id) == ("SUCCESS", 43)
    assert [jobs.ready(one.id) for one in news] == [("SUCCESS", "tracked"), ("SUCCESS", "telling")]
    state, error = jobs.ready(wrong.id)
    assert (state, type(error), str(error)) == ("FAILURE", ValueError, "quantity must be positive, password=hunter2")
    assert "hunter2" not in "".join(line for line in running.log.splitlines() if "kept in" in line)
    eventually(lambda: jobs.count_owed() == 0)
    jobs.drained(running)
    assert jobs.counts("fine") == {"run": 1, "on_success": 1, "task_success": 1}


@pytest.mark.rabbitmq
def test_with_rabbitmq(
    worker: Callable[..., Worker], rabbit_url: str, other_redis_url: str, own_redis: RedisServer
) -> None:
    """Nothing stays unacknowledged: what the worker leaves behind would be in the queue again."""
    jobs = Results(worker, rabbit_url, other_redis_url, own_redis)
    running = jobs.worker()
    jobs.server.kill()
    fine, wrong = jobs.task("fine", "fine", 1).apply_async(), jobs.task("wrong", "wrong").apply_async()
    jobs.until("fine", "run", "on_success", "task_success")
    jobs.until("wrong", "run", "on_failure ValueError", "task_failure")
    jobs.server.start()
    assert jobs.ready(fine.id) == ("SUCCESS", 1)
    assert jobs.ready(wrong.id)[0] == "FAILURE"
    jobs.drained(running)


def test_a_chord_whose_members_are_owed_is_completed_once(results: Make) -> None:
    """A settled result counts for its chord like one that was stored at once; the body of the chord runs once."""
    jobs = results()
    header = [jobs.app.signature("tests.apps.results.fine", (f"m{n}", n)) for n in range(3)]
    body = jobs.app.signature("tests.apps.results.gathered", kwargs={"token": "body"})
    sent = chord(header, body, app=jobs.app).apply_async().id
    gc.collect()  # the objects of the header's results unsubscribe, and would wait for a backend that is away
    jobs.server.kill()
    running = jobs.worker()
    for n in range(3):
        jobs.until(f"m{n}", "run", "on_success", "task_success")
    jobs.server.start()
    assert jobs.ready(sent) == ("SUCCESS", 3)
    assert jobs.counts("body") == {"gathered [0, 1, 2]": 1}
    jobs.drained(running)


def test_what_a_killed_worker_owes_is_settled_by_another(results: Make) -> None:
    """The outcome is in the recovery store before the message is acknowledged; the body does not run again."""
    jobs = results()
    first = jobs.worker()
    jobs.server.kill()
    sent = jobs.task("fine", "fine", 7).apply_async()
    jobs.until("fine", "run", "on_success", "task_success")
    eventually(lambda: not unacknowledged(jobs), what="the acknowledgement")  # it comes after the last signal
    first.kill()
    assert jobs.count_owed() == 1
    jobs.server.start()
    second = jobs.worker()
    assert jobs.ready(sent.id) == ("SUCCESS", 7)
    jobs.drained(second)
    assert jobs.counts("fine")["run"] == 1


def test_both_are_away(results: Make, own_redis: RedisServer) -> None:
    """Backend and recovery store in one Redis: kept in memory, said with CRITICAL, stored when it is back."""
    jobs = results(recovery_redis_url=own_redis.url(1), recovery_result_timeout=1)
    running = jobs.worker(concurrency=1)
    jobs.server.kill()
    sent = jobs.task("fine", "fine", {"password": "hunter2"}).apply_async()
    jobs.until("fine", "run", "on_success", "task_success")
    assert running.wait_log(r"CRITICAL.*SUCCESS \{'password': '\*\*\*'\}; kept in this process's memory only")
    jobs.server.start()
    assert jobs.ready(sent.id) == ("SUCCESS", {"password": "hunter2"})
    jobs.drained(running)
    assert "is lost" not in running.log


def test_a_result_that_is_lost_is_said(results: Make, own_redis: RedisServer) -> None:
    """The worker ends while backend and store are still away: the last line says which result went with it."""
    jobs = results(recovery_redis_url=own_redis.url(1), recovery_result_timeout=1)
    running = jobs.worker(concurrency=1)
    jobs.server.kill()
    sent = jobs.task("fine", "fine", 1).apply_async()
    assert running.wait_log("kept in this process's memory only")
    running.stop()
    assert f"[{sent.id}]: its SUCCESS is lost with this process" in running.log


def test_the_main_process_goes_on(results: Make) -> None:
    """A hard time limit strikes while the backend is away: the main process owes the failure and runs other tasks."""
    jobs = results(recovery_policies={"system": 1})
    running = jobs.worker(concurrency=1)
    jobs.server.kill()
    late = jobs.task("killed", "killed").apply_async(time_limit=1)
    next_one = jobs.task("fine", "next", 1).apply_async()
    jobs.until("next", "run", "on_success", "task_success")
    jobs.server.start()
    assert jobs.ready(next_one.id) == ("SUCCESS", 1)
    assert jobs.ready(late.id)[0] == "FAILURE"
    assert jobs.letter(late.id).error.exception == "billiard.exceptions.TimeLimitExceeded"
    jobs.drained(running)


def test_a_result_that_cannot_be_serialised(results: Make) -> None:
    """The caller sees the EncodeError; the completed work leaves a dead letter that says it, and does not run again."""
    jobs = results()
    running = jobs.worker(pool="threads")
    sent = jobs.task("unserialisable", "u").apply_async()
    state, error = jobs.ready(sent.id)
    assert (state, type(error)) == ("FAILURE", EncodeError)
    letter = jobs.letter(sent.id, reason="not_retryable")
    assert "the task succeeded, but its result could not be stored" in letter.error.message
    jobs.until("u", "run", "on_failure EncodeError", "task_failure")
    jobs.drained(running)


def test_a_replay_whose_result_is_refused(results: Make) -> None:
    """It has no result either: its letter is dead again, and not recovered."""
    jobs = results()
    jobs.worker(pool="threads")
    sent = jobs.task("unserialisable", "u").apply_async()
    jobs.letter(sent.id)
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, replays=1, state="failed")


@pytest.mark.slow
def test_a_backend_that_hangs(results: Make) -> None:
    """SIGSTOP: connections stay open and nothing answers. One task waits for one answer; the next are owed at once."""
    jobs = results()
    running = jobs.worker(concurrency=1)
    warm = jobs.task("fine", "warm", 0).apply_async()
    assert jobs.ready(warm.id) == ("SUCCESS", 0)
    jobs.server.pause()
    sent = [jobs.task("fine", f"t{n}", n).apply_async() for n in range(20)]
    for n in range(20):
        jobs.until(f"t{n}", "run", "on_success", "task_success", timeout=60)
    jobs.server.resume()
    assert [jobs.ready(one.id) for one in sent] == [("SUCCESS", n) for n in range(20)]
    jobs.drained(running)
