"""What `manage.py check` says of recovery. Only settings are read: no broker and no Redis is asked.

`manage.py recovery doctor` looks further, at tasks, servers and running workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's own names

from celery_recovery.config import SETTINGS
from celery_recovery.django.project import SETTING, celery_app
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.parts import Parts

__all__ = ("TAG", "look")

#: `manage.py check --tag celery_recovery`.
TAG = "celery_recovery"


def look(**_scope: Any) -> list[CheckMessage]:
    """All that is wrong with the settings of recovery."""
    try:
        app = celery_app()
    except ConfigurationError as exc:
        if getattr(settings, SETTING, None) is not None:
            return [Error(str(exc), hint=f"Correct {SETTING}.", id=f"{TAG}.E001")]
        hint = f"Set {SETTING} to what you give to celery -A."
        return [Warning(str(exc), hint=hint, id=f"{TAG}.W001")]
    return [*_of_settings(app), *_unread(app)]


def _of_settings(app: Celery) -> Iterator[CheckMessage]:
    """The `recovery_…` settings, read anew: what the app has read stays open to its own later changes."""
    parts = Parts(app)
    try:
        stored = parts.store is not None
        parts.settings.load_rules(), parts.settings.load_classifier()
    except ConfigurationError as exc:
        yield Error(str(exc), hint="Workers of this project will not start.", id=f"{TAG}.E002")
        return
    if not stored:
        name = _spelled(app, "recovery_redis_url")
        yield Warning(
            "There is no Redis to keep dead letters in: neither the broker nor the result backend is one.",
            hint=f"Set {name}. Without it letters stay in the broker's queue, and nothing is parked.",
            id=f"{TAG}.W002",
        )


def _unread(app: Celery) -> Iterator[CheckMessage]:
    """Settings that lack the namespace under which Celery reads Django's."""
    known = {setting.name for setting in SETTINGS}
    for name in dir(settings):
        if app.namespace and name.startswith("RECOVERY_") and name.lower() in known:
            yield Warning(
                f"{name} is not read: the settings of Celery begin with {app.namespace}_.",
                hint=f"Write {_spelled(app, name)}.",
                id=f"{TAG}.W003",
            )


def _spelled(app: Celery, name: str) -> str:
    """A setting of ours as it is written in Django's settings."""
    return "_".join(filter(None, (app.namespace, name))).upper()
