"""When too many items have failed: judged at each failure, so that success costs nothing."""

from __future__ import annotations

from collections import Counter, deque

from celery_recovery.batch.policy import BatchPolicy

__all__ = ("Limits",)


class Limits:
    """The failures of one run of one batch."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        #: Of those in the window: how many items this run had gone through, and the fingerprint.
        self._recent: deque[tuple[int, str]] = deque()
        self._alike: Counter[str] = Counter()

    def failed(self, fingerprint: str, gone_through: int, in_all: int) -> str:
        """One more item has failed, this run's `gone_through`-th, the batch's `in_all`-th; why to stop, or ""."""
        policy = self._policy
        self._recent.append((gone_through, fingerprint))
        self._alike[fingerprint] += 1
        while self._recent[0][0] <= gone_through - policy.window:
            self._alike[self._recent.popleft()[1]] -= 1
        looked_at = min(gone_through, policy.window)
        if policy.max_failures is not None and in_all > policy.max_failures:
            return f"{in_all} items failed (max_failures {policy.max_failures})"
        if looked_at < policy.least:
            return ""
        alike, failed = self._alike[fingerprint], len(self._recent)
        if policy.max_alike is not None and alike >= policy.max_alike * looked_at:
            return f"{alike} of the last {looked_at} items failed alike (max_alike {policy.max_alike:g})"
        if policy.max_share is not None and failed >= policy.max_share * looked_at:
            return f"{failed} of the last {looked_at} items failed (max_share {policy.max_share:g})"
        return ""
