"""Analytical databases and time series: ClickHouse, Snowflake, Trino, Databricks, Hive, HANA, DuckDB, InfluxDB.

Most follow PEP 249 with codes of their own; the tables name the codes that pass by themselves.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import number
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.sql import DBAPI_CLASSES, by_class_name, by_database
from celery_recovery.errors.rules.sqlstate import by_sqlstate, is_sqlstate
from celery_recovery.errors.rules.sqltext import by_text, text_of
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_clickhouse_code")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M, _F = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY, ErrorType.FILESYSTEM
_HIGH = ErrorSeverity.HIGH

_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_UNAVAILABLE = transient(_N, rule="unavailable")
_BUSY = transient(_S, rule="busy")
_CONFLICT = transient(_S, rule="conflict")
_MEMORY = transient(_M, rule="memory", severity=_HIGH)
_DENIED = permanent(_N, rule="denied", severity=_HIGH)
_VALUE = permanent(_V, rule="value")
_QUERY = permanent(_C, rule="query")
_BUG = permanent(_S, rule="misuse")
_UNREADABLE = permanent(_P, rule="unreadable")

# --- ClickHouse: the codes of its ErrorCodes.cpp

# A group: type, retryable, codes.
_CLICKHOUSE: tuple[tuple[ErrorType, bool, str], ...] = (
    # Sockets, replicas, the keeper; unknown status of an insert.
    (
        _N,
        True,
        "3 32 33 74 75 86 95 96 97 100 102 103 198 209 210 225 244 254 255 265 278 279 285 286 289 292 297 319 364",
    ),
    (_N, True, "369 372 499 519 594 659 689 999 1000"),
    # Too many queries or parts, time limits, read-only tables, merges in the way.
    (
        _S,
        True,
        "159 201 202 203 216 218 224 232 234 236 242 243 252 290 305 335 337 341 373 384 388 394 425 439 473 516",
    ),
    (_S, True, "517 573 636 667 722 729"),
    (_M, True, "173 241"),
    (_N, False, "164 192 193 194 195 291 293 497 516 574 697 724"),
    # Statements and settings; text that does not parse as the column's type.
    (
        _C,
        False,
        "7 8 10 15 16 20 36 44 46 47 48 50 51 52 53 56 57 60 62 63 73 78 80 81 82 107 115 119 122 179 182 184 207",
    ),
    (_C, False, "215 217 229 256 257 258 344 349 350 351 352 386 637 665"),
    (_P, False, "6 21 22 25 26 27 38 41 72 89 117 130 131 303 376 441 636"),
    (_V, False, "12 19 34 35 42 43 69 70 108 125 128 153 158 160 161 162 167 168 190 191 248 306 307 321 395 396 469"),
    (_F, False, "76 83 84 246 247"),
)
_CLICKHOUSE_CODES = {int(code): (group[0], group[1]) for group in reversed(_CLICKHOUSE) for code in group[2].split()}


@lru_cache(maxsize=512)
def by_clickhouse_code(code: int) -> Verdict | None:
    """The verdict on an error code of ClickHouse, e.g. 241 (`MEMORY_LIMIT_EXCEEDED`); None if it is not listed."""
    found = _CLICKHOUSE_CODES.get(code)
    return Verdict(*found, f"ClickHouse {code}", rule=f"clickhouse.{code}", context={"code": code}) if found else None


def _clickhouse(exc: Any) -> Answer:
    """clickhouse-driver: `code`; clickhouse-connect: `code`, or `Code: 60` in the text, or only an HTTP status."""
    text = str(exc.args[0])[:1000] if exc.args else str(getattr(exc, "message", ""))[:1000]
    code = number(getattr(exc, "code", None))
    if code is None or code < 0:
        code = _after(text, "code: ") or _after(text, "error code ")
    found = by_clickhouse_code(code) if code else None
    if found is None:
        status = _after(text, "response code ") or _after(text, "http status ")
        found = by_status(status) if status else None
    if found is not None:
        return found
    if exc.__cause__ is not None:
        return Through(exc.__cause__, by_class_name(exc) or _QUERY)
    return permanent(_C, f"ClickHouse {code}", rule="clickhouse") if code else by_text(text.lower()) or _class_of(exc)


def _class_of(exc: Any) -> Verdict:
    return DBAPI_CLASSES.get(type(exc).__name__, _QUERY)


def _after(text: str, marker: str) -> int | None:
    """The number that follows `marker` (in lower case) in a text."""
    at = text.lower().find(marker)
    if at < 0:
        return None
    start = end = at + len(marker)
    while end < len(text) and end < start + 6 and text[end].isdigit():
        end += 1
    return number(text[start:end])


_CLICKHOUSE_CLASSES: dict[str, Verdict | Look] = {
    **each(
        "clickhouse_driver.errors", "NetworkError UnexpectedPacketFromServerError UnknownPacketFromServerError", _LOST
    ),
    **each("clickhouse_driver.errors", "ChecksumDoesntMatchError", _LOST),
    "clickhouse_driver.errors.SocketTimeoutError": _TIMED_OUT,
    **each("clickhouse_driver.errors", "Error ServerException", _clickhouse),
    **each("clickhouse_driver.errors", "TypeMismatchError UnknownTypeError", permanent(_C, rule="type")),
    **each("clickhouse_driver.errors", "CannotParseUuidError CannotParseDomainError", _UNREADABLE),
    **each("clickhouse_driver.errors", "TooLargeStringSize", _VALUE),
    **each("clickhouse_driver.errors", "LogicalError UnknownCompressionMethod PartiallyConsumedQueryError", _BUG),
    **each("clickhouse_driver.columns.exceptions", "ColumnTypeMismatchException StructPackException", _VALUE),
    "clickhouse_driver.columns.exceptions.ColumnException": _VALUE,
    **each("clickhouse_driver.dbapi.errors", " ".join(DBAPI_CLASSES), _clickhouse),
    **each("clickhouse_connect.*", " ".join(("ClickHouseError", *DBAPI_CLASSES)), _clickhouse),
    **each("clickhouse_connect.*", "StreamFailureError _IncompleteResponseError", _LOST),
    **each("clickhouse_connect.*", "StreamClosedError StreamCompleteException", _BUG),
    **each("asynch.errors", "ServerException Error", _clickhouse),
    **each("asynch.errors", "NetworkError SocketTimeoutError", _LOST),
    **each("aiochclient.*", "ChClientError", _clickhouse),
}

# --- Snowflake: `errno` of the connector (25xxxx) or of the server, `sqlstate`

_SNOWFLAKE: dict[int, Verdict] = {
    # 250001 also says "incorrect username or password", and 250003 any failed request: the text is asked first.
    **dict.fromkeys((250001, 250002, 250003, 250005, 250007, 250009, 250010, 251006, 251007, 251011, 251012), _LOST),
    **dict.fromkeys((252005, 253003, 260002, 390108, 390109, 390110, 390112, 390195), _LOST),
    **dict.fromkeys((290000, 290429, 290500, 290502, 290503, 290504), _UNAVAILABLE),
    **dict.fromkeys((604, 625, 626, 630, 639, 707, 801, 90030, 90073, 300002), _BUSY),
    **dict.fromkeys((625, 8, 200001, 200002, 200016), _CONFLICT),
    **dict.fromkeys(
        (3001, 3003, 250004, 250006, 251003, 290401, 290403, 390100, 390101, 390102, 390144, 394304), _DENIED
    ),
    **dict.fromkeys((100035, 100038, 100039, 100040, 100046, 100051, 100069, 100071, 100072, 100078, 100132), _VALUE),
    **dict.fromkeys((1003, 1007, 2002, 2003, 2004, 2028, 2043, 904, 1757), _QUERY),
}


def _snowflake(exc: Any) -> Answer:
    text = str(getattr(exc, "raw_msg", None) or getattr(exc, "msg", None) or exc.args[:1]).lower()
    if "incorrect username or password" in text or "jwt token is invalid" in text or "not allowed to access" in text:
        return _DENIED
    code = number(getattr(exc, "errno", None))
    found = _SNOWFLAKE.get(code) if code is not None else None
    if found is not None:
        return Verdict(
            found.error_type,
            found.retryable,
            f"Snowflake {code}",
            rule=f"snowflake.{found.rule}",
            context={"errno": code},
        )
    state = getattr(exc, "sqlstate", None)
    if is_sqlstate(state) and by_sqlstate(str(state)) is not None:
        return by_sqlstate(str(state))
    return by_text(text[:1000]) or _by_class(exc)


def _by_class(exc: Any) -> Verdict:
    return next((DBAPI_CLASSES[c.__name__] for c in type(exc).__mro__ if c.__name__ in DBAPI_CLASSES), _QUERY)


# --- Trino and Presto: `error_type` and `error_name`

_TRINO_NAMES: dict[str, Verdict] = {
    **dict.fromkeys(("EXCEEDED_GLOBAL_MEMORY_LIMIT", "CLUSTER_OUT_OF_MEMORY", "EXCEEDED_LOCAL_MEMORY_LIMIT"), _MEMORY),
    **dict.fromkeys(("QUERY_QUEUE_FULL", "EXCEEDED_TIME_LIMIT", "EXCEEDED_CPU_LIMIT", "QUERY_REJECTED"), _BUSY),
    **dict.fromkeys(("ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED", "TRANSACTION_CONFLICT"), _BUSY),
    **dict.fromkeys(
        ("SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN", "NO_NODES_AVAILABLE", "ABANDONED_QUERY"), _UNAVAILABLE
    ),
    **dict.fromkeys(
        ("REMOTE_TASK_ERROR", "REMOTE_TASK_MISMATCH", "PAGE_TRANSPORT_ERROR", "REMOTE_HOST_GONE"), _UNAVAILABLE
    ),
    **dict.fromkeys(
        ("PAGE_TRANSPORT_TIMEOUT", "TOO_MANY_REQUESTS_FAILED", "CLUSTER_HAS_TOO_MANY_RUNNING_TASKS"), _UNAVAILABLE
    ),
    **dict.fromkeys(("PERMISSION_DENIED", "INVALID_CREDENTIALS"), _DENIED),
    **dict.fromkeys(("DIVISION_BY_ZERO", "NUMERIC_VALUE_OUT_OF_RANGE", "INVALID_CAST_ARGUMENT"), _VALUE),
    **dict.fromkeys(("INVALID_FUNCTION_ARGUMENT", "CONSTRAINT_VIOLATION", "ALREADY_EXISTS"), _VALUE),
}
_TRINO_TYPES: dict[str, Verdict] = {
    "USER_ERROR": _QUERY,
    "INTERNAL_ERROR": transient(_S, rule="internal"),
    "INSUFFICIENT_RESOURCES": _BUSY,
    "EXTERNAL": _UNAVAILABLE,
}


def _trino(exc: Any) -> Answer:
    name, kind = getattr(exc, "error_name", None), getattr(exc, "error_type", None)
    found = _TRINO_NAMES.get(name) if isinstance(name, str) else None
    if found is None and isinstance(kind, str):
        found = _TRINO_TYPES.get(kind)
    if found is None:
        found = _TRINO_CLASSES.get(type(exc).__name__, _QUERY)
    return Verdict(found.error_type, found.retryable, name, rule=found.rule, severity=found.severity)


_TRINO_CLASSES = {"TrinoExternalError": _UNAVAILABLE, "TrinoInternalError": _TRINO_TYPES["INTERNAL_ERROR"]}


def _trinos(package: str, prefix: str) -> dict[str, Verdict | Look]:
    errors = " ".join(f"{prefix}{kind}" for kind in ("QueryError", "UserError", "ExternalError", "InternalError"))
    return {
        **each(f"{package}.exceptions", errors, _trino),
        **each(
            f"{package}.exceptions", f"HttpError Http502Error Http503Error Http504Error {prefix}Error", _UNAVAILABLE
        ),
        **each(f"{package}.exceptions", f"{prefix}ConnectionError", _LOST),
        **each(f"{package}.exceptions", f"{prefix}AuthError", _DENIED),
        **each(f"{package}.exceptions", f"{prefix}DataError", _UNREADABLE),
        **each(f"{package}.exceptions", "TimeoutError", _TIMED_OUT),
    }


# --- Databricks, Hive, Impala, Vertica, HANA, DuckDB


def _databricks(exc: Any) -> Answer:
    context = getattr(exc, "context", None)
    if isinstance(context, dict):
        inner = context.get("original-exception")
        if isinstance(inner, BaseException):
            return Through(inner, _by_class(exc))
        status = by_status(context.get("http-code"))
        if status is not None:
            return status
        state = context.get("sql-state") or context.get("sqlState")
        if is_sqlstate(state):
            return by_sqlstate(str(state)) or _by_class(exc)
    return by_text(text_of(exc)) or _by_class(exc)


def _server_operation(exc: Any) -> Answer:
    """Databricks and Hive: the error class stands in brackets at the beginning of the text."""
    text = text_of(exc)
    if "concurrent" in text or "conflict" in text:
        return _CONFLICT
    unknown = "not_found" in text or "unresolved" in text or "parse_syntax_error" in text
    return _QUERY if unknown else by_text(text) or _QUERY


def _hive(exc: Any) -> Answer:
    """PyHive: the argument is Thrift's response, whose status has `sqlState` and `errorMessage`."""
    status = getattr(exc.args[0] if exc.args else None, "status", None)
    state = getattr(status, "sqlState", None)
    if is_sqlstate(state):
        found = by_sqlstate(str(state))
        if found is not None:
            return found
    message = getattr(status, "errorMessage", None)
    return by_text(str(message)[:1000].lower()) or _QUERY if message else by_database(exc, _by_class(exc))


