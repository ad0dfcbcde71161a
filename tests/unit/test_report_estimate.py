"""Bounds of shares, and quantiles from buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from celery_recovery.monitoring.measures import RECOVERIES, bucket_of
from celery_recovery.report.estimate import at_least, at_most, quantile

trials = st.integers(1, 100_000)


@given(trials, st.floats(0, 1))
def test_the_share_seen_lies_between_its_bounds(n, share):
    """The bounds are around it, and shares themselves."""
    successes = round(n * share)
    assert 0 <= at_least(successes, n) <= successes / n + 1e-12
    assert successes / n - 1e-12 <= at_most(successes, n) <= 1


@given(trials, trials, st.floats(0, 1))
def test_more_trials_say_more(n, factor, share):
    """The same share from more trials has narrower bounds."""
    successes = round(n * share)
    assume(0 < successes < n)
    assert at_most(successes * (factor + 1), n * (factor + 1)) <= at_most(successes, n)
    assert at_least(successes * (factor + 1), n * (factor + 1)) >= at_least(successes, n)


def test_no_trials_say_nothing():
    """Anything is possible."""
    assert at_most(0, 0) == 1.0
    assert at_least(0, 0) == 0.0


@pytest.mark.parametrize("n", [10, 60, 1000])
def test_no_success_is_the_rule_of_three(n):
    """Of a share of 3 / n, n trials see none in one of twenty cases at most."""
    assert at_most(0, n) == 3 / n
    assert (1 - 3 / n) ** n <= 0.05


@pytest.mark.parametrize(("n", "share"), [(50, 0.3), (200, 0.05), (500, 0.5), (1000, 0.9)])
def test_bounds_hold_nineteen_times_of_twenty(n, share):
    """Over all outcomes, weighted by their probability: beyond a bound in little more than 5 %, as it approximates."""
    wrong_above = sum(_probability(n, k, share) for k in range(n + 1) if at_most(k, n) < share)
    wrong_below = sum(_probability(n, k, share) for k in range(n + 1) if at_least(k, n) > share)
    assert wrong_above <= 0.07
    assert wrong_below <= 0.07


def _probability(n: int, k: int, share: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(share) + (n - k) * math.log(1 - share))


@given(st.lists(st.floats(0, 80_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_quantiles_lie_in_the_right_bucket(seconds, share):
    """Whatever the times were: the estimate is in the bucket in which the true one is."""
    buckets: dict[str, int] = {}
    for one in seconds:
        buckets[bucket_of(one, RECOVERIES)] = buckets.get(bucket_of(one, RECOVERIES), 0) + 1
    true = sorted(seconds)[max(math.ceil(share * len(seconds)) - 1, 0)]
    found = quantile(share, buckets, RECOVERIES)
    assert found is not None
    assert bucket_of(found, RECOVERIES) == bucket_of(true, RECOVERIES)


def test_the_last_bucket_has_no_end():
    """What lies in it took its beginning, or more."""
    assert quantile(0.5, {"+Inf": 3}, RECOVERIES) == 86_400
    assert quantile(0.5, {}, RECOVERIES) is None
