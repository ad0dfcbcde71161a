"""SQLSTATE: what each class and code means for a retry.

Five characters of which the first two are the class (ISO/IEC 9075-2, table of SQLSTATE values). Codes beyond the
standard are those of PostgreSQL's appendix "Error Codes", of ODBC (classes HY, IM, S1) and of Db2 (classes 51, 57). An
exact code is looked up first, its class second.
"""

from __future__ import annotations

from functools import lru_cache

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_sqlstate", "is_sqlstate")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _M, _F = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY, ErrorType.FILESYSTEM

# class -> (type, retryable)
_CLASSES: dict[str, tuple[ErrorType, bool]] = {
    "02": (_V, False),  # no data
    "03": (_C, False),  # statement not yet complete
    "07": (_C, False),  # dynamic SQL error
    "08": (_N, True),  # connection exception
    "09": (_V, False),  # triggered action exception
    "0A": (_C, False),  # feature not supported
    "0B": (_S, False),  # invalid transaction initiation
    "0D": (_C, False),  # invalid target type
    "0E": (_C, False),  # invalid schema name list
    "0F": (_V, False),  # locator exception
    "0K": (_V, False),  # resignal when no handler is active
    "0L": (_N, False),  # invalid grantor
    "0N": (_V, False),  # XML mapping error
    "0P": (_N, False),  # invalid role
    "0U": (_C, False),  # assignment to a column that cannot be updated
    "0V": (_C, False),
    "0W": (_C, False),  # prohibited statement in a trigger
    "0X": (_N, False),  # invalid foreign server
    "0Y": (_C, False),
    "0Z": (_S, False),  # diagnostics exception
    "10": (_V, False),  # XQuery error
    "20": (_V, False),  # case not found
    "21": (_V, False),  # cardinality violation
    "22": (_V, False),  # data exception
    "23": (_V, False),  # integrity constraint violation
    "24": (_S, False),  # invalid cursor state
    "25": (_S, False),  # invalid transaction state
    "26": (_C, False),  # invalid statement name
    "27": (_V, False),  # triggered data change violation
    "28": (_N, False),  # invalid authorization
    "2B": (_S, False),  # dependent privileges still exist
    "2C": (_C, False),  # invalid character set name
    "2D": (_S, False),  # invalid transaction termination
    "2E": (_N, True),  # invalid connection name: the connection is not there
    "2F": (_S, False),  # SQL routine exception
    "2H": (_C, False),  # invalid collation name
    "30": (_C, False),
    "33": (_C, False),  # invalid descriptor name
    "34": (_C, False),  # invalid cursor name
    "35": (_V, False),
    "36": (_S, False),  # cursor sensitivity exception
    "37": (_C, False),  # ODBC 2: syntax error or access violation
    "38": (_S, False),  # external routine exception
    "39": (_S, False),
    "3B": (_S, False),  # savepoint exception
    "3C": (_C, False),  # ambiguous cursor name
    "3D": (_C, False),  # no such database
    "3F": (_C, False),  # no such schema
    "40": (_S, True),  # transaction rollback: the standard's own word for "run it again"
    "42": (_C, False),  # syntax error or access rule violation
    "44": (_V, False),  # WITH CHECK OPTION violation
    "46": (_S, False),  # Java errors
    "51": (_S, False),  # Db2: invalid application state
    "53": (_S, True),  # insufficient resources
    "54": (_V, False),  # program limit exceeded: the statement is too large
    "55": (_S, False),  # object not in prerequisite state
    "56": (_C, False),  # Db2: miscellaneous
    "57": (_S, True),  # operator intervention
    "58": (_S, True),  # error outside the database: I/O, operating system
    "70": (_S, True),  # MySQL: query interrupted
    "72": (_S, True),  # snapshot too old
    "F0": (_S, False),  # configuration file
    "HV": (_C, False),  # foreign data wrapper
    "HY": (_S, False),  # ODBC: call-level interface
    "HZ": (_N, True),  # remote database access
    "IM": (_S, False),  # ODBC: driver manager
    "P0": (_B, False),  # PL/pgSQL
    "S1": (_S, False),  # ODBC 2
    "XA": (_S, True),  # X/Open XA
    "XX": (_S, False),  # internal error, corruption
}

# code -> (type, retryable), where it differs from its class
_CODES: dict[str, tuple[ErrorType, bool]] = {
    "01000": (_S, False),  # ODBC driver manager: the driver cannot be loaded
    "01S00": (_S, False),  # ODBC: invalid connection string
    "08P01": (_N, False),  # client and server do not speak the same protocol
    "21S01": (_C, False),  # values do not match the columns in number
    "21S02": (_C, False),
    "25006": (_S, True),  # read only: a standby, or a primary on its way down; a new connection finds the new one
    "25P03": (_S, True),  # ended because it was idle inside a transaction
    "25P04": (_S, True),  # transaction timeout
    "40002": (_V, False),  # integrity constraint violated at commit
    "42501": (_N, False),  # insufficient privilege
    "53200": (_M, True),  # out of memory
    "55006": (_S, True),  # object in use
    "55P03": (_S, True),  # lock not available
    "57P01": (_N, True),  # administrator's shutdown
    "57P02": (_N, True),  # crash of another backend
    "57P03": (_N, True),  # cannot connect now: starting up, shutting down, recovering
    "57P04": (_C, False),  # the database was dropped
    "57P05": (_N, True),  # idle session
    "58P01": (_S, False),  # undefined file
    "58P02": (_S, False),  # duplicate file
    "58P03": (_S, False),  # file name too long
    "CR000": (_S, True),  # CockroachDB: ambiguous or restarted
    "HV001": (_M, True),
    "HV00N": (_N, True),  # foreign server cannot be reached
    "HY001": (_M, True),
    "HY008": (_S, True),  # operation cancelled
    "HY013": (_M, True),
    "HY014": (_S, True),  # limit on the number of handles
    "HY117": (_N, True),  # connection suspended
    "HYC00": (_C, False),
    "HYT00": (_S, True),  # timeout expired
    "HYT01": (_N, True),  # connection timeout expired
    "P0002": (_V, False),  # no data found
    "P0003": (_V, False),  # too many rows
    "S1001": (_M, True),
    "S1008": (_S, True),
    "S1T00": (_S, True),  # timeout expired
    "XX001": (_S, False),
    "XX002": (_S, False),
}

_CRITICAL = frozenset({"XX001", "XX002", "58030", "53100"})  # corruption, broken or full disks

# Codes that say nothing: success, warnings, "general error".
_SILENT = frozenset({"00000", "HY000", "S1000", "99999"})


def is_sqlstate(value: object) -> bool:
    """Whether `value` has the form of a SQLSTATE: five upper-case letters or digits, at least one digit."""
    return isinstance(value, str) and len(value) == 5 and value.isalnum() and value.isascii() and value.upper() == value


@lru_cache(maxsize=1024)
def by_sqlstate(code: str) -> Verdict | None:
    """The verdict on a SQLSTATE such as `"40P01"`; None when it says nothing (`"HY000"`) or is not known."""
    if code in _SILENT:
        return None
    found = _CODES.get(code) or _CLASSES.get(code[:2])
    if found is None:
        return None
    error_type, retryable = found
    return Verdict(
        error_type,
        retryable,
        f"SQLSTATE {code}",
        severity=ErrorSeverity.CRITICAL if code in _CRITICAL else None,
        rule=f"sqlstate.{code}",
        context={"sqlstate": code},
    )
