"""HTTP: answers by their status, calls without an answer by what stopped them."""

from __future__ import annotations

import http.client
import http.server
import socket
import ssl
import threading
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator

import pytest
import requests
import urllib3

from celery_recovery.errors import ErrorInfo, classify
from celery_recovery.errors.rules.status import by_status, by_status_text
from tests.unit.errors.lookalike import lookalike


def _said(exc: BaseException) -> tuple[str, bool]:
    info = classify(exc)
    return info.error_type.value, info.is_retryable


class _Handler(http.server.BaseHTTPRequestHandler):
    """`/503` answers 503; `/close` hangs up, `/short` and `/chunk` in the middle; `/slow` waits."""

    def do_GET(self) -> None:
        name = self.path[1:]
        if name.isdigit():
            self._answer(int(name), {"Retry-After": "9", "Content-Length": "0", "Location": self.path})
        elif name == "short":
            self._answer(200, {"Content-Length": "500"}, b"abc")
        elif name == "chunk":
            self._answer(200, {"Transfer-Encoding": "chunked"}, b"5\r\nab")
        elif name == "gzip":
            self._answer(200, {"Content-Encoding": "gzip", "Content-Length": "5"}, b"hello")
        elif name == "html":
            self._answer(200, {"Content-Length": "6"}, b"<html>")
        elif name == "slow":
            self.server.awake.wait(5)  # type: ignore[attr-defined]
        self.close_connection = True

    def do_CONNECT(self) -> None:
        self._answer(407 if self.path.startswith("locked") else 503, {"Content-Length": "0"})

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A misbehaving server; what it does stands in the path."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.awake = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.awake.set()  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def _requests(url: str, **options) -> object:
    response = requests.get(url, timeout=0.3, **options)
    response.raise_for_status()
    return response.json()


def _urllib(url: str) -> object:
    with urllib.request.urlopen(url, timeout=0.3) as response:
        return response.read()


def _urllib3(url: str, retries: object = False) -> object:
    with urllib3.PoolManager(timeout=0.3) as pool:
        return pool.request("GET", url, retries=retries).data


def _failure(call, *args, **options) -> ErrorInfo:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(*args, **options)
    return classify(caught.value)


# --- status ----------------------------------------------------------------------------------------------------------

TRANSIENT = [408, 420, 421, 423, 425, 429, 449, 499, 500, 502, 503, 504, 507, 520, 524, 529, 598, 599]
PERMANENT = [301, 304, *range(400, 408), *range(409, 419), 422, 424, 426, 428, 431, 451, 480, 501, 505, 508, 511, 526]


@pytest.mark.parametrize("status", TRANSIENT)
def test_statuses_that_pass(status):
    """What the server or the way to it could not do now."""
    verdict = by_status(status)
    assert verdict.retryable
    assert verdict.code == f"HTTP {status}"


@pytest.mark.parametrize("status", PERMANENT)
def test_statuses_that_stay(status):
    """What the request itself is refused for."""
    assert not by_status(status).retryable


@pytest.mark.parametrize("status", [None, 0, 100, 200, 204, 600, -503, "x", "", 5030, True, object(), 503.5])
def test_what_is_no_failed_status(status):
    """Nothing is read into other numbers."""
    assert by_status(status) is None


@pytest.mark.parametrize("status", [409, 413])
def test_a_refusal_with_a_time_is_transient(status):
    """409 and 413 with Retry-After say that it will do later."""
    assert by_status(status, {"Retry-After": "3"}).retryable


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("HTTP 503", "HTTP 503"),
        ("HTTP Error 404: Not Found", "HTTP 404"),
        ("HTTP/1.1 502 Bad Gateway", "HTTP 502"),
        ("request failed with status code 429", "HTTP 429"),
        ("status=500", "HTTP 500"),
        ("too many 503 error responses", "HTTP 503"),
        ("Tunnel connection failed: 407 Proxy Authentication Required", "HTTP 407"),
        ("503 Server Error: Service Unavailable for url: http://x/", "HTTP 503"),
    ],
)
def test_statuses_in_words(text, code):
    """Where a client tells the status only in its message."""
    assert by_status_text(text).code == code


@pytest.mark.parametrize("text", ["port=443", "order 503 is late", "took 500 ms", "http://host:404/x", "HTTP 200", ""])
def test_other_numbers_are_no_status(text):
    """A port, an id, a time."""
    assert by_status_text(text) is None


