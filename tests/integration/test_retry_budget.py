"""A retry budget that workers share: in step with its model, raced for, its Redis away and back."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from celery_recovery.circuit import outage
from celery_recovery.circuit.budget import MICRO, Bucket, RetryBudget, _Shared
from celery_recovery.redis.keys import BudgetKeys

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("ratio", [0.2, 0.07])
def test_lock_step(redis_client, ratio):
    """Scripts and model answer alike, whatever is asked, in whatever order, at whatever time."""

    class LockStep(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            redis_client.flushdb()
            self.model = Bucket(ratio, 2.5, MICRO)
            self.shared = _Shared(redis_client, BudgetKeys("test", "x"), self.model)
            self.shared.clock = 1_790_000_000_000_000

        @rule(later=st.integers(0, MICRO // 3) | st.just(MICRO // 10) | st.just(MICRO) | st.integers(-MICRO, 0))
        def wait(self, later):
            self.shared.clock += later

        @rule(calls=st.integers(1, 100), age=st.integers(0, 2 * MICRO))
        def deposit(self, calls, age):
            self.model.deposit(self.shared.clock, calls, age)
            self.shared.deposit(calls, age)

        @rule(calls=st.integers(0, 30), age=st.integers(0, MICRO))
        def withdraw(self, calls, age):
            self.model.deposit(self.shared.clock, calls, age)
            assert self.shared.withdraw(calls, age) == self.model.withdraw(self.shared.clock)

        @invariant()
        def seen_alike(self):
            figures = (*self.model.sums(self.shared.clock), self.model.granted, self.model.refused)
            assert self.shared.read() == figures
            assert redis_client.hlen("test:{circuit:x}:budget") <= 50

    run_state_machine_as_test(LockStep, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


def test_repeated_question(redis_client):
    """A question that is sent again because its answer was lost is answered as before, and counts once."""
    shared = _Shared(redis_client, BudgetKeys("test", "x"), Bucket(0.5, 1.0, 10 * MICRO))
    shared._question = lambda: ("me", 7)
    assert [shared.withdraw(4) for _ in range(3)] == [True] * 3
    assert shared.read() == (4, 1, 1, 0)
    shared._question = lambda: ("me", 8)
    shared.deposit(10, 0)
    shared.deposit(10, 0)
    assert shared.read() == (14, 1, 1, 0)


def test_one_budget_for_all(redis_url):
    """What one pays in another may take out; calls that are counted here go along with the next question."""
    one, other = (RetryBudget("x", floor=0, redis=redis_url, freshness=60) for _ in range(2))
    one.deposit(10)
    assert not other.withdraw()
    assert one.withdraw()
    assert other.withdraw()
    assert not other.withdraw()
    view = other.read()
    assert (view.calls, view.retries, view.granted, view.refused, view.shared) == (10, 2, 2, 2, True)


def test_paid_in_late(redis_url):
    """Calls count from when they were made: those that are older than the window allow nothing."""
    now = 0.0
    one = RetryBudget("x", floor=0, window=5, redis=redis_url, freshness=60, clock=lambda: now)
    one.deposit(1000)
    now = 6.0
    assert not one.withdraw()
    assert one.read().calls == 0


def test_batches(redis_url, redis_client):
    """A thousand calls make one round trip per `freshness`, and none is lost."""
    now = 0.0
    one = RetryBudget("x", redis=redis_url, freshness=0.2, clock=lambda: now)
    one.read()
    before = redis_client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    for _ in range(1000):
        now += 0.001
        one.deposit()
    after = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 6
    one.flush()
    assert one.read().calls == 1000


def test_keys_expire(redis_url, redis_client):
    """Nothing stays for ever."""
    one = RetryBudget("x", redis=redis_url, freshness=0)
    one.deposit()
    one.withdraw()
    keys = redis_client.keys()
    assert len(keys) == 2
    assert all(0 < redis_client.ttl(key) <= 86400 for key in keys)


RATIO, FLOOR, WINDOW = 0.5, 20.0, 1.0

RACER = f"""
RATIO, FLOOR, WINDOW = {RATIO}, {FLOOR}, {WINDOW}
import json, random, sys, time
from celery_recovery.circuit.budget import RetryBudget
seed, seconds = int(sys.argv[2]), float(sys.argv[3])
one = RetryBudget("x", ratio=RATIO, floor=FLOOR, window=WINDOW, redis=sys.argv[1], freshness=0.05)
chance, paid, got = random.Random(seed), [], []
one.read()
print("ready", flush=True)
sys.stdin.readline()
end = time.time() + seconds
while time.time() < end:
    if chance.random() < 0.5:
        paid.append(time.time()); one.deposit(1)
    else:
        before = time.time()
        if one.withdraw():
            got.append((before, time.time()))
    time.sleep(chance.uniform(0, 0.01))
