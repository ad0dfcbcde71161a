"""`CircuitBreaker` in the memory of one process: every way through it, and what each counts as."""

from __future__ import annotations

import functools
import gc
import logging
import os
import threading

import pytest

from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState, IllegalTransition
from celery_recovery.exceptions import CircuitOpen, ConfigurationError, Snooze

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return made(clock)


def made(clock, **options):
    """A circuit that opens when two of two calls fail, for 5 s, and is probed by one."""
    settings = {"minimum_calls": 2, "half_open_permits": 1, "open_duration": 5, "failure_rate_threshold": 1}
    return CircuitBreaker("payments", clock=clock, **{**settings, **options})


def fail(breaker, times=1, error=OSError):
    for _ in range(times):
        with pytest.raises(error), breaker:
            raise error


def half_opened(clock, **options):
    breaker = made(clock, **options)
    breaker.force_open()
    breaker.half_open()
    return breaker


# -- ways through


def test_call_returns_what_the_function_returns(breaker):
    """With its arguments, even those that are named as ours are."""
    assert breaker.call(lambda *args, **kwargs: (args, kwargs), 1, function=2, self=3) == (
        (1,),
        {"function": 2, "self": 3},
    )
    assert breaker.metrics().calls == 1


def test_call_raises_what_the_function_raises(breaker):
    """The call that opens the circuit raises its own error, too."""
    error = OSError("gone")

    def function():
        raise error

    for _ in range(2):
        with pytest.raises(OSError, match="gone") as raised:
            breaker.call(function)
        assert raised.value is error
    assert breaker.state is OPEN


def test_a_decorated_function_keeps_its_name_and_goes_through_the_circuit(breaker):
    """Of a method, too."""

    class Client:
        @breaker
        def pay(self, amount):
            """Pay."""
            raise OSError(amount)

    assert (Client.pay.__name__, Client.pay.__doc__) == ("pay", "Pay.")
    for _ in range(2):
        with pytest.raises(OSError, match="7"):
            Client().pay(7)
    with pytest.raises(CircuitOpen):
        Client().pay(7)


async def _coroutine():
    """Does its work later."""


async def _async_generator():
    yield


def _generator():
    yield


class _Later:
    async def __call__(self):
        """Does its work later."""


@pytest.mark.parametrize(
    "function", [_coroutine, _async_generator, _generator, _Later(), functools.partial(_coroutine), 3, None]
)
def test_what_does_its_work_later_is_refused(breaker, function):
    """Its call would always succeed, and take no time."""
    with pytest.raises(ConfigurationError, match=r"circuit\.call"):
        breaker(function)
    with pytest.raises(ConfigurationError, match=r"circuit\.call"):
        breaker.call(function)
    assert breaker.metrics().calls == 0


@pytest.mark.parametrize(
    ("function", "args"), [(dict, ()), (len, ("x",)), (functools.partial(max, 1), (2,)), ([].append, (3,))]
)
def test_any_other_callable_will_do(breaker, function, args):
    """Builtins, types, partials and bound methods."""
    breaker.call(function, *args)
    assert breaker.metrics().calls == 1


def test_blocks_within_blocks_each_count(clock):
    """Of one circuit and of several, in any order."""
    one, other = made(clock), made(clock)
    with one, other, one as innermost:
        assert innermost.circuit == "payments"
        with other:
            pass
    assert (one.metrics().calls, other.metrics().calls) == (2, 2)


def test_blocks_that_do_not_lie_within_each_other(clock):
    """Left in the order they were entered in, each still ends its own permit."""
    one, other = made(clock), made(clock)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(OSError, OSError(), None)
    assert (one.metrics().failed, other.metrics().failed) == (0, 1)


def test_a_block_says_for_itself_how_it_ended(breaker):
    """An answer that is an error without an exception."""
    for _ in range(2):
        with breaker as permit:
            permit.failure()
    assert breaker.state is OPEN


def test_a_refused_call_is_not_made(breaker):
    """And is no failure: the window is that of calls."""
    fail(breaker, 2)
    made_calls = []
    for attempt in (lambda: breaker.call(made_calls.append, 1), breaker.__enter__, breaker.acquire):
        with pytest.raises(CircuitOpen) as refused:
            attempt()
        assert (refused.value.circuit, refused.value.retry_after, refused.value.state) == ("payments", 5.0, "open")
    assert breaker.try_acquire() is None
    assert made_calls == []
    assert breaker.metrics().calls == 2


