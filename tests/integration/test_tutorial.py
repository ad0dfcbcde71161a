"""docs/tutorial.md, done step by step: files are written, commands are run, and what they print is what the page says.

Comments of the page say what a block is: `file:`, `edit:` (a diff), `terminal:` (a process that stays), `log:` (lines
that such a process prints). Of what differs from run to run (ids, times, ages, users) only the shape is compared, and
an id that was seen once stands for the same one afterwards; with `numbers vary` so are numbers. `…` is anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.services.process import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial.md"
#: Seconds until a page's line must have come.
PATIENCE = 40.0
#: Commands that only look: they are asked again until they say what is expected, because work goes on meanwhile.
LOOKS = re.compile(r"recovery (status|audit|report|dlq (list|group|groups|show)) ?")

#: What is written in the page -> what may stand in its place. Named ones are remembered.
VARYING = [
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", None),  # a task's id
    (r"(?<![:\w-])[0-9a-f]{12}(?![\w-])", None),  # an operation's
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?:,\d+)?", r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?:,\d+)?"),
    (r"\[I \d+ [\d:]+ \w+:\d+\]", r"\[I \d+ [\d:]+ \w+:\d+\]"),
    (r"(?<!\S)\d+(?:ms|s|m|h)(?![\w])", r"[\d.]+(?:ms|s|m|h)"),
    (r"\(\d+ a second\)", r"\([\d,]+ a second\)"),
    (r"[\w.]+@[\w.]+", r"\S+@\S+"),
    (r'"/home/\S+/shop\.py"', r'"\S+shop\.py"'),
    (r"[·▁▂▃▄▅▆▇█]{3,}", r"[·▁▂▃▄▅▆▇█]+"),
    (r"\[…\]|…", r".*"),
]
NUMBER = (r"\b\d+(?:\.\d+)?\b(?! ?/)", r"[\d.-]+")

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]


class Step(NamedTuple):
    """A block of the page with the comments before it."""

    #: Of its first line, 1-based.
    line: int
    language: str
    marks: dict[str, str]
    text: str


def steps() -> Iterator[Step]:
    """The blocks of the page, in order."""
    marks: dict[str, str] = {}
    lines = iter(enumerate(PAGE.read_text("utf-8").split("\n"), 1))
    for number, line in lines:
        if mark := re.fullmatch(r"<!-- ([\w ]+?)(?:: (\S+))? -->", line):
            marks[mark[1]] = mark[2] or ""
        elif line.startswith("```"):
            text = []
            for _, inside in lines:
                if inside == "```":
                    break
                text.append(inside)
            yield Step(number + 1, line[3:], marks, "\n".join(text))
            marks = {}


class Terminal:
    """A process that goes on, and the file with what it prints."""

    def __init__(self, command: str, directory: Path, env: dict[str, str], output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = Process(shlex.split(command), stdout=file.fileno(), cwd=directory, env=env)

    def stop(self) -> None:
        """As Ctrl-C does, but for good if it takes too long."""
        self.process.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.ports = {"8800": str(free_port()), "5555": str(free_port())}
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")},
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join((str(directory), str(ROOT))),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "100",
            "CELERY_BROKER_URL": redis_url,
            "CELERY_RESULT_BACKEND": redis_url,
        }
        self.terminals: dict[str, Terminal] = {}
        #: Id in the page -> id of this run.
        self.known: dict[str, str] = {}
        self.code = 0

    def do(self, step: Step) -> None:
        if "file" in step.marks:
            self.file(step.marks["file"]).write_text(self.here(step.text) + "\n", "utf-8")
        elif "edit" in step.marks:
            self.edit(step)
        elif "terminal" in step.marks:
            self.start(step)
        elif "log" in step.marks:
            self.wait(step, step.marks["log"], step.text.split("\n"))
        elif step.language == "console":
            told = commands(step.text)
            for (command, expected), following in zip(told, [*told[1:], ("", [])], strict=True):
                self.run(step, command, expected)
                assert self.code == 0 or "echo $?" in (command, following[0]), f"{PAGE.name}:{step.line}: {command}"
        else:
            pytest.fail(f"{PAGE.name}:{step.line}: nobody knows what to do with this block")

    def file(self, name: str) -> Path:
        return self.directory / name

    def here(self, text: str) -> str:
        """The text with the ports and the ids of this run."""
        for told, ours in (*self.ports.items(), *self.known.items()):
            text = text.replace(told, ours)
        return text

    def edit(self, step: Step) -> None:
        """Apply a diff; its lines must be there."""
        file = self.file(step.marks["edit"])
        lines = self.here(step.text).split("\n")
        before = "\n".join(line[1:] for line in lines if line[0] in " -")
        after = "\n".join(line[1:] for line in lines if line[0] in " +")
        text = file.read_text("utf-8")
        assert text.count(before) == 1, f"{PAGE.name}:{step.line}"
        file.write_text(text.replace(before, after), "utf-8")

    def start(self, step: Step) -> None:
        """Start what goes on, ending what ran in this terminal before."""
        name = step.marks["terminal"]
        if name in self.terminals:
            self.terminals[name].stop()
        ((command, expected),) = commands(step.text)
        output = self.file(f"{name}.log")
        self.terminals[name] = Terminal(self.here(command), self.directory, self.env, output)
        self.wait(step, name, expected)

    def wait(self, step: Step, name: str, expected: list[str]) -> None:
        """Until a terminal has printed these lines."""
        output = self.terminals[name].output
        self.compare(step, expected, lambda: output.read_text("utf-8", "replace"))

    def run(self, step: Step, command: str, expected: list[str]) -> None:
        """Run a command, and compare; one that only looks is asked again."""
        if command.startswith("pip install"):
            return
        if command == "echo $?":
            assert expected == [str(self.code)], f"{PAGE.name}:{step.line}"
            return
        command = self.here(command)
        self.compare(step, expected, lambda: self.output(command), again=bool(LOOKS.search(command)))

    def output(self, command: str) -> str:
        ended = subprocess.run(
            command, shell=True, cwd=self.directory, env=self.env, check=False, timeout=60, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.code = ended.returncode
        print(f"$ {command}\n{ended.stdout}")  # noqa: T201 - pytest shows it when the test failed
        return ended.stdout

    def compare(self, step: Step, expected: list[str], look: Callable[[], str], *, again: bool = True) -> None:
        """The lines stand in the output, in this order; others may stand between them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            output = look()
            missing = self.missing(step, expected, output)
            if missing is None:
                return
            if not again or time.monotonic() > deadline:
                pytest.fail(f"{PAGE.name}:{step.line}: the page says\n{missing}\nbut it was\n{output}")
            time.sleep(0.2)

    def missing(self, step: Step, expected: list[str], output: str) -> str | None:
        """The first line that is not there; None: all are, and their ids are now known."""
        lines, seen = iter(output.split("\n")), {}
        for line in expected:
            if line.strip() in ("", "…"):
                continue
            pattern, ids = self.pattern(line, numbers="numbers vary" in step.marks)
            match = next((found for found in (re.search(pattern, actual) for actual in lines) if found), None)
            if match is None:
                return line
            seen.update(zip(ids, match.groups(), strict=True))
        self.known.update(seen)
        return None

    def pattern(self, line: str, *, numbers: bool) -> tuple[str, list[str]]:
        """A line of the page as a regular expression, and the ids in it that are not known yet, one a group."""
        varying = [*VARYING, *([NUMBER] if numbers else [])]
        written = re.compile("|".join(f"({told})" for told, _ in varying))
        line, ids, made, end = self.here(line.strip()), [], "", 0
        for found in written.finditer(line):
            made += spaced(line[end : found.start()])
            end = found.end()
            shape = varying[(found.lastindex or 1) - 1]
            if shape[1] is not None:
                made += shape[1]
            elif found[0] in self.known.values():
                made += found[0]
            else:
                ids.append(found[0])
                made += f"({shape[0]})"
        return made + spaced(line[end:]), ids


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def spaced(text: str) -> str:
    """Any number of blanks for one."""
    return r"\s+".join(map(re.escape, re.split(r"\s+", text)))


@pytest.fixture
def reader(tmp_path: Path, redis_url: str) -> Iterator[Reader]:
    one = Reader(tmp_path, redis_url)
    yield one
    for name, terminal in one.terminals.items():
        terminal.stop()
        print(f"--- {name}\n{terminal.output.read_text('utf-8', 'replace')[-5000:]}")  # noqa: T201


def test_the_tutorial(reader: Reader) -> None:
    """From the lost order to Flower: what the page says is what happens."""
    for step in steps():
        reader.do(step)

    login = {"Authorization": "Basic " + b64encode(b"me:secret").decode()}
    place = f"http://127.0.0.1:{reader.ports['5555']}/recovery"
    told = {"/letters?state=recovered": (">recovered</span>", 24), "/groups?state=resolved": ("TypeError", 1)}
    for page, (words, least) in told.items():
        with urllib.request.urlopen(urllib.request.Request(place + page, headers=login), timeout=20) as answer:
            assert answer.read().decode().count(words) >= least, page
