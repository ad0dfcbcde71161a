"""What classifying one failure costs, fingerprint included: a table per exception; exit status 1 above the budget.

    python benchmarks/classify.py [--budget 50]        # microseconds

The exceptions are real and were really raised: caught with the traceback that a task of some layers has, the HTTP ones
from a local server by requests where that is installed. Each figure is the best of many short runs.
"""

from __future__ import annotations

import argparse
import http.server
import json
import socket
import sys
import threading
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery_recovery.errors import classify

_REPEAT, _NUMBER = 200, 50  # short runs: the best of them met no other process


class _Answer503(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer503)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/orders/17"
    finally:
        server.shutdown()
        server.server_close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _caught(call: Callable[[], object], layers: int = 5) -> Exception:
    """The exception `call` raises, under some layers of an application."""

    def layer(left: int) -> object:
        return layer(left - 1) if left else call()

    try:
        layer(layers)
    except Exception as exc:  # noqa: BLE001
        return exc
    raise AssertionError("nothing was raised")


def _failures(url: str) -> Iterator[tuple[str, Exception]]:
    yield "ValueError", _caught(lambda: int("seventeen"))
    yield "OSError (ENOENT)", _caught(lambda: Path("/nonexistent/orders.csv").read_text())
    yield "JSONDecodeError", _caught(lambda: json.loads('{"order": 17,'))
    yield "ConnectionRefusedError", _caught(lambda: socket.create_connection(("127.0.0.1", _free_port()), 1).close())
    yield "unknown class", _caught(lambda: (_ for _ in ()).throw(type("Odd", (Exception,), {})("order 17 is odd")))
    try:
        import requests
    except ImportError:
        print("requests is not installed: its exceptions are left out", file=sys.stderr)
        return
    dead = f"http://127.0.0.1:{_free_port()}/orders/17"
    yield "requests.ConnectionError", _caught(lambda: requests.get(dead, timeout=5))
    yield "requests.HTTPError (503)", _caught(lambda: requests.get(url, timeout=5).raise_for_status())


def main() -> int:
    """Print the table; 1 if any exception is above the budget."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budget", type=float, default=50.0, help="microseconds per exception (50)")
    budget = parser.parse_args().budget
    over = []
    print(f"{'exception':28} {'µs':>7}  {'frames':>6}  rule")
    with _server() as url:
        for name, exc in _failures(url):
            info = classify(exc, task="shop.import_order")
            runs = timeit.repeat(lambda e=exc: classify(e, task="shop.import_order"), number=_NUMBER, repeat=_REPEAT)
            cost = min(runs) / _NUMBER * 1e6
            over += [name] if cost > budget else []
            print(f"{name:28} {cost:7.1f}  {len(info.frames):6}  {info.rule}")
    print(f"budget {budget:g} µs: {'exceeded by ' + ', '.join(over) if over else 'kept'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
