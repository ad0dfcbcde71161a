"""Microsoft Azure: azure.core by status and error code; identity, messaging, Cosmos DB, Storage; msrest, msal."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import each, headers_of, stated, status_of, text_code, under
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
_THROTTLED = transient(_N, rule="code.throttled")
_SERVER = transient(_N, rule="code.server")
_BUSY = transient(_B, rule="code.busy")  # being created, deleted or changed, and that ends
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_QUOTA = permanent(_B, rule="code.quota")
_MISUSE = permanent(_V)
_STATE = permanent(_B)

# Error codes that say something else than their status (mostly 409, where the status says "permanent").
_CODES: dict[str, Verdict] = {
    **each(_THROTTLED, "ServerBusy TooManyRequests SubscriptionRequestsThrottled OperationThrottled ThrottlingError"),
    **each(
        _SERVER,
        """InternalError InternalServerError OperationTimedOut ServiceUnavailable GatewayTimeout ServerTimeout
        AllocationFailed ZonalAllocationFailed OverconstrainedAllocationRequest RetryableError RetryWith
        ServiceTimeout""",
    ),
    **each(
        _BUSY,
        """ContainerBeingDeleted ContainerBeingCreated ShareBeingDeleted QueueBeingDeleted TableBeingDeleted
        AccountBeingCreated ResourceGroupBeingDeleted LeaseAlreadyPresent LeaseIsBreakingAndCannotBeAcquired
        LeaseIsBreakingAndCannotBeChanged BlobBeingRehydrated PendingCopyOperation FileLockConflict SharingViolation
        DeletePending ParallelAccessNotAllowed AnotherOperationInProgress OperationInProgress ConcurrentWriteConflict
        ResourceNotReady RequestConflict""",
    ),
    **each(_QUOTA, "QuotaExceeded OperationNotAllowed ResourceQuotaExceeded SkuNotAvailable InsufficientAccountQuota"),
    **each(_MISUSE, "InvalidHeaderValue InvalidInput OutOfRangeInput RequestBodyTooLarge Md5Mismatch"),
}
# Cosmos DB's own use of statuses: https://learn.microsoft.com/azure/cosmos-db/nosql/conceptual-resilient-sdk-applications
_COSMOS = {
    408: transient(_N, "HTTP 408", rule="cosmos.408"),
    410: transient(_N, "HTTP 410", rule="cosmos.410"),  # the partition has moved
    449: transient(_N, "HTTP 449", rule="cosmos.449"),  # a concurrent write
}
_COSMOS_SUB = {
    (403, 3): transient(_N, "HTTP 403/3", rule="cosmos.write_region"),  # the write region is changing
    (404, 1002): transient(
        _N, "HTTP 404/1002", rule="cosmos.session"
    ),  # the replica has not caught up with the session
}


def _response_error(exc: Any) -> Answer:
    """azure.core.exceptions.HttpResponseError and its subclasses: the error's code, else the status."""
    code = _code(exc)
    if code in _CODES:
        return stated(_CODES[code], code, headers_of(exc))
    verdict = by_status(status_of(exc), headers_of(exc))
    if verdict is not None:
        return stated(verdict, code) if code else verdict
    inner = exc.__cause__ or attr(exc, "inner_exception")
    return Through(inner, _DOWN) if inner is not None else None


def _code(exc: Any) -> str | None:
    for value in (attr(exc, "error_code"), attr(attr(exc, "error"), "code")):
        text = text_code(attr(value, "value", value))
        if text is not None:
            return text
    return None


def _cosmos_error(exc: Any) -> Answer:
    status, sub = number(attr(exc, "status_code")), number(attr(exc, "sub_status"))
    verdict = _COSMOS_SUB.get((status or 0, sub or 0)) or _COSMOS.get(status or 0)
    return stated(verdict, headers=headers_of(exc)) if verdict else _response_error(exc)


def _authentication(exc: Any) -> Answer:
    """A token that could not be had: an answer with a status speaks, else the reason why there was none."""
    verdict = by_status(status_of(exc), headers_of(exc))
    return verdict or Through(exc.__cause__ or attr(exc, "inner_exception"), _NOT_ALLOWED)


