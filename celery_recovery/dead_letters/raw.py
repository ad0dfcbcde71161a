"""A message that never became a task, as it travels to the dead letters: whole, whatever it holds.

Its body, content type and encoding are the letter's own, untouched. Its headers and properties are, too, as far as any
broker can carry them; what is beside them stands in `recovery.letter.raw` (see `letter.py`):

    properties   those that belong to one delivery, or that a broker would act upon (`expiration`, `user_id` …)
    recovery     the message's own `recovery` header, where somebody else had put something of theirs there
    protocol     1 or 2, as far as it is any
    headers      what was there in place of headers
    frame        AMQP's header frame, in hexadecimal digits, where it could not be read
    item         true: it cannot be sent again, because it was no message that could be read

Where a broker could not carry the headers (too large with ours beside them, or of a kind that its table or JSON does
not know), the whole message travels *sealed*, as JSON in the body of another: {body: base64, content_type,
content_encoding, headers, properties, recovery, raw}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from amqp import serialization as amqp
from kombu.utils.json import dumps as dump_tagged
from kombu.utils.json import loads as load_tagged
from kombu.utils.json import object_hook

__all__ = ("MALFORMED", "SEALED", "UNKNOWN_TASK", "dump", "is_carriable", "load", "seal", "unseal")

#: Reason of a letter whose message cannot be read, or not be handed to Celery.
MALFORMED = "malformed"
#: Reason of a letter whose task the worker did not know.
UNKNOWN_TASK = "unknown_task"
#: Content type of a sealed message.
SEALED = "application/x-celery-recovery-sealed"
#: Bytes of headers that go as they are: RabbitMQ takes 128 KiB of them, in one frame with ours.
_LARGEST = 48 * 1024


def is_carriable(headers: Any) -> bool:
    """Whether an AMQP table and JSON both give these headers back as they were."""
    try:
        table = amqp.dumps("F", [headers])
        same, _ = amqp.loads("F", table, 0)
        return len(table) <= _LARGEST and same == [headers] and load_tagged(dump_tagged(headers)) == headers
    except Exception:  # noqa: BLE001  # whatever it is that cannot be written
        return False


def dump(value: Any) -> str:
    """JSON text of anything: what JSON lacks (dates, decimals, bytes) is tagged, the rest goes as its `repr`."""
    for write in (_plain, dump_tagged):
        with suppress(Exception):  # whatever it is that cannot be written
            return str(write(value))
    if isinstance(value, Mapping):
        with suppress(RecursionError):  # nested too deep
            return "{" + ", ".join(f"{json.dumps(str(key))}: {dump(item)}" for key, item in value.items()) + "}"
    return json.dumps(_repr(value))


def load(text: str) -> Any:
    """Back again; what looks tagged and is not stays as it is. Raises `ValueError`."""
    return json.loads(text, object_hook=_untagged) if '"__type__"' in text else json.loads(text)


def seal(body: bytes, **parts: Any) -> bytes:
    """One message as the body of another; `parts` are what it has beside its body."""
    sealed = {"body": base64.b64encode(body).decode(), **{name: dump(value) for name, value in parts.items()}}
    return json.dumps(sealed).encode()


def unseal(sealed: bytes) -> dict[str, Any] | None:
    """`seal` undone: the parts, and the body; None for what is nothing of the kind."""
    try:
        parts = json.loads(sealed)
        body = base64.b64decode(parts.pop("body"), validate=True)
        return {"body": body, **{name: load(text) for name, text in parts.items()}}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _untagged(found: dict[str, Any]) -> Any:
    try:
        return object_hook(found)
    except Exception:  # noqa: BLE001  # somebody's own data in the shape of a tag
        return found


def _plain(value: Any) -> str:
    """JSON, where it gives the same back."""
    text = json.dumps(value)
    if json.loads(text) != value:
        raise ValueError("JSON would change it")
    return text


def _repr(value: Any) -> str:
    try:
        return repr(value).encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001
        return f"a {type(value).__name__} that cannot be shown"