# --- clients, really -------------------------------------------------------------------------------------------------

REQUESTS = [
    ("503", "network", True),
    ("429", "network", True),
    ("404", "business_logic", False),
    ("422", "validation", False),
    ("close", "network", True),
    ("slow", "network", True),
    ("short", "network", True),
    ("chunk", "network", True),
    ("gzip", "parsing", False),
    ("html", "parsing", False),
    ("302", "network", False),
]


@pytest.mark.parametrize(("path", "error_type", "retryable"), REQUESTS)
def test_requests(server, path, error_type, retryable):
    """requests, on everything that this server does."""
    info = _failure(_requests, f"{server}/{path}")
    assert (info.error_type.value, info.is_retryable) == (error_type, retryable)
    assert info.retry_after == (9.0 if path in ("503", "429") else None)


@pytest.mark.parametrize("call", [_requests, _urllib, _urllib3], ids=["requests", "urllib", "urllib3"])
def test_nobody_listens(call, nobody):
    """However deep a client wraps it, it is a refused connection."""
    info = _failure(call, nobody)
    assert (info.error_type.value, info.is_retryable, info.error_code) == ("network", True, "ECONNREFUSED")


@pytest.mark.parametrize("call", [_urllib, _urllib3], ids=["urllib", "urllib3"])
@pytest.mark.parametrize("path", ["close", "slow", "short", "chunk"])
def test_a_connection_that_breaks(server, call, path):
    """A hang, a hang-up and a cut body are transient in every client."""
    info = _failure(call, f"{server}/{path}")
    assert (info.error_type.value, info.is_retryable) == ("network", True)


def test_urllib_answers(server):
    """Urllib's HTTPError is an OSError, yet its status counts."""
    assert _said(_caught(_urllib, f"{server}/404")) == ("business_logic", False)
    assert _failure(_urllib, f"{server}/503").retry_after == 9.0


def _caught(call, *args) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(*args)
    return caught.value


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (500, True), (404, False)])
def test_urllib3_retries_used_up_on_a_status(server, status, retryable):
    """The last answer counts, not that there were many."""
    retries = urllib3.Retry(1, status_forcelist=[status], backoff_factor=0, respect_retry_after_header=False)
    info = _failure(_urllib3, f"{server}/{status}", retries)
    assert (info.error_code, info.is_retryable) == (f"HTTP {status}", retryable)


@pytest.mark.parametrize(("host", "status", "retryable"), [("locked.invalid", 407, False), ("open.invalid", 503, True)])
def test_a_proxy_that_refuses(server, host, status, retryable):
    """The proxy's status is only in the text; credentials are not transient."""
    info = _failure(_requests, f"https://{host}/", proxies={"https": server})
    assert (info.error_code, info.is_retryable) == (f"HTTP {status}", retryable)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": server}))
    assert _failure(opener.open, f"https://{host}/", timeout=1).error_code == f"HTTP {status}"


@pytest.mark.parametrize("url", ["foo://x", "http://", "x", "http://[::bad/"])
def test_bad_urls(url):
    """No call was made; none will be."""
    assert _failure(_requests, url).is_retryable is False
    assert _failure(_requests, url).error_type.value == "validation"


def test_a_certificate_that_does_not_verify():
    """Inside requests and urllib3 it stays what it is."""
    inner = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")
    middle = urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.SSLError(inner))  # type: ignore[arg-type]
    for exc in (inner, middle, requests.exceptions.SSLError(middle), urllib.error.URLError(inner)):
        assert _said(exc) == ("network", False)


# --- clients that are not installed here -----------------------------------------------------------------------------


def _response(status: int, **headers: str) -> object:
    return type("Response", (), {"status_code": status, "status": status, "headers": headers})()


