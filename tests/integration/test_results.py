"""The result backend is away, or refuses: nothing is lost, nothing runs twice, nothing stays unacknowledged."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from celery import chain, chord
from kombu.exceptions import EncodeError

from celery_recovery import Filter
from tests.integration.jobs_client import eventually
from tests.integration.results_client import Results
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
    """Bodies, hooks, signals and errbacks once; results late, not lost; the queue empty."""
    jobs = results()
    running = jobs.worker(pool=pool)
    jobs.server.kill()
    fine = jobs.task("fine", "fine", 42).apply_async(link=[jobs.task("follow", "after"), jobs.task("follow", "after too")])
    early = jobs.task("early", "early", 43).apply_async()
    wrong = jobs.task("wrong", "wrong").apply_async(
        link_error=[jobs.task("mourn").clone(kwargs={"token": "e"}), jobs.task("mourn_by_id")]
    )
    jobs.until("fine", "run", "on_success", "task_success")
    jobs.until("early", "run", "on_success", "task_success")
    jobs.until("wrong", "run", "on_failure ValueError", "task_failure")
    jobs.until("after", "follow 42")
    jobs.until("after too", "follow 42")
    jobs.until("e", "mourn ValueError")
    jobs.until(wrong.id, "mourn_by_id")
    assert jobs.count_owed() >= 3
    jobs.server.start()
    assert jobs.ready(fine.id) == ("SUCCESS", 42)
    assert jobs.ready(early.id) == ("SUCCESS", 43)
    state, error = jobs.ready(wrong.id)
    assert (state, type(error), str(error)) == ("FAILURE", ValueError, "quantity must be positive, password=hunter2")
    assert "hunter2" not in "".join(line for line in running.log.splitlines() if "kept in" in line)
    eventually(lambda: jobs.count_owed() == 0)
    jobs.drained(running)
    assert jobs.counts("fine") == {"run": 1, "on_success": 1, "task_success": 1}
