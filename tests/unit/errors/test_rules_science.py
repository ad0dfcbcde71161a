"""Tables, arrays and maps: unreadable files, missing columns, impossible operations, memory."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

PARSING, SCHEMA, VALIDATION = ErrorType.PARSING, ErrorType.SCHEMA, ErrorType.VALIDATION


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Parquet magic bytes not found in footer.", PARSING),
        ("CSV parse error: Expected 2 columns, got 3", PARSING),
        ("Not an Arrow file", PARSING),
        ("Schema at index 1 was different", SCHEMA),
        ("No match for FieldRef.Name(z) in a: int64", SCHEMA),
        ("Integer value 300 not in range: -128 to 127", VALIDATION),
    ],
)
def test_arrow_invalid_is_three_faults_in_one_class(text: str, expected: ErrorType) -> None:
    """Only its words tell a broken file from a foreign schema and from a bad value."""
    info = classify(lookalike("pyarrow.lib.ArrowInvalid", ValueError)(text))
    assert (info.error_type, info.is_retryable) == (expected, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No common columns to perform merge on.", SCHEMA),
        ("Merge keys are not unique in either left or right dataset", VALIDATION),
    ],
)
def test_pandas_merge_error(text: str, expected: ErrorType) -> None:
    """Columns that are not there are about the shape, keys that are not unique about the values."""
    assert classify(lookalike("pandas.errors.MergeError", ValueError)(text)).error_type is expected


def test_pandas_database_error_is_what_the_database_said() -> None:
    """`DatabaseError` only wraps the driver's exception."""
    error = lookalike("pandas.errors.DatabaseError", OSError)("Execution failed")
    error.__cause__ = ConnectionResetError(104, "reset")
    assert classify(error).is_retryable


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ("'g.tif' not recognized as being in a supported file format.", PARSING, False),
        ("/no.tif: No such file or directory", ErrorType.FILESYSTEM, False),
        ("CURL error: Failed to connect to host port 80", ErrorType.NETWORK, True),
        ("HTTP response code: 503", ErrorType.NETWORK, True),
    ],
)
def test_gdal_io_error(text: str, expected: ErrorType, retryable: bool) -> None:
    """One class for a broken file, a missing file and a failed download."""
    info = classify(lookalike("rasterio.errors.RasterioIOError", OSError)(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_gdal_numbers_are_not_the_systems() -> None:
    """DriverError of fiona sets `errno` to GDAL's CPLE_OpenFailed (4), which is EINTR in the system's numbering."""
    error = lookalike("fiona.errors.DriverError", ValueError, errno=4)("Failed to open dataset (flags=68): g.shp")
    info = classify(error)
    assert (info.error_type, info.is_retryable) == (PARSING, False)


@pytest.mark.parametrize(
    ("name", "bases", "expected", "retryable"),
    [
        ("pandas.errors.ParserError", (ValueError,), PARSING, False),
        ("pandas.errors.UndefinedVariableError", (NameError,), SCHEMA, False),
        ("pandas._libs.tslibs.np_datetime.OutOfBoundsDatetime", (ValueError,), VALIDATION, False),
        ("numpy.linalg.LinAlgError", (ValueError,), VALIDATION, False),
        ("pyarrow.lib.ArrowKeyError", (KeyError,), SCHEMA, False),
        ("pyarrow.lib.ArrowMemoryError", (MemoryError,), ErrorType.MEMORY, True),
        ("pyarrow._flight.FlightUnavailableError", (), ErrorType.NETWORK, True),
        ("pyarrow._flight.FlightUnauthenticatedError", (), ErrorType.NETWORK, False),
        ("polars.exceptions.ColumnNotFoundError", (), SCHEMA, False),
        ("sklearn.exceptions.NotFittedError", (ValueError, AttributeError), VALIDATION, False),
        ("xlrd.biffh.XLRDError", (), PARSING, False),
        ("shapely.errors.GEOSException", (), VALIDATION, False),
    ],
)
def test_libraries_are_known_by_name(name: str, bases: Any, expected: ErrorType, retryable: bool) -> None:
    """Wherever in its package the class lives, and before its built-in base."""
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
