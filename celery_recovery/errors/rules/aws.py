"""Amazon Web Services: botocore, boto3, s3transfer, aiobotocore.

Services answer with an error code in text, and reuse HTTP 400 for nearly everything: the code counts first, the status
only when the code says nothing. Which codes are throttling and which transient is botocore's own list (its *standard*
retry mode), widened by what the services' own error references call retryable.
"""

from __future__ import annotations

import re
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import each, stated, under
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_code")

_N, _V, _B, _S, _P, _F = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.PARSING,
    ErrorType.FILESYSTEM,
)
_HIGH = ErrorSeverity.HIGH
_THROTTLED = transient(_N, rule="throttled")
_SERVER = transient(_N, rule="server")
_BUSY = transient(_B, rule="busy")  # something of the user's is being changed by someone else, and that ends
_NOT_ALLOWED = permanent(_N, severity=_HIGH, rule="not_allowed")
_MISSING = permanent(_B, rule="missing")
_EXISTS = permanent(_B, rule="exists")
_QUOTA = permanent(_B, rule="quota")  # a quota of things, not of requests: a person raises it or cleans up
_INVALID = permanent(_V, rule="invalid")
_STATE = permanent(_B, rule="state")

_CODES: dict[str, Verdict] = {
    **each(
        _THROTTLED,
        """Throttling ThrottlingException ThrottledException Throttled RequestThrottledException RequestThrottled
        TooManyRequestsException TooManyRequests ProvisionedThroughputExceededException ProvisionedThroughputExceeded
        RequestLimitExceeded BandwidthLimitExceeded LimitExceededException SlowDown EC2ThrottledException
        KMSThrottling KMSThrottlingException KmsThrottled KmsThrottlingException OverLimit MaxSpendRateExceeded
        MaximumSendingRateExceeded RequestThrottledError SlowDownRead SlowDownWrite EnhanceYourCalm
        ConcurrentInvocationLimitExceeded ReservedFunctionConcurrentInvocationLimitExceeded ModelNotReadyException
        TooManyUpdates OpsMetadataTooManyUpdatesException ThroughputExceededException BulkThrottled""",
    ),
    **each(
        _SERVER,
        """InternalError InternalFailure InternalServerError InternalServerErrorException InternalServerException
        InternalServiceError InternalServiceErrorException InternalServiceException InternalErrorException
        InternalException InternalFailureException ServiceUnavailable ServiceUnavailableException
        ServiceUnavailableError ServiceFailure ServiceException ServerException Unavailable UnavailableException
        RequestTimeout RequestTimeoutException RequestExpiredBeforeSent PriorRequestNotComplete IDPCommunicationError
        IDPCommunicationErrorException DependencyTimeoutException KMSInternalException KeyUnavailableException
        EC2UnexpectedException ENINotReadyException EFSIOException EFSMountTimeoutException
        EFSMountConnectivityException S3FilesMountTimeoutException S3FilesMountConnectivityException
        SnapStartTimeoutException ModelTimeoutException ModelErrorException ModelStreamErrorException ResponseTimeout
        CallbackTimeoutException OperationTimeoutException InternalStreamingException SessionStreamingException
        FederationSourceRetryableException InsufficientInstanceCapacity InsufficientHostCapacity
        InsufficientReservedInstanceCapacity InsufficientCapacity InsufficientCapacityException
        InsufficientDBInstanceCapacity InsufficientDBClusterCapacityFault InsufficientStorageClusterCapacity
        CapacityNotAvailableException HTTPGatewayTimeout ServiceQuotaUnavailable EncryptionServiceUnavailable
        MetadataException UnexpectedLambdaException CodeDeliveryFailureException XksProxyUriUnreachableException
        TargetNotConnected TargetNotConnectedException IncompleteBody""",
    ),
    **each(
        _BUSY,
        """TransactionInProgressException TransactionConflictException TransactionConflict
        ReplicatedWriteConflictException OperationAborted OperationAbortedException ConcurrentModificationException
        ConcurrentModification ConcurrentAccess ConcurrentRunsExceededException ConcurrentUpdateException
        ConditionalRequestConflict ResourceInUseException ResourceConflictException ResourceNotReadyException
        ResourceNotReady TableInUseException BackupInUseException UpdateInProgressException CrawlerRunningException
        CrawlerStoppingException SchedulerRunningException SchedulerTransitioningException SessionBusyException
        QueueDeletedRecently PurgeQueueInProgress SnapStartNotReadyException
        AWS.SimpleQueueService.QueueDeletedRecently AWS.SimpleQueueService.PurgeQueueInProgress DBInstanceNotReady
        CodeArtifactUserPendingException StateMachineDeleting IncorrectInstanceState IncorrectState
        MLTransformNotReadyException TargetInUseException UserImportInProgressException PendingVerification StaleTag
        InvalidDBInstanceState InvalidDBClusterStateFault InvalidDBSnapshotState ConcurrentTagAccess
        ScalingActivityInProgress ResourceContention OperationInProgressException OperationInProgress
        TooManyConcurrentRequests PriorRequestNotFinished""",
    ),
    **each(
        _NOT_ALLOWED,
        """AccessDenied AccessDeniedException AccessDeniedError UnauthorizedOperation UnauthorizedException
        Unauthorized AuthFailure AuthorizationError AuthorizationErrorException AuthorizationHeaderMalformed
        NotAuthorized NotAuthorizedException InvalidAccessKeyId InvalidClientTokenId UnrecognizedClientException
        SignatureDoesNotMatch InvalidSignatureException IncompleteSignature MissingAuthenticationToken
        MissingAuthenticationTokenException ExpiredToken ExpiredTokenException ExpiredTokenError TokenRefreshRequired
        InvalidToken InvalidIdentityToken InvalidSecurity RequestExpired RequestTimeTooSkewed RequestInTheFuture
        OptInRequired SubscriptionRequiredException AccountProblem AllAccessDisabled InvalidPayer NotSignedUp
        AccountSuspendedException AccountSendingPausedException SendingPausedException
        ConfigurationSetSendingPausedException ProductionAccessNotGranted KMSAccessDenied KMSAccessDeniedException
        KmsAccessDenied KmsAccessDeniedException EC2AccessDeniedException ForbiddenException Forbidden
        IDPRejectedClaim RegionDisabledException KMSOptInRequired KmsOptInRequired IamRoleMissingPermissions
        PasswordResetRequiredException UserNotConfirmedException 403 401""",
    ),
    **each(
        _MISSING,
        """NoSuchKey NoSuchBucket NoSuchUpload NoSuchVersion NoSuchBucketPolicy NoSuchLifecycleConfiguration
        NoSuchEntity NoSuchTagSet NoSuchCORSConfiguration NoSuchHostedZone NoSuchWebsiteConfiguration
        ResourceNotFoundException ResourceNotFound ResourceNotFoundFault NotFound NotFoundException
        EntityNotFoundException QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue NonExistentQueue
        ParameterNotFound DecryptionFailureNotFound 404 TaskDoesNotExist TaskTimedOut ExecutionDoesNotExist
        InvalidKeyPair.NotFound MessageNotInflight AWS.SimpleQueueService.MessageNotInflight ExpiredIteratorException
        ExpiredNextTokenException TrimmedDataAccessException""",
    ),
    **each(
        _EXISTS,
        """BucketAlreadyExists BucketAlreadyOwnedByYou EntityAlreadyExists EntityAlreadyExistsException AlreadyExists
        QueueNameExists QueueAlreadyExists AWS.SimpleQueueService.QueueNameExists ResourceAlreadyExistsException
        ResourceExistsException DuplicateItemException ExecutionAlreadyExists DataAlreadyAcceptedException
        DurableExecutionAlreadyStartedException DuplicateRequest""",
    ),
    **each(
        _QUOTA,
        """QuotaExceeded ServiceQuotaExceededException LimitExceeded InstanceLimitExceeded VcpuLimitExceeded
        VpcLimitExceeded AddressLimitExceeded TooManyBuckets AccountLimitExceeded CodeStorageExceededException
        StorageQuotaExceeded DailyQuotaExceeded ItemCollectionSizeLimitExceededException ENILimitReachedException
        SubnetIPAddressLimitReachedException InsufficientFreeAddressesInSubnet ResourceNumberLimitExceededException""",
    ),
    **each(
        _STATE,
        """ConditionalCheckFailedException ConditionalCheckFailed PreconditionFailed PreconditionFailedException
        ConflictException ResourceConflict MessageRejected MailFromDomainNotVerified
        MailFromDomainNotVerifiedException FromEmailAddressNotVerified EndpointDisabled EndpointDisabledException
        OptedOut OptedOutException PlatformApplicationDisabled DisabledException KMSDisabled KMSDisabledException
        KmsDisabled KMSInvalidState KMSInvalidStateException KmsInvalidState KmsInvalidStateException
        InvalidObjectState ObjectNotInActiveTierError RecursiveInvocationException NotModified 304 DependencyViolation
        DeleteConflict""",
    ),
    **each(
        _INVALID,
        """ValidationException ValidationError ValidationFailed SerializationException SerializationError MalformedXML
        MalformedQueryString MalformedPOSTRequest MalformedPolicyDocument InvalidArgument InvalidArgumentException
        InvalidParameter InvalidParameterException InvalidParameterValue InvalidParameterValueException
        InvalidParameterCombination InvalidRequest InvalidRequestException InvalidRequestContentException InvalidInput
        InvalidInputException InvalidAction InvalidBucketName InvalidDigest InvalidRange InvalidPart InvalidPartOrder
        InvalidURI InvalidMessageContents InvalidCiphertextException InvalidAddress InvalidAttributeName
        InvalidAttributeValue InvalidIdFormat InvalidNextToken InvalidNextTokenException BadDigest BadRequest
        BadRequestException KeyTooLongError EntityTooLarge EntityTooSmall RequestTooLargeException
        RequestEntityTooLarge MetadataTooLarge MaxMessageLengthExceeded MissingParameter MissingAction
        MissingContentLength MissingRequiredParameter UnknownOperationException UnknownOperation UnknownParameter
        UnsupportedMediaTypeException MethodNotAllowed NotImplemented UnsupportedOperation
        AWS.SimpleQueueService.UnsupportedOperation BatchRequestTooLong TooManyEntriesInBatchRequest EmptyBatchRequest
        BatchEntryIdsNotDistinct InvalidBatchEntryId ReceiptHandleIsInvalid IncorrectKeyException
        InvalidKeyUsageException DecryptionFailure EncryptionFailure PermanentRedirect InvalidLocationConstraint
        IllegalLocationConstraintException IdempotentParameterMismatch IdempotentParameterMismatchException
        IdempotencyParameterMismatch XAmzContentSHA256Mismatch 400 405 411 416 DryRunOperation
        DryRunOperationException InvalidRuntimeException InvalidZipFileException InvalidSecurityGroupIDException
        InvalidSubnetIDException InvalidRole MissingVersionException InvalidS3ObjectException
        InvalidImageFormatException ImageTooLargeException UnsupportedDocumentException""",
    ),
    "Redirect": _SERVER,  # S3 moves a new bucket: the name resolves to the right region after a while
    "TemporaryRedirect": _SERVER,
}
# Codes that no list names say by their form what they are: thousands of services' codes follow these conventions.
_FORMS: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(form), verdict)
    for form, verdict in (
        (r"Throttl|TooManyRequests|RateExceeded|RateLimit|SlowDown", _THROTTLED),
        (r"NotFound|DoesNotExist|NoSuch|NotExist|NotFoundFault", _MISSING),
        (r"AlreadyExist|Duplicate|NameInUse|AlreadyIn", _EXISTS),
        (r"AccessDenied|Unauthorized|NotAuthorized|Forbidden|ExpiredToken|CredentialsExpired", _NOT_ALLOWED),
        (r"(Quota|Limit)(Exceeded|Reached)|LimitExceeded", _QUOTA),
        (r"InProgress|Concurrent|InUse|NotReady", _BUSY),
        (r"Internal(Server|Service|Failure|Error)|Unavailable(Exception|Error|Fault)?$|Timeout", _SERVER),
        (r"^(Invalid|Malformed|Missing|Unsupported|Illegal|Incompatible)|TooLong|TooLarge|Mismatch", _INVALID),
    )
)
_TRANSACTION_RETRIES = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_GOOD = frozenset({None, "None"})


