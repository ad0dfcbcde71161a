"""The example of a night on call, in small: found, understood, not fixed, fixed, with the real command line."""

from __future__ import annotations

import pytest

from tests.integration.test_outages import run

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("redis_server")]


def test_a_wrong_fix_is_stopped_and_the_right_one_goes_through() -> None:
    """Three bugs and some noise are four groups; release 2 is stopped; with release 3 each order is done."""
    ended = run("examples/night_shift/run.py", "--orders", "440")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Stopped by its canary" in ended.stdout + ended.stderr
    assert "none was lost to the wrong fix" in ended.stdout
    assert "The books balance." in ended.stdout