# SAP HANA: `errorcode` (SQL error codes of its reference)
_HANA: dict[int, Verdict] = {
    **dict.fromkeys((131, 133, 138, 146, 129, 514), _CONFLICT),
    **dict.fromkeys((-10807, -10108, -10709, -10806, -10821, -709, 596, 1024, 1029, 663, 2048, 8), _LOST),
    **dict.fromkeys((4, 1000002, 428), _MEMORY),
    **dict.fromkeys((139, 145, 613, 615, 616, 617), _BUSY),
    **dict.fromkeys((10, 258, 414, 416, 331, 332), _DENIED),
    **dict.fromkeys((274, 287, 301, 303, 304, 305, 314, 339, 461, 462), _VALUE),
}


def _hana(exc: Any) -> Answer:
    code = number(getattr(exc, "errorcode", None))
    if code is None and exc.args:
        code = number(exc.args[0])
    found = _HANA.get(code) if code is not None else None
    if found is not None:
        return Verdict(found.error_type, found.retryable, f"HANA {code}", rule=f"hana.{found.rule}")
    return by_text(text_of(exc)) or (_QUERY if code is not None and code > 0 else _by_class(exc))


def _duck_conflict(exc: Any) -> Answer:
    text = text_of(exc)
    return _CONFLICT if "conflict" in text or "serial" in text else permanent(_S, rule="transaction")


