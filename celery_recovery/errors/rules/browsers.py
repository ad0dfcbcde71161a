"""Pages fetched and driven by programs: Selenium, Playwright, pyppeteer, Scrapy, feed readers, downloaders.

A page that did not come, a browser or session that went away: transient. An element that is not there means that the
page has changed its shape. Chromium's own codes (`net::ERR_…`) stand in the text.
"""

from __future__ import annotations

import re
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, cause_of, text_of
from celery_recovery.errors.rules.naming import within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_LATE = transient(ErrorType.NETWORK)
_GONE = transient(ErrorType.SYSTEM)
_SHIFTING = transient(ErrorType.UNKNOWN)
_CHANGED = permanent(ErrorType.SCHEMA)
_REFUSED = permanent(ErrorType.VALIDATION)
_UNREADABLE = permanent(ErrorType.PARSING)
_NO_BROWSER = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)
_BUG = permanent(ErrorType.UNKNOWN)
_SKIPPED = permanent(ErrorType.BUSINESS_LOGIC)

# chrome: net/base/net_error_list.h. Firefox says about:neterror?e=… and NS_ERROR_….
_NET = re.compile(r"net::(ERR_[A-Z0-9_]+)|(NS_ERROR_[A-Z_]+)|neterror\?e=(\w+)")
_NET_PERMANENT = ("CERT", "INVALID_URL", "UNKNOWN_URL", "DISALLOWED", "UNSAFE_PORT", "FILE_NOT_FOUND", "BLOCKED_BY",
                  "TOO_MANY_REDIRECTS", "ACCESS_DENIED", "INVALID_AUTH", "MALFORMED", "UNKNOWN_PROTOCOL")  # fmt: skip
_WORDS: tuple[tuple[str, Verdict], ...] = (
    ("has been closed", _GONE),
    ("Target closed", _GONE),
    ("Connection closed", _GONE),
    ("not reachable", _GONE),
    ("disconnected", _GONE),
    ("crashed", _GONE),
    ("session deleted", _GONE),
    ("invalid session id", _GONE),
    ("Execution context was destroyed", _GONE),
    ("ECONNREFUSED", _LATE),
    ("ECONNRESET", _LATE),
    ("ETIMEDOUT", _LATE),
    ("socket hang up", _LATE),
    ("imeout", _LATE),
    ("Executable doesn't exist", _NO_BROWSER),
    ("cannot find Chrome binary", _NO_BROWSER),
    ("only supports Chrome version", _NO_BROWSER),
    ("Cannot navigate to invalid URL", _REFUSED),
    ("strict mode violation", _CHANGED),
    ("not attached", _SHIFTING),
    ("not created", _NO_BROWSER),
    ("Unexpected token", _REFUSED),
)


def _browser(exc: Any) -> Verdict:
    text = text_of(exc)
    match = _NET.search(text)
    if match:
        code = next(filter(None, match.groups()))
        lasting = any(part in code for part in _NET_PERMANENT)
        return Verdict(ErrorType.NETWORK, not lasting, code)
    return next((verdict for words, verdict in _WORDS if words in text), _BUG)


def _response_status(exc: Any) -> Verdict:
    return by_status(attr(attr(exc, "response"), "status"), attr(attr(exc, "response"), "headers")) or _LATE


def _download(exc: Any) -> Answer:
    """yt-dlp keeps the inner exception as `exc_info` (or `cause`), not as the explicit cause."""
    info = attr(exc, "exc_info")
    inner = info[1] if isinstance(info, tuple) and len(info) == 3 else attr(exc, "cause")
    return Through(inner if isinstance(inner, BaseException) else cause_of(exc), _REFUSED)


def _stopped(exc: Any) -> Answer:
    inner = args_of(exc)[0] if args_of(exc) else None
    return Through(inner if isinstance(inner, BaseException) else cause_of(exc), _LATE)


_RULES: dict[str, Verdict | Look] = {
    **within("selenium appium", "WebDriverException", _browser),
    **within("selenium", "TimeoutException", _LATE),
    **within("selenium", "InvalidSessionIdException NoSuchWindowException ScreenshotException", _GONE),
    **within("selenium", "SessionNotCreatedException", _browser),
    **within("selenium", "NoSuchDriverException", _NO_BROWSER),
    **within("selenium", "NoSuchElementException NoSuchFrameException NoSuchAttributeException", _CHANGED),
    **within("selenium", "NoSuchShadowRootException NoSuchCookieException NoAlertPresentException", _CHANGED),
    **within("selenium", "StaleElementReferenceException ElementClickInterceptedException", _SHIFTING),
    **within("selenium", "DetachedShadowRootException ElementNotInteractableException", _SHIFTING),
    **within("selenium", "InvalidElementStateException UnexpectedAlertPresentException", _SHIFTING),
    **within("selenium", "MoveTargetOutOfBoundsException", _SHIFTING),
    **within("selenium", "InvalidSelectorException InvalidArgumentException UnexpectedTagNameException", _REFUSED),
    **within("selenium", "InvalidCookieDomainException UnableToSetCookieException", _REFUSED),
    **within("selenium", "JavascriptException UnknownMethodException", _BUG),
    **within("selenium", "InsecureCertificateException", permanent(ErrorType.NETWORK, severity=ErrorSeverity.HIGH)),
    **within("playwright patchright", "Error", _browser),
    **within("playwright patchright pyppeteer", "TimeoutError NetworkError PageError", _LATE),
    **within("playwright patchright", "TargetClosedError", _GONE),
    **within("pyppeteer", "BrowserError PyppeteerError", _browser),
    **within("pyppeteer", "ElementHandleError", _CHANGED),
    **within("splinter", "ElementDoesNotExist", _CHANGED),
    **within("splinter", "DriverNotFoundError", _NO_BROWSER),
    **within("mechanize mechanicalsoup", "LinkNotFoundError FormNotFoundError ControlNotFoundError", _CHANGED),
    **within("webdriver_manager chromedriver_autoinstaller", "DriverExecutableNotFound", _NO_BROWSER),
    # Scrapy
    **within("scrapy", "HttpError", _response_status),
    **within("scrapy", "TunnelError ResponseDataLossError DownloadFailedError DownloadTimeoutError", _LATE),
    **within("scrapy", "DownloadConnectionRefusedError CannotResolveHostError FileException", _LATE),
    **within("scrapy", "DownloadCancelledError RemoteTerminatedConnection InactiveStreamClosed", _LATE),
    **within("scrapy", "DropItem", _REFUSED),
    **within("scrapy", "IgnoreRequest CloseSpider StopDownload", _SKIPPED),
    **within("scrapy", "NotConfigured", _NO_BROWSER),
    **within("scrapy", "NotSupported UnsupportedURLSchemeError InvalidHostname UsageError", _REFUSED),
    **within("scrapy", "ImageException", _UNREADABLE),
    # feeds, articles, downloads
    **within("feedparser", "ThingsNobodyCaresAboutButMe UndeclaredNamespace", _UNREADABLE),
    **within("newspaper", "ArticleException ArticleBinaryDataException", _stopped),
    **within("readability", "Unparseable", _UNREADABLE),
    **within("yt_dlp youtube_dl", "YoutubeDLError DownloadError ExtractorError", _download),
    **within("yt_dlp youtube_dl", "UnsupportedError GeoRestrictedError UnavailableVideoError", _REFUSED),
    **within("yt_dlp", "TransportError IncompleteRead SSLError ProxyError", _LATE),
    **within("tldextract", "SuffixListNotFound", _LATE),
}

FAMILY = Family(name="browsers", classes=_RULES)
