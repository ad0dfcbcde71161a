"""Batches: a task that goes through many items, goes on where it stood, and sets single bad items aside."""

from celery_recovery.batch.policy import BatchPolicy

__all__ = ("BatchPolicy",)
