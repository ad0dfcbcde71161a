"""Object-relational layers: SQLAlchemy, Django's ORM, peewee, Tortoise, Pony and others.

Their database errors are wrappers: what counts is the driver's exception inside (`orig`, or the explicit cause).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.sql import DBAPI_CLASSES, by_class_name, by_database
from celery_recovery.errors.rules.sqltext import by_text, text_of

__all__ = ("FAMILY",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _P = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.PARSING

_BUG = permanent(_S, rule="misuse")
_MAPPING = permanent(_C, rule="mapping")
_VALUE = permanent(_V, rule="value")
_NOT_FOUND = permanent(_V, rule="not_found")
_SEVERAL = permanent(_V, rule="several_found")
_CONFIGURATION = permanent(_S, rule="configuration")
_POOL_FULL = transient(_S, rule="pool")
_LOST = transient(_N, rule="connection")
_STALE = transient(_S, rule="stale")
_CONFLICT = transient(_S, rule="conflict")


def _statement(exc: Any) -> Answer:
    """SQLAlchemy's StatementError and DBAPIError: the driver's exception is `orig`."""
    orig = getattr(exc, "orig", None)
    otherwise = DBAPI_CLASSES.get(type(exc).__name__, _VALUE)
    if not isinstance(orig, BaseException):
        return by_database(exc, otherwise)
    from_database = hasattr(exc, "connection_invalidated")
    if from_database and exc.connection_invalidated:
        otherwise = _LOST
    if type(orig).__module__ == "builtins" and not isinstance(orig, OSError):
        # A plain ValueError or TypeError here says that a parameter could not be converted for the database.
        return by_database(orig, otherwise) if from_database else _VALUE
    return Through(orig, otherwise)


def _wrapped(exc: Any, otherwise: Verdict) -> Answer:
    """Django, peewee …: the driver's exception is the explicit cause; its arguments are also the wrapper's."""
    cause = exc.__cause__
    if cause is None:
        context = exc.__context__  # peewee re-raises inside the handler without `from`
        cause = context if context is not None and context.args == exc.args else None
    judged = by_database(exc, otherwise) or otherwise
    if cause is None or (type(cause).__module__ == "builtins" and not isinstance(cause, OSError)):
        return judged
    return Through(cause, judged)


def _dbapi_wrappers(prefix: str) -> dict[str, Verdict | Look]:
    return {f"{prefix}.{name}": partial(_wrapped, otherwise=verdict) for name, verdict in DBAPI_CLASSES.items()}


def _orm_operational(exc: Any) -> Answer:
    """Tortoise's OperationalError also means "no such table": its argument is the driver's exception."""
    inner = exc.args[0] if exc.args else None
    if isinstance(inner, BaseException):
        return Through(inner, by_class_name(inner) or _CONFIGURATION)
    return _wrapped(exc, DBAPI_CLASSES["OperationalError"])


def _pony(exc: Any) -> Answer:
    """Pony keeps the driver's exception in `original_exc`."""
    inner = getattr(exc, "original_exc", None)
    otherwise = DBAPI_CLASSES.get(type(exc).__name__, _BUG)
    return Through(inner, otherwise) if isinstance(inner, BaseException) else by_database(exc, otherwise)


def _unexpected(exc: Any) -> Answer:
    inner = next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
    return Through(inner or exc.__cause__, by_text(text_of(exc)) or _BUG)


