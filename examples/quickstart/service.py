"""The shop's misbehaving partner: stock, payments and shipments behind one real HTTP server.

`python service.py PORT LEDGER.sqlite` serves until it is killed. What goes wrong is fixed by the order's number and by
how often it was asked: the same run gives the same faults. One outage of `OUTAGE_SECONDS` comes on top, during which
connections are refused. `POST /fix` ends every fault that lasts.

It keeps its own books, apart from Celery and from the shop: a SQLite file with one row per effect (a reservation, a
payment, a shipment), how often it was asked for and how often it took place. Effects are keyed by `Idempotency-Key`, as
good payment services do it; so an answer that got lost may be asked for again.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import sqlite3
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ("OUTAGE_SECONDS", "Fault", "fault_of")

#: Longer than the shop's own timeout of 1 s.
HANG_SECONDS = 1.6
#: The outage starts when this many requests were answered.
OUTAGE_AFTER = 2500
OUTAGE_SECONDS = 4.0

#: Faults that end by themselves after one or two requests, with their weights.
PASSING = {
    "reset": 5,
    "lost answer": 3,
    "hang": 2,
    "503": 4,
    "503 retry-after": 3,
    "429 retry-after": 4,
    "500": 3,
    "cut json": 2,
}
#: Faults that last until somebody repairs the service: (path, fault).
LASTING = (("/stock", "503"), ("/shipments", "500"), ("/payments", "cut json"))
#: Answers that no repair changes: the order itself is not acceptable.
FINAL = (("/payments", "402"), ("/shipments", "400"))


@dataclass(frozen=True)
class Fault:
    """What will go wrong with one order, where, and how often."""

    path: str
    kind: str
    #: Number of requests that it spoils; None: all of them.
    times: int | None
    #: Ends when the service is repaired.
    fixable: bool = False


def fault_of(order_id: str) -> Fault | None:
    """The fault planned for this order, the same in every run; None for four orders in five."""
    dice = random.Random(f"fault of {order_id}")
    roll = dice.random()
    if roll < 0.04:
        path, kind = dice.choice(LASTING)
        return Fault(path, kind, None, fixable=True)
    if roll < 0.06:
        path, kind = dice.choice(FINAL)
        return Fault(path, kind, None)
    if roll < 0.24:
        kind = dice.choices(tuple(PASSING), weights=tuple(PASSING.values()))[0]
        return Fault(dice.choice(("/stock", "/payments", "/shipments")), kind, dice.choice((1, 1, 2)))
    return None


class Ledger:
    """What was asked for and what really took place."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(
            "CREATE TABLE effect (path TEXT, key TEXT, order_id TEXT, requests INTEGER, effects INTEGER,"
            " PRIMARY KEY (path, key))"
        )

    def asked(self, path: str, key: str, order_id: str) -> int:
        """Count a request; how many it were for this effect, this one included."""
        upsert = (
            "INSERT INTO effect VALUES (?, ?, ?, 1, 0)"
            " ON CONFLICT (path, key) DO UPDATE SET requests = requests + 1 RETURNING requests"
        )
        with self._lock:
            return int(self._db.execute(upsert, (path, key, order_id)).fetchone()[0])

    def take_effect(self, path: str, key: str) -> None:
        """Do it, unless it was done before."""
        with self._lock:
            self._db.execute(
                "UPDATE effect SET effects = effects + 1 WHERE path = ? AND key = ? AND effects = 0", (path, key)
            )


class Condition:
    """How the service is at the moment: what it has done, what spoils a request."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.repaired = False
        self._answers = itertools.count(1)

    def spoils(self, path: str, order_id: str, asked: int) -> str | None:
        """The kind of fault that this request meets, or None."""
        fault = fault_of(order_id)
        if fault is None or fault.path != path or (fault.fixable and self.repaired):
            return None
        return fault.kind if fault.times is None or asked <= fault.times else None

    def outage_is_due(self) -> bool:
        """Count an answer; true once, after number `OUTAGE_AFTER`."""
        return next(self._answers) == OUTAGE_AFTER


class Handler(BaseHTTPRequestHandler):
    """One connection of the shop."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Service

    def do_POST(self) -> None:
        """Count it, then do it, or what the fault makes of it."""
        condition = self.server.condition
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path == "/fix":
            condition.repaired = True
            self.reply(200, {"repaired": True})
            return
        key, order_id = self.headers["Idempotency-Key"], body["order_id"]
        asked = condition.ledger.asked(self.path, key, order_id)
        kind = condition.spoils(self.path, order_id, asked)
        if kind in (None, "lost answer", "cut json"):
            condition.ledger.take_effect(self.path, key)
        self.answer(kind, order_id)
        if condition.outage_is_due():
            self.server.begin_outage()

    def answer(self, kind: str | None, order_id: str) -> None:
        """Reply as the fault says; None: as it should be."""
        if kind is None:
            self.reply(201, {"order_id": order_id, "reference": f"{self.path[1:3]}-{order_id}"})
        elif kind in ("reset", "lost answer"):
            self.reset()
        elif kind == "hang":
            time.sleep(HANG_SECONDS)
            self.close_connection = True
        elif kind == "cut json":
            self.reply_raw(201, b'{"order_id": "' + order_id.encode() + b'", "refer')
        else:
            status, _, hint = kind.partition(" ")
            self.reply(int(status), {"error": _ERRORS[status]}, {"Retry-After": "1"} if hint else {})

    def reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """A JSON answer."""
        self.reply_raw(status, json.dumps(body).encode(), headers)

    def reply_raw(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """An answer that says it is JSON, whether it is or not."""
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """End the connection with RST instead of FIN: the other side sees "connection reset by peer"."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing: the ledger knows."""


class Service(ThreadingHTTPServer):
    """The listening side of the service. Its condition outlives an outage, its connections do not."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, condition: Condition) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.condition = condition
        self._open: set[socket.socket] = set()

    def begin_outage(self) -> None:
        """Leave `serve_forever`; asked for in a connection's thread, so it must not wait for it."""
        threading.Thread(target=self.shutdown).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget it again. A connection to be reset must not say goodbye first."""
        self._open.discard(request)
        if request.fileno() >= 0 and request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gave up waiting is part of the play."""

    def cut(self) -> None:
        """Stop listening and cut every open connection."""
        self.server_close()
        for connection in self._open.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def serve(port: int, ledger: Path) -> None:
    """Serve, be away for a while, and serve on until killed."""
    condition = Condition(Ledger(ledger))
    first = Service(port, condition)
    first.serve_forever(poll_interval=0.05)
    first.cut()
    time.sleep(OUTAGE_SECONDS)
    Service(port, condition).serve_forever()


_ERRORS = {
    "400": "unknown postcode",
    "402": "card declined",
    "429": "too many requests",
    "500": "internal error",
    "503": "temporarily unavailable",
}


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
