"""One message, delivered to the worker that a bench plays: Celery's own request and tracer, in this process.

What is not there is the pool. A body runs in the thread of the test, no time limit ends it, and none of it is killed.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery import Task, states
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.utils.imports import symbol_by_name

from celery_recovery.testing.broker import MemoryBroker, Waiting

__all__ = ("HOSTNAME", "Delivery", "Ending")

#: Node name of that worker.
HOSTNAME = "bench@localhost"


class Ending(NamedTuple):
    """How a body ended, in Celery's terms."""

    #: None: it succeeded; else a state, such as `"RETRY"`, `"FAILURE"`, `"IGNORED"`, `"REJECTED"`.
    state: str | None
    #: What it gave, or what it left with.
    value: Any


class Delivery:
    """Takes a message off the broker; `run` or `revoke` sees to it."""

    def __init__(self, broker: MemoryBroker, task: Task, waiting: Waiting) -> None:
        self._broker, self._waiting, self._task = broker, waiting, task
        message = broker.take(waiting)
        self._args, self._kwargs, self._embed = message.payload
        self._request = symbol_by_name(task.Request)(
            message, on_ack=_nothing, on_reject=self._rejected, app=broker.app, hostname=HOSTNAME, task=task, utc=True
        )

    def run(self) -> Ending:
        """As a child of a pool runs it, and as the main process then hears of it."""
        request, context = self._request, self._request.request_dict
        context.update(
            {"hostname": HOSTNAME, "is_eager": False, "args": self._args, "kwargs": self._kwargs}, **(self._embed or {})
        )
        trace = build_tracer(self._task.name, self._task, app=self._broker.app, hostname=HOSTNAME)
        request.on_accepted(os.getpid(), time.monotonic())
        try:
            result, info, runtime, shown = trace(request.id, self._args, self._kwargs, context)
        except Exception as exc:  # noqa: BLE001  # what the tracer lets through goes to the main process
            request.on_failure(ExceptionInfo())
            return Ending(states.FAILURE, exc)
        if info is None:
            request.on_success((0, shown, runtime))
            return Ending(None, result)
        request.on_success((1, result, runtime))
        return Ending(info.state, info.retval)

    def revoke(self) -> None:
        """It has expired: as a worker does that finds it so."""
        request = self._request
        context, store = Context(request.request_dict), request.store_errors
        self._task.backend.mark_as_revoked(request.id, "expired", request=context, store_result=store)

    def _rejected(self, _: Any, __: Any, requeue: bool) -> None:
        if requeue:
            self._broker.give_back(self._waiting)


def _nothing(*_: Any) -> None:
    """It was taken off when it was delivered."""
