"""The door of a consumer in this process: whatever comes in is run, or kept whole; never raised over."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.raw import dump, is_carriable, load, seal, unseal
from celery_recovery.dead_letters.received import HEADER
from celery_recovery.worker.quarantine import Line
from celery_recovery.worker.soundness import Unsound, check_body, check_fields
from tests.broken_messages import TASK, Broken, Entrance, broken, junk, same

anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
values = st.recursive(leaf, lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(), some, max_size=4))
fields = st.sampled_from(["id", "eta", "expires", "retries", "timelimit", "shadow", "group", "stamps", "compression",
                          "stamped_headers", "recovery", "callbacks", "chord", "get", "root_id", "task"])  # fmt: skip


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    """One for all, quietly."""
    logging.disable(logging.CRITICAL)
    yield Entrance()
    logging.disable(logging.NOTSET)


def _submit(entrance: Entrance, message: Broken) -> Letter | None:
    """The letter that came of it; None: it ran. Whichever it was, it is acknowledged, once."""
    ran, letters, unsettled = entrance.ran, len(entrance.letters), entrance.unsettled
    waiting = entrance.waiting
    entrance.submit(message)
    entrance.settle()
    assert entrance.unsettled - unsettled == entrance.waiting - waiting
    new = entrance.letters[letters:]
    assert len(new) <= 1
    assert not (new and entrance.ran > ran), "kept, and run too"
    return new[0] if new else None


def _message(body: bytes, headers: Any, **changes: Any) -> Broken:
    return Broken(body, headers, "application/json", "utf-8", {})._replace(**changes)


def _sound(**changes: Any) -> dict[str, Any]:
    return {"task": TASK, "id": "an-id", **changes}


@anything
@given(body=st.binary(max_size=200))
def test_any_body(entrance: Entrance, body: bytes) -> None:
    """It is in its letter byte for byte; no such body is a task by chance."""
    letter = _submit(entrance, _message(body, _sound()))
    assert letter is not None
    assert (letter.body, letter.id, letter.task) == (body, "an-id", TASK)


@anything
@given(parts=st.lists(values, max_size=4))
def test_any_json_body(entrance: Entrance, parts: list[Any]) -> None:
    """It runs exactly if it is a list, a mapping and a canvas."""
    body = json.dumps(parts, default=repr).encode()
    letter = _submit(entrance, _message(body, _sound()))
    assert letter is None or letter.body == body
    if letter is None:
        assert len(parts) == 3
        assert isinstance(parts[0], list)
        assert isinstance(parts[1], dict)


@anything
@given(headers=st.dictionaries(fields | st.text(), values, max_size=6), known=st.booleans())
def test_any_headers(entrance: Entrance, headers: dict[str, Any], known: bool) -> None:
    """Run, or kept with all of them."""
    whole = _sound(**headers) if known else headers
    message = _message(b"[[], {}, {}]", whole)
    letter = _submit(entrance, message)
    assert letter is None or same(letter, message)


@anything
@given(content_type=st.none() | st.text(max_size=30), encoding=st.none() | st.text(max_size=30))
def test_any_content_type(entrance: Entrance, content_type: str | None, encoding: str | None) -> None:
    """None but JSON runs here; what it said it was stands on the letter."""
    letter = _submit(entrance, _message(b"[]", _sound(), content_type=content_type, content_encoding=encoding))
    assert letter is not None
    assert letter.content_type == (content_type or "application/data")


@anything
@given(seed=st.integers(0, 2**32))
def test_any_mutation_of_a_real_message(entrance: Entrance, seed: int) -> None:
    """Run, or kept whole."""
    message = broken(random.Random(seed))
    letter = _submit(entrance, message)
    assert letter is None or same(letter, message)


@anything
@given(values)
def test_whatever_is_dumped_can_be_loaded(value: Any) -> None:
    """And is the same again where JSON can say it."""
    again = load(dump({"x": value}))
    assert set(again) == {"x"}
    if json.loads(json.dumps({"x": value}, default=repr)) == {"x": value} and "__type__" not in repr(value):
        assert again == {"x": value}


@anything
@given(st.binary(), st.dictionaries(st.text(), st.text()))
def test_a_sealed_message_can_be_opened(body: bytes, headers: dict[str, str]) -> None:
    """Body and parts, unchanged."""
    assert unseal(seal(body, headers=headers)) == {"body": body, "headers": headers}


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{}", b'{"body": 3}', b'{"body": "==="}', b"\xff"])
def test_what_is_not_sealed_is_not_opened(garbage: bytes) -> None:
    """A forged mark costs nothing."""
    assert unseal(garbage) is None
    forged = {HEADER: {"letter": {"raw": {"sealed": True}}}}
    assert Letter.from_message(garbage, forged).body == garbage


@pytest.mark.parametrize(
    "headers",
    [{"x": float("nan")}, {"x": 2**70}, {"x": "y" * 60_000}, {"k" * 300: 1}, {"__type__": "a", "__value__": 1}],
)
def test_headers_that_a_broker_could_change_are_sealed(entrance: Entrance, headers: dict[str, Any]) -> None:
    """What AMQP or JSON would lose, cut or misread."""
    assert not is_carriable(headers)
    letter = _submit(entrance, _message(b"[]", _sound(**headers)))
    assert letter is not None
    assert repr(letter.headers) == repr(_sound(**headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timelimit", [5, None]), ("timelimit", (2.5, 1)), ("timelimit", None), ("retries", 3), ("retries", None),
        ("eta", "2020-01-01T00:00:00"), ("eta", "2020-01-01T00:00:00Z"), ("expires", "2099-01-01T00:00:00+00:00"),
        ("shadow", ""), ("group", "g"), ("stamped_headers", ["a"]), ("stamps", {"a": [1]}), ("root_id", 17),
        ("recovery", "theirs"), ("chain", []), ("errbacks", [{"task": "a", "options": {}}]),
    ],
)  # fmt: skip
def test_what_celery_takes_is_sound(name: str, value: Any) -> None:
    """The door asks for no more than Celery does."""
    check_fields(_sound(**{name: value}))


@pytest.mark.parametrize("embed", [None, {}, [], {"chain": [{"task": "a", "args": [1]}], "chord": None, "x": 1}])
def test_canvas_that_celery_takes_is_sound(embed: Any) -> None:
    """Other clients leave out what they do not use."""
    check_body(([], {}, embed))


@pytest.mark.parametrize("value", [junk(random.Random(seed)) for seed in range(300, 340)])
def test_junk_for_a_body_is_told_in_one_sentence(value: Any) -> None:
    """Short enough for a log line."""
    with pytest.raises(Unsound) as refused:
        check_body(value)
    assert len(str(refused.value)) < 300


def test_shown_without_being_decoded(entrance: Entrance) -> None:
    """A pickle is digits, secrets in text are hidden."""
    poison = b"\x80\x04\x95cos\nsystem\n"
    pickled = Letter.from_message(poison, {HEADER: {"letter": {"raw": {"protocol": 2}}}}).to_dict()
    assert pickled["raw"]["body"].startswith("80 04 95")
    secret = b'[["a"], {"password": "hunter2"}]'
    letter = _submit(entrance, _message(secret, _sound(api_key="k-123")))
    assert letter is not None
    shown = json.dumps(letter.to_dict())
    assert "hunter2" not in shown
    assert "k-123" not in shown


def test_a_line_goes_on_after_a_failure() -> None:
    """What could not be done stands at its end, and is done later; nothing is forgotten."""
    tried: list[int] = []
    filled, through = threading.Event(), threading.Event()

    def work(thing: int) -> bool:
        tried.append(thing)
        if thing == 3:
            through.set()
        if thing == 1 and tried.count(1) == 1:
            assert filled.wait(10)
            raise OSError("not now")
        return True

    line: Line[int] = Line("test", work)
    for thing in (1, 2, 3):
        line.put(thing)
    filled.set()
    assert not line.wait_empty(1)
    assert through.wait(10)
    assert line.wait_empty(10)
    assert tried == [1, 2, 3, 1]


def test_a_line_refuses_what_is_too_much() -> None:
    """Memory has an end."""
    gate = threading.Event()
    line: Line[int] = Line("test", lambda _: gate.wait(5), longest=2)
    assert [line.put(n) for n in range(6)].count(False) >= 3
    gate.set()
