"""MongoDB: the server's codes and labels."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

N, S, V, C = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.SCHEMA


def failure(code: int | None, *labels: str, text: str = "text", **attrs: Any) -> BaseException:
    def has_error_label(_: BaseException, label: str) -> bool:
        return label in labels

    base = lookalike("pymongo.errors.PyMongoError", has_error_label=has_error_label)
    return lookalike("pymongo.errors.OperationFailure", base, code=code, **attrs)(text)


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        (112, S, True),
        (50, S, True),
        (91, N, True),
        (189, N, True),
        (10107, N, True),
        (11600, N, True),
        (13, N, False),
        (18, N, False),
        (59, C, False),
        (26, C, False),
        (121, V, False),
        (11000, V, False),
        (22, ErrorType.PARSING, False),
        (987654, V, False),
    ],
)
def test_codes_of_the_server(code: int, expected: ErrorType, retryable: bool) -> None:
    """`error_codes.yml`; an unlisted one is a command that stays wrong."""
    info = classify(failure(code))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, f"MongoDB {code}")


@pytest.mark.parametrize(
    "label", ["TransientTransactionError", "RetryableWriteError", "UnknownTransactionCommitResult"]
)
def test_a_label_makes_any_code_worth_a_retry(label: str) -> None:
    """The server knows better than a table."""
    assert classify(failure(987654, label)).is_retryable


def test_one_permanent_write_makes_a_bulk_permanent() -> None:
    """A duplicate key among write conflicts stays a duplicate key."""
    bulk = lookalike("pymongo.errors.BulkWriteError")
    exc = bulk("batch op errors occurred")
    exc.details = {"writeErrors": [{"code": 112}, {"code": 11000}]}  # type: ignore[attr-defined]
    assert (classify(exc).is_retryable, classify(exc).error_code) == (False, "MongoDB 11000")
    exc.details = {"writeErrors": [], "writeConcernErrors": [{"code": 64}]}  # type: ignore[attr-defined]
    assert classify(exc).is_retryable


@pytest.mark.parametrize(
    ("name", "text", "expected", "retryable"),
    [
        ("AutoReconnect", "connection closed", N, True),
        ("ServerSelectionTimeoutError", "db:27017: [Errno 111] Connection refused", N, True),
        ("ServerSelectionTimeoutError", "SSL handshake failed: certificate verify failed", N, False),
        ("WaitQueueTimeoutError", "Timed out while checking out a connection", S, True),
        ("CursorNotFound", "cursor id 5 not found", S, True),
        ("DuplicateKeyError", "E11000", V, False),
        ("ConfigurationError", "bad option", S, False),
    ],
)
def test_classes_of_pymongo(name: str, text: str, expected: ErrorType, retryable: bool) -> None:
    """What the driver finds out by itself."""
    info = classify(lookalike(f"pymongo.errors.{name}")(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
