"""The outbox: alerts in Redis, from when they are written down until they are sent, and for a while afterwards.

    add ─► gathered per sink and event, for `recovery_alert_window` seconds: the number, and the first of them
    take ─► frozen into an alert with an id, for one worker, for `LEASE` seconds; a killed worker's is taken by another
    end ─► sent, or tried again later, or given up

So every alert is sent at least once, unless its sink goes on failing, and a storm is one alert with its number. A sink
gets no more than its `at_most`: what is beyond goes on being gathered.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from celery_recovery.monitoring.alerts.alert import SAMPLES, Alert
from celery_recovery.monitoring.alerts.sink import Sink
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("Delivery", "Outbox")

#: Seconds for which an alert is one worker's; longer than any try.
LEASE = 45.0
#: Seconds that an alert is kept.
KEPT = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one sink."""

    alert: Alert
    #: Id of the sink.
    sink: str
    #: `"sending"`, `"sent"`, `"retrying"` or `"given_up"`.
    state: str
    #: Why the last try failed.
    error: str = ""
    #: When it was sent, failed last, or was taken (unix s).
    changed_at: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        told = self.alert.to_dict()
        return {**told, "sink": self.sink, "state": self.state, "error": self.error, "changed_at": self.changed_at}


class Outbox:
    """Of one app. Every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, app: str, window: float) -> None:
        self._client = client
        self._keys = keys
        self._run = Scripts(client, keys)
        self._app = app
        self._window = window

    def add(self, sinks: Sequence[tuple[Sink, Sequence[Mapping[str, Any]], int]], event: str) -> None:
        """Write down for each sink the first happenings and how many there are, in one round trip."""
        with reachable(self._client), self._client.pipeline(transaction=False) as pipe:
            for sink, happenings, count in sinks:
                told = [json.dumps(one, default=str) for one in happenings[:SAMPLES]]
                self._run("alert_add", (sink.id, event, count, self._window, KEPT, SAMPLES, *told), client=pipe)
            pipe.execute()

    def take(self, sink: Sink) -> Delivery | None:
        """What is due for this sink, for `LEASE` seconds; None: nothing is."""
        pace = sink.at_most
        row = self._run("alert_take", (sink.id, LEASE, pace.most, pace.seconds, uuid.uuid4().hex, KEPT))
        return self._delivery(row) if row else None

    def sent(self, delivery: Delivery) -> None:
        """It has arrived."""
        self._end(delivery, "sent", 0, "")

    def put_off(self, delivery: Delivery, seconds: float, error: str) -> None:
        """It has not; it is tried again so many seconds from now."""
        self._end(delivery, "retrying", seconds, error)

    def give_up(self, delivery: Delivery, error: str) -> None:
        """It has not, and is not tried again."""
        self._end(delivery, "given_up", 0, error)

    def latest(self, limit: int) -> list[Delivery]:
        """The latest first."""
        with reachable(self._client):
            ids: Any = self._client.zrevrange(self._keys.alerts, 0, limit - 1)
            pipe = self._client.pipeline(transaction=False)
            for one in ids:
                pipe.hgetall(self._keys.alert(one.decode()))
            rows: list[dict[bytes, bytes]] = pipe.execute() if ids else []
        return [self._delivery([part for pair in row.items() for part in pair]) for row in rows if row]

    def waiting(self, sink: Sink) -> int:
        """Happenings that are gathered for this sink, and alerts that are on their way to it."""
        with reachable(self._client):
            found: Any = self._client.zrange(self._keys.alert_due(sink.id), 0, -1)
            events = [one.decode() for one in found if not one.startswith(b"=")]
            pipe = self._client.pipeline(transaction=False)
            for event in events:
                pipe.hget(self._keys.alert_gathering(sink.id, event), "count")
            counts: list[Any] = pipe.execute() if events else []
        return len(found) - len(events) + sum(int(count or 0) for count in counts)

    def was_asked(self, what: str) -> bool:
        """Whether somebody was the first to ask, and the time is not over."""
        with reachable(self._client):
            return bool(self._client.exists(self._keys.alert_once(what)))

    def first_in(self, seconds: float, what: str) -> bool:
        """True for the first who asks in so many seconds: one worker looks for all, and one tells."""
        with reachable(self._client):
            return bool(self._client.set(self._keys.alert_once(what), 1, nx=True, px=int(seconds * 1000)))

    def _end(self, delivery: Delivery, state: str, seconds: float, error: str) -> None:
        alert = delivery.alert
        self._run("alert_end", (delivery.sink, alert.id, alert.tries, state, f"{seconds:.3f}", error[:500], KEPT))

    def _delivery(self, row: Sequence[bytes]) -> Delivery:
        texts = [part.decode("utf-8", "replace") for part in row]
        record = dict(zip(texts[::2], texts[1::2], strict=True))
        return Delivery(
            alert=Alert.from_record(record, self._app), sink=record["sink"], state=record["state"],
            error=record.get("error", ""), changed_at=float(record.get("changed_at") or 0),
        )  # fmt: skip
