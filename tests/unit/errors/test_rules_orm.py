"""Object-relational layers: the driver's exception inside counts."""

from __future__ import annotations

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

N, S, V, C = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.SCHEMA

STATEMENT = lookalike("sqlalchemy.exc.StatementError", orig=None)
DBAPI = lookalike("sqlalchemy.exc.DBAPIError", STATEMENT, connection_invalidated=False)


def wrapped(name: str, orig: BaseException, **attrs: object) -> BaseException:
    return lookalike(f"sqlalchemy.exc.{name}", DBAPI, orig=orig, **attrs)("text of the wrapper")


def test_sqlalchemy_is_looked_through() -> None:
    """The code of the driver's exception is the code of the wrapper."""
    info = classify(wrapped("OperationalError", lookalike("pymysql.err.OperationalError")(1213, "Deadlock")))
    assert (info.error_type, info.is_retryable, info.error_code) == (S, True, "MySQL 1213")


def test_an_invalidated_connection_is_a_lost_connection() -> None:
    """SQLAlchemy knows disconnects that the driver gives no code for."""
    orig = type("Odd", (Exception,), {})("odd")
    info = classify(wrapped("InterfaceError", orig, connection_invalidated=True))
    assert (info.error_type, info.is_retryable) == (N, True)


def test_a_parameter_that_cannot_be_converted_is_a_validation_fault() -> None:
    """StatementError around a plain TypeError or ValueError comes from binding the parameters."""
    info = classify(lookalike("sqlalchemy.exc.StatementError", orig=TypeError("not a Boolean"))("text"))
    assert (info.error_type, info.is_retryable) == (V, False)


def test_a_plain_exception_inside_is_read_by_its_words() -> None:
    """Tests and proxies raise bare exceptions as `orig`."""
    info = classify(wrapped("OperationalError", Exception("deadlock detected")))
    assert (info.error_type, info.is_retryable) == (S, True)


@pytest.mark.parametrize(
    ("path", "expected", "retryable"),
    [
        ("sqlalchemy.exc.TimeoutError", S, True),
        ("sqlalchemy.exc.NoSuchTableError", C, False),
        ("sqlalchemy.orm.exc.StaleDataError", S, True),
        ("sqlalchemy.orm.exc.DetachedInstanceError", S, False),
        ("playhouse.pool.MaxConnectionsExceeded", S, True),
        ("tortoise.exceptions.DBConnectionError", N, True),
        ("pony.orm.core.OptimisticCheckError", S, True),
        ("peewee.DoesNotExist", V, False),
    ],
)
def test_what_the_layers_raise_themselves(path: str, expected: ErrorType, retryable: bool) -> None:
    """No driver's exception is inside these."""
    info = classify(lookalike(path)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_a_models_own_does_not_exist_is_found_by_its_base() -> None:
    """Django makes a class for each model, in the model's module."""
    base = lookalike("django.core.exceptions.ObjectDoesNotExist")
    info = classify(lookalike("shop.models:Order.DoesNotExist", base)("no order"))
    assert not info.is_retryable


def test_django_wraps_by_cause() -> None:
    """With the cause its code counts; without, the arguments, which are the same."""
    outer = lookalike("django.db.utils.OperationalError")
    with pytest.raises(outer) as caught:
        raise outer("deadlock") from lookalike("psycopg.errors.DeadlockDetected", sqlstate="40P01")("deadlock")
    assert classify(caught.value).error_code == "SQLSTATE 40P01"
    assert classify(outer(1205, "Lock wait timeout exceeded")).error_code == "MySQL 1205"


def test_peewee_wraps_without_a_cause() -> None:
    """It re-raises in the handler with the driver's own arguments, so the context is the same fault."""
    outer = lookalike("peewee.OperationalError")(2006, "gone away")
    outer.__context__ = lookalike("pymysql.err.OperationalError")(2006, "gone away")
    info = classify(outer)
    assert (info.error_type, info.is_retryable, info.error_code) == (N, True, "MySQL 2006")
