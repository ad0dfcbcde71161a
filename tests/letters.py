"""Dead letters made for tests: messages such as the pipeline publishes, and the letters that are read from them."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType, Frame

__all__ = ("DIED_AT", "body", "headers", "letter", "redied")

#: When the first letter of a test died (unix s); the next one a second later, unless told.
DIED_AT = 1_760_000_000.25
_numbers = itertools.count(1)


def body(*args: Any, **kwargs: Any) -> bytes:
    """Celery's JSON body."""
    return json.dumps([args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


def headers(task_id: str, task: str = "orders.charge", **changes: Any) -> dict[str, Any]:
    """Headers of a dead letter; `changes` are of the header's `letter` part, its error, or the `recovery` header."""
    error_type = ErrorType(changes.pop("error_type", "network"))
    error = ErrorInfo(
        error_type=error_type,
        is_retryable=True,
        severity=ErrorSeverity.MEDIUM,
        rule="http.status.503",
        exception=changes.pop("exception", "requests.exceptions.ReadTimeout"),
        error_code="HTTP 503",
        message=changes.pop("message", "the payment service did not answer"),
        timestamp=changes.get("died_at", DIED_AT),
        fingerprint=changes.pop("fingerprint", "1:00112233aabbccdd"),
        class_chain=("requests.exceptions.ReadTimeout", "builtins.OSError"),
        frames=(Frame("/app/shop/orders.py", 12, "charge"),),
        context={"status": 503},
    )
    queue = changes.pop("queue", "celery")
    recovery = {
        "version": 1,
        "attempts": changes.pop("attempts", [{"n": 1, "at": DIED_AT - 9, "error_type": "network", "message": "slow"}]),
        "first_failure": changes.pop("first_failure", DIED_AT - 9),
        "origin": {"queue": queue, "exchange": "", "routing_key": queue, "priority": changes.pop("priority", None)},
    }
    replay = changes.pop("replay", None)
    if replay:
        recovery["replay"] = replay
    about = {"reason": "exhausted", "detail": "3 of 3 attempts", "action": "dead_letter", "held": False, "attempt": 3}
    died = {"died_at": DIED_AT, "worker": "w@h"}
    return {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "argsrepr": "(7,)",
        "kwargsrepr": "{'currency': 'EUR'}",
        "retries": 2,
        "eta": "2026-01-01T00:00:00+00:00",
        "expires": "2026-01-01T00:00:00+00:00",
        "timelimit": [30, 20],
        **changes.pop("extra", {}),
        "recovery": {**recovery, "letter": {**about, "error": error.to_dict(), **died, **changes}},
    }


def letter(task_id: str | None = None, task: str = "orders.charge", **changes: Any) -> Letter:
    """A letter; without an id each is another task's, one second younger."""
    number = next(_numbers)
    changes.setdefault("died_at", DIED_AT + number if task_id is None else DIED_AT)
    raw = changes.pop("body", body(7, currency="EUR"))
    properties = {"correlation_id": task_id or f"task-{number}", "reply_to": "", "delivery_tag": "17"}
    content = changes.pop("content_type", "application/json")
    message = headers(task_id or f"task-{number}", task, **changes)
    return Letter.from_message(raw, message, properties, content, "utf-8")


def redied(claimed: Letter, **changes: Any) -> Letter:
    """The letter of a task whose replay, as `claimed` says, has died again, now."""
    replay = dict(claimed.message(copy=changes.pop("copy", None)).headers["recovery"]["replay"])
    changes.setdefault("died_at", time.time())
    return letter(claimed.id, claimed.task, replay=replay, **changes)
