"""Messages that never become tasks: kept raw, shown safely, replayed once the code is there; the worker goes on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.door_client import BODY, Door, headers
from tests.integration.jobs_client import eventually
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
