"""`Keeper`: sees an outcome through to the result backend, now or later. One per worker process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, signals
from celery.exceptions import BackendStoreError
from celery.utils.saferepr import saferepr
from kombu.exceptions import EncodeError

from celery_recovery.errors.classifier import ErrorClassifier
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.redact import Redactor
from celery_recovery.results.bounded import bounded
from celery_recovery.results.owed import Outcome, Owed, OwedStore, call_errback, chord_is_claimed

__all__ = ("Absence", "Keeper")

logger = logging.getLogger("celery_recovery")

#: Seconds between two tries of one task while the backend is away: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds after which a process that knows the backend to be away tries again; between, it owes at once.
NEXT_LOOK = 5.0
#: Seconds to wait for one answer of the backend: in a task's own process or thread, and in the main process, whose
#: event loop stands still meanwhile.
TASK_TIMEOUT, MAIN_TIMEOUT = 5.0, 2.0
#: Outcomes and bytes that one process keeps in memory at most.
MEMORY_COUNT, MEMORY_BYTES = 1000, 64 << 20
#: Seconds between two tries to settle them.
MEMORY_PAUSE = 2.0
#: Characters of a result that are logged.
SHOWN = 300

#: Kinds of errors that say something about the backend, not about the one result.
_BACKENDS_OWN = frozenset((ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.FILESYSTEM, ErrorType.MEMORY))


class Absence:
    """What one process knows of a backend that is away."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.error: Exception | None = None
        self._look = 0.0

    @property
    def is_known(self) -> bool:
        """It was away a moment ago, so that a try now would be in vain."""
        return self.since is not None and time.monotonic() < self._look

    def seen(self, exc: Exception, since: float | None = None) -> None:
        """It is away, and was when the try in vain began (`since`, monotonic; default: now)."""
        now = time.monotonic()
        if self.since is None:
            self.since = now if since is None else since
            logger.error("the result backend is away: %s", exc, extra={"action": "backend_away"})
        self.error, self._look = exc, now + NEXT_LOOK

    def over(self) -> None:
        """It has answered."""
        since, self.since, self.error = self.since, None, None
        if since is not None:
            away = time.monotonic() - since
            logger.info("the result backend is back after %.1f s", away, extra={"action": "backend_back"})


