"""Services for business and talk: what a code or class tells beyond the status."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import classify
from tests.unit.errors.lookalike import lookalike


def made(path: str, *bases: type[BaseException], **attrs: Any) -> Any:
    """An instance of a look-alike with these attributes."""
    error = lookalike(path, *bases)("m")
    for name, value in attrs.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        ("ratelimited", 429, True),
        ("internal_error", 200, True),
        ("invalid_auth", 200, False),
        ("channel_not_found", 200, False),
        ("some_new_code", 200, False),
        ("some_new_code", 503, True),
    ],
)
def test_slack_says_no_with_http_200(error: str, status: int, retryable: bool) -> None:
    """`ok: false` and `error` in the body."""
    response = SimpleNamespace(
        get={"ok": False, "error": error}.get, status_code=status, headers={"Retry-After": "7"} if status == 429 else {}
    )
    info = classify(made("slack_sdk.errors.SlackApiError", response=response))
    assert (info.is_retryable, info.retry_after) == (retryable, 7.0 if status == 429 else None)


@pytest.mark.parametrize(
    ("status", "data", "headers", "retryable"),
    [
        (403, {"message": "You have exceeded a secondary rate limit"}, {"retry-after": "7"}, True),
        (403, {"message": "x"}, {"x-ratelimit-remaining": "0"}, True),
        (403, {"message": "Resource not accessible by integration"}, {}, False),
        (404, {}, {}, False),
        (502, {}, {}, True),
    ],
)
def test_github_throttles_with_403(status: int, data: Any, headers: dict[str, str], retryable: bool) -> None:
    """Told from a closed door by words and headers."""
    error = made("github.GithubException.GithubException", status=status, data=data, headers=headers)
    assert classify(error).is_retryable is retryable


@pytest.mark.parametrize(
    ("code", "transient", "retryable"), [(4, False, True), (190, False, False), (100, False, False), (100, True, True)]
)
def test_the_graph_api_answers_400_to_nearly_everything(code: int, transient: bool, retryable: bool) -> None:
    """Its own code and `is_transient` tell."""
    error = made(
        "facebook_business.exceptions.FacebookRequestError",
        api_error_code=lambda: code,
        api_transient_error=lambda: transient,
        http_status=lambda: 400,
    )
    assert classify(error).is_retryable is retryable


@pytest.mark.parametrize(
    ("path", "attrs"),
    [
        ("telegram.error.RetryAfter", {"retry_after": 7}),
        ("telegram.error.RetryAfter", {"retry_after": dt.timedelta(seconds=7)}),
        ("aiogram.exceptions.TelegramRetryAfter", {"retry_after": 7}),
        ("telethon.errors.rpcerrorlist.FloodWaitError", {"seconds": 7}),
        ("pyrogram.errors.exceptions.flood_420.FloodWait", {"value": 7}),
        ("discord.errors.RateLimited", {"retry_after": 7.0}),
        ("discord.errors.HTTPException", {"status": 429, "response": SimpleNamespace(headers={"Retry-After": "7"})}),
        ("dropbox.exceptions.RateLimitError", {"backoff": 7}),
    ],
)
def test_flood_control_says_when(path: str, attrs: dict[str, Any]) -> None:
    """As number, timedelta or header."""
    info = classify(made(path, **attrs))
    assert (info.is_retryable, info.retry_after) == (True, 7.0)


@pytest.mark.parametrize(
    ("path", "attrs", "retryable"),
    [
        ("twilio.base.exceptions.TwilioRestException", {"status": 429, "code": 20429}, True),
        ("twilio.base.exceptions.TwilioRestException", {"status": 400, "code": 30001}, True),
        ("twilio.base.exceptions.TwilioRestException", {"status": 400, "code": 21610}, False),
        ("python_http_client.exceptions.TooManyRequestsError", {"status_code": 429}, True),
        ("gitlab.exceptions.GitlabHttpError", {"response_code": 502}, True),
        ("gitlab.exceptions.GitlabGetError", {"response_code": 404}, False),
        ("jira.exceptions.JIRAError", {"status_code": 503}, True),
        (
            "notion_client.errors.APIResponseError",
            {"code": SimpleNamespace(value="conflict_error"), "status": 409},
            True,
        ),
        ("notion_client.errors.APIResponseError", {"code": "object_not_found", "status": 404}, False),
        ("telegram.error.BadRequest", {}, False),
        ("telegram.error.TimedOut", {}, True),
        ("discord.errors.LoginFailure", {}, False),
        ("algoliasearch.http.exceptions.AlgoliaUnreachableHostException", {}, True),
    ],
)
def test_other_services(path: str, attrs: dict[str, Any], retryable: bool) -> None:
    """Each in its own words."""
    assert classify(made(path, **attrs)).is_retryable is retryable


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "UNABLE_TO_LOCK_ROW", True),
        (403, "REQUEST_LIMIT_EXCEEDED", True),
        (400, "MALFORMED_QUERY", False),
        (404, "NOT_FOUND", False),
        (503, "NEW_CODE", True),
    ],
)
def test_salesforce_codes(status: int, code: str, retryable: bool) -> None:
    """`errorCode` in the content."""
    base = lookalike("simple_salesforce.exceptions.SalesforceError")
    error = made(
        "simple_salesforce.exceptions.SalesforceGeneralError", base, status=status, content=[{"errorCode": code}]
    )
    assert classify(error).is_retryable is retryable


@pytest.mark.parametrize(("code", "retryable"), [("UNAVAILABLE", True), ("NOT_FOUND", False), ("INTERNAL", True)])
def test_firebase_uses_grpc_names(code: str, retryable: bool) -> None:
    """The wait is in the HTTP response."""
    response = SimpleNamespace(headers={"Retry-After": "7"})
    error = made("firebase_admin.exceptions.FirebaseError", code=code, http_response=response)
    assert (classify(error).is_retryable, classify(error).retry_after) == (retryable, 7.0 if retryable else None)
