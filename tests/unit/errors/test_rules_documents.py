"""Documents and media: broken files, missing programs, locked documents."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


@pytest.mark.parametrize(
    ("stderr", "expected", "retryable"),
    [
        (b"in.mp4: Invalid data found when processing input\n", ErrorType.PARSING, False),
        (b"in.mp4: No such file or directory\n", ErrorType.FILESYSTEM, False),
        (b"tcp://host: Connection refused\n", ErrorType.NETWORK, True),
        (b"out.mp4: No space left on device\n", ErrorType.FILESYSTEM, True),
        (b"Conversion failed!\n", ErrorType.SYSTEM, False),
        (None, ErrorType.SYSTEM, False),
    ],
)
def test_ffmpeg_is_judged_by_what_it_printed(stderr: bytes | None, expected: ErrorType, retryable: bool) -> None:
    """Its exit status is 1 for everything."""
    info = classify(lookalike("ffmpeg._run.Error", stderr=stderr)("ffmpeg error (see stderr output for detail)"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_mutagen_carries_the_systems_error() -> None:
    """`MutagenError(OSError(...))`: the file system's word counts; without one the tag is broken."""
    error = lookalike("mutagen.MutagenError")
    assert classify(error(FileNotFoundError(2, "No such file"))).error_type is ErrorType.FILESYSTEM
    assert classify(error("can't sync to MPEG frame")).error_type is ErrorType.PARSING


def test_opencv_out_of_memory() -> None:
    """Code -4 is cv::Error::StsNoMem; other codes are refused calls."""
    assert classify(lookalike("cv2.error", code=-4)("Insufficient memory")).error_type is ErrorType.MEMORY
    assert classify(lookalike("cv2.error", code=-215)("Assertion failed")).error_type is ErrorType.VALIDATION


@pytest.mark.parametrize(
    ("name", "bases", "expected"),
    [
        ("PIL.UnidentifiedImageError", (OSError,), ErrorType.PARSING),
        ("PIL.Image.DecompressionBombError", (), ErrorType.VALIDATION),
        ("openpyxl.utils.exceptions.InvalidFileException", (), ErrorType.PARSING),
        ("docx.opc.exceptions.PackageNotFoundError", (), ErrorType.PARSING),
        ("pypdf.errors.PdfReadError", (), ErrorType.PARSING),
        ("pypdf.errors.FileNotDecryptedError", (lookalike("pypdf.errors.PdfReadError"),), ErrorType.VALIDATION),
        ("pdf2image.exceptions.PDFInfoNotInstalledError", (), ErrorType.SYSTEM),
        ("pytesseract.pytesseract.TesseractNotFoundError", (OSError,), ErrorType.SYSTEM),
    ],
)
def test_libraries_are_known_by_name(name: str, bases: Any, expected: ErrorType) -> None:
    """`UnidentifiedImageError` is an OSError, yet the disk is well."""
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, False)
