"""A worker says that it lives and what it runs, for those who are given its messages and ask.

Every few seconds, from a thread of its own, a worker writes its presence into Redis; it expires if it stops. With it go
the lives that it runs of which another worker may come to ask (`custody.py`): those that were retried, came back, or
lost their connection. When the connection to the broker is lost, all that it runs is such a task, and is noted at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from celery_recovery.custody import PRESENCE, Custody
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.identity import begin, me
from celery_recovery.leash import allow
from celery_recovery.recovery import Recovery
from celery_recovery.stopping import watch
from celery_recovery.worker.memory import look
from celery_recovery.worker.request import RecoverableRequest
from celery_recovery.worker.step import RecoveryStep

__all__ = ("HoldStep", "Presence", "PresenceStep")

logger = logging.getLogger("celery_recovery")

#: Seconds between two beats, and between two looks at the children's memory.
BEAT, LOOK = PRESENCE / 3, 1.0


class Presence:
    """The thread that says so."""

    def __init__(self, custody: Custody, pool_pids: Any) -> None:
        self.custody = custody
        self._pool_pids = pool_pids
        self._away = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a daemon thread that lives as long as the process: running tasks outlive the consumer."""
        self._thread = threading.Thread(target=self.work, name="recovery-presence", daemon=True)
        self._thread.start()
        signals.worker_shutdown.connect(self.end)

    def work(self) -> None:
        """Beat until the process ends."""
        sleep = threading.Event()
        ticks = 0
        while True:
            if ticks % int(BEAT / LOOK) == 0:
                self.beat()
            look(self._pool_pids())
            ticks += 1
            sleep.wait(LOOK)

    def beat(self) -> None:
        """Once. Without Redis others take this worker for dead, and run what they are given: said once."""
        try:
            taken = [request for request in ours(state.active_requests) if request.was_taken]
            self.custody.hold([one.passage for one in taken if one.passage.life], me().boot)
            self.custody.beat(me(), running_lives())
            self._away = False
        except StoreUnavailable as exc:
            if not self._away:
                logger.warning("this worker cannot say that it lives: %s", exc, extra={"action": "presence_unknown"})
            self._away = True

    def end(self, **_: Any) -> None:
        """The worker has ended in order."""
        try:
            self.custody.leave_office(me())
        except StoreUnavailable:
            logger.debug("the presence of this worker expires by itself")


def ours(requests: Any) -> list[RecoverableRequest]:
    """The recoverable ones of a set that another thread may be changing."""
    for _ in range(5):
        try:
            return [request for request in tuple(requests) if isinstance(request, RecoverableRequest)]
        except RuntimeError:  # it changed size
            continue
    return []


def running_lives() -> list[str]:
    """Lives that this worker runs and that others may ask about."""
    asked_about = (request for request in ours(state.active_requests) if request.is_asked_about)
    return [life for life in (request.passage.life for request in asked_about) if life]


class PresenceStep(RecoveryStep):
    """Starts the thread once the pool has forked; before that, settles who this worker is."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Wherever there is a store; the children are tied to this process in any case."""
        begin()
        watch(worker)
        Recovery.of(worker.app).sends_task_events = bool(worker.task_events)
        if worker.use_eventloop:
            allow()
        return Recovery.of(worker.app).custody is not None

    def create(self, worker: Any) -> Presence:
        """The thread, not yet started."""
        custody = Recovery.of(worker.app).custody
        assert custody is not None  # noqa: S101  # include_if

        def pool_pids() -> list[int]:
            processes = getattr(getattr(worker.pool, "_pool", None), "_pool", None) or ()
            return [process.pid for process in list(processes) if getattr(process, "pid", None)]

        return Presence(custody, pool_pids)

    def stop(self, worker: Any) -> None:
        """Nothing: it goes on until the process ends."""

    def terminate(self, worker: Any) -> None:
        """Nothing, as in `stop`."""


class HoldStep(RecoveryStep):
    """When the connection to the broker is lost: notes what goes on running."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def include_if(self, consumer: Any) -> bool:
        """Wherever there is a store."""
        return Recovery.of(consumer.app).custody is not None

    def start(self, consumer: Any) -> None:
        """From now on a channel that the broker closes costs a new connection, and not the worker."""
        if not getattr(consumer.loop, "survives", False):
            consumer.loop = _surviving(consumer.loop, consumer)

    def stop(self, consumer: Any) -> None:
        """Called when the connection is lost, and at the end, when there is nothing to hold."""
        if consumer.blueprint.state in (bootsteps.CLOSE, bootsteps.TERMINATE):
            return
        held = [
            request for request in ours(state.active_requests) if request.task.acks_late and not request.acknowledged
        ]
        passages = [passage for passage in (request.passage for request in held) if passage.life]
        custody = Recovery.of(consumer.app).custody
        if not passages or custody is None:
            return
        try:
            custody.hold(passages, me().boot, consumer.hostname)
            custody.beat(me(), sorted({*running_lives(), *(passage.life for passage in passages)}))
        except StoreUnavailable as exc:
            logger.warning("%d tasks go on running, and may run elsewhere as well: %s", len(passages), exc,
                           extra={"action": "not_held"})  # fmt: skip
            return
        logger.info("connection lost: %d tasks go on running", len(passages), extra={"action": "held"})


def _surviving(loop: Callable[..., Any], consumer: Any) -> Callable[..., Any]:
    """Celery ends the worker over an error of a channel: `consumer_timeout` is one, which one long task brings about.

    Only once the worker runs: before, such an error is a mistake in its configuration, and ends it as in Celery.
    """

    def survive(*arguments: Any) -> Any:
        try:
            return loop(*arguments)
        except consumer.connection_errors:
            raise
        except consumer.channel_errors as exc:
            logger.warning("the broker closed a channel: %s", exc, extra={"action": "channel_closed"})
            raise ConnectionResetError(str(exc)) from exc

    survive.survives = True  # type: ignore[attr-defined]
    return survive
