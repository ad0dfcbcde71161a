"""What is put in the place of broker, result backend, stores and clock of one app while a bench is in use.

Nothing of it touches other apps, or the time that user code sees. `leave` puts back what was there, and what the app
has learned meanwhile (tasks, queues, its configuration) stays.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from celery import Celery, Task
from celery.backends.cache import CacheBackend
from kombu.utils.functional import LRUCache

from celery_recovery import clock as pipeline_clock
from celery_recovery import recovery as pipeline
from celery_recovery.interrupts import undisturbed
from celery_recovery.results import GUARD, Keeper, install
from celery_recovery.results import guard as results_guard
from celery_recovery.results.guard import Guard
from celery_recovery.testing.broker import MemoryBroker
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.pipeline import BenchRecovery
from celery_recovery.worker.settling import RefusedLetters

__all__ = ("Stage",)

_MISSING: Any = object()
#: Results that are kept in memory.
MOST_RESULTS = 100_000
_RECOVERY = pipeline._ATTRIBUTE  # noqa: SLF001  # where an app has its `Recovery`
_GUARDS = results_guard._ATTRIBUTE  # noqa: SLF001  # and the guards of its tasks' results


class Stage:
    """The stand-ins of one bench. `enter` and `leave` may be called again and again."""

    def __init__(self, app: Celery, recovery: BenchRecovery, clock: FakeClock) -> None:
        self.app = app
        self.recovery = recovery
        self.clock = clock
        self.broker = MemoryBroker(app, clock)
        self.backend = _backend(app)
        self._undo = ExitStack()

    def enter(self) -> None:
        """Put them in place."""
        app = self.app
        app.finalize()
        with ExitStack() as undo:
            self._put(undo, app.__dict__, _RECOVERY, self.recovery)
            self._put(undo, app.__dict__, "_connection", lambda *_, **__: self.broker.connect())
            self._put(undo, app.__dict__, "_pool", None)
            self._put(undo, app.__dict__, "now", self._now)
            self._put(undo, app.amqp.__dict__, "_producer_pool", None)
            self._put(undo, app.__dict__, "_get_backend", lambda: self.backend)
            self._put(undo, app.__dict__, "_backend_cache", self.backend)
            self._guard(undo)
            for name, stand_in in (("now", self.clock.now), ("monotonic", self.clock.now), ("sleep", self._sleep)):
                self._put(undo, vars(pipeline_clock), name, stand_in)
            if app.conf.task_always_eager:  # what is published is to be seen, not run
                app.conf.task_always_eager = False
                undo.callback(setattr, app.conf, "task_always_eager", True)
            undo.callback(self.broker.close)
            self._undo = undo.pop_all()

    def leave(self) -> None:
        """Put back what was there."""
        self._undo.close()

    def _guard(self, undo: ExitStack) -> None:
        """The guards that a worker puts around results: what they do with a result that cannot be stored is real."""
        app = self.app
        undo.callback(self._forget_guards, frozenset(app.tasks))
        for task in app.tasks.values():
            self._put(undo, task.__dict__, GUARD, None)
        self._put(undo, app.__dict__, _GUARDS, None)
        keeper = Keeper(app, timeout=0.0, classifier=self.recovery.classifier)
        install(app, keeper, RefusedLetters(self.recovery), undisturbed, self.recovery.completed)
        guards = app.__dict__[_GUARDS]
        for task in app.tasks.values():
            task.__dict__[GUARD] = _BenchGuard(task, guards, self.backend)

    def _forget_guards(self, known: frozenset[str]) -> None:
        """Of tasks that came meanwhile: they made guards of this bench for themselves."""
        for name, task in self.app.tasks.items():
            if name not in known:
                task.__dict__.pop(GUARD, None)

    def _now(self) -> Any:
        return self.clock.utc().astimezone(self.app.timezone)

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @staticmethod
    def _put(undo: ExitStack, attributes: dict[str, Any], name: str, value: Any) -> None:
        before = attributes.get(name, _MISSING)
        attributes[name] = value
        undo.callback(_restore, attributes, name, before)


class _BenchGuard(Guard):
    """Of this bench for good: who keeps an `AsyncResult` asks it when the bench is not in use any more."""

    def __init__(self, task: Task, guards: Any, backend: Any) -> None:
        super().__init__(task, guards)
        self._own = backend

    def _unguarded(self) -> Any:
        return self._own


def _restore(attributes: dict[str, Any], name: str, before: Any) -> None:
    if before is _MISSING:
        attributes.pop(name, None)
    else:
        attributes[name] = before


def _backend(app: Celery) -> Any:
    """Celery's own in memory, with a memory of its own: that of `cache+memory://` is the process's."""
    backend = CacheBackend(app=app, backend="memory", url="memory://")
    backend.client.cache = LRUCache(limit=MOST_RESULTS)
    return backend