def by_code(code: Any) -> Verdict | None:
    """The verdict on an AWS error code (`"ns#Code:uri"` is read as `"Code"`); None for one of no known form."""
    if not isinstance(code, str):
        return None
    found = _CODES.get(code)
    if found is None and ("#" in code or ":" in code):
        code = code.rpartition("#")[2].partition(":")[0]
        found = _CODES.get(code)
    if found is None and code[:1].islower():  # event streams write their exceptions as members: "throttlingException"
        code = code[0].upper() + code[1:]
        found = _CODES.get(code)
    if found is not None:
        return found
    for form, verdict in _FORMS:
        if form.search(code):
            return verdict
    return None


def _client_error(exc: Any) -> Answer:
    response = exc.response
    error = response.get("Error") or {}
    meta = response.get("ResponseMetadata") or {}
    code, status, headers = error.get("Code"), number(meta.get("HTTPStatusCode")), meta.get("HTTPHeaders")
    if code in ("TransactionCanceledException", "TransactionCanceled"):
        return stated(_by_reasons(response, error), code)
    verdict = by_code(code)
    if verdict is None or (status is not None and status >= 500 and code not in _CODES):
        return stated(by_status(status, headers) or verdict or permanent(_V), code, headers)
    return stated(verdict, code, headers, _wait(headers) if verdict.retryable else None)