def _duck_io(exc: Any) -> Answer:
    """The file is locked by another process, or is not what it should be."""
    text = text_of(exc)
    return _BUSY if "lock" in text else by_text(text) or permanent(_F, rule="file")


def _duck_http(exc: Any) -> Answer:
    return by_status(getattr(exc, "status_code", None), getattr(exc, "headers", None)) or _LOST


def _duckdb(package: str) -> dict[str, Verdict | Look]:
    return {
        **{f"{package}.{name}": partial(by_database, otherwise=verdict) for name, verdict in DBAPI_CLASSES.items()},
        **each(package, "IOException", _duck_io),
        **each(package, "HTTPException", _duck_http),
        **each(package, "TransactionException SerializationException", _duck_conflict),
        **each(package, "ResourceInUseException InterruptException", _BUSY),
        **each(package, "OutOfMemoryException", _MEMORY),
        **each(package, "ConstraintException ConversionException OutOfRangeException DataError", _VALUE),
        **each(package, "TypeMismatchException InvalidInputException InvalidTypeException SequenceException", _VALUE),
        **each(package, "ParserException SyntaxException BinderException CatalogException", _QUERY),
        **each(package, "DependencyException NotImplementedException", _QUERY),
        **each(package, "PermissionException", _DENIED),
        **each(package, "FatalException InternalException InternalError", permanent(_S, rule="internal")),
    }


