"""HTTP clients: an answer is judged by its status, a call that got none by what stopped it.

Clients wrap: requests around urllib3 around sockets, httpx around httpcore around sockets. The inside is what counts
(a refused connection, a certificate, a name), and "network, transient" where the inside says nothing.
"""

from __future__ import annotations

import re
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, cause_of, number, text_of
from celery_recovery.errors.rules.names import by_name
from celery_recovery.errors.rules.network import NETWORK_FAULT, by_tls_text
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status, by_status_text

__all__ = ("FAMILY", "by_own_status", "by_response", "by_tunnel_text", "first_inner", "through_inner")

_N, _S, _V, _P, _U = (
    ErrorType.NETWORK,
    ErrorType.SYSTEM,
    ErrorType.VALIDATION,
    ErrorType.PARSING,
    ErrorType.UNKNOWN,
)
_LOST = NETWORK_FAULT
_TIMEOUT = transient(_N, "ETIMEDOUT")
_BAD_REQUEST = permanent(_V)
_UNREADABLE = permanent(_P)
_MISUSE = permanent(_U)
_REDIRECTS = permanent(_N, "redirects")


def by_response(exc: Any) -> Answer:
    """By the status of the `response` the exception holds (requests, httpx, and all who imitate them)."""
    response = attr(exc, "response")
    if response is None:
        return None
    status = number(attr(response, "status_code"))
    if status is None:
        status = number(attr(response, "status"))
    if status is None:
        status = number(attr(response, "code"))
    return by_status(status, attr(response, "headers"))


def _answered(exc: Any) -> Answer:
    """Without an answer at hand: by a status of its own or in words, or by what a subclass is called."""
    found = by_response(exc) or _own_status(exc) or by_status_text(text_of(exc))
    return found or Through(cause_of(exc), by_name(type(exc).__name__) or transient(_N, "HTTP"))


def by_own_status(*names: str) -> Any:
    """A look at the exception's own status and headers; the first of `names` that is there counts."""

    def look(exc: Any) -> Answer:
        headers = attr(exc, "headers") or attr(exc, "response_headers") or attr(attr(exc, "response"), "headers")
        for name in names:
            verdict = by_status(number(attr(exc, name)), headers)
            if verdict is not None:
                return verdict
        return None

    return look


_own_status = by_own_status("status_code", "http_status")


def first_inner(exc: Any) -> BaseException | None:
    """The exception inside, wherever clients put it: `reason`, an argument, or the explicit cause."""
    for name in ("reason", "original_error", "os_error"):
        inner = attr(exc, name)
        if isinstance(inner, BaseException):
            return inner
    for arg in args_of(exc):
        if isinstance(arg, BaseException):
            return arg
    return cause_of(exc)


def through_inner(exc: Any) -> Answer:
    """A wrapper of some fault of the network."""
    return Through(first_inner(exc), _LOST)


def _timeout(exc: Any) -> Answer:
    del exc
    return _TIMEOUT


def _tls(exc: Any) -> Answer:
    inner = first_inner(exc)
    return by_tls_text(text_of(exc)) or Through(inner, transient(_N, "TLS"))


def _proxy(exc: Any) -> Answer:
    """The proxy refused to connect us (its status is only in the text), or could not be reached itself."""
    return by_tunnel_text(text_of(exc)) or Through(first_inner(exc), _LOST)


def by_tunnel_text(text: str) -> Verdict | None:
    """By the status with which a proxy refused to connect us; http.client and httpx tell it only in words."""
    found = re.search(r"(?:Tunnel connection failed:|\A|proxy[^0-9]{0,30})\s*([345]\d\d)\b", text[:1000])
    return by_status(found[1]) if found else None


def _retries(exc: Any) -> Answer:
    """urllib3's retries are used up: what they were used up on counts."""
    text = text_of(exc)
    if "too many redirects" in text.lower():
        return _REDIRECTS
    return by_status_text(text) if "error responses" in text else Through(first_inner(exc), _LOST)


def _urllib(exc: Any) -> Answer:
    reason = attr(exc, "reason")
    if isinstance(reason, BaseException):
        return Through(reason, _LOST)
    text = str(reason)[:200].lower() if isinstance(reason, str) else ""
    if "unknown url type" in text or "no host given" in text or "not local" in text or "nonnumeric port" in text:
        return _BAD_REQUEST
    return by_tls_text(text) or _LOST


# JSON-RPC's numbers, by which XML-RPC faults are told (xmlrpc-epi, "Specification for Fault Code Interoperability").
_FAULTS = {
    -32700: permanent(_P),
    -32701: permanent(_P),
    -32702: permanent(_P),
    -32600: permanent(_V),
    -32601: permanent(ErrorType.SCHEMA),
    -32602: permanent(_V),
    -32603: transient(_N),
    -32500: permanent(ErrorType.BUSINESS_LOGIC),
    -32400: transient(_S),
    -32300: transient(_N),
}


