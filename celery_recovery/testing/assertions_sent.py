"""Assertions about tasks that were sent, by a run or by the test itself."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from celery import Task
from celery.canvas import Signature

from celery_recovery.testing.bench import Bench
from celery_recovery.testing.checks import as_stored, close
from celery_recovery.testing.run import Run, Sent
from celery_recovery.testing.story import Teller

__all__ = ("assert_not_sent", "assert_sent")


def assert_sent(
    where: Run | Bench, task: Task | Signature | str, *, queue: str | None = None, delay: float | None = None,
    times: int | None = None,
) -> Sent:  # fmt: skip
    """Such a task was sent: by the run, or it waits on the bench. `charge`: any; `charge.s(4711)`: with that argument.

    `delay`: seconds from when it was sent to when it is due; `times`: so often. Returns the first.
    """
    __tracebackhide__ = True
    wanted = _Wanted(task, queue, delay)
    found = wanted.among(where)
    if not found or times not in (None, len(found)):
        often = "" if times is None else f" {times} times"
        raise AssertionError(f"expected that {wanted.told(where)} was sent{often}; {_told(where, len(found))}")
    return found[0]


def assert_not_sent(where: Run | Bench, task: Task | Signature | str) -> None:
    """No such task was sent by the run, or waits on the bench."""
    __tracebackhide__ = True
    wanted = _Wanted(task)
    if found := wanted.among(where):
        raise AssertionError(f"expected that {wanted.told(where)} was not sent; {_told(where, len(found))}")


class _Wanted(NamedTuple):
    """Which message."""

    task: Task | Signature | str
    queue: str | None = None
    delay: float | None = None

    @property
    def name(self) -> str:
        if isinstance(self.task, str):
            return self.task
        return str(self.task.task if isinstance(self.task, Signature) else self.task.name)

    def among(self, where: Run | Bench) -> list[Sent]:
        """Those that are so, in the order in which they were sent."""
        return [one for one in (where.sent if isinstance(where, Run) else where.waiting) if self._fits(one)]

    def told(self, where: Run | Bench) -> str:
        """In words."""
        name, task = self.name, self.task
        if isinstance(task, Signature):
            name = _teller(where).call(name, task.args, task.kwargs)
        queue = f" to queue {self.queue}" if self.queue else ""
        return name + queue + (f" in {self.delay:g} s" if self.delay is not None else "")

    def _fits(self, sent: Sent) -> bool:
        if sent.task != self.name or self.queue not in (None, sent.queue):
            return False
        if self.delay is not None and not close([sent.delay], [self.delay]):
            return False
        return not isinstance(self.task, Signature) or _is_call(sent, self.task)


def _is_call(sent: Sent, signature: Signature) -> bool:
    """Whether it was sent with these arguments, however they were written: by position or by name."""
    wanted = [list(signature.args), dict(signature.kwargs)]
    found = _bound(signature, list(sent.args), dict(sent.kwargs))
    return any(found == _bound(signature, *call) for call in (wanted, as_stored(wanted)))


def _bound(signature: Signature, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        bound = inspect.signature(signature.type.run).bind(*args, **kwargs)
    except (TypeError, ValueError, KeyError):  # it does not take them, or is not registered here
        return args, kwargs
    return dict(bound.arguments)


def _told(where: Run | Bench, count: int) -> str:
    if isinstance(where, Run):
        return f"found {count}. Its life:\n{where.story()}"
    call = _teller(where).call
    waiting = [f"  {call(one.task, one.args, one.kwargs)} in {one.queue}" for one in where.waiting]
    return f"found {count}. On the bench wait:\n" + ("\n".join(waiting) or "  none")


def _teller(where: Run | Bench) -> Teller:
    return Teller((where.bench if isinstance(where, Run) else where).redact)
