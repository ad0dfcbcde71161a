"""Python's own exceptions, when the innermost frame says which library raised them."""

from __future__ import annotations

import ctypes
import io
import json
import marshal
import pickle
import threading
import zipfile
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify


def raised_in(module: str, statement: str, **names: Any) -> BaseException:
    """Run `statement` in a module of that name and give back what it raises."""
    try:
        exec(statement, {"__name__": module, **names})
    except Exception as exc:  # noqa: BLE001 - whatever the library raises
        return exc
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("module", "statement", "expected", "retryable"),
    [
        ("PIL.ImageFile", "raise OSError('image file is truncated (3 bytes not processed)')", ErrorType.PARSING, False),
        ("PIL.JpegImagePlugin", "raise OSError('cannot write mode RGBA as JPEG')", ErrorType.VALIDATION, False),
        ("PIL.ImageFont", "raise OSError('cannot open resource')", ErrorType.FILESYSTEM, False),
        ("pyarrow.error", "raise OSError('Corrupt snappy compressed data.')", ErrorType.PARSING, False),
        ("pyarrow.error", "raise OSError('AWS Error NETWORK_CONNECTION during HeadObject')", ErrorType.NETWORK, True),
        ("h5py.h5f", "raise OSError('Unable to open file (unable to lock file)')", ErrorType.FILESYSTEM, True),
        ("msgpack._cmsgpack", "raise ValueError('Unpack failed: incomplete input')", ErrorType.PARSING, False),
        ("fastavro._write", "raise ValueError('no value and no default for a')", ErrorType.SCHEMA, False),
        ("pandas.io.json._json", "raise ValueError('Expected object or value')", ErrorType.PARSING, False),
        ("attr.validators", "raise TypeError('must be int')", ErrorType.VALIDATION, False),
        ("torch.nn", "raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')", ErrorType.MEMORY, True),
        ("user.code", "raise OSError(-51, 'NetCDF: Unknown file format')", ErrorType.PARSING, False),
        ("user.code", "raise OSError(-68, 'NetCDF: I/O failure')", ErrorType.NETWORK, True),
    ],
)
def test_the_library_gives_the_meaning(module: str, statement: str, expected: ErrorType, retryable: bool) -> None:
    """The same class from elsewhere would say less or something else."""
    info = classify(raised_in(module, statement))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: pickle.loads(b"\x80\xff."), ErrorType.PARSING),
        (lambda: marshal.loads(b"?zzz"), ErrorType.PARSING),
        (lambda: pickle.dumps(threading.Lock()), ErrorType.VALIDATION),
        (lambda: json.dumps(object()), ErrorType.VALIDATION),
        (lambda: zipfile.ZipFile(io.BytesIO(_encrypted())).read("a"), ErrorType.VALIDATION),
        (lambda: ctypes.CDLL("no-such-library.so"), ErrorType.SYSTEM),
    ],
    ids=["pickle protocol", "marshal", "pickle a lock", "json of an object", "encrypted zip", "shared library"],
)
def test_extensions_without_frames_are_known_by_their_words(call: Any, expected: ErrorType) -> None:
    """C code leaves no frame, but its messages are stable."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - ValueError, TypeError, RuntimeError, OSError
        call()
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable) == (expected, False)


def _encrypted() -> bytes:
    """A zip file whose only member claims to be encrypted (bit 0 of the flags, in both headers)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "text")
    data = bytearray(buffer.getvalue())
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def test_remote_file_is_looked_through() -> None:
    """Over HTTP fsspec says FileNotFoundError for every failed request; the cause knows better."""
    statement = "raise FileNotFoundError('http://host/x') from cause"
    refused = raised_in("fsspec.implementations.http", statement, cause=ConnectionRefusedError(111, "refused"))
    assert (classify(refused).error_type, classify(refused).is_retryable) == (ErrorType.NETWORK, True)
    plain = raised_in("user.code", "open('/no/such/file')")
    assert (classify(plain).error_type, classify(plain).is_retryable) == (ErrorType.FILESYSTEM, False)


def test_a_library_that_calls_back_is_not_blamed() -> None:
    """The innermost frame is the user's: a KeyError there is the user's KeyError."""

    def callback() -> None:
        raise ValueError("no")

    exc = raised_in("msgpack._cmsgpack", "callback()", callback=callback)
    assert classify(exc).error_type is ErrorType.VALIDATION


@pytest.mark.parametrize(
    ("exc", "rule"),
    [
        (ValueError("x"), "python.ValueError"),
        (KeyError("x"), "python.KeyError"),
        (OSError(2, "x"), "os.FileNotFoundError"),
    ],
)
def test_without_a_traceback_the_class_speaks(exc: BaseException, rule: str) -> None:
    """An exception from another process has no frames; the rules of the plain classes stand, by their names."""
    assert classify(exc).rule == rule


def test_a_subclass_is_not_its_builtin_base() -> None:
    """A class of one's own is never judged by where it was raised."""
    exc = raised_in("msgpack._cmsgpack", "class OutOfStock(ValueError): pass\nraise OutOfStock('sku 7')")
    assert classify(exc).error_type is ErrorType.BUSINESS_LOGIC
