"""The example of a batch, in small: an import that is killed on the way, a real worker, the real command line."""

from __future__ import annotations

import pytest

from tests.integration.test_outages import run

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("redis_server")]


def test_each_good_row_is_there_once_and_each_bad_one_is_a_letter() -> None:
    """And when the bad ones are put right, they are there, too."""
    ended = run("examples/batch_import/run.py", "--rows", "40000", "--kills", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("kill -9") >= 2, ended.stdout
    assert "The books balance." in ended.stdout
