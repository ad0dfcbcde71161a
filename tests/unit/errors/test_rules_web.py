"""Web frameworks by status, WebSockets by close code, Twisted by its failures."""

from __future__ import annotations

import pytest

from celery_recovery.errors import classify
from celery_recovery.errors.rules.websockets import by_close_code
from tests.unit.errors.lookalike import lookalike


def _said(exc: BaseException) -> tuple[str, bool]:
    info = classify(exc)
    return info.error_type.value, info.is_retryable


@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("werkzeug.exceptions.HTTPException", "code"),
        ("starlette.exceptions.HTTPException", "status_code"),
        ("tornado.web.HTTPError", "status_code"),
        ("aiohttp.web_exceptions.HTTPException", "status"),
        ("sanic.exceptions.SanicException", "status_code"),
        ("falcon.http_error.HTTPError", "status_code"),
        ("bottle.HTTPResponse", "status_code"),
        ("webob.exc.HTTPException", "code"),
        ("rest_framework.exceptions.APIException", "status_code"),
        ("litestar.exceptions.http_exceptions.HTTPException", "status_code"),
    ],
)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (503, ("network", True)),
        (429, ("network", True)),
        (404, ("business_logic", False)),
        (422, ("validation", False)),
    ],
)
def test_frameworks(path, attribute, status, expected):
    """An exception that stands for an answer is judged as the answer."""
    base = lookalike(path)
    assert _said(type("Mine", (base,), {attribute: status})("x")) == expected


def test_a_status_as_a_line():
    """Falcon writes it out."""
    assert _said(lookalike("falcon.http_error.HTTPError", status="503 Service Unavailable")()) == ("network", True)


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        ("werkzeug.exceptions.HTTPException", {"code": 429, "retry_after": 12}),
        ("rest_framework.exceptions.APIException", {"status_code": 429, "wait": 12}),
        ("starlette.exceptions.HTTPException", {"status_code": 503, "headers": {"Retry-After": "12"}}),
    ],
)
def test_waits_of_frameworks(path, attributes):
    """Each says in its own attribute when to come back."""
    assert classify(lookalike(path, **attributes)("x")).retry_after == 12.0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("django.http.response.Http404", ("business_logic", False)),
        ("django.core.exceptions.PermissionDenied", ("business_logic", False)),
        ("django.core.exceptions.ValidationError", ("validation", False)),
        ("django.core.signing.BadSignature", ("validation", False)),
        ("django.template.exceptions.TemplateSyntaxError", ("parsing", False)),
        ("django.http.request.UnreadablePostError", ("network", True)),
        ("fastapi.exceptions.ResponseValidationError", ("schema", False)),
        ("starlette.requests.ClientDisconnect", ("network", True)),
        ("rest_framework.exceptions.ParseError", ("parsing", False)),
        ("tornado.iostream.StreamClosedError", ("network", True)),
    ],
)
def test_without_a_status(path, expected):
    """What frameworks raise beside answers."""
    assert _said(lookalike(path)("x")) == expected


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        *dict.fromkeys((1001, 1006, 1011, 1012, 1013, 1014, None, 4429), True).items(),
        *dict.fromkeys((1002, 1003, 1007, 1008, 1009, 1015, 3000, 4401), False).items(),
    ],
)
def test_close_codes(code, retryable):
    """RFC 6455: going away, restarts and overload pass; what the message was refused for stays."""
    assert by_close_code(code).retryable is retryable


@pytest.mark.parametrize(
    ("path", "attributes", "expected"),
    [
        (
            "websockets.exceptions.ConnectionClosedError",
            {"rcvd": type("C", (), {"code": 1008})()},
            ("validation", False),
        ),
        ("websockets.exceptions.ConnectionClosedError", {"rcvd": None}, ("network", True)),
        ("websockets.exceptions.InvalidStatus", {"response": type("R", (), {"status_code": 503})()}, ("network", True)),
        (
            "websockets.exceptions.InvalidStatus",
            {"response": type("R", (), {"status_code": 401})()},
            ("network", False),
        ),
        ("websockets.exceptions.InvalidURI", {}, ("validation", False)),
        ("websockets.exceptions.PayloadTooBig", {}, ("validation", False)),
        ("websockets.exceptions.InvalidMessage", {}, ("network", True)),
        ("websocket._exceptions.WebSocketBadStatusException", {"status_code": 502}, ("network", True)),
        ("websocket._exceptions.WebSocketTimeoutException", {}, ("network", True)),
        ("websocket._exceptions.WebSocketPayloadException", {}, ("parsing", False)),
        ("starlette.websockets.WebSocketDisconnect", {"code": 1001}, ("network", True)),
    ],
)
def test_websockets(path, attributes, expected):
    """By close code, by the status of the handshake, or by class."""
    assert _said(lookalike(path, **attributes)("x")) == expected


def test_twisted_failures_are_looked_into():
    """`ResponseNeverReceived` holds Failures; the last counts."""
    failure = type("Failure", (), {"value": lookalike("twisted.internet.error.ConnectionLost")("x")})()
    refused = type("Failure", (), {"value": lookalike("twisted.internet.error.CertificateError")("x")})()
    never = lookalike("twisted.web._newclient.ResponseNeverReceived")
    assert _said(type("Mine", (never,), {"reasons": [failure]})("x")) == ("network", True)
    assert _said(type("Mine", (never,), {"reasons": [failure, refused]})("x")) == ("network", False)
    assert _said(lookalike("twisted.internet.error.TCPTimedOutError")("x")) == ("network", True)
    assert _said(lookalike("twisted.web.error.Error", status=b"503")("x")) == ("network", True)