def _resource(otherwise: Verdict) -> Any:
    """Classes that stand for one status: right even when the response is not at hand."""

    def look(exc: Any) -> Answer:
        code = _code(exc)
        if code in _CODES:
            return stated(_CODES[code], code, headers_of(exc))
        return stated(by_status(status_of(exc), headers_of(exc)) or otherwise, code)

    return look


def _unreadable(exc: Any) -> Answer:
    status = status_of(exc)
    return by_status(status, headers_of(exc)) if status and status >= 400 else permanent(_P)


def _never_arrived(exc: Any) -> Through:
    """The request or its answer got lost; what lies underneath is more precise (a certificate, say)."""
    return Through(exc.__cause__ or attr(exc, "inner_exception"), _DOWN)


def _service_bus(exc: Any) -> Answer:
    """What no class of its own stands for: the library's own flag."""
    retryable = attr(exc, "_retryable")
    inner = exc.__cause__ or attr(exc, "inner_exception")
    return Through(inner, Verdict(_N if retryable else _B, retryable is True))


# Conditions of AMQP 1.0 (section 2.8.15) and Microsoft's own, for errors of the protocol that come through unwrapped.
_CONDITIONS: dict[str, Verdict] = {
    **each(
        _DOWN,
        """amqp:internal-error amqp:connection:forced amqp:link:detach-forced amqp:socket-error amqp:unknown-error
        amqp:vendor-error amqp:link:stolen amqp:link:redirect amqp:connection:redirect amqp:resource-locked
        amqp:client-error com.microsoft:timeout com.microsoft:server-busy com.microsoft:operation-cancelled
        com.microsoft:container-close amqp:session:window-violation amqp:session:errant-link
        amqp:session:handle-in-use amqp:session:unattached-handle""",
    ),
    **each(_NOT_ALLOWED, "amqp:unauthorized-access com.microsoft:auth-failed com.microsoft:publisher-revoked-error"),
    **each(
        _MISUSE,
        """amqp:decode-error amqp:invalid-field amqp:not-implemented amqp:not-allowed amqp:link:message-size-exceeded
        amqp:frame-size-too-small amqp:connection:framing-error com.microsoft:argument-error
        com.microsoft:argument-out-of-range""",
    ),
    **each(
        _STATE,
        """amqp:not-found amqp:resource-deleted amqp:precondition-failed amqp:illegal-state
        amqp:resource-limit-exceeded com.microsoft:entity-disabled com.microsoft:entity-already-exists
        com.microsoft:message-lock-lost com.microsoft:session-lock-lost""",
    ),
}


def _amqp(exc: Any) -> Verdict:
    condition = attr(exc, "condition")
    condition = attr(condition, "value", condition)
    text = condition.decode("latin-1") if isinstance(condition, bytes) else str(condition)
    return stated(_CONDITIONS.get(text, _DOWN), text if text.startswith(("amqp:", "com.microsoft:")) else None)


def _not_sent(exc: Any) -> Verdict:
    """azure.eventhub: a batch refused for its size stays too large."""
    return _MISUSE if "size" in str(exc) and "exceed" in str(exc) else _DOWN


def _msrest(exc: Any) -> Answer:
    return by_status(status_of(exc), headers_of(exc))


def _msal(exc: Any) -> Verdict:
    code = text_code(attr(exc, "error")) or (text_code(exc.args[0]) if exc.args else None)
    return stated(_DOWN if code in ("temporarily_unavailable", "server_error") else _NOT_ALLOWED, code)