_SQLALCHEMY: dict[str, Verdict | Look] = {
    **each("sqlalchemy.exc", " ".join(("StatementError", "DBAPIError", *DBAPI_CLASSES)), _statement),
    "sqlalchemy.exc.TimeoutError": _POOL_FULL,
    **each("sqlalchemy.exc", "DisconnectionError InvalidatePoolError", _LOST),
    **each("sqlalchemy.exc", "NoResultFound", _NOT_FOUND),
    **each("sqlalchemy.exc", "MultipleResultsFound", _SEVERAL),
    **each("sqlalchemy.exc", "PendingRollbackError ResourceClosedError IllegalStateChangeError MissingGreenlet", _BUG),
    **each("sqlalchemy.exc", "AwaitRequired UnboundExecutionError", _BUG),
    **each("sqlalchemy.exc", "NoDBAPILoaded NoSuchModuleError", _CONFIGURATION),
    **each("sqlalchemy.exc", "NoSuchTableError UnreflectableTableError NoSuchColumnError CompileError", _MAPPING),
    **each("sqlalchemy.exc", "UnsupportedCompilationError AmbiguousColumnError DuplicateColumnError", _MAPPING),
    **each("sqlalchemy.exc", "AmbiguousForeignKeysError NoForeignKeysError NoReferenceError IdentifierError", _MAPPING),
    **each("sqlalchemy.exc", "NoReferencedTableError NoReferencedColumnError CircularDependencyError", _MAPPING),
    **each("sqlalchemy.exc", "ConstraintColumnNotFoundError NoInspectionAvailable", _MAPPING),
    **each("sqlalchemy.exc", "ArgumentError ObjectNotExecutableError InvalidRequestError", _VALUE),
    "sqlalchemy.exc.SQLAlchemyError": _BUG,
    "sqlalchemy.orm.exc.StaleDataError": _STALE,
    **each("sqlalchemy.orm.exc", "DetachedInstanceError ObjectDereferencedError FlushError", _BUG),
    **each("sqlalchemy.orm.exc", "UnmappedError UnmappedColumnError LoaderStrategyException", _MAPPING),
    **each("sqlalchemy.orm.exc", "MappedAnnotationError", _MAPPING),
    # The row is no longer there.
    "sqlalchemy.orm.exc.ObjectDeletedError": _NOT_FOUND,
    "sqlalchemy.*.QueuePoolTimeout": _POOL_FULL,
    **each("alembic.*", "CommandError AutogenerateDiffsDetected DatabaseNotAtHead", _CONFIGURATION),
    **each("alembic.*", "RevisionError ResolutionError MultipleHeads RangeNotAncestorError", _CONFIGURATION),
    **each("alembic.*", "CycleDetected DependencyCycleDetected LoopDetected DependencyLoopDetected", _CONFIGURATION),
}

_DJANGO: dict[str, Verdict | Look] = {
    **_dbapi_wrappers("django.db.utils"),
    **each("django.db.utils", "ConnectionDoesNotExist", _CONFIGURATION),
    **each("django.db.*", "TransactionManagementError", _BUG),
    "django.db.transaction.TransactionManagementError": _BUG,
    **each("django.db.models.deletion", "ProtectedError RestrictedError", _VALUE),
    **each("django.db.migrations.exceptions", "AmbiguityError BadMigrationError CircularDependencyError", _MAPPING),
    **each("django.db.migrations.exceptions", "InconsistentMigrationHistory InvalidBasesError", _MAPPING),
    **each("django.db.migrations.exceptions", "IrreversibleError NodeNotFoundError MigrationSchemaMissing", _MAPPING),
    **each("django.db.migrations.exceptions", "InvalidMigrationPlan", _MAPPING),
    "django.core.exceptions.ObjectDoesNotExist": _NOT_FOUND,
    "django.core.exceptions.ObjectNotUpdated": _STALE,
    "django.core.exceptions.MultipleObjectsReturned": _SEVERAL,
    **each("django.core.exceptions", "FieldError FieldDoesNotExist FullResultSet EmptyResultSet", _MAPPING),
    **each("django.core.exceptions", "ImproperlyConfigured AppRegistryNotReady", _CONFIGURATION),
    "django.core.exceptions.AppRegistryNotReady": _CONFIGURATION,
    "django.core.exceptions.SynchronousOnlyOperation": _BUG,
}

