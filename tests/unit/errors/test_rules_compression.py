"""Archives: corrupt data is a parsing fault also where the library calls it an OSError."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

PACKED = gzip.compress(b"some text" * 100)
CORRUPT: dict[str, Callable[[], Any]] = {
    "gzip": lambda: gzip.decompress(b"no gzip"),
    "gzip checksum": lambda: gzip.decompress(PACKED[:-8] + bytes(8)),
    "gzip cut": lambda: gzip.decompress(PACKED[:-10]),
    "zlib": lambda: zlib.decompress(b"no zlib"),
    "bz2": lambda: bz2.decompress(b"no bz2"),
    "bz2 cut": lambda: bz2.decompress(bz2.compress(b"text")[:-4]),
    "lzma": lambda: lzma.decompress(b"no xz"),
    "zip": lambda: zipfile.ZipFile(io.BytesIO(b"no zip")),
    "tar": lambda: tarfile.open(fileobj=io.BytesIO(b"no tar")),  # noqa: SIM115 - it does not open
}


@pytest.mark.parametrize("call", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_archives_are_parsing_faults(call: Callable[[], Any]) -> None:
    """`BadGzipFile` and bz2's bare `OSError("Invalid data stream")` are about the data, not about the disk."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
        call()
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable) == (ErrorType.PARSING, False)


def test_member_outside_the_target_is_refused() -> None:
    """A tar member that would leave the directory is not acceptable input."""
    filter_error = lookalike("tarfile.OutsideDestinationError", lookalike("tarfile.FilterError"))
    assert classify(filter_error("would be extracted outside")).error_type is ErrorType.VALIDATION


@pytest.mark.parametrize(
    ("name", "expected", "retryable"),
    [
        ("zstandard.backend_c.ZstdError", ErrorType.PARSING, False),
        ("py7zr.exceptions.Bad7zFile", ErrorType.PARSING, False),
        ("py7zr.exceptions.PasswordRequired", ErrorType.VALIDATION, False),
        ("rarfile.RarCannotExec", ErrorType.SYSTEM, False),
        ("rarfile.RarMemoryError", ErrorType.MEMORY, True),
        ("rarfile.NoRarEntry", ErrorType.SCHEMA, False),
    ],
)
def test_libraries_are_known_by_name(name: str, expected: ErrorType, retryable: bool) -> None:
    """A wrong password, a missing program and a full memory are not corrupt data."""
    info = classify(lookalike(name)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
