"""What the documentation says is so: tables are the code's own values, examples run, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

import celery_recovery
from celery_recovery.backoff import raw_delay
from celery_recovery.circuit.policy import TASK_DEFAULTS, CircuitPolicy
from celery_recovery.circuit.state import CircuitState
from celery_recovery.config import SETTINGS
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.decision import Action, Reason
from celery_recovery.errors.judgement import SEVERITY
from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.rules.status import by_status
from celery_recovery.history import Attempt, History
from celery_recovery.policy import DEFAULT_POLICIES, RetryPolicy

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
#: Made by tools, not by us.
_MADE = {"__pycache__", "build", "dist"}


def repository_files() -> Iterator[Path]:
    """Every text file of the repository, without what tools have made."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if _is_ours(Path(folder, name))]
        yield from (Path(folder, name) for name in names)


def _is_ours(folder: Path) -> bool:
    hidden = folder.name.startswith(".") and folder.name != ".ci"
    return not hidden and folder.name not in _MADE and not (folder / "pyvenv.cfg").exists()


PAGES = sorted(path for path in repository_files() if path.suffix == ".md")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    #: Of its first line of code, 1-based.
    line: int
    text: str
    #: It follows the comment `<!-- runnable -->`.
    runnable: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; those within a list lose its indentation."""
    found: list[Block] = []
    lines = page.read_text("utf-8").split("\n")
    start: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, 1):
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if fence and start is None:
            start = number, fence[1], fence[2]
        elif fence and start is not None:
            begin, indent, language = start
            code = "\n".join(text.removeprefix(indent) for text in lines[begin : number - 1])
            runnable = begin > 1 and lines[begin - 2] == "<!-- runnable -->"
            found.append(Block(language, begin + 1, code, runnable))
            start = None
    assert start is None, f"{name_of(page)}: the block of line {start} does not end"
    return found


def table(page: Path, marker: str) -> list[list[str]]:
    """The rows of the table that follows the comment `<!-- marker: … -->`, without its head."""
    after = re.search(rf"<!-- {marker}:[^\n]*-->\n((?:\|[^\n]*\n)+)", page.read_text("utf-8"))
    assert after, f"{name_of(page)} has no table {marker!r}"
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in after[1].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def plain(cell: str) -> str:
    """A cell without the marks of code."""
    return cell.strip("`")


class TestTables:
    def test_decision_table(self):
        """The README's decision table is DEFAULT_POLICIES: every type, its attempts, its delays before jitter."""
        rows = table(README, "decision table")
        told = {plain(row[0]): (int(row[2]), [float(delay) for delay in row[3].split(",")]) for row in rows}
        assert told == {
            error_type.value: (policy.max_attempts, _raw_delays(policy))
            for error_type, policy in DEFAULT_POLICIES.items()
        }

    def test_settings(self):
        """The reference has every setting, in order, with its default and its meaning, and no other."""
        rows = table(ROOT / "docs/settings.md", "settings reference")
        told = [(plain(name), ast.literal_eval(default.split("`")[1]), doc) for name, default, doc in rows]
        assert told == [(setting.name, setting.default, setting.doc) for setting in SETTINGS]

    def test_settings_mentioned(self):
        """No page names a setting that does not exist."""
        known = {setting.name for setting in SETTINGS}
        for page in PAGES:
            named = set(re.findall(r"(?<![\w/.-])recovery_[a-z_]+\b(?!\()", _prose(page).lower()))
            assert named - known - _NO_SETTINGS == set(), name_of(page)

    def test_retry_policy(self):
        """The table of policies has every field of RetryPolicy with its default."""
        rows = table(ROOT / "docs/settings.md", "retry policy")
        told = {plain(name): ast.literal_eval(plain(default)) for name, default, _ in rows}
        defaults = RetryPolicy()
        assert told == {item.name: getattr(defaults, item.name) for item in fields(RetryPolicy)}

    def test_circuit_policy(self):
        """The table of circuits has every field of CircuitPolicy with its default, and says what tasks get."""
        rows = table(ROOT / "docs/circuits.md", "circuit policy")
        defaults = CircuitPolicy()
        assert [plain(name) for name, _, _ in rows] == [item.name for item in fields(CircuitPolicy)]
        for name, default, _ in rows:
            if plain(name) == "counts":
                assert set(re.findall(r"`(\w+)`", default)) == {one.value for one in defaults.counts}
            else:
                assert ast.literal_eval(plain(default)) == getattr(defaults, plain(name)), name
        told = {plain(name): doc for name, _, doc in rows}["consecutive_failures"]
        assert CircuitPolicy(consecutive_failures=int(told.split()[-1].rstrip("."))) == TASK_DEFAULTS

    def test_circuit_states(self):
        """Every state of a circuit is told."""
        text = (ROOT / "docs/circuits.md").read_text("utf-8").partition("## States")[2]
        assert set(re.findall(r"^\| `(\w+)` \|", text.partition("## What")[0], re.MULTILINE)) == {
            state.value for state in CircuitState
        }

    def test_states(self):
        """Every state of a letter is told, and whether it is open."""
        rows = table(ROOT / "docs/architecture.md", "states")
        assert {plain(row[0]): row[-1] for row in rows} == {
            state.value: "yes" if state in OPEN else "no" for state in LetterState
        }

    def test_reasons(self):
        """Every reason that a decision can have is told."""
        rows = table(ROOT / "docs/architecture.md", "reasons")
        assert [plain(row[0]) for row in rows] == [reason.value for reason in Reason]

    def test_actions(self):
        """Every word that a log line may carry as its `action` is told, and no other."""
        rows = table(ROOT / "docs/architecture.md", "actions")
        told = {word for row in rows for word in re.findall(r"`(\w+)`", row[0])}
        sources = [path.read_text("utf-8") for path in (ROOT / "celery_recovery").rglob("*.py")]
        written = {word for source in sources for word in re.findall(r'"action": "(\w+)"', source)}
        written |= {word for source in sources for word in re.findall(r'_(?:complain|say)\("(\w+)"', source)}
        assert told == written | {action.value for action in Action} | {"given_back"}

    def test_severity(self):
        """The severity of each type is the classifier's."""
        rows = table(ROOT / "docs/classification.md", "severity")
        assert {plain(kind): plain(severity) for kind, severity in rows} == {
            kind.value: severity.value for kind, severity in SEVERITY.items()
        }

    def test_statuses(self):
        """Each HTTP status is what the rules make of it, alone and with a Retry-After."""
        for statuses, kind, retried in table(ROOT / "docs/classification.md", "statuses"):
            for status in map(int, statuses.split(", ")):
                alone, asked = by_status(status), by_status(status, {"Retry-After": "5"})
                assert alone is not None
                assert asked is not None
                told = (plain(kind), retried.startswith("yes"), not retried.startswith("no"))
                assert (alone.error_type.value, alone.retryable, asked.retryable) == told, status

    def test_header(self):
        """The example of a message's header has the fields that are written, and no other."""
        page = ROOT / "docs/architecture.md"
        (example,) = (ast.literal_eval(block.text) for block in blocks(page) if block.language == "json")
        origin = Origin(queue="q", exchange="", routing_key="q", priority=0)
        written = {**History().to_header(), "version": 1, "origin": origin._asdict()}
        attempt = Attempt(n=1, at=0.0, error_type=ErrorType.NETWORK).to_dict()
        assert set(example) == set(written)
        assert set(example["origin"]) == set(written["origin"])
        assert set(example["attempts"][0]) == set(attempt)
        assert History.from_header(example).to_header().items() <= example.items()


