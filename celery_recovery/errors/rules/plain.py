"""Python's own exceptions when a library raised them: a `ValueError` from a decoder is about the data, not the call.

Many libraries raise `OSError`, `ValueError` or `RuntimeError` for data that they cannot read. Which library spoke is
seen in the innermost frame of the traceback; extensions without frames of their own are known by their words. An
exception that lost its traceback on the way from another process means what its class means.

`FAMILIES` stand before those of the same names: what no library said, the plain class says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules import os, python
from celery_recovery.errors.rules.learning import by_words
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient

__all__ = ("FAMILIES", "by_library")

_UNREADABLE = permanent(ErrorType.PARSING, rule="library.unreadable")
_REFUSED = permanent(ErrorType.VALIDATION, rule="library.refused")
_MISMATCH = permanent(ErrorType.SCHEMA, rule="library.mismatch")
_BAD_FILE = permanent(ErrorType.FILESYSTEM, rule="library.file")
_MISSING_PART = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH, rule="library.missing_part")
_LOCKED = transient(ErrorType.FILESYSTEM, rule="library.locked")
_LOST = transient(ErrorType.NETWORK, rule="library.network")
_BUSY_FILE = ("unable to lock", "Resource temporarily unavailable")
_NO_FILE = (
    "No such file",
    "failed to load external entity",
    "cannot open resource",
    "non-existent",
    "could not be found",
    "does not exist",
)
_WRITING = ("cannot write mode", "encoder error")
_BACK_PRESSURE = transient(ErrorType.SYSTEM, rule="library.queue_full")
_REMOTE = ("NETWORK_CONNECTION", "SLOW_DOWN", "AWS Error INTERNAL", "HTTP resource", "couldn't connect to", "timed out")

_Answers = dict[str, "Verdict | Callable[[Any], Answer]"]
_traceback = BaseException.__dict__["__traceback__"].__get__


def _file(exc: Any) -> Answer:
    """An OSError made from text alone: a remote store, a file that is not there, a lock, else unreadable content."""
    known = attr(exc, "errno")
    if isinstance(known, int) and known >= 0:
        return None
    text = text_of(exc)
    for words, verdict in ((_REMOTE, _LOST), (_BUSY_FILE, _LOCKED), (_NO_FILE, _BAD_FILE), (_WRITING, _REFUSED)):
        if any(word in text for word in words):
            return verdict
    return _UNREADABLE


def _remote_file(exc: Any) -> Answer:
    """Stores behind fsspec and smart_open translate the client's exception into an OSError and keep it as the cause."""
    cause = cause_of(exc)
    return Through(cause, _LOST) if cause is not None else None


def _model(exc: Any) -> Answer:
    text = text_of(exc)
    return _LOST if any(word in text for word in _REMOTE) else Through(cause_of(exc), _BAD_FILE)


def _encrypted(exc: Any) -> Answer:
    text = text_of(exc)
    return _REFUSED if "encrypted" in text or "password" in text else None


_DECODER: _Answers = {
    **dict.fromkeys(("ValueError", "IndexError", "KeyError", "OverflowError", "AssertionError"), _UNREADABLE),
    "OSError": _file,
}
_READER: _Answers = {"OSError": _file}
_STORE: _Answers = {"OSError": _remote_file}
_CHECKER: _Answers = dict.fromkeys(("TypeError", "ValueError", "LookupError"), _REFUSED)
_WRITER: _Answers = dict.fromkeys(("TypeError", "ValueError", "KeyError", "AttributeError"), _MISMATCH)


def _each(modules: str, answers: _Answers) -> dict[str, _Answers]:
    return dict.fromkeys(modules.split(), answers)


