"""Amazon Web Services: the error code first, then the status."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from celery_recovery.errors.rules.aws import by_code
from tests.unit.errors.lookalike import lookalike

BotoCoreError = lookalike("botocore.exceptions.BotoCoreError")
ClientError = lookalike("botocore.exceptions.ClientError")


def client_error(code: str, status: int = 400, message: str = "", headers: Any = None, **more: Any) -> Any:
    """As botocore makes it: a parsed response and its metadata."""
    error: Any = ClientError(f"An error occurred ({code}) when calling the Op operation: {message}")
    error.response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
        **more,
    }
    return error


@pytest.mark.parametrize(
    "code",
    # botocore/retries/standard.py: ThrottledRetryableChecker, TransientRetryableChecker, RetryIDPCommunicationError
    """
    Throttling ThrottlingException ThrottledException RequestThrottledException TooManyRequestsException
    ProvisionedThroughputExceededException TransactionInProgressException RequestLimitExceeded BandwidthLimitExceeded
    LimitExceededException RequestThrottled SlowDown EC2ThrottledException RequestTimeout RequestTimeoutException
    PriorRequestNotComplete IDPCommunicationError
    """.split(),  # noqa: SIM905 (a list of words reads better as text)
)
def test_what_the_sdk_itself_retries_is_transient_although_the_status_is_400(code: str) -> None:
    """The SDK's own lists."""
    assert classify(client_error(code)).is_retryable


@pytest.mark.parametrize(
    ("code", "status", "error_type", "retryable"),
    [
        ("NoSuchKey", 404, ErrorType.BUSINESS_LOGIC, False),
        ("AccessDenied", 403, ErrorType.NETWORK, False),
        ("ValidationException", 400, ErrorType.VALIDATION, False),
        ("NotImplemented", 501, ErrorType.VALIDATION, False),
        ("InvalidRuntimeException", 502, ErrorType.VALIDATION, False),
        ("InternalError", 500, ErrorType.NETWORK, True),
        ("503", 503, ErrorType.NETWORK, True),
        ("404", 404, ErrorType.BUSINESS_LOGIC, False),
        ("InvalidInstanceID.NotFound", 400, ErrorType.BUSINESS_LOGIC, False),
        ("BrandNewThrottlingFault", 400, ErrorType.NETWORK, True),
        ("WidgetAlreadyExistsFault", 400, ErrorType.BUSINESS_LOGIC, False),
        ("CompletelyUnknown", 400, ErrorType.VALIDATION, False),
        ("CompletelyUnknown", 503, ErrorType.NETWORK, True),
    ],
)
def test_codes(code: str, status: int, error_type: ErrorType, retryable: bool) -> None:
    """Listed codes, codes that say by their form what they are, and the status for the rest."""
    info = classify(client_error(code, status))
    assert (info.error_type, info.is_retryable, info.error_code) == (error_type, retryable, info.error_code)


def test_the_code_is_kept_and_the_wait_is_read_from_the_headers() -> None:
    """`Retry-After` in seconds; `x-amz-retry-after` in milliseconds."""
    info = classify(client_error("TooManyRequestsException", 429, headers={"retry-after": "7"}))
    assert (info.error_code, info.retry_after) == ("TooManyRequestsException", 7.0)
    assert classify(client_error("SlowDown", 503, headers={"x-amz-retry-after": "1500"})).retry_after == 1.5


def test_modelled_exceptions_are_client_errors() -> None:
    """boto3 makes a class for each code, beneath ClientError."""
    error: Any = lookalike("botocore.errorfactory.ThrottlingException", ClientError)("slow")
    error.response = vars(client_error("ThrottlingException"))["response"]
    assert classify(error).is_retryable


@pytest.mark.parametrize(
    ("reasons", "retryable"),
    [
        (["None", "TransactionConflict"], True),
        (["ThrottlingError", "TransactionConflict"], True),
        (["ConditionalCheckFailed"], False),
        (["TransactionConflict", "ConditionalCheckFailed"], False),
        ([], False),
    ],
)
def test_a_cancelled_transaction_is_retried_only_if_every_reason_passes(reasons: list[str], retryable: bool) -> None:
    """The reasons are in the response or, with older versions, only in the message."""
    listed = [{"Code": reason} for reason in reasons]
    told = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{', '.join(reasons)}]"
    assert classify(client_error("TransactionCanceledException", CancellationReasons=listed)).is_retryable is retryable
    assert classify(client_error("TransactionCanceledException", message=told)).is_retryable is retryable


def test_code_spellings() -> None:
    """Namespaces, URIs and event streams' member names around the code."""
    for spelling in (
        "com.amazon.coral.availability#ThrottlingException",
        "ThrottlingException:http://internal.amazon.com/coral/",
        "throttlingException",
    ):
        verdict = by_code(spelling)
        assert verdict is not None
        assert verdict.retryable
    assert by_code(None) is None


@pytest.mark.parametrize(
    ("name", "retryable"),
    [
        ("EndpointConnectionError", True),
        ("ReadTimeoutError", True),
        ("ConnectionClosedError", True),
        ("IncompleteReadError", True),
        ("NoCredentialsError", False),
        ("ParamValidationError", False),
        ("NoRegionError", False),
        ("SSLError", False),
        ("SomethingAddedLater", False),
    ],
)
def test_faults_on_this_side(name: str, retryable: bool) -> None:
    """The way to the service passes; configuration and parameters do not."""
    assert classify(lookalike(f"botocore.exceptions.{name}", BotoCoreError)()).is_retryable is retryable


def test_a_waiter_that_ran_out_of_polls_may_succeed_later() -> None:
    """A terminal state will not change."""
    waiter = lookalike("botocore.exceptions.WaiterError", BotoCoreError)
    assert classify(waiter("Waiter BucketExists failed: Max attempts exceeded")).is_retryable
    assert not classify(waiter("Waiter StackCreate failed: Waiter encountered a terminal failure state")).is_retryable


def test_a_transfer_is_judged_by_what_stopped_it() -> None:
    """s3transfer keeps the last exception, boto3 only its text."""
    retries: Any = lookalike("s3transfer.exceptions.RetriesExceededError")()
    retries.last_exception = client_error("AccessDenied", 403)
    upload = lookalike("boto3.exceptions.S3UploadFailedError")
    assert not classify(retries).is_retryable
    assert not classify(upload("Failed to upload a to b/c: An error occurred (AccessDenied) when calling")).is_retryable
    assert classify(upload("Failed to upload a to b/c: An error occurred (SlowDown) when calling")).is_retryable
