"""How long the other side asks us to wait: `Retry-After` and its relatives.

Everything is answered in seconds from now, between 0 and `LONGEST`; a wish that lies in the past is 0, one beyond
`LONGEST` is cut to it (a server that says "in 400 years" means "not now"), and what cannot be read is None.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from celery_recovery import clock
from celery_recovery.errors.reading import attr

__all__ = ("LONGEST", "bounded", "from_headers", "reset", "seconds", "used_up")

#: The longest wish that is believed: one day, in seconds.
LONGEST = 86_400.0
# An X-RateLimit-Reset above this can only be a Unix time (it is September 2001), above the second one in milliseconds.
_EPOCH, _EPOCH_MS = 1e9, 1e11
_PLAIN = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:s|secs?|seconds?)?\s*\Z")
_GO = re.compile(r"(\d+(?:\.\d+)?)(ms|[hms])")  # durations as OpenAI's headers write them: "1m30.5s", "20ms"
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-after")
_REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
# One header for all, in both forms of the IETF's drafts: "limit=10, remaining=0, reset=7" and "\"name\";r=0;t=7".
_COMBINED = re.compile(r"(?:\breset|;\s*t)\s*=\s*(\d+)")


def bounded(value: float) -> float | None:
    """`value` within [0, LONGEST]; None when it is not a number."""
    return None if math.isnan(value) else min(max(value, 0.0), LONGEST)


def seconds(value: Any, *, now: float | None = None, date: Any = None) -> float | None:
    """Seconds from now meant by `value`: number, text, HTTP date (RFC 9110), timedelta, datetime.

    `date` is the response's own `Date` header: an HTTP date is measured against it, so that a wrong local clock does
    not matter; without it against `now` (Unix time; default: the clock).
    """
    try:
        return _seconds(value, clock.now() if now is None else now, date)
    except BaseException:  # foreign objects and dates: what cannot be read is no wish
        return None


def _seconds(value: Any, now: float, date: Any) -> float | None:
    if isinstance(value, (int, float)):
        return None if isinstance(value, bool) else bounded(float(value))
    if isinstance(value, dt.timedelta):
        return bounded(value.total_seconds())
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
        return bounded(aware.timestamp() - now)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return _told(value, now, date) if isinstance(value, str) and len(value) <= 100 else None


def _told(value: str, now: float, date: Any) -> float | None:
    plain = _PLAIN.match(value)
    if plain:
        return bounded(float(plain[1]))
    parts = _GO.findall(value)
    if parts and "".join(a + b for a, b in parts) == value.strip():
        return bounded(sum(float(amount) * _UNIT[unit] for amount, unit in parts))
    return _http_date(value, now, date)


def _http_date(value: str, now: float, date: Any) -> float | None:
    until = _moment(value)
    if until is None:
        return None
    base = _moment(date.decode("latin-1") if isinstance(date, bytes) else date) if date else None
    return bounded(until - (now if base is None else base))


def _moment(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        moment = dt.datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return moment.timestamp()


def from_headers(headers: Any, *, now: float | None = None) -> float | None:
    """The wish in response headers of any kind (mapping of any case, list of pairs, `email.message.Message`)."""
    found = _wanted(headers)
    if not found:
        return None
    if "retry-after-ms" in found or "x-ms-retry-after-ms" in found:
        ms = seconds(found.get("retry-after-ms", found.get("x-ms-retry-after-ms")))
        if ms is not None:
            return bounded(ms / 1000.0)
    if "retry-after" in found:
        wish = seconds(found["retry-after"], now=now, date=found.get("date"))
        if wish is not None:
            return wish
    return _until_reset(found, now)


def _until_reset(found: dict[str, Any], now: float | None) -> float | None:
    """Until the count of calls starts anew; with calls left, that says nothing about this fault."""
    if any(name in found and not _is_zero(found[name]) for name in _REMAINING):
        return None
    for name in _RESETS:
        if name in found:
            return reset(found[name], now, found.get("date"))
    combined = _COMBINED.search(str(found.get("ratelimit", ""))[:200])
    return bounded(float(combined[1])) if combined else None


def used_up(headers: Any) -> bool:
    """Do the headers say that no call is left, or when to come back? Then even a 403 tells a rate limit."""
    found = _wanted(headers)
    return "retry-after" in found or any(name in found and _is_zero(found[name]) for name in _REMAINING)


def _is_zero(value: Any) -> bool:
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip() == "0"


def reset(value: Any, now: float | None = None, date: Any = None) -> float | None:
    """Seconds until a reset: a delay in seconds, a Unix time in seconds or milliseconds (by size), or a date."""
    try:
        moment = float(value)
    except BaseException:
        return seconds(value, now=now, date=date)
    if moment < _EPOCH:
        return bounded(moment)
    base = clock.now() if now is None else now
    return bounded((moment / 1000.0 if moment > _EPOCH_MS else moment) - base)


_NAMES = frozenset({"retry-after", "retry-after-ms", "x-ms-retry-after-ms", "date", "ratelimit", *_RESETS, *_REMAINING})


def _wanted(headers: Any) -> dict[str, Any]:
    try:
        if headers is None:
            return {}
        items = headers.items() if isinstance(headers, Mapping) or attr(headers, "items") else headers
        found = {}
        for count, (name, value) in enumerate(items):
            key = (name.decode("latin-1") if isinstance(name, bytes) else str(name)).lower()
            if key in _NAMES:
                found[key] = value
            if count > 200:
                break
        return found
    except BaseException:
        return {}
