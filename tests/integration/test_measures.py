"""What is counted for Prometheus and for reports, and the feed for those who look on."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
from celery.app.task import Context

from celery_recovery import LetterState, RecoverableTask, Recovery, clock
from celery_recovery.circuit.machine import Change
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.decision import Action, Decision, Reason
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.history import Attempt
from celery_recovery.monitoring import counting, stats
from celery_recovery.monitoring.measures import DELAYS, bucket_of
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.monitoring.told import Told
from celery_recovery.redis import Keys, connect
from celery_recovery.redis.client import reachable
from tests.integration.jobs_client import Jobs, eventually
from tests.letters import letter

NEVER = 3600.0


@pytest.fixture
def monitor(redis_url: str) -> SuccessRateMonitor:
    return SuccessRateMonitor(connect(redis_url), Keys("shop"), interval=NEVER)


def told(what: str = "retry", **known: Any) -> Told:
    return Told(**{"what": what, "task": "a", "task_id": "1", "error_type": "network", **known})


def attempt(n: int = 1, fingerprint: str = "1:aa") -> Attempt:
    return Attempt(n=n, at=1.0, error_type=ErrorType.NETWORK, fingerprint=fingerprint)


def feed(monitor: SuccessRateMonitor) -> list[dict[str, Any]]:
    return [json.loads(entry[b"e"]) for _, entry in monitor._client.xrange(monitor._keys.feed)]


def test_attempts_are_in_the_totals(monitor):
    """Totals hold all that was ever counted, over flushes, and outlive the minutes."""
    monitor.succeeded("a")
    monitor.flush()
    monitor.succeeded("a")
    monitor.failed("a", ErrorType.NETWORK, "retry")
    monitor.flush()
    assert monitor.totals() == {("attempts", "a", "", "first_try"): 2, ("attempts", "a", "network", "retry"): 1}
    assert monitor._client.ttl(monitor._keys.totals_of_rates) > 30 * 86400


def test_names_that_messages_give_do_not_grow_the_totals(monitor):
    """A flood of unknown tasks is one count there, whatever they call themselves."""
    for n in range(50):
        monitor.watched(f"evil-{n}", "unknown", "unknown_task")
    monitor.flush()
    assert monitor.totals() == {("attempts", "", "unknown", "watched:unknown_task"): 50}


def test_a_retry_tells_its_delay(monitor):
    """In the bucket in which it falls, and in the sum."""
    monitor.tell(told(delay=4.2))
    monitor.tell(told(delay=5000))
    monitor.flush()
    assert monitor.totals() == {
        ("delay", "network", "5"): 1, ("delay", "network", "+Inf"): 1, ("delay_ms", "network"): 5_004_200,
    }  # fmt: skip


@pytest.mark.parametrize(("seconds", "end"), [(0, "1"), (1, "1"), (1.01, "5"), (3600, "3600"), (1e9, "+Inf")])
def test_buckets_hold_their_upper_ends(seconds, end):
    """As Prometheus' `le` says."""
    assert bucket_of(seconds, DELAYS) == end
    assert DELAYS[-1] == math.inf


def test_what_a_retry_was_worth(monitor):
    """An attempt after a failure counts for that failure's group, by its number, with the time it took."""
    monitor.tell(told(attempt=2, before=attempt(), runtime=0.5, fingerprint="1:bb"))
    monitor.tell(told(attempt=2, before=attempt(), runtime=1.5, fingerprint="1:bb"))
    monitor.tell(told("recovered", attempt=3, before=attempt(2), runtime=0.25, took=12.0))
    monitor.flush()
    hours = monitor.hours(time.time() - 60)
    failed = ("a", "network", "1:aa", "2", "failed")
    recovered = ("a", "network", "1:aa", "3", "recovered")
    assert (hours[("retry", *failed)], hours[("retry_ms", *failed)]) == (2, 2000)
    assert (hours[("retry", *recovered)], hours[("retry_ms", *recovered)]) == (1, 250)
    assert hours["recovery", "a", "network", "15"] == 1
    assert monitor.totals()["recovery_ms", "network"] == 12_000


