"""The exceptions: one tree, messages that need no manual, and a safe way through pickle, copy and JSON."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery import exceptions
from celery_recovery.exceptions import (
    ConfigurationError,
    Discard,
    Quarantine,
    RecoveryControl,
    RecoveryError,
    RetryIn,
    Snooze,
    as_seconds,
)


def tree(cls: type[BaseException]) -> Iterator[type[BaseException]]:
    """The class and all below it."""
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


CLASSES = [*tree(RecoveryError), *tree(RecoveryControl)]
CONTROLS = [cls for cls in CLASSES if issubclass(cls, RecoveryControl)]


def specimen(cls: type[BaseException]) -> BaseException:
    """One of each, with every argument given."""
    if issubclass(cls, ConfigurationError):
        return ConfigurationError.of("recovery_stats", expected="True or False", got=object(), known=["x"], hint="Oh.")
    if issubclass(cls, Quarantine):
        return cls("why", review=True)
    if "seconds" in inspect.signature(cls).parameters:
        return cls(12.5, "why")
    return cls("why")


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda exc: pickle.loads(pickle.dumps(exc))])
def test_survives_copy_and_pickle(cls, through):
    """A copy has the same class, message, arguments and attributes: prefork sends exceptions between processes."""
    before = specimen(cls)
    after = through(before)
    assert type(after) is cls
    assert (str(after), after.args, vars(after)) == (str(before), before.args, vars(before))


@pytest.mark.parametrize("cls", CLASSES)
def test_survives_a_json_backend(cls):
    """Class and `args` are all that a JSON result backend keeps, and they suffice for the message."""
    before = specimen(cls)
    assert str(cls(*before.args)) == str(before)


@pytest.mark.parametrize("cls", CONTROLS)
def test_control_is_all_in_its_arguments(cls):
    """What a task says to us survives a JSON backend whole: delay, reason, review."""
    before = specimen(cls)
    assert vars(cls(*before.args)) == vars(before)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if "seconds" not in inspect.signature(cls).parameters])
def test_docstring_is_the_default_message(cls):
    """Without a message the docstring is the message, so that the two cannot drift apart."""
    assert str(cls()) == " ".join(cls.__doc__.split())


def test_message_without_docstrings(monkeypatch):
    """Under -OO there are no docstrings; then the class's name has to do."""
    monkeypatch.setattr(exceptions.StoreUnavailable, "__doc__", None)
    assert str(exceptions.StoreUnavailable()) == "StoreUnavailable"


@pytest.mark.parametrize("cls", CLASSES)
def test_tree_is_drawn_at_the_top(cls):
    """The module's docstring names every class that one can meet."""
    assert cls.__name__.startswith("_") or cls.__name__ in exceptions.__doc__


@pytest.mark.parametrize("cls", CONTROLS)
def test_control_is_no_error(cls):
    """`except RecoveryError` never swallows what a task says to us."""
    assert not issubclass(cls, RecoveryError)


@pytest.mark.parametrize("cls", [RetryIn, Snooze])
@pytest.mark.parametrize(
    ("given_as", "seconds"), [(0, 0.0), (1.5, 1.5), (timedelta(minutes=2), 120.0), (2**70, 2.0**70)]
)
def test_control_takes_seconds_and_timedeltas(cls, given_as, seconds):
    """A delay is int, float or timedelta; it is kept as float seconds."""
    exc = cls(given_as)
    assert exc.seconds == seconds
    assert type(exc.seconds) is float
    assert "again" in str(exc) or "retried" in str(exc)


@pytest.mark.parametrize("cls", [RetryIn, Snooze])
@pytest.mark.parametrize("nonsense", [-1, math.nan, math.inf, True, "5", None, timedelta(seconds=-1), 10**400, 1j])
def test_control_refuses_nonsense(cls, nonsense):
    """A delay that is negative, endless or no number is refused where it is written, naming what was given."""
    with pytest.raises(ConfigurationError) as caught:
        cls(nonsense)
    assert caught.value.option == f"{cls.__name__}.seconds"
    assert caught.value.expected == "seconds >= 0"
    assert caught.value.got[:20] in str(caught.value)


@pytest.mark.parametrize("cls", [Quarantine, Discard])
def test_control_may_be_raised_bare(cls):
    """`raise Discard` without parentheses is an instruction like any other."""
    with pytest.raises(cls) as caught:
        raise cls
    assert caught.value.reason == ""


def test_reason_is_the_message():
    """What the task says is what people read."""
    assert str(Quarantine("ledger disagrees")) == "ledger disagrees"
    assert str(RetryIn(5, "busy")) == "busy"


def test_configuration_error_names_all_three():
    """Option, expectation and what was there: all in the message, all as attributes. And it is a ValueError."""
    exc = ConfigurationError.of("recovery_policies['network'].max_delay", expected="seconds >= base_delay (1)", got=-3)
    assert str(exc) == "recovery_policies['network'].max_delay: expected seconds >= base_delay (1), got -3."
    assert (exc.option, exc.expected, exc.got) == (
        "recovery_policies['network'].max_delay",
        "seconds >= base_delay (1)",
        "-3",
    )
    assert isinstance(exc, ValueError)


def test_configuration_error_suggests_the_nearest_name():
    """A misspelt name is answered with the one that was meant, whatever its case; a far one is not guessed at."""
    known = ["max_delay", "min_delay"]
    assert str(ConfigurationError.of("o", expected="e", got="Max_Dely", known=known)).endswith(
        "Did you mean 'max_delay'?"
    )
    assert "mean" not in str(ConfigurationError.of("o", expected="e", got="zzz", known=known))


def test_configuration_error_survives_a_broken_value():
    """A `__repr__` that raises or never ends does not hide the message."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "got <Broken>." in str(ConfigurationError.of("o", expected="e", got=Broken()))
    assert len(str(ConfigurationError.of("o", expected="e", got="x" * 10_000))) < 200


@given(st.one_of(st.floats(0, 1e300), st.integers(0, 10**300), st.fractions(min_value=0), st.timedeltas(timedelta(0))))
def test_as_seconds_reads_numbers(value: Any):
    """Any real number or timedelta >= 0 becomes a finite float of seconds."""
    seconds = as_seconds(value, "o")
    assert type(seconds) is float
    assert math.isfinite(seconds)
    assert seconds == (value.total_seconds() if isinstance(value, timedelta) else pytest.approx(float(value)))


@pytest.mark.parametrize(
    ("value", "fits"), [(0.5, False), (1, True), (Fraction(60), True), (61, False), (Decimal(5), False)]
)
def test_as_seconds_keeps_bounds(value, fits):
    """The bounds belong to the range, and the message tells both."""
    if fits:
        assert as_seconds(value, "o", least=1, most=60) == value
    else:
        with pytest.raises(ConfigurationError, match="seconds from 1 to 60"):
            as_seconds(value, "o", least=1, most=60)