# Module of the innermost frame, or a package above it -> built-in class -> answer.
_ORIGINS: dict[str, _Answers] = {
    "fastavro._write": _WRITER,
    "fastavro._write_py": _WRITER,
    "zipfile": {"RuntimeError": _encrypted, "NotImplementedError": _UNREADABLE},
    "spacy": {"OSError": _model},
    "transformers": {"OSError": _model},
    "sentence_transformers": {"OSError": _model},
    "nltk": {"LookupError": _BAD_FILE, "OSError": _BAD_FILE},
    "fsspec.implementations.http": {"OSError": _remote_file, "FileNotFoundError": _remote_file},
    "pandas": {"OSError": _file, "TypeError": _REFUSED},
    "pandas.io.json": {"ValueError": _UNREADABLE},
    "pandas.io.excel": {"ValueError": _UNREADABLE},
    "imageio": {"ValueError": _UNREADABLE, "OSError": _file},
    "smart_open": {"NotImplementedError": _REFUSED, "OSError": _remote_file},
    "xarray": {"OSError": _file},
    "soundfile": {"RuntimeError": _UNREADABLE, "OSError": _file},
    "ctypes": {"OSError": _MISSING_PART},
    "cffi": {"OSError": _MISSING_PART},
    "pdfkit": {"OSError": _MISSING_PART},
    **_each(
        "bz2 lzma gzip _compression compression msgpack cbor2 bson fastavro avro icalendar dateutil thrift toml json5 "
        "pickle joblib.numpy_pickle pydicom olefile hl7 rarfile py7zr pyasn1 asn1crypto",
        _DECODER,
    ),
    **_each("PIL lxml h5py pyarrow numpy moviepy scipy reportlab tifffile openpyxl", _READER),
    **_each("numpy.lib._npyio_impl numpy.lib.npyio numpy.lib._format_impl numpy.lib.format", _DECODER),
    **_each("s3fs gcsfs adlfs fsspec", _STORE),
    **_each("attr moneyed pycountry", _CHECKER),
}
# Raised by extensions without a frame of their own: words of CPython's sources and of lz4's.
_WORDS: dict[str, tuple[tuple[str, Verdict], ...]] = {
    "ValueError": (
        ("unsupported pickle protocol", _UNREADABLE),
        ("bad marshal data", _UNREADABLE),
        ("did not find a match in any of xarray", _UNREADABLE),
    ),
    "TypeError": (
        ("cannot pickle", _REFUSED),
        ("serializ", _REFUSED),
        ("cannot marshal", _REFUSED),
        ("keys must be", _REFUSED),
    ),
    "BufferError": (("Queue full", _BACK_PRESSURE),),  # librdkafka's own queue, which empties as messages go out
    "AttributeError": (("Can't pickle", _REFUSED), ("Can't get attribute", _MISMATCH)),
    "OSError": (
        ("cannot open shared object file", _MISSING_PART),
        ("NetCDF: I/O failure", _LOST),
        ("NetCDF: DAP", _LOST),
        ("NetCDF: ", _UNREADABLE),
    ),
    "RuntimeError": (("LZ4F_", _UNREADABLE), ("NetCDF: ", _UNREADABLE)),
}


def by_library(exc: BaseException) -> Answer:
    """What the library that raised this built-in exception means by it; None when no known library did."""
    name = type(exc).__name__
    module = _origin(exc)
    while module:
        answers = _ORIGINS.get(module)
        if answers is not None and name in answers:
            rule = answers[name]
            answer = rule(exc) if callable(rule) else rule
            if answer is not None:
                return answer
        module = module.rpartition(".")[0]
    return _by_words(name, exc)


def _origin(exc: BaseException) -> str:
    tb = _traceback(exc)
    if tb is None:
        return ""
    while tb.tb_next is not None:
        tb = tb.tb_next
    name = dict.get(tb.tb_frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _by_words(name: str, exc: BaseException) -> Verdict | None:
    words = _WORDS.get(name)
    if words is None:
        return None
    text = text_of(exc)
    found = next((verdict for word, verdict in words if word in text), None)
    return found or (by_words(text) if name == "RuntimeError" else None)


def _before(family: Family, names: str) -> Family:
    """A family of the same name that asks `by_library` before what `family` says of these built-in classes."""
    return Family(name=family.name, classes={f"builtins.{name}": _or_else(family, name) for name in names.split()})


def _or_else(family: Family, name: str) -> Look:
    plain = family.classes.get(f"builtins.{name}")

    def look(exc: Any) -> Answer:
        # Subclasses are not the library's plain exceptions; their own rules were asked already.
        answer = by_library(exc) if type(exc).__module__ == "builtins" else None
        if answer is not None:
            return answer
        return plain(exc) if callable(plain) else plain

    return look


_NAMES = """
    AssertionError AttributeError BufferError IndexError KeyError LookupError NotImplementedError OverflowError
    RuntimeError TypeError ValueError
"""
FAMILIES: tuple[Family, ...] = (_before(python.FAMILY, _NAMES), _before(os.FAMILY, "OSError FileNotFoundError"))
