"""What a process knows of a shared circuit, when it asks, and what it does alone; here the store is a machine."""

from __future__ import annotations

import gc
import itertools
import threading
import time

import pytest

from celery_recovery.circuit import outage
from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.machine import Machine
from celery_recovery.circuit.shared import SharedCircuit
from celery_recovery.circuit.state import CircuitState
from celery_recovery.exceptions import CircuitOpen, StoreUnavailable
from celery_recovery.redis.client import connect

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

#: Each fleet has an address, and thereby an outage, of its own.
_NUMBERS = itertools.count()


class Store:
    """One circuit for several breakers, as Redis would keep it, with a clock of its own; it notes who asks what."""

    def __init__(self, policy):
        self.machine = Machine(policy)
        self.now = 0.0
        self.away = False
        self.asked = []
        self._lock = threading.Lock()

    def admit(self, token="", *, done=None):
        self._ask("admit")
        with self._lock:
            changes = () if done is None else self.machine.count(self.now, done.generation, done.calls)
            answer = self.machine.admit(self.now, token)
            return answer._replace(changes=changes + answer.changes)

    def report(self, generation, calls, failed=0, slow=0, token="", scope=""):
        self._ask("report")
        with self._lock:
            return self.machine.report(self.now, generation, calls, failed, slow, token)

    def set(self, event, seconds=None, *, by="", reason=""):
        self._ask("set")
        with self._lock:
            return self.machine.set(self.now, event, seconds, by=by, reason=reason)

    def _ask(self, what):
        if self.away:
            raise StoreUnavailable
        self.asked.append(what)


class Fleet:
    """Processes that share one circuit: each a breaker, all on one clock that is moved."""

    def __init__(self, **settings):
        self.now = 500.0
        self.settings = {"minimum_calls": 4, "half_open_permits": 1, "open_duration": 5, **settings}
        self.store = Store(CircuitBreaker("x", **self.settings).policy)
        self.client = connect(f"redis://127.0.0.1:1/{next(_NUMBERS)}")

    def process(self, **options):
        breaker = CircuitBreaker("x", clock=lambda: self.now, **self.settings, **options)
        breaker._circuit = SharedCircuit(breaker._circuit.terms, self.store, self.client)
        return breaker

    def pass_time(self, seconds):
        self.now += seconds
        self.store.now += seconds

    def asked(self):
        asked, self.store.asked = self.store.asked, []
        return asked


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def no_rest(monkeypatch):
    """A store that is back is asked at once."""
    monkeypatch.setattr(outage, "REST", 0.0)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.acquire().failure()


def test_a_closed_circuit_asks_once_per_freshness(fleet):
    """The successes go along with the next question."""
    one = fleet.process()
    for _ in range(100):
        one.call(int)
    assert fleet.asked() == ["admit"]
    fleet.pass_time(0.2)
    one.call(int)
    assert fleet.asked() == ["admit"]
    assert fleet.store.machine.counts(fleet.store.now)[0] == 100


def test_a_success_that_comes_late_is_not_kept_until_the_next_call(fleet):
    """It is reported when the last word with the store is older than the freshness."""
    one = fleet.process()
    permit = one.acquire()
    fleet.pass_time(3)
    permit.success()
    assert fleet.asked() == ["admit", "report"]


def test_a_failure_is_reported_at_once_with_the_successes_before_it(fleet):
    """In one round trip."""
    one = fleet.process()
    for _ in range(2):
        one.call(int)
    fail(one)
    assert fleet.asked() == ["admit", "report"]
    assert fleet.store.machine.counts(0) == (3, 1, 0)


def test_without_freshness_each_call_asks_and_reports():
    """0 means always."""
    fleet = Fleet(freshness=0)
    one = fleet.process()
    for _ in range(3):
        one.call(int)
    assert fleet.asked() == ["admit", "report"] * 3


def test_the_process_that_opens_it_knows_at_once_and_the_others_within_the_freshness(fleet):
    """And they refuse without asking."""
    one, other = fleet.process(), fleet.process()
    other.acquire().release()
    fail(one, 4)
    assert one.try_acquire() is None
    assert other.try_acquire() is not None
    fleet.pass_time(0.2)
    fleet.asked()
    with pytest.raises(CircuitOpen) as refused:
        other.acquire()
    assert refused.value.retry_after == pytest.approx(4.8)
    for _ in range(50):
        assert other.try_acquire() is None
    assert fleet.asked() == ["admit"]


def test_when_its_time_is_over_one_process_probes(fleet):
    """Others are refused, and each asks, because the place may have become free."""
    one, other = fleet.process(), fleet.process()
    fail(one, 4)
    fleet.pass_time(5)
    probe = one.acquire()
    fleet.asked()
    assert [other.try_acquire() for _ in range(3)] == [None] * 3
    assert fleet.asked() == ["admit"] * 3
    probe.success()
    assert (one.state, other.state) == (CLOSED, CLOSED)
    assert other.try_acquire() is not None


def test_a_probe_that_is_dropped_gives_its_place_back(fleet):
    """With the next question of its process."""
    one, other = fleet.process(), fleet.process()
    one.force_open()
    one.half_open()
    one.acquire()
    gc.collect()
    assert other.try_acquire() is None
    one.acquire().success()
    assert one.state is CLOSED