def _wait(headers: Any) -> float | None:
    """`x-amz-retry-after`, in milliseconds."""
    wait = number(headers.get("x-amz-retry-after")) if headers else None
    return None if wait is None or wait < 0 else min(wait / 1000.0, 86_400.0)


def _by_reasons(response: Any, error: Any) -> Verdict:
    """A cancelled DynamoDB transaction is worth another go only if every reason of it is."""
    reasons = response.get("CancellationReasons")
    codes = {reason.get("Code") for reason in reasons} if reasons else _codes_in(str(error.get("Message")))
    bad = codes - _GOOD
    return _BUSY if bad and bad <= _TRANSACTION_RETRIES else _STATE


def _codes_in(message: str) -> set[str]:
    listed = re.search(r"\[([\w, ]{1,2000})\]", message)
    return {code.strip() for code in listed[1].split(",")} if listed else set()


def _waiter_error(exc: Any) -> Verdict:
    """A waiter that ran out of polls may succeed later; one that met a terminal state will not."""
    if "Max attempts" in str(exc):
        return transient(_S, "Max attempts exceeded")
    last = attr(exc, "last_response")
    error = last.get("Error") if isinstance(last, dict) else None
    return (by_code(error.get("Code")) if error else None) or _STATE


def _retries_exceeded(exc: Any) -> Through:
    return Through(attr(exc, "last_exception"), _SERVER)


