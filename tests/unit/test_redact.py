"""Hiding secrets: by name and by form, in data and in text; what is none stays; nothing takes long."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.redact import MASK, Redactor
from celery_recovery.redact.text import LONGEST
from celery_recovery.redact.values import VALUES
from tests.hostile import ADVERSARIAL, CARD, HARMLESS, HOSTILE, HUGE, JWT, SECRET, SECRETS, Case, deep

hide = Redactor()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("case", SECRETS, ids=lambda case: case.text[:40])
def test_a_secret_in_a_text_is_hidden(case: Case) -> None:
    """However it is written; and it is said that something was there."""
    shown = hide.text(case.text)
    assert case.secret not in shown
    assert MASK in shown


@pytest.mark.parametrize("case", SECRETS, ids=lambda case: case.text[:40])
def test_a_secret_is_hidden_in_whatever_stands_around_it(case: Case) -> None:
    """In a list, beside a plain name, in bytes, in the middle of a message."""
    around = {"note": [case.text], "raw": case.text.encode(), "log": f"at 12:00 it said: {case.text}"}
    assert case.secret not in json.dumps(hide(around))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    """Ids, numbers, names of classes, sentences, addresses."""
    assert hide.text(text) == text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"password": "hunter2"}, {"password": MASK}),
        ({b"Authorization": b"x"}, {"b'Authorization'": MASK}),
        ([["Authorization", "Bearer x"], ["Accept", "*/*"]], [["Authorization", MASK], ["Accept", "*/*"]]),
        ([("x-api-key", "hunter2")], [["x-api-key", MASK]]),
        ([{"name": "Cookie", "value": "hunter2"}], [{"name": "Cookie", "value": MASK}]),
        ({"key": "db_password", "value": {"a": 1}}, {"key": "db_password", "value": MASK}),
        ([{"Name": "password", "Value": "hunter2"}], [{"Name": "password", "Value": MASK}]),
        ({"ParameterKey": "DBPassword", "ParameterValue": "x"}, {"ParameterKey": "DBPassword", "ParameterValue": MASK}),
        ({"key": "pin", "value": "x", **dict.fromkeys("abcd")}, {"key": "pin", "value": MASK, **dict.fromkeys("abcd")}),
        ({"name": "token", "data": 7, **dict.fromkeys("abcd")}, {"name": "token", "data": 7, **dict.fromkeys("abcd")}),
        (dict.fromkeys(range(11)) | {"key": "pin", "value": 7}, dict.fromkeys(range(11)) | {"key": "pin", "value": 7}),
        ({"loc": ("body", "password"), "input": "x"}, {"loc": ["body", "password"], "input": MASK}),
        ({"loc": ("body", "age"), "input": "x"}, {"loc": ["body", "age"], "input": "x"}),
        (["/usr/bin/curl", "-u", "ada:hunter2", "http://x"], ["/usr/bin/curl", "-u", MASK, "http://x"]),
        (["docker", "run", "-u", "1000:1000", "-p", "80:80"], ["docker", "run", "-u", "1000:1000", "-p", "80:80"]),
        (["mysql", "--password", "hunter2", "shop"], ["mysql", "--password", MASK, "shop"]),
        ({"card": int(CARD), "order": 7}, {"card": MASK, "order": 7}),
        ({"order": 1234567890123456}, {"order": 1234567890123456}),
        ({JWT: 1}, {MASK: 1}),
        ({"accessKey": "x", "userSSN": "x"}, {"accessKey": MASK, "userSSN": MASK}),
        ({"max_tokens": 4096, "opinion": "x"}, {"max_tokens": 4096, "opinion": "x"}),
        ({"n": float("nan"), "i": float("-inf")}, {"n": "nan", "i": "-inf"}),
        ({"big": 1 << 20_000}, {"big": "an integer of 20,001 bits"}),
        ({"set": {7}}, {"set": [7]}),
    ],
)  # fmt: skip
def test_data(data: Any, shown: Any) -> None:
    """By key, as pairs, as named values, as options of a command, by form; what JSON cannot hold is said in words."""
    assert hide(data) == shown
    json.dumps(hide(data), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("?password=x&user=bob", "?password=***&user=bob"),
        ("?password=p&x&amp;user=bob", "?password=***&amp;user=bob"),
        ("'password=abc','x'", "'password=***','x'"),
        ("['-H', 'Authorization: Basic aGk6aGk=', 'http://x']", "['-H', 'Authorization: ***', 'http://x']"),
        ("Authorization: Splunk x\nHost: y", "Authorization: ***\nHost: y"),
        ("b'a: 1\\npassword:\\n  x\\nuser: ada', 7", "b'a: 1\\npassword:\\n  ***\\nuser: ada', 7"),
        ("postgres://ada:pa/x@host/a@b", "postgres://ada:***@host/a@b"),
        ("pin\n  x [input_value='1', input_type=str]\nage\n  x [input_value='2', input_type=str]",
         "pin\n  x [input_value=***, input_type=str]\nage\n  x [input_value='2', input_type=str]"),
    ],
)  # fmt: skip
def test_what_stands_beside_a_secret_stays(text: str, shown: str) -> None:
    """The next pair, the next word of a list, the next line."""
    assert hide.text(text) == shown


@given(anything)
def test_anything_is_shown(data: Any) -> None:
    """Nothing makes it raise, what comes out is fit for JSON but for dates, and once is enough."""
    shown = hide(data)
    json.dumps(shown, allow_nan=False, default=str)
    assert hide(shown) == shown


@given(st.text(), st.text())
def test_no_text_brings_the_secret_back(before: str, after: str) -> None:
    """A secret in quotes beside its name is hidden whatever stands around."""
    assert SECRET not in hide.text(f"{before} 'password': 'hunter2'{after}".replace("hunter2hunter2", ""))


@pytest.mark.parametrize("text", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_no_text_takes_long(text: str) -> None:
    """Twice the length takes about twice the time: there is no text that holds up a page."""
    begun = time.perf_counter()
    hide.text(text[: LONGEST // 2])
    hide.text(text)
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_values(name: str) -> None:
    """As keys, as values, beside a secret."""
    text = HOSTILE[name]
    assert SECRET not in json.dumps(hide({text: text, "password": f"{text}hunter2", f"{text}password": "hunter2"}))


def test_a_huge_text_is_cut() -> None:
    """It is said how long it was; nothing of a secret across the cut is shown."""
    begun = time.perf_counter()
    shown = hide.text(HUGE)
    assert time.perf_counter() - begun < 1
    assert len(shown) < LONGEST + 100
    assert shown.endswith("… (10,000,000 characters)")
    across = "a " * (LONGEST // 2 - 10) + JWT
    assert JWT[:10] not in hide.text(across + "x" * 100)


def test_deep_and_wide_data_ends() -> None:
    """At a depth that can be written as JSON, and after so many values."""
    nested: Any = "x"
    for _ in range(900):
        nested = [nested]
    json.dumps(hide(nested))
    assert len(hide(list(range(1_000_000)))) < 200_000
    assert hide.text(deep().decode()) is not None


@pytest.mark.parametrize("pattern", ["x*", "(?P<secret>a)?b", "(?P<secret>)c", "^", ""])
def test_own_patterns_that_match_little(pattern: str) -> None:
    """Nothing, or a group that is not there: the rest of the text stays."""
    assert Redactor(values=[pattern]).text("order 7") == "order 7"
    assert Redactor(values=["(?P<secret>a)?b"]).text("ab b c") == f"{MASK}b {MASK} c"


def test_own_names_and_values() -> None:
    """Each pattern is its own: with anchors, groups, flags, and a case that counts where the team wants it so."""
    own = Redactor([r"^loyalty$", r"(?i)(a)\1count", r"patient"], [r"KN-(\d)\1{3}", r"(?i)badge (?P<secret>\d+)"])
    hidden = own(
        {"loyalty": "x", "loyalty_level": "gold", "AAcount": "x", "Patient_Name": "x", "n": "KN-7777, Badge 12"}
    )
    assert hidden == {
        "loyalty": MASK, "loyalty_level": "gold", "AAcount": MASK, "Patient_Name": MASK, "n": f"{MASK}, Badge {MASK}",
    }  # fmt: skip
    assert own.text("loyalty=7 loyalty_level=gold") == f"loyalty={MASK} loyalty_level=gold"


class TestPositional:
    """Positional arguments are hidden by the names of the parameters that they fill."""

    known = Redactor(parameters=lambda task: {"pay": ["order", "card_number", "*secrets"]}.get(task, ()))

    def test_list(self) -> None:
        """Those the task's signature names; of `*rest`, all further ones; those known from the letter."""
        assert self.known.args("pay", [7, "x", "y", "z"]) == [7, MASK, MASK, MASK]
        assert self.known.args("pay", [7]) == [7]
        assert self.known.args("other", [7, "x"]) == [7, "x"]
        assert self.known.args("other", [7, "x"], known=[1, 9]) == [7, MASK]

    @pytest.mark.parametrize(
        ("text", "shown"),
        [("(7, 'x')", f"(7, '{MASK}')"), ("(7, <Card x>)", MASK), ("(7, 'x...", MASK), ("(7,)", "(7,)"), ("", MASK)],
    )
    def test_text(self, text: str, shown: str) -> None:
        """Celery's text of them, as far as it can be read; else nothing of it is shown."""
        assert self.known.args("pay", text) == shown
        assert self.known.args("other", text) == text


def test_the_kinds_of_values_are_documented() -> None:
    """Each has its line in the table, and there is no line more."""
    page = (Path(__file__).resolve().parents[2] / "docs/security.md").read_text("utf-8")
    table = page.partition("<!-- secret values:")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (.+?) \| ", table, re.MULTILINE)[1:] == list(dict.fromkeys(one.name for one in VALUES))
