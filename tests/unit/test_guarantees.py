"""Every guarantee names the test that provokes the fault, and that test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/guarantees.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| What can happen")]
NAMED = sorted(set(re.findall(r"`(test_\w+\.py(?:::\w+)*)`", PAGE)))


def names_in(path: Path) -> set[str]:
    """Tests of a file, those in classes as `Class::test`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("named", NAMED)
def test_exists(named: str) -> None:
    """The file is there, and the test in it."""
    file, _, test = named.partition("::")
    path = ROOT / "tests/integration" / file
    assert path.exists()
    assert not test or test in names_in(path)


def test_every_row_has_one() -> None:
    """No guarantee is only said."""
    assert len(ROWS) > 30
    assert not [row for row in ROWS if not re.search(r"`test_\w+\.py", row.rsplit("|", 2)[1])]
