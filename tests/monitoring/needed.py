"""A service or a tool that a test needs."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ("binary", "missing")


def missing(why: str) -> NoReturn:
    """Skip and say why; with `CELERY_RECOVERY_REQUIRE_SERVICES=1` fail."""
    if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
        pytest.fail(f"a required service is missing: {why}")
    pytest.skip(why)


def binary(name: str, package: str) -> str:
    """Path of a program on the PATH."""
    found = shutil.which(name)
    return found or missing(f"no {name} on the PATH (Debian: apt-get install {package})")
