"""SIGKILL again and again: what a batch does once, what it repeats, and that nothing is missing."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable

import pytest

from celery_recovery import Filter
from celery_recovery.batch.policy import BatchPolicy
from tests.integration.jobs_client import Jobs, eventually
from tests.services import Worker

logger = logging.getLogger(__name__)

#: Items, bad ones among them, kills.
SIZES = [
    pytest.param(4_000, 7, 6, id="small"),
    pytest.param(100_000, 37, 50, id="full", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
]


@pytest.mark.faults
@pytest.mark.parametrize(("items", "bad", "kills"), SIZES)
def test_killed_at_random(
    worker: Callable[..., Worker], broker_url: str, other_redis_url: str, items: int, bad: int, kills: int
) -> None:
    """Every good item reaches the sink, every bad one is one letter, and a kill repeats at most one flush."""
    jobs = Jobs(worker, broker_url, other_redis_url)
    jobs.worker(module="tests.apps.batch_kills", concurrency=1)
    dice = random.Random(items)
    wrong = sorted(dice.sample(range(items), bad))
    moments = sorted(dice.sample(range(items // 50, items - items // 50), kills))
    client = jobs.ledger.client
    jobs.app.signature("tests.apps.batch_kills.work", args=("token", items, wrong)).apply_async(task_id="token")
    for runs, moment in enumerate(moments, 1):
        eventually(lambda n=moment: client.hlen("sink:token") >= n - bad, 120, f"{moment} items")
        eventually(lambda n=runs: client.llen("pids:token") >= n, 60, f"run {runs}")
        os.kill(int(client.lindex("pids:token", 0)), signal.SIGKILL)
    result = jobs.result("token").get(timeout=120)
    assert (result["total"], result["succeeded"], result["failed"]) == (items, items - bad, bad)
    good = {str(n) for n in range(items)} - {str(n) for n in wrong}
    assert client.hgetall("sink:token").keys() == good
    calls = [int(times) for times in client.hvals("calls:token")]
    again = sum(calls) - len(good)
    logger.info("%d items, %d bad, %d kills: %d items were worked on again", items, bad, kills, again)
    assert again <= kills * BatchPolicy().flush_every
    jobs.dead_letters.drain()
    letters = list(jobs.dead_letters.iterate(Filter(parent=("token",))))
    assert sorted(letter.batch["items"][0]["position"] for letter in letters) == wrong
    assert jobs.dead_letters.count() == bad
    assert client.llen("pids:token") == kills + 1
