"""Text and tables of the command line: harmless, and no wider than the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.cli.table import Column, rendered
from celery_recovery.text import age, cut, duration, moment, number, padded, short_class, visible, width


@given(st.text(st.characters()))
def test_what_is_visible_is_one_printable_line(text: str) -> None:
    """Whatever it held: controls, line ends, formats, lone surrogates."""
    shown = visible(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(st.characters(exclude_categories=("C", "Z"))))
def test_printable_text_stays_as_it_is(text: str) -> None:
    """Nothing is escaped without need."""
    assert visible(text) == text


def test_control_characters_are_spelled_out() -> None:
    """As Python writes them."""
    assert visible("a\x1b[2J\n\x9b\u202e\ud800") == r"a\x1b[2J\n\x9b\u202e\ud800"


@pytest.mark.parametrize(("text", "cells"), [("", 0), ("abc", 3), ("注文", 4), ("é", 1), ("e\u0301", 1), ("…", 1)])
def test_width_is_in_cells(text: str, cells: int) -> None:
    """East Asian characters take two, combining ones none."""
    assert width(text) == cells


@given(st.text(), st.integers(1, 40), st.booleans())
def test_what_is_cut_fits(text: str, cells: int, front: bool) -> None:
    """In at most so many cells; text that fits is left alone."""
    short = cut(text, cells, front=front)
    assert width(short) <= cells
    assert width(text) > cells or short == text


def test_cutting_keeps_the_end_that_says_most() -> None:
    """Dotted names are cut at the front."""
    assert cut("shop.orders.charge", 8) == "shop.or…"
    assert cut("shop.orders.charge", 8, front=True) == "….charge"


def test_numbers_stand_at_the_right() -> None:
    """Names at the left."""
    assert (padded("7", 3, right=True), padded("a", 3)) == ("  7", "a  ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0ms"), (0.012, "12ms"), (1.04, "1s"), (1.5, "1.5s"), (42.4, "42s"), (60, "1m"), (90, "1m 30s"),
     (3600, "1h"), (11520, "3h 12m"), (3601, "1h"), (86400 * 5 + 4 * 3600 + 60, "5d 4h")],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    """The two largest units that matter."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400 * 9, "9d")])
def test_ages_are_shorter(seconds: float, text: str) -> None:
    """One unit, rounded down; a clock that is ahead makes no negative age."""
    assert age(1000, now=1000 + seconds) == text


def test_moments_are_in_utc() -> None:
    """What no calendar has is shown as the number it is."""
    assert moment(1_760_000_000.25) == "2025-10-09 08:53:20"
    assert moment(1e14) == "1e+14"


def test_numbers_of_foreign_headers_are_checked() -> None:
    """Anything else is no number."""
    assert [number(value) for value in (1, 2.5, True, "3", None, float("nan"), 1e300)] == [1, 2.5, *[None] * 5]


def test_classes_are_shown_without_their_modules() -> None:
    """The last part of the name."""
    assert short_class("requests.exceptions.ReadTimeout") == "ReadTimeout"


@given(st.lists(st.tuples(st.text(max_size=60), st.integers(0, 10**6).map(str)), max_size=5), st.integers(30, 90))
def test_a_table_is_no_wider_than_asked(rows: list[tuple[str, str]], limit: int) -> None:
    """As long as the columns that may be narrowed can be."""
    lines = rendered((Column("NAME", least=8), Column("COUNT", right=True)), rows, limit)
    assert len(lines) == len(rows) + 1
    assert all(width(line) <= limit for line in lines)


def test_a_table_without_a_limit_cuts_nothing() -> None:
    """In a pipe."""
    name = "x" * 300
    assert rendered((Column("NAME", least=8),), [(name,)], None) == ["NAME", name]


def test_a_column_that_must_not_be_narrowed_is_not() -> None:
    """Ids stay whole, so that they can be copied."""
    lines = rendered((Column("ID"), Column("TEXT", least=4)), [("0123456789", "abcdefghij")], 18)
    assert lines[1] == "0123456789  abcde…"
