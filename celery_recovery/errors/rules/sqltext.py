"""What databases say in words, for faults that reach us without a code.

Drivers give no SQLSTATE when a connection cannot be opened or breaks, and wrappers may drop the code. The texts are
those of libpq, the PostgreSQL, MySQL and SQL Server servers, SQLite and the drivers; the first marker found counts, so
what is final stands before what may pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict, permanent, transient

__all__ = ("by_text", "text_of")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _F, _M = ErrorType.SCHEMA, ErrorType.FILESYSTEM, ErrorType.MEMORY

_DENIED = permanent(_N, severity=ErrorSeverity.HIGH, rule="text.denied")
_NO_SUCH = permanent(_C, rule="text.no_such")
_SYNTAX = permanent(_C, rule="text.syntax")
_VALUE = permanent(_V, rule="text.value")
_CONSTRAINT = permanent(_V, rule="text.constraint")
_DAMAGED = permanent(_F, severity=ErrorSeverity.CRITICAL, rule="text.damaged")
_FILE = permanent(_F, rule="text.file")
_MISUSE = permanent(_S, rule="text.misuse")
_LOST = transient(_N, rule="text.connection")
_STARTING = transient(_N, rule="text.starting")
_LOCK = transient(_S, rule="text.lock")
_BUSY = transient(_S, rule="text.busy")
_READ_ONLY = transient(_S, rule="text.read_only")
_MEMORY = transient(_M, rule="text.memory")
_FULL = transient(_F, severity=ErrorSeverity.HIGH, rule="text.disk_full")

_MARKERS: tuple[tuple[str, Verdict], ...] = (
    # Final: who we are, what is not there, what is wrong with the statement or the value.
    ("authentication failed", _DENIED),
    ("pg_hba.conf", _DENIED),
    ("login failed", _DENIED),
    ("access denied", _DENIED),
    ("permission denied", _DENIED),
    ("no password supplied", _DENIED),
    ("not permitted", _DENIED),
    ("certificate", _DENIED),
    ("server does not support ssl", _DENIED),
    ("not authorized", _DENIED),
    ('role "', _DENIED),
    ("no such ", _NO_SUCH),
    ("has no column", _NO_SUCH),
    ("unknown column", _NO_SUCH),
    ("unknown database", _NO_SUCH),
    ("does not exist", _NO_SUCH),
    ("doesn't exist", _NO_SUCH),
    ("already exists", _NO_SUCH),
    ("invalid object name", _NO_SUCH),
    ("syntax error", _SYNTAX),
    ("error in your sql syntax", _SYNTAX),
    ("incomplete input", _SYNTAX),
    ("unrecognized token", _SYNTAX),
    ("values for", _SYNTAX),  # "table t has 2 columns but 3 values were supplied", "2 values for 3 columns"
    ("values were supplied", _SYNTAX),
    ("ambiguous column", _SYNTAX),
    ("too many sql variables", _VALUE),
    ("duplicate", _CONSTRAINT),
    ("unique constraint", _CONSTRAINT),
    ("constraint failed", _CONSTRAINT),
    ("violates", _CONSTRAINT),
    ("cannot be null", _CONSTRAINT),
    ("out of range", _VALUE),
    ("too long", _VALUE),
    ("too big", _VALUE),
    ("too large", _VALUE),
    ("datatype mismatch", _VALUE),
    ("binding parameter", _VALUE),
    ("incorrect number of bindings", _SYNTAX),
    ("not a database", _DAMAGED),
    ("malformed", _DAMAGED),
    ("readonly database", _FILE),
    ("unable to open database", _FILE),
    ("closed database", _MISUSE),
    ("closed cursor", _MISUSE),
    ("cursor already closed", _MISUSE),
    ("objects created in a thread", _MISUSE),
    ("unkeyed connection", _MISUSE),
    ("within a transaction", _MISUSE),
    ("unsupported frontend protocol", _MISUSE),
    ("invalid connection option", _MISUSE),
    ("invalid dsn", _MISUSE),
    ("connection info string", _MISUSE),
    ("invalid port number", _MISUSE),
    # Passing: locks and conflicts.
    ("is locked", _LOCK),
    ("deadlock", _LOCK),
    ("lock wait timeout", _LOCK),
    ("could not obtain lock", _LOCK),
    ("lock not available", _LOCK),
    ("lock timeout", _LOCK),
    ("lock request time out", _LOCK),
    ("could not serialize", _LOCK),
    ("serialization failure", _LOCK),
    ("write conflict", _LOCK),
    ("restart transaction", _LOCK),
    ("retry transaction", _LOCK),
    ("tuple concurrently", _LOCK),
    ("conflict with recovery", _LOCK),
    ("locking protocol", _LOCK),
    ("schema has changed", _LOCK),
    ("cached plan", _LOCK),
    # Passing: the server or a pool is full, or has been told to stop the statement.
    ("too many connections", _BUSY),
    ("too many clients", _BUSY),
    ("connection slots", _BUSY),
    ("max client connections", _BUSY),
    ("no more connections allowed", _BUSY),
    ("max_connections", _BUSY),
    ("max_user_connections", _BUSY),
    ("pool exhausted", _BUSY),
    ("couldn't get a connection", _BUSY),
    ("statement timeout", _BUSY),
    ("canceling statement", _BUSY),
    ("query_wait_timeout", _BUSY),
    ("maximum statement execution time", _BUSY),
    ("interrupted", _BUSY),
    ("read-only transaction", _READ_ONLY),
    ("read-only", _READ_ONLY),
    ("read only", _READ_ONLY),
    ("out of memory", _MEMORY),
    ("no space left", _FULL),
    ("disk is full", _FULL),
    ("disk i/o error", _FULL),
    # Passing: the server is starting or stopping, the connection is gone.
    ("starting up", _STARTING),
    ("shutting down", _STARTING),
    ("recovery mode", _STARTING),
    ("not yet accepting", _STARTING),
    ("not accepting connections", _STARTING),
    ("administrator command", _STARTING),
    ("crash of another server process", _STARTING),
    ("connection", _LOST),  # refused, reset, timed out, closed, terminated, already closed, failed: all of the network
    ("gone away", _LOST),
    ("connect", _LOST),
    ("timed out", _LOST),
    ("timeout", _LOST),
    ("broken pipe", _LOST),
    ("packet sequence", _LOST),  # PyMySQL: half of an older answer was still on the wire
    ("eof detected", _LOST),
    ("ssl syscall", _LOST),
    ("unexpected eof", _LOST),
    ("network", _LOST),
    ("no route to host", _LOST),
    ("communication link", _LOST),
    ("translate host name", _LOST),
    ("getaddrinfo", _LOST),
    ("name resolution", _LOST),
    ("receive data from server", _LOST),
    ("send data to server", _LOST),
    ("socket", _LOST),
    ("server has closed", _LOST),
)

_FIRST = 600  # characters that are read: the statement and its parameters may follow


def text_of(exc: Any) -> str:
    """The texts among the first two arguments of an exception, in lower case, without calling `str(exc)`."""
    parts = []
    for arg in exc.args[:2]:
        if isinstance(arg, str):
            parts.append(arg[:_FIRST])
        elif isinstance(arg, bytes):
            parts.append(arg[:_FIRST].decode("utf-8", "replace"))
        elif isinstance(arg, BaseException):
            parts.append(text_of(arg))
    return " ".join(parts).lower()


@lru_cache(maxsize=256)
def by_text(text: str) -> Verdict | None:
    """The verdict by the first marker found in a text in lower case; None when it says nothing.

    An outage repeats one text many times, so the last ones are remembered.
    """
    if not text:
        return None
    for marker, verdict in _MARKERS:
        if marker in text:
            return verdict
    return None
