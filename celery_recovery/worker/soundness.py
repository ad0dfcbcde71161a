"""Whether a message can be handed to Celery: what Celery takes for granted about it, asked before it does.

Celery reads headers and body without looking: an id that is not there, a body of two parts, a time limit of text raise
in the worker's main process, some of them seconds later from a timer, and end it. Every message is read here first, in
a few microseconds, with no input or output, so that whatever raises here is the message's fault and nobody else's.

What Celery runs, passes. Neither what a task's own arguments hold nor headers that nobody reads are looked at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import InvalidTaskError
from celery.utils.time import maybe_iso8601, maybe_make_aware
from celery.utils.time import timezone as zones
from kombu.asynchronous.timer import to_timestamp

__all__ = ("Unsound", "check_body", "check_fields", "name_of", "parts_of", "told")

#: Celery's `Context` keeps every header as an attribute of its own: these would stand where its methods are, or steer
#: recovery from outside.
RESERVED = frozenset(
    {name for name in dir(Context) if not name.startswith("__") and callable(getattr(Context, name))}
    | {f"recovery_{name}" for name in ("admitted", "asked", "body_ended", "claimed", "evidence", "inner", "outcome")}
    | {"recovery_poison", "recovery_running", "recovery_unread"}
)
#: The canvas is laid over the request, and may not stand for what the request is about.
_NOT_CANVAS = RESERVED | {
    "id",
    "task",
    "args",
    "kwargs",
    "delivery_info",
    "properties",
    "hostname",
    "headers",
    "is_eager",
}
#: Seconds, retries: beyond these nobody means it.
_LARGEST = 1e9
#: Characters of a value that are shown.
_SHOWN = 80


class Unsound(InvalidTaskError):  # type: ignore[misc]  # celery is untyped
    """The message cannot be handed to Celery; the text says why."""


def told(value: Any) -> str:
    """A value for one sentence: cut, printable, and never an error of its own."""
    try:
        shown = repr(value if not isinstance(value, (str, bytes)) else value[:_SHOWN])
    except Exception:  # noqa: BLE001  # whatever a decoder has made
        return f"a {type(value).__name__}"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def check_fields(fields: Mapping[str, Any], zone: Any = None) -> None:
    """The headers (protocol 1: the body's own fields, too). `zone` is that of naive times. Raises `Unsound`."""
    task_id = fields.get("id")
    if not isinstance(task_id, str) or not task_id:
        raise Unsound("it has no id" if task_id is None else f"its id is {told(task_id)}, not a text")
    if not task_id.isascii():
        task_id.encode()
    if not RESERVED.isdisjoint(fields):
        raise Unsound(f"a header has a name that Celery needs for itself: {', '.join(RESERVED.intersection(fields))}")
    get = fields.get
    for name, check in _CHECKS:
        value = get(name)
        if value is not None:
            check(name, value, zone)


def check_body(payload: Any) -> None:
    """The decoded body of protocol 2: arguments, keywords, canvas. Raises `Unsound`."""
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        kind = f"of {len(payload)} parts" if isinstance(payload, (list, tuple)) else f"a {type(payload).__name__}"
        raise Unsound(f"its body is {kind}, not arguments, keywords and canvas")
    args, kwargs, embed = payload
    if not isinstance(args, (list, tuple)):
        raise Unsound(f"its arguments are a {type(args).__name__}, not a list")
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise Unsound(f"its keywords are {told(kwargs)}, not a mapping of names")
    if embed:
        _check_embed(embed)


def parts_of(payload: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
    """The body of protocol 1 in the parts of protocol 2."""
    embed = {name: payload.get(name) for name in ("callbacks", "errbacks", "chord")}
    return payload.get("args", ()), payload.get("kwargs", {}), embed


def name_of(value: Any) -> str:
    """The task's name. Raises `Unsound`."""
    if isinstance(value, str):
        return value
    raise Unsound(f"its task is {told(value)}, not a name")


def _check_text(name: str, value: Any, _: Any) -> None:
    if not isinstance(value, str):
        raise Unsound(f"its {name} is {told(value)}, not a text")


def _check_number(name: str, value: Any, _: Any = None) -> None:
    if not isinstance(value, (int, float)) or not 0 <= value <= _LARGEST:
        raise Unsound(f"its {name} is {told(value)}, no sensible number")


def _check_limits(name: str, limits: Any, _: Any) -> None:
    if limits and (not isinstance(limits, (list, tuple)) or len(limits) != 2):
        raise Unsound(f"its time limits are {told(limits)}, not two numbers")
    for limit in limits or ():
        if limit is not None:
            _check_number(name, limit)


def _check_names(name: str, names: Any, _: Any) -> None:
    if names and not (isinstance(names, (list, tuple)) and all(isinstance(one, str) for one in names)):
        raise Unsound(f"its {name} are {told(names)}, not a list of names")


def _check_mapping(name: str, value: Any, _: Any) -> None:
    if value and not isinstance(value, Mapping):
        raise Unsound(f"its {name} are {told(value)}, not a mapping")


def _check_moment(name: str, value: Any, zone: Any) -> None:
    """What Celery will do with it, in the same words."""
    try:
        moment: datetime = maybe_make_aware(maybe_iso8601(value), zone)
        to_timestamp(zones.to_system(moment))
        _ = moment > datetime.fromtimestamp(time.time(), timezone.utc)
    except Exception as exc:
        raise Unsound(f"{name}: {told(value)} is no time that can be waited for ({type(exc).__name__})") from exc


def _check_embed(embed: Any) -> None:
    """Links that cannot be read fail only after the task has run, and with it."""
    if not isinstance(embed, Mapping) or not all(isinstance(key, str) for key in embed):
        raise Unsound(f"its canvas is {told(embed)}, not a mapping of names")
    if not _NOT_CANVAS.isdisjoint(embed):
        raise Unsound(f"its canvas has names that are not its own: {', '.join(_NOT_CANVAS.intersection(embed))}")
    for name, check in _CANVAS:
        check(name, embed.get(name), None)


def _check_links(name: str, links: Any, _: Any) -> None:
    if links and not (isinstance(links, (list, tuple)) and all(map(_is_signature, links))):
        raise Unsound(f"its {name} are {told(links)}, not a list of signatures")


def _check_link(name: str, link: Any, _: Any) -> None:
    if link and not _is_signature(link):
        raise Unsound(f"its {name} is {told(link)}, not a signature")


def _is_signature(link: Any) -> bool:
    if not isinstance(link, Mapping) or not isinstance(link.get("task"), str):
        return False
    kind, options = link.get("subtask_type"), link.get("options")
    return (kind is None or kind in Signature.TYPES) and (not options or isinstance(options, Mapping))


_CANVAS = (("callbacks", _check_links), ("errbacks", _check_links), ("chain", _check_links), ("chord", _check_link))
_CHECKS = (
    ("shadow", _check_text),
    ("group", _check_text),
    ("retries", _check_number),
    ("timelimit", _check_limits),
    ("eta", _check_moment),
    ("expires", _check_moment),
    ("stamped_headers", _check_names),
    ("stamps", _check_mapping),
    *_CANVAS,  # which a header may say where the body does not
)
