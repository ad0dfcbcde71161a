"""What a task sets going when it has ended: the next of its chain, its callbacks, the body of its chord.

Celery publishes these after the body and before it stores the result. When the broker is away in just that moment, the
work is done and what follows it is not known to anybody: Celery records a failure. Here it is tried for
`recovery_publish_timeout`; then what follows becomes a dead letter, past the broker, with the reason `not_published`,
and the task has succeeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task
from celery._state import get_current_worker_task
from celery.result import AsyncResult
from kombu import Producer
from kombu.serialization import registry

from celery_recovery import clock
from celery_recovery.admission import is_first
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.received import HEADER, VERSION
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.decision import Action, Reason
from celery_recovery.errors import classify
from celery_recovery.exceptions import PublishFailed, StoreUnavailable
from celery_recovery.passage import new_message_id

__all__ = ("body_has_ended", "mark_following", "publish_following")

logger = logging.getLogger("celery_recovery")


def body_has_ended() -> bool:
    """The task that this thread runs has ended, and Celery is at publishing what follows."""
    task = get_current_worker_task()
    return task is not None and "recovery_body_ended" in task.request.__dict__


def mark_following(options: dict[str, Any]) -> None:
    """What follows a task is known by its own id, and what follows one that came back is to be asked about.

    A worker that dies after publishing it and before it has stored its result is followed by one that does both again.
    """
    task_id = options.get("task_id")
    options.setdefault("message_id", f"following-{task_id}" if task_id else new_message_id())
    if not is_first(get_current_worker_task().request):
        headers = options.get("headers") or {}
        options["headers"] = {**headers, HEADER: {**(headers.get(HEADER) or {}), "again": True}}


def publish_following(
    task: Task, send: Callable[..., Any], options: dict[str, Any], publisher: Publisher, store: DeadLetterStore | None
) -> Any:
    """`send(**options)`, patiently; else a dead letter. Raises `PublishFailed` where that cannot be written either."""

    def publish(producer: Producer) -> None:
        sent.append(send(**{**options, "producer": producer, "retry": False, "confirm_timeout": publisher.timeout}))

    sent: list[Any] = []
    try:
        publisher.patiently(publish)
    except PublishFailed as exc:
        letter = _letter(task.app, task.name, partial(send, **options), exc)
        if store is None:
            raise
        try:
            store.add(letter)
        except StoreUnavailable:
            raise exc from None
        logger.error(
            "task %s[%s] could not be published after the one before it; it is a dead letter: %s", task.name, letter.id,
            exc, extra={"action": "following_not_published", "task": task.name, "task_id": letter.id},
        )  # fmt: skip
        return AsyncResult(letter.id, app=task.app)
    return sent[0]


class _Captured:
    """Stands in for a producer, and keeps what it is given."""

    def __init__(self, app: Celery) -> None:
        self.connection = app.connection_for_write()
        self.message: tuple[Any, dict[str, Any]] | None = None

    def publish(self, body: Any, **options: Any) -> None:
        """The task's own message comes first; an event may follow."""
        self.message = self.message or (body, options)


def _letter(app: Celery, name: str, send: Callable[..., Any], exc: Exception) -> Letter:
    """The message as Celery makes it, as a dead letter. Raises `exc` for what cannot be written down."""
    captured = _Captured(app)
    try:
        send(producer=captured, retry=False)
    except Exception:  # noqa: BLE001  # a backend that wants a real channel (rpc)
        raise exc from None
    if captured.message is None:
        raise exc
    body, options = captured.message
    content_type, encoding, raw = registry.dumps(body, serializer=options.get("serializer") or app.conf.task_serializer)
    info, now = classify(exc, task=name), clock.now()
    where = {"exchange": options.get("exchange") or "", "routing_key": options.get("routing_key") or ""}
    queue = where["routing_key"] if where["routing_key"] in app.amqp.queues else None
    told = {"error": info.to_dict(), "reason": Reason.NOT_PUBLISHED.value, "action": Action.DEAD_LETTER.value,
            "detail": "the task before it succeeded", "died_at": now, "attempt": 0}  # fmt: skip
    header = {"version": VERSION, "origin": {**where, "queue": queue}, "letter": told}
    headers = {**(options.get("headers") or {}), HEADER: header}
    kept = {key: options[key] for key in ("correlation_id", "reply_to", "priority", "message_id") if options.get(key)}
    return Letter.from_message(raw, headers, kept, content_type, encoding)
