"""The end of a task when its result backend is away: nothing lost, nothing run twice, nothing left hanging.

    body has ended ──► Guard.mark_as_done / mark_as_failure / …
                         │ try      for two seconds: most outages are blips
                         │ owe      written to the recovery store; any worker settles it when the backend is back
                         │ wait     that store is away too: `recovery_result_timeout`, within the hard time limit
                         │ keep     in this process's memory, which settles it itself
                         ▼ lose     only when the memory is full or the process ends: said with CRITICAL

Celery lets the backend's exception escape from its tracer, where no hook and no errback sees it: prefork then
acknowledges with nothing stored, threads leave the message unacknowledged, solo runs the task again and again. Inside
workers `RecoverableTask.backend` is therefore a `Guard`, whose final word never raises because the backend is away. So
hooks, signals, callbacks and errbacks fire once, and the message is acknowledged; only the *stored* result is late.

A result that the backend refuses for good (it cannot be serialised, it is too large) is another matter: waiting does
not help. The caller sees an `EncodeError`, as in Celery, and the completed work leaves a dead letter that says so.

States on the way (STARTED, RETRY, those of `update_state`) are news, not an end: tried once, then dropped.
"""

from __future__ import annotations

from celery_recovery.results.guard import GUARD, Guard, guarded, install
from celery_recovery.results.keeper import Keeper
from celery_recovery.results.owed import Outcome, Owed, OwedStore

__all__ = ("GUARD", "Guard", "Keeper", "Outcome", "Owed", "OwedStore", "guarded", "install")
