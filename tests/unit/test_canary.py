"""When a replay stops by itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.exceptions import ConfigurationError
from celery_recovery.operations.canary import Canary, Outcomes

LETTERS = 10_000


def run(canary: Canary, share: float, chance: random.Random) -> tuple[int, bool]:
    """Replay so many letters of which this share recovers: how many were sent, and was it stopped?

    The letters of a step are sent, and their ends looked at, one by one.
    """
    total = step_base = Outcomes()
    sent, step = 0, 0
    while sent < LETTERS:
        step += 1
        step_base = total
        for _ in range(min(canary.size(step), LETTERS - sent)):
            sent += 1
            good = chance.random() < share
            total = Outcomes(total.recovered + good, total.died + (not good))
            if step > 1 and canary.stops(total, total.since(step_base), step):
                return sent, True
        if canary.stops(total, total.since(step_base), step):
            return sent, True
    return sent, False


def runs(share: float, count: int = 300) -> list[tuple[int, bool]]:
    chance = random.Random(7)
    return [run(Canary(), share, chance) for _ in range(count)]


def test_no_letter_recovers():
    """A fix that mends nothing costs the five letters of the first step."""
    assert set(runs(0.0, 20)) == {(5, True)}


def test_half_of_them_recover():
    """Where half recover, it stops, after twenty letters on average."""
    seen = runs(0.5)
    assert all(stopped for _, stopped in seen)
    assert sum(sent for sent, _ in seen) / len(seen) <= 20


@pytest.mark.parametrize("share", [0.9, 0.95, 1.0])
def test_right_fix(share):
    """What recovers as often as expected is stopped in one of twenty replays of 10,000 letters, at most."""
    seen = runs(share)
    assert sum(stopped for _, stopped in seen) <= 0.05 * len(seen) + 4  # four: two deviations of 300 throws


def test_a_fix_for_the_first_only():
    """After a thousand successes, letters that die again stop the step they are in, and soon."""
    canary, before = Canary(), Outcomes(recovered=1275)
    assert not canary.stops(before, Outcomes(), 9)
    step = next(n for n in range(100) if canary.stops(Outcomes(1275, n), Outcomes(0, n), 9))
    assert step <= 6


@given(st.integers(1, 50), st.floats(1, 5), st.integers(1, 40))
def test_steps_grow(first, growth, step):
    """Steps never shrink, and the first is the canary."""
    canary = Canary(first=first, growth=growth)
    assert canary.size(1) == first
    assert canary.size(step) <= canary.size(step + 1)


@pytest.mark.parametrize(
    "options",
    [{"first": 0}, {"growth": 0.5}, {"good": 1.0}, {"bad": 0.9}, {"bad": 0.0}, {"risk": 0}, {"wait": 0}, {"wait": -1}],
)
def test_nonsense(options):
    """Values that make no sense are refused by name."""
    with pytest.raises(ConfigurationError, match="canary"):
        Canary(**options)


def test_read_back():
    """It travels as JSON."""
    canary = Canary(first=3, growth=3.0, good=0.8, bad=0.2, risk=0.01, wait=5.0)
    assert Canary.from_dict(canary.to_dict()) == canary
