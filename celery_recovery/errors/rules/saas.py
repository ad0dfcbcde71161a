"""Services for business and talk: Twilio, SendGrid, Slack, GitHub, GitLab, Jira, Salesforce, Telegram and others.

Only what a class name or a service's own code tells beyond the bare status; everything else is left to the status.
"""

from __future__ import annotations

import json
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.retry_after import from_headers, seconds
from celery_recovery.errors.rules.grpc import by_grpc_code
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import by_own_status, each, headers_of, stated, status_of, text_code, under
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _V, _B, _S, _P, _SCHEMA = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.PARSING,
    ErrorType.SCHEMA,
)
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_THROTTLED = transient(_N, rule="throttled")
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_INVALID = permanent(_V)
_REFUSED = permanent(_B)
_CONFIGURATION = permanent(_S, severity=_HIGH)


def _or(otherwise: Verdict | None, *names: str) -> Look:
    """A look for the HTTP status under one of these attributes (default: the usual ones); `otherwise` without one."""

    def look(exc: Any) -> Answer:
        status = status_of(exc, *names)
        return (by_status(status, headers_of(exc)) if status else None) or otherwise

    return look


def _coded(codes: dict[Any, Verdict], otherwise: Look, *names: str) -> Look:
    """A look for a service's own code under one of these attributes; else `otherwise`."""

    def look(exc: Any) -> Answer:
        for name in names or ("code",):
            code = attr(exc, name)
            verdict = codes.get(code) if isinstance(code, (int, str)) else None
            if verdict is not None:
                return stated(verdict, str(code), headers_of(exc))
        return otherwise(exc)

    return look


# https://www.twilio.com/docs/api/errors: throttling, queue full …; bad credentials; numbers out of reach
_TWILIO: dict[Any, Verdict] = {
    **dict.fromkeys((20429, 14107, 30001, 30022, 63018, 20503, 20500, 30008), _THROTTLED),
    **dict.fromkeys((20003, 20005, 20006, 10001, 30002), _NOT_ALLOWED),
    **dict.fromkeys((21610, 21612, 21614, 21608, 30003, 30004, 30005, 30006, 30007), _REFUSED),
}

_SLACK: dict[Any, Verdict] = {
    **each(_THROTTLED, "ratelimited rate_limited message_limit_exceeded"),
    **each(
        _DOWN,
        "internal_error fatal_error service_unavailable request_timeout team_added_to_org accesslimited",
    ),
    **each(
        _NOT_ALLOWED,
        """invalid_auth not_authed account_inactive token_revoked token_expired missing_scope no_permission
        not_allowed_token_type ekm_access_denied org_login_required enterprise_is_restricted access_denied
        two_factor_setup_required""",
    ),
    **each(
        _REFUSED,
        """channel_not_found not_in_channel is_archived user_not_found users_not_found message_not_found
        cant_update_message restricted_action name_taken already_in_channel cant_delete_message thread_not_found
        file_not_found""",
    ),
}


def _slack(exc: Any) -> Answer:
    """slack_sdk: HTTP 200 with `ok: false` is the rule; `error` says why."""
    response = exc.response
    error = text_code(response.get("error") if callable(attr(response, "get")) else None)
    headers = attr(response, "headers")
    if headers is None and isinstance(response, dict):
        headers = response.get("headers")
    verdict = _SLACK.get(error)
    if verdict is not None:
        return stated(verdict, error, headers)
    status = number(attr(response, "status_code"))
    return (by_status(status, headers) if status else None) or stated(_INVALID, error)


def _github(exc: Any) -> Answer:
    """GitHub throttles with 403, too: primary limits by header, secondary ones by words."""
    status, headers = number(attr(exc, "status")), attr(exc, "headers")
    text = str(attr(exc, "data"))[:500].lower()
    if status in (403, 429) and ("rate limit" in text or "abuse detection" in text or _used_up(headers)):
        return stated(_THROTTLED, f"HTTP {status}", headers)
    return by_status(status, headers)


def _used_up(headers: Any) -> bool:
    return bool(headers) and str(headers.get("x-ratelimit-remaining")) == "0"