_OTHERS: dict[str, Verdict | Look] = {
    **each("snowflake.connector.*", " ".join(DBAPI_CLASSES), _snowflake),
    **each("snowflake.connector.errors", " ".join(DBAPI_CLASSES), _snowflake),
    **each(
        "snowflake.*", "ServiceUnavailableError GatewayTimeoutError BadGatewayError InternalServerError", _UNAVAILABLE
    ),
    **each("snowflake.*", "OtherHTTPRetryableError RequestTimeoutError RequestExceedMaxRetryError", _UNAVAILABLE),
    **each("snowflake.*", "TooManyRequests", transient(_N, "HTTP 429", rule="throttled")),
    **each("snowflake.*", "ForbiddenError TokenExpiredError RefreshTokenError", _DENIED),
    **each("snowflake.*", "BadRequest MethodNotAllowed BindUploadError", _VALUE),
    **each("snowflake.*", "RevocationCheckError", _LOST),
    **_trinos("trino", "Trino"),
    **_trinos("prestodb", "Presto"),
    **each("databricks.sql.exc", "OperationalError RequestError DatabaseError Error InterfaceError", _databricks),
    **each("databricks.sql.exc", "MaxRetryDurationError", _UNAVAILABLE),
    **each("databricks.sql.exc", "UnsafeToRetryError SessionAlreadyClosedError CursorAlreadyClosedError", _databricks),
    **each("databricks.sql.exc", "NonRecoverableNetworkError", permanent(_N, rule="network")),
    **each("databricks.sql.exc", "ServerOperationError", _server_operation),
    **each("pyhive.exc", " ".join(DBAPI_CLASSES), _hive),
    **each("impala.error", "RPCError DisconnectedError HttpError", _LOST),
    **each("impala.error", "BeeswaxError QueryStateError HiveServer2Error", partial(by_database, otherwise=_QUERY)),
    **each("vertica_python.errors", "ConnectionError ConnectionFailure LostConnectivityFailure", _LOST),
    **each("vertica_python.errors", "TimedOutError", _TIMED_OUT),
    **each("vertica_python.errors", "KerberosError SSLNotSupported PermissionDenied", _DENIED),
    **each("vertica_python.errors", "LockFailure QueryCanceled InsufficientResources", _BUSY),
    **each("vertica_python.errors", "OutOfMemory", _MEMORY),
    **each("vertica_python.errors", "MissingColumn MissingRelation MissingSchema VerticaSyntaxError", _QUERY),
    **each("vertica_python.errors", "DuplicateObject EmptyQueryError", _QUERY),
    **each("vertica_python.errors", "CopyRejected InvalidDatetimeFormat", _VALUE),
    **each("vertica_python.errors", "QueryError", partial(by_database, otherwise=_QUERY)),
    **each("hdbcli.dbapi", " ".join(("ExecuteManyError", *DBAPI_CLASSES)), _hana),
    **_duckdb("duckdb"),
    **_duckdb("_duckdb"),
    **_duckdb("duckdb.duckdb"),
}


