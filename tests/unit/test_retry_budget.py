"""A retry budget in one process: the rule, the window, bad input; and the form of its scripts."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.circuit.budget import MICRO, Bucket, RetryBudget
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redis.keys import BudgetKeys
from celery_recovery.redis.scripts import source

FOLDER = files("celery_recovery.redis") / "lua" / "budget"
SCRIPTS = sorted(entry.name for entry in FOLDER.iterdir())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def budget(**options):
    """A budget and its clock."""
    clock = Clock()
    return RetryBudget("payments-api", clock=clock, **options), clock


def granted(one: RetryBudget, asked: int = 10_000) -> int:
    """How many retries go in a row."""
    return next((n for n in range(asked) if not one.withdraw()), asked)


def test_defaults():
    """Twenty of a hundred calls, and a hundred in ten seconds beside."""
    one, _ = budget()
    assert granted(one) == 100
    one.deposit(100)
    assert granted(one) == 20


def test_share_of_calls():
    """Five calls pay for one retry; one more call pays for none."""
    one, _ = budget(floor=0)
    one.deposit(4)
    assert not one.withdraw()
    one.deposit()
    assert one.withdraw()
    one.deposit()
    assert not one.withdraw()


def test_forgotten_after_the_window():
    """Calls and retries are forgotten together, when the window is over."""
    one, clock = budget(floor=0.1)
    one.deposit(50)
    assert granted(one) == 11
    clock.now += 8.5
    assert granted(one) == 0
    clock.now += 3
    assert granted(one) == 1


def test_unused_calls_expire():
    """What was paid in long ago allows nothing now."""
    one, clock = budget(floor=0.1)
    one.deposit(1000)
    clock.now += 10
    assert granted(one) == 1


def test_read():
    """What is seen: the window, what it allows, the totals."""
    one, _ = budget(floor=0.2)
    one.deposit(10)
    assert granted(one) == 4
    view = one.read()
    assert (view.calls, view.retries, view.allowed, view.left) == (10, 4, 4.0, 0)
    assert (view.granted, view.refused, view.shared) == (4, 1, False)
    assert view.to_dict()["left"] == 0


def test_clock_that_goes_back():
    """It grants no more for it: retries of a time that is still to come count."""
    one, clock = budget()
    assert granted(one) == 100
    clock.now -= 5
    assert granted(one) == 0


steps = st.lists(
    st.tuples(st.sampled_from(["deposit", "withdraw"]), st.integers(0, 400_000), st.integers(1, 30)), max_size=80
)


@given(steps, st.sampled_from([0.0, 0.07, 0.2, 0.29, 1.0]), st.sampled_from([0.0, 1.0, 2.5]))
def test_rule(actions, ratio, reserve):
    """In the window that ends with a retry that is granted there are never too many, to the microsecond.

    One that is refused would have been too many for the retries of a tenth more and the calls of a tenth less.
    """
    bucket, now, calls, retries = Bucket(ratio, reserve, MICRO), 0, [], []
    for action, later, how_many in actions:
        now += later
        if action == "deposit":
            bucket.deposit(now, how_many)
            calls.append((now, how_many))
            continue
        begin, width = now - MICRO, MICRO // 10
        if bucket.withdraw(now):
            retries.append(now)
            paid_in = sum(n for at, n in calls if at > begin)
            assert sum(at > begin for at in retries) <= ratio * paid_in + reserve
        else:
            paid_in = sum(n for at, n in calls if at > begin + width)
            assert sum(at > begin - width for at in retries) + 1 > ratio * paid_in + reserve


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"name": ""}, "budget.name"),
        ({"name": "two words"}, "budget.name"),
        ({"name": "{x}"}, "budget.name"),
        ({"name": None}, "budget.name"),
        ({"ratio": 1.5}, "budget.ratio"),
        ({"ratio": -0.1}, "budget.ratio"),
        ({"ratio": float("nan")}, "budget.ratio"),
        ({"ratio": True}, "budget.ratio"),
        ({"floor": -1}, "budget.floor"),
        ({"floor": float("inf")}, "budget.floor"),
        ({"ratio": 0, "floor": 0}, "budget.floor"),
        ({"window": 0}, "budget.window"),
        ({"window": "10"}, "budget.window"),
        ({"freshness": -1}, "budget.freshness"),
    ],
)
def test_bad_input(options, named):
    """What makes no sense is refused by name."""
    with pytest.raises(ConfigurationError) as refused:
        RetryBudget(**{"name": "x", **options})
    assert refused.value.option == named


@pytest.mark.parametrize("calls", [-1, 1.5, True, "3", 2_000_000])
def test_bad_deposit(calls):
    """Calls are counted in whole numbers."""
    with pytest.raises(ConfigurationError, match=r"budget\.calls"):
        budget()[0].deposit(calls)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_arguments(name):
    """A header says what it does, what it takes and returns; the code uses all of that, no more, and spells no key."""
    header, _, code = (FOLDER / name).read_text().partition("]]")
    assert header.startswith("--[[\n  ")
    assert re.findall(r"^  (KEYS\[1\]|Returns)\s+\S", header, re.MULTILINE) == ["KEYS[1]", "Returns"]
    numbers = [int(number) for number in re.findall(r"^  ARGV\[(\d+)\]", header, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {int(number) for number in re.findall(r"ARGV\[(\d+)\]", code)} == set(numbers)
    assert "KEYS" not in code
    assert "-- include" not in source(f"budget/{name.removesuffix('.lua')}", BudgetKeys.lua)


def test_spelling():
    """Lua and Python spell the keys alike, in the slot of the circuit."""
    keys = BudgetKeys("shop", "payments-api")
    assert keys.root == "shop:{circuit:payments-api}:budget"
    assert f".. '{keys.asked('').removeprefix(keys.root)}' .. who" in keys.lua()