_DOWN = transient(_N)
_MISUSE = permanent(_V)
_NO_CREDENTIALS = permanent(_N, severity=_HIGH)
_CONFIGURATION = permanent(_S, severity=_HIGH)


def _from_cause(exc: Any) -> Through:
    """boto3 folds the service's error into text: its `__cause__` or context still has it, else the code in brackets."""
    named = re.search(r"An error occurred \((\w[\w.]{1,80})\)", str(exc))
    inner = exc.__cause__ or exc.__context__
    return Through(inner, stated(by_code(named[1]) or _DOWN, named[1]) if named else _DOWN)


FAMILY = Family(
    name="aws",
    classes={
        "botocore.exceptions.ClientError": _client_error,
        "botocore.exceptions.WaiterError": _waiter_error,
        "botocore.exceptions.HTTPClientError": _DOWN,
        "botocore.exceptions.ConnectionError": _DOWN,
        "botocore.exceptions.SSLError": permanent(_N, severity=_HIGH),
        **under(
            "botocore",
            _DOWN,
            """EndpointConnectionError ConnectionClosedError ConnectTimeoutError ReadTimeoutError ProxyConnectionError
            ResponseStreamingError IncompleteReadError ChecksumError FlexibleChecksumError MetadataRetrievalError
            CredentialRetrievalError TokenRetrievalError EndpointDiscoveryRefreshFailed CapacityNotAvailableError
            _RetriesExceededError ResponseParserError ChecksumMismatch NoInitialResponseError""",
        ),
        "aiobotocore.response.AioReadTimeoutError": _DOWN,
        **under(
            "botocore",
            _NO_CREDENTIALS,
            """NoCredentialsError PartialCredentialsError NoAuthTokenError SSOError SSOTokenLoadError
            UnauthorizedSSOTokenError LoginError RefreshWithMFAUnsupportedError UnknownCredentialError
            ProfileNotFound""",
        ),
        **under(
            "botocore",
            _CONFIGURATION,
            """NoRegionError BaseEndpointResolverError ConfigNotFound ConfigParseError InvalidConfigError
            InvalidProxiesConfigError InvalidRetryConfigurationError InvalidIMDSEndpointError
            InvalidIMDSEndpointModeError MissingDependencyException MD5UnavailableError InvalidDefaultsMode
            DataNotFoundError ApiVersionNotFoundError EndpointProviderError UnknownServiceStyle
            UnknownSignatureVersionError UnsupportedSignatureVersionError UnsupportedServiceProtocolsError
            UnknownTokenProviderError BadIMDSRequestError""",
        ),
        **under("botocore", permanent(_P), "ParserError InvalidHeadersLength InvalidPayloadLength DuplicateHeader"),
        "botocore.exceptions.BotoCoreError": _MISUSE,  # what is left: bad parameters, paginators, endpoints, ARNs
        "botocore.utils.InvalidArnException": _MISUSE,
        **under(
            "botocore",
            _MISUSE,
            "UndefinedModelAttributeError InvalidShapeError NoShapeFoundError OperationNotFoundError",
        ),
        **under("botocore", permanent(_V), "ParamValidationError ValidationError"),
        **under("boto3", _from_cause, "S3UploadFailedError S3TransferFailedError"),
        "boto3.exceptions.RetriesExceededError": _retries_exceeded,
        **under("boto3", _MISUSE, "Boto3Error ResourceNotExistsError UnknownAPIVersionError"),
        "s3transfer.exceptions.RetriesExceededError": _retries_exceeded,
        **under("s3transfer", _from_cause, "S3UploadFailedError S3DownloadFailedError S3CopyFailedError"),
        **under("s3transfer", _MISUSE, "InvalidSubscriberMethodError S3ValidationError"),
        **under("s3transfer", transient(_S), "TransferNotDoneError FatalError QueueShutdownError NoResourcesAvailable"),
        "s3transfer.exceptions.CancelledError": transient(_S),
        "s3transfer.bandwidth.RequestExceededException": _THROTTLED,
    },
)
