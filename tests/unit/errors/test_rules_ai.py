"""Language models: the error's type or code, the status, the server's own word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


def status_error(
    package: str, name: str, status: int, body: Any = None, headers: dict[str, str] | None = None, **attrs: Any
) -> Any:
    """As the generated SDKs make it."""
    error: Any = lookalike(f"{package}.{name}", lookalike(f"{package}.APIStatusError"))("m")
    error.status_code, error.body = status, body
    error.response = SimpleNamespace(status_code=status, headers=headers or {})
    for key, value in attrs.items():
        setattr(error, key, value)
    return error


@pytest.mark.parametrize("package", ["openai", "anthropic", "groq", "together"])
@pytest.mark.parametrize(
    ("name", "status", "retryable"),
    [
        ("RateLimitError", 429, True),
        ("InternalServerError", 500, True),
        ("InternalServerError", 529, True),
        ("ConflictError", 409, True),
        ("AuthenticationError", 401, False),
        ("BadRequestError", 400, False),
        ("NotFoundError", 404, False),
        ("UnprocessableEntityError", 422, False),
    ],
)
def test_statuses_of_the_generated_sdks(package: str, name: str, status: int, retryable: bool) -> None:
    """What these SDKs retry themselves is transient: 408, 409, 429 and 5xx."""
    assert classify(status_error(package, name, status)).is_retryable is retryable


def test_an_empty_account_is_not_throttling() -> None:
    """Both come with 429."""
    empty = status_error("openai", "RateLimitError", 429, {"type": "insufficient_quota", "code": "insufficient_quota"})
    fast = status_error("openai", "RateLimitError", 429, {"type": "requests", "code": "rate_limit_exceeded"})
    assert [(classify(error).is_retryable, classify(error).error_code) for error in (empty, fast)] == [
        (False, "insufficient_quota"),
        (True, "rate_limit_exceeded"),
    ]


def test_an_error_inside_a_stream_comes_with_200() -> None:
    """Its type is all there is."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert classify(status_error("anthropic", "APIStatusError", 200, body)).is_retryable


def test_a_type_that_is_said_of_everything_leaves_the_word_to_the_status() -> None:
    """`invalid_request_error` also accompanies 429 and 401."""
    body = {"type": "invalid_request_error", "code": None}
    assert classify(status_error("openai", "RateLimitError", 429, body)).is_retryable
    assert classify(status_error("openai", "BadRequestError", 400, body)).error_type is ErrorType.VALIDATION


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
    ],
)
def test_the_wait_is_that_of_the_limit_that_is_used_up(headers: dict[str, str], wait: float | None) -> None:
    """`Retry-After` first; else the reset of requests or tokens, whichever has none left."""
    assert classify(status_error("openai", "RateLimitError", 429, headers=headers)).retry_after == wait


def test_x_should_retry_overrules() -> None:
    """It is what these SDKs obey."""
    told = {"x-should-retry": "false"}
    assert not classify(status_error("anthropic", "InternalServerError", 500, headers=told)).is_retryable
    assert classify(status_error("anthropic", "BadRequestError", 400, headers={"x-should-retry": "true"})).is_retryable


def test_a_lost_connection_is_judged_by_its_cause() -> None:
    """APIConnectionError says nothing by itself."""
    error = lookalike("openai.APIConnectionError")("Connection error.")
    error.__cause__ = ValueError("illegal header value")
    assert not classify(error).is_retryable
    assert classify(lookalike("openai.APIConnectionError")("Connection error.")).is_retryable


def test_google_genai_tells_the_wait_in_its_details() -> None:
    """google.rpc.RetryInfo as JSON."""
    error: Any = lookalike("google.genai.errors.ClientError", lookalike("google.genai.errors.APIError"))("m")
    error.code, error.status = 429, "RESOURCE_EXHAUSTED"
    error.details = {"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"@type": "RetryInfo", "retryDelay": "7s"}]}}
    assert (classify(error).is_retryable, classify(error).retry_after) == (True, 7.0)


@pytest.mark.parametrize(
    ("path", "attrs", "retryable"),
    [
        ("cohere.core.api_error.ApiError", {"status_code": 429}, True),
        ("cohere.core.api_error.ApiError", {"status_code": 400}, False),
        ("mistralai.client.errors.sdkerror.SDKError", {"status_code": 503}, True),
        ("ollama._types.ResponseError", {"status_code": 404}, False),
        ("replicate.exceptions.ReplicateError", {"status": 402}, False),
        ("replicate.exceptions.ModelError", {}, False),
        ("huggingface_hub.errors.GatedRepoError", {}, False),
        ("huggingface_hub.errors.InferenceTimeoutError", {}, True),
        ("litellm.exceptions.ContextWindowExceededError", {"status_code": 400}, False),
        ("litellm.exceptions.BudgetExceededError", {}, False),
        ("litellm.types.router.RouterRateLimitError", {"cooldown_time": 30}, True),
        ("openai.error.ServiceUnavailableError", {"http_status": 503}, True),
        ("langchain_core.exceptions.ContextOverflowError", {}, False),
    ],
)
def test_other_libraries(path: str, attrs: dict[str, Any], retryable: bool) -> None:
    """By class, and by the status they carry."""
    error = lookalike(path)("m")
    for name, value in attrs.items():
        setattr(error, name, value)
    assert classify(error).is_retryable is retryable
