"""A worker is shut down, gently or not, or killed in the middle of that: another worker finishes what it had.

Afterwards the books balance: each task is done once, none has failed or was revoked, nothing is left at the broker.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import redis

from celery_recovery import Filter
from tests.apps.shutdowns import WRONG
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RabbitServer, RedisServer, Service, Worker

pytestmark = pytest.mark.faults

MODULE = "tests.apps.shutdowns"
#: Seconds from the end of the first worker, or the start of the second, until all that was cut off runs again.
TAKEN_OVER = 20.0
SIGINT, SIGQUIT, SIGTERM, SIGKILL = signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL


class Way(NamedTuple):
    """One way to end a worker: signals, half a second apart, and what it has been told before."""

    signals: Sequence[signal.Signals]
    #: Whether what runs may end first.
    gentle: bool
    #: `worker_soft_shutdown_timeout` in seconds.
    soft: float = 0.0


WAYS = {
    "warm": Way([SIGTERM], gentle=True),
    "warm, killed": Way([SIGTERM, SIGKILL], gentle=False),
    "warm, then cold": Way([SIGTERM, SIGQUIT], gentle=False),
    "soft, long enough": Way([SIGQUIT], gentle=True, soft=8.0),
    "soft, too short": Way([SIGQUIT], gentle=False, soft=1.0),
    "soft, cut short": Way([SIGQUIT, SIGQUIT], gentle=False, soft=3.0),
    "soft, killed": Way([SIGQUIT, SIGKILL], gentle=False, soft=3.0),
    "cold": Way([SIGQUIT], gentle=False),
    "interrupted twice": Way([SIGINT, SIGINT], gentle=False),
    "cold, killed": Way([SIGQUIT, SIGKILL], gentle=False),
}
#: One of each kind, for what costs more time.
KINDS = ("warm", "soft, too short", "cold", "cold, killed")


class Scene:
    """A worker with tasks that run, tasks that it has prefetched, and tasks that wait in its memory."""

    def __init__(self, jobs: Jobs, *, pool: str = "prefork", concurrency: int = 2) -> None:
        self.jobs = jobs
        self.pool, self.concurrency = pool, concurrency
        self.results: dict[str, Any] = {}
        self.first = jobs.worker(module=MODULE, pool=pool, concurrency=concurrency)
        self.running = [self._send(f"running-{n}", 0.1, 60) for n in range(concurrency)]
        eventually(lambda: all(map(self.lines, self.running)), what="the first tasks to run")
        others = [self._send(f"prefetched-{n}", 0.1) for n in range(3)]
        waiting = [self._send(f"waiting-{n}", 0.1, countdown=4) for n in range(2)]
        if pool != "solo":  # a solo worker reads nothing while it runs
            received = len([*self.running, *others, *waiting])
            assert self.first.wait_log(r"Task .* received", count=received), self.first.log

    def end(self, way: Way) -> None:
        """Do that to the first worker, and wait until it has ended.

        What runs is finished after the first signal, where it may finish, and otherwise not at all: no signal meets a
        task in the moment between its last line and its result. Only a pool of processes can cut off a task.
        """
        for number, one in enumerate(way.signals):
            if number:
                time.sleep(0.5)
            if self.first.running:
                os.kill(self.first.pid, one)
            if way.gentle or self.pool != "prefork":
                for token in self.running:
                    self.jobs.ledger.fix(token)
        eventually(lambda: not self.first.running, 30, "the end of the worker")
        self.ended_at = time.time()

    def take_over(self) -> None:
        """A second worker; returns when everything is done, and says how long what was cut off waited."""
        cut_off = [token for token in self.running if "done" not in self.lines(token)]
        assert not [token for token in cut_off if self.results[token].state in ("FAILURE", "REVOKED")]
        self.second = self.jobs.worker(module=MODULE, pool=self.pool, concurrency=self.concurrency)
        ready_at = time.time()
        for token, result in self.results.items():
            assert result.get(timeout=40) == token
        for token in cut_off:
            waited = self.jobs.ledger.times(token)[-2] - ready_at
            print(f"{token} began again {waited:.1f} s after the second worker was ready")  # noqa: T201
            assert waited < TAKEN_OVER

    def check(self, *, gentle: bool) -> None:
        """The books."""
        for token in self.results:
            lines = self.lines(token)
            assert lines.count("done") == 1, (token, lines)
            assert len(lines) <= (2 if gentle or token not in self.running else 3), (token, lines)
        assert self.jobs.ledger.lines(WRONG) == []
        assert self.jobs.letters() == 0
        assert self.second.stop() == 0
        assert left_at(self.jobs) == []

    def lines(self, token: str) -> list[str]:
        return self.jobs.ledger.lines(token)

    def _send(self, token: str, *seconds: float, **options: Any) -> str:
        self.results[token] = self.jobs.send(f"{MODULE}.working", token, *seconds, **options)
        return token


def left_at(jobs: Jobs) -> list[str]:
    """What the broker still has, with no worker left: messages, and on Redis what a worker has not acknowledged."""
    if jobs.broker.startswith("redis"):
        with redis.Redis.from_url(jobs.broker, decode_responses=True) as client:
            kept = ("unacked_", "unacked.held.")  # not `unacked.taken.`, which tells a worker what it lost
            return [key for key in client.scan_iter() if key in ("celery", "unacked") or key.startswith(kept)]
    with jobs.app.connection_for_read() as connection:
        count = connection.default_channel.queue_declare("celery", passive=True).message_count
    return ["celery"] * count


def through(make: Callable[..., Jobs], way: Way, **options: Any) -> None:
    scene = Scene(make(worker_soft_shutdown_timeout=way.soft), **options)
    scene.end(way)
    scene.take_over()
    scene.check(gentle=way.gentle)


@pytest.fixture
def redis_jobs_with(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Callable[..., Jobs]:
    """Jobs on Redis only, with settings."""
    return lambda **conf: Jobs(worker, redis_url, other_redis_url, conf=conf)


@pytest.mark.redis
@pytest.mark.long
@pytest.mark.parametrize("way", [way for way in WAYS if way not in KINDS])
def test_other_ends_of_a_worker(redis_jobs_with: Callable[..., Jobs], way: str) -> None:
    """The variants, on one broker: what was cut off runs again, once; all else simply runs."""
    through(redis_jobs_with, WAYS[way])


@pytest.mark.slow
@pytest.mark.parametrize("way", KINDS)
def test_ends_of_a_worker(jobs_with: Callable[..., Jobs], way: str) -> None:
    """Warm, soft, cold, and killed during the last: on each broker, what was cut off runs again, once."""
    through(jobs_with, WAYS[way])


@pytest.mark.redis
@pytest.mark.long
@pytest.mark.parametrize("way", ["warm", "cold"])
@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_ends_of_a_worker_without_children(redis_jobs_with: Callable[..., Jobs], pool: str, way: str) -> None:
    """No pool of threads or greenlets can be cut off in order: what it runs is either finished or begun again."""
    through(redis_jobs_with, WAYS[way], pool=pool, concurrency=1 if pool == "solo" else 2)


@pytest.fixture(params=["redis", "rabbitmq"])
def own_broker(request: pytest.FixtureRequest) -> Service:
    """A broker that a test may pause."""
    service: Service = request.getfixturevalue({"redis": "own_redis", "rabbitmq": "own_rabbit"}[request.param])
    return service


@pytest.mark.long
@pytest.mark.parametrize("sent", [SIGTERM, SIGQUIT, SIGKILL], ids=["warm", "cold", "killed"])
def test_ended_while_it_publishes(
    worker: Callable[..., Worker], own_broker: Service, redis_url: str, sent: signal.Signals
) -> None:
    """The broker hangs when a retry and a letter are to be published, and then the worker is told to end."""
    assert isinstance(own_broker, (RedisServer, RabbitServer))
    jobs = Jobs(worker, own_broker.url(), redis_url, conf={"recovery_publish_timeout": 15})
    first = jobs.worker(module=MODULE)
    retried = jobs.send(f"{MODULE}.failing_first", "retried", 1)
    buried = jobs.send(f"{MODULE}.hopeless", "buried", 1)
    eventually(lambda: jobs.ledger.lines("retried") and jobs.ledger.lines("buried"))
    own_broker.pause()
    eventually(lambda: all("fails" in jobs.ledger.lines(token) for token in ("retried", "buried")))
    time.sleep(0.5)
    os.kill(first.pid, sent)
    time.sleep(2)
    own_broker.resume()
    eventually(lambda: not first.running, 40, "the end of the worker")
    second = jobs.worker(module=MODULE)
    assert retried.get(timeout=40) == "retried"
    assert jobs.ledger.lines("retried").count("done") == 1
    letter = jobs.letter(buried.id)
    assert letter.error.exception == "builtins.ValueError"
    eventually(lambda: buried.state == "FAILURE")
    assert isinstance(buried.result, ValueError)
    assert jobs.dead_letters.count(Filter()) == 1
    assert second.stop() == 0
    assert left_at(jobs) == []
