"""SQL databases through the Python DB-API (PEP 249): by the database's code first, its words second, the class last.

Drivers carry the code in different places: `sqlstate` (psycopg 3, asyncpg, mysql.connector, mariadb), `pgcode`
(psycopg2), the first argument (PyMySQL, mysqlclient, pymssql: a number; pyodbc: a SQLSTATE; oracledb: an object),
`sqlite_errorcode`. A driver that is not listed is known by the names that PEP 249 gives to its classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.mssql import by_mssql_number, native_number
from celery_recovery.errors.rules.mysql import by_mysql_number
from celery_recovery.errors.rules.oracle import by_oracle_code, find_oracle_code
from celery_recovery.errors.rules.postgres import CLASS_NAMES
from celery_recovery.errors.rules.rule import Answer, Family, Look, Verdict, each, permanent, transient
from celery_recovery.errors.rules.sqlite import by_sqlite
from celery_recovery.errors.rules.sqlstate import by_sqlstate, is_sqlstate
from celery_recovery.errors.rules.sqltext import by_text, text_of

__all__ = ("DBAPI_CLASSES", "FAMILY", "by_class_name", "by_database")

_N, _S, _V, _C = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.SCHEMA

#: name of a PEP 249 class -> what it says when nothing more is known
DBAPI_CLASSES: dict[str, Verdict] = {
    "IntegrityError": permanent(_V, rule="class.IntegrityError"),
    "DataError": permanent(_V, rule="class.DataError"),
    "ProgrammingError": permanent(_C, rule="class.ProgrammingError"),
    "NotSupportedError": permanent(_C, rule="class.NotSupportedError"),
    # "not necessarily under the control of the programmer, e.g. an unexpected disconnect occurs" (PEP 249)
    "OperationalError": transient(_N, rule="class.OperationalError"),
    "InterfaceError": permanent(_S, rule="class.InterfaceError"),
    "InternalError": permanent(_S, rule="class.InternalError"),
    "DatabaseError": permanent(_S, rule="class.DatabaseError"),
    "Error": permanent(_S, rule="class.Error"),
}

_CLOSED = transient(_N, rule="closed")

# SQLSTATEs whose meaning hangs on the text: internal error, not supported, protocol violation (as poolers send it).
_SEE_TEXT = frozenset({"XX000", "0A000", "08P01", "42000", "HY000", "58000"})
_PASSING = ("lock", "read_only", "busy", "connection", "starting")


def by_database(exc: Any, otherwise: Verdict | None = None) -> Verdict | None:
    """The verdict on a database's exception, whatever the driver; `otherwise` without code and known words."""
    # A number first: MySQL's SQLSTATE for it is often only "general error" or "syntax error or access violation".
    numbered = bool(exc.args) and type(exc.args[0]) is int
    found = (numbered and _by_arguments(exc)) or _by_attributes(exc) or _by_arguments(exc)
    if found:
        return found
    said = by_text(text_of(exc))
    if said is None or otherwise is None:
        return said or otherwise
    # What the class says for sure is not overruled by a word in the text (a constraint may be named "connection_key").
    sure = otherwise.error_type is _V or (otherwise.error_type is _C and said.error_type is _N)
    return otherwise if sure and said.retryable else said


def by_class_name(exc: Any) -> Verdict | None:
    """The verdict on an exception whose class, or a base of it, has a PEP 249 name; None if none has."""
    for cls in type(exc).__mro__:
        if cls.__name__ in DBAPI_CLASSES:
            return by_database(exc, DBAPI_CLASSES[cls.__name__])
    return None


def _by_attributes(exc: Any) -> Verdict | None:
    number = getattr(exc, "errno", None)
    if type(number) is int and number > 0:
        found = by_mysql_number(number, str(getattr(exc, "msg", None) or exc.args[-1:]))
        if found is not None:
            return found
    state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if is_sqlstate(state):
        return _by_state(str(state), exc)
    return by_sqlite(exc)


def _by_state(state: str, exc: Any) -> Verdict | None:
    if state in _SEE_TEXT:
        found = by_text(text_of(exc))
        if found is not None and found.retryable and str(found.rule).endswith(_PASSING):
            return found
    return by_sqlstate(state)