# -- what counts


def test_a_permit_counts_once(breaker):
    """What comes after the first word does not."""
    permit = breaker.acquire()
    assert not permit.ended
    permit.success()
    permit.failure()
    permit.record(OSError())
    permit.release()
    assert permit.ended
    view = breaker.metrics()
    assert (view.calls, view.failed) == (1, 0)


def test_threads_that_end_the_same_permit_count_once(breaker):
    """However close they come."""
    for _ in range(50):
        permit, gate = breaker.acquire(), threading.Barrier(4)
        threads = [threading.Thread(target=lambda p=permit, g=gate: (g.wait(), p.success())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert breaker.metrics().calls == 50


@pytest.mark.parametrize(
    ("options", "error", "counts"),
    [
        ({}, ValueError, (1, 1)),
        ({"record": OSError}, TimeoutError, (1, 1)),
        ({"record": (OSError,)}, ValueError, (1, 0)),
        ({"record": [OSError, ValueError]}, ValueError, (1, 1)),
        ({"ignore": (ValueError,)}, UnicodeError, (0, 0)),
        ({"ignore": ValueError, "record": (ValueError,)}, ValueError, (0, 0)),
        ({"record": lambda exc: "5" in str(exc)}, lambda: RuntimeError("503"), (1, 1)),
        ({"record": lambda exc: "5" in str(exc)}, lambda: RuntimeError("404"), (1, 0)),
        ({"ignore": lambda exc: "4" in str(exc)}, lambda: RuntimeError("404"), (0, 0)),
        ({}, lambda: CircuitOpen("another", 3.0), (0, 0)),
        ({}, lambda: Snooze(5), (0, 0)),
        ({"record": (Snooze,)}, lambda: Snooze(5), (1, 1)),
        ({"record": lambda exc: True}, lambda: Snooze(5), (1, 1)),
        ({}, KeyboardInterrupt, (0, 0)),
        ({"record": (BaseException,)}, SystemExit, (0, 0)),
        ({}, type("GreenletExit", (BaseException,), {}), (0, 0)),
        ({}, type("Timeout", (BaseException,), {}), (0, 0)),
        ({"record": (BaseException,)}, type("Timeout", (BaseException,), {}), (1, 1)),
    ],
)
def test_what_an_error_counts_as(clock, options, error, counts):
    """Recorded: a failure; ignored, or an end of the process: nothing; any other: a success."""
    breaker = made(clock, **options)
    with pytest.raises(BaseException), breaker:  # noqa: B017, PT011  # whichever it is
        raise error()
    view = breaker.metrics()
    assert (view.calls, view.failed) == counts


@pytest.mark.parametrize("option", ["record", "ignore"])
@pytest.mark.parametrize("value", [None, 3, "OSError", (OSError, "ValueError"), int, (int,)])
def test_record_and_ignore_are_types_or_a_callable(option, value):
    """Anything else is refused at once, not at the first error."""
    with pytest.raises(ConfigurationError, match=rf"circuit\.{option}"):
        CircuitBreaker("x", **{option: value})


@pytest.mark.parametrize("option", ["record", "ignore"])
def test_a_callable_that_raises_keeps_no_place_and_hides_no_error(clock, caplog, option):
    """The caller sees what the call raised; the log has what the callable did."""

    def broken(exc):
        raise ZeroDivisionError("bug")

    breaker = half_opened(clock, **{option: broken})
    fail(breaker)
    assert breaker.state is HALF_OPEN
    assert breaker.try_acquire() is not None
    assert [r.action for r in caplog.records if r.levelno == logging.ERROR] == ["circuit_judge_failed"]


def test_a_slow_call_is_one_that_takes_longer(clock):
    """Measured from the permit to its end; or as the caller says."""
    breaker = made(clock, slow_call_duration=2, slow_call_rate_threshold=1)
    permit = breaker.acquire()
    clock.now += 2
    permit.success()
    assert breaker.metrics().slow == 0
    with breaker:
        clock.now += 2.1
    breaker.acquire().success(duration=2.1)
    assert breaker.metrics().slow == 2


def test_slow_successes_open_it(clock):
    """And slow probes open it again."""
    breaker = made(clock, slow_call_duration=2, slow_call_rate_threshold=0.5)
    for _ in range(2):
        with breaker:
            clock.now += 3
    assert breaker.metrics().history[0].cause is CircuitEvent.SLOW_CALL_RATE
    clock.now += 5
    with breaker:
        clock.now += 3
    assert breaker.state is OPEN


# -- over time


def test_it_opens_probes_and_closes(clock, breaker):
    """The life of an outage."""
    fail(breaker, 2)
    clock.now += 4.9
    assert breaker.state is OPEN
    clock.now += 0.1
    assert breaker.state is HALF_OPEN
    fail(breaker)
    assert breaker.state is OPEN
    clock.now += 9.9
    assert breaker.try_acquire() is None
    clock.now += 0.1
    with breaker:
        assert breaker.state is HALF_OPEN
        assert breaker.try_acquire() is None
    assert breaker.state is CLOSED


def test_while_all_probes_are_under_way_others_are_refused(clock):
    """As long as their lease lasts."""
    breaker = half_opened(clock, permit_lease=30)
    probe = breaker.acquire()
    with pytest.raises(CircuitOpen) as refused:
        breaker.acquire()
    assert (refused.value.state, refused.value.retry_after) == ("half_open", 30)
    clock.now += 30
    assert breaker.try_acquire() is not None
    probe.release()


def test_a_released_permit_gives_its_place_back(clock):
    """Also one whose call ended with an ignored error."""
    breaker = half_opened(clock, ignore=(ValueError,))
    breaker.acquire().release()
    fail(breaker, error=ValueError)
    breaker.acquire().success()
    assert breaker.state is CLOSED


def test_a_permit_that_is_dropped_is_taken_back(clock, caplog):
    """And said so, once for each circuit."""
    breaker = half_opened(clock)
    for _ in range(3):
        breaker.acquire()
        gc.collect()
    assert breaker.try_acquire() is not None
    assert [r.action for r in caplog.records].count("circuit_permit_dropped") == 1


def test_a_call_from_before_the_outage_is_late(clock, breaker):
    """Whatever its result, the probes decide."""
    late, later = breaker.acquire(), breaker.acquire()
    fail(breaker, 2)
    clock.now += 5
    probe = breaker.acquire()
    late.failure()
    later.success()
    assert breaker.state is HALF_OPEN
    probe.success()
    assert (breaker.state, breaker.metrics().calls) == (CLOSED, 0)


def test_failures_older_than_the_window_do_not_open_it(clock):
    """They are forgotten."""
    breaker = made(clock, window=10)
    fail(breaker)
    clock.now += 10.1
    fail(breaker)
    assert breaker.state is CLOSED


def test_a_clock_that_goes_back_changes_nothing(clock, breaker):
    """The time of an open circuit does not get longer by it, nor is anything counted twice."""
    fail(breaker, 2)
    clock.now -= 1000
    assert breaker.state is OPEN
    clock.now += 1005
    assert breaker.state is HALF_OPEN


# -- by hand


def test_forced_open_until_somebody_says_otherwise(clock, breaker):
    """There is nothing to wait for."""
    breaker.force_open(reason="maintenance")
    clock.now += 1e6
    with pytest.raises(CircuitOpen) as refused:
        breaker.acquire()
    assert (refused.value.state, refused.value.retry_after) == ("forced_open", None)
    assert breaker.metrics().history[0].detail == {"reason": "maintenance"}
    breaker.close()
    assert breaker.state is CLOSED


def test_forced_open_for_a_time(clock, breaker):
    """It probes when that is over."""
    breaker.force_open(60)
    clock.now += 59
    assert breaker.try_acquire() is None
    clock.now += 1
    assert breaker.state is HALF_OPEN
    with pytest.raises(ConfigurationError, match=r"force_open\.seconds"):
        breaker.force_open(-1)


def test_disabled_lets_everything_through(breaker):
    """Until it is closed, or reset."""
    breaker.disable()
    fail(breaker, 50)
    assert breaker.state is CircuitState.DISABLED
    breaker.reset()
    assert breaker.state is CLOSED


def test_a_closed_circuit_is_not_probed(breaker):
    """The refusal says so, and changes nothing."""
    with pytest.raises(IllegalTransition):
        breaker.half_open()
    assert breaker.state is CLOSED


# -- being told


def test_transitions_are_told_in_order(clock):
    """With the causes, and outside any lock: the listener may use the circuit."""
    told = []

    def listen(circuit, change):
        told.append((circuit.name, change.before, change.after, change.cause, circuit.state))

    breaker = made(clock, on_transition=listen)
    fail(breaker, 2)
    clock.now += 5
    breaker.call(int)
    assert [one[1:4] for one in told] == [
        (CLOSED, OPEN, CircuitEvent.FAILURE_RATE),
        (OPEN, HALF_OPEN, CircuitEvent.WAIT_OVER),
        (HALF_OPEN, CLOSED, CircuitEvent.PROBES_PASSED),
    ]


def test_a_listener_that_raises_disturbs_no_call(clock, caplog):
    """It is logged."""

    def listen(circuit, change):
        raise ZeroDivisionError

    breaker = made(clock, on_transition=listen)
    fail(breaker, 2)
    assert breaker.state is OPEN
    assert "circuit_listener_failed" in [r.action for r in caplog.records]


def test_metrics_are_those_of_the_window(clock, breaker):
    """While it is open, those that opened it."""
    assert breaker.metrics().failure_rate is None
    fail(breaker)
    view = breaker.metrics()
    assert (view.calls, view.failed, view.failure_rate, view.row) == (1, 1, 1.0, 1)
    fail(breaker)
    view = breaker.metrics()
    assert (view.state, view.calls, view.failed, view.openings) == (OPEN, 2, 2, 1)
    assert view.until - view.since == 5


# -- what it is made of


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "a{b}", "\x00", "x" * 201, "\ud800", 3, None, b"x"])
def test_a_name_that_is_none(name):
    """It becomes part of a key."""
    with pytest.raises(ConfigurationError, match=r"circuit\.name"):
        CircuitBreaker(name)


