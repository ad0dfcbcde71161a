"""Asking RabbitMQ's management API what its policies do to the app's queues. AMQP does not tell."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from celery_recovery.doctor.ask_redis import reason
from celery_recovery.doctor.facts import QueueFacts

__all__ = ("NOT_ASKED", "Place", "ask", "with_policies")

#: Seconds to wait for the answer.
TIMEOUT = 5.0
NOT_ASKED = "no --management-url was given"
_COLUMNS = "name,durable,auto_delete,exclusive,arguments,effective_policy_definition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the app's queues are, and who asks."""

    vhost: str
    user: str | None
    password: str | None


def ask(url: str | None, place: Place) -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
    """Queue -> what the API tells of it; and why it could not be asked, or None. Never raises.

    `url` is `http(s)://[user:password@]host:port[/path]`; without a user, the broker's own is used.
    """
    if url is None:
        return {}, NOT_ASKED
    try:
        told = json.loads(_get(url, place))
        return {queue["name"]: queue for queue in told}, None
    except Exception as exc:  # noqa: BLE001  # a network, a proxy, a page that is no JSON
        return {}, reason(exc)


def _get(url: str, place: Place) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL of the management API begins with http:// or https://")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    path = f"{parts.path.rstrip('/')}/api/queues/{quote(place.vhost, safe='')}?columns={_COLUMNS}"
    user, password = (unquote(parts.username), unquote(parts.password or "")) if parts.username else _own(place)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
    request = Request(f"{parts.scheme}://{host}{port}{path}", headers=headers)  # noqa: S310  # the scheme was looked at
    with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # likewise
        body: bytes = answer.read()
    return body


def _own(place: Place) -> tuple[str, str]:
    return place.user or "guest", place.password or "guest"


def with_policies(queues: Iterable[QueueFacts], told: Mapping[str, Mapping[str, Any]]) -> tuple[QueueFacts, ...]:
    """The queues as they are on the broker: what a policy says counts where the declaration is silent."""
    return tuple(_with_policy(queue, told.get(queue.name)) for queue in queues)


def _with_policy(queue: QueueFacts, told: Mapping[str, Any] | None) -> QueueFacts:
    if told is None:  # it is not there yet
        return queue
    policy = told.get("effective_policy_definition")
    arguments = {name.removeprefix("x-"): value for name, value in dict(told.get("arguments") or {}).items()}
    said = {**(policy if isinstance(policy, Mapping) else {}), **arguments}
    limit = said.get("delivery-limit")
    return replace(
        queue,
        durable=told.get("durable") is not False,
        auto_delete=bool(told.get("auto_delete")),
        exclusive=bool(told.get("exclusive")),
        expires=_seconds(said.get("expires"), queue.expires),
        message_ttl=_seconds(said.get("message-ttl"), queue.message_ttl),
        max_length=said.get("max-length") or said.get("max-length-bytes") or queue.max_length,
        rejects_when_full=queue.rejects_when_full or str(said.get("overflow", "")).startswith("reject-publish"),
        quorum=queue.quorum or said.get("queue-type") == "quorum",
        delivery_limit=queue.delivery_limit if limit is None else int(limit),
        dead_letter_exchange=queue.dead_letter_exchange or "dead-letter-exchange" in said,
        consumer_timeout=_seconds(said.get("consumer-timeout"), queue.consumer_timeout),
    )


def _seconds(milliseconds: Any, declared: float | None) -> float | None:
    return declared if milliseconds is None else float(milliseconds) / 1000
