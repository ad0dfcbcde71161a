"""Unit tests share one process with each other: what a worker sets for the whole process does not stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import _state


@pytest.fixture(autouse=True)
def _no_worker_here() -> Iterator[None]:
    yield
    _state._set_task_join_will_block(False)


@pytest.fixture(autouse=True)
def _no_tasks_of_others() -> Iterator[None]:
    """Celery gives the tasks of each app to all that come after it: those of one test are not for the next."""
    before = set(_state._on_app_finalizers)
    yield
    _state._on_app_finalizers.intersection_update(before)
