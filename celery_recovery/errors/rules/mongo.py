"""MongoDB: PyMongo, Motor, GridFS, MongoEngine, Beanie; by error labels and server codes.

Labels and the codes that drivers retry are those of MongoDB's specifications "Retryable Writes", "Retryable Reads" and
"Transactions"; the other codes are the server's `error_codes.yml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient

__all__ = ("FAMILY", "by_mongo_code")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY
_HIGH = ErrorSeverity.HIGH

# A group: type, retryable, severity or None, codes.
_GROUPS: tuple[tuple[ErrorType, bool, ErrorSeverity | None, str], ...] = (
    # Hosts away, primaries stepping down, nodes shutting down or recovering, shards moving.
    (
        _N,
        True,
        None,
        "6 7 63 64 74 89 91 100 133 134 150 189 202 206 262 279 358 402 461 462 463 9001 10058 10107 11600",
    ),
    (_N, True, None, "11602 13388 13435 13436"),
    # Locks, write conflicts, snapshots that are gone, cursors that timed out, operations killed or out of time.
    (_S, True, None, "24 43 46 50 107 109 112 117 125 225 234 237 239 244 246 251 267 273 290 11601 16500"),
    (_M, True, _HIGH, "146"),
    (_S, True, ErrorSeverity.CRITICAL, "14031"),  # out of disk space
    # Not allowed in.
    (_N, False, _HIGH, "11 13 18 31 33 8000 8001 211 391"),
    # What is not there, or is there already; commands the server does not know.
    (_C, False, None, "20 26 27 48 59 67 68 73 85 86 115 165 166 167 263 304 323"),
    # Documents and values.
    (_P, False, None, "22"),
    (
        _V,
        False,
        None,
        "2 3 4 9 12 14 15 16 28 40 47 51 52 53 54 55 56 57 58 61 66 72 79 121 168 169 170 191 11000 11001",
    ),
    (_V, False, None, "12582 292 10003 10334 16755 16837 17280 17419 17420 20280 40415 51024 51091"),
)

_CODES = {int(code): group[:3] for group in reversed(_GROUPS) for code in group[3].split()}
_TRANSIENT_LABELS = (
    "TransientTransactionError",
    "RetryableWriteError",
    "UnknownTransactionCommitResult",
    "SystemOverloadedError",
    "RetryableError",
    "NetworkError",
    "ResumableChangeStreamError",
)


@lru_cache(maxsize=1024)
def by_mongo_code(code: int) -> Verdict | None:
    """The verdict on a server's error code, e.g. 112 (`WriteConflict`); None for one that is not listed."""
    found = _CODES.get(code)
    if found is None:
        return None
    error_type, retryable, severity = found
    text = f"MongoDB {code}"
    return Verdict(error_type, retryable, text, severity=severity, rule=f"code.{code}", context={"code": code})


_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_POOL_FULL = transient(_S, rule="pool")
_CURSOR = transient(_S, "MongoDB 43", rule="cursor_not_found")
_CERTIFICATE = permanent(_N, rule="certificate", severity=_HIGH)
_DENIED = permanent(_N, rule="denied", severity=_HIGH)
_DUPLICATE = permanent(_V, "MongoDB 11000", rule="duplicate_key")
_VALUE = permanent(_V, rule="value")
_NOT_FOUND = permanent(_V, rule="not_found")
_BUG = permanent(_S, rule="misuse")
_CONFIGURATION = permanent(_S, rule="configuration")
_MAPPING = permanent(_C, rule="mapping")
_OTHER = permanent(_V, rule="OperationFailure")


def _label(exc: Any) -> str | None:
    has = getattr(exc, "has_error_label", None)
    if not callable(has):
        return None
    return next((label for label in _TRANSIENT_LABELS if has(label)), None)


def _operation(exc: Any) -> Answer:
    code = getattr(exc, "code", None)
    known = by_mongo_code(code) if type(code) is int else None
    if known is not None and known.retryable:
        return known
    label = _label(exc)
    if label is not None:  # the server (or driver) itself says that it may be run again
        return transient(_S, f"MongoDB {code}" if type(code) is int else label, rule=f"label.{label}")
    if known is None and type(code) is int:
        return permanent(_V, f"MongoDB {code}", rule="OperationFailure", context={"code": code})
    return known or _by_words(exc) or _OTHER


def _by_words(exc: Any) -> Verdict | None:
    """Without a code, as a proxy or an old server sends it."""
    text = str(exc.args[0])[:500].lower() if exc.args else ""
    if "auth" in text or "not allowed" in text:
        return _DENIED
    if "not master" in text or "not primary" in text or "node is recovering" in text or "shutdown" in text:
        return _LOST
    if "time" in text and "out" in text:
        return _TIMED_OUT
    return _DUPLICATE if "e11000" in text else None


