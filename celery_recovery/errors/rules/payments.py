"""Payment providers: Stripe, Braintree, PayPal, Adyen, Square, Razorpay, Mollie, GoCardless, Chargebee, Recurly, Plaid.

A declined card is an answer, not a fault: it stays declined until the customer does something, except for the few
reasons that issuers themselves call passing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import by_own_status, each, headers_of, stated, status_of, text_code, under
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _V, _B, _S, _P = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.PARSING,
)
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_INVALID = permanent(_V)
_REFUSED = permanent(_B)
_DECLINED = permanent(_B, rule="declined")
_DECLINED_FOR_NOW = transient(_B, rule="declined_for_now")
_LOCKED = transient(_N, rule="locked")
_MISSING = permanent(_B, rule="missing")

# https://docs.stripe.com/declines/codes: those whose next step is "try again"
_STRIPE_PASSING = frozenset(
    ["try_again_later", "processing_error", "issuer_not_available", "reenter_transaction", "approve_with_id"]
)
_STRIPE_CODES: dict[str, Verdict] = {
    **each(_LOCKED, "lock_timeout idempotency_key_in_use rate_limit"),
    **each(_MISSING, "resource_missing"),
    **each(
        _REFUSED,
        "resource_already_exists charge_already_refunded charge_already_captured payment_intent_unexpected_state",
    ),
    **each(_REFUSED, "balance_insufficient insufficient_funds amount_too_small amount_too_large account_invalid"),
}


def _stripe_card(exc: Any) -> Verdict:
    error = attr(exc, "error")
    decline = attr(error, "decline_code") or _in_body(exc, "decline_code") or attr(exc, "decline_code")
    code = text_code(decline) or text_code(attr(exc, "code"))
    passing = code in _STRIPE_PASSING or (decline is None and attr(exc, "code") in _STRIPE_PASSING)
    return _stripe_told(stated(_DECLINED_FOR_NOW if passing else _DECLINED, code), exc)


def _in_body(exc: Any, key: str) -> Any:
    body = attr(exc, "json_body")
    error = body.get("error") if isinstance(body, dict) else None
    return error.get(key) if isinstance(error, dict) else None


def _stripe(otherwise: Verdict | None = None) -> Look:
    """A look for Stripe's errors: the code where it says more than the status, then the status, then the class."""

    def look(exc: Any) -> Answer:
        headers = attr(exc, "headers")
        code = text_code(attr(exc, "code")) or text_code(_in_body(exc, "code"))
        verdict = _STRIPE_CODES.get(code or "")
        if verdict is None:
            verdict = by_status(attr(exc, "http_status"), headers) or otherwise
        return None if verdict is None else _stripe_told(stated(verdict, code, headers), exc)

    return look


def _stripe_told(verdict: Verdict, exc: Any) -> Verdict:
    """`stripe-should-retry` is what Stripe's own libraries obey."""
    headers = attr(exc, "headers")
    wish = headers.get("stripe-should-retry") if headers else None
    return replace(verdict, retryable=wish == "true") if wish in ("true", "false") else verdict


def _stripe_connection(exc: Any) -> Answer:
    if "SSL certificate" in str(exc):
        return _NOT_ALLOWED
    return Through(exc.__cause__, _DOWN)


def _or_status(otherwise: Verdict, *names: str) -> Look:
    """A look for classes with an HTTP status of that name (default: the usual ones); `otherwise` without one."""

    def look(exc: Any) -> Answer:
        status = status_of(exc, *names)
        return (by_status(status, headers_of(exc)) if status else None) or otherwise

    return look


# https://developer.squareup.com/docs/build-basics/handling-errors
_SQUARE: dict[str, Verdict] = {
    **each(
        transient(_N, rule="square"),
        """TEMPORARY_ERROR RATE_LIMITED SERVICE_UNAVAILABLE GATEWAY_TIMEOUT BAD_GATEWAY INTERNAL_SERVER_ERROR
        REQUEST_TIMEOUT""",
    ),
    **each(transient(_B, rule="square"), "VERSION_MISMATCH CONFLICT"),
    **each(_NOT_ALLOWED, "UNAUTHORIZED ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_REVOKED FORBIDDEN INSUFFICIENT_SCOPES"),
}


def _square(exc: Any) -> Answer:
    body = attr(exc, "body")
    errors = body.get("errors") if isinstance(body, dict) else attr(exc, "errors")
    for error in errors if isinstance(errors, list) else ():
        get = error.get if isinstance(error, dict) else lambda name, error=error: attr(error, name)
        code = text_code(get("code"))
        if code in _SQUARE:
            return stated(_SQUARE[code], code, headers_of(exc))
        if get("category") == "PAYMENT_METHOD_ERROR":
            return stated(_DECLINED, code)
    return by_own_status(exc)


# Categories of Adyen's and GoCardless's answers are plain statuses; what remains is by class.
_BRAINTREE_DOWN = """ServerError ServiceUnavailableError GatewayTimeoutError RequestTimeoutError TooManyRequestsError
    ConnectionError TimeoutError InvalidResponseError UnexpectedError"""


def _gocardless(otherwise: Verdict) -> Look:
    def look(exc: Any) -> Answer:
        status = number(attr(exc, "code")) or status_of(exc)
        return by_status(status, headers_of(exc)) or otherwise

    return look


