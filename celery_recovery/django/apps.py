"""The entry in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from celery_recovery.django.checks import TAG, look

__all__ = ("RecoveryConfig",)


class RecoveryConfig(AppConfig):  # type: ignore[misc]  # Django is untyped
    """No models, no pages: a management command and system checks."""

    name = "celery_recovery.django"
    label = "celery_recovery"
    verbose_name = "Celery recovery"

    def ready(self) -> None:
        """Have `manage.py check` look at the settings, too."""
        register(look, TAG)
