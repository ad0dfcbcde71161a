"""The smoke tests: the promise seen from outside, on pytest-celery's nodes. README.md beside this file says how to run.

Without pytest-celery they are skipped; where services are required its absence is a failure.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

if importlib.util.find_spec("pytest_celery"):
    from tests.smoke.nodes import *  # noqa: F403 - all its fixtures
else:

    @pytest.fixture
    def shop() -> None:
        """There are no nodes."""
        missing = "pytest-celery is not installed (pip install 'celery-recovery[test]')"
        if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where tests/smoke stands on the command line; elsewhere the engine is `process`."""
    parser.addoption(
        "--engine",
        choices=("process", "docker"),
        default="process",
        help="what the nodes of the smoke tests are: processes of this machine, or Docker containers",
    )
