"""Every Celery process imports the plug-in; it must not pay for it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import celery.bin.base, click_didyoumean
before = set(sys.modules)
import celery_recovery.cli
print(*sorted(set(sys.modules) - before))
"""


def test_loading_the_plug_in_loads_nothing_else() -> None:
    """Beside click and Celery's command classes, which are there already: three small modules of ours."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["celery_recovery", "celery_recovery.cli", "celery_recovery.cli.command"]
