"""The record of a dead letter: read from any message, shown without secrets, published again as it was."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.config import Settings
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.packing import packed
from celery_recovery.dead_letters.raw import dump
from celery_recovery.dead_letters.received import FOREIGN
from celery_recovery.dead_letters.state import FINISHED, OPEN, TRANSITIONS, LetterState
from celery_recovery.dead_letters.stored import about_of, letter_fields, message_of, read_letter
from celery_recovery.errors.model import ErrorInfo, ErrorType
from celery_recovery.redact import Redactor
from tests.letters import DIED_AT, body, headers, letter

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
parts = st.sampled_from(
    ["id", "task", "recovery", "letter", "error", "attempts", "origin", "replay", "previous", "died_at", "attempt",
     "replays", "number", "chords", "x-death", "argsrepr", "held", "error_type", "deferrals", "priority", "queue"]
)  # fmt: skip
messages = st.dictionaries(parts, st.dictionaries(parts, st.dictionaries(parts, anything) | anything) | anything)


class TestRead:
    def test_everything(self):
        """What the pipeline wrote is all there."""
        one = letter("a", queue="slow", priority=3, held=True, chords=["g"], action="manual_review")
        assert (one.id, one.task, one.reason, one.detail) == ("a", "orders.charge", "exhausted", "3 of 3 attempts")
        assert one.origin == Origin(queue="slow", exchange="", routing_key="slow", priority=3)
        assert (one.attempt, one.worker, one.died_at, one.first_failure) == (3, "w@h", DIED_AT, DIED_AT - 9)
        assert (one.held, one.chords, one.state) == (True, ("g",), LetterState.REVIEW)
        assert (one.error.error_type, one.error.error_code) == (ErrorType.NETWORK, "HTTP 503")
        assert one.attempts[0]["message"] == "slow"

    def test_foreign(self):
        """A task that a broker's own exchange put there is taken too: origin and time of death from the broker."""
        death = {
            "queue": "orders",
            "exchange": "",
            "routing-keys": ["orders"],
            "time": datetime(2026, 1, 1, tzinfo=timezone.utc),
        }
        one = Letter.from_message(
            body(1), {"id": "a", "task": "t", "x-death": [death]}, {"priority": 2}, "application/json", "utf-8"
        )
        assert (one.reason, one.error.error_type, one.died_at) == (
            FOREIGN,
            ErrorType.UNKNOWN,
            death["time"].timestamp(),
        )
        assert one.origin == Origin("orders", "", "orders", 2)
        assert one.is_replayable

    def test_no_headers_at_all(self):
        """A message that is no task gets an id from its body, so that a second delivery is recognised."""
        first, second = (Letter.from_message(b"hello", None) for _ in range(2))
        assert first.id == second.id
        assert first.id.startswith("unnamed-")
        assert not first.is_replayable

    @pytest.mark.parametrize(
        "raw", [b"\xff\x00", "täxt", "lone \udc80", bytearray(b"x"), memoryview(b"x"), None, 7, {"a": 1}]
    )
    def test_any_body(self, raw):
        """Whatever a transport gives as the body becomes bytes."""
        assert isinstance(Letter.from_message(raw, {"id": "a"}, content_encoding="nonsense").body, bytes)

    @given(messages, st.none() | messages)
    def test_garbage(self, garbage, properties):
        """No header makes it raise, nor showing, matching, storing and reading back what was read."""
        one = Letter.from_message(b"{}", garbage, properties)
        goes_round(one)

    @given(st.sampled_from([item.name for item in fields(ErrorInfo)]), anything)
    def test_garbage_in_the_error(self, name, garbage):
        """One field of the error that makes no sense does not hide the letter, nor stop a search of all letters."""
        message = headers("a")
        message["recovery"]["letter"]["error"][name] = garbage
        one = Letter.from_message(body(7), message)
        goes_round(one)
        Filter(text="x", exception=("shop.*",), fingerprint=("1:*",)).matches(one)

    @given(
        st.dictionaries(parts, anything), st.dictionaries(st.sampled_from(["about", "headers", "properties"]), anything)
    )
    def test_garbage_in_the_store(self, columns, head):
        """Whatever stands in the store is read, shown, and matched; what it is not made of can be told."""
        about = about_of(letter("a")) | columns
        for stored in ({"about": about, **head}, {"about": about}, head):
            one = read_letter("a", [dump(columns).encode("utf-8", "replace"), packed(stored, b"[]")])
            one.to_dict()
            Filter(text="x", exception=("shop.*",), fingerprint=("1:*",)).matches(one)
            assert one.unreadable or one.is_replayable in {True, False}

    def test_nested_too_deep(self):
        """Headers in which Python gives up go as their repr; the letter is stored and read."""
        deep: dict[str, Any] = {}
        for _ in range(100_000):
            deep = {"a": deep}
        one = Letter.from_message(body(7), headers("a", detail=deep, extra={"deep": deep}))
        assert read_letter("a", [b"{}", message_of(one)]).id == "a"

    def test_long_history(self):
        """All attempts are read that `recovery_history_length` lets travel."""
        attempts = [{"n": n, "message": "slow"} for n in range(1, 101)]
        assert len(letter(attempts=attempts).attempts) == Settings(history_length=100).history_length


def goes_round(one: Letter) -> None:
    """It can be shown, published, stored and read back."""
    one.to_dict()
    one.message()
    columns = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in letter_fields(one).items()}
    row = [json.dumps({**columns, "state": "failed"}).encode("utf-8", "replace"), message_of(one)]
    back = read_letter(one.id, row)
    assert back.task == one.task.encode("utf-8", "replace").decode()


