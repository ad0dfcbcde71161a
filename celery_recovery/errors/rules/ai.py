"""Language models and their libraries: by the `type` or `code` of the error, then by HTTP status, then by class.

Most of these SDKs are made by the same generators, so they share names (`APIStatusError`, `RateLimitError` …) and
shape (`status_code`, `body`, `response.headers`). The type counts first: an empty account (`insufficient_quota`) comes
with 429, the same as "too fast", and an error inside a stream comes with 200.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr
from celery_recovery.errors.retry_after import seconds
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import each, headers_of, stated, status_of, under
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _V, _B, _S, _P, _F, _SCHEMA = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.PARSING,
    ErrorType.FILESYSTEM,
    ErrorType.SCHEMA,
)
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_THROTTLED = transient(_N, rule="code.throttled")
_OVERLOADED = transient(_N, rule="code.overloaded")
_USED_UP = permanent(_B, severity=_HIGH, rule="code.quota")
_NOT_ALLOWED = permanent(_N, severity=_HIGH, rule="code.not_allowed")
_INVALID = permanent(_V, rule="code.invalid")
_CONTENT = permanent(_B, rule="code.content")
_MISSING = permanent(_B, rule="code.missing")

_CODES: dict[str, Verdict] = {
    **each(
        _USED_UP,
        """insufficient_quota billing_hard_limit_reached billing_not_active billing_error quota_exceeded
        account_deactivated account_suspended organization_deactivated access_terminated insufficient_balance
        insufficient_credits insufficient_funds credit_balance_too_low spend_limit_reached
        enforced_spend_limit_reached contract_spend_limit_reached linked_organization_spend_limit_reached
        payment_required""",
    ),
    **each(
        _THROTTLED,
        """rate_limit_exceeded rate_limit_error rate_limited rate_limit tokens requests too_many_requests slow_down
        concurrency_limit_exceeded RESOURCE_EXHAUSTED ramp_limit_exceeded""",
    ),
    **each(
        _OVERLOADED,
        """overloaded_error overloaded engine_overloaded model_overloaded server_error api_error internal_error
        internal_server_error server_overloaded service_unavailable timeout_error request_timeout UNAVAILABLE INTERNAL
        DEADLINE_EXCEEDED model_not_ready model_loading server_is_overloaded vector_store_timeout""",
    ),
    **each(
        _NOT_ALLOWED,
        """invalid_api_key authentication_error permission_error invalid_authentication
        unsupported_country_region_territory invalid_organization ip_not_authorized PERMISSION_DENIED UNAUTHENTICATED
        mismatched_organization""",
    ),
    **each(
        _INVALID,
        """context_length_exceeded context_window_exceeded string_above_max_length array_above_max_length
        invalid_request_error invalid_prompt invalid_value invalid_type missing_required_parameter unknown_parameter
        unsupported_parameter unsupported_value invalid_function_parameters invalid_json_schema request_too_large
        invalid_image_url image_parse_error invalid_image INVALID_ARGUMENT FAILED_PRECONDITION""",
    ),
    **each(
        _CONTENT, "content_policy_violation content_filter moderation_blocked image_content_policy_violation safety"
    ),
    **each(
        _MISSING, "model_not_found not_found_error deployment_not_found DeploymentNotFound NOT_FOUND file_not_found"
    ),
}


def _shape(otherwise: Verdict | None = None) -> Look:
    """A look for classes of the shared shape; `otherwise` is what the class itself stands for."""

    def look(exc: Any) -> Answer:
        headers = headers_of(exc)
        status = status_of(exc, "status_code", "status", "http_status", "code")
        for code in _codes(exc):
            verdict = _CODES.get(code)
            # "invalid_request_error" is also said of 401, 404 and 429: there the status is the more precise of the two.
            if verdict is not None and not (
                verdict is _INVALID and status is not None and status not in (400, 413, 422)
            ):
                return _told(stated(verdict, code, headers), headers)
        verdict = by_status(status, headers) or otherwise
        return _told(verdict, headers) if verdict is not None else None

    return look


def _codes(exc: Any) -> Iterator[str]:
    """Codes and types, most telling first: of the error itself, then of its body."""
    body = attr(exc, "body")
    body = body if isinstance(body, dict) else attr(exc, "details")
    inner = body.get("error") if isinstance(body, dict) else None
    for holder in (inner, body):
        if isinstance(holder, dict):
            yield from (holder[key] for key in ("code", "type", "status") if isinstance(holder.get(key), str))
    yield from (
        value for value in (attr(exc, "code"), attr(exc, "type"), attr(exc, "status")) if isinstance(value, str)
    )


def _told(verdict: Verdict, headers: Any) -> Verdict:
    """With the server's own word on whether and when to come back (these SDKs obey `x-should-retry` themselves)."""
    if not headers:
        return verdict
    wish = headers.get("x-should-retry")
    if wish in ("true", "false"):
        verdict = replace(verdict, retryable=wish == "true")
    if verdict.retryable and verdict.retry_after is None:
        wait = _reset(headers)
        return verdict if wait is None else replace(verdict, retry_after=wait)
    return verdict


