"""Kill -9 between two writes; broker or Redis away at the worst moment. Afterwards the books balance."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from celery_recovery import Filter, LetterState, Recovery
from tests.apps.jobs import Seconds
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RabbitServer, RedisServer, Service, Worker

pytestmark = pytest.mark.faults

EXCHANGE = "celery_recovery.dead_letters.exchange:Publisher"
STORE = "celery_recovery.dead_letters.store:DeadLetterStore"


def crash(point: str, when: str) -> dict[str, str]:
    return {"JOBS_CRASH": f"{point}:{when}"}


def test_killed_after_the_retry_was_published(jobs: Jobs) -> None:
    """The next attempt is on its way, whatever Celery thinks of the child that died."""
    jobs.worker(env=crash(f"{EXCHANGE}.publish_signature", "after"))
    jobs.send("flaky", "t", 1)
    eventually(lambda: jobs.ledger.lines("t") == ["run", "run"])


def test_killed_after_the_letter_was_published(jobs: Jobs) -> None:
    """The letter is there, once; its replay runs once."""
    jobs.worker(env=crash(f"{EXCHANGE}.publish_letter", "after"))
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    assert jobs.letters() == 1
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert jobs.ledger.lines("t") == ["retries=0", "retries=0"]


def test_intake_killed_between_store_and_acknowledgement(jobs: Jobs) -> None:
    """The whole worker dies with the letter stored but not acknowledged: it is delivered again, and known."""
    env = {**crash(f"{STORE}.add_many", "after"), "JOBS_VISIBILITY": "1"}
    first = jobs.worker(env=env)
    sent = jobs.send("broken", "t")
    eventually(lambda: not first.running)
    jobs.worker(env=env)
    jobs.letter(sent.id)
    eventually(lambda: jobs.dead_letters.stats().totals.get("duplicate", 0) == 1, what="the second delivery")
    assert jobs.letters() == 1


def test_intake_killed_before_the_store_knew(jobs: Jobs) -> None:
    """The letter goes back to its queue and into the store from there."""
    env = {**crash(f"{STORE}.add_many", "before"), "JOBS_VISIBILITY": "1"}
    first = jobs.worker(env=env)
    sent = jobs.send("broken", "t")
    eventually(lambda: not first.running)
    jobs.worker(env=env)
    jobs.letter(sent.id)
    assert jobs.letters() == 1


def test_a_replayed_task_killed_when_its_letter_is_told(jobs: Jobs) -> None:
    """The result was stored before its process died: it does not run again, and its letter is told."""
    jobs.worker(env=crash(f"{STORE}.recovered", "before"))
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert jobs.ledger.lines("t") == ["retries=0", "retries=0"]


def test_a_second_copy_of_a_replay_is_dropped(jobs: Jobs) -> None:
    """Two publications of one replay, as a killed and repeated operation leaves them: the first to start wins."""
    worker = jobs.worker()
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    jobs.ledger.fix("t")
    letters = jobs.dead_letters
    (claim,) = letters.store.claim([sent.id], "operation-1")
    assert claim.letter is not None
    for _ in range(2):
        copy = claim.letter.message()._asdict()
        letters.publisher.publish(copy.pop("body"), **copy)
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert worker.wait_log("dropped: replay_twin")
    assert jobs.ledger.lines("t") == ["retries=0", "retries=0"]


def test_the_dead_letter_queue_is_deleted_under_way(jobs_with: Callable[..., Jobs]) -> None:
    """A broker confirms or swallows what it can route nowhere; the next letter finds the queue made again."""
    jobs = jobs_with(recovery_intake=False)
    jobs.worker(concurrency=1)
    first = jobs.send("broken", "a")
    jobs.letter(first.id)
    with jobs.app.connection_for_write() as connection:
        queue = Recovery.of(jobs.app).dead_letter_queue(connection.default_channel)
        queue.delete()
        if hasattr(connection.default_channel, "client"):
            connection.default_channel.client.delete("_kombu.binding.celery.dead_letters")
    second = jobs.send("broken", "b")
    jobs.letter(second.id)


def test_a_soft_time_limit_does_not_strike_recovery(
    worker: Callable[..., Worker], own_redis: RedisServer, redis_url: str
) -> None:
    """The body failed within its limit; that the retry had to wait for the broker is not the task's time."""
    jobs = Jobs(worker, own_redis.url(), redis_url)
    jobs.worker()
    jobs.sig("flaky_slowly", "t", 0.7).apply_async(soft_time_limit=2)
    eventually(lambda: jobs.ledger.lines("t"))
    own_redis.pause()
    time.sleep(3)
    own_redis.resume()
    eventually(lambda: jobs.ledger.lines("t") == ["run", "run"])


@pytest.fixture(params=["redis", "rabbitmq"])
def own_broker(request: pytest.FixtureRequest) -> Service:
    """A broker that a test may kill."""
    service: Service = request.getfixturevalue({"redis": "own_redis", "rabbitmq": "own_rabbit"}[request.param])
    return service


def _away_jobs(worker: Callable[..., Worker], broker: Service, redis_url: str, **conf: object) -> Jobs:
    assert isinstance(broker, (RedisServer, RabbitServer))
    return Jobs(worker, broker.url(), redis_url, conf=conf)