print(json.dumps(dict(paid=paid, got=got, away=not one.read().shared)))
"""


def race(url: str, processes: int, seconds: float) -> list[dict[str, Any]]:
    """What each of so many processes paid in and got."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, str(n), str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for n in range(processes)
    ]  # fmt: skip
    try:
        for one in racers:
            assert one.stdout.readline() == "ready\n"
        for one in racers:
            one.stdin.write("go\n")
            one.stdin.flush()
        return [json.loads(one.communicate(timeout=60)[0]) for one in racers]
    finally:
        for one in racers:
            one.kill()
            one.wait(10)


def test_race(redis_url):
    """Eight processes take what they can: no window that ends with a retry has too many, and the floor is granted."""
    told = race(redis_url, 8, 3.0)
    assert not any(one["away"] for one in told)
    paid = sorted(at for one in told for at in one["paid"])
    got = [tuple(pair) for one in told for pair in one["got"]]
    for asked, answered in got:  # it was granted at some moment between the two
        surely = sum(before > answered - WINDOW and after <= asked for before, after in got) + 1
        perhaps = sum(asked - WINDOW <= at <= answered for at in paid)
        assert surely <= RATIO * perhaps + FLOOR * WINDOW
    assert len(got) >= FLOOR * WINDOW


def test_threads(redis_url):
    """Threads of one process share it too: of sixty retries that are there, a hundred threads get sixty."""
    one = RetryBudget("x", ratio=0, floor=1, redis=redis_url, window=60.0)
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(one.withdraw())) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(got), sum(got)) == (100, 60)


@pytest.mark.faults
def test_redis_away(own_redis, caplog, monkeypatch):
    """While Redis is away each process has the budget to itself, with what it did before; that is said once for all."""
    monkeypatch.setattr(outage, "REST", 0.2)
    url = own_redis.url()
    one, other = (RetryBudget(name, ratio=0.5, floor=0.1, redis=url, window=60.0) for name in ("one", "other"))
    one.deposit(4)
    assert [one.withdraw() for _ in range(9)].count(True) == 8
    own_redis.kill()
    with caplog.at_level(logging.INFO, "celery_recovery"):
        assert not one.withdraw()  # six of the floor and two of the calls are gone already
        assert not one.read().shared
        one.deposit(2)
        assert one.withdraw()
        assert [other.withdraw() for _ in range(7)].count(True) == 6
        assert [record.action for record in caplog.records] == ["circuits_alone"]
        own_redis.start()
        deadline = time.monotonic() + 20
        while not one.read().shared and time.monotonic() < deadline:
            time.sleep(0.05)
        assert one.read().shared
        assert [record.action for record in caplog.records] == ["circuits_alone", "circuits_shared"]


@pytest.mark.faults
def test_redis_that_hangs(own_redis, monkeypatch):
    """A Redis that does not answer costs a second, once, not each call."""
    monkeypatch.setattr(outage, "REST", 60.0)
    one = RetryBudget("x", redis=own_redis.url())
    assert one.withdraw()
    own_redis.pause()
    started = time.monotonic()
    assert all(one.withdraw() for _ in range(50))
    assert time.monotonic() - started < 10
    own_redis.resume()


def test_flushed(redis_url, redis_client):
    """A Redis that has lost everything begins anew, and goes on."""
    one = RetryBudget("x", ratio=0.5, floor=1, window=2.0, redis=redis_url)
    assert [one.withdraw() for _ in range(3)] == [True, True, False]
    redis_client.flushall()
    redis_client.script_flush()
    assert [one.withdraw() for _ in range(3)] == [True, True, False]


def test_fork(redis_url):
    """A child is somebody else: its questions are not taken for its parent's."""
    client = redis.Redis.from_url(redis_url)
    shared = _Shared(client, BudgetKeys("test", "x"), Bucket(0.5, 1.0, MICRO))
    told = "os.write(1, budget._question()[0].encode() + b'\\n')"  # at once: two lines must not mix
    code = f"import os\npid = os.fork()\n{told}\npid and os.waitpid(pid, 0)\n"
    program = (
        "from celery_recovery.circuit.budget import _Shared, Bucket\n"
        "from celery_recovery.redis.keys import BudgetKeys\n"
        "import sys\n"
        "budget = _Shared(sys.argv[1], BudgetKeys('test', 'x'), Bucket(0.5, 1.0, 1_000_000))\n" + code
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    names = subprocess.run(
        [sys.executable, "-c", program, redis_url], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    assert len(set(names)) == 2
    assert shared._question()[0] not in names