@pytest.mark.parametrize("name", ["payments-api", "a:b/c?d=*&e", "größe", "x" * 200, "支払い"])
def test_a_name_may_be_almost_anything(name):
    """What reads well will do."""
    assert CircuitBreaker(name).name == name


def test_settings_may_be_a_policy_a_mapping_or_keywords():
    """Keywords change what the policy says."""
    for policy in (CircuitPolicy(minimum_calls=7, window=3), {"minimum_calls": 7, "window": 3}):
        made_of = CircuitBreaker("x", policy, window=4).policy
        assert (made_of.minimum_calls, made_of.window) == (7, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"minimum_call": 3},
        {"failure_rate_threshold": 50},
        {"window": 0},
        {"clock": 3},
        {"on_transition": "listen"},
        {"policy": 3},
        {"redis": 3},
        {"redis": "http://localhost"},
    ],
)
def test_options_that_make_no_sense_are_named(options):
    """At once, and not with the first call."""
    with pytest.raises(ConfigurationError, match="circuit"):
        CircuitBreaker("x", **options)


# -- many at once


def test_one_place_goes_to_one_of_many_threads(clock):
    """Sixteen ask at the same moment."""
    breaker = half_opened(clock)
    for _ in range(20):
        gate, permits = threading.Barrier(16), []

        def ask(gate=gate, permits=permits):
            gate.wait()
            permits.append(breaker.try_acquire())

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (granted,) = [permit for permit in permits if permit is not None]
        granted.release()


def test_calls_run_side_by_side():
    """No lock is held while one runs: each of eight waits for all the others."""
    breaker, gate = CircuitBreaker("x"), threading.Barrier(8)
    threads = [threading.Thread(target=breaker.call, args=(gate.wait, 10)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.metrics().calls == 8


def test_no_call_is_lost_among_threads():
    """All are counted, half of them as failures."""
    breaker = CircuitBreaker("x", minimum_calls=1_000_000, window=3600)

    def call():
        for n in range(500):
            permit = breaker.acquire()
            permit.failure() if n % 2 else permit.success()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = breaker.metrics()
    assert (view.calls, view.failed) == (4000, 2000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_anew(clock):
    """Even when another thread of the parent holds the lock just then; the parent's permits do not count there."""
    breaker = made(clock)
    fail(breaker)
    inherited = breaker.acquire()
    clock.now += 1
    with breaker._circuit._lock:
        child = os.fork()
        if child == 0:
            clock.now += 1
            inherited.failure()
            os._exit(breaker.metrics().calls)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    inherited.success()
    assert breaker.metrics().calls == 2
