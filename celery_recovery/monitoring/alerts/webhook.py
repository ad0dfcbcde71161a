"""`Webhook`: POSTs an alert as JSON. What it sends is documented in docs/reporting.md.

    POST /path HTTP/1.1
    Content-Type: application/json
    Celery-Recovery-Event: group_new
    Celery-Recovery-Id: 5f0c…                      the same at every try
    Celery-Recovery-Signature: t=1700000000,v1=…   with `recovery_alert_secret`: HMAC-SHA-256 of `t`, a dot and the body

Redirects are followed within one host only, so that a signed alert ends up nowhere else. Proxies come from the
environment (`HTTPS_PROXY`, `NO_PROXY`), as for everything in Python.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from celery_recovery.errors.retry_after import from_headers
from celery_recovery.monitoring.alerts.alert import Alert
from celery_recovery.monitoring.alerts.wrong import NotSent

__all__ = ("Webhook", "signature")

#: Seconds to wait for a connection, and for each part of an answer.
TIMEOUT = 10.0
#: Bytes of an answer that are read, to say why it was not taken.
ANSWER = 300
_PORTS = {"http": 80, "https": 443}


def signature(secret: str, at: int, body: bytes) -> str:
    """What the signature's `v1` must be for a body that was sent at this moment (unix s)."""
    return hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()


class Webhook:
    """Sends to one URL; user and password in it become a header."""

    def __init__(self, url: str, secret: str | None = None) -> None:
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        self._basic = _basic(parts)
        self._secret = secret
        self._opener = urllib.request.build_opener(_WithinOneHost)

    def __call__(self, alert: Alert) -> None:
        """Send it. Raises `NotSent`."""
        body = json.dumps(alert.to_dict(), ensure_ascii=True, default=str).encode()
        request = urllib.request.Request(self._url, body, self._headers(alert, body), method="POST")  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT):
                return
        except urllib.error.HTTPError as exc:
            raise _refused(exc) from None
        except (OSError, http.client.HTTPException, ValueError) as exc:  # of a URL that is none, too
            reason = getattr(exc, "reason", exc)  # urllib's own wraps that of the socket
            why = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
            raise NotSent(why) from None

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json", "User-Agent": "celery-recovery",
            "Celery-Recovery-Event": alert.event, "Celery-Recovery-Id": alert.id,
        }  # fmt: skip
        if self._basic:
            headers["Authorization"] = self._basic
        if self._secret:
            at = int(time.time())
            headers["Celery-Recovery-Signature"] = f"t={at},v1={signature(self._secret, at, body)}"
        return headers


def _basic(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _refused(exc: urllib.error.HTTPError) -> NotSent:
    answer = b""
    with suppress(OSError, http.client.HTTPException):
        answer = exc.read(ANSWER)
    exc.close()
    said = " ".join(answer.decode("utf-8", "replace").split())
    after = from_headers(exc.headers) if exc.code in (429, 503) else None
    return NotSent(f"HTTP {exc.code} {exc.reason}" + (f": {said}" if said else ""), after)


class _WithinOneHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to the same scheme, host and port, with the same POST; any other is an error."""

    max_redirections = 3
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 lacks it

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,  # noqa: ARG002
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request, or HTTPError."""
        if code == 303 or _origin(req.full_url) != _origin(newurl):
            why = "a redirect to another host, or to something to GET, is not followed"
            raise urllib.error.HTTPError(req.full_url, code, why, headers, fp)
        kept = {name: value for name, value in req.header_items() if name.lower() not in ("host", "content-length")}
        return urllib.request.Request(newurl, req.data, kept, method="POST")  # noqa: S310


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None
