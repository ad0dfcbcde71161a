"""The circuit as a state machine: when it opens, how it is probed, what is late, and how tasks come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.circuit.machine import HISTORY_LIMIT, Machine
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import TRANSITIONS, CircuitEvent, CircuitState, IllegalTransition, after

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED = CircuitState.FORCED_OPEN, CircuitState.DISABLED


def machine(**settings):
    """A circuit that opens at 60 % of five calls, for 5 s, and is probed by four."""
    policy = {"failure_rate_threshold": 0.6, "minimum_calls": 5, "half_open_permits": 4, "open_duration": 5}
    return Machine(CircuitPolicy(**{**policy, **settings}))


def calls(circuit, now, outcomes, *, slow=""):
    """One call for each letter: `f` failed, `s` succeeded; the same for slow ones, in capitals."""
    for outcome in outcomes:
        circuit.report(now, circuit.generation, 1, int(outcome in "fF"), int(outcome.isupper()))


def opened(now=0.0, **settings):
    circuit = machine(**settings)
    calls(circuit, now, "fffff")
    assert circuit.state is OPEN
    return circuit


def half_open(now=5.0, **settings):
    circuit = opened(**settings)
    circuit.admit(now, "first")
    assert circuit.state is HALF_OPEN
    circuit.report(now, circuit.generation, 0, token="first")
    return circuit


# -- closed


def test_it_opens_with_the_call_that_makes_the_share():
    """Below minimum_calls no share is computed; the call that completes them may be a success."""
    circuit = machine()
    calls(circuit, 0, "fffs")
    assert circuit.state is CLOSED
    calls(circuit, 0, "s")
    assert circuit.state is OPEN
    assert circuit.history[-1].detail == {"calls": 5, "failed": 3, "slow": 0}
    assert circuit.history[-1].cause is CircuitEvent.FAILURE_RATE


def test_it_stays_closed_below_the_threshold():
    """Two of five is less than 60 %."""
    circuit = machine()
    calls(circuit, 0, "ffsss")
    assert circuit.state is CLOSED


@pytest.mark.parametrize(("threshold", "failed", "calls_made"), [(0.07, 7, 100), (0.7, 7, 10), (0.29, 29, 100)])
def test_a_share_that_is_exactly_the_threshold_opens_it(threshold, failed, calls_made):
    """Whatever binary fractions make of the product."""
    circuit = machine(failure_rate_threshold=threshold, minimum_calls=calls_made)
    calls(circuit, 0, "s" * (calls_made - failed) + "f" * failed)
    assert circuit.state is OPEN


def test_slow_calls_open_it_whether_they_fail_or_not():
    """A slow success and a slow failure are both slow."""
    circuit = machine(slow_call_rate_threshold=0.6, failure_rate_threshold=1)
    calls(circuit, 0, "SSsF")
    assert circuit.state is CLOSED
    calls(circuit, 0, "s")
    assert circuit.history[-1].cause is CircuitEvent.SLOW_CALL_RATE


def test_failures_in_a_row_open_it_below_minimum_calls():
    """One success between them begins the row anew."""
    circuit = machine(consecutive_failures=3, minimum_calls=100)
    calls(circuit, 0, "ffsff")
    assert circuit.state is CLOSED
    calls(circuit, 0, "f")
    assert circuit.history[-1].cause is CircuitEvent.CONSECUTIVE_FAILURES


@given(st.floats(0, 1e6))
def test_what_is_older_than_the_window_is_forgotten(start):
    """Failures count for at least nine tenths of the window, and no longer than it."""
    circuit = machine(window=10, minimum_calls=2, failure_rate_threshold=1)
    circuit.report(start, 0, 1, 1)
    assert circuit.counts(start + 8.99) == (1, 1, 0)
    assert circuit.counts(start + 10.01) == (0, 0, 0)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_the_sums_are_those_of_the_calls_in_the_window(steps):
    """However the calls are spread over time."""
    circuit = machine(window=10, minimum_calls=1_000_000)
    now, made = 0.0, []
    for gap, failed in steps:
        now += gap
        made.append((now, failed))
        circuit.report(now, 0, 1, int(failed))
    kept = [failed for at, failed in made if int(at) > int(now) - 10]
    assert circuit.counts(now) == (len(kept), sum(kept), 0)


def test_calls_that_are_reported_together_count_as_many():
    """Nine successes and a failure in one report."""
    circuit = machine(minimum_calls=10, failure_rate_threshold=0.1)
    circuit.report(0, 0, 10, 1)
    assert circuit.state is OPEN


# -- open


def test_an_open_circuit_refuses_until_its_time_is_over():
    """And says in how many seconds that is."""
    circuit = opened()
    refused = circuit.admit(3.0, "t")
    assert (refused.permitted, refused.state, refused.retry_after) == (False, OPEN, 2.0)
    assert circuit.admit(5.0, "t").permitted
    assert circuit.state is HALF_OPEN


def test_each_opening_in_a_row_lasts_twice_as_long_up_to_the_cap():
    """A closing begins anew."""
    circuit, now, waits = opened(half_open_permits=1, max_open_duration=30), 0.0, []
    for _ in range(5):
        waits.append(circuit.until - now)
        now = circuit.until
        circuit.admit(now, "t")
        circuit.report(now, circuit.generation, 1, 1, token="t")
    assert waits == [5, 10, 20, 30, 30]
    circuit.set(now, CircuitEvent.CLOSE)
    calls(circuit, now, "fffff")
    assert circuit.until - now == 5


# -- half open


def test_so_many_calls_probe_and_no_more():
    """A place that is given back is given to another."""
    circuit = half_open()
    assert [circuit.admit(5, token).permitted for token in "abcdef"] == [True] * 4 + [False] * 2
    circuit.report(5, circuit.generation, 0, token="b")
    assert circuit.admit(5, "g").permitted
    assert not circuit.admit(5, "h").permitted


@pytest.mark.parametrize(("outcomes", "state"), [("ssss", CLOSED), ("fsss", CLOSED), ("ffss", CLOSED), ("fffs", OPEN)])
def test_the_probes_decide_together(outcomes, state):
    """When all have been heard of, and not before, their share is what counts."""
    circuit = half_open()
    for token, outcome in zip("abcd", outcomes, strict=True):
        assert circuit.state is HALF_OPEN
        circuit.admit(5, token)
        circuit.report(5, circuit.generation, 1, int(outcome == "f"), token=token)
    assert circuit.state is state


def test_slow_probes_open_it_again():
    """A dependency that answers too late is not back."""
    circuit = half_open(half_open_permits=1)
    circuit.admit(5, "a")
    circuit.report(5, circuit.generation, 1, 0, 1, token="a")
    assert circuit.state is OPEN


def test_the_place_of_a_killed_prober_is_free_after_its_lease():
    """And says until then when that will be."""
    circuit = half_open(half_open_permits=1, permit_lease=30)
    circuit.admit(5, "killed")
    refused = circuit.admit(20, "next")
    assert (refused.permitted, refused.retry_after) == (False, 15)
    assert circuit.admit(35, "next").permitted


def test_a_place_counts_once():
    """The second report of a probe, and one of a stranger, change nothing."""
    circuit = half_open(half_open_permits=2)
    circuit.admit(5, "a")
    for token in ("a", "a", "stranger", ""):
        circuit.report(5, circuit.generation, 1, 0, token=token)
    assert circuit.probes == [1, 0, 0]


def test_asking_again_under_the_same_token_holds_the_same_place():
    """A question that is repeated because its answer was lost takes no second place."""
    circuit = half_open(half_open_permits=2)
    assert [circuit.admit(5, token).permitted for token in "aab"] == [True, True, True]
    assert circuit.probing(5) == 2


# -- late


def test_a_late_result_does_not_disturb_a_newer_state():
    """A call that began before the outage neither closes nor opens a circuit that is being probed."""
    circuit = machine(half_open_permits=1)
    before = circuit.generation
    calls(circuit, 0, "fffff")
    circuit.report(1, before, 1)
    assert circuit.state is OPEN
    circuit.admit(5, "probe")
    for failed in (0, 1):
        circuit.report(5, before, 1, failed, token="probe")
    assert circuit.state is HALF_OPEN
    circuit.report(5, circuit.generation, 1, token="probe")
    circuit.report(6, before, 50, 50)
    assert (circuit.state, circuit.counts(6)) == (CLOSED, (0, 0, 0))


# -- by hand


@pytest.mark.parametrize("state", CircuitState)
@pytest.mark.parametrize("event", CircuitEvent)
def test_every_state_and_event_is_either_in_the_table_or_refused(state, event):
    """The refusal names both."""
    if event in TRANSITIONS[state]:
        assert after(state, event) in CircuitState
    else:
        with pytest.raises(IllegalTransition, match=f"{state}.*{event}"):
            after(state, event)


def test_forced_open_refuses_for_good_or_for_a_time():
    """Without a time there is no retry_after; with one it probes when that is over."""
    circuit = machine()
    circuit.set(0, CircuitEvent.FORCE_OPEN)
    assert circuit.admit(1e9).retry_after is None
    assert circuit.state is FORCED_OPEN
    circuit.set(0, CircuitEvent.FORCE_OPEN, 60)
    assert circuit.admit(59, "t").retry_after == 1
    assert circuit.admit(60, "t").permitted
    assert circuit.state is HALF_OPEN


def test_a_disabled_circuit_lets_all_through_and_counts_nothing():
    """Whatever fails."""
    circuit = machine()
    circuit.set(0, CircuitEvent.DISABLE)
    calls(circuit, 0, "f" * 50)
    assert circuit.admit(0).permitted
    assert (circuit.state, circuit.counts(0)) == (DISABLED, (0, 0, 0))


def test_closing_by_hand_counts_from_nothing():
    """The failures before say nothing about what follows."""
    circuit = machine()
    calls(circuit, 0, "ffff")
    circuit.set(0, CircuitEvent.CLOSE)
    calls(circuit, 0, "f")
    assert (circuit.state, circuit.counts(0)) == (CLOSED, (1, 1, 0))


def test_half_open_by_hand_begins_the_probing_anew():
    """All places are free again."""
    circuit = half_open()
    for token in "abcd":
        circuit.admit(5, token)
    circuit.set(5, CircuitEvent.HALF_OPEN)
    assert circuit.admit(5, "e").permitted


def test_the_history_is_bounded():
    """The latest transitions are kept."""
    circuit = machine()
    for at in range(HISTORY_LIMIT + 20):
        circuit.set(at, CircuitEvent.RESET)
    assert [change.at for change in circuit.history] == list(range(20, HISTORY_LIMIT + 20))


# -- the return


def released(circuit, start, seconds, step=0.05):
    """(time, tasks) of every look at what may go."""
    return [(start + n * step, circuit.pace(start + n * step, 10_000).tasks) for n in range(int(seconds / step))]


def test_no_task_returns_while_it_is_open_and_as_many_as_probe_when_its_time_is_over():
    """The tasks are the probes."""
    circuit = opened()
    assert circuit.pace(1, 100).tasks == 0
    assert circuit.pace(5, 100).tasks == 4
    assert circuit.pace(5.5, 100).tasks == 0


def test_the_return_starts_small_and_grows_up_to_the_share_that_new_calls_leave():
    """From a tenth of the rate before, to return_peak less what arrives anyway."""
    circuit = machine(return_peak=2, window=10, half_open_permits=1)
    for n in range(1000):  # 100 calls per second
        circuit.report(n / 100, 0, 1)
    calls(circuit, 10, "f" * 2000)
    assert circuit.steady >= 100
    steady = circuit.steady
    circuit.admit(16, "t")
    circuit.report(16, circuit.generation, 1, token="t")
    looks = released(circuit, 16, 30)
    first = sum(tasks for at, tasks in looks if at < 17)
    last = sum(tasks for at, tasks in looks if at >= 45)
    assert first <= 0.2 * steady + 1
    assert 0.9 * steady <= last <= 1.1 * steady


def test_a_failure_halves_the_pace():
    """And it does not fall below where it began."""
    circuit = machine(return_rate=4, minimum_calls=1000)
    circuit.steady = 1000.0
    released(circuit, 0, 10)
    before = circuit.returning
    circuit.report(10, 0, 1, 1)
    assert circuit.returning == before / 2
    for _ in range(50):
        circuit.report(10, 0, 2, 1)
    assert circuit.returning == 4
