"""Fixtures for tests with real workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.jobs_client import Jobs
from tests.services import Worker


@pytest.fixture
def jobs(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Jobs:
    """`tests.apps.jobs` on each broker in turn; backend, letters and ledger in a Redis database of their own."""
    return Jobs(worker, broker_url, other_redis_url)


@pytest.fixture
def jobs_with(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Callable[..., Jobs]:
    """`jobs`, with settings."""

    def make(**conf: Any) -> Jobs:
        return Jobs(worker, broker_url, other_redis_url, conf=conf)

    return make


@pytest.fixture
def redis_jobs(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Jobs:
    """`jobs` on Redis only, for what does not depend on the broker."""
    return Jobs(worker, redis_url, other_redis_url)
