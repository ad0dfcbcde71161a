"""Delays: how they grow, how they are spread, and that no input at all leads out of their bounds."""

from __future__ import annotations

import math
import random as dice
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.backoff import BackoffStrategy, Jitter, jittered, raw_delay

ATTEMPTS = st.one_of(st.integers(1, 100), st.integers(1, 10**30))
SECONDS = st.floats(0, 1e7)
STRATEGIES = st.sampled_from(BackoffStrategy)
JITTERS = st.sampled_from(Jitter)


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (BackoffStrategy.FIXED, [3, 3, 3, 3, 3, 3]),
        (BackoffStrategy.LINEAR, [3, 6, 9, 12, 15, 18]),
        (BackoffStrategy.EXPONENTIAL, [3, 6, 12, 24, 48, 96]),
        (BackoffStrategy.FIBONACCI, [3, 3, 6, 9, 15, 24]),
    ],
)
def test_growth(strategy, delays):
    """The first delays of each strategy, from a base of 3 s."""
    assert [raw_delay(strategy, n, 3, 1000) for n in range(1, 7)] == delays


def test_exponential_is_exact():
    """Far out, where sums and powers could drift, exponential is still the power of two."""
    assert all(raw_delay(BackoffStrategy.EXPONENTIAL, n, 1, math.inf) == 2 ** (n - 1) for n in range(1, 1024))


def test_fibonacci_is_exact():
    """As far as a float can tell, each delay is the sum of the two before."""
    delays = [raw_delay(BackoffStrategy.FIBONACCI, n, 1, math.inf) for n in range(1, 79)]
    assert all(a + b == c for a, b, c in zip(delays, delays[1:], delays[2:], strict=False))


@pytest.mark.parametrize("strategy", BackoffStrategy)
@pytest.mark.parametrize("attempt", [10**9, 10**400])
def test_no_overflow(strategy, attempt):
    """After a billion attempts the delay is the maximum, at once computed; a base of 0 stays 0."""
    expected = 3 if strategy is BackoffStrategy.FIXED else 300
    assert raw_delay(strategy, attempt, 3, 300) == expected
    assert raw_delay(strategy, attempt, 0, 300) == 0


@given(STRATEGIES, ATTEMPTS, SECONDS, SECONDS)
def test_raw_delay_is_within_bounds(strategy, attempt, base, maximum):
    """0 <= delay <= maximum, always."""
    assert 0 <= raw_delay(strategy, attempt, base, maximum) <= maximum


@given(STRATEGIES, ATTEMPTS, ATTEMPTS, SECONDS, SECONDS)
def test_raw_delay_never_shrinks(strategy, one, other, base, maximum):
    """A later attempt never waits less than an earlier one."""
    earlier, later = sorted((one, other))
    assert raw_delay(strategy, earlier, base, maximum) <= raw_delay(strategy, later, base, maximum)


@pytest.mark.parametrize("attempt", [0, -5])
def test_attempts_are_counted_from_one(attempt):
    """A count below 1 is read as the first attempt."""
    assert raw_delay(BackoffStrategy.LINEAR, attempt, 3, 300) == 3


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (7, 7),
        (2.5, 2.5),
        (0, 0),
        (math.inf, 60),
        (1000, 60),
        (10**400, 8),
        (timedelta(seconds=9), 9),
        (Fraction(1, 2), 0.5),
        (Decimal("1.5"), 1.5),
    ],
)
def test_callable_is_clamped(answer, seconds):
    """A callable may answer with any number or a timedelta; more than the maximum is the maximum."""
    assert raw_delay(lambda attempt: answer, 4, 1, 60) == seconds


def test_callable_gets_the_failed_attempt():
    """It is called once, with the 1-based number of the attempt that failed."""
    asked = []
    raw_delay(lambda attempt: asked.append(attempt) or 1, 4, 1, 60)
    assert asked == [4]


@pytest.mark.parametrize("nonsense", [-1, math.nan, -math.inf, None, "5", b"5", True, [], timedelta(seconds=-1), 1j])
def test_callable_with_a_nonsense_answer(nonsense):
    """Where the answer is no number >= 0, the exponential delay stands in for it."""
    assert raw_delay(lambda attempt: nonsense, 4, 1, 60) == 8


