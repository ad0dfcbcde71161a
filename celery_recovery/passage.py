"""Where a message stands in the life of its task: what tells the copies of one task apart.

A *life* begins when a task is sent, and again with every replay; it ends with success, a dead letter or a discard. Each
message of a life is one *step* further than the one it follows (a retry, a snooze, a release from parking), and each
publication is one *copy*. Redelivered, a message is the same step and copy again. It travels in the `recovery` header:

    life    what its first message is known by
    step    messages before this one in the same life
    copy    of this publication; empty when nobody announced it (see `custody.py`)

A first message has no such header. Its life is the `message_id` that `RecoverableTask` gives it, the delivery tag that
kombu's virtual transports write into it, or the task's id where that is a UUID; an id that a person chose may be used
again, and is no evidence of anything.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery_recovery import clock

__all__ = ("Passage", "is_unique", "new_message_id", "sent_at")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"cr-([0-9a-f]{12})-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One message's place."""

    #: Empty: nothing tells its copies apart.
    life: str
    step: int = 0
    copy: str = ""

    @classmethod
    def of(cls, task_id: str, header: Any, properties: Any) -> Passage:
        """Read it off a message, whose header and properties may hold anything; never raises."""
        header = header if isinstance(header, Mapping) else {}
        life, step, copy = header.get("life"), header.get("step"), header.get("copy")
        if isinstance(life, str) and life and isinstance(step, int):
            return cls(life=life, step=step, copy=copy if isinstance(copy, str) else "")
        replay = header.get("replay")
        if isinstance(replay, Mapping) and isinstance(replay.get("copy"), str):
            return cls(life=replay["copy"])
        properties = properties if isinstance(properties, Mapping) else {}
        for mark in (properties.get("message_id"), properties.get("delivery_tag")):
            if isinstance(mark, str) and mark:
                return cls(life=mark)
        return cls(life=task_id if is_unique(task_id) else "")

    def next(self, copy: str | None = None) -> Passage:
        """The message that follows, under a new copy unless one is given; of an unknown life a new one begins."""
        return Passage(life=self.life or uuid.uuid4().hex, step=self.step + 1, copy=copy or uuid.uuid4().hex)

    def to_header(self) -> dict[str, Any]:
        """What the `recovery` header holds of it."""
        return {"life": self.life, "step": self.step, "copy": self.copy}


def is_unique(task_id: Any) -> bool:
    """Whether an id is a UUID, as Celery makes them: what a person chose may be used again."""
    return isinstance(task_id, str) and _UUID.fullmatch(task_id) is not None


def new_message_id() -> str:
    """A `message_id` that also says when it was made (milliseconds)."""
    return f"cr-{int(clock.now() * 1000):012x}-{uuid.uuid4().hex}"


def sent_at(properties: Any) -> float | None:
    """Unix time at which the message was made, by the publisher's clock; None when its id does not say."""
    mark = properties.get("message_id") if isinstance(properties, Mapping) else None
    match = _MESSAGE_ID.fullmatch(mark) if isinstance(mark, str) else None
    return int(match[1], 16) / 1000 if match else None
