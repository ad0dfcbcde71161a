"""Celery's own integration tests: fetched, unpacked, given an environment, and run against private services.

Everything lands in a cache folder outside the checkout, once per Celery and Python version:

    <cache>/celery-5.7.0-py3.11/suite/    `t/` and `pyproject.toml` of the source distribution, unchanged
    <cache>/celery-5.7.0-py3.11/venv/     that Celery as it is installed here, and what its tests need
"""
# ruff: noqa: T201 - it reports its progress

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
sys.path.insert(0, str(_ROOT))

from tests.services.process import Process  # noqa: E402
from tests.services.rabbit_server import RabbitServer  # noqa: E402
from tests.services.redis_server import RedisServer  # noqa: E402

__all__ = ("GROUPS", "Mode", "Outcome", "Run", "Suite", "Wanted", "prepare", "run_all")

#: Test modules by the word that `--only` takes. Left out: `test_backend.py`, which needs an Azure account.
GROUPS = {
    "canvas": ("test_canvas.py",),
    "tasks": ("test_tasks.py",),
    "others": (
        "test_backend_leak_in_fixture_teardown.py", "test_beat.py", "test_cache_backend.py",
        "test_connection_recovery.py", "test_database_backend.py", "test_events_state_memory_leak.py",
        "test_group_chains.py", "test_inspect.py", "test_loader.py", "test_logfile_format.py",
        "test_mem_leak_in_exception_handling.py", "test_redis_backend.py", "test_request_backend_down.py",
        "test_security.py", "test_serialization.py", "test_upgrade.py", "test_worker.py",
    ),
}  # fmt: skip

#: Of the tools that Celery's CI installs, those that `t/integration` imports or uses; versions are the ones it pins.
_TOOLS = (
    "pytest", "pytest-celery", "pytest-click", "pytest-order", "pytest-rerunfailures", "pytest-subtests",
    "pytest-timeout", "freezegun", "tblib", "pydantic", "cryptography", "msgpack", "PyYAML", "sqlalchemy", "Django",
)  # fmt: skip

