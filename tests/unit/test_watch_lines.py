"""Lines of `recovery watch`: what they say, how wide they are, and how a flood is condensed."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.cli.watch_lines import KINDS, MOST, MOST_OF_ALL, SPAN, Flood, line
from celery_recovery.monitoring.feed import WHATS, Happening
from celery_recovery.text import width

AT = 1_700_000_000.0  # 22:13:20 UTC
RETRY = {
    "task": "shop.orders.charge", "error_type": "network", "exception": "requests.exceptions.ConnectionError",
    "message": "no route\nto bank", "attempt": 2, "max_attempts": 8, "delay": 4.0,
}  # fmt: skip


def happening(what: str = "retry", at: float = AT, **told: Any) -> Happening:
    told = {"at": at, "what": what, **told}
    return Happening(entry="1-0", at=at, what=what, told=told)


def said(what: str, columns: int | None = None, **told: Any) -> str:
    return " ".join(line(happening(what, **told), columns).text.split())


def test_a_retry():
    """When, of what, which attempt, when the next is, why; a message of several lines is one."""
    assert said("retry", **RETRY) == (
        "22:13:20 retry shop.orders.charge 2/8, again in 4s network: ConnectionError: no route to bank"
    )


def test_the_others():
    """Each in its own words."""
    assert said("recovered", **{**RETRY, "message": None, "delay": None, "took": 12.0}) == (
        "22:13:20 recovered shop.orders.charge attempt 2 after 12s network: ConnectionError"
    )
    assert "2/8, exhausted" in said("dead_letter", **{**RETRY, "delay": None, "reason": "exhausted"})
    assert said("circuit", circuit="bank", before="closed", after="open", cause="failure_rate", scope="h1") == (
        "22:13:20 circuit bank closed → open: failure_rate on h1"
    )
    assert "group regressed" in said("group", news="regressed", task="a", fingerprint="1:ab", exception="E")
    assert said("operation", kind="replay", id="abcdef0123456789", state="stopped", position=20, selected=400, step=1,
                recovered=1, died=19, by="eva@ops", message="19 of 20 died again") == (
        "22:13:20 replay stopped operation abcdef012345"
        " step 1, 20 of 400, 1 recovered, 19 died again by eva@ops: 19 of 20 died again"
    )  # fmt: skip
    assert "1,234 happenings" in said("missed", count=1234)


@pytest.mark.parametrize("what", [*WHATS, "of a newer version"])
def test_nothing_is_needed(what):
    """An entry without any of its fields, of an older or a newer version, is a line, too."""
    assert line(happening(what), 80).text.startswith("22:13:20")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_line_fits(columns):
    """Wide characters and long names do not break it."""
    told = {**RETRY, "task": "店" * 90, "message": "銀行" * 300}
    assert width(line(happening(**told), columns).text) <= columns


def test_foreign_text_is_harmless():
    """Whatever a task is called, and whatever it says."""
    text = line(happening(**{**RETRY, "task": "a\x1b[2J", "message": "\x1b]0;evil\x07\u202e"}), None).text
    assert text.isprintable()
    text = line(happening("x\x1b[31m", task="t"), None).text
    assert text.isprintable()
    flood = Flood()
    for _ in range(MOST + 1):
        flood.passes(happening("x\x1b", task="t\x1b", exception="e\x1b"))
    assert all(one.text.isprintable() for one in flood.rest())


def test_times_that_no_clock_has():
    """A time that makes no sense breaks nothing."""
    for at in (-1.0, 1e300, float("inf"), float("nan")):
        assert line(happening(at=at), 80).text.startswith("?")
        assert list(Flood().over(at)) == []


def test_a_flood_is_condensed():
    """The first few of a kind are shown, the rest is a number; another kind is not affected."""
    flood = Flood()
    passed = [flood.passes(happening(**RETRY)) for _ in range(4326)]
    assert passed.count(True) == MOST
    assert flood.passes(happening(**{**RETRY, "task": "shop.other"}))
    assert list(flood.over(AT)) != []  # the first look begins the span
    flood = Flood()
    assert list(flood.over(AT)) == []
    for _ in range(4321 + MOST):
        flood.passes(happening(**RETRY))
    assert list(flood.over(AT + 0.5)) == []
    (told,) = flood.over(AT + SPAN)
    assert told.text.strip() == "… and 4,321 more retries of shop.orders.charge: ConnectionError"
    assert flood.passes(happening(**RETRY))


def test_a_flood_of_many_kinds():
    """So many lines at most in a span, and so many sums, whatever tasks call themselves; nothing is left uncounted."""
    flood = Flood()
    shown = sum(flood.passes(happening(**{**RETRY, "task": f"evil-{n}"})) for n in range(100_000))
    assert shown == MOST_OF_ALL
    told = [one.text for one in flood.rest()]
    assert len(told) == KINDS + 1
    assert told[0].strip() == f"… and {100_000 - MOST_OF_ALL - KINDS:,} more retries"
