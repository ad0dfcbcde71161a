"""Google's libraries: class, status, gRPC code and reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

CallError = lookalike("google.api_core.exceptions.GoogleAPICallError", grpc_status_code=None, errors=(), details=())
AuthError = lookalike("google.auth.exceptions.GoogleAuthError", retryable=False)


@pytest.mark.parametrize(
    ("code", "grpc", "retryable"),
    [
        (429, "RESOURCE_EXHAUSTED", True),
        (503, "UNAVAILABLE", True),
        (504, "DEADLINE_EXCEEDED", True),
        (409, "ABORTED", True),  # 409 as ALREADY_EXISTS is, yet the gRPC code is the more precise one
        (409, "ALREADY_EXISTS", False),
        (400, "FAILED_PRECONDITION", False),
        (403, "PERMISSION_DENIED", False),
        (500, "DATA_LOSS", False),
    ],
)
def test_the_grpc_code_counts_before_the_http_code(code: int, grpc: str, retryable: bool) -> None:
    """google.api_core classes carry both."""
    error = lookalike(
        "google.api_core.exceptions.Any", CallError, code=code, grpc_status_code=SimpleNamespace(name=grpc)
    )
    assert classify(error()).is_retryable is retryable


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (403, "rateLimitExceeded", True),
        (403, "userRateLimitExceeded", True),
        (403, "RATE_LIMIT_EXCEEDED", True),
        (403, "quotaExceeded", False),
        (429, "quotaExceeded", True),  # a quota by the minute
        (403, "dailyLimitExceeded", False),
        (403, "forbidden", False),
        (500, "backendError", True),
        (404, "notFound", False),
    ],
)
def test_the_reason_tells_throttling_from_a_closed_door(status: int, reason: str, retryable: bool) -> None:
    """Both APIs answer 403 to either."""
    http: Any = lookalike("googleapiclient.errors.HttpError")()
    http.resp, http.error_details = SimpleNamespace(status=status, items=dict), [{"reason": reason}]
    call = lookalike("google.api_core.exceptions.Forbidden", CallError, code=status, errors=[{"reason": reason}])()
    assert [classify(error).is_retryable for error in (http, call)] == [retryable, retryable]


@pytest.mark.parametrize(
    "detail",
    [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
        SimpleNamespace(retry_delay=SimpleNamespace(seconds=7, nanos=0)),
    ],
)
def test_retry_info_among_the_details_is_the_wait(detail: Any) -> None:
    """google.rpc.RetryInfo, as JSON and as message."""
    error = lookalike("google.api_core.exceptions.TooManyRequests", CallError, code=429, details=[detail])
    assert classify(error()).retry_after == 7.0


def test_google_auth_is_believed_about_itself() -> None:
    """`retryable`, and a refresh that never reached the server."""
    refresh = lookalike("google.auth.exceptions.RefreshError", AuthError)
    transport = lookalike("google.auth.exceptions.TransportError", AuthError)
    passing: Any = refresh("x")
    passing.retryable = True
    around = refresh("x")
    around.__cause__ = transport("no route")
    found = [classify(error).is_retryable for error in (refresh("invalid_grant"), passing, around, transport("x"))]
    assert found == [False, True, True, True]


def test_a_retry_that_gave_up_is_judged_by_its_cause() -> None:
    """google.api_core.exceptions.RetryError keeps the last one."""
    error = lookalike("google.api_core.exceptions.RetryError")("Deadline exceeded")
    error.__cause__ = lookalike("google.api_core.exceptions.Unavailable", CallError, code=503)()
    info = classify(error)
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)
