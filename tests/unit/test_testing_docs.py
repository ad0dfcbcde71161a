"""What docs/testing.md says of the tools is so."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from celery_recovery import testing
from celery_recovery.testing import Bench, Outcome, Run, run_task
from celery_recovery.testing.pytest_plugin import __all__ as fixtures

PAGE = (Path(__file__).resolve().parents[2] / "docs/testing.md").read_text("utf-8")


def first_column(marker: str) -> list[str]:
    """The code marks in the first cell of each row of the table behind this comment."""
    after = re.search(rf"<!-- {marker}:[^\n]*-->\n((?:\|[^\n]*\n)+)", PAGE)
    assert after, marker
    rows = after[1].splitlines()[2:]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_names() -> None:
    """Every name is told, with parameters that it has."""
    told = {text.partition("(")[0]: text for text in first_column("testing names")}
    assert set(told) == set(testing.__all__)
    for name, text in told.items():
        if "(" in text:
            words = re.findall(r"\*{0,2}(\w+)=?", text.partition("(")[2])
            known = inspect.signature(getattr(testing, name)).parameters
            assert [word for word in words if word not in known and word != "None"] == [], text


def test_run() -> None:
    """Every field and property of a run is told."""
    public = {name for name, value in vars(Run).items() if isinstance(value, property)}
    told = {name.removesuffix("()") for name in first_column("run")}
    assert told == public | {field.name for field in fields(Run)} | {"story"}


def test_outcomes() -> None:
    """Every outcome is told, in order."""
    assert first_column("outcomes") == [outcome.value for outcome in Outcome]


def test_fixtures() -> None:
    """Every fixture of the plugin is told."""
    table = PAGE.partition("| Fixture |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sorted(fixtures)


def test_bench() -> None:
    """What the page says a bench has, it has."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `Bench("))
    names = [word.partition("(")[0] for word in re.findall(r"`([^`]+)`", row.split("|")[2])]
    assert [name for name in names if not hasattr(Bench, name) and name != "clock"] == []


def test_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """The story on the page is what the code of the page prints."""
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    code = re.search(r"<!-- runnable -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    shown = re.search(r"<!-- story:[^\n]*-->\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert code
    assert shown
    page: dict[str, object] = {"__name__": "shop"}
    exec(compile(code[1], "docs/testing.md", "exec"), page)
    run = run_task(page["reserve"], "blue", 1, warehouse="down")  # type: ignore[arg-type]
    assert run.story().replace(run.id, "id") == shown[1].strip("\n")
