"""What a circuit's settings may be, and what is said about those that make no sense."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.exceptions import ConfigurationError


@pytest.mark.parametrize("option", ["failure_rate_threshold", "slow_call_rate_threshold"])
@pytest.mark.parametrize("value", [0, -0.1, 1.01, 50, math.nan, math.inf, "0.5", None, True])
def test_a_rate_is_a_share(option, value):
    """Above 0 and up to 1; not a percentage."""
    with pytest.raises(ConfigurationError, match=rf"circuit\.{option}: expected a share"):
        CircuitPolicy(**{option: value})


@pytest.mark.parametrize("option", ["window", "open_duration", "slow_call_duration", "permit_lease"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "10", None, True])
def test_a_duration_is_more_than_nothing(option, value):
    """A window of zero seconds holds no call."""
    with pytest.raises(ConfigurationError, match=rf"circuit\.{option}"):
        CircuitPolicy(**{option: value})


@pytest.mark.parametrize("option", ["minimum_calls", "half_open_permits", "consecutive_failures", "host_quorum"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
def test_a_count_is_a_whole_number_from_one(option, value):
    """Nothing would ever be decided by none."""
    with pytest.raises(ConfigurationError, match=rf"circuit\.{option}"):
        CircuitPolicy(**{option: value})


def test_durations_may_be_timedeltas():
    """They are read as seconds."""
    policy = CircuitPolicy(window=timedelta(minutes=1), open_duration=timedelta(seconds=2))
    assert (policy.window, policy.open_duration) == (60.0, 2.0)


def test_freshness_may_be_zero():
    """It always asks then."""
    assert CircuitPolicy(freshness=0).freshness == 0


@pytest.mark.parametrize(("openings", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (10**6, 60)])
def test_it_stays_open_twice_as_long_each_time(openings, seconds):
    """Up to 60 s, where nothing else is said."""
    assert CircuitPolicy().open_for(openings) == seconds


def test_the_cap_is_not_below_the_first_time():
    """The longest is the first, where that is more than a minute; a cap below it is an error."""
    assert CircuitPolicy(open_duration=300).open_for(4) == 300
    with pytest.raises(ConfigurationError, match=r"max_open_duration: expected seconds >= open_duration"):
        CircuitPolicy(open_duration=10, max_open_duration=5)


def test_an_unknown_setting_is_named_with_the_nearest():
    """In a mapping as in a change."""
    for make in (lambda: CircuitPolicy.of({"minimum_call": 3}), lambda: CircuitPolicy().replace(minimum_call=3)):
        with pytest.raises(ConfigurationError, match=r"Did you mean 'minimum_calls'"):
            make()


@pytest.mark.parametrize("value", [3, "payments", [1]])
def test_a_policy_is_a_policy_or_a_mapping(value):
    """Nothing else."""
    with pytest.raises(ConfigurationError, match="a CircuitPolicy or a mapping"):
        CircuitPolicy.of(value)
