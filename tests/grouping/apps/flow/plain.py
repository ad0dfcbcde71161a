"""What goes wrong in any program."""

import base64
import binascii
import ipaddress
import json
import struct
import uuid


def ratio(done, planned):  # seam
    return done / planned * 100


def unpacked(values):  # seam
    one, two = values
    return one + two


def index(values, wanted):  # seam
    place = values.index(wanted)
    return values[place + 1]


def key_of(values):  # seam
    return {value: True for value in values}  # noqa: C420


def asserted(low, high):  # seam
    assert low >= 0, f"low is {low}"
    assert high > low, f"high is {high}, low is {low}"


def bound(flag):  # seam
    if flag:
        result = 1
    return result


def called(values):  # seam
    return _scaled(*values)


def _scaled(value, factor):
    return value.scaled * factor


def encoded(values):  # seam
    return json.dumps(values)


def decoded(text):  # seam
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except binascii.Error as exc:
        raise ValueError(f"not base64: {exc}") from exc


def identity(text):  # seam
    return uuid.UUID(text)


def network(text):  # seam
    return ipaddress.ip_network(text)


def binary(data):  # seam
    size, kind = struct.unpack(">HH", data)
    return size / kind
