"""The base class for tasks of a Django project."""

from __future__ import annotations

from celery.contrib.django.task import DjangoTask

from celery_recovery import task

__all__ = ("RecoverableTask",)


class RecoverableTask(task.RecoverableTask, DjangoTask):  # type: ignore[misc]  # celery is untyped
    """`celery_recovery.RecoverableTask` with Celery's `delay_on_commit` and `apply_async_on_commit`.

    Celery gives these two to the tasks of a Django project that say nothing of a base class; a task with another base
    has lost them. A task that is sent before its transaction is committed can start first, and not find its rows.
    """

    abstract = True
