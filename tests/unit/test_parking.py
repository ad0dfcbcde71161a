"""What is parked and what is left to Celery; how parked tasks are chosen and shown. No service is needed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast
from kombu.message import Message

from celery_recovery.exceptions import ConfigurationError, StoreUnavailable
from celery_recovery.parking import ParkedFilter, ParkedTask, Parking
from celery_recovery.parking.parked import about_message, filed_by, read_parked
from celery_recovery.redact import Redactor
from celery_recovery.redis import Keys, connect
from celery_recovery.worker.strategy import _Attendant
from tests.letters import body

NOW = 1_760_000_000.0
UUID = "3e96227e-cfd1-4661-a626-52adb2f6bc44"


def eta(seconds: float = 600) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def attendant() -> _Attendant:
    """Of a worker that consumes queues of several kinds."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_queues = [
        Queue("celery"),
        Queue("mine", durable=False),
        Queue("passing", auto_delete=True),
        Queue("short", expires=60),
        Broadcast("all"),
        Queue("shop.orders", Exchange("shop", type="topic"), "order.#"),
    ]

    @app.task(name="orders.charge")
    def charge(order_id: int) -> None:
        """Nothing."""

    consumer: Any = SimpleNamespace(hostname="w@h", controller=SimpleNamespace(state=SimpleNamespace(revoked={"gone"})))
    nowhere = Parking(connect("redis://127.0.0.1:1/0"), Keys("shop"), None)  # type: ignore[arg-type]
    return _Attendant(charge, app, consumer, nowhere, 30.0)


def message(queue: str = "celery", exchange: str = "", **changes: Any) -> Message:
    """A message as a worker receives it."""
    properties = {"correlation_id": UUID, "delivery_tag": "tag", "priority": 3, **changes.pop("properties", {})}
    headers = {"id": UUID, "task": "orders.charge", "eta": eta(), "expires": None, "retries": 0, **changes}
    return Message(
        body(7), delivery_tag=1, content_type="application/json", content_encoding="utf-8", headers=headers,
        properties=properties, delivery_info={"exchange": exchange, "routing_key": queue}, channel=None,
    )  # fmt: skip


class TestWhatIsParked:
    def test_as_it_came(self, attendant: _Attendant) -> None:
        """The raw body and the headers, with the passage of the message to come; nothing of this one delivery."""
        parked = attendant._parked(message(tenant="x"))
        assert parked is not None
        assert (parked.body, parked.queue, parked.reason) == (body(7), "celery", "eta")
        assert parked.headers["tenant"] == "x"
        assert parked.headers["recovery"].items() >= {"life": "tag", "step": 1, "copy": parked.key}.items()
        assert parked.properties == {"correlation_id": UUID, "priority": 3}

    def test_the_same_message_twice_is_one_entry(self, attendant: _Attendant) -> None:
        """Delivered again it has the same key; another message has another, of the same id and time too."""
        when = eta()
        keys = [attendant._parked(message(eta=when)).key for _ in range(2)]  # type: ignore[union-attr]
        other = attendant._parked(message(eta=when, properties={"delivery_tag": "other"}))
        assert other is not None
        assert len({*keys, other.key}) == 2

    def test_without_a_life_each_is_its_own(self, attendant: _Attendant) -> None:
        """An id that a person chose tells nothing: two messages of it are two entries."""
        nameless = {"id": "daily-report", "eta": eta(), "properties": {"delivery_tag": None}}
        keys = {attendant._parked(message(**nameless)).key for _ in range(2)}  # type: ignore[arg-type,union-attr]
        assert len(keys) == 2

    def test_a_retry_goes_on_from_its_step(self, attendant: _Attendant) -> None:
        """What the header knows is kept; the passage is one step further."""
        header = {"life": "l", "step": 4, "copy": "c", "attempts": [{"n": 1}], "origin": {"queue": "elsewhere"}}
        parked = attendant._parked(message(retries=1, recovery=header))
        assert parked is not None
        own = parked.headers["recovery"]
        assert (own["life"], own["step"], own["copy"], own["attempts"]) == ("l", 5, parked.key, [{"n": 1}])
        assert own["origin"] == {"queue": "elsewhere"}
        assert parked.reason == "retry"

    def test_a_topic_queue_is_found(self, attendant: _Attendant) -> None:
        """By the exchange and the pattern that it is bound with."""
        parked = attendant._parked(message("order.new", "shop"))
        assert parked is not None
        assert parked.queue == "shop.orders"

    @pytest.mark.parametrize(
        "changes",
        [
            {"eta": eta(20)},
            {"eta": eta(-600)},
            {"eta": "soon"},
            {"eta": "2999-01-01T00:00:00"},
            {"eta": 17},
            {"eta": ["2999"]},
            {"id": 7},
            {"id": "gone"},
            {"expires": eta(-5)},
            {"expires": "whenever"},
            {"properties": {"expiration": "60000"}},
        ],
    )
    def test_what_is_celerys(self, attendant: _Attendant, changes: dict[str, Any]) -> None:
        """Due soon, no moment or none with a zone, no id, revoked, expired, or expiring in the broker alone."""
        assert attendant._parked(message(**changes)) is None

    @pytest.mark.parametrize("queue", ["mine", "passing", "short", "unknown"])
    def test_queues_that_do_not_last(self, attendant: _Attendant, queue: str) -> None:
        """Not durable, or gone with its consumers, or not known: what came from there stays with the worker."""
        assert attendant._parked(message(queue)) is None

    def test_a_broadcast(self, attendant: _Attendant) -> None:
        """Each worker got a copy of its own; one parked message would run on one of them only."""
        assert attendant._parked(message("", "all")) is None

    def test_an_outage_is_told_once(self, attendant: _Attendant, caplog: pytest.LogCaptureFixture) -> None:
        """Not for each task; and each is left to Celery."""
        with caplog.at_level("INFO", "celery_recovery"):
            assert [attendant.parks(message()) for _ in range(5)] == [False] * 5
        assert [record.action for record in caplog.records] == ["not_parked"]  # type: ignore[attr-defined]

    def test_headers_that_cannot_be_written_down(self, attendant: _Attendant) -> None:
        """Such a message is left to Celery too."""
        assert not attendant.parks(message(odd=object()))