def _reset(headers: Any) -> float | None:
    """When the limit that is used up opens again: one header for requests, one for tokens."""
    waits = []
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        for remaining, reset in (
            (f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}"),
            (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset"),
        ):
            if headers.get(remaining) in ("0", 0):
                wait = seconds(headers.get(reset))
                if wait is not None:
                    waits.append(wait)
    return max(waits, default=None)


def _connection(exc: Any) -> Through:
    return Through(exc.__cause__, _DOWN)


# Class names of the generated SDKs, and what each stands for without a status at hand.
_CLASSES: dict[str, Verdict | Look] = {
    "APIConnectionError": _connection,
    "APITimeoutError": _DOWN,
    "APIError": _shape(_DOWN),
    "APIStatusError": _shape(),
    "APIResponseValidationError": permanent(_SCHEMA),
    "AuthenticationError": _shape(_NOT_ALLOWED),
    "PermissionDeniedError": _shape(_NOT_ALLOWED),
    "BadRequestError": _shape(_INVALID),
    "UnprocessableEntityError": _shape(_INVALID),
    "NotFoundError": _shape(_MISSING),
    "RateLimitError": _shape(_THROTTLED),
    "InternalServerError": _shape(_OVERLOADED),
    "StreamAlreadyConsumed": permanent(_S),
    "MissingStreamClassError": permanent(_S),
}


def _conflict(exc: Any) -> Answer:
    """409 of these services is a lock that was not had in time, and their SDKs retry it."""
    return _told(transient(_N, "HTTP 409", rule="status.409"), headers_of(exc))


_OPENAI_OLD: dict[str, Verdict | Look] = {  # openai before 1.0, and what was made like it
    "ServiceUnavailableError": _shape(_OVERLOADED),
    "TryAgain": _DOWN,
    "Timeout": _DOWN,
    "InvalidRequestError": _shape(_INVALID),
    "MalformedRequestError": _INVALID,
    "PermissionError": _NOT_ALLOWED,
    "SignatureVerificationError": _NOT_ALLOWED,
    "ServerError": _OVERLOADED,
}
_PACKAGES = "openai anthropic groq together cerebras writerai runwayml llama_stack_client replicate"


def _genai(exc: Any) -> Answer:
    """google.genai: the status word of the body, with google.rpc.RetryInfo in its details."""
    verdict = _shape(_DOWN)(exc)
    details = attr(exc, "details")
    error = details.get("error", details) if isinstance(details, dict) else {}
    listed = error.get("details") if isinstance(error, dict) else None
    if isinstance(verdict, Verdict) and verdict.retryable:
        for detail in listed if isinstance(listed, list) else ():
            if isinstance(detail, dict) and "retryDelay" in detail:
                return stated(verdict, wait=seconds(detail["retryDelay"]))
    return verdict


def _not_in_cache(exc: Any) -> Through:
    """huggingface_hub: a file that is not in the local cache, mostly because the hub could not be asked."""
    return Through(exc.__cause__, permanent(_F))


def _wrapped(otherwise: Verdict) -> Look:
    return lambda exc: Through(exc.__cause__, otherwise)


def _cooldown(exc: Any) -> Verdict:
    wait = attr(exc, "cooldown_time")
    return stated(_THROTTLED, wait=float(wait) if isinstance(wait, (int, float)) else None)


FAMILY = Family(
    name="ai",
    classes={
        **{f"{package}.*.{name}": answer for package in _PACKAGES.split() for name, answer in _CLASSES.items()},
        **{f"{package}.*.ConflictError": _conflict for package in _PACKAGES.split()},
        **{f"{package}.*.{name}": look for package in ("openai", "voyageai") for name, look in _OPENAI_OLD.items()},
        **{f"google.genai._interactions.{name}": look for name, look in _CLASSES.items()},
        "google.genai._interactions.ConflictError": _conflict,
        **under("google", _shape(_DOWN), "GenAiError"),
        **under("google", _DOWN, "NoResponseError ContinuationInterruptedError"),
        "openai.LengthFinishReasonError": permanent(_V),
        "openai.ContentFilterFinishReasonError": _CONTENT,
        "openai.WebSocketConnectionClosedError": _DOWN,
        "openai.WebSocketQueueFullError": transient(_S),
        "openai.InvalidWebhookSignatureError": permanent(_V),
        **under(
            "openai", permanent(_S), "OpenAIError APIRemovedInV1 MutuallyExclusiveAuthError MissingDependencyError"
        ),
        **under(
            "anthropic", _USED_UP, "ContractSpendLimitReachedError EnforcedSpendLimitReachedError PaymentRequiredError"
        ),
        **under(
            "anthropic",
            _shape(_OVERLOADED),
            "OverloadedError ServiceUnavailableError GatewayTimeoutError RequestTimeoutError",
        ),
        **under(
            "anthropic",
            _DOWN,
            "RetryableError ClientClosedRequestError BetaRequestBodyTimeoutError BetaScanPendingError",
        ),
        **under(
            "anthropic", _INVALID, "APIWebhookValidationError ContentTooLargeError RequestHeaderFieldsTooLargeError"
        ),
        **under("anthropic", _NOT_ALLOWED, "CredentialsError WorkloadIdentityError MutuallyExclusiveAuthError"),
        **under("anthropic", permanent(_S), "AnthropicError ToolError"),
        **under("groq", permanent(_S), "GroqError"),
        **under("together", _DOWN, "DownloadError RealtimeConnectionError RealtimeIdleTimeoutError"),
        **under("together", permanent(_V), "FileTypeError TogetherException"),
        **under("together", _shape(_DOWN), "ServiceUnavailableError Timeout"),
        **under("cohere", _shape(_DOWN), "ApiError CohereAPIError"),
        **under("cohere", permanent(_P), "ParsingError"),
        **under("cohere", _DOWN, "CohereConnectionError SSEError"),
        **under("mistralai", _shape(_DOWN), "MistralError SDKError MistralAPIException MistralAPIStatusException"),
        **under("mistralai", _shape(_INVALID), "HTTPValidationError"),
        **under("mistralai", permanent(_SCHEMA), "ResponseValidationError"),
        **under(
            "mistralai", _DOWN, "NoResponseError StreamDisconnectedError MistralConnectionException TemporaryError"
        ),
        "google.genai.errors.APIError": _genai,
        **under(
            "google", permanent(_V), "UnsupportedFunctionError UnknownFunctionCallArgumentError FunctionInvocationError"
        ),
        "google.genai.errors.UnknownApiResponseError": permanent(_P),
        "google.generativeai.types.generation_types.BlockedPromptException": _CONTENT,
        "google.generativeai.types.generation_types.StopCandidateException": _CONTENT,
        "replicate.exceptions.ReplicateError": _shape(_DOWN),
        "replicate.exceptions.ModelError": permanent(_B),
        **under("replicate", permanent(_V), "WebhookValidationError"),
        "ollama._types.ResponseError": _shape(_DOWN),
        "ollama._types.RequestError": permanent(_V),
        **under(
            "huggingface_hub",
            _DOWN,
            "OverloadedError InferenceTimeoutError InferenceEndpointTimeoutError XetDownloadError",
        ),
        **under("huggingface_hub", _DOWN, "GenerationError IncompleteGenerationError UnknownError FileMetadataError"),
        **under("huggingface_hub", _NOT_ALLOWED, "GatedRepoError DisabledRepoError LocalTokenNotFoundError OIDCError"),
        **under(
            "huggingface_hub",
            permanent(_B),
            """RepositoryNotFoundError RevisionNotFoundError EntryNotFoundError BucketNotFoundError JobNotFoundError
            NotASafetensorsRepoError RevisionResolutionError""",
        ),
        **under("huggingface_hub", permanent(_V), "HFValidationError ValidationError StrictDataclassError HfUriError"),
        **under("huggingface_hub", permanent(_P), "SafetensorsParsingError DDUFCorruptedFileError"),
        **under("huggingface_hub", permanent(_F), "CacheNotFound CorruptedCacheException"),
        **under("huggingface_hub", permanent(_S), "OfflineModeIsEnabled DryRunError"),
        **under("huggingface_hub", _not_in_cache, "LocalEntryNotFoundError"),
        **under("huggingface_hub", _shape(_DOWN), "HfHubHTTPError RemoteEntryNotFoundError"),
        **under("huggingface_hub", permanent(_B), "InferenceEndpointError"),
        "litellm.exceptions.BudgetExceededError": _USED_UP,
        "litellm.exceptions.Timeout": _DOWN,
        "litellm.exceptions.APIConnectionError": _connection,
        "litellm.exceptions.JSONSchemaValidationError": permanent(_SCHEMA),
        **under("litellm", _INVALID, "ContextWindowExceededError UnsupportedParamsError LiteLLMUnknownProvider"),
        **under("litellm", _CONTENT, "ContentPolicyViolationError GuardrailRaisedException BlockedPiiEntityError"),
        **under("litellm", _USED_UP, "PaymentRequiredError"),
        **under("litellm", _cooldown, "RouterRateLimitError RouterRateLimitErrorBasic"),
        **under("litellm", _shape(_DOWN), "BaseLLMException ProxyException CustomLLMError"),
        "langchain_core.exceptions.OutputParserException": transient(_P),  # the next answer of the model is another one
        **under(
            "langchain_core",
            _wrapped(_DOWN),
            "ModelRateLimitError ModelTimeoutError ModelConnectionError ModelAPIError",
        ),
        **under("langchain_core", _NOT_ALLOWED, "ModelAuthenticationError ModelPermissionDeniedError SSRFBlockedError"),
        **under("langchain_core", _INVALID, "ContextOverflowError ModelInvalidRequestError InvalidKeyException"),
        **under("langchain_core", _MISSING, "ModelNotFoundError"),
        **under(
            "langchain_core",
            _wrapped(permanent(_B)),
            "ToolException TracerException IndexingException LangChainException",
        ),
        **under("langchain_core", permanent(_SCHEMA), "SchemaAnnotationError"),
        **under("langgraph", permanent(_S), "GraphRecursionError InvalidUpdateError EmptyInputError"),
        **under("instructor", _wrapped(transient(_P)), "InstructorRetryException IncompleteOutputException"),
        **under("pinecone", _shape(_DOWN), "PineconeApiException ServiceException"),
        **under("pinecone", _INVALID, "PineconeApiValueError PineconeApiTypeError"),
    },
)
