"""SQL: the database's code counts first, its words second, the driver's class last."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorSeverity, ErrorType, classify
from celery_recovery.errors.rules.mssql import native_number
from celery_recovery.errors.rules.oracle import find_oracle_code
from celery_recovery.errors.rules.postgres import CLASS_NAMES
from celery_recovery.errors.rules.sqlstate import by_sqlstate, is_sqlstate
from tests.unit.errors.lookalike import lookalike

N, S, V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
C, B, M, F = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY, ErrorType.FILESYSTEM


def raised(action: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which exception is what the test is about)
        action()
    return caught.value


@pytest.fixture
def table() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a integer primary key, b text not null check (length(b) < 3))")
    connection.execute("insert into t values (1, 'x')")
    return connection


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select * from nowhere", C),
        ("select nothing from t", C),
        ("selec", C),
        ("insert into t values (1, 'y')", V),
        ("insert into t values (2, null)", V),
        ("insert into t values (2, 'long')", V),
        ("insert into t values (1)", C),
        ("insert into t values (?, ?)", C),
    ],
)
def test_sqlite_statements_that_stay_wrong_are_permanent(
    table: sqlite3.Connection, statement: str, expected: ErrorType
) -> None:
    """SQLite calls most of these OperationalError; its result code and its words tell them apart."""
    info = classify(raised(lambda: table.execute(statement)))
    assert (info.error_type, info.is_retryable) == (expected, False)


def test_a_value_sqlite_cannot_bind_is_a_validation_fault(table: sqlite3.Connection) -> None:
    """InterfaceError before Python 3.12, ProgrammingError since."""
    info = classify(raised(lambda: table.execute("select ?", (object(),))))
    assert (info.error_type, info.is_retryable) == (V, False)


def test_a_locked_sqlite_database_is_worth_a_retry(tmp_path: Path) -> None:
    """SQLITE_BUSY: another connection holds the lock."""
    path = tmp_path / "orders.db"
    holder, other = (sqlite3.connect(path, timeout=0, isolation_level=None) for _ in range(2))
    holder.execute("create table t (a)")
    holder.execute("begin exclusive")
    info = classify(raised(lambda: other.execute("insert into t values (1)")))
    assert (info.error_type, info.is_retryable) == (S, True)
    holder.close()
    other.close()


def test_a_file_that_is_no_database_is_a_critical_fault_of_the_file(tmp_path: Path) -> None:
    """SQLITE_NOTADB stays until somebody repairs the file."""
    path = tmp_path / "orders.db"
    path.write_bytes(b"not a database at all" * 100)
    info = classify(raised(lambda: sqlite3.connect(path).execute("select * from sqlite_master")))
    assert (info.error_type, info.is_retryable, info.severity) == (F, False, ErrorSeverity.CRITICAL)


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ("database is locked", S, True),
        ("no such table: orders", C, False),
        ("disk I/O error", F, True),
        ("attempt to write a readonly database", F, False),
        ("UNIQUE constraint failed: orders.id", V, False),
    ],
)
def test_sqlite_before_python_3_11_is_known_by_its_words(text: str, expected: ErrorType, retryable: bool) -> None:
    """Older exceptions carry no result code."""
    info = classify(sqlite3.OperationalError(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(
    ("state", "expected", "retryable"),
    [
        ("08006", N, True),
        ("08001", N, True),
        ("08P01", N, False),
        ("22001", V, False),
        ("22P02", V, False),
        ("21S01", C, False),
        ("23505", V, False),
        ("25006", S, True),
        ("28P01", N, False),
        ("3D000", C, False),
        ("40001", S, True),
        ("40002", V, False),
        ("40P01", S, True),
        ("42601", C, False),
        ("42501", N, False),
        ("42P01", C, False),
        ("53200", M, True),
        ("53300", S, True),
        ("55P03", S, True),
        ("57014", S, True),
        ("57P01", N, True),
        ("57P03", N, True),
        ("57P04", C, False),
        ("P0001", B, False),
        ("XX001", S, False),
        ("HYT00", S, True),
    ],
)
@pytest.mark.parametrize("attribute", ["sqlstate", "pgcode"])
def test_a_sqlstate_is_read_on_any_class(attribute: str, state: str, expected: ErrorType, retryable: bool) -> None:
    """In psycopg 3 and asyncpg it is `sqlstate`, in psycopg2 `pgcode`; a driver nobody listed may, too."""
    cls = lookalike("somedriver.errors.Refused", **{attribute: state})
    info = classify(cls("refused"))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, f"SQLSTATE {state}")


def test_every_postgresql_code_is_known() -> None:
    """No class of psycopg2 falls through to the words of its message."""
    assert [name for name, state in CLASS_NAMES.items() if by_sqlstate(state) is None] == []


@pytest.mark.parametrize("value", ["4000", "400011", "40p01", 40001, None, "4000é"])
def test_what_is_no_sqlstate(value: object) -> None:
    """Five upper-case letters and digits, nothing else."""
    assert not is_sqlstate(value)


def test_psycopg2_classes_made_by_hand_are_known_by_name() -> None:
    """Only the server fills `pgcode`."""
    base = lookalike("psycopg2.OperationalError", pgcode=None)
    rollback = lookalike("psycopg2.extensions.TransactionRollbackError", base)
    info = classify(lookalike("psycopg2.errors.DeadlockDetected", rollback)("deadlock detected"))
    assert (info.error_type, info.is_retryable, info.error_code) == (S, True, "SQLSTATE 40P01")


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ('connection to server at "db", port 5432 failed: Connection refused', N, True),
        ("server closed the connection unexpectedly\n\tThis probably means", N, True),
        ("SSL SYSCALL error: EOF detected", N, True),
        ("FATAL:  the database system is starting up", N, True),
        ("FATAL:  sorry, too many clients already", S, True),
        ('connection to server at "db" failed: FATAL:  password authentication failed for user "u"', N, False),
        ('connection to server at "db" failed: FATAL:  role "u" does not exist', N, False),
        ('FATAL:  database "d" does not exist', C, False),
        ("FATAL:  no pg_hba.conf entry for host", N, False),
        ("SSL error: certificate verify failed", N, False),
        ("", N, True),
    ],
)
def test_a_connection_that_cannot_be_opened_is_known_by_libpqs_words(
    text: str, expected: ErrorType, retryable: bool
) -> None:
    """There is no SQLSTATE before there is a connection."""
    info = classify(lookalike("psycopg2.OperationalError", pgcode=None)(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(
    ("number", "text", "expected", "retryable"),
    [
        (1205, "Lock wait timeout exceeded", S, True),
        (1213, "Deadlock found", S, True),
        (2002, "Can't connect", N, True),
        (2006, "MySQL server has gone away", N, True),
        (2013, "Lost connection", N, True),
        (1040, "Too many connections", S, True),
        (1053, "Server shutdown in progress", N, True),
        (1317, "Query execution was interrupted", S, True),
        (1045, "Access denied", N, False),
        (1044, "Access denied", N, False),
        (1062, "Duplicate entry", V, False),
        (1048, "Column cannot be null", V, False),
        (1406, "Data too long", V, False),
        (1054, "Unknown column", C, False),
        (1064, "You have an error in your SQL syntax", C, False),
        (1146, "Table doesn't exist", C, False),
        (1644, "no such customer", B, False),
        (1290, "running with the --read-only option", S, True),
        (1290, "running with the --secure-file-priv option", S, False),
        (1047, "WSREP has not yet prepared node for application use", N, True),
        (2026, "SSL connection error: certificate verify failed", N, False),
    ],
)
@pytest.mark.parametrize("path", ["pymysql.err.OperationalError", "MySQLdb.OperationalError", "asyncmy.errors.Error"])
def test_mysql_numbers_say_what_the_class_does_not(
    path: str, number: int, text: str, expected: ErrorType, retryable: bool
) -> None:
    """PyMySQL and mysqlclient raise OperationalError for nearly all of them."""
    info = classify(lookalike(path)(number, text))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, f"MySQL {number}")


def test_mysqls_number_goes_before_its_sqlstate() -> None:
    """1044 is "access denied", its SQLSTATE 42000 only "syntax error or access rule violation"."""
    info = classify(lookalike("pymysql.err.OperationalError", sqlstate="42000")(1044, "Access denied"))
    assert info.error_type is N
    other = lookalike("mysql.connector.errors.ProgrammingError", errno=1146, sqlstate="42S02", msg="no table")
    assert classify(other("1146 (42S02)")).error_code == "MySQL 1146"


@pytest.mark.parametrize(
    ("args", "expected", "retryable"),
    [
        (((20009, b"DB-Lib error message 20009"),), N, True),
        ((1205, b"Transaction was deadlocked"), S, True),
        ((2627, b"Violation of PRIMARY KEY constraint"), V, False),
        ((208, b"Invalid object name"), C, False),
        ((18456, b"Login failed"), N, False),
    ],
)
def test_pymssql_gives_numbers_with_bytes(args: tuple[Any, ...], expected: ErrorType, retryable: bool) -> None:
    """The bytes tell SQL Server's numbers from MySQL's: 1205 is both."""
    info = classify(lookalike("pymssql.exceptions.OperationalError")(*args))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
    assert str(info.error_code).startswith("SQL Server ")


@pytest.mark.parametrize(
    ("state", "text", "expected", "retryable"),
    [
        ("40001", "[40001] [Microsoft][ODBC Driver 18][SQL Server]deadlocked (1205) (SQLExecDirectW)", S, True),
        (
            "42000",
            "[42000] [Microsoft][ODBC Driver 18][SQL Server]Lock request time out (1222) (SQLExecDirectW)",
            S,
            True,
        ),
        ("42S02", "[42S02] [Microsoft][ODBC Driver 18][SQL Server]Invalid object (208) (SQLExecDirectW)", C, False),
        ("28000", "[28000] [Microsoft][ODBC Driver 18][SQL Server]Login failed (18456) (SQLDriverConnect)", N, False),
        ("08S01", "[08S01] [unixODBC]Communication link failure (0) (SQLExecDirectW)", N, True),
        ("HYT00", "[HYT00] [unixODBC]Login timeout expired (0) (SQLDriverConnect)", S, True),
        ("01000", "[01000] [unixODBC][Driver Manager]Can't open lib (0) (SQLDriverConnect)", S, False),
    ],
)
def test_odbc_gives_a_sqlstate_and_the_servers_number(
    state: str, text: str, expected: ErrorType, retryable: bool
) -> None:
    """The number in the text is the more precise one."""
    info = classify(lookalike("pyodbc.Error")(state, text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_only_sql_servers_text_has_a_native_number() -> None:
    """A number in brackets elsewhere is no error number."""
    assert native_number("[HY000] [PostgreSQL] something (17)") is None
    assert native_number("[SQL Server]Lock (1222) (SQLExecDirectW)") == 1222


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        ("ORA-00001", V, False),
        ("ORA-00054", S, True),
        ("ORA-00060", S, True),
        ("ORA-00942", C, False),
        ("ORA-01017", N, False),
        ("ORA-01400", V, False),
        ("ORA-01555", S, True),
        ("ORA-03113", N, True),
        ("ORA-04031", M, True),
        ("ORA-08177", S, True),
        ("ORA-12541", N, True),
        ("ORA-20001", B, False),
        ("DPY-4011", N, True),
        ("DPY-4005", S, True),
        ("DPI-1047", S, False),
    ],
)
def test_oracles_codes_are_read_from_the_error_object_and_from_text(
    code: str, expected: ErrorType, retryable: bool
) -> None:
    """The argument is an object; what wraps it has only the text."""
    number = int(code[4:]) if code.startswith("ORA") else 0
    cls = lookalike("oracledb.exceptions.DatabaseError")
    for argument in (SimpleNamespace(code=number, full_code=code, message=f"{code}: text"), f"{code}: text"):
        info = classify(cls(argument))
        assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, code)


def test_a_drivers_code_gives_way_to_the_servers_behind_it() -> None:
    """DPY-6000 says that the listener refused; ORA-12514 why."""
    text = "DPY-6000: Listener refused connection. (Similar to ORA-12514)"
    assert find_oracle_code(text, after="DPY-6000") == "ORA-12514"
    assert find_oracle_code("nothing here") is None


def test_pep_249_names_suffice_for_an_unknown_driver() -> None:
    """An OperationalError is not the programmer's fault; an IntegrityError is the data's."""
    error = lookalike("newdriver.Error", code=None)
    database = lookalike("newdriver.DatabaseError", error)
    assert classify(lookalike("newdriver.OperationalError", database)("odd")).is_retryable
    info = classify(lookalike("newdriver.IntegrityError", database)("row refused: constraint connection_key"))
    assert (info.error_type, info.is_retryable) == (V, False)


def test_a_pool_without_a_free_connection_is_worth_a_retry() -> None:
    """Connections come back."""
    for path in ("psycopg_pool.PoolTimeout", "psycopg2.pool.PoolError", "mysql.connector.errors.PoolError"):
        info = classify(lookalike(path)("pool exhausted"))
        assert (info.error_type, info.is_retryable) == (S, True)


def test_pymysqls_closed_connection() -> None:
    """InterfaceError(0, ""); wrapped once more, its text."""
    for exc in (
        lookalike("pymysql.err.InterfaceError")(0, ""),
        lookalike("django.db.utils.InterfaceError")(0, ""),
        lookalike("peewee.InterfaceError")("(0, '')"),
    ):
        info = classify(exc)
        assert (info.error_type, info.is_retryable) == (N, True)