@pytest.mark.parametrize("raised", [ZeroDivisionError, RecursionError, TypeError])
def test_callable_that_raises(raised):
    """A mistake in the formula costs the task neither its retry nor its pause."""

    def formula(attempt):
        raise raised

    assert raw_delay(formula, 4, 1, 60) == 8


def test_callable_does_not_swallow_an_exit():
    """SystemExit and KeyboardInterrupt are for the process, not for us."""

    def formula(attempt):
        raise SystemExit

    with pytest.raises(SystemExit):
        raw_delay(formula, 4, 1, 60)


@given(
    delay=SECONDS,
    jitter=JITTERS,
    base=SECONDS,
    previous=st.none() | SECONDS,
    maximum=SECONDS,
    floor=SECONDS,
    seed=st.integers(),
)
def test_jittered_is_within_bounds(delay, jitter, base, previous, maximum, floor, seed):
    """Floor <= result <= maximum; when they contradict, the maximum wins."""
    result = jittered(
        delay, jitter, base=base, previous=previous, maximum=maximum, random=dice.Random(seed), floor=floor
    )
    assert min(floor, maximum) <= result <= maximum


@given(delay=SECONDS, jitter=JITTERS, previous=st.none() | SECONDS, seed=st.integers())
def test_jittered_is_determined_by_its_dice(delay, jitter, previous, seed):
    """Same seed, same delay: nothing else is random."""
    one, other = (
        jittered(delay, jitter, base=1, previous=previous, maximum=300, random=dice.Random(seed)) for _ in range(2)
    )
    assert one == other


@given(delay=st.floats(1, 300), previous=st.floats(0, 100), seed=st.integers())
def test_each_jitter_has_its_range(delay, previous, seed):
    """NONE: d. FULL: 0 to d. EQUAL: d/2 to d. DECORRELATED: base to three times the delay before."""

    def drawn(jitter: Jitter) -> float:
        return jittered(delay, jitter, base=1, previous=previous, maximum=1000, random=dice.Random(seed))

    assert drawn(Jitter.NONE) == delay
    assert 0 <= drawn(Jitter.FULL) <= delay
    assert delay / 2 <= drawn(Jitter.EQUAL) <= delay
    assert 1 <= drawn(Jitter.DECORRELATED) <= max(1, previous * 3)


def sample(jitter: Jitter, floor: float = 0.0, previous: float | None = None, delay: float = 10.0) -> list[float]:
    """Ten thousand draws, always the same."""
    source = dice.Random(7)
    return [
        jittered(delay, jitter, base=1, previous=previous, maximum=300, random=source, floor=floor)
        for _ in range(10_000)
    ]


@pytest.mark.parametrize(
    ("jitter", "least", "mean", "most"),
    [(Jitter.FULL, 0, 5, 10), (Jitter.EQUAL, 5, 7.5, 10), (Jitter.DECORRELATED, 1, 6.5, 12)],
)
def test_jitter_fills_its_range(jitter, least, mean, most):
    """The draws reach both ends of the range and lie evenly between."""
    draws = sample(jitter, previous=4)
    assert min(draws) == pytest.approx(least, abs=0.02)
    assert max(draws) == pytest.approx(most, abs=0.02)
    assert sum(draws) / len(draws) == pytest.approx(mean, rel=0.02)


def test_floor_leaves_no_crowd():
    """With a floor, full jitter is never "at once", and no crowd meets at the floor: the range moves, not the draws."""
    draws = sample(Jitter.FULL, floor=2)
    assert min(draws) >= 2
    assert len(set(draws)) == len(draws)


def test_first_decorrelated_delay():
    """Without a delay before, decorrelated jitter starts from the base: 1 to 3 times of it."""
    draws = sample(Jitter.DECORRELATED, previous=None)
    assert 1 <= min(draws) < 1.01
    assert 2.99 < max(draws) <= 3


def test_the_random_module_will_do():
    """The module `random` is a random source too."""
    assert 0 <= jittered(5, Jitter.FULL, base=1, previous=None, maximum=300, random=dice) <= 5


@pytest.mark.parametrize("kind", [BackoffStrategy, Jitter])
def test_words_are_what_is_printed(kind):
    """An enum member prints as its value: logs, metrics and filters use the same word."""
    assert [str(member) for member in kind] == [member.value for member in kind] == [f"{member}" for member in kind]