def test_successes_of_an_older_generation_are_dropped(fleet):
    """Redis would not count them."""
    one, other = fleet.process(), fleet.process()
    permits = [one.acquire() for _ in range(5)]
    other.close()
    fleet.pass_time(0.2)
    one.acquire().release()
    fleet.asked()
    for permit in permits:
        permit.success()
    one.flush()
    assert fleet.asked() == []


def test_looking_reports_what_is_pending(fleet):
    """So that what is seen is true."""
    one = fleet.process()
    fail(one, 2)
    for _ in range(2):
        one.call(int)
    assert one.state is OPEN


def test_while_the_store_is_away_each_process_goes_by_itself(fleet, caplog):
    """With the same policy, from the state that was known last, and the log says it once."""
    one, other = fleet.process(), fleet.process()
    one.call(int)
    other.call(int)
    fleet.store.away = True
    fleet.pass_time(1)
    fail(one, 3)
    other.call(int)
    assert (one.state, other.state) == (OPEN, CLOSED)
    fleet.pass_time(5)
    one.call(int)
    assert one.state is CLOSED
    assert [r.action for r in caplog.records].count("circuits_alone") == 1


def test_a_failure_that_cannot_be_reported_counts_alone(fleet):
    """Its permit was of the shared circuit."""
    one = fleet.process()
    permits = [one.acquire() for _ in range(4)]
    fleet.store.away = True
    for permit in permits:
        permit.failure()
    assert one.state is OPEN


@pytest.mark.parametrize("before", ["open", "forced", "disabled"])
def test_alone_it_begins_in_the_state_that_was_known_last(fleet, before):
    """An open circuit with what was left of its time."""
    one = fleet.process()
    if before == "open":
        fail(one, 4)
    elif before == "forced":
        one.force_open()
    else:
        one.disable()
    fleet.store.away = True
    fleet.pass_time(4)
    if before == "disabled":
        assert one.state is CircuitState.DISABLED
        return
    with pytest.raises(CircuitOpen) as refused:
        one.acquire()
    assert refused.value.retry_after == (1 if before == "open" else None)
    fleet.pass_time(1)
    assert one.state is (HALF_OPEN if before == "open" else CircuitState.FORCED_OPEN)


def test_when_the_store_is_back_its_word_counts_again(fleet, no_rest, caplog):
    """What was decided alone is forgotten, and the log says it once."""
    caplog.set_level("INFO")
    one = fleet.process()
    fleet.store.away = True
    fail(one, 4)
    assert one.try_acquire() is None
    late = fleet.process().acquire()
    fleet.store.away = False
    assert one.try_acquire() is not None
    assert one.state is CLOSED
    late.failure()
    assert fleet.store.machine.counts(fleet.store.now)[1] == 0
    assert [r.action for r in caplog.records].count("circuits_shared") == 1


def test_a_store_that_is_away_is_left_in_peace(fleet):
    """For REST seconds nobody of this process asks it."""
    one = fleet.process()
    fleet.store.away = True
    one.call(int)
    fleet.store.away = False
    for breaker in (one, fleet.process()):
        breaker.call(int)
    assert fleet.asked() == []


def test_what_is_done_by_hand_needs_the_store(fleet):
    """The other processes would not hear of it."""
    one = fleet.process()
    fleet.store.away = True
    with pytest.raises(StoreUnavailable):
        one.force_open()
    assert one.try_acquire() is not None


def test_only_the_process_that_brings_it_about_tells_of_a_transition(fleet):
    """Each transition is told once."""
    told = []
    one, other = (fleet.process(on_transition=lambda _, change, n=n: told.append((n, change.after))) for n in (1, 2))
    other.call(int)
    fail(one, 4)
    fleet.pass_time(5)
    other.call(int)
    assert one.state is CLOSED
    assert told == [(1, OPEN), (2, HALF_OPEN), (2, CLOSED)]


def test_an_answer_that_was_overtaken_is_not_believed(fleet):
    """It was asked for before the circuit opened, and arrives after that is known."""
    one, asked, go_on = fleet.process(), threading.Event(), threading.Event()
    admit = fleet.store.admit

    def slowly(token="", *, done=None):
        answer = admit(token, done=done)
        asked.set()
        go_on.wait(20)
        return answer

    fleet.store.admit = slowly
    slow = threading.Thread(target=one.try_acquire)
    slow.start()
    assert asked.wait(20)
    fleet.now += 0.01
    other = fleet.process()
    fleet.store.admit = admit
    fail(other, 4)
    assert one.state is OPEN
    go_on.set()
    slow.join()
    assert one.try_acquire() is None


def test_no_lock_is_held_while_the_store_is_asked(fleet):
    """A store that hangs holds up those who ask it, and nobody else."""
    one, asked, go_on = fleet.process(), threading.Event(), threading.Event()
    one.acquire().release()
    report = fleet.store.report

    def hang(*args):
        asked.set()
        go_on.wait(20)
        return report(*args)

    fleet.store.report = hang
    failing = threading.Thread(target=fail, args=(one,))
    failing.start()
    assert asked.wait(20)
    begun = time.monotonic()
    for _ in range(100):
        one.call(int)
    assert time.monotonic() - begun < 10
    go_on.set()
    failing.join()
