"""Unit tests share one process with each other: what a worker sets for the whole process does not stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery._state import _set_task_join_will_block


@pytest.fixture(autouse=True)
def _no_worker_here() -> Iterator[None]:
    yield
    _set_task_join_will_block(False)
