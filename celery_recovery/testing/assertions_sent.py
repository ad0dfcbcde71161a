"""Assertions about tasks that were sent, by a run or by the test itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from celery import Task
from celery.canvas import Signature

from celery_recovery.testing.bench import Bench
from celery_recovery.testing.checks import as_stored, close
from celery_recovery.testing.run import Run, Sent
from celery_recovery.testing.story import call

__all__ = ("assert_not_sent", "assert_sent")


def assert_sent(
    where: Run | Bench, task: Task | Signature | str, *, queue: str | None = None, delay: float | None = None,
    times: int | None = None,
) -> Sent:  # fmt: skip
    """Such a task was sent: by the run, or it waits on the bench. `charge`: any; `charge.s(4711)`: with that argument.

    `delay`: seconds to when it is due; `times`: so often. Returns the first.
    """
    __tracebackhide__ = True
    found = _matching(where, task, queue, delay)
    if (times is not None and len(found) != times) or not found:
        often = "" if times is None else f" {times} times"
        raise AssertionError(f"expected that {_named(task, queue, delay)} was sent{often}; {_told(where, found)}")
    return found[0]


def assert_not_sent(where: Run | Bench, task: Task | Signature | str) -> None:
    """No such task was sent by the run, or waits on the bench."""
    __tracebackhide__ = True
    found = _matching(where, task, None, None)
    if found:
        raise AssertionError(f"expected that {_named(task, None, None)} was not sent; {_told(where, found)}")


def _matching(where: Run | Bench, task: Task | Signature | str, queue: str | None, delay: float | None) -> list[Sent]:
    sent = where.sent if isinstance(where, Run) else where.waiting
    return [
        one
        for one in sent
        if one.task == (task if isinstance(task, str) else task.task if isinstance(task, Signature) else task.name)
        and (not isinstance(task, Signature) or _is_call(one, task))
        and queue in (None, one.queue)
        and (delay is None or close([one.delay], [delay]))
    ]


def _is_call(sent: Sent, signature: Signature) -> bool:
    """Whether it was sent with these arguments, however they were written: by position or by name."""
    wanted = as_stored([list(signature.args), dict(signature.kwargs)])
    return bool(_bound(signature, *wanted) == _bound(signature, list(sent.args), dict(sent.kwargs)))


def _bound(signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        bound = inspect.signature(signature.type.run).bind(*args, **kwargs)
    except (TypeError, ValueError, KeyError):  # it does not take them, or is not registered here
        return args, kwargs
    return dict(bound.arguments)


def _named(task: Task | Signature | str, queue: str | None, delay: float | None) -> str:
    name = task if isinstance(task, str) else task.name if isinstance(task, Task) else ""
    if isinstance(task, Signature):
        name = call(task.task, task.args, task.kwargs)
    return name + (f" to queue {queue}" if queue else "") + (f" in {delay:g} s" if delay is not None else "")


def _told(where: Run | Bench, found: Sequence[Sent]) -> str:
    if isinstance(where, Run):
        return f"found {len(found)}. Its life:\n{where.story()}"
    waiting = [f"  {call(one.task, one.args, one.kwargs)} in {one.queue}" for one in where.waiting]
    return f"found {len(found)}. On the bench wait:\n" + ("\n".join(waiting) or "  none")