class TestArguments:
    def test_json(self):
        """Arguments come from a JSON body."""
        assert letter(body=body(1, a=[2])).arguments == ([1], {"a": [2]})

    def test_literals(self):
        """From any other body they come from Celery's own text of them, if that is complete."""
        assert letter(body=b"\x80", content_type="application/x-python-serialize").arguments == (
            [7],
            {"currency": "EUR"},
        )

    @pytest.mark.parametrize("text", ["(7, '...)", "(<Order 7>,)", "", "(1, ...)", "__import__('os')"])
    def test_incomplete(self, text):
        """Text that was cut, or is no literal, gives no arguments."""
        one = letter(body=b"\x80", content_type="application/x-msgpack", extra={"argsrepr": text})
        assert one.arguments is None

    def test_never_unpickled(self):
        """No body is unpickled to be shown, whatever it is."""
        evil = pickle.dumps(_Evil())
        letter(body=evil, content_type="application/x-python-serialize").to_dict()
        letter(body=evil, content_type="application/json").to_dict()
        assert not _Evil.went_off

    def test_compressed(self):
        """A compressed body is shown by Celery's text of the arguments."""
        assert letter(body=b"x\x9c", extra={"compression": "application/x-gzip"}).to_dict()["args"] == "(7,)"


class _Evil:
    went_off = False

    def __reduce__(self) -> Any:
        return (setattr, (_Evil, "went_off", True))


class TestShow:
    def test_json_ready(self):
        """It can be written as JSON, and holds no raw body."""
        shown = letter("a").to_dict()
        assert json.loads(json.dumps(shown)) == shown
        assert "body" not in shown
        assert shown["args"] == [7]

    def test_secrets(self):
        """Secrets are hidden wherever they could appear: nested arguments, messages, tracebacks, attempts, details."""
        one = letter(
            body=body({"card": {"number": 1, "cvv": "hush"}}, password="hush"),
            message="401 for https://ada:hush@api.example/?token=hush",
            detail="Authorization: Bearer hush",
            attempts=[{"n": 1, "message": "api_key='hush'"}],
            extra={"argsrepr": "({'secret': 'hush'},)", "kwargsrepr": "{'my_api_key': 'hush'}"},
        )
        assert "hush" not in json.dumps(one.to_dict())
        cut = letter(
            body=b"\x80", content_type="x", extra={"argsrepr": "({'secret': 'hush', 'n': 1},)", "kwargsrepr": ""}
        )
        assert cut.to_dict()["args"] == "({'secret': '***', 'n': 1},)"

    def test_own_patterns(self):
        """A team adds its own names."""
        one = letter(body=body(patient="Ada"))
        assert one.to_dict()["kwargs"] == {"patient": "Ada"}
        assert one.to_dict(Redactor(["patient"]))["kwargs"] == {"patient": "***"}


class TestMessage:
    def test_body_and_headers_stay(self):
        """The raw body, the canvas, custom headers and stamps travel on; what was one delivery's does not."""
        extra = {
            "stamps": {"s": 1},
            "stamped_headers": ["s"],
            "x-delivery-count": 3,
            "redelivered": True,
            "tenant": "b",
        }
        one = letter("a", body=b"\x80raw", extra=extra).changed(token="a:1", number=1, operation="op")
        message = one.message(copy="c")
        assert message.body == b"\x80raw"
        kept = {name: message.headers[name] for name in ("id", "root_id", "timelimit", "stamps", "tenant")}
        assert kept == {"id": "a", "root_id": "a", "timelimit": [30, 20], "stamps": {"s": 1}, "tenant": "b"}
        assert not {"x-delivery-count", "redelivered"} & set(message.headers)
        assert message.properties == {"correlation_id": "a", "reply_to": ""}

    def test_new_life(self):
        """It starts at its first attempt, without deadline or due time, and remembers when trouble began."""
        message = letter("a").changed(token="a:2", number=2, operation="op").message(copy="c")
        assert [message.headers[name] for name in ("retries", "eta", "expires")] == [0, None, None]
        header = message.headers["recovery"]
        assert header["replay"] == {"token": "a:2", "copy": "c", "number": 2, "operation": "op"}
        assert "first_failure" not in header
        assert (header["previous"]["first_failure"], header["replays"]) == (DIED_AT - 9, 2)

    def test_every_copy_differs(self):
        """Two publications of one claim are two copies under one token."""
        one = letter("a").changed(token="a:1", number=1)
        first, second = (one.message().headers["recovery"]["replay"] for _ in range(2))
        assert first["token"] == second["token"]
        assert first["copy"] != second["copy"]

    def test_to_queue(self):
        """Sent to another queue, the old exchange and routing key are not used."""
        message = letter("a", queue="slow").message(to_queue="repair")
        assert (message.queue, message.exchange, message.routing_key) == ("repair", "", "")


def test_death():
    """The same death is the same text; another attempt, replay or moment is another."""
    assert letter("a").death == letter("a").death
    replay = {"token": "a:1", "copy": "c", "number": 1}
    others = [letter("a", attempt=2), letter("a", died_at=DIED_AT + 0.001), letter("a", replay=replay)]
    assert len({letter("a").death, *(one.death for one in others)}) == 4


def test_states():
    """Every state has its place in the table; a finished letter can be removed, an open one never."""
    assert set(TRANSITIONS) == {None, *LetterState}
    assert {state for state, after in TRANSITIONS.items() if None in after} == FINISHED
    assert set(LetterState) == OPEN | FINISHED


def test_header_is_read_back():
    """What a replay carries is what the next death is read with."""
    again = letter("a").changed(token="a:3", number=3, operation="op").message(copy="c").headers
    one = Letter.from_message(b"[]", {**headers("a"), "recovery": again["recovery"]}, {})
    assert (one.replays, one.replay["copy"], one.first_failure) == (3, "c", DIED_AT - 9)
