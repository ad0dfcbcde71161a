"""The project's package, as Celery's guide for Django has it."""

from shop.celery import app as celery_app

__all__ = ("celery_app",)
