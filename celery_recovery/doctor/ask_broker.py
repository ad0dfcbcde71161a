"""Asking the broker what it is. Whatever it is, this takes seconds at most, and never raises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu import Connection

from celery_recovery.doctor import ask_redis
from celery_recovery.doctor.ask_management import Place
from celery_recovery.doctor.facts import RabbitFacts, RedisFacts
from celery_recovery.redis.client import CONNECT_TIMEOUT, SOCKET_TIMEOUT

__all__ = ("BrokerAnswer", "ask")

#: One more try, soon: enough for a lost packet, and the operator does not wait.
_TRIES = {"max_retries": 1, "interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAnswer:
    """What is known of the broker."""

    #: `redis`, `amqp`, …; None: its transport could not be loaded.
    driver: str | None = None
    redis: tuple[ask_redis.Asked, ...] = ()
    rabbit: RabbitFacts | None = None
    #: Where the management API would find the app's queues.
    place: Place | None = None
    error: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """It answered."""
        failed = self.error or (self.rabbit and self.rabbit.error) or any(facts.error for facts, _ in self.redis)
        return not failed


def ask(app: Celery) -> BrokerAnswer:
    """Connect once, as a producer would, and look."""
    try:
        connection: Connection = app.connection_for_write(connect_timeout=CONNECT_TIMEOUT)
        driver = str(connection.transport.driver_type)
        options = dict(connection.transport_options or {})
        address = _address(connection)
    except Exception as exc:  # noqa: BLE001  # a URL or a library that is not there
        return BrokerAnswer(error=ask_redis.reason(exc))
    with connection:
        try:
            _connect(connection, driver, options)
        except Exception as exc:  # noqa: BLE001  # any transport, any error
            return _unreached(driver, options, address, ask_redis.reason(exc))
        return _answered(connection, driver, options, address)


def _address(connection: Connection) -> str:
    """Host, port and database or virtual host, without the password."""
    info = connection.info()
    vhost = str(info.get("virtual_host") or "/").lstrip("/")
    if str(info.get("hostname") or "").startswith("/"):
        return str(info["hostname"])
    return f"{info.get('hostname')}:{info.get('port')}/{vhost}"


def _connect(connection: Connection, driver: str, options: dict[str, Any]) -> None:
    if driver == "redis":
        bounds = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": CONNECT_TIMEOUT}
        connection.transport_options = {**options, **bounds}
    elif driver == "amqp":
        connection.transport_options = {"read_timeout": SOCKET_TIMEOUT, "write_timeout": SOCKET_TIMEOUT, **options}
    connection.ensure_connection(**_TRIES)


def _unreached(driver: str, options: dict[str, Any], address: str, error: str) -> BrokerAnswer:
    if driver == "redis":
        facts = RedisFacts(address=address, roles=frozenset(("broker",)), error=error)
        return BrokerAnswer(driver=driver, options=options, redis=((facts, None),))
    if driver == "amqp":
        return BrokerAnswer(driver=driver, options=options, rabbit=RabbitFacts(address=address, error=error))
    return BrokerAnswer(driver=driver, options=options, error=error)


def _answered(connection: Connection, driver: str, options: dict[str, Any], address: str) -> BrokerAnswer:
    if driver == "redis":
        try:
            asked = ask_redis.ask(connection.default_channel.client, address, "broker")
        except Exception as exc:  # noqa: BLE001  # it may go away between two questions
            return _unreached(driver, options, address, ask_redis.reason(exc))
        return BrokerAnswer(driver=driver, options=options, redis=(asked,))
    if driver == "amqp":
        place = Place(vhost=str(connection.virtual_host or "/"), user=connection.userid, password=connection.password)
        return BrokerAnswer(driver=driver, options=options, rabbit=_rabbit(connection, address), place=place)
    return BrokerAnswer(driver=driver, options=options)


def _rabbit(connection: Connection, address: str) -> RabbitFacts:
    """What an AMQP broker says of itself in the handshake."""
    told = getattr(connection.connection, "server_properties", None) or {}
    words = {name: told.get(name) for name in ("product", "version")}
    product, version = (word.decode(errors="replace") if isinstance(word, bytes) else word for word in words.values())
    numbers = str(version or "").partition("-")[0].partition("+")[0].split(".")
    return RabbitFacts(
        address=address,
        product=None if product is None else str(product),
        version=tuple(int(part) for part in numbers if part.isdigit()) or None,
    )
