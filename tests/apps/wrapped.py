"""The app of `jobs` with tasks behind Celery's wrapper for models and behind a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from celery_recovery import RecoverableTask
from tests.apps.jobs import app


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hands on what it gets."""

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


@app.task(base=RecoverableTask, pydantic=True)
def book(order: int, note: str = "") -> None:
    """Its hints are plain."""


@app.task(base=RecoverableTask)
@timed
def ship(order: int, note: str = "") -> None:
    """Celery sees `*args, **kwargs` only."""
