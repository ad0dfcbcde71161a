"""Templates, grammars, dates, numbers and locales."""

from __future__ import annotations

import decimal
import io
import re
import statistics
import tokenize
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

REAL: dict[str, tuple[Callable[[], Any], ErrorType]] = {
    "pattern": (lambda: re.compile("("), ErrorType.PARSING),
    "source": (lambda: list(tokenize.tokenize(io.BytesIO(b"'''").readline)), ErrorType.PARSING),
    "decimal": (lambda: decimal.Decimal("x"), ErrorType.VALIDATION),
    "division": (lambda: decimal.Decimal(1) / 0, ErrorType.UNKNOWN),
    "statistics": (lambda: statistics.mean([]), ErrorType.VALIDATION),
    "zone": (lambda: zoneinfo.ZoneInfo("No/Such"), ErrorType.VALIDATION),
}


@pytest.mark.parametrize(("call", "expected"), REAL.values(), ids=REAL)
def test_standard_library(call: Callable[[], Any], expected: ErrorType) -> None:
    """Text that cannot be read, and values that are none, do not get better."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each module has its own
        call()
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable) == (expected, False)


@pytest.mark.parametrize(
    ("name", "bases", "expected"),
    [
        ("jinja2.exceptions.TemplateSyntaxError", (), ErrorType.PARSING),
        ("jinja2.exceptions.UndefinedError", (), ErrorType.SCHEMA),
        ("jinja2.exceptions.TemplateNotFound", (OSError,), ErrorType.FILESYSTEM),
        ("dateutil.parser._parser.ParserError", (ValueError,), ErrorType.PARSING),
        ("pytz.exceptions.UnknownTimeZoneError", (KeyError,), ErrorType.VALIDATION),
        ("pyparsing.exceptions.ParseException", (), ErrorType.PARSING),
        ("lark.exceptions.UnexpectedCharacters", (lookalike("lark.exceptions.LarkError"),), ErrorType.PARSING),
        ("phonenumbers.phonenumberutil.NumberParseException", (), ErrorType.VALIDATION),
    ],
)
def test_library_rules_come_before_the_builtin_base(name: str, bases: Any, expected: ErrorType) -> None:
    """`TemplateNotFound` is an OSError and `UnknownTimeZoneError` a KeyError; the library's class says more."""
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, False)
