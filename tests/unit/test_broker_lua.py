"""The scripts of the Redis broker say what they take, and take what they say."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from celery_recovery.worker.holding import Keys, redelivered

FOLDER = files("celery_recovery.redis") / "lua" / "broker"
NAMES = sorted(entry.name for entry in FOLDER.iterdir())


def split(name: str) -> tuple[str, str]:
    """Header block and code of a script."""
    header, _, code = (FOLDER / name).read_text().partition("]]")
    return header, code


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["KEYS", "ARGV"])
def test_arguments(name, kind):
    """The header numbers every key and argument without gaps, and the code uses each of them and no other."""
    header, code = split(name)
    numbers = [int(number) for number in re.findall(rf"^  {kind}\[(\d+)", header, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    single = {int(number) for number in re.findall(rf"^  {kind}\[(\d+)\]", header, re.MULTILINE)}
    assert {int(number) for number in re.findall(rf"{kind}\[(\d+)\]", code)} == single
    rest = re.search(rf"^  {kind}\[(\d+)…\]", header, re.MULTILINE)
    assert not rest or f"for i = {rest[1]}, #{kind}" in code


@pytest.mark.parametrize("name", NAMES)
def test_header(name):
    """It says what the script does and returns; the code spells no key."""
    header, code = split(name)
    assert header.startswith("--[[\n  ")
    assert re.search(r"^  Returns  \S", header, re.MULTILINE)
    assert "unacked" not in code


def test_keys():
    """All keys of one broker begin alike."""
    keys = Keys("shop:unacked")
    spelled = {keys.lives, keys.alive("x"), keys.held("x"), keys.taken("x")}
    assert len(spelled) == 4
    assert all(key.startswith("shop:unacked.") for key in spelled)


def test_redelivered():
    """Both of kombu's marks where there is a place for them; else what can be marked, and the rest as it is."""
    assert redelivered(b'{"headers": {}, "properties": {"delivery_info": {}}}') == (
        b'{"headers": {"redelivered": true}, "properties": {"delivery_info": {"redelivered": true}}}'
    )
    assert redelivered(b'{"headers": {}}') == b'{"headers": {"redelivered": true}}'
    assert redelivered(b"no json") == b"no json"
    assert redelivered(b"[1]") == b"[1]"
