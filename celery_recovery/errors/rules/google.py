"""Google: api_core and google-cloud by class, status and reason; google.auth by its flag; googleapiclient by status."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.retry_after import seconds
from celery_recovery.errors.rules.grpc import by_grpc_code
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import headers_of, stated, status_of, under
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
_THROTTLED = transient(_N, rule="reason.throttled")
_SERVER = transient(_N, rule="reason.server")
_USED_UP = permanent(_N, severity=_HIGH, rule="reason.quota")
_NO_CREDENTIALS = permanent(_N, severity=_HIGH)
_MISUSE = permanent(_V)

# Reasons of error bodies (lower case, no underscores) that say more than the status: 403 is used for throttling, too.
_REASONS: dict[str, Verdict] = {
    **dict.fromkeys(
        [
            "ratelimitexceeded",
            "userratelimitexceeded",
            "jobratelimitexceeded",
            "concurrentlimitexceeded",
            "sharingratelimitexceeded",
            "resourceexhausted",
            "servinglimitexceeded",
            "slowdown",
        ],
        _THROTTLED,
    ),
    **dict.fromkeys(
        [
            "backenderror",
            "internalerror",
            "internal",
            "badgateway",
            "jobbackenderror",
            "jobinternalerror",
            "backendnotconnected",
            "servicecurrentlyunavailable",
            "transienterror",
            "tableunavailable",
            "operationinprogress",
            "resourceinuse",
        ],
        _SERVER,
    ),
    **dict.fromkeys(
        [
            "dailylimitexceeded",
            "quotaexceeded",
            "dailylimitexceededunreg",
            "limitexceeded",
            "billingnotenabled",
            "billingtierlimitexceeded",
            "storagequotaexceeded",
            "teamdrivefilelimitexceeded",
            "accessnotconfigured",
            "billingdisabled",
            "servicedisabled",
            "apikeyinvalid",
        ],
        _USED_UP,
    ),
}


def _api_error(exc: Any) -> Answer:
    """google.api_core.exceptions.GoogleAPICallError: class, HTTP code, gRPC code and reason mostly say the same."""
    by_reason = _by_reason(attr(exc, "errors"), number(attr(exc, "code")), headers_of(exc), attr(exc, "details"))
    if by_reason is not None:
        return by_reason
    verdict = by_grpc_code(attr(exc, "grpc_status_code"))
    if verdict is None:
        verdict = by_status(attr(exc, "code"), headers_of(exc))
    if verdict is None:
        return None  # a subclass of the user's without either: what its class says
    return stated(verdict, wait=_delay(attr(exc, "details"))) if verdict.retryable else verdict


def _reasons(errors: Any) -> list[str]:
    if not isinstance(errors, (list, tuple)):
        return []
    found = (error.get("reason") if isinstance(error, dict) else attr(error, "reason") for error in errors[:10])
    return [reason.replace("_", "").lower() for reason in found if isinstance(reason, str)]


def _by_reason(errors: Any, status: int | None, headers: Any, details: Any) -> Verdict | None:
    for reason in _reasons(errors):
        verdict = _REASONS.get(reason)
        if verdict is not None and not (verdict is _USED_UP and status == 429):  # 429 is a quota by the minute
            return stated(verdict, reason, headers, _delay(details))
    return None


def _delay(details: Any) -> float | None:
    """google.rpc.RetryInfo among the details, as message or as JSON."""
    for detail in details[:20] if isinstance(details, (list, tuple)) else ():
        if isinstance(detail, dict):
            wish = detail.get("retryDelay")
            if wish is not None:
                return seconds(wish)
            continue
        wish = attr(detail, "retry_delay")
        if wish is not None:
            return seconds(attr(wish, "seconds", 0) + attr(wish, "nanos", 0) / 1e9)
    return None


def _http_error(exc: Any) -> Verdict | None:
    """googleapiclient.errors.HttpError: `resp` is a mapping of headers with a status."""
    resp, details = attr(exc, "resp"), attr(exc, "error_details")
    status = number(attr(resp, "status")) or number(attr(exc, "status_code"))
    by_reason = _by_reason(details, status, resp, details)
    if by_reason is not None:
        return by_reason
    verdict = by_status(status, resp)
    return stated(verdict, wait=_delay(details)) if verdict and verdict.retryable else verdict


def _batch_error(exc: Any) -> Verdict:
    return _http_error(exc) or _DOWN


def _retry_error(exc: Any) -> Through:
    return Through(exc.__cause__ or attr(exc, "cause"), _DOWN)


def _auth_error(exc: Any) -> Answer:
    """google.auth says itself whether a retry makes sense; a refresh that never reached the server is the network's."""
    if attr(exc, "retryable") is True:
        return _DOWN
    inner = exc.__cause__ or (exc.args[0] if exc.args else None)
    return Through(inner if isinstance(inner, BaseException) else None, _NO_CREDENTIALS)


