"""A child is killed, a worker is killed, a connection is lost: the task is counted, retried and kept, and runs once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from celery_recovery import Filter
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RabbitServer, Worker

pytestmark = pytest.mark.faults

ENDS = "tests.apps.ends"


def start(jobs: Jobs, **options: object) -> Worker:
    return jobs.worker(module=ENDS, **options)


def hooks_are(jobs: Jobs, token: str, *wanted: str) -> None:
    """Wait for so many lines of hooks and signals, which come after letter and result; they must be these."""
    eventually(lambda: len(jobs.ledger.lines(f"hooks-{token}")) >= len(wanted), what=f"{len(wanted)} lines of {token}")
    assert sorted(jobs.ledger.lines(f"hooks-{token}")) == sorted(wanted)


class TestChildren:
    def test_killed_once(self, jobs: Jobs) -> None:
        """Counted as an attempt, with its signal, and retried by policy."""
        start(jobs)
        sent = jobs.send(f"{ENDS}.killed", "t", 1)
        assert sent.get(timeout=30) == "t"
        assert jobs.ledger.lines("t") == ["run", "run"]
        hooks_are(jobs, "t", "on_retry WorkerLostError", "on_success")

    @pytest.mark.parametrize("task", ["killed", "vanishing"])
    def test_killed_every_time(self, jobs: Jobs, task: str) -> None:
        """Dead-lettered when its attempts are used up; every hook, signal and errback once, with the true exception."""
        start(jobs)
        errback = jobs.sig("noted_error").clone(kwargs={"token": "errback"})
        sent = jobs.send(f"{ENDS}.{task}", "t", link_error=errback)
        letter = jobs.letter(sent.id, reason="exhausted")
        assert len(jobs.ledger.lines("t")) == 3
        assert [attempt["exception"] for attempt in letter.attempts] == ["billiard.exceptions.WorkerLostError"] * 3
        expected = {"signal": "SIGKILL"} if task == "killed" else {"exit_code": 7}
        assert expected.items() <= letter.error.context.items()
        assert letter.error.context["pid"] > 0
        once = ["on_failure WorkerLostError", "task_failure WorkerLostError"]
        hooks_are(jobs, "t", *once, "on_retry WorkerLostError", "on_retry WorkerLostError")
        assert type(sent.result).__name__ == "WorkerLostError", "stored before any hook is called"
        eventually(lambda: jobs.ledger.lines("errback"))
        assert len(jobs.ledger.lines("errback")) == 1

    def test_sys_exit(self, jobs: Jobs) -> None:
        """A failure of the task, retried by policy, and no reason to end the child."""
        start(jobs, concurrency=1)
        once = jobs.send(f"{ENDS}.exiting", "once", 1)
        assert once.get(timeout=30) == "once"
        always = jobs.send(f"{ENDS}.exiting", "always")
        letter = jobs.letter(always.id, reason="exhausted")
        assert letter.error.exception == "builtins.SystemExit"
        runs = jobs.ledger.lines("once") + jobs.ledger.lines("always")
        assert (len(runs), len(set(runs))) == (2 + 3, 1), "five runs in one process"
        told = ["on_failure NotAnException", "task_failure NotAnException", *["on_retry SystemExit"] * 2]
        hooks_are(jobs, "always", *told)
        hooks_are(jobs, "once", "on_retry SystemExit", "on_success")

    def test_hard_time_limit(self, jobs: Jobs) -> None:
        """Billiard reports it twice; it is acted on once."""
        start(jobs)
        sent = jobs.send(f"{ENDS}.hanging", "t")
        letter = jobs.letter(sent.id)
        assert letter.error.exception == "billiard.exceptions.TimeLimitExceeded"
        attempts = len(letter.attempts)
        assert len(jobs.ledger.lines("t")) == attempts
        once = ["on_failure TimeLimitExceeded", "task_failure TimeLimitExceeded"]
        hooks_are(jobs, "t", *once, *["on_retry TimeLimitExceeded"] * (attempts - 1))
        assert jobs.letters() == 1

    def test_soft_time_limit(self, jobs: Jobs) -> None:
        """Raised in the body: classified there, with its own name."""
        start(jobs)
        sent = jobs.send(f"{ENDS}.dawdling", "t")
        letter = jobs.letter(sent.id)
        assert letter.error.exception == "billiard.exceptions.SoftTimeLimitExceeded"
        assert len(jobs.ledger.lines("t")) == len(letter.attempts)

    @pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
    def test_sys_exit_in_pools_without_children(self, redis_jobs: Jobs, pool: str) -> None:
        """It ends no worker there either."""
        worker = start(redis_jobs, pool=pool)
        sent = redis_jobs.send(f"{ENDS}.exiting", "t")
        assert redis_jobs.letter(sent.id, reason="exhausted").error.exception == "builtins.SystemExit"
        eventually(lambda: redis_jobs.result(sent.id).state == "FAILURE")
        assert redis_jobs.send(f"{ENDS}.working", "after", 0).get(timeout=30) == "after"
        assert worker.running

    def test_hard_time_limit_under_gevent(self, redis_jobs: Jobs) -> None:
        """Its pool has one, and reports it once."""
        start(redis_jobs, pool="gevent")
        sent = redis_jobs.send(f"{ENDS}.hanging", "t")
        letter = redis_jobs.letter(sent.id)
        assert letter.error.exception == "billiard.exceptions.TimeLimitExceeded"
        assert len(redis_jobs.ledger.lines("t")) == len(letter.attempts)


def test_a_hook_that_raises(jobs: Jobs) -> None:
    """The caller sees what the task has raised, and the hook is called once."""
    start(jobs)
    sent = jobs.send(f"{ENDS}.clumsy", "t")
    jobs.letter(sent.id)
    eventually(lambda: jobs.result(sent.id).state == "FAILURE")
    assert isinstance(jobs.result(sent.id).result, ValueError)
    assert jobs.ledger.lines("t") == ["on_failure ValueError"]


class TestWorkers:
    def test_main_process_killed_alone(self, jobs: Jobs) -> None:
        """Its child does not go on with work that nobody can acknowledge: the next worker does it, once."""
        first = start(jobs, concurrency=1)
        sent = jobs.send(f"{ENDS}.working", "t", 3)
        eventually(lambda: jobs.ledger.lines("t"))
        os.kill(first.pid, signal.SIGKILL)
        start(jobs)
        assert sent.get(timeout=40) == "t"
        assert jobs.ledger.lines("t") == ["begins", "begins", "done"]

    def test_killed_between_result_and_acknowledgement(self, jobs: Jobs) -> None:
        """The result says that it is done: the message that comes again is dropped."""
        start(jobs, concurrency=1)
        sent = jobs.send(f"{ENDS}.last_moment", "t")
        assert sent.get(timeout=20) == "t"
        second = start(jobs, concurrency=1)
        eventually(lambda: "dropped: succeeded" in second.log, timeout=30)
        assert jobs.ledger.lines("t") == ["run"]

    @pytest.mark.redis
    def test_celery_drops_it_itself(self, redis_jobs: Jobs) -> None:
        """With `worker_deduplicate_successful_tasks` Celery says so without a runtime: acknowledged all the same."""
        conf = redis_jobs.conf
        conf.update(worker_deduplicate_successful_tasks=True, worker_prefetch_multiplier=1)
        start(redis_jobs, concurrency=1)
        sent = redis_jobs.send(f"{ENDS}.last_moment", "t")
        assert sent.get(timeout=20) == "t"
        second = start(redis_jobs, concurrency=1)
        eventually(lambda: "Task already completed successfully" in second.log, timeout=30)
        assert redis_jobs.send(f"{ENDS}.working", "next", 0).get(timeout=20) == "next"

    def test_poison_and_bystanders(self, jobs: Jobs) -> None:
        """A task that takes its worker with it is quarantined with the evidence; what ran beside it succeeds."""
        sent = jobs.send(f"{ENDS}.deadly", "poison")
        innocent = [jobs.send(f"{ENDS}.working", f"t{n}", 2) for n in range(3)]
        workers = []

        def quarantined() -> bool:
            if not workers or not workers[-1].running:
                workers.append(start(jobs, concurrency=4))
            jobs.dead_letters.drain()
            return jobs.dead_letters.count(Filter(ids=(sent.id,))) == 1

        eventually(quarantined, timeout=100)
        letter = jobs.letter(sent.id, reason="poison")
        assert len(jobs.ledger.lines("poison")) == 4
        assert len(letter.error.context["crashes"]) == 3
        assert [one.get(timeout=30) for one in innocent] == ["t0", "t1", "t2"]
        assert jobs.letters() == 1
        assert all(jobs.ledger.lines(f"t{n}").count("done") == 1 for n in range(3))


@pytest.mark.rabbitmq
def test_connection_lost_while_it_runs(worker: Callable[..., Worker], own_rabbit: RabbitServer, redis_url: str) -> None:
    """RabbitMQ delivers it again while the first run goes on: that run counts, the second is put off and dropped."""
    jobs = Jobs(worker, own_rabbit.url(), redis_url)
    running = start(jobs, concurrency=2)
    sent = jobs.send(f"{ENDS}.working", "t", 90)
    eventually(lambda: jobs.ledger.lines("t"))
    own_rabbit.kill()
    own_rabbit.start()
    second = start(jobs, concurrency=2)
    eventually(lambda: "put off" in running.log + second.log, 60)
    jobs.ledger.fix("t")
    assert sent.get(timeout=30) == "t"
    jobs.send(f"{ENDS}.working", "after", 0).get(timeout=30)
    assert jobs.ledger.lines("t") == ["begins", "done"]


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_channel_closed_by_the_consumer_timeout(
    worker: Callable[..., Worker], own_rabbit: RabbitServer, redis_url: str
) -> None:
    """A task longer than it costs the channel, and not the worker; its second copy is put off and dropped."""
    own_rabbit.stop()
    # The node looks for such channels once in `channel_tick_interval`; both in ms.
    own_rabbit.advanced("[{rabbit, [{consumer_timeout, 3000}, {channel_tick_interval, 1000}]}].")
    own_rabbit.start()
    jobs = Jobs(worker, own_rabbit.url(), redis_url)
    running = start(jobs, concurrency=2)
    sent = jobs.send(f"{ENDS}.working", "t", 90)
    eventually(lambda: "put off" in running.log, 60)
    jobs.ledger.fix("t")
    assert sent.get(timeout=30) == "t"
    assert running.running
    jobs.send(f"{ENDS}.working", "after", 0).get(timeout=30)
    assert jobs.ledger.lines("t") == ["begins", "done"]
