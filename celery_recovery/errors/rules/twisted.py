"""Twisted, and treq on top of it: failures of connections, and answers by status."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import attr, text_of
from celery_recovery.errors.rules.http import by_own_status, through_inner
from celery_recovery.errors.rules.network import NETWORK_FAULT, TLS_UNTRUSTED, by_tls_text
from celery_recovery.errors.rules.rule import Answer, Family, Through, each, permanent, transient

__all__ = ("FAMILY",)

_N, _S = ErrorType.NETWORK, ErrorType.SYSTEM
_TIMEOUT = transient(_N, "ETIMEDOUT")
_BAD_REQUEST = permanent(ErrorType.VALIDATION)
_LOST = "ConnectionClosed ConnectionLost ConnectionDone ConnectionAborted ConnectionFdescWentAway"
_CONNECT = "ConnectError ConnectionRefusedError NoRouteError UnknownHostError ConnectBindError UserError"


def _reasons(exc: Any) -> Answer:
    """What happened is kept as a list of Failures; the last is the nearest to it."""
    reasons = attr(exc, "reasons")
    inner = attr(reasons[-1], "value") if isinstance(reasons, list) and reasons else None
    return Through(inner, NETWORK_FAULT)


def _failure(exc: Any) -> Answer:
    return Through(attr(exc, "value"), transient(_S))


FAMILY = Family(
    name="twisted",
    classes={
        **each("twisted.internet.error", f"{_LOST} {_CONNECT} DNSLookupError", through_inner),
        **each("twisted.internet.error", "TimeoutError TCPTimedOutError", _TIMEOUT),
        **each("twisted.internet.error", "VerifyError PeerVerifyError CertificateError", TLS_UNTRUSTED),
        "twisted.internet.error.SSLError": lambda exc: by_tls_text(text_of(exc)) or NETWORK_FAULT,
        **each("twisted.internet.error", "ServiceNameUnknownError InvalidAddressError", _BAD_REQUEST),
        **each("twisted.internet.error", "BindError CannotListenError", NETWORK_FAULT),
        **each("twisted.internet.error", "ProcessTerminated ProcessDone ProcessExitedAlready", permanent(_S)),
        **each("twisted.internet.error", "ConnectingCancelledError", NETWORK_FAULT),
        "twisted.internet.error.MessageLengthError": _BAD_REQUEST,
        "twisted.internet.defer.TimeoutError": _TIMEOUT,
        "twisted.internet.defer.CancelledError": transient(_S),
        "twisted.internet.defer.FirstError": lambda exc: Through(attr(attr(exc, "subFailure"), "value"), transient(_S)),
        **each("twisted.internet.defer", "QueueOverflow QueueUnderflow", transient(_S)),
        "twisted.python.failure.Failure": _failure,
        **each(
            "twisted.web._newclient",
            "ResponseFailed ResponseNeverReceived RequestTransmissionFailed RequestGenerationFailed",
            _reasons,
        ),
        **each(
            "twisted.web._newclient",
            "ConnectionAborted ResponseDone WrongBodyLength RequestNotSent ParseError BadResponseVersion",
            NETWORK_FAULT,
        ),
        **each("twisted.web.http", "_DataLoss PotentialDataLoss", NETWORK_FAULT),
        "twisted.web.error.Error": by_own_status("status"),
        **each("twisted.web.error", "InfiniteRedirection RedirectWithNoLocation", permanent(_N, "redirects")),
        "twisted.web.error.SchemeNotSupported": _BAD_REQUEST,
        "twisted.web.client.PartialDownloadError": NETWORK_FAULT,
        **each("twisted.cred.error", "LoginFailed Unauthorized", permanent(_N)),
    },
)