def _by_arguments(exc: Any) -> Verdict | None:
    args = exc.args
    if not args:
        return None
    first = args[0]
    if type(first) is tuple and len(first) == 2 and type(first[0]) is int:  # pymssql, when connecting
        return by_mssql_number(first[0])
    if type(first) is int:
        return _by_number(first, args[1] if len(args) > 1 else "")
    if isinstance(first, str):
        return _by_words(first, args)
    if isinstance(first, dict):  # pg8000: the fields of the server's message
        return _by_fields(first, exc)
    return _by_object(first)


def _by_number(number: int, text: Any) -> Verdict | None:
    if isinstance(text, bytes):  # pymssql gives bytes, the MySQL drivers text
        return by_mssql_number(number)
    if number == 0 and not text:  # PyMySQL's way to say that the connection is closed
        return _CLOSED
    return by_mysql_number(number, str(text)) if number > 0 else None


def _by_words(first: str, args: tuple[Any, ...]) -> Verdict | None:
    if len(first) == 5 and is_sqlstate(first) and len(args) > 1:  # ODBC
        text = str(args[1])
        number = native_number(text)
        if number is not None:
            return by_mssql_number(number)
        return by_sqlstate(first)
    if first.startswith(("ORA-", "TNS-", "DPY-", "DPI-")):
        return _by_oracle(first)
    if first == "(0, '')":
        return _CLOSED
    if first.startswith("(") and first[1:5].isdigit():  # "(1213, 'Deadlock found …')": a wrapped driver's text
        number_text, _, text = first[1:].partition(",")
        return by_mysql_number(int(number_text), text) if number_text.isdigit() else None
    return None


def _by_fields(fields: dict[Any, Any], exc: Any) -> Verdict | None:
    state = fields.get("C")
    if not is_sqlstate(state):
        return None
    text = str(fields.get("M", "")).lower()
    if state in _SEE_TEXT:
        found = by_text(text)
        if found is not None and found.retryable:
            return found
    return _by_state(str(state), exc)


def _by_object(error: Any) -> Verdict | None:
    """oracledb, cx_Oracle: the argument is an object with `code`, `full_code` and `message`."""
    full = getattr(error, "full_code", None)
    text = str(getattr(error, "message", ""))
    if isinstance(full, str) and full:
        return by_oracle_code(full, text)
    code = getattr(error, "code", None)
    if type(code) is int and code > 0:
        return by_oracle_code(f"ORA-{code:05d}", text)
    return _by_oracle(text)


def _by_oracle(text: str) -> Verdict | None:
    code = find_oracle_code(text)
    return by_oracle_code(code, text) if code is not None else None


def _looking(otherwise: Verdict) -> Look:
    return partial(by_database, otherwise=otherwise)


def _driver(prefix: str) -> dict[str, Verdict | Look]:
    return {f"{prefix}.{name}": _looking(verdict) for name, verdict in DBAPI_CLASSES.items()}


def _psycopg2() -> dict[str, Verdict | Look]:
    classes: dict[str, Verdict | Look] = {}
    for name, state in CLASS_NAMES.items():
        verdict = by_sqlstate(state)
        if verdict is not None and state not in _SEE_TEXT:
            classes[f"psycopg2.errors.{name}"] = verdict
    return classes


# PEP 249 drivers whose exceptions carry what `by_database` can read.
_DRIVERS = (
    "MySQLdb _mysql_exceptions mariadb pymysql cymysql asyncmy aiomysql mysql psycopg2 psycopg2cffi psycopg psycopg_c "
    "psycopg_binary pg8000 pgdb pg asyncpg oracledb cx_Oracle pyodbc aioodbc turbodbc pymssql _mssql pytds ibm_db "
    "ibm_db_dbi firebirdsql fdb firebird redshift_connector pymonetdb crate ctds adodbapi sqlanydb jaydebeapi pyexasol "
    "libsql aiopg nzpy phoenixdb trino prestodb impala vertica_python hazelcast pyathena pydruid pinotdb singlestoredb "
    "teradatasql taos taosrest aurora_data_api intersystems_iris iris dolphindb pyrqlite oursql informixdb mysqlx"
)


_LOCKED = transient(_S, rule="class.rollback")
_POOL_FULL = transient(_S, rule="pool")
_TIMED_OUT = transient(_N, rule="timeout")
_BUG = permanent(_S, rule="misuse")
_DENIED = permanent(_N, severity=ErrorSeverity.HIGH, rule="denied")