def _bulk(exc: Any) -> Answer:
    """One permanent write error makes the whole bulk permanent; without any, it is the write concern that failed."""
    details = getattr(exc, "details", None)
    if not isinstance(details, Mapping):
        return _OTHER
    verdicts = [by_mongo_code(error.get("code", 0)) or _OTHER for error in details.get("writeErrors") or ()]
    if not verdicts:
        label = _label(exc)
        return transient(_N, "MongoDB 64", rule=f"label.{label}" if label else "write_concern")
    return next((verdict for verdict in verdicts if not verdict.retryable), verdicts[0])


def _client_bulk(exc: Any) -> Answer:
    inner = getattr(exc, "error", None)
    errors = getattr(exc, "write_errors", None) or ()
    verdicts = [by_mongo_code(error.get("code", 0)) or _OTHER for error in errors if isinstance(error, Mapping)]
    first = next((verdict for verdict in verdicts if not verdict.retryable), None)
    otherwise = first or (verdicts[0] if verdicts else _LOST)
    return Through(inner if isinstance(inner, BaseException) else None, otherwise)


def _connection(exc: Any) -> Answer:
    text = str(exc.args[0])[:2000].lower() if exc.args else ""
    return _CERTIFICATE if "certificate verify failed" in text or "certificate_verify_failed" in text else _LOST


def _encryption(exc: Any) -> Answer:
    inner = getattr(exc, "cause", None) or exc.__cause__
    return Through(inner if isinstance(inner, BaseException) else None, _BUG)


def _engine(exc: Any) -> Answer:
    """MongoEngine: the cause is PyMongo's exception; the text begins with what was tried."""
    return Through(exc.__cause__ or exc.__context__, _by_words(exc) or _OTHER)


_CLASSES: dict[str, Verdict | Look] = {
    **each("pymongo.errors", "OperationFailure WriteError PyMongoError", _operation),
    **each("pymongo.errors", "WriteConcernError", _operation),
    "pymongo.errors.WTimeoutError": transient(_N, "MongoDB 64", rule="write_concern_timeout"),
    "pymongo.errors.DuplicateKeyError": _DUPLICATE,
    "pymongo.errors.ExecutionTimeout": transient(_S, "MongoDB 50", rule="max_time"),
    "pymongo.errors.CursorNotFound": _CURSOR,
    "pymongo.errors.BulkWriteError": _bulk,
    "pymongo.errors.ClientBulkWriteException": _client_bulk,
    **each(
        "pymongo.errors", "ConnectionFailure AutoReconnect ServerSelectionTimeoutError NotPrimaryError", _connection
    ),
    **each("pymongo.errors", "NotMasterError _OperationCancelled", _LOST),
    "pymongo.errors.NetworkTimeout": _TIMED_OUT,
    "pymongo.errors.WaitQueueTimeoutError": _POOL_FULL,
    "pymongo.pool_shared._PoolClosedError": _LOST,
    "pymongo.errors.ProtocolError": _LOST,
    "pymongo.errors.ConfigurationError": _CONFIGURATION,
    **each("pymongo.errors", "InvalidURI InvalidName CollectionInvalid DocumentTooLarge", _VALUE),
    "pymongo.errors.InvalidOperation": _BUG,
    **each("pymongo.errors", "EncryptionError EncryptedCollectionError", _encryption),
    **each("bson.errors", "InvalidDocument InvalidId InvalidStringData", _VALUE),
    **each("bson.errors", "BSONError InvalidBSON", permanent(_P, rule="bson")),
    **each("gridfs.errors", "NoFile FileExists", _NOT_FOUND),
    **each("gridfs.errors", "CorruptGridFile GridFSError", permanent(_P, rule="gridfs")),
    **each("mongoengine.errors", "OperationError BulkWriteError SaveConditionError MongoEngineException", _engine),
    "mongoengine.errors.NotUniqueError": _DUPLICATE,
    **each("mongoengine.errors", "ValidationError InvalidQueryError", _VALUE),
    **each("mongoengine.errors", "DoesNotExist MultipleObjectsReturned", _NOT_FOUND),
    **each("mongoengine.errors", "FieldDoesNotExist InvalidDocumentError LookUpError", _MAPPING),
    **each("mongoengine.errors", "NotRegistered DeprecatedError", _CONFIGURATION),
    "mongoengine.connection.ConnectionFailure": _LOST,
    "mongoengine.document.InvalidCollectionError": _MAPPING,
    **each("beanie.exceptions", "DocumentNotFound DocumentAlreadyCreated DocumentWasNotSaved", _NOT_FOUND),
    "beanie.exceptions.RevisionIdWasChanged": transient(_S, rule="conflict"),
    **each("beanie.exceptions", "CollectionWasNotInitialized ViewWasNotInitialized", _CONFIGURATION),
    **each("odmantic.exceptions", "DocumentNotFoundError", _NOT_FOUND),
    **each("odmantic.exceptions", "DuplicateKeyError", _DUPLICATE),
    **each("odmantic.exceptions", "DocumentParsingError IncorrectGenericModelValue", _MAPPING),
}

FAMILY = Family(name="mongo", classes=_CLASSES)