# --- InfluxDB and other time series


def _influx(exc: Any) -> Answer:
    status = getattr(exc, "code", None) or getattr(getattr(exc, "response", None), "status", None)
    headers = getattr(exc, "headers", None) or getattr(getattr(exc, "response", None), "headers", None)
    wait = getattr(exc, "retry_after", None)
    found = by_status(getattr(exc, "status", None) or status, headers)
    if found is None:
        return Through(exc.__cause__, _UNAVAILABLE)
    if wait is not None and found.retry_after is None and number(wait) is not None:
        return Verdict(found.error_type, True, found.code, retry_after=float(wait), rule=found.rule)
    return found


_INFLUX: dict[str, Verdict | Look] = {
    **each("influxdb.*", "InfluxDBClientError", lambda exc: by_status(getattr(exc, "code", None)) or _VALUE),
    **each("influxdb.*", "InfluxDBServerError", _UNAVAILABLE),
    **each("influxdb_client.*", "InfluxDBError ApiException", _influx),
    **each("influxdb_client.*", "FluxCsvParserException", _UNREADABLE),
    **each("influxdb_client.*", "FluxQueryException", _QUERY),
    **each("influxdb_client_3.*", "InfluxDBError ApiException InfluxDB3ClientError", _influx),
    **each("influxdb_client_3.*", "InfluxDBPartialWriteError", _VALUE),
    **each("influxdb_client_3.*", "InfluxDB3ClientQueryError", _QUERY),
    **each(
        "questdb.ingress",
        "IngressError",
        lambda exc: _LOST if "socket" in str(getattr(exc, "code", "")).lower() else _VALUE,
    ),
    **each("prometheus_api_client.*", "PrometheusApiClientException", _UNAVAILABLE),
}

FAMILY = Family(name="warehouses", classes={**_CLICKHOUSE_CLASSES, **_OTHERS, **_INFLUX})
