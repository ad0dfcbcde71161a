"""SQLite's result codes: what each means for a retry (sqlite.org, "Result and Error Codes")."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_sqlite",)

_S, _V, _C = ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.SCHEMA
_F, _M, _N = ErrorType.FILESYSTEM, ErrorType.MEMORY, ErrorType.NETWORK

# primary result code -> (name, type, retryable)
_CODES: dict[int, tuple[str, ErrorType, bool]] = {
    1: ("SQLITE_ERROR", _C, False),
    2: ("SQLITE_INTERNAL", _S, False),
    3: ("SQLITE_PERM", _F, False),
    4: ("SQLITE_ABORT", _S, True),  # rolled back by another statement of the same connection
    5: ("SQLITE_BUSY", _S, True),
    6: ("SQLITE_LOCKED", _S, True),
    7: ("SQLITE_NOMEM", _M, True),
    8: ("SQLITE_READONLY", _F, False),
    9: ("SQLITE_INTERRUPT", _S, True),
    10: ("SQLITE_IOERR", _F, True),
    11: ("SQLITE_CORRUPT", _F, False),
    12: ("SQLITE_NOTFOUND", _S, False),
    13: ("SQLITE_FULL", _F, True),  # other tasks may free room
    14: ("SQLITE_CANTOPEN", _F, False),
    15: ("SQLITE_PROTOCOL", _S, True),  # too much contention for the locks of the write-ahead log
    17: ("SQLITE_SCHEMA", _C, True),  # changed under a prepared statement, which is prepared anew next time
    18: ("SQLITE_TOOBIG", _V, False),
    19: ("SQLITE_CONSTRAINT", _V, False),
    20: ("SQLITE_MISMATCH", _V, False),
    21: ("SQLITE_MISUSE", _S, False),
    22: ("SQLITE_NOLFS", _F, False),
    23: ("SQLITE_AUTH", _N, False),
    24: ("SQLITE_FORMAT", _F, False),
    25: ("SQLITE_RANGE", _V, False),
    26: ("SQLITE_NOTADB", _F, False),
}


def by_sqlite(exc: Any) -> Verdict | None:
    """The verdict by `sqlite_errorcode`, which Python 3.11 and later set; None without it.

    The low byte is the primary code; the rest refines it (`SQLITE_BUSY_SNAPSHOT` is 5 | 2 << 8).
    """
    code = getattr(exc, "sqlite_errorcode", None)
    if type(code) is not int:
        return None
    found = _CODES.get(code & 0xFF)
    if found is None:
        return None
    name, error_type, retryable = found
    name = getattr(exc, "sqlite_errorname", None) or name
    severity = ErrorSeverity.CRITICAL if code & 0xFF in (11, 26) else None
    return Verdict(error_type, retryable, name, severity=severity, rule=f"sqlite.{name}", context={"sqlite_code": code})
