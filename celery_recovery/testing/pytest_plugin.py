"""Fixtures for pytest, for those who ask for them in the top `conftest.py`.

    pytest_plugins = ["celery_recovery.testing.pytest_plugin"]

No entry point loads it by itself. The package is installed wherever tasks run, and a plugin that pytest finds
everywhere is imported, and puts names among the fixtures, in every project there, asked for or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from celery import Celery, current_app

from celery_recovery.testing.bench import Bench
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.run import Run

__all__ = ("recovery_app", "recovery_bench", "recovery_clock", "recovery_run")


@pytest.fixture
def recovery_app() -> Celery:
    """The app under test: Celery's current one. Override it where there are several."""
    return current_app._get_current_object()  # noqa: SLF001


@pytest.fixture
def recovery_clock() -> FakeClock:
    """The bench's clock. Override it to begin at another time, or to take another library's clock along."""
    return FakeClock()


@pytest.fixture
def recovery_bench(recovery_app: Celery, recovery_clock: FakeClock) -> Iterator[Bench]:
    """A bench that is in use for the whole test: what the test sends, and what its tasks send, stays there."""
    with Bench(recovery_app, clock=recovery_clock) as bench:
        yield bench


@pytest.fixture
def recovery_run(recovery_bench: Bench) -> Callable[..., Run]:
    """`recovery_run(charge, 4711)`: run a task on that bench."""
    return recovery_bench.run