_OTHERS: dict[str, Verdict | Look] = {
    # peewee
    **_dbapi_wrappers("peewee"),
    "peewee.DoesNotExist": _NOT_FOUND,
    "peewee.ImproperlyConfigured": _CONFIGURATION,
    "playhouse.pool.MaxConnectionsExceeded": _POOL_FULL,
    "playhouse.cockroachdb.ExceededMaxAttempts": _CONFLICT,
    "playhouse.sqliteq.ResultTimeout": _POOL_FULL,
    "playhouse.sqliteq.WriterPaused": _POOL_FULL,
    # Tortoise
    "tortoise.exceptions.DBConnectionError": _LOST,
    "tortoise.exceptions.IntegrityError": _VALUE,
    "tortoise.exceptions.OperationalError": _orm_operational,
    "tortoise.exceptions.TransactionManagementError": _BUG,
    "tortoise.exceptions.IncompleteInstanceError": _BUG,
    "tortoise.exceptions.NoValuesFetched": _BUG,
    **each("tortoise.exceptions", "DoesNotExist ObjectDoesNotExistError NotExistOrMultiple", _NOT_FOUND),
    "tortoise.exceptions.MultipleObjectsReturned": _SEVERAL,
    **each("tortoise.exceptions", "FieldError ParamsError UnSupportedError BaseORMException", _MAPPING),
    "tortoise.exceptions.ConfigurationError": _CONFIGURATION,
    "tortoise.exceptions.ValidationError": _VALUE,
    # Pony
    **each("pony.orm.*", " ".join(DBAPI_CLASSES), _pony),
    **each("pony.*", " ".join(("DBException", "CommitException", "RollbackException", *DBAPI_CLASSES)), _pony),
    **each("pony.*", "OptimisticCheckError UnrepeatableReadError RowNotFound", _CONFLICT),
    **each("pony.*", "ObjectNotFound", _NOT_FOUND),
    **each("pony.*", "MultipleObjectsFoundError MultipleRowsFound TooManyObjectsFoundError TooManyRowsFound", _SEVERAL),
    **each("pony.*", "CacheIndexError ConstraintError ValidationError OperationWithDeletedObjectError", _VALUE),
    **each("pony.*", "MappingError ERDiagramError DBSchemaError TableDoesNotExist TableIsNotEmpty", _MAPPING),
    **each("pony.*", "ExprEvalError TranslationError DatabaseContainsIncorrectValue", _MAPPING),
    **each("pony.*", "DatabaseContainsIncorrectEmptyValue", _MAPPING),
    **each(
        "pony.*",
        "OrmError TransactionError ConnectionClosedError TransactionIntegrityError TransactionRolledBack",
        _BUG,
    ),
    **each("pony.*", "DatabaseSessionIsOver PermissionError", _BUG),
    **each("pony.*", "UnexpectedError CommitException", _unexpected),
    # ormar, databases, records, gino, Piccolo
    **each("ormar.exceptions", "NoMatch", _NOT_FOUND),
    **each("ormar.exceptions", "MultipleMatches", _SEVERAL),
    **each(
        "ormar.exceptions", "ModelDefinitionError QueryDefinitionError RelationshipInstanceError ModelError", _MAPPING
    ),
    **each(
        "ormar.exceptions", "ModelPersistenceError ModelListEmptyError SignalDefinitionError AsyncOrmException", _BUG
    ),
    **each("aiomysql.sa.exc", "ArgumentError NoSuchColumnError", _MAPPING),
    **each("aiomysql.sa.exc", "InvalidRequestError ResourceClosedError Error", _BUG),
    **each("gino.exceptions", "NoResultFound NoSuchRowError", _NOT_FOUND),
    **each("gino.exceptions", "MultipleResultsFound", _SEVERAL),
}

FAMILY = Family(name="orm", classes={**_SQLALCHEMY, **_DJANGO, **_OTHERS})
