"""Tasks that do not use our base, seen through Celery's signals: classified, counted and shown, nothing more.

So a team can install the package, look for a week at what fails and why, and then move tasks over one by one. Signals
miss some ends and see others twice, which is why our own tasks are not watched this way: the counts are only close.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, signals

from celery_recovery.errors.model import ErrorInfo

__all__ = ("Watch",)

logger = logging.getLogger("celery_recovery")


class Watch:
    """Listens to one app's signals. `skip(task)` tells the tasks that the pipeline itself looks after."""

    def __init__(self, app: Celery, skip: Any, seen: Any, classify: Any) -> None:
        self.app = app
        self._skip = skip
        self._seen = seen
        self._classify = classify

    def connect(self) -> None:
        """Connect, weakly: signals are the process's, and must not keep an app alive that is done with."""
        for name in ("task_failure", "task_retry", "task_internal_error", "task_unknown", "task_rejected"):
            getattr(signals, name).connect(getattr(self, f"_on_{name}"))

    def _on_task_failure(self, sender: Any = None, exception: Any = None, **_: Any) -> None:
        if self._ours(sender):
            self._note(sender.name, "failed", exception)

    def _on_task_retry(self, sender: Any = None, reason: Any = None, **_: Any) -> None:
        if self._ours(sender):
            self._note(sender.name, "retried", getattr(reason, "exc", None) or reason)

    def _on_task_internal_error(self, sender: Any = None, exception: Any = None, **_: Any) -> None:
        """Fires for every task alike: an error outside the body, where the pipeline sees nothing."""
        if getattr(sender, "app", None) is self.app:
            self._note(sender.name, "internal_error", exception)

    def _on_task_unknown(self, sender: Any = None, name: str = "", exc: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is self.app and not hasattr(sender, "recovery_door"):  # it has a letter
            self._note(name, "unknown_task", exc)

    def _on_task_rejected(self, sender: Any = None, message: Any = None, exc: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is self.app and not hasattr(sender, "recovery_door"):
            name = (getattr(message, "headers", None) or {}).get("task")
            self._note(str(name or "?"), "rejected", exc)

    def _ours(self, task: Any) -> bool:
        return getattr(task, "app", None) is self.app and not self._skip(task)

    def _note(self, task: str, what: str, exc: Any) -> None:
        """Count it and say it once, at INFO: Celery itself has logged the failure."""
        if not isinstance(exc, BaseException):
            exc = RuntimeError(str(exc or what))
        info: ErrorInfo = self._classify(exc, task=task)
        self._seen(task, info.error_type, what)
        logger.info(
            "watched: task %s %s (%s: %s)", task, what, info.error_type, info.exception,
            extra={
                "action": "watched", "task": task, "reason": what, "error_type": info.error_type.value,
                "rule": info.rule, "retryable": info.is_retryable, "fingerprint": info.fingerprint,
            },
        )  # fmt: skip