class TestFilter:
    def test_parse(self) -> None:
        """Texts or lists of texts; what is not given asks nothing."""
        where = ParkedFilter.parse({"task": "a.*", "id": ["x", "y", "x"], "queue": None, "reason": ()}, now=NOW)
        assert where == ParkedFilter(task=("a.*",), ids=("x", "y"))
        assert ParkedFilter.parse({}).is_empty

    @pytest.mark.parametrize(
        ("text", "moment"),
        [("+15m", NOW + 900), ("15m", NOW - 900), (f"{NOW}", NOW), ("2026-01-01", 1767225600.0), ("+1.5h", NOW + 5400)],
    )
    def test_due_before(self, text: str, moment: float) -> None:
        """What is due lies ahead: with a sign in front an age counts from now on."""
        assert ParkedFilter.parse({"due_before": text}, now=NOW).due_before == moment

    @pytest.mark.parametrize("given", [{"due_before": "soon"}, {"state": "failed"}, {"due_before": "+"}])
    def test_refused(self, given: dict[str, str]) -> None:
        """An option that does not exist, or a time that is none, is named."""
        with pytest.raises(ConfigurationError, match=r"due_before|filter"):
            ParkedFilter.parse(given)


class TestRecord:
    def parked(self, **changes: Any) -> ParkedTask:
        fields: dict[str, Any] = {
            "key": "k", "id": UUID, "task": "orders.charge", "due": NOW + 60, "parked_at": NOW, "reason": "retry",
            "queue": "celery", "body": body(7, password="hunter2"), "headers": {"id": UUID, "task": "orders.charge"},
        }  # fmt: skip
        return ParkedTask(**{**fields, **changes})

    def row(self, parked: ParkedTask) -> list[bytes]:
        """As the script gives it."""
        fields = {**filed_by(parked), "due": f"{parked.due:.6f}"}
        plain = {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in fields.items()}
        return [json.dumps(plain).encode(), about_message(parked).encode(), parked.body]

    def test_there_and_back(self) -> None:
        """Written and read, it is the same."""
        one = self.parked(properties={"priority": 1}, exchange="e", routing_key="r", worker="w@h")
        assert read_parked("k", self.row(one)) == one

    def test_broken_text(self) -> None:
        """Half of a surrogate pair in a name, as broken clients send, is no reason to fail."""
        assert read_parked("k", self.row(self.parked(task="a\ud800b"))).task == "a?b"

    def test_what_cannot_be_written(self) -> None:
        """Said in a sentence: the caller then waits as Celery does."""
        with pytest.raises(StoreUnavailable, match="cannot be written down"):
            about_message(self.parked(headers={"odd": object()}))

    def test_shown_without_secrets(self) -> None:
        """Arguments are data where the body is JSON, with secrets hidden, and never the raw body."""
        shown = self.parked().to_dict(Redactor())
        assert (shown["args"], shown["kwargs"]) == ([7], {"password": "***"})
        assert "body" not in shown
        json.dumps(shown)

    def test_a_pickle_is_not_loaded(self) -> None:
        """Its arguments are Celery's text of them."""
        headers = {"id": UUID, "task": "t", "argsrepr": "(7,)", "kwargsrepr": "{}"}
        one = self.parked(body=b"cos\nsystem\n(S'exit 1'\ntR.", content_type="application/x-python-serialize",
                          headers=headers)  # fmt: skip
        assert one.to_dict()["args"] == "(7,)"

    def test_published_as_due(self) -> None:
        """The ETA goes, all else stays."""
        sent = self.parked(headers={"id": UUID, "eta": "2999-01-01T00:00:00+00:00", "expires": "x"}).message()
        assert sent["headers"] == {"id": UUID, "eta": None, "expires": "x"}