class TestCode:
    @pytest.mark.parametrize("page", [README, *DOCS], ids=name_of)
    def test_python_compiles(self, page):
        """Every Python block is Python."""
        for block in blocks(page):
            if block.language == "python":
                compile("\n" * (block.line - 1) + block.text, name_of(page), "exec")

    @pytest.mark.redis
    @pytest.mark.parametrize(
        "page", [page for page in [README, *DOCS] if "<!-- runnable -->" in page.read_text("utf-8")], ids=name_of
    )
    def test_runnable_blocks_run(self, page, redis_url, tmp_path):
        """The blocks marked as runnable run one after another, in a process of their own; broker and store are real."""
        lines: list[str] = []
        for block in blocks(page):
            if block.runnable:
                assert block.language == "python", f"{name_of(page)}:{block.line}"
                lines += [""] * (block.line - 1 - len(lines)) + block.text.split("\n")
        script = tmp_path / page.with_suffix(".py").name  # with the page's own line numbers
        script.write_text("\n".join(lines), "utf-8")
        places = {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url, "PYTHONPATH": str(ROOT)}
        env = {**os.environ, **places}
        run = subprocess.run([sys.executable, script], check=False, env=env, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr

    def test_readme_shows_code_early(self):
        """Whoever opens the README sees code before line 30."""
        first = blocks(README)[0]
        assert first.language == "python"
        assert first.line < 30


class TestNames:
    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_links(self, page):
        """Every relative link leads to a file, and its anchor to a heading."""
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = page.parent / file if file else page
            assert found.exists(), f"{name_of(page)}: {target}"
            assert not anchor or anchor in _anchors(found), f"{name_of(page)}: {target}"

    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_files_named_exist(self, page):
        """A path in code marks, below one of the repository's folders, is there."""
        paths = re.findall(r"`((?:celery_recovery|tests|examples|benchmarks|docs)/[\w./]+)`", page.read_text("utf-8"))
        assert [path for path in paths if not (ROOT / path).exists()] == []

    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_tests_named_exist(self, page):
        """A test that a page names as its witness is there."""
        tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
        named = re.findall(r"`(test_\w+)`", page.read_text("utf-8"))
        assert [name for name in named if f"def {name}(" not in tests] == []

    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_make_targets_exist(self, page):
        """Every `make …` that a page tells to run can be run; so can every benchmark it names."""
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        text = page.read_text("utf-8")
        told = re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE)
        assert [target for target in told if target not in targets] == []
        named = re.findall(r"ONLY=\"?([a-z_ ]+)", text)
        assert [one for names in named for one in names.split() if not (ROOT / f"benchmarks/{one}.py").exists()] == []

    def test_commands_are_understood(self):
        """Every command line of the pages, of celery and of manage.py, is a command with arguments that it takes."""
        told = [line for page in [README, *DOCS] for line in _command_lines(page)]
        assert len(told) > 10
        for line in told:
            assert _understood(line) == "", line

    @pytest.mark.parametrize("name", celery_recovery.__all__)
    def test_public_name(self, name):
        """A public name has a docstring of its own, and the documentation speaks of it."""
        thing = getattr(celery_recovery, name)
        assert thing.__doc__
        bases = thing.__mro__[1:] if isinstance(thing, type) else ()
        assert all(thing.__doc__ != base.__doc__ for base in bases)
        assert any(re.search(rf"`[^`\n]*\b{name}\b", page.read_text("utf-8")) for page in [README, *DOCS])

    def test_public_names_are_listed(self):
        """The table of public names names them all, and nothing that is not public."""
        section = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## The public names")[2]
        listed = set(re.findall(r"`(\w+)`", section.partition("|---|")[2])) - {"celery_recovery"}
        assert listed == set(celery_recovery.__all__)


