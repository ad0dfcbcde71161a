"""Everything that a Celery team may already use: pools, serialisers, options. A failing task keeps it all."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery.exceptions import TimeLimitExceeded
from celery.result import AsyncResult
from kombu import Exchange, Queue

from celery_recovery import Filter, LetterState
from tests.integration.jobs_client import MODULE, Jobs, eventually


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_every_pool_retries_dead_letters_and_replays(jobs: Jobs, pool: str) -> None:
    """Prefork is not special."""
    worker = jobs.worker(pool=pool)
    assert jobs.send("flaky", "a").get(timeout=20) == "a"
    sent = jobs.send("broken", "b", "network")
    jobs.letter(sent.id, reason="exhausted")
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert worker.stop() == 0, "a worker with our threads in it still stops in order"


def test_the_worker_stops_in_order(jobs: Jobs) -> None:
    """A warm shutdown ends the intake too, and writes the counters."""
    worker = jobs.worker()
    jobs.send("fine", "t").get(timeout=20)
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
def test_serialisers(jobs: Jobs, serializer: str) -> None:
    """Retried, dead-lettered and replayed without the body ever being understood by a tool."""
    jobs.worker()
    value = {"n": 1, "when": datetime(2026, 1, 2, tzinfo=timezone.utc)} if serializer == "pickle" else {"n": 1}
    sent = jobs.sig("broken", "t", "network", value).apply_async(serializer=serializer)
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1", "retries=2"]
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert eventually(lambda: jobs.result(sent.id).successful() and jobs.result(sent.id).result) == value


def test_what_json_cannot_write_is_retried_all_the_same(jobs: Jobs) -> None:
    """A message sent with pickle is retried with pickle, even if the task's own serialiser is JSON."""
    jobs.worker()
    value = {"a", "set"}
    sent = jobs.sig("broken", "t", "network", value).apply_async(serializer="pickle")
    eventually(lambda: len(jobs.ledger.lines("t")) >= 2)
    jobs.ledger.fix("t")
    eventually(lambda: jobs.result(sent.id).state in {"SUCCESS", "FAILURE"})


def test_a_task_in_another_queue_comes_back_to_it(jobs: Jobs) -> None:
    """Retry and replay know the queue by name."""
    jobs.worker(queues=["orders"])
    sent = jobs.sig("broken", "t", "network").apply_async(queue="orders")
    letter = jobs.letter(sent.id, reason="exhausted")
    assert letter.origin.queue == "orders"
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_to_another_queue(jobs: Jobs) -> None:
    """`to_queue` sends the replay elsewhere."""
    jobs.worker(queues=["celery"])
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)), to_queue="careful")
    jobs.worker(queues=["careful"])
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_a_custom_exchange_and_its_routing_keys(jobs: Jobs) -> None:
    """A message published to an exchange of the user's goes back to the queue it came from."""
    exchange = Exchange("shop", type="topic")
    queue = Queue("shop.orders", exchange, routing_key="order.#")
    with jobs.app.connection_for_write() as connection:
        queue(connection.default_channel).declare()
    jobs.worker(queues=["shop.orders"], env={"JOBS_TOPIC": "1"})
    with jobs.app.producer_or_acquire() as producer:
        sent = jobs.sig("broken", "t", "network").apply_async(
            exchange=exchange, routing_key="order.new", producer=producer, declare=[queue], queue=None
        )
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1", "retries=2"]
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_priority_and_stamps_and_headers_survive(jobs: Jobs) -> None:
    """The user's own headers, stamps and priority are on the letter and on the replay."""
    jobs.worker()
    options: dict[str, Any] = {"headers": {"x-tenant": "acme", "trace": "abc"}, "priority": 3}
    sig = jobs.sig("broken", "t", "network")
    sig.stamp(release="2026.4")
    sent = sig.apply_async(**options)
    letter = jobs.letter(sent.id, reason="exhausted")
    assert letter.headers["x-tenant"] == "acme"
    assert letter.headers["trace"] == "abc"
    assert letter.headers["stamps"]["release"] == ["2026.4"] or letter.headers["stamps"]["release"] == "2026.4"
    assert letter.origin.priority == 3
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_a_retry_never_starts_after_expires(jobs_with: Callable[..., Jobs]) -> None:
    """A retry that would only be thrown away is a dead letter instead, and its replay does not expire."""
    jobs = jobs_with(recovery_policies={"network": {"max_attempts": 5, "base_delay": 30, "max_delay": 30}})
    jobs.worker()
    sent = jobs.sig("broken", "t", "network").apply_async(expires=10)
    letter = jobs.letter(sent.id, reason="expires")
    assert letter.headers.get("expires") is None
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_an_eta_is_waited_for_once(jobs: Jobs) -> None:
    """The first start waits for its ETA; retries and replays do not wait for it again."""
    jobs.worker()
    due = datetime.now(timezone.utc) + timedelta(seconds=1)
    sent = jobs.sig("broken", "t", "network").apply_async(eta=due)
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.times("t")[0] >= due.timestamp() - 0.1
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


