"""Raises every bug of the corpus in several settings."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import linecache
import socket
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.grouping import bugs_crm, bugs_feeds, bugs_flow, bugs_shop, bugs_solo
from tests.grouping.deploy import RELEASES, installed
from tests.grouping.model import Bug, ClosedPort, Document, Folder, Page, Part, Sample

__all__ = ("collected",)

_APPS = {
    "shop": bugs_shop.BUGS,
    "feeds": bugs_feeds.BUGS,
    "crm": bugs_crm.BUGS,
    "flow": bugs_flow.BUGS,
    "solo": bugs_solo.BUGS,
}


class Setting(NamedTuple):
    """The release that was running, and how the job was called (a function of `jobs`, or directly)."""

    release: str
    way: str = ""


#: One of each row for each bug, in turn: as it is; with moved lines; installed elsewhere; with a decorator; with a
#: wrapper that raises something else or tries again; called in another way.
_SETTINGS = (
    (Setting("base"),),
    (Setting("shifted"),),
    (Setting("reordered"), Setting("installed"), Setting("moved")),
    (Setting("timed"), Setting("logged"), Setting("guarded"), Setting("spanned")),
    (
        Setting("retried"),
        Setting("translated"),
        Setting("persistent"),
        Setting("base", "checked"),
        Setting("base", "grouped"),
        Setting("retried openly"),
    ),
    (
        Setting("base", "run_job"),
        Setting("base", "in_thread"),
        Setting("base", "in_loop"),
        Setting("base", "dispatched"),
    ),
)


def _part_of(app: str, family: str) -> Part:
    """A hash has chosen what was held out."""
    if app == "solo":
        return Part.LAST
    return Part.HELD_OUT if hashlib.sha256(family.encode()).digest()[0] % 2 else Part.SEEN


def collected() -> list[Sample]:
    """All exceptions, really raised; bugs that need what is not here are left out."""
    with _world() as world, tempfile.TemporaryDirectory() as folder:
        world.folder = Path(folder) / "data"
        return [sample for app in _APPS for sample in _of_app(app, world, Path(folder))]


def _of_app(app: str, world: _World, below: Path) -> Iterator[Sample]:
    calls: dict[str, list[tuple[Bug, Setting, tuple[Any, ...]]]] = defaultdict(list)
    for number, bug in enumerate(bug for bug in _APPS[app] if _possible(bug)):
        for row, arguments in zip(_SETTINGS, bug.inputs, strict=True):
            setting = row[number % len(row)]
            if setting.way == "grouped" and sys.version_info < (3, 11):
                setting = Setting(setting.release, "checked")
            calls[setting.release].append((bug, setting, arguments))
    for release, its in calls.items():
        with installed(app, RELEASES[release], below) as (tasks, jobs):
            for bug, setting, arguments in its:
                job = getattr(tasks, bug.entry)
                call = job if not setting.way else lambda *a, job=job, way=setting.way: getattr(jobs, way)(job, a)
                name = "+".join(part for part in (setting.release, setting.way) if part)
                yield Sample(
                    label=bug.label,
                    part=_part_of(app, bug.family),
                    app=app,
                    task=f"{app}.work",
                    setting=name,
                    exc=_caught(call, [world.made(one) for one in arguments], bug.label),
                )


def _possible(bug: Bug) -> bool:
    return sys.version_info >= bug.python and (not bug.needs or importlib.util.find_spec(bug.needs) is not None)


def _caught(call: Callable[..., object], arguments: list[Any], label: str) -> BaseException:
    try:
        call(*arguments)
    except Exception as exc:  # noqa: BLE001
        step = exc.__traceback__
        while step is not None and step.tb_frame.f_code.co_filename == __file__:  # the frames of this file are ours
            step = step.tb_next
        _remember_lines(step)
        return exc.with_traceback(step)
    raise AssertionError(f"{label}: {call} raised nothing with {arguments}")


def _remember_lines(step: TracebackType | None) -> None:
    """The sources are deleted in the end, and a rival wants to read them."""
    while step is not None:
        linecache.getline(step.tb_frame.f_code.co_filename, 1)
        step = step.tb_next


class _World:
    """A server, files and closed ports: what the stand-ins in a bug's arguments become."""

    def __init__(self, pages: dict[str, Page], address: str) -> None:
        self.pages = pages
        self.address = address
        self.folder = Path()
        self._made = 0

    def made(self, thing: Any) -> Any:
        """The argument itself, or what it stands for."""
        if isinstance(thing, Page):
            return self._page(thing)
        if isinstance(thing, ClosedPort):
            port = _closed_port()
            return port if thing.port_only else f"{thing.host}:{port}"
        if isinstance(thing, (Document, Folder)):
            return str(self._file(thing))
        return thing

    def _page(self, page: Page) -> str:
        if page.status == 0:
            return f"http://127.0.0.1:{_closed_port()}{page.path}"
        self.pages[page.path] = page
        return self.address + page.path

    def _file(self, thing: Document | Folder) -> Path:
        self._made += 1
        path = self.folder / f"{('inbox', 'spool.d', 'tmp')[self._made % 3]}-{self._made}" / thing.name
        path.parent.mkdir(parents=True)
        if isinstance(thing, Folder):
            path.mkdir()
        elif isinstance(thing.content, str):
            path.write_text(thing.content, "utf-8")
        elif thing.content is not None:
            path.write_bytes(thing.content)
        return path


def _closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def _world() -> Iterator[_World]:
    pages: dict[str, Page] = {}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages[self.path]
            body = page.body.encode()
            self.send_response(page.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield _World(pages, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
