"""Checkers of data: acceptable or not, and whether the shape or a value was wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


def pydantic_error(*kinds: str, version: int = 2) -> BaseException:
    """An error with the methods of pydantic 1 or 2."""
    errors = [{"type": kind, "loc": ("order", index)} for index, kind in enumerate(kinds)]
    if version == 1:
        cls = lookalike("pydantic.v1.error_wrappers.ValidationError", ValueError, errors=lambda self: errors)
    else:
        cls = lookalike(
            "pydantic_core._pydantic_core.ValidationError",
            ValueError,
            errors=lambda self, **_: errors,
            error_count=lambda self: len(errors),
        )
    return cls("validation errors")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("missing",), ErrorType.SCHEMA),
        (("missing", "extra_forbidden"), ErrorType.SCHEMA),
        (("missing", "greater_than"), ErrorType.VALIDATION),
        (("int_parsing",), ErrorType.VALIDATION),
        (("json_invalid",), ErrorType.PARSING),
    ],
)
def test_pydantic_is_judged_by_the_kinds_of_its_errors(kinds: tuple[str, ...], expected: ErrorType) -> None:
    """Only missing and unknown fields: the shape. Any other: the values. Not even JSON: unreadable."""
    info = classify(pydantic_error(*kinds))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, False, kinds[0])
    assert info.context["errors"] == len(kinds)


def test_pydantic_1_is_understood_alike() -> None:
    """Its `errors()` takes no arguments and there is no `error_count()`."""
    assert classify(pydantic_error("value_error.missing", version=1)).error_type is ErrorType.SCHEMA
    assert classify(pydantic_error("type_error.integer", version=1)).error_type is ErrorType.VALIDATION


def test_model_with_thousands_of_errors_is_not_listed() -> None:
    """`errors()` builds a dictionary per error; past a bound only their number is told."""
    info = classify(pydantic_error(*["missing"] * 5000))
    assert (info.error_type, info.context) == (ErrorType.VALIDATION, {"errors": 5000})


@pytest.mark.parametrize(
    ("validator", "expected"),
    [("required", ErrorType.SCHEMA), ("additionalProperties", ErrorType.SCHEMA), ("minimum", ErrorType.VALIDATION)],
)
def test_jsonschema_names_the_keyword_that_failed(validator: str, expected: ErrorType) -> None:
    """The failed keyword is the error code."""
    exc = lookalike("jsonschema.exceptions.ValidationError", validator=validator)("no")
    info = classify(exc)
    assert (info.error_type, info.error_code, info.is_retryable) == (expected, validator, False)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("COLUMN_NOT_IN_DATAFRAME", ErrorType.SCHEMA),
        ("WRONG_DATATYPE", ErrorType.SCHEMA),
        ("DATAFRAME_CHECK", ErrorType.VALIDATION),
        ("SERIES_CONTAINS_NULLS", ErrorType.VALIDATION),
    ],
)
def test_pandera_tells_columns_from_values(reason: str, expected: ErrorType) -> None:
    """By the reason code of the error."""
    exc = lookalike("pandera.errors.SchemaError", reason_code=SimpleNamespace(name=reason))("no")
    assert classify(exc).error_type is expected


def test_graphql_resolver_fault_is_looked_through() -> None:
    """`GraphQLError.original_error` is what happened; without one the query was refused."""
    refused = lookalike("graphql.error.graphql_error.GraphQLError", original_error=None)
    assert classify(refused("Cannot query field")).error_type is ErrorType.VALIDATION
    wrapped = lookalike("graphql.error.graphql_error.GraphQLError", original_error=ConnectionResetError(104, "reset"))
    assert classify(wrapped("reset")).is_retryable


LIBRARIES: list[tuple[str, tuple[type[BaseException], ...], ErrorType]] = [
    ("marshmallow.exceptions.ValidationError", (), ErrorType.VALIDATION),
    ("msgspec.DecodeError", (ValueError,), ErrorType.PARSING),
    ("cerberus.schema.SchemaError", (), ErrorType.SCHEMA),
    ("voluptuous.error.MultipleInvalid", (), ErrorType.VALIDATION),
    ("schema.SchemaMissingKeyError", (lookalike("schema.SchemaError"),), ErrorType.SCHEMA),
    ("dacite.exceptions.MissingValueError", (lookalike("dacite.exceptions.DaciteError"),), ErrorType.SCHEMA),
    ("email_validator.EmailSyntaxError", (lookalike("email_validator.EmailNotValidError"),), ErrorType.VALIDATION),
    ("transitions.core.MachineError", (), ErrorType.BUSINESS_LOGIC),
    ("graphql.error.syntax_error.GraphQLSyntaxError", (), ErrorType.PARSING),
]


@pytest.mark.parametrize(("name", "bases", "expected"), LIBRARIES, ids=[row[0] for row in LIBRARIES])
def test_libraries_are_known_by_name(name: str, bases: Any, expected: ErrorType) -> None:
    """None of them is transient."""
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, False)