def test_ignored_results_stay_ignored(jobs: Jobs) -> None:
    """`ignore_result` holds through retries; the letter does not depend on a stored result."""
    jobs.worker()
    sent = jobs.sig("broken", "t", "network").apply_async(ignore_result=True)
    jobs.letter(sent.id, reason="exhausted")
    assert AsyncResult(sent.id, app=jobs.app).state == "PENDING"


def test_a_soft_time_limit_is_a_failure_like_any_other(jobs: Jobs) -> None:
    """It is raised in the body, so it is classified and retried; the time limit travels with the retry."""
    jobs.worker()
    sent = jobs.sig("slow", "t", 5).apply_async(soft_time_limit=1)
    letter = jobs.letter(sent.id, reason="exhausted")
    assert letter.error.exception.endswith("SoftTimeLimitExceeded")
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1", "retries=2"]


def test_late_acknowledgement(jobs_with: Callable[..., Jobs]) -> None:
    """`task_acks_late` changes nothing in what becomes of a failure."""
    jobs = jobs_with(task_acks_late=True)
    jobs.worker()
    assert jobs.send("flaky", "a", 2).get(timeout=20) == "a"
    sent = jobs.send("broken", "b", "network")
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("b") == ["retries=0", "retries=1", "retries=2"]


@pytest.mark.rabbitmq
def test_quorum_queues(worker: Callable[..., Any], rabbit_url: str, other_redis_url: str) -> None:
    """Task queue and dead-letter queue as quorum queues: retried, dead-lettered, replayed."""
    conf = {
        "task_default_queue_type": "quorum",
        "task_default_queue": "q",
        "recovery_dead_letter_queue_type": "quorum",
        "worker_detect_quorum_queues": True,
    }
    jobs = Jobs(worker, rabbit_url, other_redis_url, conf=conf)
    jobs.worker()
    assert jobs.send("flaky", "a", 2).get(timeout=30) == "a"
    sent = jobs.send("broken", "b", "network")
    letter = jobs.letter(sent.id, reason="exhausted")
    assert letter.origin.queue == "q"
    jobs.ledger.fix("b")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


@pytest.mark.rabbitmq
def test_native_delayed_delivery(worker: Callable[..., Any], rabbit_url: str, other_redis_url: str) -> None:
    """With topic exchanges and quorum queues Celery delays in the broker; the origin stays readable all the same."""
    conf = {
        "task_default_queue_type": "quorum",
        "task_default_queue": "q",
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "q",
    }
    jobs = Jobs(worker, rabbit_url, other_redis_url, conf=conf)
    jobs.worker()
    assert jobs.send("flaky", "soon", 2).get(timeout=30) == "soon", "a delay below a second is rounded up, not refused"
    sent = jobs.sig("by_hand", "t", 1, 2).apply_async()
    letter = jobs.letter(sent.id, reason="exhausted")
    assert letter.origin.queue == "q"
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1", "retries=2"]
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert MODULE, TimeLimitExceeded


def test_a_message_with_no_way_back_is_dead_lettered(redis_jobs: Jobs) -> None:
    """An exchange that the worker's app knows nothing of: on Redis a retry through it would vanish without a word."""
    jobs = redis_jobs
    queue = Queue("shop.orders", Exchange("shop", type="topic"), routing_key="order.#")
    worker = jobs.worker(queues=["shop.orders"])
    with jobs.app.producer_or_acquire() as producer:
        queue(producer.channel).declare()
        sent = jobs.sig("broken", "t", "network").apply_async(
            exchange=queue.exchange, routing_key="order.new", producer=producer, declare=[queue], queue=None
        )
    jobs.letter(sent.id)
    assert "no queue is bound to the exchange 'shop'" in worker.log
