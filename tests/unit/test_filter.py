"""The filter language: what it reads, what it refuses, what it agrees with."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.dead_letters.filter import Filter, parse_time
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.monitoring.words import REASONS
from tests.letters import DIED_AT, body, letter

NOW = 1_760_000_000.0


class TestParse:
    def test_options(self):
        """Options are texts or lists of texts; what is not given asks nothing."""
        where = Filter.parse(
            {"task": ["orders.*", "mail.*"], "error_type": "NETWORK", "state": ("failed",), "held": "yes", "id": [],
             "text": None, "arg": ["a=1", "b.c=x=y"], "reason": "exhausted"},
            now=NOW,
        )  # fmt: skip
        assert where == Filter(
            task=("orders.*", "mail.*"), error_type=("network",), state=(LetterState.FAILED,), held=True,
            args={"a": "1", "b.c": "x=y"}, reason=("exhausted",),
        )  # fmt: skip

    def test_nothing(self):
        """No options make the filter that chooses every letter."""
        assert Filter.parse({"task": None, "id": ()}).is_empty
        assert not Filter(held=False).is_empty

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("90s", NOW - 90), ("15m", NOW - 900), ("24h", NOW - 86400), ("7d", NOW - 604800), ("1.5h", NOW - 5400),
            ("1759990000", 1759990000), (1759990000.5, 1759990000.5), ("0", 0),
            ("2026-01-02", datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp()),
            ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()),
            ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=timezone.utc).timestamp()),
        ],
    )  # fmt: skip
    def test_times(self, text, moment):
        """A moment is unix seconds, ISO 8601 (UTC unless it says otherwise), or an age."""
        assert parse_time("since", text, NOW) == moment

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"since": "yesterday"}, ["since", "24h", "yesterday"]),
            ({"until": "nan"}, ["until", "nan"]),
            ({"state": "dead"}, ["state", "failed, review", "dead"]),
            ({"error_type": "net"}, ["error_type", "network", "net"]),
            ({"arg": "customer"}, ["arg", "key=value", "customer"]),
            ({"held": "maybe"}, ["held", "true or false", "maybe"]),
            ({"tsk": "x"}, ["tsk", "task"]),
        ],
    )  # fmt: skip
    def test_refused(self, options, words):
        """What makes no sense is refused with the option, what was expected and what was given."""
        with pytest.raises(ConfigurationError) as raised:
            Filter.parse(options, now=NOW)
        for word in words:
            assert word in str(raised.value)


class TestMatches:
    @pytest.mark.parametrize(
        ("options", "agrees"),
        [
            ({"task": "orders.*"}, True), ({"task": "orders"}, False), ({"task": ["mail.*", "orders.charge"]}, True),
            ({"error_type": "network"}, True), ({"error_type": "memory"}, False),
            ({"fingerprint": "1:0011*"}, True), ({"fingerprint": "1:0011"}, True),
            ({"fingerprint": "0011"}, True), ({"fingerprint": "001"}, False), ({"fingerprint": "0012"}, False),
            ({"queue": "celery"}, True), ({"queue": "slow"}, False),
            ({"state": "failed"}, True), ({"state": ["review", "discarded"]}, False),
            ({"since": DIED_AT}, True), ({"since": DIED_AT + 1}, False),
            ({"until": DIED_AT}, True), ({"until": DIED_AT - 1}, False),
            ({"text": "PAYMENT"}, True), ({"text": "eur"}, True), ({"text": "nowhere"}, False),
            ({"id": "a"}, True), ({"id": "b"}, False), ({"reason": "exhausted"}, True), ({"reason": "foreign"}, False),
            ({"exception": "*.ReadTimeout"}, True), ({"exception": "ReadTimeout"}, False),
            ({"held": "no"}, True), ({"held": "yes"}, False),
            ({"task": "orders.*", "error_type": "memory"}, False),
        ],
    )  # fmt: skip
    def test_one_letter(self, options, agrees):
        """All that is asked must hold; several values of one option mean one of them."""
        assert Filter.parse(options, now=NOW).matches(letter("a")) is agrees

    @pytest.mark.parametrize("reason", REASONS)
    def test_every_reason(self, reason):
        """What counts and alerts name can be asked for: reasons of tasks, and of messages that are none."""
        assert Filter.parse({"reason": reason}).matches(letter("a", reason=reason))

    @pytest.mark.parametrize(
        ("arg", "agrees"),
        [
            ("customer=7", True), ("customer=8", False), ("order.id=a", True), ("order.lines.1=y", True),
            ("order.lines.2=y", False),
            ("0=first", True), ("1=first", False), ("vip=true", True), ("vip=True", True), ("vip=1", False),
            ("price=1.50", True),
            ("none=null", True), ("a.b=dotted", True), ("missing=1", False), ("customer.x=1", False),
        ],
    )  # fmt: skip
    def test_arguments(self, arg, agrees):
        """Arguments are found by name, by path and by position, and compared as written or as JSON."""
        order = {"id": "a", "lines": ["x", "y"]}
        raw = body("first", customer=7, order=order, vip=True, price=1.5, none=None, **{"a.b": "dotted"})
        assert Filter.parse({"arg": arg}).matches(letter("a", body=raw)) is agrees

    def test_unreadable_arguments(self):
        """A letter whose arguments cannot be read agrees with no question about them."""
        sealed = letter(body=b"\x80", content_type="x", extra={"argsrepr": "(<Order>,)"})
        assert not Filter.parse({"arg": "customer=7"}).matches(sealed)


words = st.text(min_size=1, max_size=8)


def test_beginning_of_a_fingerprint_is_printed_once():
    """As it was given; what it stands for follows from it."""
    where = Filter.parse({"fingerprint": ["2:047db8e6", "beef", "1:a*"]})
    assert str(where) == "--fingerprint=2:047db8e6 --fingerprint=beef --fingerprint='1:a*'"
    assert Filter.parse({"fingerprint": ["2:047db8e6", "2:047db8e6*"]}).fingerprint == ("2:047db8e6", "2:047db8e6*")


@given(
    task=st.lists(words, max_size=2, unique=True),
    text=st.text(max_size=8),
    args=st.dictionaries(words.filter(lambda key: "=" not in key), st.text(max_size=5), max_size=2),
    since=st.none() | st.integers(0, 2_000_000_000),
    state=st.lists(st.sampled_from(list(LetterState)), unique=True),
    held=st.none() | st.booleans(),
)
def test_printed_as_options(task, text, args, since, state, held):
    """A filter prints as the options that make it."""
    where = Filter(task=tuple(task), text=text, args=args, since=since and float(since), state=tuple(state), held=held)
    options: dict[str, list[str]] = {}
    for word in shlex.split(str(where)):
        name, _, value = word[2:].partition("=")
        options.setdefault(name.replace("-", "_"), []).append(value)
    given_back = {name: values if name in ("task", "arg", "state") else values[0] for name, values in options.items()}
    assert Filter.parse(given_back, now=NOW) == where
