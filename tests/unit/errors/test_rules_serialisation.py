"""Data that cannot be read is a parsing fault, for good; what cannot be written or does not fit is another."""

from __future__ import annotations

import base64
import configparser
import csv
import dbm
import email
import email.policy
import http.cookies
import json
import pickle
import plistlib
import struct
import xml.dom.minidom
import xml.etree.ElementTree as ET
import xml.sax
from collections.abc import Callable
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

UNREADABLE: dict[str, Callable[[], Any]] = {
    "json": lambda: json.loads("{"),
    "csv": lambda: list(csv.reader(['"a"b'], strict=True)),
    "xml tree": lambda: ET.fromstring("<a>"),
    "xml dom": lambda: xml.dom.minidom.parseString("<a>"),
    "xml sax": lambda: xml.sax.parseString("<a>", xml.sax.ContentHandler()),
    "plist": lambda: plistlib.loads(b"neither"),
    "pickle": lambda: pickle.loads(b"\x80\x04garbage"),
    "struct": lambda: struct.unpack("<I", b"a"),
    "base64": lambda: base64.b64decode("abc"),
    "ini": lambda: configparser.ConfigParser().read_string("a = 1"),
    "email": lambda: email.message_from_string("a\n\n", policy=email.policy.strict),
    "cookie": lambda: http.cookies.Morsel().set("a b", "", ""),
    "unicode": b"\xff".decode,
}


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as exc:  # noqa: BLE001 - whatever the library raises
        return exc
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("call", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_data_is_a_parsing_fault(call: Callable[[], Any]) -> None:
    """The same bytes fail the same way in a minute."""
    info = classify(raised(call))
    assert (info.error_type, info.is_retryable) == (ErrorType.PARSING, False)


def test_missing_ini_option_is_a_schema_fault() -> None:
    """The file is well-formed; the reader expects an option that the writer does not write."""
    parser = configparser.ConfigParser()
    parser.read_string("[a]\nb = 1")
    assert classify(raised(lambda: parser.get("a", "c"))).error_type is ErrorType.SCHEMA


def test_value_that_cannot_be_pickled_is_a_validation_fault() -> None:
    """Bytes that cannot be read and values that cannot be written are different faults."""
    local = type("Local", (), {})
    info = classify(raised(lambda: pickle.dumps(local())))
    assert (info.error_type, info.is_retryable) == (ErrorType.VALIDATION, False)


def test_database_file_that_is_none_is_a_file_fault(tmp_path: Any) -> None:
    """`dbm.error` without an errno says that the file is no database."""
    (tmp_path / "x").write_text("no database")
    info = classify(raised(lambda: dbm.open(str(tmp_path / "x"), "r")))  # noqa: SIM115 - it does not open
    assert (info.error_type, info.is_retryable) == (ErrorType.FILESYSTEM, False)


LIBRARIES = [
    ("yaml.scanner.ScannerError", "yaml.error.YAMLError", ErrorType.PARSING),
    ("yaml.representer.RepresenterError", "yaml.error.YAMLError", ErrorType.VALIDATION),
    ("toml.decoder.TomlDecodeError", None, ErrorType.PARSING),
    ("tomlkit.exceptions.NonExistentKey", "tomlkit.exceptions.TOMLKitError", ErrorType.SCHEMA),
    ("lxml.etree.XMLSyntaxError", "lxml.etree.LxmlError", ErrorType.PARSING),
    ("lxml.etree.DocumentInvalid", "lxml.etree.LxmlError", ErrorType.VALIDATION),
    ("msgpack.exceptions.ExtraData", None, ErrorType.PARSING),
    ("cbor2.CBORDecodeEOF", "cbor2.CBORError", ErrorType.PARSING),
    ("cbor2.CBOREncodeTypeError", "cbor2.CBORError", ErrorType.VALIDATION),
    ("google.protobuf.message.DecodeError", "google.protobuf.message.Error", ErrorType.PARSING),
    ("avro.errors.SchemaResolutionException", "avro.errors.AvroException", ErrorType.SCHEMA),
    ("fastavro._validate_common.ValidationError", None, ErrorType.VALIDATION),
]


@pytest.mark.parametrize(("name", "base", "expected"), LIBRARIES, ids=[row[0] for row in LIBRARIES])
def test_libraries_are_known_by_name(name: str, base: str | None, expected: ErrorType) -> None:
    """The rule of the most specific class counts, wherever in the package the class lives."""
    bases = (lookalike(base),) if base else ()
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, False)


def test_unknown_field_in_protobuf_json_is_a_schema_fault() -> None:
    """`ParseError` stands for malformed JSON and for a field that the message type does not have."""
    error = lookalike("google.protobuf.json_format.ParseError")
    assert classify(error("Failed to load JSON: Expecting value")).error_type is ErrorType.PARSING
    assert classify(error('Message type "A" has no field named "b".')).error_type is ErrorType.SCHEMA
