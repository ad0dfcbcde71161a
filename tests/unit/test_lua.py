"""The scripts say what they take, and take what they say."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from celery_recovery.redis.keys import COUNTED, INDEXED, Keys
from celery_recovery.redis.scripts import script_names, source

FOLDER = files("celery_recovery.redis") / "lua"
KEYS = Keys("shop")
CIRCUITS = sorted(f"circuit/{entry.name[:-4]}" for entry in (FOLDER / "circuit").iterdir())


def split(name: str) -> tuple[str, str]:
    """Header block and code of a script."""
    text = (FOLDER / f"{name}.lua").read_text()
    header, _, code = text.partition("]]")
    return header, code


@pytest.mark.parametrize("name", [*script_names(), *CIRCUITS])
def test_header(name):
    """Each begins with what it does, its key, its arguments without gaps, and what it returns."""
    header, _ = split(name)
    assert header.startswith("--[[\n  ")
    assert re.findall(r"^  (KEYS\[1\]|Returns)\s+\S", header, re.MULTILINE) == ["KEYS[1]", "Returns"]
    numbers = [int(number) for number in re.findall(r"^  ARGV\[(\d+)", header, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", [*script_names(), *CIRCUITS])
def test_arguments(name):
    """The code uses every argument that the header names, and no other."""
    header, code = split(name)
    rest = re.search(r"^  ARGV\[(\d+)…\]", header, re.MULTILINE)
    named = {int(number) for number in re.findall(r"^  ARGV\[(\d+)\]", header, re.MULTILINE)}
    assert {int(number) for number in re.findall(r"ARGV\[(\d+)\]", code)} == named
    if rest:
        assert re.search(rf"for i = {rest[1]}, #ARGV", code)


@pytest.mark.parametrize("name", [*script_names(), *CIRCUITS])
def test_no_key_is_spelled(name):
    """No script spells a key: that is done in one place."""
    _, code = split(name)
    assert "ROOT" not in code
    assert (re.search(r"\bKEYS", code) is not None) == (name == "circuit/list")  # that one is given the index itself
    assert not re.search(r"'[a-z-]*:", code.replace("':(%d+)$'", "").replace("id .. ':' .. number", ""))


@pytest.mark.parametrize("name", script_names())
def test_statuses(name):
    """Every word that a script returns is explained in its header."""
    header, code = split(name)
    for word in re.findall(r"return (?:.*?and )?'([a-z]+)'", code):
        assert f"'{word}'" in header


def test_spelling():
    """Lua and Python spell the keys alike."""
    lua = source("letter_add")
    assert f"INDEXED = {{{', '.join(repr(name) for name in INDEXED)}}}" in lua
    assert f"COUNTED = {{{', '.join(repr(name) for name in COUNTED)}}}" in lua
    for key in (KEYS.letter("x"), KEYS.message("x"), KEYS.kept("x"), KEYS.open("x")):
        assert f"ROOT .. '{key.removeprefix(KEYS.root)[:-1]}'" in lua


def test_one_slot():
    """All keys of the store share one hash tag."""
    keys = (KEYS.letter("{x}"), KEYS.all, KEYS.index("task", "t"), KEYS.finished, KEYS.operation("o"), KEYS.totals)
    assert {re.search(r"{(.*?)}", key)[1] for key in keys} == {"dead-letters"}
