"""`no_delays`: retries come at once, for tests with real workers and a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from celery import Celery

from celery_recovery.actions import Failure
from celery_recovery.decision import Asked, Decision
from celery_recovery.recovery import Recovery

__all__ = ("no_delays", "without_delays")


def without_delays(app: Celery) -> None:
    """From now on, in this process and those forked from it, the app's tasks retry and snooze without waiting.

    For the module that a worker under test loads. What is decided stays as it is, so attempts, `deadline` and
    `expires` count as always; only the delay is 0, and history and log say so. Tasks that were sent with a `countdown`,
    and tasks that wait for a circuit, wait as always.
    """
    recovery = Recovery.of(app)
    recovery.__dict__["decide"] = _Hasty(recovery)


@contextmanager
def no_delays(app: Celery) -> Iterator[None]:
    """`without_delays` for a block: of use where the worker runs in this process, as a thread."""
    recovery = Recovery.of(app)
    before = recovery.__dict__.get("decide")
    without_delays(app)
    try:
        yield
    finally:
        del recovery.__dict__["decide"]
        if before is not None:
            recovery.__dict__["decide"] = before


class _Hasty:
    """`Recovery.decide`, whose delays are 0."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery

    def __call__(self, failure: Failure, asked: Asked | None, most: int | None = None) -> Decision:
        decision = type(self._recovery).decide(self._recovery, failure, asked, most)
        return decision if decision.delay is None else replace(decision, delay=0.0)
