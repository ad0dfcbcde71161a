"""A pytest plugin for Celery's own integration tests: our task class in, every outcome out, their files untouched.

`compare.py` beside this file loads it with `-p suite_plugin` into both runs. Three things happen here:

- `--task-class MODULE:NAME` makes that class the `task_cls` of every app the suite's fixtures create, through the
  `celery_parameters` fixture, which is Celery's own hook for this. Left out, the run is plain Celery. The run stops at
  once if the class did not reach the app, so that plain Celery is never compared with itself.
- `--settings JSON` are Celery settings for those apps; policies are written as plain data.
- `--record FILE` gets one JSON line per finished test. A test that hangs ends after `--cap` seconds, whatever its own
  mark says, and is recorded as such. Re-runs are the business of `compare.py`.
"""

from __future__ import annotations

import json
import pkgutil
from collections import UserDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ()

#: Of the outcomes of one test's phases (setup, call, teardown, subtests) the worst one counts.
_BADNESS = {"passed": 0, "skipped": 1, "xfailed": 2, "xpassed": 3, "failed": 4, "error": 5, "hung": 6}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("celery-recovery comparison")
    group.addoption("--task-class", default="", help="MODULE:NAME of the app's task class; left out: Celery's own")
    group.addoption("--settings", default="{}", help="Celery settings of the suite's apps, as JSON")
    group.addoption("--record", default="", help="file for the outcomes, one JSON line per test")
    group.addoption("--start-worker", action="store_true", help="the session's worker, even if no test asks for it")
    group.addoption("--cap", type=float, default=180.0, help="seconds after which a test counts as hung")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register late: of two plugins with a fixture of one name, the last one registered wins."""
    if config.getoption("--record"):
        config.pluginmanager.register(_Recorder(Path(config.getoption("--record"))), "outcome-recorder")
    if config.getoption("--task-class"):
        config.pluginmanager.register(_TaskClass(config), "task-class")
    if config.getoption("--start-worker"):
        config.pluginmanager.register(_StartedWorker(), "started-worker")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cap every test's time: some carry a mark of 300 s, and more than one can hang."""
    cap: float = config.getoption("--cap")
    for item in items:
        own = item.get_closest_marker("timeout")
        seconds = (own.kwargs.get("timeout") or own.args[0]) if own else cap
        item.add_marker(pytest.mark.timeout(min(seconds, cap)), append=False)


class _TaskClass:
    """Makes a class the `task_cls` of the suite's apps."""

    def __init__(self, config: pytest.Config) -> None:
        self.task_cls: type = pkgutil.resolve_name(config.getoption("--task-class"))
        self.settings: dict[str, Any] = json.loads(config.getoption("--settings"))

    @pytest.fixture(scope="session")
    def celery_parameters(self) -> Mapping[str, Any]:
        return _FreshEachTime({"task_cls": self.task_cls, "changes": self.settings})

    @pytest.fixture(scope="session", autouse=True)
    def task_class_in_place(self, celery_session_app: Any) -> None:
        if not issubclass(celery_session_app.Task, self.task_cls):
            pytest.exit(f"{self.task_cls!r} did not become the app's task class", returncode=70)


class _FreshEachTime(UserDict[str, Any]):
    """`Celery(**parameters)` keeps `changes` and writes into it: every app needs its own."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return dict(value) if isinstance(value, dict) else value


class _StartedWorker:
    """Many tests send tasks without asking for the worker: in the whole suite, an earlier test has started it."""

    @pytest.fixture(scope="session", autouse=True)
    def worker_started(self, celery_session_worker: Any) -> None:
        pass


class _Recorder:
    """Writes each test's outcome as soon as its teardown is over, so that a killed run keeps what it had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.open[nodeid] = {"test": nodeid, "outcome": "passed", "seconds": 0.0, "why": ""}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seen = self.open.get(report.nodeid)
        if seen is None:
            return
        if not hasattr(report, "context"):  # a subtest's time is part of its test's
            seen["seconds"] = round(seen["seconds"] + report.duration, 2)
        if str(report.outcome) == "rerun":  # because of a `flaky` mark: only the last attempt counts
            del self.open[report.nodeid]
            return
        outcome, why = _read(report)
        if _BADNESS[outcome] > _BADNESS[seen["outcome"]]:
            seen.update(outcome=outcome, why=why)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid in self.open:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(self.open.pop(nodeid)) + "\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Name the test that a killed run was in."""
        self.path.with_suffix(".running").write_text(item.nodeid, encoding="utf-8")
        return (yield)


def _read(report: pytest.TestReport) -> tuple[str, str]:
    """One phase's outcome in our words, and the last lines of what it says."""
    text = report.longreprtext
    if report.failed:
        if "Timeout (>" in text:
            return "hung", _tail(text)
        return ("failed" if report.when == "call" else "error"), _tail(text)
    if hasattr(report, "wasxfail"):
        return ("xpassed" if report.passed else "xfailed"), str(report.wasxfail)
    return report.outcome, _tail(text) if report.skipped else ""


def _tail(text: str, lines: int = 40) -> str:
    return "\n".join(text.splitlines()[-lines:])
