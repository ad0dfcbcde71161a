"""WebSocket clients and servers: by the close code (RFC 6455 7.4.1), or by the status of a refused handshake."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number, text_of
from celery_recovery.errors.rules.http import by_own_status, by_response, by_tunnel_text, through_inner
from celery_recovery.errors.rules.network import NETWORK_FAULT
from celery_recovery.errors.rules.rule import Answer, Family, Verdict, each, permanent, transient

__all__ = ("FAMILY", "by_close_code")

_N, _V, _P = ErrorType.NETWORK, ErrorType.VALIDATION, ErrorType.PARSING
_MISUSE = permanent(ErrorType.UNKNOWN)
_HANDSHAKE = permanent(_N)
_CLOSED_FOR_GOOD: dict[int, ErrorType] = {
    1002: _N,  # protocol error
    1003: _V,  # a kind of data it does not take
    1007: _V,  # data that is not what it says
    1008: _V,  # policy
    1009: _V,  # too big
    1010: _N,  # an extension is missing
    1015: _N,  # TLS
    3000: _N,  # unauthorised (IANA)
    3003: _N,  # forbidden (IANA)
}


def by_close_code(code: Any) -> Verdict:
    """The verdict on a WebSocket close code; going away, restarts, overload and silence (1006) pass."""
    known = number(code)
    if known is None:
        return NETWORK_FAULT
    name, rule = f"WebSocket {known}", f"close.{known}"
    if known in _CLOSED_FOR_GOOD:
        return permanent(_CLOSED_FOR_GOOD[known], name, rule=rule)
    # Applications take 4000-4999, and commonly reuse HTTP's statuses with 4000 added.
    permanent_private = 4400 <= known <= 4499 and known not in (4408, 4425, 4429)
    return permanent(_N, name, rule=rule) if permanent_private else transient(_N, name, rule=rule)


def _closed(exc: Any) -> Answer:
    received = attr(exc, "rcvd")
    code = attr(received, "code")
    if code is None:
        code = attr(exc, "code")
    return by_close_code(code)


def _handshake(exc: Any) -> Answer:
    return by_response(exc) or by_own_status("status_code")(exc) or _HANDSHAKE


def _proxy(exc: Any) -> Answer:
    return by_response(exc) or by_tunnel_text(text_of(exc)) or through_inner(exc)


FAMILY = Family(
    name="websockets",
    classes={
        "websockets.exceptions.WebSocketException": NETWORK_FAULT,
        **each("websockets.exceptions", "ConnectionClosed ConnectionClosedOK ConnectionClosedError", _closed),
        **each("websockets.exceptions", "InvalidHandshake InvalidStatus InvalidMethod NegotiationError", _handshake),
        **each(
            "websockets.exceptions", "InvalidHeader InvalidHeaderFormat InvalidHeaderValue InvalidUpgrade", _HANDSHAKE
        ),
        **each("websockets.exceptions", "InvalidOrigin SecurityError TooManyHeaders", _HANDSHAKE),
        **each("websockets.legacy.exceptions", "InvalidStatusCode AbortHandshake", _handshake),
        "websockets.legacy.exceptions.RedirectHandshake": permanent(_N, "redirects"),
        # No HTTP answer at all: the peer went away in the handshake.
        "websockets.exceptions.InvalidMessage": NETWORK_FAULT,
        "websockets.exceptions.ProxyError": _proxy,
        **each("websockets.exceptions", "InvalidProxyMessage InvalidProxyStatus", _proxy),
        **each("websockets.exceptions", "InvalidURI InvalidProxy PayloadTooBig TooManyFragments", permanent(_V)),
        "websockets.exceptions.ProtocolError": permanent(_N),
        **each("websockets.exceptions", "ConcurrencyError InvalidState InvalidProtocol", _MISUSE),
        "websocket._exceptions.WebSocketException": through_inner,
        "websocket._exceptions.WebSocketBadStatusException": by_own_status("status_code"),
        "websocket._exceptions.WebSocketTimeoutException": transient(_N, "ETIMEDOUT"),
        "websocket._exceptions.WebSocketConnectionClosedException": NETWORK_FAULT,
        "websocket._exceptions.WebSocketAddressException": NETWORK_FAULT,
        "websocket._exceptions.WebSocketProxyException": _proxy,
        "websocket._exceptions.WebSocketProtocolException": permanent(_N),
        "websocket._exceptions.WebSocketPayloadException": permanent(_P),
        **each("websocket._http", "ProxyError ProxyConnectionError ProxyTimeoutError", _proxy),
        "wsproto.utilities.RemoteProtocolError": NETWORK_FAULT,
        "wsproto.utilities.LocalProtocolError": _MISUSE,
        "wsproto.frame_protocol.ParseFailed": permanent(_P),
        "starlette.websockets.WebSocketDisconnect": _closed,
        "starlette.websockets.WebSocketDisconnected": NETWORK_FAULT,
        "starlette.exceptions.WebSocketException": _closed,
        "falcon.errors.WebSocketDisconnected": _closed,
        "tornado.websocket.WebSocketError": NETWORK_FAULT,
        **each("aiohttp._websocket.models", "WebSocketError", _closed),
        "aiohttp.http_websocket.WebSocketError": _closed,
        **each("engineio.exceptions", "ConnectionError", NETWORK_FAULT),
        **each("socketio.exceptions", "ConnectionError TimeoutError DisconnectedError", NETWORK_FAULT),
        **each("socketio.exceptions", "ConnectionRefusedError", permanent(_N, severity=ErrorSeverity.HIGH)),
        **each("socketio.exceptions", "BadNamespaceError", _MISUSE),
        "eventlet.websocket.ConnectionClosedError": NETWORK_FAULT,
        "eventlet.websocket.FailedConnectionError": NETWORK_FAULT,
    },
)