@pytest.mark.slow
def test_broker_away_while_a_retry_is_published(
    worker: Callable[..., Worker], own_broker: Service, redis_url: str
) -> None:
    """The retry waits for the broker, keeps its exception, and is not lost."""
    jobs = _away_jobs(worker, own_broker, redis_url, recovery_publish_timeout=30)
    running = jobs.worker()
    jobs.send("flaky_slowly", "t", 60)
    eventually(lambda: jobs.ledger.lines("t"))
    own_broker.kill()
    jobs.ledger.fix("t")
    time.sleep(4)  # the task fails meanwhile, into the gap
    assert "attempt 1" not in running.log, "the test must have caught the moment"
    own_broker.start()
    eventually(lambda: jobs.ledger.lines("t") == ["run", "run"], 40)
    assert jobs.letters() == 0


@pytest.mark.slow
def test_broker_away_for_too_long(worker: Callable[..., Worker], own_broker: Service, redis_url: str) -> None:
    """Acknowledged early, it becomes a letter in the store, past the broker; the caller sees the original exception."""
    jobs = _away_jobs(worker, own_broker, redis_url, recovery_publish_timeout=2, recovery_acks_late=False)
    running = jobs.worker()
    sent = jobs.send("flaky_slowly", "t", 60)
    eventually(lambda: jobs.ledger.lines("t"))
    own_broker.kill()
    jobs.ledger.fix("t")
    assert running.wait_log("was not published", 30)
    letter = eventually(lambda: jobs.dead_letters.store.get(sent.id), 30)
    assert letter.error.exception == "builtins.ConnectionResetError"
    eventually(lambda: jobs.result(sent.id).state == "FAILURE")
    assert isinstance(jobs.result(sent.id).result, ConnectionResetError)
    own_broker.start()
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)


@pytest.mark.slow
def test_broker_away_for_too_long_and_the_message_still_ours(
    worker: Callable[..., Worker], own_broker: Service, redis_url: str
) -> None:
    """Acknowledged late, the message goes back to the broker, which delivers it again: no letter, no crash counted."""
    jobs = _away_jobs(worker, own_broker, redis_url, recovery_publish_timeout=2)
    running = jobs.worker()
    sent = jobs.send("flaky_slowly", "t", 60)
    eventually(lambda: jobs.ledger.lines("t"))
    own_broker.kill()
    jobs.ledger.fix("t")
    assert running.wait_log("was not published", 30)
    time.sleep(1)
    own_broker.start()
    assert sent.get(timeout=60) is None
    assert jobs.ledger.lines("t") == ["run", "run"]
    assert jobs.letters() == 0


@pytest.mark.slow
def test_broker_away_with_arguments_that_json_cannot_write(
    worker: Callable[..., Worker], own_redis: RedisServer, redis_url: str
) -> None:
    """The way past the broker knows every serialiser that the app accepts, as the way through it does."""
    jobs = Jobs(worker, own_redis.url(), redis_url, conf={"recovery_publish_timeout": 1, "recovery_acks_late": False})
    jobs.worker()
    sent = jobs.sig("flaky_slowly", "t", Seconds(60)).apply_async(serializer="pickle")
    eventually(lambda: jobs.ledger.lines("t"))
    own_redis.kill()
    jobs.ledger.fix("t")
    letter = eventually(lambda: jobs.dead_letters.store.get(sent.id), 30)
    assert "pickle" in letter.content_type or "python-serialize" in letter.content_type


@pytest.mark.slow
def test_store_away(worker: Callable[..., Worker], broker_url: str, own_redis: RedisServer, redis_url: str) -> None:
    """Letters stay in their durable queue and are stored when Redis is back; no task notices."""
    jobs = Jobs(worker, broker_url, redis_url, conf={"recovery_redis_url": own_redis.url()})
    running = jobs.worker()
    own_redis.kill()
    sent = [jobs.send("broken", f"t{n}") for n in range(5)]
    for one in sent:
        with pytest.raises(ValueError, match="quantity"):
            one.get(timeout=20)
    assert running.wait_log("until the store is back", 20)
    own_redis.start()
    eventually(lambda: jobs.dead_letters.count() == 5, 40)


@pytest.mark.slow
@pytest.mark.parametrize("away", [3, None], ids=["for a while", "for too long"])
def test_broker_away_when_a_chain_goes_on(
    worker: Callable[..., Worker], own_broker: Service, redis_url: str, away: float | None
) -> None:
    """The task has succeeded; the next of its chain waits for the broker, or becomes a letter, and is not lost."""
    jobs = _away_jobs(worker, own_broker, redis_url, recovery_publish_timeout=20 if away else 2)
    running = jobs.worker()
    sent = (jobs.sig("slow", "a", 60) | jobs.sig("slow", "b", 0).set(immutable=True)).apply_async()
    eventually(lambda: jobs.ledger.lines("a"))
    own_broker.kill()
    jobs.ledger.fix("a")
    if away:
        time.sleep(away)
        own_broker.start()
    else:
        assert running.wait_log("it is a dead letter", 30)
        eventually(lambda: jobs.result(sent.parent.id).state == "SUCCESS")
        own_broker.start()
        letter = jobs.letter(sent.id, reason="not_published")
        jobs.dead_letters.replay(Filter(ids=(letter.id,)))
    assert sent.get(timeout=40) == "b"
    assert (len(jobs.ledger.lines("a")), len(jobs.ledger.lines("b"))) == (1, 1)
