"""HTTP status codes: what each means for a retry (RFC 9110, RFC 6585, RFC 4918, and what large SDKs retry).

Used by every family whose faults carry an HTTP status; `by_status` is the one table.
"""

from __future__ import annotations

import re
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import number
from celery_recovery.errors.retry_after import from_headers, used_up
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_status", "by_status_text")

_N, _B, _V = ErrorType.NETWORK, ErrorType.BUSINESS_LOGIC, ErrorType.VALIDATION
_HIGH = ErrorSeverity.HIGH

# status -> (type, retryable, severity or None)
_STATUS: dict[int, tuple[ErrorType, bool, ErrorSeverity | None]] = {
    400: (_V, False, None),
    401: (_N, False, _HIGH),  # credentials: a person must act
    402: (_B, False, None),
    403: (_N, False, _HIGH),
    404: (_B, False, None),
    405: (_V, False, None),
    406: (_V, False, None),
    407: (_N, False, _HIGH),  # proxy credentials
    408: (_N, True, None),  # RFC 9110 15.5.9: the client may repeat the request
    409: (_B, False, None),  # a conflict with the state of the resource; most often a domain rule
    410: (_B, False, None),
    411: (_V, False, None),
    412: (_B, False, None),
    413: (_V, False, None),  # retryable when the server says when, see below
    414: (_V, False, None),
    415: (_V, False, None),
    416: (_V, False, None),
    417: (_V, False, None),
    418: (_B, False, None),
    419: (_N, False, None),  # page expired (not registered)
    420: (_N, True, None),  # "enhance your calm": rate limit of older APIs
    421: (_N, True, None),  # RFC 9110 15.5.20: may be repeated over another connection
    422: (_V, False, None),
    423: (_B, True, None),  # RFC 4918: locked, and locks are released
    424: (_B, False, None),
    425: (_N, True, None),  # RFC 8470: too early, repeat after the handshake
    426: (_V, False, None),
    428: (_V, False, None),
    429: (_N, True, None),
    431: (_V, False, None),
    440: (_N, False, None),
    444: (_N, True, None),  # nginx: closed without a response
    449: (_N, True, None),  # Microsoft: retry with
    451: (_B, False, None),
    460: (_N, True, None),  # load balancer: the client closed the connection
    498: (_N, False, _HIGH),
    499: (_N, True, None),  # client closed the request (a proxy's time limit)
    501: (_N, False, None),
    505: (_N, False, None),
    506: (_N, False, None),
    507: (ErrorType.NETWORK, True, _HIGH),
    508: (_N, False, None),
    510: (_N, False, None),
    511: (_N, False, None),  # captive portal: somebody has to log in
    525: (_N, True, None),
    526: (_N, False, _HIGH),  # invalid certificate of the origin
}


def by_status(status: Any, headers: Any = None, *, now: float | None = None, **more: Any) -> Verdict | None:
    """The verdict on an HTTP status (int, or text of it), with the wait its headers ask for; None if not 300 to 599.

    `more` goes into the `Verdict`. 403, 409 and 413, permanent otherwise, are transient when the server itself says
    when to come back (RFC 9110 10.2.3 allows it on any answer), 403 also when it says that no call is left.
    """
    code = number(status)
    if code is None or not 300 <= code <= 599:
        return None
    if code in _STATUS:
        error_type, retryable, severity = _STATUS[code]
    elif code < 400:
        error_type, retryable, severity = _N, False, None  # a redirect that was not followed
    else:
        # Not registered: as the class's x00 (RFC 9110 15): 4xx is our fault, 5xx the server's (520-599 are proxies').
        error_type, retryable, severity = (_N, True, None) if code >= 500 else (_V, False, None)
    asks = headers is not None and (retryable or code in (409, 413) or (code == 403 and used_up(headers)))
    wait = from_headers(headers, now=now) if asks else None
    more.setdefault("rule", f"status.{code}")
    more.setdefault("context", {"status": code})
    more.setdefault("severity", severity)
    if more.get("retry_after") is None:
        more["retry_after"] = wait
    return Verdict(error_type, retryable or more["retry_after"] is not None, f"HTTP {code}", **more)


_NUMBER = re.compile(r"[45]\d\d(?!\d)")
# After words that announce a status (a refused tunnel, retries that are used up), or at the very beginning.
_IN_TEXT = re.compile(
    r"\b(?:https?[ _/](?:1\.[01] |2 |error |status |code )*|status(?:[ _]code)?[ :=]*|response code[ :=]*|"
    r"returned (?:error: ?)?|error code[ :=]*|tunnel connection failed:\s*|too many |got )([45]\d\d)\b"
    r"|\A\W*([45]\d\d)\b[ :]+(?:[A-Z][a-z]|\w+ (?:server|client) error)",
    re.IGNORECASE,
)


def by_status_text(text: str) -> Verdict | None:
    """The verdict on a message that tells a status in words; only its first 500 characters are read."""
    head = text[:500]
    if _NUMBER.search(head) is None:  # most texts: told at once
        return None
    found = _IN_TEXT.search(head)
    return by_status(found[1] or found[2]) if found else None
