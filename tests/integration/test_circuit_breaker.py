"""A circuit that many processes share in a real Redis: what it costs, who may probe, and what happens without Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from celery_recovery.circuit.state import CircuitState
from celery_recovery.exceptions import CircuitOpen, StoreUnavailable
from tests.integration.breaker_processes import ROUNDS, breaker_at
from tests.services import RedisServer, wait_until

ROOT = Path(__file__).resolve().parents[2]
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

pytestmark = pytest.mark.redis


def start(what: str, url: str) -> subprocess.Popen[str]:
    """A process that shares the circuit."""
    command = [sys.executable, "-m", "tests.integration.breaker_processes", what, url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def run(what: str, url: str):
    """What it prints, when it has ended."""
    process = start(what, url)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return json.loads(output)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.acquire().failure()


def half_open(url, **settings):
    breaker = breaker_at(url, **settings)
    breaker.force_open()
    breaker.half_open()
    return breaker


def scripts_run(client) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


# -- what it costs


def test_a_closed_call_costs_next_to_no_round_trips(redis_url, redis_client):
    """At most a tenth of one, with a hundred calls a second and the freshness that is usual; all are counted."""
    breaker, before = breaker_at(redis_url), scripts_run(redis_client)
    for _ in range(300):
        breaker.call(time.sleep, 0.002)
    assert scripts_run(redis_client) - before <= 30
    assert breaker.metrics().calls == 300


def test_while_it_is_open_it_is_refused_without_asking(redis_url, redis_client):
    """A thousand times for one question at most every freshness."""
    breaker = breaker_at(redis_url, open_duration=60, freshness=30)
    fail(breaker, 4)
    before = scripts_run(redis_client)
    assert [breaker.try_acquire() for _ in range(1000)] == [None] * 1000
    assert scripts_run(redis_client) - before <= 1


# -- shared


def test_it_is_one_circuit_for_all(redis_url):
    """Failures of several add up; who did not see them is refused, too; a probe closes it for all."""
    one, other, third = (breaker_at(redis_url, freshness=0) for _ in range(3))
    fail(one, 2)
    fail(other, 2)
    with pytest.raises(CircuitOpen) as refused:
        third.acquire()
    assert (refused.value.state, 0 < refused.value.retry_after <= 0.5) == ("open", True)
    wait_until(lambda: third.state is HALF_OPEN)
    third.call(int)
    assert [breaker.state for breaker in (one, other, third)] == [CLOSED] * 3


def test_another_process_is_behind_for_no_longer_than_the_freshness(redis_url):
    """What a person does reaches it as well."""
    one, other = breaker_at(redis_url), breaker_at(redis_url, freshness=0.2)
    other.call(int)
    known_at = time.monotonic()
    one.force_open(reason="maintenance")
    wait_until(lambda: time.monotonic() > known_at + 0.2)
    assert other.try_acquire() is None
    assert other.metrics().history[0].detail["reason"] == "maintenance"


def test_a_client_that_decodes_answers_will_do(redis_url):
    """As applications often have one."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        breaker = breaker_at(client)
        fail(breaker, 4)
        assert breaker.state is OPEN
        assert breaker.metrics().failed == 4


@pytest.mark.parametrize("skew", [-1e6, 1e6])
def test_the_clock_of_a_process_does_not_matter(redis_url, skew):
    """Only differences of it do: a process that is days off waits as long as the others."""
    right, wrong = breaker_at(redis_url), breaker_at(redis_url, clock=lambda: time.monotonic() + skew)
    fail(wrong, 4)
    for breaker in (right, wrong):
        assert breaker.state in (OPEN, HALF_OPEN)
    wait_until(lambda: wrong.state is HALF_OPEN)
    wrong.call(int)
    assert right.state is CLOSED