def _bad_response(exc: Any) -> Verdict:
    """google.resumable_media: an answer with an unexpected status, kept as `response`."""
    status = status_of(exc)
    return (by_status(status, headers_of(exc)) if status else None) or _DOWN


def _sheet_error(exc: Any) -> Verdict | None:
    status = status_of(exc) or number(attr(exc, "code"))
    return by_status(status, headers_of(exc))


FAMILY = Family(
    name="google",
    classes={
        "google.api_core.exceptions.GoogleAPICallError": _api_error,
        "google.api_core.exceptions.RetryError": _retry_error,
        "google.api_core.exceptions.DuplicateCredentialArgs": _MISUSE,
        **under("google", _DOWN, "TransferStalledError MissingStatusHeaderError ResumeIncomplete"),
        **under("google", permanent(_S), "UploadCancelledError UnseekableStreamError"),
        **under(
            "google", _MISUSE, "UniverseMismatchError EmptyUniverseError FeatureGatingError InvalidOperationException"
        ),
        "google.api_core.future.polling._OperationNotComplete": transient(_S),
        "google.api_core.future.async_future._OperationNotComplete": transient(_S),
        "google.auth.exceptions.GoogleAuthError": _auth_error,
        "google.auth.exceptions.TransportError": _DOWN,
        "google.auth.exceptions.TimeoutError": _DOWN,
        "google.auth.exceptions.ResponseError": _DOWN,
        "googleapiclient.errors.HttpError": _http_error,
        "googleapiclient.errors.BatchError": _batch_error,
        "googleapiclient.errors.InvalidJsonError": permanent(_P),
        "googleapiclient.errors.Error": _MISUSE,
        "googleapiclient.discovery.APICoreVersionError": permanent(_S, severity=_HIGH),
        "google.resumable_media.common.InvalidResponse": _bad_response,
        "google.resumable_media.common.DataCorruption": _DOWN,  # the checksum of what came does not fit: fetch again
        "google.cloud.storage.exceptions.InvalidResponse": _bad_response,
        "google.cloud.storage.exceptions.DataCorruption": _DOWN,
        "google.cloud.storage.exceptions.InvalidPathError": _MISUSE,
        **under("google", _MISUSE, "MessageTooLargeError BadValueError BadArgumentError BadRequestError BadQueryError"),
        **under("google", _DOWN, "PublishError FlowControlLimitError AcknowledgeError ContextError RollbackError"),
        **under("google", permanent(_B), "PublishToPausedOrderingKeyException StreamClosedError"),
        "gspread.exceptions.APIError": _sheet_error,
        **under("gspread", permanent(_B), "SpreadsheetNotFound WorksheetNotFound CellNotFound NoValidUrlKeyFound"),
        **under("gspread", _MISUSE, "IncorrectCellLabel InvalidInputValue GSpreadException UnSupportedExportFormat"),
        "httplib2.ServerNotFoundError": _DOWN,
        "httplib2.error.ServerNotFoundError": _DOWN,
        **under("httplib2", _DOWN, "RelativeURIError RedirectMissingLocation FailedToDecompressContent"),
        **under(
            "httplib2",
            permanent(_N),
            "RedirectLimit UnimplementedDigestAuthOptionError CertificateValidationUnsupported",
        ),
        **under(
            "oauth2client",
            _NO_CREDENTIALS,
            "AccessTokenRefreshError FlowExchangeError ApplicationDefaultCredentialsError",
        ),
    },
)
