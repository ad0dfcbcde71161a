"""Django: `manage.py recovery …`, system checks, and tasks that wait for the transaction.

    INSTALLED_APPS = [..., "celery_recovery.django"]

Only this package imports Django. `from celery_recovery.django import RecoverableTask` is the base class with Celery's
`delay_on_commit`; it is loaded when it is asked for, because Django imports this module before it is set up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_recovery.django.task import RecoverableTask

__all__ = ("RecoverableTask",)


def __getattr__(name: str) -> Any:
    if name == "RecoverableTask":
        from celery_recovery.django.task import RecoverableTask

        return RecoverableTask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
