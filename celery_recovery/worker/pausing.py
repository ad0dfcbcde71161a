"""A queue that serves one circuit alone is not consumed while that circuit is open (`pauses` of its policy).

A thread looks at the circuits, the consumer's own loop cancels and adds queues: broker connections are used by one
thread only. A queue is paused while its circuit is OPEN and its time is not over, or FORCED_OPEN. When the time is over
it is consumed again, whatever the state: the probe that notices the return has to come from somewhere. What was already
delivered goes on: such a task is refused by the circuit itself. Only queues that were cancelled here are added again.
A Redis that is away for `PATIENCE` seconds has every queue consumed again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celery import bootsteps

from celery_recovery.circuit.state import CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import ConfigurationError, StoreUnavailable
from celery_recovery.recovery import Recovery
from celery_recovery.worker.step import RecoveryStep

__all__ = ("INTERVAL", "PATIENCE", "PausingStep", "Watch")

logger = logging.getLogger("celery_recovery")

#: Seconds between two looks at the circuits: one read for each of them.
INTERVAL = 0.5
#: Seconds without a word from Redis after which no circuit counts as open.
PATIENCE = 30.0


class Seen(NamedTuple):
    """A circuit as it was seen last. Times are of this process's monotonic clock."""

    state: CircuitState
    generation: int
    #: When its time is over at the latest; None: never by itself.
    until: float | None
    #: When Redis said so.
    at: float


class Watch:
    """Which circuits are open, by what Redis says; durations only, so that nobody's wall clock matters."""

    def __init__(self, view: Callable[[str], CircuitView], clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._began = clock()
        self._seen: dict[str, Seen] = {}

    def look(self, name: str) -> tuple[bool, str]:
        """Whether its queues are to be paused, and the state or the reason for it."""
        now = self._clock()
        try:
            self._note(name, self._view(name), now)
        except StoreUnavailable:
            if now - (self._seen[name].at if name in self._seen else self._began) >= PATIENCE:
                return False, "unknown, its Redis does not answer"
        seen = self._seen.get(name)
        if seen is None or seen.state not in (CircuitState.OPEN, CircuitState.FORCED_OPEN):
            return False, "closed" if seen is None else seen.state.value
        over = seen.until is not None and now >= seen.until
        return not over, "to be probed" if over else seen.state.value

    def _note(self, name: str, view: CircuitView, now: float) -> None:
        known, until = self._seen.get(name), None
        if known is not None and (known.generation, known.state) == (view.generation, view.state):
            until = known.until
        elif view.until is not None:
            until = now + max(view.until - view.since, 0.0)
        self._seen[name] = Seen(view.state, view.generation, until, now)


class PausingStep(RecoveryStep):
    """Pauses and resumes queues of this consumer, from each start of it, also after a lost connection, to its stop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        #: Queue -> the name of the circuit that it serves alone.
        self.queues: Mapping[str, str] = {}
        self._watch: Watch | None = None
        self._wanted: dict[str, tuple[bool, str]] = {}
        self._paused: set[str] = set()
        self._stopped = threading.Event()

    def source(self, app: Any) -> tuple[Mapping[str, str], Callable[[str], CircuitView] | None]:
        """The queues and their circuits, and how to look at one; None: they are shared with nobody."""
        circuits = Recovery.of(app).circuits
        queues = {queue: breaker.name for queue, breaker in circuits.pausing().items()}
        return queues, None if circuits.client is None else circuits.view

    def include_if(self, consumer: Any) -> bool:
        """Where a policy names queues."""
        self.queues, view = self.source(consumer.app)
        if not self.queues:
            return False
        if view is None:
            raise ConfigurationError("queues are paused by shared circuits only, and there is no Redis to share them")
        self._watch = Watch(view)
        return True

    def create(self, consumer: Any) -> None:
        """Nothing is made before the connection."""

    def start(self, consumer: Any) -> None:
        """The consumer has a connection, perhaps another one: look at once, then again and again."""
        self._stopped = stopped = threading.Event()
        threading.Thread(target=self._work, args=(consumer, stopped), name="recovery-pausing", daemon=True).start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002  # celery's
        """The connection is lost, or the worker ends."""
        self._stopped.set()

    terminate = shutdown = stop

    def apply(self, consumer: Any) -> None:
        """Cancel and add what differs from what is wanted; in the consumer's own thread."""
        if self._stopped.is_set() or consumer.blueprint.state != bootsteps.RUN or consumer.task_consumer is None:
            return
        for queue, (pause, why) in list(self._wanted.items()):
            try:
                self._set(consumer, queue, pause, why)
            except (*consumer.connection_errors, *consumer.channel_errors):
                raise
            except Exception:  # the consumer must outlive it; the next look tries again
                logger.exception("the queue %s stays as it is", queue, extra={"action": "queue_stays"})

    def _set(self, consumer: Any, queue: str, pause: bool, why: str) -> None:
        consumed, name = consumer.task_consumer.consuming_from(queue), self.queues[queue]
        if pause and consumed:
            said = queue in self._paused
            self._paused.add(queue)
            consumer.cancel_task_queue(queue)
            if not said:
                self._say("queue_paused", "the queue %s is paused: its circuit %s is %s", queue, name, why)
        elif not pause and queue in self._paused:
            consumer.add_task_queue(queue)
            self._paused.discard(queue)
            self._say("queue_resumed", "the queue %s is consumed again: its circuit %s is %s", queue, name, why)

    def _say(self, action: str, text: str, queue: str, name: str, why: str) -> None:
        logger.warning(text, queue, name, why, extra={"action": action, "queue": queue, "circuit": name})

    def _work(self, consumer: Any, stopped: threading.Event) -> None:
        """The thread: look until stopped."""
        while not stopped.is_set():
            try:
                self._look()
            except Exception:  # it must outlive anything
                logger.exception("circuits are looked at again", extra={"action": "pausing_restarts"})
            if self._differs(consumer) and not stopped.is_set():
                consumer.call_soon(self.apply, consumer)
            stopped.wait(INTERVAL)

    def _look(self) -> None:
        assert self._watch is not None  # noqa: S101  # include_if has seen to it
        answers = {name: self._watch.look(name) for name in set(self.queues.values())}
        self._wanted = {queue: answers[name] for queue, name in self.queues.items()}

    def _differs(self, consumer: Any) -> bool:
        """Whether there is something to do; a guess from outside the consumer's thread."""
        task_consumer = consumer.task_consumer
        return task_consumer is not None and any(
            task_consumer.consuming_from(queue) if pause else queue in self._paused
            for queue, (pause, _) in self._wanted.items()
        )
