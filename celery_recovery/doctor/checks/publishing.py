"""The way of a task from its producer to the broker."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts
from celery_recovery.doctor.finding import Found, Severity, check, found

__all__ = ()

_TRANSIENT = ("1", "transient")


@check(
    "publish-unconfirmed",
    Severity.LOSS,
    consequence="delay() returns as soon as the message is written to the socket. When RabbitMQ dies, refuses the "
    "message or the line breaks at that moment, the task is gone and nobody is told. (An app with a task on "
    "RecoverableTask waits for confirms unless it is told not to.)",
    fix='broker_transport_options = {"confirm_publish": True}, in every process that sends tasks.',
)
def publish_unconfirmed(facts: Facts) -> Iterator[Found]:
    """Producers do not wait until RabbitMQ has the message."""
    asked = facts.transport_options.get("confirm_publish", bool(facts.recoverable))
    if facts.driver == "amqp" and not asked:
        told = "is off" if "confirm_publish" in facts.transport_options else "is not set"
        yield found("broker_transport_options", f"confirm_publish {told}")


@check(
    "publish-not-retried",
    Severity.LOSS,
    consequence="The first broken connection, such as one in the pool from before a restart of the broker, makes "
    "delay() raise. Where the caller does not try again, the task was never sent.",
    fix="task_publish_retry = True",
)
def publish_not_retried(facts: Facts) -> Iterator[Found]:
    """Producers give up at the first broken connection."""
    if not facts.conf["task_publish_retry"]:
        yield found("task_publish_retry", "False")


@check(
    "transient-messages",
    Severity.LOSS,
    consequence="Messages are kept in RabbitMQ's memory only, where their queue is a classic one: all that wait "
    "there are gone when it restarts, from queues that are themselves durable.",
    fix="task_default_delivery_mode = 2",
)
def transient_messages(facts: Facts) -> Iterator[Found]:
    """Waiting tasks do not outlive a restart of RabbitMQ."""
    mode = facts.conf["task_default_delivery_mode"]
    if facts.driver == "amqp" and str(mode) in _TRANSIENT:
        yield found("task_default_delivery_mode", str(mode))


@check(
    "connection-pool-off",
    Severity.ADVICE,
    consequence="Every task sent opens and closes a connection of its own: slow, and more often refused when many are "
    "sent at once.",
    fix="broker_pool_limit = 10",
)
def connection_pool_off(facts: Facts) -> Iterator[Found]:
    """Each publish opens a connection."""
    if not facts.conf["broker_pool_limit"]:
        yield found("broker_pool_limit", str(facts.conf["broker_pool_limit"]))
