"""Driven browsers and crawlers: pages that did not come, sessions that went, pages that changed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


@pytest.mark.parametrize("path", ["selenium.common.exceptions.WebDriverException", "playwright._impl._errors.Error"])
@pytest.mark.parametrize(
    ("text", "expected", "retryable", "code"),
    [
        ("unknown error: net::ERR_CONNECTION_REFUSED", ErrorType.NETWORK, True, "ERR_CONNECTION_REFUSED"),
        ("Page.goto: net::ERR_CERT_DATE_INVALID at x", ErrorType.NETWORK, False, "ERR_CERT_DATE_INVALID"),
        ("Page.goto: NS_ERROR_NET_TIMEOUT", ErrorType.NETWORK, True, "NS_ERROR_NET_TIMEOUT"),
        ("Target page, context or browser has been closed", ErrorType.SYSTEM, True, None),
        ("tab crashed", ErrorType.SYSTEM, True, None),
        ("Executable doesn't exist at /x", ErrorType.SYSTEM, False, None),
        ("strict mode violation: 2 elements", ErrorType.SCHEMA, False, None),
    ],
)
def test_browsers_say_it_in_the_text(
    path: str, text: str, expected: ErrorType, retryable: bool, code: str | None
) -> None:
    """The browser's own code becomes the error code."""
    info = classify(lookalike(path)(text))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, code)


@pytest.mark.parametrize(
    ("name", "expected", "retryable"),
    [
        ("TimeoutException", ErrorType.NETWORK, True),
        ("NoSuchElementException", ErrorType.SCHEMA, False),
        ("StaleElementReferenceException", ErrorType.UNKNOWN, True),
        ("InvalidSessionIdException", ErrorType.SYSTEM, True),
        ("InvalidSelectorException", ErrorType.VALIDATION, False),
        ("NoSuchDriverException", ErrorType.SYSTEM, False),
    ],
)
def test_selenium_classes(name: str, expected: ErrorType, retryable: bool) -> None:
    """Before their common base, which is judged by its text."""
    base = lookalike("selenium.common.exceptions.WebDriverException")
    info = classify(lookalike(f"selenium.common.exceptions.{name}", base)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (404, False)])
def test_scrapy_response_status(status: int, retryable: bool) -> None:
    """`HttpError` carries the response that was refused."""
    response = SimpleNamespace(status=status, headers={})
    info = classify(lookalike("scrapy.spidermiddlewares.httperror.HttpError", response=response)("ignored"))
    assert (info.is_retryable, info.error_code) == (retryable, f"HTTP {status}")