@pytest.mark.parametrize("what", ["snooze", "given_back"])
def test_waiting_is_no_attempt(monitor, what):
    """Who asked to wait has not tried."""
    monitor.tell(told(what, attempt=2, before=attempt()))
    monitor.flush()
    assert not [labels for labels in monitor.hours(time.time() - 60) if labels[0] == "retry"]


def test_dead_letters_by_reason(monitor):
    """Both kinds of letters."""
    monitor.tell(told("dead_letter", reason="exhausted", fingerprint="1:aa"))
    monitor.tell(told("manual_review", reason="quarantined", fingerprint="1:aa"))
    monitor.flush()
    assert monitor.totals() == {("dead", "network", "exhausted"): 1, ("dead", "network", "quarantined"): 1}
    assert monitor.hours(time.time())["dead", "a", "network", "1:aa", "exhausted"] == 1


def test_too_many_groups(monitor, monkeypatch):
    """What a process tells apart in an hour is bounded; the rest is counted together."""
    monkeypatch.setattr(stats, "MOST_GROUPS", 3)
    for n in range(10):
        monitor.tell(told("dead_letter", reason="exhausted", fingerprint=f"1:{n}"))
    monitor.flush()
    found = {labels[3]: count for labels, count in monitor.hours(time.time()).items() if labels[0] == "dead"}
    assert len(found) == 3
    assert sum(found.values()) == 10
    assert found[""] == 8


def change(after: CircuitState, scope: str = "") -> Change:
    return Change(before=CircuitState.CLOSED, after=after, cause=CircuitEvent.FAILURE_RATE, generation=1, at=1.0,
                  scope=scope, detail={})  # fmt: skip


def test_transitions_of_circuits(monitor):
    """Circuits that were declared have their names; those that a callable names are counted together."""
    monitor.circuit_changed("pay", change(CircuitState.OPEN), named=True)
    for tenant in range(5):
        monitor.circuit_changed(f"tenant-{tenant}", change(CircuitState.OPEN), named=False)
    monitor.circuit_changed("pay", change(CircuitState.OPEN, scope="host-1"), named=True)
    monitor.flush()
    assert monitor.totals() == {("circuit", "pay", "open"): 1, ("circuit", "", "open"): 5}
    assert [entry["circuit"] for entry in feed(monitor)][:2] == ["pay", "tenant-0"]


def test_the_feed_tells_in_order(monitor):
    """What happened, oldest first, cut short, without what is not known."""
    monitor.tell(told(delay=1.0, message="x" * 1000, attempt=1, max_attempts=8, fingerprint="1:aa"))
    monitor.tell(told("recovered", attempt=2, before=attempt(), took=1.5))
    monitor.flush()
    first, second = feed(monitor)
    assert (first["what"], first["id"], first["delay"], first["max_attempts"]) == ("retry", "1", 1.0, 8)
    assert len(first["message"]) <= 300
    assert (second["what"], second["took"]) == ("recovered", 1.5)
    assert "message" not in second


def test_the_feed_is_bounded(monitor, monkeypatch):
    """A storm costs no more memory than its last thousand entries; how many were missed is told."""
    monkeypatch.setattr(counting, "FEED_KEPT", 100)
    for n in range(counting.FEED_WAITS + 250):
        monitor.feed(what="x", n=n)
    monitor.flush()
    found = feed(monitor)
    assert found[-1]["count"] == 250
    assert found[-2]["n"] == counting.FEED_WAITS + 249
    for _ in range(5):
        monitor.feed(what="y")
        monitor.flush()
    assert monitor._client.xlen(monitor._keys.feed) < 350  # Redis cuts whole blocks of about a hundred


def test_the_feed_is_soon(redis_url):
    """Whoever looks on need not wait for the interval."""
    monitor = SuccessRateMonitor(connect(redis_url), interval=30.0)
    began = time.monotonic()
    monitor.feed(what="x")
    while not monitor._client.exists(monitor._keys.feed):
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_redis_errors_are_counted(own_redis):
    """While Redis is away calls fail; when it is back, it is told how many."""
    client = connect(own_redis.url())
    monitor = SuccessRateMonitor(client, interval=NEVER)
    own_redis.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable), reachable(client):
            client.ping()
    monitor.succeeded("a")
    assert not monitor.flush()
    own_redis.start()
    assert monitor.flush()
    assert monitor.totals()["error", "redis"] == 3