_CLASSES: dict[str, Verdict | Look] = {
    **_psycopg2(),
    **{key: look for package in _DRIVERS.split() for key, look in _driver(f"{package}.*").items()},
    **{f"{package}.*.MySQLError": by_database for package in ("pymysql", "MySQLdb", "asyncmy", "cymysql")},
    # SQLite: Python before 3.12 calls a value that cannot be bound an InterfaceError.
    **_driver("sqlite3"),
    "sqlite3.InterfaceError": _looking(permanent(_V, rule="class.InterfaceError")),
    "sqlite3.Warning": permanent(_C, rule="class.Warning"),
    **_driver("aiosqlite.*"),
    **_driver("pysqlite2.*"),
    **_driver("sqlcipher3.*"),
    # PostgreSQL
    "psycopg2.extensions.TransactionRollbackError": _looking(_LOCKED),
    "psycopg2.extensions.QueryCanceledError": _looking(transient(_S, rule="class.QueryCanceledError")),
    "psycopg2.pool.PoolError": _looking(_POOL_FULL),
    "psycopg.errors.ConnectionTimeout": _TIMED_OUT,
    "psycopg.errors.CancellationTimeout": _TIMED_OUT,
    "psycopg.errors.PipelineAborted": _BUG,
    "psycopg_pool.PoolTimeout": _POOL_FULL,
    "psycopg_pool.TooManyRequests": _POOL_FULL,
    "psycopg_pool.PoolClosed": _BUG,
    "asyncpg.*.InvalidCachedStatementError": transient(_C, rule="cached_plan"),
    "asyncpg.*.OutdatedSchemaCacheError": transient(_C, rule="cached_plan"),
    "asyncpg.*.PostgresError": _looking(DBAPI_CLASSES["DatabaseError"]),
    "asyncpg.*.FatalPostgresError": _looking(DBAPI_CLASSES["OperationalError"]),
    "asyncpg.*.ConnectionDoesNotExistError": transient(_N, "SQLSTATE 08003", rule="sqlstate.08003"),
    "asyncpg.*.TargetServerAttributeNotMatched": transient(_N, rule="target_server"),
    "asyncpg.*.InternalClientError": _BUG,
    "asyncpg.*.ProtocolError": transient(_N, rule="protocol"),
    "asyncpg.*.ClientConfigurationError": permanent(_S, rule="configuration"),
    "asyncpg.*.UnsupportedClientFeatureError": permanent(_C, rule="unsupported"),
    "asyncpg.*.UnsupportedServerFeatureError": permanent(_C, rule="unsupported"),
    "asyncpg.*.InterfaceWarning": _BUG,
    "asyncpg.pgproto.pgproto.BufferError": _BUG,
    # MySQL
    "mysql.connector.errors.PoolError": _looking(_POOL_FULL),
    **each("mysql.connector.errors", "ConnectionTimeoutError ReadTimeoutError WriteTimeoutError", _TIMED_OUT),
    "mariadb.PoolError": _looking(_POOL_FULL),
    # SQL Server and others
    "pymssql.*.MSSQLDriverException": _looking(DBAPI_CLASSES["OperationalError"]),
    "pymssql.*.MSSQLDatabaseException": _looking(DBAPI_CLASSES["DatabaseError"]),
    "pytds.*.TimeoutError": _TIMED_OUT,
    "pytds.*.LoginError": _DENIED,
    "pytds.*.ClosedConnectionError": _CLOSED,
    "firebirdsql.err.DisconnectByPeer": _CLOSED,
}


def _sqlstate(exc: Any) -> Answer:
    state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    state = state or getattr(getattr(exc, "diag", None), "sqlstate", None)
    return _by_state(str(state), exc) if is_sqlstate(state) else None


def _pep249(exc: Any) -> Answer:
    """A driver nobody listed: PEP 249 demands the class names, and `DatabaseError` or `InterfaceError` above them."""
    names = {cls.__name__ for cls in type(exc).__mro__}
    if "DatabaseError" not in names and "InterfaceError" not in names:
        return None
    return by_class_name(exc)


FAMILY = Family(name="sql", classes=_CLASSES, protocols=(("sqlstate", _sqlstate), ("dbapi", _pep249)))