def _github_limit(exc: Any) -> Verdict:
    return stated(_THROTTLED, f"HTTP {attr(exc, 'status')}", attr(exc, "headers"))


def _gitlab(otherwise: Verdict) -> Look:
    return _or(otherwise, "response_code")


# https://developer.salesforce.com/docs: status codes of the API's faults
_SALESFORCE: dict[str, Verdict] = {
    **each(_THROTTLED, "REQUEST_LIMIT_EXCEEDED CONCURRENT_REQUESTS_LIMIT_EXCEEDED"),
    **each(transient(_S), "UNABLE_TO_LOCK_ROW"),
    **each(_DOWN, "SERVER_UNAVAILABLE UNKNOWN_EXCEPTION QUERY_TIMEOUT"),
    **each(
        _NOT_ALLOWED,
        "INVALID_SESSION_ID INSUFFICIENT_ACCESS INVALID_LOGIN API_DISABLED_FOR_ORG INSUFFICIENT_ACCESS_OR_READONLY",
    ),
    **each(
        _REFUSED, "NOT_FOUND ENTITY_IS_DELETED DUPLICATE_VALUE DUPLICATES_DETECTED FIELD_CUSTOM_VALIDATION_EXCEPTION"
    ),
}


def _salesforce(exc: Any) -> Answer:
    content = attr(exc, "content")
    first = content[0] if isinstance(content, list) and content else content
    code = text_code(first.get("errorCode")) if isinstance(first, dict) else None
    if code in _SALESFORCE:
        return stated(_SALESFORCE[code], code)
    verdict = by_status(attr(exc, "status"))
    return stated(verdict, code) if verdict and code else verdict


def _salesforce_login(exc: Any) -> Verdict:
    code = str(attr(exc, "code"))
    return _DOWN if "SERVER_UNAVAILABLE" in code or "UNAVAILABLE" in code else _NOT_ALLOWED


_NOTION: dict[str, Verdict] = {
    **each(_THROTTLED, "rate_limited"),
    **each(_DOWN, "internal_server_error service_unavailable database_connection_unavailable gateway_timeout"),
    **each(transient(_S), "conflict_error"),  # "please try again": the data collided with another write
    **each(_NOT_ALLOWED, "unauthorized restricted_resource"),
    **each(_REFUSED, "object_not_found"),
    **each(_INVALID, "validation_error invalid_json invalid_request invalid_request_url missing_version"),
}


def _notion(exc: Any) -> Answer:
    code = attr(exc, "code")
    code = attr(code, "value", code)
    if isinstance(code, str) and code in _NOTION:
        return stated(_NOTION[code], code, headers_of(exc))
    return by_own_status(exc)


def _wait_of(*names: str) -> Look:
    """Flood control: the class says "later", an attribute says when (seconds or timedelta)."""

    def look(exc: Any) -> Verdict:
        waits = (seconds(attr(exc, name)) for name in names)
        wait = next((value for value in waits if value is not None), None)
        return stated(_THROTTLED, wait=wait if wait is not None else from_headers(headers_of(exc)))

    return look


# https://developers.facebook.com/docs/graph-api/guides/error-handling
_GRAPH_THROTTLED = frozenset({4, 17, 32, 613, 80000, 80001, 80002, 80003, 80004, 80005, 80006, 80008, 80009, 80014})
_GRAPH_LATER = frozenset({1, 2})
_GRAPH_LOGIN = frozenset({10, 102, 190, 200, 3, 459, 464, 467, *range(201, 300)})


def _graph(exc: Any) -> Answer:
    """The Graph API answers 400 to nearly everything: its own code and `is_transient` tell."""
    is_transient = attr(exc, "api_transient_error")
    flagged = is_transient() if callable(is_transient) else is_transient
    get_code = attr(exc, "api_error_code")
    code = number(get_code() if callable(get_code) else get_code) or number(attr(exc, "code"))
    name = None if code is None else f"Graph {code}"
    if code in _GRAPH_THROTTLED:
        return stated(_THROTTLED, name)
    if flagged is True or code in _GRAPH_LATER:
        return stated(_DOWN, name)
    if code in _GRAPH_LOGIN:
        return stated(_NOT_ALLOWED, name)
    get_status = attr(exc, "http_status")
    verdict = by_status(get_status() if callable(get_status) else get_status)
    return stated(verdict or _INVALID, name)


