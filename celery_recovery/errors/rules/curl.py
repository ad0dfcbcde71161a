"""libcurl and its bindings: everything is told by the number (libcurl-errors(3))."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, number, text_of
from celery_recovery.errors.rules.http import by_response
from celery_recovery.errors.rules.network import by_tls_text
from celery_recovery.errors.rules.rule import Answer, Family, each, permanent, transient
from celery_recovery.errors.rules.status import by_status_text

__all__ = ("FAMILY",)

_N, _V, _P, _U = ErrorType.NETWORK, ErrorType.VALIDATION, ErrorType.PARSING, ErrorType.UNKNOWN

# What is in none of these sets is a fault of the network that passes.
_CURL_PERMANENT = {
    _V: {1, 3, 4, 33, 43, 48, 49, 62},
    _U: {2, 41, 44, 53, 54, 66},
    _N: {9, 10, 11, 13, 14, 19, 30, 31, 36, 45, 47, 51, 58, 59, 60, 64, 67, 71, 72, 73, 74, 77, 78, 79, 82, 83, 90, 91},
    ErrorType.FILESYSTEM: {23, 26, 37, 63, 68, 69},
    _P: {61, 85, 87},
}
_CURL_MEMORY, _CURL_DISK, _CURL_HTTP = {27}, {70}, {22}


def _curl(exc: Any) -> Answer:
    args = args_of(exc)
    code = number(args[0]) if args else None
    if code is None:
        code = number(attr(exc, "code"))
    return _by_number(code, text_of(exc))


def _by_number(code: int | None, text: str) -> Answer:
    if code is None:
        return transient(_N)
    name = f"CURLE {code}"
    if code in _CURL_HTTP:
        return by_status_text(text) or permanent(_N, name)
    if code == 35 and (verdict := by_tls_text(text)) is not None:
        return verdict
    if code == 1 and "HTTP/0.9" in text:  # no HTTP at all came back
        return transient(_N, name)
    if code in _CURL_MEMORY:
        return transient(ErrorType.MEMORY, name)
    if code in _CURL_DISK:
        return transient(ErrorType.FILESYSTEM, name, severity=ErrorSeverity.CRITICAL)
    permanent_type = next((kind for kind, codes in _CURL_PERMANENT.items() if code in codes), None)
    return permanent(permanent_type, name) if permanent_type else transient(_N, name)


FAMILY = Family(
    name="curl",
    classes={
        "pycurl.error": _curl,
        "tornado.curl_httpclient.CurlError": lambda exc: _by_number(number(attr(exc, "errno")), text_of(exc)),
        "curl_cffi.*.CurlError": _curl,
        "curl_cffi.*.HTTPError": lambda exc: by_response(exc) or _curl(exc),
        **each("curl_cffi.*", "Timeout ConnectTimeout ReadTimeout", transient(_N, "ETIMEDOUT")),
        **each("curl_cffi.*", "InvalidURL InvalidSchema MissingSchema InvalidHeader", permanent(_V)),
    },
)
