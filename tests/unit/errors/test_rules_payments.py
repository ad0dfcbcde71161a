"""Payment providers: a declined card is an answer, an outage is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

StripeError = lookalike(
    "stripe._error.StripeError", http_status=None, code=None, headers=None, json_body=None, error=None
)


def stripe(name: str, status: int | None = None, code: str | None = None, headers: Any = None, **error: Any) -> Any:
    """As stripe-python makes it."""
    exc: Any = lookalike(f"stripe._error.{name}", StripeError)("m")
    exc.http_status, exc.code, exc.headers = status, code, headers or {}
    exc.json_body = {"error": {"code": code, **error}}
    exc.error = SimpleNamespace(**error)
    return exc


@pytest.mark.parametrize(
    ("code", "decline", "retryable"),
    [
        ("card_declined", "insufficient_funds", False),
        ("card_declined", "generic_decline", False),
        ("card_declined", "stolen_card", False),
        ("expired_card", None, False),
        ("card_declined", "try_again_later", True),
        ("card_declined", "issuer_not_available", True),
        ("processing_error", None, True),
    ],
)
def test_only_the_issuers_own_passing_reasons_are_worth_another_try(
    code: str, decline: str | None, retryable: bool
) -> None:
    """Stripe's table of decline codes, column "next steps"."""
    info = classify(stripe("CardError", 402, code, decline_code=decline))
    assert (info.error_type, info.is_retryable) == (ErrorType.BUSINESS_LOGIC, retryable)
    assert info.error_code == (decline or code)


@pytest.mark.parametrize(
    ("name", "status", "code", "retryable"),
    [
        ("RateLimitError", 429, "rate_limit", True),
        ("InvalidRequestError", 429, "lock_timeout", True),
        ("APIError", 409, "idempotency_key_in_use", True),
        ("APIError", 500, None, True),
        ("IdempotencyError", 400, None, False),
        ("InvalidRequestError", 404, "resource_missing", False),
        ("AuthenticationError", 401, None, False),
        ("SignatureVerificationError", None, None, False),
    ],
)
def test_stripe_codes_and_statuses(name: str, status: int | None, code: str | None, retryable: bool) -> None:
    """The code where it says more than the status."""
    assert classify(stripe(name, status, code)).is_retryable is retryable


def test_stripe_is_believed_about_itself() -> None:
    """`stripe-should-retry` overrules; `Retry-After` is the wait."""
    assert not classify(stripe("APIError", 500, headers={"stripe-should-retry": "false"})).is_retryable
    assert classify(stripe("RateLimitError", 429, headers={"retry-after": "7"})).retry_after == 7.0


@pytest.mark.parametrize(
    ("path", "attrs", "error_type", "retryable"),
    [
        ("braintree.exceptions.server_error.ServerError", {}, ErrorType.NETWORK, True),
        ("braintree.exceptions.not_found_error.NotFoundError", {}, ErrorType.BUSINESS_LOGIC, False),
        ("Adyen.exceptions.AdyenAPIUnprocessableEntity", {"status_code": 422}, ErrorType.VALIDATION, False),
        ("Adyen.exceptions.AdyenAPICommunicationError", {"status_code": 500}, ErrorType.NETWORK, True),
        ("razorpay.errors.GatewayError", {}, ErrorType.NETWORK, True),
        ("razorpay.errors.BadRequestError", {}, ErrorType.VALIDATION, False),
        ("paypalrestsdk.exceptions.ServerError", {}, ErrorType.NETWORK, True),
        ("paypalserversdk.exceptions.error_exception.ErrorException", {"response_code": 503}, ErrorType.NETWORK, True),
        ("mollie.api.error.RequestError", {}, ErrorType.NETWORK, True),
        ("gocardless_pro.errors.ValidationFailedError", {}, ErrorType.VALIDATION, False),
        ("gocardless_pro.errors.RateLimitError", {"code": 429}, ErrorType.NETWORK, True),
        (
            "square.core.api_error.ApiError",
            {"status_code": 400, "body": {"errors": [{"category": "PAYMENT_METHOD_ERROR", "code": "CARD_DECLINED"}]}},
            ErrorType.BUSINESS_LOGIC,
            False,
        ),
        (
            "square.core.api_error.ApiError",
            {"status_code": 400, "body": {"errors": [{"category": "API_ERROR", "code": "TEMPORARY_ERROR"}]}},
            ErrorType.NETWORK,
            True,
        ),
    ],
)
def test_other_providers(path: str, attrs: dict[str, Any], error_type: ErrorType, retryable: bool) -> None:
    """By class, status and code."""
    error = lookalike(path)("m")
    for name, value in attrs.items():
        setattr(error, name, value)
    info = classify(error)
    assert (info.error_type, info.is_retryable) == (error_type, retryable)
