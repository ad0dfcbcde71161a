"""Azure's libraries: error codes that say more than their status, and what lies beneath a request that got lost."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

AzureError = lookalike("azure.core.exceptions.AzureError", inner_exception=None)
ResponseError = lookalike("azure.core.exceptions.HttpResponseError", AzureError, error=None, response=None)


def response_error(status: int, code: str | None = None, cls: Any = ResponseError, **headers: str) -> Any:
    """As azure.core makes it."""
    error: Any = cls("m")
    error.status_code, error.error_code = status, code
    error.response = SimpleNamespace(status_code=status, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return error


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (503, "ServerBusy", True),
        (500, "OperationTimedOut", True),
        (409, "ContainerBeingDeleted", True),
        (409, "AnotherOperationInProgress", True),
        (409, "BlobAlreadyExists", False),
        (404, "BlobNotFound", False),
        (403, "AuthenticationFailed", False),
        (400, "InvalidHeaderValue", False),
        (409, "QuotaExceeded", False),
    ],
)
def test_codes(status: int, code: str, retryable: bool) -> None:
    """409 covers both what passes and what does not."""
    info = classify(response_error(status, code))
    assert (info.is_retryable, info.error_code) == (retryable, code)


def test_throttling_carries_its_wait() -> None:
    """In seconds or, as Cosmos DB says it, in milliseconds."""
    assert classify(response_error(429, Retry_After="7")).retry_after == 7.0
    assert classify(response_error(429, x_ms_retry_after_ms="1500")).retry_after == 1.5


@pytest.mark.parametrize(
    ("status", "sub", "retryable"),
    [
        (449, 0, True),
        (410, 1002, True),
        (403, 3, True),
        (403, 0, False),
        (404, 1002, True),
        (404, 0, False),
        (412, 0, False),
    ],
)
def test_cosmos_uses_statuses_in_its_own_way(status: int, sub: int, retryable: bool) -> None:
    """410 is a partition that moved, 404/1002 a replica that has not caught up."""
    error: Any = response_error(status, cls=lookalike("azure.cosmos.exceptions.CosmosHttpResponseError", ResponseError))
    error.sub_status = sub
    assert classify(error).is_retryable is retryable


def test_a_lost_request_is_transient_unless_the_reason_is_permanent() -> None:
    """ServiceRequestError keeps what happened; a certificate does not become valid by itself."""
    lost = lookalike("azure.core.exceptions.ServiceRequestError", AzureError)
    certificate: Any = lost("m")
    certificate.inner_exception = ssl.SSLCertVerificationError(1, "certificate verify failed")
    assert classify(lost("m")).is_retryable
    assert not classify(certificate).is_retryable


@pytest.mark.parametrize(
    ("name", "retryable"),
    [
        ("servicebus.exceptions.ServiceBusServerBusyError", True),
        ("servicebus.exceptions.OperationTimeoutError", True),
        ("servicebus.exceptions.ServiceBusAuthenticationError", False),
        ("servicebus.exceptions.MessagingEntityNotFoundError", False),
        ("servicebus.exceptions.MessageSizeExceededError", False),
        ("eventhub.exceptions.ConnectionLostError", True),
        ("eventhub.exceptions.AuthenticationError", False),
        ("identity._exceptions.CredentialUnavailableError", False),
    ],
)
def test_classes_of_the_messaging_libraries(name: str, retryable: bool) -> None:
    """They have no status."""
    info = classify(lookalike(f"azure.{name}", AzureError)("m"))
    assert info.is_retryable is retryable
    assert info.error_type is not ErrorType.UNKNOWN


def test_amqp_conditions() -> None:
    """An error of the protocol that comes through unwrapped."""
    amqp: Any = lookalike("azure.eventhub._pyamqp.error.AMQPException")
    busy, denied = amqp("m"), amqp("m")
    busy.condition, denied.condition = b"com.microsoft:server-busy", b"amqp:unauthorized-access"
    assert [classify(error).is_retryable for error in (busy, denied)] == [True, False]