def test_threads_lose_no_call(redis_url):
    """Of several breakers of one circuit, in several threads each."""
    breakers = [breaker_at(redis_url, minimum_calls=1_000_000, window=3600) for _ in range(2)]

    def call(breaker):
        for n in range(100):
            permit = breaker.acquire()
            permit.failure() if n % 10 == 0 else permit.success()

    threads = [threading.Thread(target=call, args=(breaker,)) for breaker in breakers for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    breakers[0].flush()
    view = breakers[1].metrics()
    assert (view.calls, view.failed) == (800, 80)


def test_greenlets_have_blocks_of_their_own(redis_url):
    """Though they share a thread and change over within them."""
    assert run("greenlets", redis_url) == 100


# -- processes


@pytest.mark.slow
def test_sixteen_processes_and_one_place(redis_url):
    """Exactly one is admitted, in a hundred rounds."""
    assert run("race", redis_url) == [1] * ROUNDS


@pytest.mark.faults
def test_the_place_of_a_killed_prober_becomes_free(redis_url):
    """With its lease, and not before."""
    breaker, begun = half_open(redis_url, freshness=0), time.monotonic()
    prober = start("hold", redis_url)
    try:
        assert prober.stdout is not None
        assert json.loads(prober.stdout.readline()) is True
        prober.send_signal(signal.SIGKILL)
        wait_until(lambda: breaker.try_acquire() is not None)
        assert time.monotonic() - begun >= 1.0
    finally:
        prober.kill()
        prober.communicate()


def test_a_process_that_ends_reports_what_it_counted(redis_url):
    """In order, that is."""
    assert breaker_at(redis_url).metrics().calls == 0
    assert breaker_at(redis_url).metrics().calls + run("count", redis_url) == 10
    assert breaker_at(redis_url).metrics().calls == 10


def test_a_forked_child_reports_only_its_own(redis_url):
    """What the parent has counted is reported once, and the parent's permits end in the parent."""
    assert run("fork", redis_url) == 7
    view = breaker_at(redis_url).metrics()
    assert (view.calls, view.failed) == (7, 0)


# -- without Redis


@pytest.mark.faults
def test_redis_dies_and_comes_back(own_redis: RedisServer, caplog):
    """No call fails for it; each process opens and closes by itself; then the shared circuit counts again."""
    caplog.set_level("INFO")
    breaker, other = breaker_at(own_redis.url()), breaker_at(own_redis.url())
    breaker.call(int)
    other.call(int)
    own_redis.kill()
    for _ in range(20):
        breaker.call(int)
    wait_until(lambda: breaker.call(int) == 0 and "circuits_alone" in _actions(caplog))
    with pytest.raises(StoreUnavailable):
        breaker.force_open()
    wait_until(lambda: not _still_lets_failures_through(breaker))
    assert other.try_acquire() is not None
    own_redis.start()
    wait_until(lambda: breaker.state is CLOSED and "circuits_shared" in _actions(caplog), timeout=30)
    breaker.force_open()
    wait_until(lambda: other.try_acquire() is None)
    assert (_actions(caplog).count("circuits_alone"), _actions(caplog).count("circuits_shared")) == (1, 1)


@pytest.mark.faults
def test_redis_hangs(own_redis: RedisServer):
    """One call waits for it, for about a second; those after it do not, until it is asked again."""
    breaker = breaker_at(own_redis.url(), freshness=0)
    breaker.call(int)
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        breaker.call(int)
        begun = time.monotonic()
        for _ in range(200):
            breaker.call(int)
        assert time.monotonic() - begun < 30  # 200 s, if each waited
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)


@pytest.mark.faults
def test_redis_that_was_not_there_from_the_beginning(own_redis: RedisServer):
    """A process that starts meanwhile has a closed circuit of its own."""
    own_redis.kill()
    breaker = breaker_at(own_redis.url())
    assert breaker.call(int) == 0
    assert breaker.metrics().state is CLOSED
    fail(breaker, 3)
    assert breaker.state is OPEN


def test_redis_loses_everything(redis_url, redis_client):
    """The circuit is closed then, and what was let through before is late."""
    breaker = breaker_at(redis_url, freshness=0)
    before = [breaker.acquire() for _ in range(10)]
    fail(breaker, 4)
    redis_client.flushdb()
    assert breaker.state is CLOSED
    for permit in before:
        permit.failure()
    assert breaker.state is CLOSED
    assert breaker.metrics().calls == 0


def _actions(caplog) -> list[str]:
    return [getattr(record, "action", "") for record in caplog.records]


def _still_lets_failures_through(breaker) -> bool:
    permit = breaker.try_acquire()
    if permit is not None:
        permit.failure()
    return permit is not None