def _fault(exc: Any) -> Answer:
    code = number(attr(exc, "faultCode"))
    return _FAULTS.get(code or 0) or permanent(ErrorType.BUSINESS_LOGIC, f"fault {code}" if code is not None else None)


def _content_type(exc: Any) -> Answer:
    """An answer that is not the JSON it should be; an error page's status says more than that."""
    status = number(attr(exc, "status"))
    return by_status(status, attr(exc, "headers")) if status is not None and status >= 400 else _UNREADABLE


def _aiohttp_answer(exc: Any) -> Answer:
    """An answer that is not HTTP is raised as a made-up 400, with the parser's own error as cause."""
    cause = cause_of(exc)
    if cause is not None:
        return Through(cause, _LOST)
    return by_status(attr(exc, "status"), attr(exc, "headers")) or _LOST


def _tornado(exc: Any) -> Answer:
    headers = attr(attr(exc, "response"), "headers")
    verdict = by_status(attr(exc, "code"), headers)
    return Through(attr(exc, "real_error"), verdict or _LOST)


_REQUESTS = {
    "RequestException": through_inner,
    "HTTPError": _answered,
    "ConnectionError": through_inner,
    "ProxyError": _proxy,
    "SSLError": _tls,
    "Timeout": _timeout,
    "ConnectTimeout": _timeout,
    "ReadTimeout": _timeout,
    "RetryError": _retries,
    "ChunkedEncodingError": _LOST,
    "ContentDecodingError": _UNREADABLE,
    "TooManyRedirects": _REDIRECTS,
    "JSONDecodeError": _UNREADABLE,
    "InvalidJSONError": _UNREADABLE,
    **dict.fromkeys(
        ("URLRequired", "MissingSchema", "InvalidSchema", "InvalidURL", "InvalidHeader", "InvalidProxyURL"),
        _BAD_REQUEST,
    ),
    "StreamConsumedError": _MISUSE,
    "UnrewindableBodyError": _MISUSE,
    "MultiplexingError": _LOST,
}
_HTTPX = {
    "HTTPError": through_inner,
    "RequestError": through_inner,
    "TransportError": through_inner,
    "HTTPStatusError": _answered,
    "TimeoutException": _TIMEOUT,
    **dict.fromkeys(("ConnectTimeout", "ReadTimeout", "WriteTimeout"), _TIMEOUT),
    "PoolTimeout": transient(_N, "pool timeout"),
    "NetworkError": through_inner,
    "ConnectError": _tls,
    **dict.fromkeys(("ReadError", "WriteError", "CloseError"), _tls),
    "ProxyError": _proxy,
    "ProtocolError": _LOST,
    "RemoteProtocolError": _LOST,
    "LocalProtocolError": _BAD_REQUEST,
    "UnsupportedProtocol": _BAD_REQUEST,
    "DecodingError": _UNREADABLE,
    "TooManyRedirects": _REDIRECTS,
    "InvalidURL": _BAD_REQUEST,
    "CookieConflict": _MISUSE,
    **dict.fromkeys(("StreamError", "StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead"), _MISUSE),
}
_URLLIB3 = {
    "HTTPError": through_inner,
    "RequestError": through_inner,
    "PoolError": transient(_S),
    "EmptyPoolError": transient(_N, "pool timeout"),
    "FullPoolError": transient(_N, "pool full"),
    "ClosedPoolError": transient(_N, "pool closed"),
    "MaxRetryError": _retries,
    "ResponseError": _retries,
    "TimeoutError": _TIMEOUT,
    "ReadTimeoutError": _TIMEOUT,
    "ConnectTimeoutError": _TIMEOUT,
    "NewConnectionError": through_inner,
    "NameResolutionError": through_inner,
    "ProtocolError": through_inner,
    "ProxyError": _proxy,
    "SSLError": _tls,
    "IncompleteRead": _LOST,
    "InvalidChunkLength": _LOST,
    "DecodeError": _UNREADABLE,
    "HeaderParsingError": _UNREADABLE,
    "InvalidHeader": permanent(_N),
    "HostChangedError": _MISUSE,
    **dict.fromkeys(("LocationValueError", "LocationParseError", "URLSchemeUnknown"), _BAD_REQUEST),
    **dict.fromkeys(("ProxySchemeUnknown", "ProxySchemeUnsupported"), _BAD_REQUEST),
    **dict.fromkeys(
        ("TimeoutStateError", "ResponseNotChunked", "BodyNotHttplibCompatible", "UnrewindableBodyError"), _MISUSE
    ),
}
_AIOHTTP = {
    "ClientError": through_inner,
    "ClientConnectionError": through_inner,
    "ClientOSError": None,
    "ClientConnectionResetError": _LOST,
    **dict.fromkeys(("ClientConnectorError", "ClientProxyConnectionError", "UnixClientConnectorError"), through_inner),
    **dict.fromkeys(("ClientConnectorDNSError", "ClientPayloadError"), through_inner),
    "ClientSSLError": _tls,
    "ClientConnectorSSLError": _tls,
    "ClientConnectorCertificateError": permanent(_N, "CERTIFICATE_VERIFY_FAILED", severity=ErrorSeverity.HIGH),
    "ServerFingerprintMismatch": permanent(_N, "CERTIFICATE_VERIFY_FAILED", severity=ErrorSeverity.HIGH),
    **dict.fromkeys(("ServerConnectionError", "ServerDisconnectedError"), _LOST),
    **dict.fromkeys(("ServerTimeoutError", "ConnectionTimeoutError", "SocketTimeoutError"), _TIMEOUT),
    "ClientResponseError": _aiohttp_answer,
    "ClientHttpProxyError": _aiohttp_answer,
    "WSServerHandshakeError": _aiohttp_answer,
    "ContentTypeError": _content_type,
    "TooManyRedirects": _REDIRECTS,
    "RedirectClientError": _REDIRECTS,
    **dict.fromkeys(
        ("InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError", "InvalidUrlRedirectClientError"), _BAD_REQUEST
    ),
    "NonHttpUrlRedirectClientError": _BAD_REQUEST,
    "WSMessageTypeError": _MISUSE,
    "UploadAbortedError": _LOST,
}