@pytest.mark.parametrize(
    ("path", "attributes", "expected"),
    [
        ("httpx.HTTPStatusError", {"response": _response(503)}, ("network", True)),
        ("httpx.HTTPStatusError", {"response": _response(404)}, ("business_logic", False)),
        ("httpx.ConnectTimeout", {}, ("network", True)),
        ("httpx.PoolTimeout", {}, ("network", True)),
        ("httpx.RemoteProtocolError", {}, ("network", True)),
        ("httpx.LocalProtocolError", {}, ("validation", False)),
        ("httpx.UnsupportedProtocol", {}, ("validation", False)),
        ("httpx.TooManyRedirects", {}, ("network", False)),
        ("httpx.DecodingError", {}, ("parsing", False)),
        ("httpx.StreamConsumed", {}, ("unknown", False)),
        ("httpcore.ReadError", {}, ("network", True)),
        ("aiohttp.client_exceptions.ClientResponseError", {"status": 502}, ("network", True)),
        ("aiohttp.client_exceptions.ClientResponseError", {"status": 403}, ("network", False)),
        ("aiohttp.client_exceptions.ContentTypeError", {"status": 200}, ("parsing", False)),
        ("aiohttp.client_exceptions.ContentTypeError", {"status": 502}, ("network", True)),
        ("aiohttp.client_exceptions.ServerDisconnectedError", {}, ("network", True)),
        ("aiohttp.client_exceptions.ClientConnectorError", {"os_error": OSError(111, "x")}, ("network", True)),
        ("aiohttp.client_exceptions.ClientConnectorCertificateError", {}, ("network", False)),
        ("aiohttp.client_exceptions.InvalidURL", {}, ("validation", False)),
        ("tornado.httpclient.HTTPClientError", {"code": 599}, ("network", True)),
        ("tornado.httpclient.HTTPClientError", {"code": 404}, ("business_logic", False)),
        ("tornado.curl_httpclient.CurlError", {"errno": 7, "code": 599}, ("network", True)),
        ("tornado.curl_httpclient.CurlError", {"errno": 60, "code": 599}, ("network", False)),
        ("zeep.exceptions.TransportError", {"status_code": 503}, ("network", True)),
        ("zeep.exceptions.Fault", {}, ("business_logic", False)),
        ("h11._util.RemoteProtocolError", {}, ("network", True)),
    ],
)
def test_other_clients(path, attributes, expected):
    """By class, and where the class has an answer, by its status."""
    assert _said(lookalike(path, **attributes)("x")) == expected


def test_httpx_wraps_what_httpcore_wraps():
    """`ConnectError` is what the socket said, through two layers."""
    for cause, retryable in (
        (ConnectionRefusedError(111, "x"), True),
        (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] x"), False),
    ):
        inner, outer = lookalike("httpcore.ConnectError")(str(cause)), lookalike("httpx.ConnectError")(str(cause))
        inner.__cause__, outer.__cause__ = cause, inner
        assert _said(outer) == ("network", retryable)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (6, ("network", True)),
        (7, ("network", True)),
        (28, ("network", True)),
        (56, ("network", True)),
        (3, ("validation", False)),
        (47, ("network", False)),
        (60, ("network", False)),
        (61, ("parsing", False)),
        (67, ("network", False)),
        (27, ("memory", True)),
        (37, ("filesystem", False)),
    ],
)
def test_curl_by_number(code, expected):
    """Libcurl says everything by its number."""
    assert _said(lookalike("pycurl.error")(code, "text")) == expected


def test_curl_with_a_status():
    """Number 22 is any refused status; which, only the text says."""
    assert _said(lookalike("pycurl.error")(22, "The requested URL returned error: 503")) == ("network", True)
    assert _said(lookalike("pycurl.error")(22, "The requested URL returned error: 404")) == ("business_logic", False)


# --- standard library ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (http.client.RemoteDisconnected("x"), ("network", True)),
        (http.client.IncompleteRead(b"x", 7), ("network", True)),
        (http.client.CannotSendRequest(), ("unknown", False)),
        (http.client.InvalidURL("x"), ("validation", False)),
        (urllib.error.URLError("timed out"), ("network", True)),
        (urllib.error.URLError("unknown url type: foo"), ("validation", False)),
        (urllib.error.URLError(FileNotFoundError(2, "x")), ("filesystem", False)),
        (urllib.error.ContentTooShortError("x", b""), ("network", True)),
        (xmlrpc.client.ProtocolError("u", 503, "x", {"Retry-After": "4"}), ("network", True)),
        (xmlrpc.client.ProtocolError("u", 401, "x", {}), ("network", False)),
        (xmlrpc.client.Fault(-32700, "x"), ("parsing", False)),
        (xmlrpc.client.Fault(-32300, "x"), ("network", True)),
        (xmlrpc.client.Fault(7, "x"), ("business_logic", False)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_standard_library(exc, expected):
    """http.client, urllib and xmlrpc."""
    assert _said(exc) == expected
