"""The same application, installed as releases that differ in what does not matter."""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

__all__ = ("APPS", "RELEASES", "Release", "installed")

APPS = Path(__file__).parent / "apps"
_HEADER = "# Copyright of the shop, all rights reserved.\n" * 7
_UNRELATED = "\n\ndef _since_release_{n}():\n    return {n}\n\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How the sources were changed and where they were put."""

    #: Folder in which the application's package lies.
    root: str
    #: Comments and functions were added above and in between, so every line has moved.
    shifted: bool = False
    #: Functions stand in the opposite order.
    reordered: bool = False
    #: What every function that is marked `# seam` is decorated with, a name in `jobs`.
    seam: str = ""

    def edit(self, source: str, app: str) -> str:
        """The module's source as this release of `app` has it."""
        lines = source.splitlines(keepends=True)
        if self.seam:
            lines = _decorated(lines, self.seam, app)
        if self.reordered:
            lines = _reordered("".join(lines))
        if self.shifted:
            lines = _shifted("".join(lines))
        return "".join(lines)


RELEASES = {
    "base": Release(root="srv/app"),
    "shifted": Release(root="home/deploy/releases/20260412-1/current", shifted=True),
    "reordered": Release(root="opt/app-1.18.3/src", reordered=True),
    "installed": Release(root="venv/lib/python3.11/site-packages"),
    "moved": Release(root="var/lib/worker-3f/checkout", shifted=True, reordered=True),
    "timed": Release(root="srv/app-timed", seam="timed"),
    "logged": Release(root="srv/app-logged", seam='logged("seam")', shifted=True),
    "guarded": Release(root="srv/app-guarded", seam="Guarded"),
    "spanned": Release(root="srv/app-spanned", seam="spanned", shifted=True),
    "retried": Release(root="srv/app-retried", seam="retried"),
    "retried openly": Release(root="srv/app-retried-openly", seam="retried_openly", shifted=True),
    "persistent": Release(root="srv/app-persistent", seam="persistent"),
    "translated": Release(root="srv/app-translated", seam="translated", reordered=True),
}


@contextlib.contextmanager
def installed(app: str, release: Release, below: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The application's modules `tasks` and `jobs`, really imported from where the release lies."""
    root = below / release.root
    package = root / app
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "jobs.py").write_text(APPS.joinpath("jobs.py").read_text("utf-8"), "utf-8")
    for module in (APPS / app).glob("*.py"):
        (package / module.name).write_text(release.edit(module.read_text("utf-8"), app), "utf-8")
    others = _taken_out(app)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(f"{app}.tasks"), importlib.import_module(f"{app}.jobs")
    finally:
        sys.path.remove(str(root))
        _taken_out(app)
        sys.modules.update(others)


def _taken_out(app: str) -> dict[str, ModuleType]:
    """Modules of that name, so that the next release, or somebody else's of the same name, can be imported."""
    names = [name for name in sys.modules if name.partition(".")[0] == app]
    return {name: sys.modules.pop(name) for name in names}


def _decorated(lines: list[str], seam: str, app: str) -> list[str]:
    result: list[str] = []
    for line in lines:
        if line.rstrip().endswith("# seam"):
            existing: list[str] = []
            while result and result[-1].startswith("@"):  # the new decorator is the outermost
                existing.insert(0, result.pop())
            result += [f"@{seam}\n", *existing]
        result.append(line)
    first = ast.parse("".join(lines)).body[0]
    at = (first.end_lineno or 1) if isinstance(first, ast.Expr) else 0  # below the module's docstring
    result.insert(at, f"from {app}.jobs import {seam.partition('(')[0]}\n")
    return result


def _spans(source: str) -> list[tuple[ast.stmt, int, int]]:
    """Top-level statements with their first line, decorators included, and their last one; from 0."""
    spans = []
    for node in ast.parse(source).body:
        first = min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", [])]])
        spans.append((node, first - 1, node.end_lineno or node.lineno))
    return spans


def _reordered(source: str) -> list[str]:
    lines = source.splitlines(keepends=True)
    spans = _spans(source)
    early = _needed_early([node for node, *_ in spans])
    functions = [n for n, (node, *_) in enumerate(spans) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    plain = [n for n in functions if spans[n][0].name not in early and len(spans[n][0].decorator_list) <= 1]
    order = dict(zip(plain, reversed(plain), strict=True))
    result: list[str] = []
    for n in range(len(spans)):
        _, first, last = spans[order.get(n, n)]
        result += [*lines[first:last], "\n", "\n"]
    return result


def _needed_early(nodes: list[ast.stmt]) -> set[str]:
    """Names that are used while the module is imported: by decorators and statements outside functions."""
    early: list[ast.AST] = []
    for node in nodes:
        early += getattr(node, "decorator_list", [node])
    return {part.id for node in early for part in ast.walk(node) if isinstance(part, ast.Name)}


def _shifted(source: str) -> list[str]:
    lines = source.splitlines(keepends=True)
    comments: set[int] = set()
    functions: set[int] = set()
    for node, first, _ in _spans(source):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            functions.add(first)
            for part in ast.walk(node):
                if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    comments |= {statement.lineno - 1 for statement in part.body}
    result = [_HEADER]
    for number, line in enumerate(lines):
        if number in functions:
            result.append(_UNRELATED.format(n=number))
        if number in comments:
            result.append("    # what comes now was discussed at length\n")
        result.append(line)
    return result
