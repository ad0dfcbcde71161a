"""A batch in parts: each part is a task, and all of them have one progress and one result.

    self.batch.fan_out(rows, 1000, to=import_rows.s("eu"))

The parts are the header of a chord whose body has the id of the task that fanned out, so whoever waits for that, a
chain or another chord, waits for all. Their ids follow from that id: a task that dies while it sends them sends the
same parts again, and a part that has succeeded does nothing the second time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from celery_recovery.exceptions import ConfigurationError

__all__ = ("JOINT", "Part", "fan_name", "joint_result", "parts_of")

#: The task that puts the results of the parts together.
JOINT = "celery_recovery.joint_result"


class Part(NamedTuple):
    """Which part of which whole a task is, as the `batch.fan` of its `recovery` header says."""

    parent: str
    number: int
    #: Items of the whole.
    total: int
    #: Name of the task that fanned out.
    task: str

    @classmethod
    def of(cls, recovery: Any) -> Part | None:
        """Read it; None where it is no part."""
        batch = recovery.get("batch") if isinstance(recovery, Mapping) else None
        fan = batch.get("fan") if isinstance(batch, Mapping) else None
        if not isinstance(fan, Mapping) or not all(isinstance(fan.get(name), int) for name in ("number", "total")):
            return None
        return cls(str(fan.get("parent")), fan["number"], fan["total"], str(fan.get("task")))

    def to_header(self) -> dict[str, Any]:
        """The `recovery` header of its first message."""
        return {"batch": {"fan": self._asdict()}}

    @property
    def id(self) -> str:
        """The part's task id."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.parent}\0part\0{self.number}"))


def parts_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` items. Raises `ConfigurationError`."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigurationError.of("fan_out.size", expected="a whole number >= 1", got=size)
    if not isinstance(items, Iterable):
        raise ConfigurationError.of("fan_out.items", expected="an iterable", got=items)
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def fan_name(parent: str) -> str:
    """The checkpoint of the whole."""
    return f"batch:1:id:{parent}"


def joint_result(results: Sequence[Any]) -> dict[str, Any]:
    """`{batch, status, parts, total, succeeded, failed, discarded, seconds}`; what bodies gave is in `results`."""
    told = [one for one in results if isinstance(one, Mapping) and "status" in one and "succeeded" in one]
    names = ("total", "succeeded", "failed", "discarded")
    sums = {name: sum(int(one.get(name) or 0) for one in told) for name in names}
    status = "succeeded_with_failures" if sums["failed"] else "succeeded"
    seconds = round(sum(float(one.get("seconds") or 0) for one in told), 3)
    joint = {"batch": "fan_out", "status": status, "parts": len(results), **sums, "seconds": seconds}
    return joint if len(told) == len(results) else {**joint, "results": list(results)}