#: Installed in the same versions as in the environment that runs the comparison.
_SAME_AS_HERE = ("celery", "kombu", "billiard", "amqp", "vine", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An unpacked suite that can be run."""

    directory: Path
    python: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way of running the suite: plain Celery, or with a task class of ours."""

    name: str
    #: `MODULE:NAME`; empty: Celery's own.
    task_class: str = ""
    #: Celery settings of the suite's apps, JSON scalars, lists and mappings only.
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one test ended, in one run."""

    test: str
    #: `passed`, `skipped`, `xfailed`, `xpassed`, `failed`, `error` (in a fixture), `hung`, `lost` (the run died first).
    outcome: str
    seconds: float = 0.0
    #: The last lines of what pytest says about it.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be run, and under what limits."""

    #: `"redis"` or `"rabbitmq"`; results are in Redis either way.
    broker: str
    #: pytest's `-k` expression, or empty.
    expression: str
    #: Seconds after which a test counts as hung.
    cap: float
    #: How many runs of pytest go on at the same time.
    jobs: int


@dataclass(slots=True, kw_only=True)
class Run:
    """One pytest process over some tests in one mode, with services of its own."""

    mode: Mode
    targets: Sequence[str]
    label: str
    #: A further look at a few tests: they may depend on a worker that an earlier test has started, so there is one; and
    #: Celery's own `flaky` marks count, as some assert what a worker has logged after a hundredth of a second.
    again: bool = False
    _services: ExitStack = field(default_factory=ExitStack)
    _folder: Path = Path()
    _process: Process | None = None

    def start(self, suite: Suite, wanted: Wanted) -> None:
        """Start Redis, the broker and pytest. From the main thread: see `tests.services.process.Process`."""
        scratch = tempfile.TemporaryDirectory(prefix="celery-suite-", ignore_cleanup_errors=True)
        self._folder = Path(self._services.enter_context(scratch))
        redis = RedisServer()
        self._services.enter_context(redis)
        broker = redis.url(0)
        if wanted.broker == "rabbitmq":
            rabbit = RabbitServer()
            self._services.enter_context(rabbit)
            broker = rabbit.fresh_url().replace("amqp://", "pyamqp://")
        env = {
            **os.environ,
            "PATH": os.pathsep.join((str(suite.python.parent), os.environ["PATH"])),  # tests call `celery`
            "TEST_BROKER": broker,
            "TEST_BACKEND": redis.url(0),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "WORKER_LOGLEVEL": "INFO",  # as in Celery's CI: some tests read the worker's log
            "PYTHONPATH": os.pathsep.join((str(_HERE), str(_ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (self._folder / "output.log").open("wb") as output:
            self._process = Process(self._command(suite, wanted), stdout=output.fileno(), env=env, cwd=suite.directory)
        self._services.callback(self._process.kill)

    @property
    def running(self) -> bool:
        """False before the start and after the end."""
        return self._process is not None and self._process.running

    def finish(self) -> list[Outcome]:
        """Stop the services and give the outcomes; a run that died names the test it died in."""
        lines = self._folder / "outcomes.jsonl"
        text = lines.read_text(encoding="utf-8") if lines.exists() else ""
        outcomes = [Outcome(**json.loads(line)) for line in text.splitlines()]
        output = (self._folder / "output.log").read_text(errors="replace")
        code = self._process.wait(0) if self._process is not None else None
        running = lines.with_suffix(".running")
        if code not in (0, 1, 5):  # all passed, some failed, none selected
            print(f"  {self.label} ended with {code}:\n{_tail(output)}", flush=True)
            lost = running.read_text(encoding="utf-8") if running.exists() else ""
            if lost and all(one.test != lost for one in outcomes):
                outcomes.append(Outcome(test=lost, outcome="lost", why=_tail(output)))
        self._services.close()
        return outcomes

    def _command(self, suite: Suite, wanted: Wanted) -> list[str]:
        command = [str(suite.python), "-m", "pytest", "-p", "suite_plugin", "-p", "no:cacheprovider", "-q"]
        command += ["--start-worker", "--rerun-except", "Timeout"] if self.again else ["-p", "no:rerunfailures"]
        command += ["--record", str(self._folder / "outcomes.jsonl"), "--cap", str(wanted.cap)]
        command += ["--basetemp", str(self._folder / "basetemp")]
        command += ["-k", wanted.expression] if wanted.expression else []
        if self.mode.task_class:
            command += ["--task-class", self.mode.task_class, "--settings", json.dumps(self.mode.settings)]
        return [*command, *self.targets]


def prepare(cache: Path) -> Suite:
    """Fetch, unpack and equip the suite of the Celery installed here, unless the cache has it already."""
    folder = cache / f"celery-{version('celery')}-py{'.'.join(platform.python_version_tuple()[:2])}"
    suite = Suite(directory=folder / "suite", python=folder / "venv" / "bin" / "python")
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"preparing {folder} ...", flush=True)
        requirements = _unpack(_download(folder), folder)
        _equip(folder / "venv", suite.python, requirements)
        ready.touch()
    return suite


def run_all(suite: Suite, runs: Iterable[Run], wanted: Wanted) -> Iterator[tuple[Run, list[Outcome]]]:
    """Run all, `wanted.jobs` at a time; each is given out as it ends."""
    waiting = list(runs)
    with _ended_whatever_happens() as active:
        while waiting or active:
            while waiting and len(active) < wanted.jobs:
                active.append(waiting.pop(0))
                print(f"  started: {active[-1].label}", flush=True)
                active[-1].start(suite, wanted)
            time.sleep(0.5)
            for run in [run for run in active if not run.running]:
                active.remove(run)
                yield run, run.finish()


@contextmanager
def _ended_whatever_happens() -> Iterator[list[Run]]:
    active: list[Run] = []
    try:
        yield active
    finally:
        for run in active:
            run.finish()


def _download(folder: Path) -> Path:
    celery = f"celery=={version('celery')}"
    _pip(sys.executable, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), celery)
    return next(folder.glob("celery-*.tar.gz"))


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack the tests only: with `celery/` beside them they would import that, not the installed one."""
    with tarfile.open(archive) as tar:
        members = [one for one in tar.getmembers() if re.match(r"[^/]+/(t/|requirements/|pyproject\.toml$)", one.name)]
        for one in members:
            one.name = one.name.partition("/")[2]
        tar.extractall(folder / "suite", members=members, filter="data")
    return folder / "suite" / "requirements"


def _equip(venv: Path, python: Path, requirements: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    same = [f"{name}=={found}" for name in _SAME_AS_HERE if (found := _installed(name))]
    _pip(str(python), "install", "celery[redis]", *same, *_pinned(requirements))


def _pinned(requirements: Path) -> list[str]:
    """The lines of Celery's requirement files that speak of `_TOOLS`; the bare name where it pins none."""
    lines = [line for path in requirements.rglob("*.txt") for line in path.read_text().splitlines()]
    exact = {_name(line): line.split(";")[0].strip() for line in lines if re.match(r"[\w.-]+(\[[^]]*\])?==", line)}
    return [re.sub(r"\[.*?\]", "", exact.get(tool.lower(), tool)) for tool in _TOOLS]


def _name(line: str) -> str:
    return re.split(r"[\[=<>!;\s]", line, maxsplit=1)[0].lower()


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pip {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])
