"""A classifier for teams that move over and want nothing retried that was not retried before.

Plain Celery retries only where the task says so. With this classifier an error that no rule knows is final at once,
while `self.retry()` works as ever. The comparison needs it because Celery's tests raise exceptions of their own making
and assert that they fail at the first attempt.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors import ErrorClassifier
from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.rules.rule import permanent

__all__ = ("UnknownIsFinal",)


class UnknownIsFinal(ErrorClassifier):
    """Everything as usual, except that the unknown is not worth a retry."""

    def judge(self, exc: BaseException) -> Any:
        """Verdict of the rules, or of nobody: final."""
        return super().judge(exc) or permanent(ErrorType.UNKNOWN)