class Keeper:
    """Tries, owes, and keeps in memory; never raises because the backend is away."""

    def __init__(
        self,
        app: Celery,
        *,
        timeout: float,
        classifier: ErrorClassifier,
        store: OwedStore | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self.app = app
        self.timeout = timeout
        self.classifier = classifier
        self.store = store
        self._redact = redact or Redactor().text
        self._begin()
        signals.worker_process_shutdown.connect(self._close)

    def _begin(self) -> None:
        """As a new process: what its parent knew and kept is the parent's."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._memory: dict[str, Owed] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._absence = Absence()

    @property
    def absence(self) -> Absence:
        """Of this process."""
        if self._pid != os.getpid():
            self._begin()
        return self._absence

    # -- now

    def attempt(self, backend: Any, outcome: Outcome, patience: float) -> Exception | None:
        """Try for up to `patience` seconds, counted from when this process first saw the backend away; 0: once.

        None when it is stored; the error when the backend is away. Raises what it refuses for good.
        """
        absence = self.absence
        if absence.is_known and not self._left(patience):
            return absence.error
        pause, failed = FIRST_PAUSE, False
        while True:
            error = self._tried(backend, outcome, check_chord=failed)
            if error is None or pause > self._left(patience):
                return error
            failed = True
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _tried(self, backend: Any, outcome: Outcome, *, check_chord: bool) -> Exception | None:
        began = time.monotonic()
        try:
            outcome.store_in(backend)
            claimed = check_chord and chord_is_claimed(backend, outcome.request)
        except Exception as exc:
            if not self.is_away(exc):
                raise
            self.absence.seen(exc, began)
            return exc
        self.absence.over()
        return BackendStoreError("the chord's body was claimed by a try that failed") if claimed else None

    def _left(self, patience: float) -> float:
        since = self.absence.since
        return 0.0 if since is None else max(0.0, since + patience - time.monotonic())

    def is_away(self, exc: Exception) -> bool:
        """True for what may pass with the backend's return; False for what it holds against this one result."""
        while isinstance(exc, BackendStoreError):  # bare, it says that the value is too large
            behind = exc.__cause__ or exc.__context__
            if not isinstance(behind, Exception):
                return False
            exc = behind
        if isinstance(exc, EncodeError):
            return False
        info = self.classifier.classify(exc)
        return info.is_retryable or info.error_type in _BACKENDS_OWN

    # -- later

    def owe(self, owed: Owed, error: Exception | None, shown: Any) -> bool:
        """Keep it in the recovery store, and say so; False: that is away too. Never raises."""
        return self._stored(owed) and self._said("stored", owed, error, shown)

    def remember(self, owed: Owed, error: Exception | None, shown: Any) -> None:
        """Keep it in this process's memory, or lose it, and say so loudly. Never raises."""
        self._said("memory" if self._remembered(owed) else "lost", owed, error, shown)

    def _said(self, where: str, owed: Owed, error: Exception | None, shown: Any) -> bool:
        level, action, text = _WORDS[where]
        logger.log(
            level, "task %s[%s]: %s %s; %s: %s", owed.task, owed.id, owed.state, self.shown(shown), text, error,
            extra={"action": action, "task": owed.task, "task_id": owed.id, "state": owed.state, "kept": where},
        )  # fmt: skip
        return True

    def shown(self, result: Any) -> str:
        """A result fit for a log line."""
        return self._redact(saferepr(result, SHOWN))

    def _stored(self, owed: Owed, delay: float = 0.0) -> bool:
        if self.store is None:
            return False
        try:
            return self.store.add(owed, delay)
        except StoreUnavailable:
            return False

    def _remembered(self, owed: Owed) -> bool:
        _ = self.absence  # another process's memory is not ours
        with self._lock:
            size = sum(one.size for one in self._memory.values())
            if len(self._memory) >= MEMORY_COUNT or size + owed.size > MEMORY_BYTES:
                return False
            self._memory[owed.id] = owed
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recovery-results", daemon=True)
                self._thread.start()
        return True

    def _work(self) -> None:
        while not self._stopped.wait(MEMORY_PAUSE):
            try:
                self.flush()
            except Exception:  # what it keeps is nowhere else
                logger.exception("results in memory are tried again", extra={"action": "settling_restarts"})

    def flush(self) -> int:
        """Move what is in memory to where it belongs, or at least into the store; returns how many are left."""
        for owed in list(self._memory.values()):
            try:
                done = self._stored(owed) or self.settled(owed)
            except Exception as exc:  # noqa: BLE001  # any backend, any error; there is a next time
                logger.debug("%s is still owed: %s", owed.id, exc, extra={"action": "still_owed"})
                break
            if done:
                with self._lock:
                    if self._memory.get(owed.id) is owed:
                        del self._memory[owed.id]
        return len(self._memory)

    def settled(self, owed: Owed) -> bool:
        """Store one now, complete its chord, call its errbacks; False: its chord's body has yet to be seen on its way.

        What the backend refuses for good is failed, with an `EncodeError`. Raises while the backend is away; safe to
        repeat as far as the backend is (Redis counts a chord's member once).
        """
        backend = bounded(self.backend_of(owed.task), TASK_TIMEOUT)
        outcome, errbacks = owed.read(self.app)
        try:
            if outcome.matters:
                outcome.store_in(backend)
        except Exception as exc:
            if self.is_away(exc):
                raise
            self.fail(backend, outcome, exc, owed.task)
        for errback in errbacks:
            self.call_errback(backend, owed.task, outcome, errback)
        return not chord_is_claimed(backend, outcome.request)

    def call_errback(self, backend: Any, task: str, outcome: Outcome, errback: Any) -> None:
        """Raises while the broker is away; an errback that makes no sense is logged, as it would be every time."""
        try:
            call_errback(backend, outcome, errback)
        except Exception as exc:
            if self.is_away(exc):
                raise
            logger.exception(
                "task %s[%s]: an errback cannot be called", task, outcome.id,
                extra={"action": "errback_failed", "task": task, "task_id": outcome.id},
            )  # fmt: skip

    def fail(self, backend: Any, outcome: Outcome, exc: Exception, task: str) -> None:
        """Store, in place of an outcome that the backend refuses, a failure that says so. Raises only while it is away.

        Not even that can be stored: then it is lost, and said.
        """
        refused = Outcome(
            kind="failure", id=outcome.id, state="FAILURE", result=refusal(exc), request=outcome.request,
            store=outcome.store,
        )  # fmt: skip
        try:
            refused.store_in(backend)
        except Exception as again:
            if self.is_away(again):
                raise
            logger.critical(
                "task %s[%s]: %s %s is lost: the result backend refuses it: %s", task, outcome.id, outcome.state,
                self.shown(outcome.result), exc,
                extra={"action": "result_lost", "task": task, "task_id": outcome.id, "state": outcome.state},
            )  # fmt: skip

    def backend_of(self, task: str) -> Any:
        """The backend of a task, without its guard."""
        known = self.app.tasks.get(task)
        own = getattr(known, "_backend", None)
        return self.app.backend if own is None else own

    def close(self) -> None:
        """Before the process ends: try once more; what is still in memory is lost with it."""
        if self._pid != os.getpid() or not self._memory:
            return
        self._stopped.set()
        self.flush()
        for owed in self._memory.values():
            logger.critical(
                "task %s[%s]: its %s is lost with this process: the result backend is away",
                owed.task, owed.id, owed.state,
                extra={"action": "result_lost", "task": owed.task, "task_id": owed.id, "state": owed.state},
            )  # fmt: skip

    def _close(self, **_: Any) -> None:
        self.close()


def refusal(exc: Exception) -> EncodeError:
    """What the caller sees in place of a result that cannot be stored."""
    if isinstance(exc, EncodeError):
        return exc
    return EncodeError(f"the result could not be stored: {type(exc).__name__}: {exc}")


_WORDS = {
    "stored": (logging.WARNING, "result_owed", "kept in the recovery store until the result backend is back"),
    "memory": (
        logging.CRITICAL, "result_owed", "kept in this process's memory only, until the result backend is back",
    ),
    "lost": (logging.CRITICAL, "result_lost", "kept nowhere: result backend and recovery store are away"),
}  # fmt: skip
