"""`self.checkpoint` in real workers: what was saved is found again after each kind of end, by one run at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from celery_recovery import Filter, Recovery
from celery_recovery.checkpoint import Checkpoint, CheckpointStore, Run, checkpoint_name
from celery_recovery.exceptions import CheckpointFenced, CheckpointTooLarge, ConfigurationError, StoreUnavailable
from celery_recovery.passage import new_message_id
from celery_recovery.redis.keys import Keys
from tests.apps.checkpoints import count
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RedisServer, Worker

NUMBERS = 6


class Checkpoints(Jobs):
    """The jobs of `tests.apps.checkpoints`."""

    running: Worker

    def send(self, name: str, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        signature = self.app.signature(f"tests.apps.checkpoints.{name}", args=args, kwargs=kwargs)
        return signature.apply_async(task_id=args[0], **(options or {}))

    def worker(self, **options: Any) -> Worker:
        self.running = super().worker(module="tests.apps.checkpoints", **options)
        return self.running

    def stop(self, token: str, how: str) -> None:
        self.ledger.client.set(f"stop:{token}", how)

    def go_on(self, token: str) -> None:
        self.ledger.client.delete(f"stop:{token}")
        self.ledger.fix(token)

    @property
    def store(self) -> CheckpointStore:
        store = Recovery.of(self.app).checkpoints
        assert store is not None
        return store

    def done(self, token: str) -> list[str]:
        """Wait for the last number; each was done once, and the checkpoint is gone with the success."""
        eventually(lambda: str(NUMBERS - 1) in self.ledger.lines(token), 40, f"the end of {token}")
        eventually(lambda: self.store.get(f"id:{token}") is None, what="the end of the checkpoint")
        lines = self.ledger.lines(token)
        assert [line for line in lines if not line.startswith("from")] == [str(n) for n in range(NUMBERS)]
        return [line for line in lines if line.startswith("from")]


@pytest.fixture
def jobs(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Checkpoints:
    return Checkpoints(worker, broker_url, other_redis_url)


@pytest.fixture
def on_redis(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Checkpoints:
    return Checkpoints(worker, redis_url, other_redis_url)


@pytest.mark.parametrize("how", ["fail", "retry"])
def test_retried(jobs: Checkpoints, how: str) -> None:
    """It goes on where it stood, whoever asked for the retry; then all is forgotten."""
    jobs.worker(concurrency=1)
    jobs.stop("token", how)
    jobs.send("count", "token", NUMBERS, stop_at=3)
    eventually(lambda: len([line for line in jobs.ledger.lines("token") if line == "from 3"]) > 0, what="a retry")
    jobs.go_on("token")
    assert set(jobs.done("token")) == {"from 0", "from 3"}


@pytest.mark.faults
def test_killed(jobs: Checkpoints) -> None:
    """SIGKILL in the middle: another process goes on."""
    jobs.worker(concurrency=1)
    jobs.stop("token", "hang")
    jobs.send("count", "token", NUMBERS, stop_at=3)
    pid = int(eventually(lambda: jobs.ledger.client.get("pid:token"), what="the task"))
    jobs.go_on("token")
    os.kill(pid, signal.SIGKILL)
    assert jobs.done("token") == ["from 0", "from 3"]


def test_replayed(jobs: Checkpoints) -> None:
    """A dead letter keeps it; its replay goes on."""
    jobs.worker(concurrency=1)
    jobs.stop("token", "die")
    jobs.send("count", "token", NUMBERS, stop_at=3)
    eventually(jobs.dead_letters.count, what="its letter")
    saved = jobs.store.get("id:token")
    assert saved is not None
    assert (saved.state, saved.saves, saved.task) == (3, 3, "tests.apps.checkpoints.count")
    assert jobs.store.names() == ["id:token"]
    jobs.go_on("token")
    jobs.dead_letters.replay(Filter(ids=("token",)))
    assert jobs.done("token") == ["from 0", "from 3"]


def test_a_zombie_is_told(jobs: Checkpoints) -> None:
    """A run whose message went to another worker meanwhile saves nothing more, and nothing of it runs again."""
    jobs.worker(concurrency=2)
    jobs.stop("token", "hang")
    message_id = new_message_id()  # as a broker that takes a living worker for dead: one message, delivered twice
    jobs.send("count", "token", NUMBERS, stop_at=3, options={"message_id": message_id})
    eventually(lambda: jobs.ledger.client.get("pid:token"), what="the first run")
    jobs.ledger.client.delete("stop:token")
    second = jobs.send("count", "token", NUMBERS, stop_at=3, options={"message_id": message_id})
    assert second.get(timeout=20) == 3
    jobs.ledger.fix("token")
    worker = jobs.running
    assert worker.wait_log("put off for 5 s: busy")
    assert worker.wait_log("dropped: succeeded")
    lines = jobs.ledger.lines("token")
    assert lines == ["from 0", "0", "1", "2", "from 3", "3", "4", "5", "3"]  # the last: done, and not saved


def test_under_a_key(on_redis: Checkpoints) -> None:
    """Another message of the task finds it by its key; after a success the next begins anew."""
    on_redis.worker(concurrency=1)
    on_redis.stop("one", "die")
    on_redis.send("count", "one", NUMBERS, key="november", stop_at=3)
    eventually(on_redis.dead_letters.count, what="its letter")
    for token, begin in (("two", "from 3"), ("three", "from 0")):
        on_redis.send("count", token, NUMBERS, key="november")
        eventually(lambda token=token: str(NUMBERS - 1) in on_redis.ledger.lines(token), what=f"the end of {token}")
        eventually(lambda: on_redis.store.names() == [], what="its success")
        assert on_redis.ledger.lines(token)[0] == begin


@pytest.mark.parametrize("size", [300_000])
def test_too_large(on_redis: Checkpoints, size: int) -> None:
    """Refused at once, with what to do; no retry would help."""
    on_redis.worker(concurrency=1)
    result = on_redis.send("large", "token", size)
    with pytest.raises(Exception, match="recovery_checkpoint_size allows 262,144"):
        result.get(timeout=20)
    assert on_redis.ledger.lines("token") == ["run"]


@pytest.mark.faults
def test_redis_away(
    worker: Callable[..., Worker], redis_url: str, other_redis_url: str, own_redis: RedisServer
) -> None:
    """The attempt fails, and is retried; nothing is done twice because nobody knew."""
    jobs = Checkpoints(worker, redis_url, other_redis_url, conf={"recovery_redis_url": own_redis.url()})
    jobs.worker(concurrency=1)
    jobs.stop("token", "hang")
    jobs.send("count", "token", NUMBERS, stop_at=3)
    eventually(lambda: jobs.ledger.client.get("pid:token"), what="the task")
    own_redis.kill()
    jobs.go_on("token")
    eventually(lambda: "3" in jobs.ledger.lines("token"), what="the save that fails")
    own_redis.start()
    eventually(lambda: str(NUMBERS - 1) in jobs.ledger.lines("token"), 60, "the end")
    lines = [line for line in jobs.ledger.lines("token") if not line.startswith("from")]
    assert lines == ["0", "1", "2", "3", "3", "4", "5"]  # the one that was done, and could not be saved


# -- the store


@pytest.fixture
def store(redis_client: redis.Redis) -> CheckpointStore:
    return CheckpointStore(redis_client, Keys(), ttl=1000, kept=100, most=100)


def checkpoint(store: CheckpointStore | None, **run: Any) -> Checkpoint:
    told = Run(**{"task": "t", "task_id": "i", "life": "l", **run})
    return Checkpoint(store, told, checkpoint_name(told), {})


def test_one_run_has_it(store: CheckpointStore) -> None:
    """The one that opened it last; the other is told at its next word, also that it has succeeded."""
    first, second = checkpoint(store), checkpoint(store)
    first.save(1)
    assert second.load() == 1
    for word in (lambda: first.save(2), first.clear, first.finish):
        with pytest.raises(CheckpointFenced):
            word()
    second.save(3)
    assert checkpoint(store).load() == 3


def test_an_older_message_does_not_take_it(store: CheckpointStore) -> None:
    """The retry has it; the run that it came from does not get it back."""
    checkpoint(store, step=1).save(1)
    with pytest.raises(CheckpointFenced):
        checkpoint(store, step=0).load()


def test_a_success_is_for_its_own_message(store: CheckpointStore) -> None:
    """Delivered again it finds the end; anybody else begins anew."""
    done = checkpoint(store)
    done.save("all")
    done.finish()
    assert 0 < store.client.ttl(store.keys.checkpoint("id:i")) <= 100
    assert (store.get("id:i"), store.names()) == (None, [])
    assert checkpoint(store).load() == "all"
    assert checkpoint(store, life="other").load("nothing") == "nothing"


def test_forgotten_and_cleared(store: CheckpointStore) -> None:
    """By the task itself, and by a person: then the run is told."""
    run = checkpoint(store)
    run.save({"at": 1})
    run.clear()
    assert run.load(0) == checkpoint(store).load(0) == 0
    run = checkpoint(store)
    run.save(1)
    assert store.clear("id:i")
    assert not store.clear("id:i")
    with pytest.raises(CheckpointFenced):
        run.save(2)


def test_a_fence_is_never_given_twice(store: CheckpointStore) -> None:
    """Not even when the checkpoint is cleared and opened again at once: the run from before must not fit."""
    run = Run(task="t", task_id="i", life="l")
    fences = []
    for _ in range(200):
        fences.append(store.open("id:i", run)[0])
        store.clear("id:i")
    assert len(set(fences)) == 200


def test_no_key_stays(store: CheckpointStore) -> None:
    """Each expires."""
    checkpoint(store).save(1)
    assert store.client.ttl(store.keys.checkpoint("id:i")) > 900


@pytest.mark.parametrize("state", [float("nan"), object(), {1, 2}, b"bytes"])
def test_what_is_no_json(store: CheckpointStore, state: object) -> None:
    """Refused; what was saved stays."""
    run = checkpoint(store)
    run.save(1)
    with pytest.raises((TypeError, ValueError)):
        run.save(state)
    assert checkpoint(store).load() == 1


def test_limits(store: CheckpointStore) -> None:
    """Of size and of names."""
    run = checkpoint(store)
    with pytest.raises(CheckpointTooLarge, match="103 bytes as JSON; recovery_checkpoint_size allows 100"):
        run.save("x" * 101)
    for key in ("", "x" * 201, "two\nlines", 7):
        with pytest.raises(ConfigurationError, match=r"checkpoint\.key"):
            run(key)  # type: ignore[arg-type]


def test_nobody_to_ask(own_redis: RedisServer) -> None:
    """Not taken for an empty one."""
    with redis.Redis.from_url(own_redis.url()) as client:
        store = CheckpointStore(client, Keys(), ttl=1, kept=1, most=1)
        own_redis.kill()
        with pytest.raises(StoreUnavailable):
            checkpoint(store).load()


def test_called_directly() -> None:
    """In a unit test of the user's it is kept in memory."""
    run = checkpoint(None)
    assert run.load(5) == 5
    run.save([1])
    assert run.load() == [1]
    assert count.checkpoint.load(7) == 7