FAMILY = Family(
    name="azure",
    classes={
        "azure.core.exceptions.HttpResponseError": _response_error,
        "azure.core.exceptions.ClientAuthenticationError": _authentication,
        "azure.core.exceptions.ResourceNotFoundError": _resource(_STATE),
        "azure.core.exceptions.ResourceExistsError": _resource(_STATE),
        "azure.core.exceptions.ResourceModifiedError": _resource(_STATE),
        "azure.core.exceptions.ResourceNotModifiedError": _resource(_STATE),
        "azure.core.exceptions.TooManyRedirectsError": permanent(_N),
        "azure.core.exceptions.DecodeError": _unreadable,
        "azure.core.exceptions.IncompleteReadError": _DOWN,
        "azure.core.exceptions.ServiceRequestError": _never_arrived,
        "azure.core.exceptions.ServiceResponseError": _never_arrived,
        "azure.core.exceptions.ServiceRequestTimeoutError": _DOWN,
        "azure.core.exceptions.ServiceResponseTimeoutError": _DOWN,
        **under("azure", permanent(_S), "StreamConsumedError StreamClosedError ResponseNotReadError"),
        **under(
            "azure", permanent(_P), "DeserializationError AvroException DataFileException SchemaResolutionException"
        ),
        **under("azure", _MISUSE, "SerializationError"),
        **under("azure", _DOWN, "BadResponse BadStatus"),
        "azure.core.polling.base_polling.OperationFailed": _STATE,
        "azure.core.exceptions.AzureError": _never_arrived,
        "azure.identity._exceptions.CredentialUnavailableError": _NOT_ALLOWED,
        "azure.storage.blob._shared.authentication.AzureSigningError": _NOT_ALLOWED,
        "azure.cosmos.exceptions.CosmosHttpResponseError": _cosmos_error,
        "azure.cosmos.exceptions.CosmosBatchOperationError": _cosmos_error,
        "azure.cosmos.exceptions.CosmosResourceNotFoundError": _cosmos_error,
        "azure.cosmos.exceptions.CosmosClientTimeoutError": _DOWN,
        "azure.servicebus.exceptions.ServiceBusError": _service_bus,
        **under(
            "azure",
            _DOWN,
            """ServiceBusConnectionError ServiceBusCommunicationError OperationTimeoutError SessionCannotBeLockedError
            AutoLockRenewTimeout ConnectError ConnectionLostError""",
        ),
        **under("azure", _THROTTLED, "ServiceBusServerBusyError"),
        **under("azure", _NOT_ALLOWED, "ServiceBusAuthenticationError ServiceBusAuthorizationError"),
        **under("azure", _MISUSE, "MessageSizeExceededError MessageAlreadySettled EventDataError"),
        **under(
            "azure",
            _STATE,
            """MessageLockLostError SessionLockLostError MessageNotFoundError MessagingEntityNotFoundError
            MessagingEntityDisabledError MessagingEntityAlreadyExistsError ServiceBusQuotaExceededError""",
        ),
        "azure.eventhub.exceptions.AuthenticationError": _NOT_ALLOWED,
        "azure.eventhub.exceptions.ClientClosedError": permanent(_S),
        "azure.eventhub.exceptions.OwnershipLostError": transient(_S),
        "azure.eventhub.exceptions.EventDataSendError": _not_sent,
        "azure.eventhub.exceptions.EventHubError": _never_arrived,
        **under("azure", _amqp, "AMQPException"),
        **under("azure", permanent(_P), "UnexpectedFrame AMQPDecodeError"),
        **under("uamqp", _amqp, "AMQPError AMQPConnectionError MessageException"),
        **under("msrest", _msrest, "HttpOperationError"),
        "msrest.exceptions.ClientRequestError": _never_arrived,
        "msrest.exceptions.AuthenticationError": _NOT_ALLOWED,
        "msrest.exceptions.TokenExpiredError": _NOT_ALLOWED,
        **under("msrest", _MISUSE, "ValidationError SerializationError"),
        "msrest.exceptions.DeserializationError": permanent(_P),
        "msrestazure.azure_exceptions.CloudError": _response_error,
        "msal.exceptions.MsalError": _msal,
        **under("msal", _NOT_ALLOWED, "ManagedIdentityError IdTokenError BrowserInteractionTimeoutError"),
        **under("adal", _NOT_ALLOWED, "AdalError"),
    },
)