def _all(module: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{module}.{name}": answer for name, answer in table.items() if answer is not None}


FAMILY = Family(
    name="http",
    classes={
        **_all("requests.exceptions", _REQUESTS),
        **_all("niquests.exceptions", _REQUESTS),
        "requests.cookies.CookieConflictError": _MISUSE,
        **_all("urllib3.exceptions", _URLLIB3),
        **_all("urllib3_future.exceptions", _URLLIB3),
        "urllib3.util.ssl_match_hostname.CertificateError": permanent(_N, "CERTIFICATE_VERIFY_FAILED"),
        **_all("httpx", _HTTPX),
        **_all("httpx._exceptions", _HTTPX),
        **_all("httpcore", _HTTPX),
        **_all("httpcore._exceptions", _HTTPX),
        **_all("geventhttpclient.httpx", _HTTPX),
        "httpcore.ConnectionNotAvailable": _LOST,
        "httpcore._exceptions.ConnectionNotAvailable": _LOST,
        **_all("aiohttp.client_exceptions", _AIOHTTP),
        "aiohttp.client_exceptions.ClientOSError": through_inner,
        "aiohttp.http_exceptions.HttpProcessingError": _UNREADABLE,
        **each("aiohttp.http_exceptions", "BadStatusLine TransferEncodingError ContentLengthError", _LOST),
        **each("aiohttp.http_exceptions", "PayloadEncodingError", _LOST),
        **each("aiohttp.http_exceptions", "ContentEncodingError DecompressSizeError", _UNREADABLE),
        # Standard library
        "http.client.HTTPException": _LOST,
        "http.client.RemoteDisconnected": _LOST,
        "http.client.IncompleteRead": _LOST,
        "http.client.BadStatusLine": _LOST,
        **each("http.client", "LineTooLong UnknownTransferEncoding UnknownProtocol", _UNREADABLE),
        "http.client.InvalidURL": _BAD_REQUEST,
        **each(
            "http.client",
            "ImproperConnectionState CannotSendRequest CannotSendHeader ResponseNotReady NotConnected "
            "UnimplementedFileMode",
            _MISUSE,
        ),
        "urllib.error.HTTPError": by_own_status("code"),
        "urllib.error.URLError": _urllib,
        "urllib.error.ContentTooShortError": _LOST,
        "xmlrpc.client.ProtocolError": by_own_status("errcode"),
        "xmlrpc.client.ResponseError": _UNREADABLE,
        "xmlrpc.client.Fault": _fault,
        # tornado's client; its server side is in `web`
        **each("tornado.httpclient", "HTTPClientError HTTPError", _tornado),
        "tornado.simple_httpclient.HTTPTimeoutError": _TIMEOUT,
        "tornado.simple_httpclient.HTTPStreamClosedError": _LOST,
        "tornado.iostream.StreamClosedError": lambda exc: Through(attr(exc, "real_error"), _LOST),
        **each("tornado.iostream", "UnsatisfiableReadError StreamBufferFullError", _UNREADABLE),
        **each("h11._util", "RemoteProtocolError", _LOST),
        "h11._util.LocalProtocolError": _MISUSE,
        "h11._util.ProtocolError": _LOST,
        "h2.exceptions.H2Error": _LOST,
        **each("h2.exceptions", "InvalidSettingsValueError FrameTooLargeError", permanent(_N)),
        "hpack.exceptions.HPACKError": permanent(_P),
    },
    protocols=(("response", by_response),),
)
