"""Messages that never become tasks: kept raw, shown safely, replayed once the code is there; the worker goes on."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import amqp
import pytest
import redis
from celery import chord

from celery_recovery import Filter, LetterState
from tests.integration.door_client import BODY, FOREIGN, Door, headers
from tests.integration.jobs_client import eventually
from tests.integration.test_cli import Cli
from tests.services import Worker


@pytest.fixture
def door(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Door:
    """One worker, on each broker in turn."""
    return Door(worker, broker_url, other_redis_url)


DEEP = b"[" * 100_000

BROKEN: dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]] = {
    "two-item body": (b"[[], {}]", {}, {}),
    "empty body": (b"", {}, {}),
    "body of text": (b'"args"', {}, {}),
    "body of a number": (b"17", {}, {}),
    "undecodable body": (b"\xff\xfe{", {}, {}),
    "nested body": (DEEP, {}, {}),
    "arguments of text": (b'["ab", {}, {}]', {}, {}),
    "keywords of a list": (b"[[], [], {}]", {}, {}),
    "chain of text": (b'[[], {}, {"chain": "x"}]', {}, {}),
    "errbacks of numbers": (b'[[], {}, {"errbacks": [1]}]', {}, {}),
    "disallowed content type": (pickle.dumps(([], {}, {})), {}, {"content_type": "application/x-python-serialize"}),
    "unknown content type": (b"<xml/>", {}, {"content_type": "text/xml"}),
    "compressed garbage": (BODY, {"compression": "gzip"}, {}),
    "unknown compression": (BODY, {"compression": "nonesuch"}, {}),
    "no id": (BODY, {"id": None}, {}),
    "id of a list": (BODY, {"id": ["a"]}, {}),
    "task of a mapping": (BODY, {"task": {"a": 1}}, {}),
    "no task": (BODY, {"task": None}, {}),
    "absurd eta": (BODY, {"eta": "9999-12-31T23:59:59-23:59"}, {}),
    "eta of a number": (BODY, {"eta": 17}, {}),
    "expires of text": (BODY, {"expires": "tomorrow"}, {}),
    "time limit of text": (BODY, {"timelimit": ["soon", "later"]}, {}),
    "one time limit": (BODY, {"timelimit": [1]}, {}),
    "retries of text": (BODY, {"retries": "many"}, {}),
    "stamps of numbers": (BODY, {"stamped_headers": [1], "stamps": 3}, {}),
    "shadow of a list": (BODY, {"shadow": ["x"]}, {}),
    "a header called get": (BODY, {"get": "x"}, {}),
}


def test_no_broken_message_stops_the_worker(door: Door) -> None:
    """Each becomes a letter with its body as it was; the worker never restarts, and the next task runs."""
    worker = door.worker()
    pid, children = worker.pid, worker.children
    for name, (body, changes, options) in BROKEN.items():
        door.send_raw(body, headers(name, **changes), **options)
    wanted = len(BROKEN)
    eventually(lambda: door.letters() >= wanted, 15, what="a letter of each")
    assert door.run_one() == 1
    assert worker.running
    assert worker.pid == pid
    assert worker.children == children
    door.assert_no_restart(worker)
    letters = door.dead_letters.list(limit=100)
    assert sorted(letter.body for letter in letters) == sorted(body for body, *_ in BROKEN.values())
    assert {letter.reason for letter in letters} == {"malformed"}


def test_an_unknown_task_runs_once_its_code_is_there(door: Door) -> None:
    """Same id, its result stored; until then FAILURE(NotRegistered), the signal and the event, once."""
    first = door.worker()
    sent = door.sig("door.later", "t", value=7).apply_async()
    letter = door.letter(sent.id, state="failed")
    assert (letter.reason, letter.task, letter.origin.queue) == ("unknown_task", "door.later", "celery")
    assert letter.error.rule == "celery.unknown_task"
    eventually(lambda: door.result(sent.id).state == "FAILURE")
    assert type(door.result(sent.id).result).__name__ == "NotRegistered"
    eventually(lambda: door.ledger.lines("signals"))
    assert door.ledger.lines("signals") == [f"unknown door.later {sent.id}"]
    first.stop()
    door.worker(env={"DOOR_DEPLOYED": "1"})
    door.dead_letters.replay(Filter(ids=(sent.id,)))
    door.letter(sent.id, state=LetterState.RECOVERED)
    assert sent.get(timeout=10) == 7
    assert door.ledger.lines("t") == ["run"]


def test_an_unknown_member_of_a_chord_is_held(door: Door) -> None:
    """Its result stays open, so that the chord ends when the code is there."""
    first = door.worker()
    chord(
        [door.sig("door.later", "t", 1), door.sig("door.one", "u")], door.sig("tests.apps.jobs.total", "sum")
    ).apply_async()
    letter = eventually(lambda: next(iter(door.drained()), None))
    assert letter.held
    assert letter.chords
    eventually(lambda: door.result(letter.id).state == "QUARANTINED")
    first.stop()
    door.worker(env={"DOOR_DEPLOYED": "1"})
    door.dead_letters.replay(Filter(ids=(letter.id,)))
    eventually(lambda: door.ledger.lines("sum") == ["total 2"])


def test_protocol_1_of_an_unknown_task_is_replayed_too(door: Door) -> None:
    """All that names it is in the body, which stays as it came."""
    first = door.worker()
    body = json.dumps({"id": "old-1", "task": "door.later", "args": ["t"], "kwargs": {"value": 3}}).encode()
    door.send_raw(body, {})
    letter = door.letter("old-1", state="failed")
    assert (letter.reason, letter.task, letter.body) == ("unknown_task", "door.later", body)
    first.stop()
    door.worker(env={"DOOR_DEPLOYED": "1"})
    assert door.dead_letters.replay(Filter(ids=("old-1",))).published == 1
    door.letter("old-1", state=LetterState.RECOVERED)
    assert door.ledger.lines("t") == ["run"]


def test_what_stays_broken_comes_back_as_the_same_letter(door: Door) -> None:
    """Its message goes out as it came; each return is counted, and in the end it is left alone."""
    door.worker()
    door.send_raw(b"[[], {}]", {"task": "door.note", "mark": "m", "recovery": "theirs"})
    letter = eventually(lambda: next(iter(door.drained()), None))
    for number in (1, 2):
        assert door.dead_letters.replay(Filter(ids=(letter.id,)), max_replays=2).published == 1
        back = door.letter(letter.id, replays=number, state="failed")
        assert back.body == letter.body
        assert back.headers == letter.headers == {"task": "door.note", "mark": "m"}
    result = door.dead_letters.replay(Filter(ids=(letter.id,)), max_replays=2)
    assert (result.published, dict(result.skipped)) == (0, {"replayed too often": 1})
    assert door.letters() == 1
    assert letter.raw["recovery"] == "theirs"


def test_two_messages_that_are_the_same_are_two_letters(door: Door) -> None:
    """Nothing tells them apart, and still neither is lost."""
    door.worker()
    for _ in range(3):
        door.send_raw(b"[]", {"task": "door.note"})
    eventually(lambda: door.letters() == 3)


def test_a_foreign_header_named_recovery_is_no_fault(door: Door) -> None:
    """The task runs."""
    door.worker()
    for theirs in ("garbage", [1], {"attempts": "x", "replay": {"token": 1}, "letter": 3}, 17):
        door.send_raw(BODY, headers("t", recovery=theirs))
    eventually(lambda: len(door.ledger.lines("door")) == 4)


@pytest.mark.parametrize("name", FOREIGN)
def test_other_clients_messages_run(door: Door, name: str) -> None:
    """Success; a retry with its history; a dead letter, and its replay."""
    door.worker()
    make = FOREIGN[name]
    door.send_raw(*make("s", "tests.apps.jobs.fine", "fine"))
    door.send_raw(*make("r", "tests.apps.jobs.flaky", "flaky"))
    door.send_raw(*make("d", "tests.apps.jobs.broken", "broken"))
    letter = door.letter("d", state="failed")
    assert letter.reason == "not_retryable"
    eventually(lambda: door.ledger.lines("fine") == ["run"])
    eventually(lambda: door.ledger.lines("flaky") == ["run", "run"])
    eventually(lambda: door.result("s").state == door.result("r").state == "SUCCESS")
    door.ledger.fix("broken")
    assert door.dead_letters.replay(Filter(ids=("d",))).published == 1
    door.letter("d", state=LetterState.RECOVERED)


def test_headers_of_an_amqp_message_that_json_does_not_know(
    worker: Callable[..., Worker], rabbit_url: str, other_redis_url: str
) -> None:
    """Dates, decimals, bytes, nested tables, tags that are none: all there again in the replay."""
    door = Door(worker, rabbit_url, other_redis_url)
    door.worker()
    odd = {
        "when": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # AMQP knows no zones
        "price": Decimal("1.25"),
        "blob": b"\xff\x00",
        "tree": {"a": [1, {"b": None}]},
        "tag": {"__type__": "nonesuch", "__value__": 1},
        "long": "x" * 70_000,
    }
    door.send_raw(b"[]", {"task": "door.note", **odd}, priority=3, expiration=600, message_id="m-1", app_id="till")
    letter = eventually(lambda: next(iter(door.drained()), None))
    assert letter.headers == {"task": "door.note", **odd}
    assert letter.properties == {"priority": 3, "message_id": "m-1", "app_id": "till"}
    assert letter.raw["properties"]["expiration"] == "600000"
    door.dead_letters.replay(Filter(ids=(letter.id,)))
    back = door.letter(letter.id, replays=1, state="failed")
    assert back.headers == letter.headers


REDIS_ITEMS = {
    "no JSON": b"\x80\x04 not json",
    "a number": b"17",
    "a list": b"[1, 2]",
    "no envelope": b'{"hello": "world"}',
    "no properties": json.dumps({"body": "e30=", "headers": {}}).encode(),
    "no delivery tag": json.dumps({"body": "e30=", "headers": {"task": "door.note", "id": "untagged"},
                                   "properties": {"body_encoding": "base64"}}).encode(),
    "headers of a list": json.dumps({"body": "e30=", "headers": [1], "content-type": "application/json",
                                     "properties": {"delivery_tag": "x", "delivery_info": {}}}).encode(),
    "a body that is no base64": json.dumps({"body": "===", "headers": {},
                                            "properties": {"body_encoding": "base64", "delivery_tag": "y"}}).encode(),
    "a tag that is none": json.dumps({"body": "e30=", "headers": {"x": {"__type__": "no", "__value__": 1}},
                                      "properties": {"delivery_tag": "z"}}).encode(),
    "a body of a mapping": json.dumps({"body": {}, "headers": {"task": "door.note", "id": "mapped"},
                                       "properties": {"delivery_tag": "v", "delivery_info": {}}}).encode(),
}  # fmt: skip


def test_items_of_a_redis_queue_that_are_no_messages(
    worker: Callable[..., Worker], redis_url: str, redis_client: redis.Redis, other_redis_url: str
) -> None:
    """Kombu raises over them before any consumer sees them; they become letters like all others."""
    door = Door(worker, redis_url, other_redis_url)
    running = door.worker()
    pid = running.pid
    for item in REDIS_ITEMS.values():
        redis_client.lpush("celery", item)
    eventually(lambda: door.letters() >= len(REDIS_ITEMS), what="a letter of each")
    assert door.run_one() == 1
    assert (running.running, running.pid) == (True, pid)
    door.assert_no_restart(running)
    assert door.letters() == len(REDIS_ITEMS)


class FarOff(datetime):
    """A date that AMQP can say and Python cannot."""

    def utctimetuple(self) -> Any:
        return (2026, 1, 10**9, 0, 0, 0)


UNREADABLE: dict[str, dict[str, Any]] = {
    "a date beyond all calendars": {"application_headers": {"task": "door.note", "id": "x", "at": FarOff(2026, 1, 1)}},
    "a property that is no UTF-8": {"correlation_id": b"\xff\xfe"},
    "a content type that is no UTF-8": {"content_type": b"\xff\xfe"},
    "a key that is no UTF-8": {"application_headers": {b"\xff": 1}},
    "a decimal beyond all digits": {"application_headers": {"d": Decimal((0, (1,), -255))}},
}


def test_frames_that_the_amqp_client_cannot_read(
    worker: Callable[..., Worker], rabbit_url: str, other_redis_url: str
) -> None:
    """Brokers hand them on; they come in through the door like all others, with body or without."""
    door = Door(worker, rabbit_url, other_redis_url)
    running = door.worker()
    pid = running.pid
    with door.app.connection_for_write() as connection:
        channel = connection.default_channel
        for properties in UNREADABLE.values():
            for body in (b"[]", b""):
                channel.basic_publish(amqp.Message(body, **properties), exchange="", routing_key="celery")
    eventually(lambda: door.letters() >= 2 * len(UNREADABLE), what="a letter of each")
    assert door.run_one() == 1
    assert (running.running, running.pid) == (True, pid)
    door.assert_no_restart(running)
    assert sum("frame" in letter.raw for letter in door.drained()) >= 6


def test_a_routing_key_that_is_no_utf8(worker: Callable[..., Worker], rabbit_url: str, other_redis_url: str) -> None:
    """The queue is bound to all of them; the task runs, or is kept."""
    door = Door(worker, rabbit_url, other_redis_url)
    running = door.worker()
    with door.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.exchange_declare("all", "fanout", auto_delete=False)
        channel.queue_bind("celery", "all")
        table = {"task": "door.note", "id": "keyed"}
        message = amqp.Message(BODY, application_headers=table, content_type="application/json")
        channel.basic_publish(message, exchange="all", routing_key=b"\xff\xfe")
    eventually(lambda: door.ledger.lines("door") or door.letters())
    door.assert_no_restart(running)


def test_bodies_keep_their_bytes_whatever_their_encoding(door: Door) -> None:
    """Also where a client library has decoded them by then, or decompressed."""
    door.worker()
    packed = zlib.compress(b"[[], {}]", 9)
    bodies = [b"\xff\xfe[\x00]\x00", b"+AGE-", packed]
    door.send_raw(bodies[0], headers("a"), content_encoding="utf-16")
    door.send_raw(bodies[1], headers("b"), content_encoding="utf-7")
    door.send_raw(packed, headers("c", compression="application/x-gzip"))
    eventually(lambda: door.letters() == 3)
    assert [door.letter(name).body for name in "abc"] == bodies


class Bomb:
    """Leaves a trace wherever it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {TRACE}",)


TRACE = Path(tempfile.gettempdir(), f"unpickled-{os.getpid()}")


def test_shown_without_being_unpickled(door: Door) -> None:
    """A pickle is bytes: to the worker, to the store, and on the screen; secrets in headers are hidden."""
    door.worker()
    bomb = pickle.dumps(([Bomb()], {}, {}))
    door.send_raw(bomb, headers("bomb", api_key="k-123"), content_type="application/x-python-serialize")
    door.send_raw(bomb, headers("stranger", task="door.nonesuch"), content_type="application/x-python-serialize")
    for name in ("bomb", "stranger"):
        assert door.letter(name).body == bomb
        shown = Cli(door)("dlq", "show", name)
        assert "80 04 95" in shown.output
        assert "k-123" not in shown.output
        assert Cli(door)("dlq", "show", name, "--json").code == 0
    assert not TRACE.exists()
