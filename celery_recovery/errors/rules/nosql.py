"""Databases that are not SQL: Cassandra, Couchbase, CouchDB, Neo4j, ArangoDB, RethinkDB, Gel, embedded stores.

What each calls transient is taken from its own documentation: Cassandra's retry policies, Couchbase's "Error handling",
Neo4j's status codes and `is_retryable()`, ArangoDB's error codes, Gel's error tags.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import number
from celery_recovery.errors.rules.rule import Answer, Family, Look, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M, _F = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY, ErrorType.FILESYSTEM

_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_UNAVAILABLE = transient(_N, rule="unavailable")
_LOCKED = transient(_S, rule="lock")
_CONFLICT = transient(_S, rule="conflict")
_BUSY = transient(_S, rule="busy")
_SERVER = transient(_S, rule="server")
_MEMORY = transient(_M, rule="memory", severity=ErrorSeverity.HIGH)
_DENIED = permanent(_N, rule="denied", severity=ErrorSeverity.HIGH)
_NOT_FOUND = permanent(_V, rule="not_found")
_EXISTS = permanent(_V, rule="exists")
_VALUE = permanent(_V, rule="value")
_MAPPING = permanent(_C, rule="schema")
_QUERY = permanent(_C, rule="query")
_UNREADABLE = permanent(_P, rule="unreadable")
_BUG = permanent(_S, rule="misuse")
_CONFIGURATION = permanent(_S, rule="configuration")
_DAMAGED = permanent(_F, rule="damaged", severity=ErrorSeverity.CRITICAL)


# --- Cassandra, ScyllaDB


def _no_host(exc: Any) -> Answer:
    """`errors`: what each host answered; credentials and unknown protocols are the same on all."""
    errors = getattr(exc, "errors", None)
    answers = list(errors.values()) if isinstance(errors, dict) else []
    names = {type(error).__name__ for error in answers}
    return _DENIED if names and names <= {"AuthenticationFailed", "Unauthorized", "BadCredentials"} else _UNAVAILABLE


def _invalid_request(exc: Any) -> Answer:
    text = str(exc.args[0])[:500].lower() if exc.args else ""
    unknown = "unconfigured" in text or "undefined" in text or "unknown" in text or "does not exist" in text
    return _MAPPING if unknown else _VALUE


_CASSANDRA: dict[str, Verdict | Look] = {
    "cassandra.cluster.NoHostAvailable": _no_host,
    **each("cassandra", "Unavailable UnresolvableContactPoints", _UNAVAILABLE),
    **each("cassandra", "Timeout ReadTimeout WriteTimeout OperationTimedOut", _TIMED_OUT),
    **each(
        "cassandra", "CoordinationFailure ReadFailure WriteFailure CDCWriteFailure RequestExecutionException", _SERVER
    ),
    **each("cassandra", "RateLimitReached", transient(_N, rule="throttled")),
    **each("cassandra", "DriverException", _SERVER),
    **each("cassandra", "AuthenticationFailed Unauthorized", _DENIED),
    **each("cassandra", "AlreadyExists ConfigurationException", _MAPPING),
    **each("cassandra", "InvalidRequest RequestValidationException", _invalid_request),
    **each("cassandra", "FunctionFailure", _VALUE),
    **each("cassandra", "UnsupportedOperation DependencyException", _BUG),
    **each("cassandra.connection", "ConnectionException ConnectionShutdown CrcMismatchException", _LOST),
    **each("cassandra.connection", "ConnectionBusy", _BUSY),
    **each("cassandra.connection", "ProtocolError ProtocolVersionUnsupported", permanent(_N, rule="protocol")),
    **each("cassandra.pool", "NoConnectionsAvailable", _BUSY),
    **each(
        "cassandra.protocol", "OverloadedErrorMessage IsBootstrappingErrorMessage TruncateError ServerError", _SERVER
    ),
    **each(
        "cassandra.protocol", "UnavailableErrorMessage ReadTimeoutErrorMessage WriteTimeoutErrorMessage", _UNAVAILABLE
    ),
    **each("cassandra.protocol", "ReadFailureMessage WriteFailureMessage PreparedQueryNotFound ErrorMessage", _SERVER),
    **each("cassandra.protocol", "InvalidRequestException RequestValidationException", _invalid_request),
    **each("cassandra.protocol", "SyntaxException NotSupportedError", _QUERY),
    **each("cassandra.protocol", "UnauthorizedErrorMessage BadCredentials", _DENIED),
    **each("cassandra.protocol", "AlreadyExistsException ConfigurationException", _MAPPING),
    **each("cassandra.protocol", "ProtocolException InternalError", _LOST),
    **each("cassandra.cqlengine.*", "DoesNotExist MultipleObjectsReturned", _NOT_FOUND),
    **each("cassandra.*", "DoesNotExist MultipleObjectsReturned", _NOT_FOUND),
    **each("cassandra.*", "LWTException", permanent(_V, rule="condition")),
    **each("cassandra.*", "ValidationError QueryException StatementException QueryOperatorException", _VALUE),
    **each(
        "cassandra.*", "ModelDefinitionException ModelException UndefinedKeyspaceException CQLEngineException", _MAPPING
    ),
    **each("cassandra.*", "UserTypeDoesNotExist UserTypeException", _MAPPING),
}


# --- Couchbase, CouchDB


def _couchdb(exc: Any) -> Answer:
    """couchdb-python: the argument is a pair of status and error."""
    first = exc.args[0] if exc.args else None
    status = number(first[0]) if isinstance(first, tuple) and first else number(first)
    return _CONFLICT if status == 409 else by_status(status) or _SERVER


_COUCH: dict[str, Verdict | Look] = {
    **each("couchbase.*", "TimeoutException AmbiguousTimeoutException UnAmbiguousTimeoutException", _TIMED_OUT),
    **each(
        "couchbase.*", "TemporaryFailException ServiceUnavailableException InternalServerFailureException", _UNAVAILABLE
    ),
    **each("couchbase.*", "RequestCanceledException DurabilitySyncWriteAmbiguousException", _UNAVAILABLE),
    **each("couchbase.*", "WatchQueryIndexTimeoutException DocumentUnretrievableException", _UNAVAILABLE),
    **each("couchbase.*", "DurabilityImpossibleException HTTPException MutationTokenOutdatedException", _UNAVAILABLE),
    **each("couchbase.*", "MissingConnectionException", _LOST),
    **each("couchbase.*", "RateLimitedException QuotaLimitedException", transient(_N, rule="throttled")),
    **each("couchbase.*", "DocumentLockedException DurabilitySyncWriteInProgressException", _LOCKED),
    **each("couchbase.*", "CasMismatchException TransactionExpired TransactionCommitAmbiguous", _CONFLICT),
    **each("couchbase.*", "TransactionFailed TransactionOperationFailed TransactionException", _CONFLICT),
    **each("couchbase.*", "AuthenticationException AccessDeniedException", _DENIED),
    **each("couchbase.*", "DocumentNotFoundException PathNotFoundException BucketNotFoundException", _NOT_FOUND),
    **each("couchbase.*", "CollectionNotFoundException ScopeNotFoundException KeyspaceNotFoundException", _NOT_FOUND),
    **each("couchbase.*", "BucketDoesNotExistException UserNotFoundException GroupNotFoundException", _NOT_FOUND),
    **each("couchbase.*", "DocumentExistsException PathExistsException BucketAlreadyExistsException", _EXISTS),
    **each("couchbase.*", "CollectionAlreadyExistsException ScopeAlreadyExistsException", _EXISTS),
    **each("couchbase.*", "QueryIndexAlreadyExistsException QueryIndexNotFoundException", _MAPPING),
    **each("couchbase.*", "SearchIndexNotFoundException DatasetNotFoundException DataverseNotFoundException", _MAPPING),
    **each("couchbase.*", "DesignDocumentNotFoundException InvalidIndexException PathMismatchException", _MAPPING),
    **each("couchbase.*", "InvalidArgumentException InvalidValueException NumberTooBigException", _VALUE),
    **each(
        "couchbase.*", "PathInvalidException PathTooBigException PathTooDeepException ValueTooDeepException", _VALUE
    ),
    **each("couchbase.*", "DeltaInvalidException ValueFormatException DurabilityInvalidLevelException", _VALUE),
    **each("couchbase.*", "DocumentNotJsonException", _UNREADABLE),
    **each("couchbase.*", "ParsingFailedException", _QUERY),
    **each("couchbase.*", "FeatureUnavailableException UnsupportedOperation AlreadyQueriedException", _BUG),
    **each("couchbase.*", "CryptoException InternalSDKException CouchbaseException", _BUG),
    **each("couchdb.http", "HTTPError ServerError ResourceConflict Unauthorized", _couchdb),
    "couchdb.http.ResourceConflict": _CONFLICT,
    **each("couchdb.http", "Unauthorized Forbidden", _DENIED),
    "couchdb.http.ResourceNotFound": _NOT_FOUND,
    "couchdb.http.PreconditionFailed": _EXISTS,
    "couchdb.http.RedirectLimit": _VALUE,
    "aiocouch.exception.ConflictError": _CONFLICT,
    **each("aiocouch.exception", "UnauthorizedError ForbiddenError", _DENIED),
    **each("aiocouch.exception", "NotFoundError PreconditionFailedError", _NOT_FOUND),
    **each("aiocouch.exception", "BadRequestError ExpectationFailedError UnsupportedMediaTypeError", _VALUE),
}


# --- Neo4j


def _neo4j(exc: Any) -> Answer:
    """By the status code `Neo.<Classification>.<Category>.<Title>`; the class when there is none."""
    code = getattr(exc, "code", None)
    if not isinstance(code, str) or not code.startswith("Neo.") or code == _NEO_UNKNOWN:
        return _NEO_CLASSES.get(type(exc).__name__, _BUG)
    parts = code.split(".")
    classification, category, title = (*parts[1:4], "", "", "")[:3]
    error_type, retryable = _neo_code(classification, category, title)
    asked = getattr(exc, "is_retryable", None)
    if callable(asked) and asked() is True:
        error_type, retryable = (error_type if retryable else _N), True
    return Verdict(error_type, retryable, code, rule=f"code.{code[4:]}", context={"code": code})


def _neo_code(classification: str, category: str, title: str) -> tuple[ErrorType, bool]:
    if classification == "TransientError":
        if title in ("Terminated", "LockClientStopped"):
            return _S, False
        if "Memory" in title:
            return _M, True
        return (_S if category == "Transaction" else _N), True
    if classification == "DatabaseError":
        return _S, False
    if title in ("NotALeader", "ForbiddenOnReadOnlyDatabase", "AuthorizationExpired"):
        return _N, True
    return _NEO_CATEGORIES.get(title) or _NEO_CATEGORIES.get(category) or (_V, False)


_NEO_UNKNOWN = "Neo.DatabaseError.General.UnknownError"  # also what an exception made by hand says
_NEO_CATEGORIES: dict[str, tuple[ErrorType, bool]] = {
    "Security": (_N, False),
    "Statement": (_V, False),
    "SyntaxError": (_C, False),
    "Schema": (_C, False),
    "ConstraintValidationFailed": (_V, False),
    "ConstraintViolation": (_V, False),
    "Database": (_C, False),
    "Transaction": (_S, False),
    "LockClientStopped": (_S, False),
    "Terminated": (_S, False),
    "Request": (_V, False),
}
_NEO_CLASSES: dict[str, Verdict] = {
    "TransientError": _SERVER,
    "DatabaseUnavailable": _UNAVAILABLE,
    "NotALeader": _UNAVAILABLE,
    "ForbiddenOnReadOnlyDatabase": _UNAVAILABLE,
    "AuthError": _DENIED,
    "TokenExpired": _DENIED,
    "Forbidden": _DENIED,
    "ConstraintError": _VALUE,
    "CypherSyntaxError": _QUERY,
    "CypherTypeError": _VALUE,
    "ClientError": _VALUE,
    "DatabaseError": _BUG,
}

_NEO4J: dict[str, Verdict | Look] = {
    **each("neo4j.exceptions", "Neo4jError ClientError DatabaseError TransientError DatabaseUnavailable", _neo4j),
    **each("neo4j.exceptions", "NotALeader ForbiddenOnReadOnlyDatabase AuthError TokenExpired Forbidden", _neo4j),
    **each("neo4j.exceptions", "ConstraintError CypherSyntaxError CypherTypeError", _neo4j),
    **each("neo4j.exceptions", "ServiceUnavailable SessionExpired RoutingServiceUnavailable", _UNAVAILABLE),
    **each("neo4j.exceptions", "WriteServiceUnavailable ReadServiceUnavailable", _UNAVAILABLE),
    # The commit was sent and no answer came: it may have happened, and the driver itself does not repeat it.
    **each("neo4j.exceptions", "IncompleteCommit", _UNAVAILABLE),
    **each("neo4j.exceptions", "ConnectionPoolError ConnectionAcquisitionTimeoutError", _BUSY),
    **each("neo4j.exceptions", "ConfigurationError AuthConfigurationError UnsupportedServerProduct", _CONFIGURATION),
    **each("neo4j.exceptions", "CertificateConfigurationError", _DENIED),
    **each("neo4j.exceptions", "DriverError SessionError TransactionError TransactionNestingError ResultError", _BUG),
    **each("neo4j.exceptions", "ResultConsumedError ResultFailedError", _BUG),
    **each("neo4j.exceptions", "ResultNotSingleError BrokenRecordError", _VALUE),
    **each("neo4j._exceptions", "BoltError BoltConnectionError BoltHandshakeError", _LOST),
    **each("neo4j._exceptions", "SocketDeadlineExceededError", _TIMED_OUT),
    **each("neo4j._exceptions", "BoltSecurityError", _DENIED),
    **each("neo4j._exceptions", "BoltProtocolError", permanent(_N, rule="protocol")),
}


# --- ArangoDB

# ArangoDB's error numbers (General, ArangoDB storage, cluster, transactions) -> verdict
_ARANGO_CODES: dict[int, Verdict] = {
    **dict.fromkeys((18, 28, 29, 1004, 1200, 1302, 1650, 1652, 1653, 1654, 1655, 1656, 1657, 1669), _CONFLICT),
    **dict.fromkeys(
        (21, 30, 503, 1429, 1447, 1449, 1457, 1461, 1477, 1478, 1495, 1496, 1497, 1498, 1500), _UNAVAILABLE
    ),
    **dict.fromkeys((3, 32), _MEMORY),
    **dict.fromkeys((11, 401, 403), _DENIED),
    **dict.fromkeys((1210, 1213, 1216, 1217, 1218, 1222, 1226, 1620), _VALUE),
    **dict.fromkeys((1202, 404, 1924), _NOT_FOUND),
    **dict.fromkeys((1203, 1207, 1208, 1212, 1228, 1229), _MAPPING),
    **dict.fromkeys((1500, 1501, 1502), _QUERY),
    **dict.fromkeys((410,), _SERVER),
}


def _arango(exc: Any) -> Answer:
    code = number(getattr(exc, "error_code", None))
    status = number(getattr(exc, "http_code", None))
    found = _ARANGO_CODES.get(code) if code is not None else None
    if found is not None:
        return Verdict(found.error_type, found.retryable, f"ArangoDB {code}", rule=found.rule, context={"code": code})
    if status in (409, 412):
        return _CONFLICT
    return by_status(status) or _SERVER


def _arango_client(exc: Any) -> Answer:
    text = str(exc.args[0])[:300].lower() if exc.args else ""
    return _LOST if "connect" in text or "abort" in text else _BUG


_ARANGO: dict[str, Verdict | Look] = {
    **each("arango.exceptions", "ArangoServerError", _arango),
    **each("arango.exceptions", "ServerConnectionError", _LOST),
    **each("arango.exceptions", "JWTExpiredError JWTRefreshError", _DENIED),
    **each("arango.exceptions", "DocumentParseError SortValidationError IndexMissingError", _VALUE),
    **each("arango.exceptions", "ArangoError ArangoClientError", _arango_client),
    **each("arango.exceptions", "CursorStateError BatchStateError CursorEmptyError CursorCountError", _BUG),
    **each("arango.exceptions", "OverloadControlExecutorError", _BUSY),
    **each("pyArango.theExceptions", "ConnectionError ArangoError", _arango),
}


# --- RethinkDB and Gel, once EdgeDB

_REQL: dict[str, Verdict | Look] = {
    **each("rethinkdb.errors", "ReqlDriverError ReqlAvailabilityError ReqlOpFailedError", _UNAVAILABLE),
    **each("rethinkdb.errors", "ReqlOpIndeterminateError ReqlInternalError", _SERVER),
    **each("rethinkdb.errors", "ReqlTimeoutError _ReqlTimeoutError", _TIMED_OUT),
    **each("rethinkdb.errors", "ReqlAuthError ReqlPermissionError", _DENIED),
    **each("rethinkdb.errors", "ReqlNonExistenceError ReqlCursorEmpty", _NOT_FOUND),
    **each("rethinkdb.errors", "ReqlQueryLogicError ReqlUserError ReqlResourceLimitError ReqlRuntimeError", _VALUE),
    **each("rethinkdb.errors", "ReqlCompileError ReqlServerCompileError ReqlDriverCompileError ReqlError", _QUERY),
}


def _gel(prefix: str) -> dict[str, Verdict | Look]:
    return {
        **each(prefix, "ClientConnectionError ClientConnectionClosedError ClientConnectionFailedError", _LOST),
        **each(prefix, "ClientConnectionFailedTemporarilyError ClientConnectionTimeoutError", _LOST),
        **each(prefix, "AvailabilityError BackendUnavailableError ServerOfflineError", _UNAVAILABLE),
        **each(prefix, "ServerBlockedError", _UNAVAILABLE),
        **each(
            prefix, "SessionTimeoutError IdleSessionTimeoutError QueryTimeoutError TransactionTimeoutError", _TIMED_OUT
        ),
        **each(prefix, "IdleTransactionTimeoutError", _TIMED_OUT),
        **each(prefix, "TransactionConflictError TransactionDeadlockError TransactionSerializationError", _CONFLICT),
        **each(prefix, "WatchError", _CONFLICT),
        **each(prefix, "AccessError AuthenticationError", _DENIED),
        **each(prefix, "IntegrityError ConstraintViolationError CardinalityViolationError NoDataError", _VALUE),
        **each(prefix, "ExecutionError InvalidValueError QueryArgumentError InputDataError", _VALUE),
        **each(prefix, "QueryError SchemaError SchemaDefinitionError InvalidReferenceError", _QUERY),
        **each(prefix, "UnsupportedFeatureError CapabilityError", _QUERY),
        **each(prefix, "InternalServerError BackendError InterfaceError InternalClientError ClientError", _BUG),
        **each(prefix, "ProtocolError ConfigurationError TransactionError EdgeDBError", _BUG),
    }


# --- Embedded stores

_EMBEDDED: dict[str, Verdict | Look] = {
    **each("lmdb", "MapFullError", transient(_F, rule="map_full", severity=ErrorSeverity.HIGH)),
    **each("lmdb", "ReadersFullError TlsFullError TxnFullError LockError MapResizedError", _BUSY),
    **each("lmdb", "DbsFullError BadTxnError BadDbiError BadRslotError CursorFullError PageFullError Error", _BUG),
    **each("lmdb", "KeyExistsError NotFoundError BadValsizeError InvalidParameterError", _VALUE),
    **each("lmdb", "ReadonlyError DiskError", permanent(_F, rule="file")),
    **each("lmdb", "MemoryError", _MEMORY),
    **each("lmdb", "CorruptedError InvalidError PageNotFoundError PanicError VersionMismatchError", _DAMAGED),
    **each("plyvel.*", "CorruptionError", _DAMAGED),
    **each("plyvel.*", "IOError", _BUSY),  # the directory is locked by another process, or the disk fails
    **each("plyvel.*", "Error IteratorInvalidError", _BUG),
    **each("dbm", "error", permanent(_F, rule="file")),
    **each("_gdbm", "error", permanent(_F, rule="file")),
    **each("_dbm", "error", permanent(_F, rule="file")),
    **each("diskcache.core", "Timeout", _BUSY),
    **each("tinydb.*", "TinyDBError", _BUG),
}

FAMILY = Family(
    name="nosql",
    classes={
        **_CASSANDRA,
        **_COUCH,
        **_NEO4J,
        **_ARANGO,
        **_REQL,
        **_gel("gel.*"),
        **_gel("edgedb.*"),
        **_EMBEDDED,
    },
)
