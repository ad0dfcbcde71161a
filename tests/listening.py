"""A real HTTP server on loopback that keeps what it is sent, and answers as it is told to."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ("Listener", "Posted", "listening")


class Posted(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Listener:
    """What came, and what is answered: `answers[path]` is a status and headers, or `"hang"`; else 204."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answers: dict[str, Any] = {}
        #: Set when the test is over: whatever hangs is let go.
        self.over = threading.Event()
        self.port = 0

    def url(self, path: str = "/hook", who: str = "") -> str:
        return f"http://{who}127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Posted]:
        return [one for one in list(self.posted) if one.path == path]


@contextmanager
def listening() -> Iterator[Listener]:
    """A server while the block runs."""
    listener = Listener()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            listener.posted.append(Posted(self.command, self.path, headers, body))
            answer = listener.answers.get(self.path, (204, {}))
            if answer == "hang":
                listener.over.wait(60)
                return
            status, headers, *rest = answer
            text = rest[0] if rest else b""
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST  # noqa: N815  # http.server's name

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        listener.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield listener
        finally:
            listener.over.set()
            server.shutdown()