def test_without_redis():
    """Nothing is kept, and nothing can be read."""
    monitor = SuccessRateMonitor(None)
    monitor.tell(told(delay=1.0))
    monitor.feed(what="x")
    assert monitor.flush()
    assert not monitor.totals()
    assert not monitor.hours(0)


def test_workers_count(redis_jobs: Jobs) -> None:
    """A task that recovers and one that is exhausted, seen from outside: retries and what they were worth."""
    redis_jobs.worker()
    redis_jobs.send("flaky", "t", 2).get(timeout=20)
    with pytest.raises(ConnectionResetError):
        redis_jobs.send("broken", "u", "network").get(timeout=20)
    stats = Recovery.of(redis_jobs.app).stats
    flaky, broken = (f"tests.apps.jobs.{name}" for name in ("flaky", "broken"))

    def counted() -> Any:
        hours = stats.hours(time.time() - 60)
        retries = {(task, n, result): hours[labels] for labels in hours if labels[0] == "retry"
                   for _, task, _, _, n, result in [labels]}  # fmt: skip
        return retries if len(retries) == 4 and ("group", "new") in stats.totals() else None

    assert eventually(counted) == {
        (flaky, "2", "failed"): 1, (flaky, "3", "recovered"): 1, (broken, "2", "failed"): 1, (broken, "3", "failed"): 1,
    }  # fmt: skip
    totals = stats.totals()
    assert totals["dead", "network", "exhausted"] == 1
    assert totals["attempts", flaky, "network", "recovered"] == 1
    assert sum(n for labels, n in totals.items() if labels[:2] == ("delay", "network")) == 4
    told = [json.loads(entry[b"e"]) for _, entry in stats._client.xrange(stats._keys.feed)]
    told.sort(key=lambda one: one["at"])  # the processes of a worker write one after the other
    assert [one["what"] for one in told if one.get("task") == flaky] == ["retry", "retry", "recovered"]
    assert [one["what"] for one in told if one.get("task") == broken][:3] == ["retry", "retry", "dead_letter"]


def test_a_replay_that_is_done_is_counted_as_one(redis_jobs: Jobs) -> None:
    """A letter that succeeds when it is replayed is neither a first try nor a recovery of its own."""
    redis_jobs.worker()
    sent = redis_jobs.send("broken", "t")
    redis_jobs.letter(sent.id)
    redis_jobs.ledger.fix("t")
    redis_jobs.dead_letters.replay([sent.id])
    task = "tests.apps.jobs.broken"

    def rates() -> Any:
        found = [rate for rate in Recovery.of(redis_jobs.app).stats.rates(time.time() - 60, task=task) if rate.replayed]
        return found[0] if found else None

    rate = eventually(rates)
    assert (rate.replayed, rate.first_try, rate.recovered, rate.failed) == (1, 0, 0, 0)


def nothing() -> None:
    """The body of a task."""


def test_what_cannot_be_told_holds_up_no_letter(redis_jobs, caplog):
    """The end of a replay is on its letter even where monitoring fails of what an own classifier has made."""
    recovery = Recovery.of(redis_jobs.app)
    task = redis_jobs.app.task(base=RecoverableTask, shared=False, name="shop.odd")(nothing)
    recovery.store.add(letter("t1", "shop.odd"))
    [claim] = recovery.store.claim(["t1"], "op")
    recovery.store.published(["t1"], "op")
    assert recovery.store.started("t1", claim.letter.token, "copy") == "run"
    request = Context(id="t1", task="shop.odd", hostname="w@h", args=(), kwargs={}, delivery_info={}, retries=0,
                      recovery={"replay": {"token": claim.letter.token, "copy": "copy"}})  # fmt: skip
    request.recovery_running = clock.monotonic()
    failure = recovery.understand(task, request, RuntimeError("again"))
    odd = replace(failure, info=replace(failure.info, fingerprint=["odd"]))
    decision = Decision(action=Action.DISCARD, reason=Reason.EXPECTED, attempt=1, max_attempts=None, rule="x")
    recovery.record(odd, decision, odd.exc)
    assert "not_recorded" in [record.action for record in caplog.records]
    assert recovery.store.get("t1").state is LetterState.DISCARDED
