"""Real messages, broken at random; and a real consumer in this process that takes them in."""

from __future__ import annotations

import json
import pickle
import random
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from celery import Celery
from celery.worker import state
from kombu import Queue
from kombu.common import QoS
from kombu.transport.pyamqp import Message as AmqpMessage

from celery_recovery import RecoverableTask, Recovery
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.received import as_bytes, clean_headers

__all__ = ("TASK", "Broken", "Entrance", "broken", "junk", "same")

TASK = "door.note"
_FIELDS = ("lang", "task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "eta", "expires", "retries",
           "timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamped_headers", "stamps", "compression",
           "recovery", "replaced_task_nesting", "utc", "args", "kwargs", "delivery_info", "properties", "hostname",
           "get", "update", "children", "is_eager", "called_directly", "meth", "callbacks", "errbacks", "chord",
           "chain", "taskset", "headers", "reply_to", "correlation_id")  # fmt: skip
_TEXTS = ("", " ", "x", TASK, "door.nonesuch", "None", "null", "0", "-1", "1e400", "\x00", "\ud800", "ключ", "é" * 300,
          "2020-01-01T00:00:00", "2020-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
          "2020-13-45", "tomorrow", "gzip", "bzip2", "application/x-python-serialize", "x" * 5000)  # fmt: skip
_TYPES = ("application/json", "application/x-python-serialize", "application/x-yaml", "application/x-msgpack",
          "text/plain", "application/data", "json", "", None, "text/xml", "application/x-nonesuch")  # fmt: skip
_ENCODINGS = ("utf-8", "binary", "us-ascii", "utf-16", "base64", "nonesuch", "", None, "rot13", "UTF-8")


class Broken(NamedTuple):
    """One message, as a client may have sent it."""

    body: bytes
    headers: Any
    content_type: Any
    content_encoding: Any
    properties: dict[str, Any]


def junk(dice: random.Random, depth: int = 0) -> Any:
    """Anything that a header or an argument may hold."""
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: dice.choice((True, False)),
        lambda: dice.choice((0, 1, -1, 2, 17, 255, 2**31, 2**63 - 1, -(2**63), 2**64, 10**400)),
        lambda: dice.choice((0.0, -0.5, 1.5, 1e308, float("nan"), float("inf"), float("-inf"))),
        lambda: dice.choice(_TEXTS),
        lambda: "".join(chr(dice.randrange(1, 0x2FF)) for _ in range(dice.randrange(12))),
        lambda: dice.randbytes(dice.randrange(12)),
        lambda: datetime(dice.choice((1, 1970, 2026, 9999)), 12, 31, tzinfo=dice.choice((None, timezone.utc))),
        lambda: Decimal(dice.choice(("1.5", "1e500", "NaN"))),
        lambda: _nested(dice.choice((5, 50, 200, 900))),
    ]
    if depth < 3 and dice.random() < 0.4:
        items = [junk(dice, depth + 1) for _ in range(dice.randrange(4))]
        if dice.random() < 0.5:
            return items
        return {dice.choice((*_FIELDS, *_TEXTS[:8], "task", "__type__", "__value__")): item for item in items}
    return dice.choice(simple)()


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def broken(dice: random.Random) -> Broken:
    """A real message, with one to four things wrong with it (or, sometimes, none)."""
    message = dice.choice((_plain, _plain, _linked, _old, _retried, _packed))(dice)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 4))):
        message = dice.choice((_header, _header, _header, _body, _body, _embed, _label, _property))(dice, message)
    return message


def _of(headers: dict[str, Any], body: Any, **properties: Any) -> Broken:
    return Broken(json.dumps(body).encode(), headers, "application/json", "utf-8", properties)


def _plain(dice: random.Random) -> Broken:
    task_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    headers = {"lang": "py", "task": TASK, "id": task_id, "root_id": task_id, "parent_id": None, "group": None,
               "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
               "argsrepr": "('a',)", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": False,
               "stamped_headers": None, "stamps": {}}  # fmt: skip
    return _of(headers, [["a"], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))],
               correlation_id=task_id, priority=0)  # fmt: skip


