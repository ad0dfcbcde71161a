"""Items of one batch, replayed together: several letters are one message, and each keeps a token and a copy of its own.

The message is a task of a new id with the arguments of the batch's task; its batch goes through the items it brings.
Of each item the worker asks and reports as of a letter that is replayed alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from celery_recovery.batch.item import BatchHeader
from celery_recovery.dead_letters.letter import Letter, Outgoing
from celery_recovery.dead_letters.received import HEADER

__all__ = ("bundles", "together")

#: Bytes of items in one message: RabbitMQ wants all headers in one frame (128 KiB by default).
LARGEST = 64 * 1024


def bundles(letters: Sequence[Letter]) -> Iterator[tuple[Letter, ...]]:
    """Letters that may go as one message, in their order; what is no item of a batch goes alone."""
    open_ones: dict[Any, list[Letter]] = {}
    sizes: dict[Any, int] = {}
    for letter in letters:
        header = letter.batch_header
        if header is None or len(header.items) != 1 or not letter.is_replayable:
            yield (letter,)
            continue
        key = (header.parent, header.name, letter.task, letter.body, letter.origin)
        size = len(header.items[0].value or "") + 400
        if key in open_ones and sizes[key] + size > LARGEST:
            yield tuple(open_ones.pop(key))
        open_ones.setdefault(key, []).append(letter)
        sizes[key] = size + (sizes[key] if len(open_ones[key]) > 1 else 0)
    yield from map(tuple, open_ones.values())


def together(letters: Sequence[Letter], *, to_queue: str | None = None) -> Outgoing:
    """The message of one bundle. The letters must have been claimed."""
    message = letters[0].message(to_queue=to_queue)
    if len(letters) == 1:
        return message
    items, name, parent, task_id = [], "", "", str(uuid.uuid4())
    for letter in letters:
        header = letter.batch_header
        assert header is not None  # noqa: S101  # `bundles`
        name, parent = header.name, header.parent
        replayed = {
            "id": letter.id, "token": letter.token, "copy": uuid.uuid4().hex, "number": letter.number,
            "operation": letter.operation,
        }  # fmt: skip
        items.append(replace(header.items[0], letter=replayed))
    recovery = {
        "version": message.headers[HEADER]["version"],
        "origin": message.headers[HEADER]["origin"],
        "life": uuid.uuid4().hex,
        "step": 0,
        "copy": "",
        "batch": BatchHeader(parent=parent, name=name, items=tuple(items)).to_dict(),
    }
    return message._replace(
        headers={**message.headers, "id": task_id, HEADER: recovery},
        properties={**message.properties, "correlation_id": task_id},
    )
