"""A worker guards the results of its tasks, and settles what is owed to the result backend: its own and others'."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

from celery import Task, signals
from celery.app.task import Context

from celery_recovery.decision import Action, Decision, Reason
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.interrupts import undisturbed
from celery_recovery.recovery import Recovery
from celery_recovery.results import Keeper, Owed, OwedStore, install
from celery_recovery.results.owed import CLAIM_EXPIRES
from celery_recovery.worker.step import RecoveryStep

__all__ = ("Settler", "SettlingStep")

logger = logging.getLogger("celery_recovery")

#: Seconds between two looks for what is owed: while all is well; and the longest, while backend or store are away.
LOOK, LONGEST_LOOK = 2.0, 10.0
#: Outcomes claimed at once; few, because the lease runs for all of them.
BATCH = 10
#: Seconds before one that failed for a reason of its own is tried again, for each time it has failed; and the longest.
OWN_PAUSE, LONGEST_OWN_PAUSE = 10.0, 600.0


class Settler:
    """The thread in a worker's main process that stores what is owed once the backend is back."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a daemon thread; without a store there is nothing that others owe."""
        signals.worker_shutdown.connect(self._close)
        if self.keeper.store is not None:
            self._thread = threading.Thread(target=self.work, name="recovery-settling", daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ask it to end and wait up to `timeout` seconds; what it has claimed comes free with its lease."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _close(self, **_: Any) -> None:
        self.keeper.close()

    def work(self) -> None:
        """Look until stopped."""
        pause = LOOK
        while not self._stopped.wait(pause):
            try:
                away = not self.round()
            except StoreUnavailable:
                away = True
            except Exception:  # it must outlive anything; what is owed is safe in the store
                logger.exception("settling starts again", extra={"action": "settling_restarts"})
                away = True
            pause = min(pause * 1.5, LONGEST_LOOK) if away else LOOK

    def round(self) -> bool:
        """Settle all that is due; False: the backend is away. Raises `StoreUnavailable`."""
        store = self.keeper.store
        away = self.keeper.absence.since is not None
        while store is not None and not self._stopped.is_set():
            claimed = store.claim(1 if away else BATCH)
            for number, owed in enumerate(claimed):
                if not self._settle(store, owed):
                    for other in claimed[number + 1 :]:
                        store.release(other, 0)
                    return False
            if not claimed:
                return not away
            away = False
        return True

    def _settle(self, store: OwedStore, owed: Owed) -> bool:
        """False: the backend is away."""
        try:
            done = self.keeper.settled(owed)
        except Exception as exc:  # noqa: BLE001  # any backend, any error
            if not self.keeper.is_away(exc):
                self._put_off(store, owed, exc)
                return True
            self.keeper.absence.seen(exc)
            store.release(owed, LOOK)
            return False
        self.keeper.absence.over()
        if not done:
            store.release(owed, CLAIM_EXPIRES)
        elif store.settled(owed):
            logger.info(
                "task %s[%s]: %s is settled", owed.task, owed.id, owed.state,
                extra={"action": "result_settled", "task": owed.task, "task_id": owed.id, "state": owed.state},
            )  # fmt: skip
        return True

    def _put_off(self, store: OwedStore, owed: Owed, exc: Exception) -> None:
        logger.error(
            "task %s[%s]: what is owed cannot be settled: %s", owed.task, owed.id, exc,
            extra={"action": "not_settled", "task": owed.task, "task_id": owed.id},
        )  # fmt: skip
        store.release(owed, min(OWN_PAUSE * 2**owed.tries, LONGEST_OWN_PAUSE), failed=True)


class SettlingStep(RecoveryStep):
    """Puts the guards in place before the pool forks, and starts the settler afterwards."""

    requires = ("celery.worker.components:Pool",)

    def create(self, worker: Any) -> Settler:
        """The thread, not yet started."""
        app, recovery = worker.app, Recovery.of(worker.app)
        store = None
        if recovery.redis is not None:
            store = OwedStore(recovery.redis, recovery.keys, expires=app.backend.expires)
        keeper = Keeper(
            app,
            timeout=recovery.settings.result_timeout,
            classifier=recovery.classifier,
            store=store,
            redact=recovery.redact.text,
        )
        install(app, keeper, RefusedLetters(recovery), undisturbed, recovery.completed)
        return Settler(keeper)


@dataclass(frozen=True, slots=True)
class RefusedLetters:
    """Work that was completed and whose result the backend refuses leaves a dead letter, so that it is not nothing."""

    recovery: Recovery

    def __call__(self, task: Task, request: Context, exc: Exception) -> None:
        """Never raises: the task's own failure is stored in any case."""
        try:
            failure = self.recovery.understand(task, request, exc)
            message = f"the task succeeded, but its result could not be stored: {exc}"
            failure = replace(failure, info=replace(failure.info, message=message))
            decision = Decision(
                action=Action.DEAD_LETTER,
                reason=Reason.NOT_RETRYABLE,
                attempt=failure.history.attempt,
                max_attempts=None,
                rule=failure.info.rule,
                detail="the body had run to its end; a replay runs it again",
            )
            self.recovery.actions.dead_letter(failure, decision, hold=False)
            self.recovery.record(failure, decision, exc)
        except Exception:
            logger.exception(
                "task %s[%s]: the refused result left no dead letter", task.name, request.id,
                extra={"action": "recovery_failed", "task": task.name, "task_id": request.id},
            )  # fmt: skip