def _firebase(exc: Any) -> Answer:
    """firebase_admin uses gRPC's status names; the wait is in the HTTP response, if there was one."""
    verdict = by_grpc_code(attr(exc, "code"))
    if verdict is None:
        return None
    response = attr(exc, "http_response")
    return stated(verdict, headers=attr(response, "headers"))


def _firebase_unknown(exc: Any) -> Answer:
    response = attr(exc, "http_response")
    verdict = by_status(attr(response, "status_code"), attr(response, "headers"))
    return verdict or Through(exc.__cause__ or attr(exc, "cause"), _DOWN)


def _push(exc: Any) -> Answer:
    """pywebpush: 404 and 410 mean that the subscription is gone for good."""
    return by_own_status(exc) or Through(exc.__cause__, _INVALID)


def _zendesk(exc: Any) -> Answer:
    return by_own_status(exc) or _INVALID


def _shopify(exc: Any) -> Answer:
    """pyactiveresource: the status is `response.code`."""
    response = attr(exc, "response")
    return by_status(attr(response, "code"), attr(response, "headers"))


def _mailchimp(exc: Any) -> Answer:
    text = attr(exc, "text")
    body = json.loads(text) if isinstance(text, str) and text.startswith("{") and len(text) < 10_000 else {}
    return by_status(number(attr(exc, "status_code")) or body.get("status"))


def _invoked(exc: Any) -> Through:
    """discord: the exception a command raised."""
    return Through(attr(exc, "original") or exc.__cause__, permanent(ErrorType.UNKNOWN))


