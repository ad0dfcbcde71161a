"""What servers say about when to come back, in all the ways they say it."""

from __future__ import annotations

import datetime as dt
import email.message
import time
from email.utils import format_datetime

import pytest

from celery_recovery.errors.retry_after import LONGEST, from_headers, seconds

NOW = 1_800_000_000.0


def _date(offset: float) -> str:
    return format_datetime(dt.datetime.fromtimestamp(NOW + offset, dt.timezone.utc), usegmt=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7.0),
        (7.25, 7.25),
        ("7", 7.0),
        (" 7.5 ", 7.5),
        (b"7", 7.0),
        ("7s", 7.0),
        ("7 seconds", 7.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1h", 3600.0),
        (dt.timedelta(minutes=2), 120.0),
        (dt.datetime.fromtimestamp(NOW + 30, dt.timezone.utc), 30.0),
        (_date(30), 30.0),
        (_date(-30), 0.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),  # RFC 850 and asctime: obsolete, to be accepted (RFC 9110 5.6.7)
        ("Fri Jan 15 08:00:30 2027", 30.0),
        (dt.datetime.fromtimestamp(NOW + 30, dt.timezone.utc).isoformat(), 30.0),
        (-5, 0.0),
        ("-5", 0.0),
        (1e12, LONGEST),
        ("999999999999", LONGEST),
        (float("inf"), LONGEST),
        (float("nan"), None),
        (True, None),
        (None, None),
        ("", None),
        ("soon", None),
        ("7" * 200, None),
        (object(), None),
        ([7], None),
    ],
)
def test_seconds_from_now(value, expected):
    """Numbers, texts, dates and durations; negatives are 0, a day is the longest, nonsense is None."""
    assert seconds(value, now=NOW) == expected


def test_a_date_is_measured_against_the_responses_own():
    """A wrong local clock does not matter where the response says what time it is."""
    assert seconds(_date(1030), now=NOW, date=_date(1000)) == 30.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "7"}, 7.0),
        ({b"RETRY-AFTER": b"7"}, 7.0),
        ([("Retry-After", "7")], 7.0),
        ({"Retry-After": _date(1030), "Date": _date(1000)}, 30.0),
        ({"Retry-After": _date(30)}, 30.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "500"}, 0.5),
        ({"X-RateLimit-Reset": "60"}, 60.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 60)}, 60.0),
        ({"X-RateLimit-Reset": str((int(NOW) + 60) * 1000)}, 60.0),
        ({"RateLimit-Reset": "5"}, 5.0),
        ({"Retry-After": "soon", "RateLimit-Reset": "5"}, 5.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Content-Type": "text/html"}, None),
        ({}, None),
        (None, None),
        (7, None),
        (object(), None),
        ([("only",)], None),
    ],
)
def test_headers(headers, expected):
    """Any case, any kind of container; the most precise header counts."""
    assert from_headers(headers, now=NOW) == expected


def test_headers_of_the_standard_library():
    """`email.message.Message` is what http.client and urllib give."""
    message = email.message.Message()
    message["Retry-After"] = "12"
    assert from_headers(message) == 12.0


def test_endless_headers_end():
    """A mapping without end is not read to its end."""

    class Endless(dict):
        def items(self):
            while True:
                yield ("X-Nothing", "1")

    started = time.perf_counter()
    assert from_headers(Endless()) is None
    assert time.perf_counter() - started < 0.5