def _linked(dice: random.Random) -> Broken:
    link = {"task": TASK, "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
    embed = {"callbacks": None, "errbacks": [link], "chain": None, "chord": None}
    return _plain(dice)._replace(body=json.dumps([["a"], {}, embed]).encode())


def _old(dice: random.Random) -> Broken:
    task_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    body = {"id": task_id, "task": TASK, "args": ["a"], "kwargs": {}, "retries": 0, "eta": None, "expires": None,
            "utc": True, "callbacks": None, "errbacks": None, "timelimit": [None, None], "chord": None}  # fmt: skip
    return _of({}, body)


def _retried(dice: random.Random) -> Broken:
    message = _plain(dice)
    recovery = {"version": 1, "attempts": [{"n": 1, "at": 1.0, "error_type": "network"}], "retries": 1,
                "origin": {"queue": "celery", "exchange": "", "routing_key": "celery", "priority": None}}  # fmt: skip
    return message._replace(headers={**message.headers, "retries": 1, "recovery": recovery})


def _packed(dice: random.Random) -> Broken:
    message = _plain(dice)
    headers = {**message.headers, "compression": "application/x-gzip"}
    return message._replace(headers=headers, body=zlib.compress(message.body))


def _header(dice: random.Random, message: Broken) -> Broken:
    headers = dict(message.headers)
    how = dice.random()
    if how < 0.25 and headers:
        del headers[dice.choice(list(headers))]
    elif how < 0.9:
        headers[dice.choice(_FIELDS)] = junk(dice)
    else:
        headers["".join(chr(dice.randrange(1, 0x2FF)) for _ in range(9))] = junk(dice)
    return message._replace(headers=headers)


def _body(dice: random.Random, message: Broken) -> Broken:
    body = message.body
    ways: list[Callable[[], bytes]] = [
        lambda: dice.randbytes(dice.randrange(40)),
        lambda: body[: dice.randrange(len(body) + 1)],
        lambda: _written(junk(dice)),
        lambda: _written([junk(dice) for _ in range(dice.randrange(5))]),
        lambda: b"[" * dice.choice((10, 900, 5000)) + body,
        lambda: pickle.dumps(([], {}, {})),
        lambda: bytes(dice.randrange(256) if dice.random() < 0.02 else byte for byte in body),
    ]
    return message._replace(body=dice.choice(ways)())


def _embed(dice: random.Random, message: Broken) -> Broken:
    """One part of a body that can be read."""
    try:
        parts = json.loads(message.body)
    except (ValueError, RecursionError):
        return message
    if isinstance(parts, dict):
        parts[dice.choice(_FIELDS)] = junk(dice)
    elif isinstance(parts, list) and len(parts) == 3:
        where = dice.randrange(4)
        if where < 3:
            parts[where] = junk(dice)
        elif isinstance(parts[2], dict):
            parts[2][dice.choice(("callbacks", "errbacks", "chain", "chord", "id", "get"))] = junk(dice)
    return message._replace(body=_written(parts))


def _label(dice: random.Random, message: Broken) -> Broken:
    if dice.random() < 0.5:
        return message._replace(content_type=dice.choice(_TYPES))
    return message._replace(content_encoding=dice.choice(_ENCODINGS))


def _property(dice: random.Random, message: Broken) -> Broken:
    name = dice.choice(("priority", "correlation_id", "reply_to", "message_id", "app_id", "type", "expiration", "odd"))
    return message._replace(properties={**message.properties, name: junk(dice)})


def _written(value: Any) -> bytes:
    try:
        return json.dumps(value, default=repr).encode()
    except (ValueError, RecursionError):
        return b"[" * 3000


class _Channel:
    """The broker's end of an AMQP channel: notes what is acknowledged."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.acknowledged: Counter[Any] = Counter()

    def basic_ack(self, tag: Any, multiple: bool = False) -> None:
        self.acknowledged[tag] += 1

    def basic_reject(self, tag: Any, requeue: bool = False) -> None:
        raise AssertionError(f"message {tag} was rejected: that loses it")


class _Received(NamedTuple):
    """As py-amqp gives it."""

    body: Any
    properties: dict[str, Any]
    delivery_tag: int
    delivery_info: dict[str, Any]


class Entrance:
    """A worker's own consumer, with its door and a pool that runs tasks here; only the publisher's end is a fake."""

    def __init__(self) -> None:
        self.app = Celery("entrance", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(accept_content=["json"], worker_hijack_root_logger=False, recovery_stats=False)
        self.ran = 0
        self.letters: list[Letter] = []

        @self.app.task(base=RecoverableTask, name=TASK)
        def note(*args: Any, **kwargs: Any) -> None:
            self.ran += 1

        Recovery.of(self.app).__dict__["publisher"] = self
        controller = self.app.WorkController(pool="solo", concurrency=1, loglevel="CRITICAL")
        self.consumer = controller.consumer
        self.consumer.update_strategies()
        self.consumer.qos = QoS(lambda **_: None, 0)
        self.take = self.consumer.create_task_handler()
        self.channel = _Channel()
        self.taken = 0

    def publish_raw_letter(self, queue: Queue, body: bytes, **options: Any) -> None:
        """The publisher's part."""
        self.letters.append(Letter.from_message(body, **options))

    def publish_letter(self, queue: Queue, message: Any, serializers: Any) -> None:
        """Of a task that failed."""
        self.letters.append(Letter.from_message(b"", message[0], message[1]))

    def submit(self, broken: Broken) -> None:
        """Receive one message, as kombu does it."""
        self.taken += 1
        content = {"content_type": broken.content_type, "content_encoding": broken.content_encoding}
        properties = {**broken.properties, **content, "application_headers": broken.headers}
        delivery = {"exchange": "", "routing_key": "celery", "redelivered": False, "consumer_tag": "1"}
        message = AmqpMessage(_Received(broken.body, properties, self.taken, delivery), channel=self.channel)
        message.accept = {"application/json"}
        if message.errors:
            message._reraise_error(self.consumer.on_decode_error)
        else:
            self.take(message)

    def settle(self) -> None:
        """Wait until what is refused is kept and acknowledged."""
        door = self.consumer.recovery_door
        assert door._line.wait_empty(60)
        self.consumer.perform_pending_operations()
        state.reserved_requests.clear()
        state.requests.clear()

    @property
    def waiting(self) -> int:
        """Tasks that wait for a time that a mutation has made up."""
        return len(state.scheduled_requests)

    @property
    def unsettled(self) -> int:
        """Messages that were acknowledged never, or twice, those that wait among them."""
        acknowledged = self.channel.acknowledged
        return self.taken - sum(count == 1 for count in acknowledged.values())


def same(letter: Letter, broken: Broken) -> bool:
    """Whether the letter has all of the message."""
    headers = {key: value for key, value in broken.headers.items() if key != "recovery"}
    return letter.body == as_bytes(broken.body, None) and repr(letter.headers) == repr(clean_headers(headers))
