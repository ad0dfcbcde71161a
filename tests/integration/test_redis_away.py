"""The Redis that holds letters, parked tasks and custody is away, hangs, or refuses: no task fails or is lost for it.

Broker and result backend are elsewhere. In every state each path is taken once, by one worker; then the store is itself
again, and what had to wait is caught up with.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from celery_recovery import Filter, LetterState, Recovery
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.redis.client import CONNECT_TIMEOUT, SOCKET_TIMEOUT
from tests.apps.shutdowns import WRONG
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RedisServer, Worker

pytestmark = [pytest.mark.faults, pytest.mark.redis]

MODULE = "tests.apps.shutdowns"
#: Seconds: what a busy machine may add to anything.
SLACK = 3.0
#: Seconds that a failing task, or one that came back, may wait for a store that hangs, over all its attempts.
BOUND = SOCKET_TIMEOUT + CONNECT_TIMEOUT + SLACK
#: What is said once for an outage, or once by each process, and never once a task.
ONCE = {
    "cannot say that it lives": 1,
    "parked tasks that are due wait until Redis": 1,
    "cannot be parked": 1,
    "statistics wait in memory": 5,
}

Change = Callable[[RedisServer, redis.Redis], Any]
#: State of the store -> how it comes about, and how it ends.
STATES: dict[str, tuple[Change, Change]] = {
    "away": (lambda server, _: server.kill(), lambda server, _: server.start()),
    "hanging": (lambda server, _: server.pause(), lambda server, _: server.resume()),
    "read-only": (
        lambda _, client: client.execute_command("REPLICAOF", "127.0.0.1", "1"),
        lambda _, client: client.execute_command("REPLICAOF", "NO", "ONE"),
    ),
    "without replicas": (
        lambda _, client: client.config_set("min-replicas-to-write", 1),
        lambda _, client: client.config_set("min-replicas-to-write", 0),
    ),
    "forbidden": (
        lambda _, client: client.execute_command("ACL", "SETUSER", "default", "-@write"),
        lambda _, client: client.execute_command("ACL", "SETUSER", "default", "+@all"),
    ),
    "full": (
        lambda _, client: client.config_set("maxmemory", 1),
        lambda _, client: client.config_set("maxmemory", 0),
    ),
}


class Scene:
    """A worker, what it has put into the store while that was well, and the changes of the store."""

    def __init__(self, jobs: Jobs, server: RedisServer) -> None:
        self.jobs, self.server = jobs, server
        self.client = redis.Redis.from_url(server.url())
        self.worker = jobs.worker(module=MODULE, concurrency=4)

    def letter(self, token: str) -> str:
        """A dead letter in the store, whose replay would succeed."""
        sent = self.jobs.send("broken", token)
        self.jobs.letter(sent.id)
        self.jobs.ledger.fix(token)
        return sent.id

    def parked(self, token: str, countdown: float) -> Any:
        """A task that is parked already."""
        before = self.parking.count()
        sent = self.jobs.sig("fine", token, token).apply_async(countdown=countdown)
        eventually(lambda: self.parking.count() > before, what="the parking")
        return sent

    @property
    def parking(self) -> Any:
        return Recovery.of(self.jobs.app).parked

    def took(self, name: str, token: str, **options: Any) -> float:
        """Seconds until the task has succeeded."""
        began = time.monotonic()
        assert self.jobs.send(name, token, token, **options).get(timeout=40) == token
        return time.monotonic() - began


@pytest.fixture
def scene(worker: Callable[..., Worker], redis_url: str, other_redis_url: str, own_redis: RedisServer) -> Scene:
    """Delays of more than three seconds are parked."""
    conf = {"recovery_redis_url": own_redis.url(), "recovery_park_after": 3}
    return Scene(Jobs(worker, redis_url, other_redis_url, conf=conf), own_redis)


@pytest.mark.long
@pytest.mark.parametrize("state", STATES)
def test_no_task_notices(scene: Scene, state: str) -> None:
    """Success, retry, letter, second delivery, replay, and a delay to be parked; what is parked waits for the store."""
    jobs, (begin, end) = scene.jobs, STATES[state]
    letter, other = scene.letter("replayed"), scene.letter("later")
    (claim,) = jobs.dead_letters.store.claim([letter], "operation")
    overdue = scene.parked("overdue", 4)
    begin(scene.server, scene.client)

    succeeding = max(scene.took("fine", f"fine-{n}") for n in range(5))
    assert succeeding < 1 + SLACK, "a success waits for nothing"

    began = time.monotonic()
    again = {token: jobs.send(f"{MODULE}.given_back", token) for token in ("again-1", "again-2")}
    retried = {token: jobs.send("flaky", token) for token in ("retried-1", "retried-2")}
    buried = jobs.send("broken", "buried")
    copy = claim.letter.message()._asdict()
    jobs.dead_letters.publisher.publish(copy.pop("body"), **copy)
    times = {}
    for token, result in (again | retried).items():
        assert result.get(timeout=60) == token
        assert jobs.ledger.lines(token) == ["run", "run"]
        times[token] = time.monotonic() - began
    with pytest.raises(ValueError, match="quantity"):
        buried.get(timeout=60)
    times["buried"] = time.monotonic() - began
    eventually(lambda: len(jobs.ledger.lines("replayed")) == 2, what="the replay, unchecked")
    print(f"{state}: success {succeeding:.2f} s, others {max(times.values()):.2f} s")  # noqa: T201
    assert max(times.values()) < 2 * BOUND

    waited = scene.took("fine", "countdown", countdown=4)
    assert waited < 4 + BOUND, "what cannot be parked waits in the worker"
    with pytest.raises(StoreUnavailable):
        jobs.dead_letters.replay(Filter(ids=(other,)))
    released = ["run"] if state == "full" else []  # that takes no memory, but frees some
    assert jobs.ledger.lines("overdue") == released
    counts = {words: scene.worker.log.count(words) for words in ONCE}
    assert all(counts[words] <= ONCE[words] for words in ONCE), counts

    end(scene.server, scene.client)
    assert overdue.get(timeout=40) == "overdue"
    assert jobs.letter(buried.id, state=LetterState.FAILED).reason == "not_retryable"
    jobs.dead_letters.replay(Filter(ids=(other,)))
    jobs.letter(other, state=LetterState.RECOVERED)
    assert jobs.ledger.lines("overdue") == ["run"]
    assert [line for line in jobs.ledger.lines(WRONG) if ".broken " not in line] == []
    assert scene.worker.running


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flushed", "failed over"])
def test_the_store_forgets(scene: Scene, how: str) -> None:
    """All it had, or its last writes: what runs goes on and is retried, what comes is kept; only what was there goes.

    A failover that loses the last writes is played by a kill and the files of a moment before.
    """
    jobs, files = scene.jobs, scene.server.directory / "appendonlydir"
    known = scene.letter("known")
    kept = scene.parked("kept", 12)
    before = shutil.copytree(files, scene.server.directory / "before")
    running = jobs.send("flaky_slowly", "running", 1.5)
    late = scene.letter("late")
    eventually(lambda: jobs.ledger.lines("running"))
    if how == "flushed":
        scene.client.flushall()
    else:
        scene.server.kill()
        shutil.rmtree(files)
        before.rename(files)
        scene.server.start()

    assert running.get(timeout=40) is None
    assert jobs.ledger.lines("running") == ["run", "run"]
    again = jobs.send(f"{MODULE}.given_back", "again")
    assert again.get(timeout=40) == "again"
    new = scene.letter("new")
    parked = scene.parked("parked", 4)
    assert parked.get(timeout=40) == "parked"
    ids = {letter.id for letter in jobs.dead_letters.list(limit=10)}
    assert new in ids
    assert late not in ids, "this test must have lost a write"
    assert (known in ids) == (how == "failed over")
    if how == "failed over":
        assert kept.get(timeout=40) == "kept"
    assert len(jobs.ledger.lines("kept")) == (how == "failed over")
    assert jobs.result(late).state == "FAILURE", "the caller knows, whatever the store forgets"
    assert scene.worker.running