def test_no_registry_host():
    """No file names the host of a package registry: where packages come from is the installer's business."""
    hosts = [f"{name}.{end}" for name, end in _REGISTRIES]
    named = [
        (name_of(path), host)
        for path in repository_files()
        if path.stat().st_size < 2_000_000
        for host in hosts
        if host.encode() in path.read_bytes()
    ]
    assert named == []


#: In two parts, so that this file does not name them either.
_REGISTRIES = (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"), ("quay", "io"),
    ("crates", "io"), ("rubygems", "org"), ("anaconda", "org"), ("golang", "org"), ("hub.docker", "com"),
)  # fmt: skip
#: Words that begin like a setting and are none: an action in the log, a figure of the statistics, a setting of Django,
#: and fixtures of `celery_recovery.testing`.
_NO_SETTINGS = {
    "recovery_failed", "recovery_rate", "recovery_celery_app",
    "recovery_app", "recovery_bench", "recovery_clock", "recovery_run",
}  # fmt: skip


def _raw_delays(policy: RetryPolicy) -> list[float]:
    assert policy.max_attempts is not None
    return [
        raw_delay(policy.backoff, attempt, policy.base_delay, policy.max_delay)
        for attempt in range(1, policy.max_attempts)
    ]


def _prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _command_lines(page: Path) -> Iterator[str]:
    """The command lines of a page's console blocks, from the word behind `recovery`."""
    for block in blocks(page):
        if block.language == "console":
            yield from re.findall(r"^\$ (?:celery -A \S+|python manage\.py) recovery (.+)$", block.text, re.MULTILINE)


def _understood(line: str) -> str:
    """What click says against a command line; empty when it takes it. Nothing is run."""
    group = importlib.import_module("celery_recovery.cli").recovery
    words = shlex.split(line.partition("  #")[0])
    command: Any = group
    try:
        with click.Context(group, info_name="recovery") as ctx:
            while isinstance(command, click.Group):
                _, command, words = command.resolve_command(ctx, words)
            command.make_context("recovery", list(words), parent=ctx)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as exc:
        return exc.format_message()
    return ""
