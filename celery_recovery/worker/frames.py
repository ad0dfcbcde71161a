"""What RabbitMQ delivers and py-amqp cannot read: it raises in the worker's event loop, and ends it, and then the next.

A property or routing key that is no UTF-8, a date that Python does not know: brokers pass them on unread. Here each
message's header frame is tried; one that raises is replaced by an empty one, so that the message comes in like others,
and the door keeps it, its header frame as bytes beside it. And a body that py-amqp decodes keeps its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.serialization import decode_properties_basic

__all__ = ("read_tolerantly",)

#: Types of frames.
_METHOD, _HEADER = 1, 2
#: Class and method of `basic.deliver`.
_DELIVER = b"\x00\x3c\x00\x3c"
#: Class, weight and body size stand before the properties of a header frame.
_BEFORE_PROPERTIES = 12
_NO_BODY = bytes(8)


def read_tolerantly(connection: Any, channel: Any) -> None:
    """Take care of one connection of py-amqp and the channel that it consumes on; others are left alone."""
    read = getattr(connection, "on_inbound_frame", None)
    if read is None or not hasattr(channel, "auto_decode"):
        return
    frames = _Frames(read, channel)
    connection.on_inbound_frame = frames.on_frame
    channel.auto_decode = False
    channel.message_to_python = frames.message_to_python


class _Frames:
    """The frames of one connection. Frames of one channel come in order: deliver, header, body."""

    def __init__(self, read: Callable[[Any], Any], channel: Any) -> None:
        self._read = read
        self._channel_id = channel.channel_id
        self._to_python = channel.message_to_python
        #: The frame that could not be read of the message that is coming in.
        self._unread: bytes | None = None

    def on_frame(self, frame: Any) -> Any:
        """As py-amqp's own."""
        kind, channel, payload = frame
        if channel == self._channel_id:
            if kind == _HEADER:
                return self._header(frame)
            if kind == _METHOD and payload[:4] == _DELIVER:
                self._unread = None
                frame = kind, channel, self._delivery(payload)
        return self._read(frame)

    def _header(self, frame: Any) -> Any:
        kind, channel, payload = frame
        emptied = kind, channel, bytes(payload[:_BEFORE_PROPERTIES]) + b"\0\0"
        try:
            if payload[4:_BEFORE_PROPERTIES] == _NO_BODY:  # it is handed on at once, and may raise for other reasons
                decode_properties_basic(payload, _BEFORE_PROPERTIES)
                emptied = frame
            else:
                return self._read(frame)
        except Exception:  # noqa: BLE001  # a fault that is not of this frame comes again
            self._unread = bytes(payload)
        return self._read(emptied)

    def _delivery(self, payload: Any) -> Any:
        """Where names of exchange and routing key are no UTF-8, they are made so; the rest is as it was."""
        names = 4 + 1 + payload[4] + 9  # behind consumer tag, delivery tag and flag
        told = bytes(payload[names:])
        try:
            told.decode()
        except UnicodeDecodeError:
            self._unread = bytes(payload)
            return bytes(payload[:names]) + bytes(byte if byte < 0x80 else 0x3F for byte in told)
        return payload

    def message_to_python(self, message: Any) -> Any:
        """Kombu's message, with its body's own bytes and, if it could not be read, its frame."""
        body, unread = message.body, self._unread
        encoding = message.properties.get("content_encoding")
        if encoding is not None:
            try:
                message.body = body.decode(encoding)
            except Exception:  # noqa: BLE001  # as py-amqp does: it stays as it is
                message.body = body
        made = self._to_python(message)
        made.recovery_body = body
        if unread is not None:
            made.recovery_unread, self._unread = unread, None
        return made