FAMILY = Family(
    name="saas",
    classes={
        **under("twilio", _coded(_TWILIO, _or(None, "status")), "TwilioRestException TwilioServiceException"),
        **under("twilio", _INVALID, "TwilioException TwiMLException JwtDecodeError ObsoleteException"),
        **under("python_http_client", _or(_DOWN, "status_code"), "HTTPError"),
        **under("sendgrid", _INVALID, "SendGridException"),
        "slack_sdk.errors.SlackApiError": _slack,
        "slack_sdk.errors.SlackClientNotConnectedError": _DOWN,
        "slack_sdk.errors.SlackRequestError": _DOWN,
        "slack_sdk.errors.SlackTokenRotationError": _NOT_ALLOWED,
        **under("slack_sdk", _INVALID, "SlackObjectFormationError BotUserAccessError SlackClientError"),
        "slack_sdk.errors.SlackClientConfigurationError": _CONFIGURATION,
        "slack.errors.SlackApiError": _slack,
        "github.GithubException.GithubException": _github,
        **under("github", _github_limit, "RateLimitExceededException"),
        **under("github", permanent(_SCHEMA), "BadAttributeException IncompletableObject"),
        **under("github", _NOT_ALLOWED, "BadCredentialsException TwoFactorException BadUserAgentException"),
        **under("github", _REFUSED, "UnknownObjectException"),
        **under(
            "githubkit",
            _wait_of("retry_after"),
            "RateLimitExceeded PrimaryRateLimitExceeded SecondaryRateLimitExceeded",
        ),
        **under("gitlab", _gitlab(_REFUSED), "GitlabOperationError GitlabHttpError GitlabError"),
        **under("gitlab", _gitlab(_NOT_ALLOWED), "GitlabAuthenticationError"),
        **under("gitlab", _gitlab(_DOWN), "GitlabConnectionError"),
        **under("gitlab", permanent(_P), "GitlabParsingError"),
        **under("gitlab", _CONFIGURATION, "ConfigError RedirectError"),
        **under("jira", _or(_DOWN, "status_code"), "JIRAError"),
        **under("jira", _CONFIGURATION, "NotJIRAInstanceError"),
        **under("simple_salesforce", _salesforce, "SalesforceError"),
        **under("simple_salesforce", _salesforce_login, "SalesforceAuthenticationFailed"),
        **under("simple_salesforce", _NOT_ALLOWED, "SalesforceExpiredSession"),
        **under("simple_salesforce", _REFUSED, "SalesforceMoreThanOneRecord SalesforceOperationError"),
        **under("simple_salesforce", transient(_N), "SalesforceBulkV2LoadError SalesforceBulkV2ExtractError"),
        **under("notion_client", _notion, "APIResponseError HTTPResponseError"),
        **under("notion_client", _DOWN, "RequestTimeoutError"),
        **under("notion_client", _INVALID, "InvalidPathParameterError"),
        "pyactiveresource.connection.ConnectionError": _shopify,
        "pyactiveresource.connection.ServerError": _DOWN,
        "pyactiveresource.connection.Error": _DOWN,  # around a socket's fault, without a response
        **under("pyactiveresource", _NOT_ALLOWED, "UnauthorizedAccess ForbiddenAccess"),
        **under("pyactiveresource", _REFUSED, "ResourceNotFound ResourceConflict"),
        **under("pyactiveresource", _INVALID, "BadRequest ResourceInvalid MethodNotAllowed"),
        **under("shopify", _INVALID, "ValidationException InvalidVersionError VersionNotFoundError ApiAccessError"),
        **under("shopify", _NOT_ALLOWED, "SessionTokenError"),
        **under("zenpy", _zendesk, "APIException"),
        **under("zenpy", _REFUSED, "RecordNotFoundException"),
        **under("zenpy", _INVALID, "TooManyValuesException SearchResponseLimitExceeded ZenpyException"),
        **under("zenpy", _THROTTLED, "RatelimitBudgetExceeded"),
        **under("atlassian", _or(_REFUSED), "ApiNotFoundError ApiConflictError"),
        **under("atlassian", _or(_NOT_ALLOWED), "ApiPermissionError JsonRPCRestrictionsError"),
        **under("atlassian", _or(_INVALID), "ApiValueError ApiNotAcceptable JsonRPCError ApiError"),
        "telegram.error.RetryAfter": _wait_of("retry_after"),
        **under("telegram", _DOWN, "NetworkError TimedOut"),
        **under(
            "telegram",
            _INVALID,
            "BadRequest EndPointNotFound PassportDecryptionError InvalidCallbackData TelegramError",
        ),
        **under("telegram", _NOT_ALLOWED, "InvalidToken Forbidden"),
        **under("telegram", transient(_N), "Conflict"),  # another poller is still running
        "telegram.error.ChatMigrated": _REFUSED,
        "aiogram.exceptions.TelegramRetryAfter": _wait_of("retry_after"),
        **under("aiogram", _DOWN, "TelegramNetworkError TelegramServerError RestartingTelegram TelegramConflictError"),
        **under("aiogram", _NOT_ALLOWED, "TelegramUnauthorizedError TelegramForbiddenError TokenValidationError"),
        **under("aiogram", _REFUSED, "TelegramNotFound TelegramMigrateToChat"),
        **under("aiogram", _INVALID, "TelegramBadRequest TelegramEntityTooLarge DetailedAiogramError AiogramError"),
        "aiogram.exceptions.ClientDecodeError": permanent(_P),
        **under("telethon", _wait_of("seconds"), "FloodWaitError FloodError SlowModeWaitError FloodTestPhoneWaitError"),
        **under("telethon", _DOWN, "ServerError TimedOutError RpcCallFailError RpcMcgetFailError"),
        **under("telethon", _NOT_ALLOWED, "UnauthorizedError ForbiddenError AuthKeyError"),
        **under("telethon", _INVALID, "BadRequestError"),
        **under("pyrogram", _wait_of("value", "x"), "FloodWait SlowmodeWait"),
        **under("discord", _or(_DOWN, "status"), "HTTPException"),
        **under("discord", _wait_of("retry_after"), "RateLimited CommandOnCooldown"),
        **under(
            "discord", _DOWN, "GatewayNotFound DiscordServerError ConnectionClosed ReconnectWebSocket WebSocketClosure"
        ),
        **under(
            "discord", _or(_NOT_ALLOWED, "status"), "LoginFailure PrivilegedIntentsRequired Forbidden CheckFailure"
        ),
        **under("discord", _invoked, "CommandInvokeError"),
        **under("discord", _INVALID, "ClientException InvalidData InteractionResponded AppCommandError"),
        **under("tweepy", _or(_DOWN), "HTTPException TwitterServerError"),
        **under("tweepy", _INVALID, "TweepyException"),
        **under("facebook_business", _graph, "FacebookRequestError"),
        **under("facebook_business", _INVALID, "FacebookError"),
        **under("facebook", _graph, "GraphAPIError"),
        **under("pusher", _NOT_ALLOWED, "PusherBadAuth PusherForbidden"),
        **under("pusher", _INVALID, "PusherBadRequest PusherError"),
        **under("pusher", _DOWN, "PusherBadStatus"),
        **under("algoliasearch", _DOWN, "AlgoliaUnreachableHostException"),
        **under("algoliasearch", _or(_INVALID, "status_code"), "RequestException ApiException"),
        **under("algoliasearch", _REFUSED, "ObjectNotFoundException"),
        **under("algoliasearch", _INVALID, "AlgoliaException MissingObjectIdException"),
        "firebase_admin.exceptions.FirebaseError": _firebase,
        "firebase_admin.exceptions.UnknownError": _firebase_unknown,
        **under("firebase_admin", _DOWN, "CertificateFetchError TransactionAbortedError"),
        **under("pywebpush", _push, "WebPushException"),
        **under("pywebpush", _INVALID, "NoData"),
        **under("apprise", _INVALID, "AppriseInvalidData AppriseImproperlyConfigured"),
        **under("apprise", _DOWN, "AppriseSocketError ApprisePluginException AMQPError"),
        **under("sentry_sdk", _CONFIGURATION, "BadDsn DidNotEnable"),
        **under("hubspot", _or(_DOWN, "status"), "ApiException"),
        **under("mailchimp_marketing", _mailchimp, "ApiClientError"),
        **under("mailchimp_transactional", _mailchimp, "ApiClientError"),
        **under("postmarker", _REFUSED, "ClientError"),
        **under("postmarker", _DOWN, "SpamAssassinError"),
        **under("mailjet_rest", _DOWN, "TimeoutError ApiRateLimitError CriticalApiError"),
        **under("mailjet_rest", _NOT_ALLOWED, "AuthorizationError ActionDeniedError"),
        **under("mailjet_rest", _INVALID, "ValidationError"),
        **under("intercom", _DOWN, "RateLimitExceeded ServerError BadGatewayError ServiceUnavailableError HttpError"),
        **under("vonage", _DOWN, "ServerError RateLimitedError"),
        **under("vonage", _NOT_ALLOWED, "AuthenticationError"),
        **under("plivo", _NOT_ALLOWED, "AuthenticationError"),
        **under("plivo", _DOWN, "PlivoServerError"),
        **under("plivo", _INVALID, "ValidationError"),
        **under("plivo", _REFUSED, "ResourceNotFoundError"),
        **under("linebot", _or(_DOWN, "status_code", "status"), "LineBotApiError ApiException"),
        **under("linebot", _INVALID, "InvalidSignatureError"),
        **under("asana", _DOWN, "RateLimitEnforcedError ServerError RetryableAsanaError"),
        **under("asana", _INVALID, "InvalidRequestError"),
        **under("asana", _NOT_ALLOWED, "NoAuthorizationError ForbiddenError"),
        **under("praw", _INVALID, "RedditAPIException ClientException"),
        **under("prawcore", _DOWN, "RequestException ServerError TooManyRequests"),
        **under("prawcore", _REFUSED, "NotFound Conflict Redirect"),
        **under("prawcore", _NOT_ALLOWED, "Forbidden OAuthException InvalidToken InsufficientScope"),
        **under("spotipy", _or(_DOWN, "http_status"), "SpotifyException"),
        **under("spotipy", _NOT_ALLOWED, "SpotifyOauthError"),
    },
)