def _chargebee(exc: Any) -> Answer:
    code = text_code(attr(exc, "api_error_code"))
    if code in ("api_request_limit_exceeded", "internal_temporary_error", "lock_timeout"):
        return stated(_DOWN, code)
    verdict = by_status(attr(exc, "http_status_code"))
    return stated(verdict, code) if verdict else None


FAMILY = Family(
    name="payments",
    classes={
        **under("stripe", _stripe_card, "CardError"),
        **under("stripe", _stripe_connection, "APIConnectionError"),
        **under("stripe", _stripe(_DOWN), "RateLimitError APIError"),
        **under("stripe", _stripe(_NOT_ALLOWED), "AuthenticationError PermissionError OAuthError"),
        **under("stripe", _stripe(_INVALID), "InvalidRequestError IdempotencyError"),
        **under("stripe", _INVALID, "SignatureVerificationError"),
        **under("stripe", _stripe(_REFUSED), "StripeError"),
        **under("stripe", transient(_B), "FxQuoteNeedsRefreshError"),
        **under("web3", _REFUSED, "ContractLogicError ContractCustomError ContractPanicError"),  # reverted on purpose
        **under("braintree", _DOWN, _BRAINTREE_DOWN),
        **under("braintree", _NOT_ALLOWED, "AuthenticationError AuthorizationError"),
        **under("braintree", permanent(_S, severity=_HIGH), "ConfigurationError UpgradeRequiredError"),
        **under("braintree", _INVALID, "InvalidSignatureError InvalidChallengeError"),
        **under("braintree", _REFUSED, "NotFoundError BraintreeError"),
        **under("paypalrestsdk", _or_status(_NOT_ALLOWED), "UnauthorizedAccess ForbiddenAccess"),
        **under("paypalrestsdk", _or_status(_INVALID), "BadRequest ResourceInvalid MethodNotAllowed"),
        **under("paypalrestsdk", _or_status(_REFUSED), "ResourceNotFound ResourceConflict ResourceGone ClientError"),
        **under("paypalrestsdk", _or_status(permanent(_N)), "Redirection"),
        **under("paypalrestsdk", _or_status(_DOWN), "ServerError ConnectionError"),
        **under("paypalrestsdk", permanent(_S, severity=_HIGH), "MissingConfig InvalidConfig"),
        "paypalrestsdk.exceptions.MissingParam": _INVALID,
        **under("paypalhttp", _or_status(_DOWN), "HttpError"),
        **under("paypalserversdk", _or_status(_DOWN, "response_code"), "ApiException ErrorException"),
        **under("apimatic_core", _or_status(_DOWN, "response_code"), "ApiException"),
        **under("Adyen", _or_status(_DOWN), "AdyenAPICommunicationError AdyenAPIResponseError"),
        **under("Adyen", _or_status(_NOT_ALLOWED), "AdyenAPIAuthenticationError AdyenAPIInvalidPermission"),
        **under(
            "Adyen", _or_status(_INVALID), "AdyenAPIValidationError AdyenAPIUnprocessableEntity AdyenAPIInvalidFormat"
        ),
        **under("Adyen", _INVALID, "AdyenInvalidRequestError AdyenEndpointInvalidFormat AdyenError"),
        **under("square", _square, "ApiError APIException"),
        **under("razorpay", _INVALID, "BadRequestError SignatureVerificationError"),
        **under("razorpay", _DOWN, "GatewayError ServerError"),
        **under("mollie", _or_status(_DOWN), "ResponseError"),
        **under("mollie", _or_status(_NOT_ALLOWED), "UnauthorizedError"),
        **under("mollie", _or_status(_INVALID), "BadRequestError UnprocessableEntityError"),
        **under("mollie", _or_status(_REFUSED), "NotFoundError ConflictError"),
        **under("mollie", _INVALID, "RequestSetupError IdentifierError EmbedNotFound DataConsistencyError Error"),
        **under("mollie", _DOWN, "RequestError ResponseHandlingError"),
        **under(
            "gocardless_pro",
            _gocardless(_DOWN),
            "ApiError GoCardlessInternalError RateLimitError MalformedResponseError",
        ),
        **under("gocardless_pro", _NOT_ALLOWED, "AuthenticationError PermissionsError"),
        **under("gocardless_pro", _INVALID, "InvalidApiUsageError ValidationFailedError InvalidSignatureError"),
        **under("gocardless_pro", _REFUSED, "InvalidStateError IdempotentCreationConflictError GoCardlessProError"),
        **under("chargebee", _chargebee, "APIError OperationFailedError InvalidRequestError"),
        **under("chargebee", _DECLINED, "PaymentError"),
        **under(
            "recurly", _DOWN, "NetworkError TimeoutError RateLimitedError InternalServerError ServiceUnavailableError"
        ),
        **under("recurly", _DOWN, "BadGatewayError TooManyRequestsError GatewayTimeoutError SimultaneousRequestError"),
        **under("recurly", _DECLINED, "TransactionError"),
        **under("recurly", _INVALID, "ValidationError BadRequestError InvalidContentTypeError"),
        **under("recurly", _REFUSED, "NotFoundError ApiError"),
        **under("recurly", _NOT_ALLOWED, "UnauthorizedError ForbiddenError InvalidApiKeyError"),
    },
)
