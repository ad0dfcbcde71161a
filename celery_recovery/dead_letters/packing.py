"""A letter's message as one value in Redis, small: JSON is compressed with a dictionary of what letters have in common.

    flags (1 byte)   1: the body is compressed
    length (4 bytes, big endian) of the head
    head             JSON, compressed by zlib with `_COMMON`
    body             as it came, or compressed where that saves a tenth

One value costs Redis some hundred bytes less than a hash of long fields. `_COMMON` is part of the format: another one
takes another flag.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from celery_recovery.dead_letters.raw import dump, load

__all__ = ("packed", "unpacked")

_FRAME = struct.Struct(">BI")
_BODY_PACKED = 1
#: Bodies shorter than this are left as they are (bytes); a body is compressed if that leaves less than this share.
SHORT, WORTH = 400, 0.9
#: Bytes that a body may grow to when it is read: what is larger was not written by us.
LARGEST = 1 << 30

_COMMON = (
    b'"exclude_none","shadow":null,"expires":null,"eta":null,"group_index":null,"stamped_headers":null,"stamps":{},'
    b'"x-celery-","traceback","time_limit","soft_time_limit","content_encoding":"binary","content_type":"application/'
    b'x-python-serialize","reply_to":"","correlation_id":"","priority":0,"message_id":"cr-","delivery_mode":2,'
    b'"exhausted","not_retryable","quarantined","poison","manual_review","foreign","expired",'
    b'"error_type":"validation","error_type":"parsing","error_type":"system","error_type":"unknown",'
    b'"error_type":"business_logic","error_type":"filesystem","error_type":"schema","error_type":"memory",'
    b'"severity":"low","severity":"high","severity":"critical","builtins.ValueError","builtins.KeyError",'
    b'"builtins.TypeError","builtins.OSError","builtins.TimeoutError","builtins.ConnectionError",'
    b'"sqlalchemy.exc.OperationalError","requests.exceptions.ConnectionError","requests.exceptions.ReadTimeout",'
    b'"/usr/local/lib/python3.11/site-packages/","/app/","/srv/","tasks.py",".py",12,"run"],["__call__"],["request"],'
    b'["send"],["wrapper"],["execute"],["get"],["post"]]'
    b'{"content_type":"application/json","content_encoding":"utf-8","headers":{"lang":"py","task":"","id":"","shadow":'
    b'null,"eta":null,"expires":null,"group":null,"group_index":null,"retries":0,"timelimit":[null,null],"root_id":"",'
    b'"parent_id":null,"argsrepr":"()","kwargsrepr":"{}","origin":"gen1@","ignore_result":false,'
    b'"replaced_task_nesting":0,"stamped_headers":null,"stamps":{}},"properties":{"correlation_id":"","reply_to":"",'
    b'"priority":0},"about":{"origin":{"queue":"celery","exchange":"","routing_key":"celery","priority":null},"error":'
    b'{"error_type":"network","is_retryable":true,"severity":"medium","rule":"http.status.503","exception":"'
    b'requests.exceptions.","error_code":"HTTP 503","message":"","retry_after":null,"timestamp":17,"fingerprint":"1:",'
    b'"class_chain":["","builtins.OSError","builtins.Exception"],"frames":[["/app/",12,""]],"context":{"status":503}},'
    b'"detail":"3 of 3 attempts","attempts":[{"n":1,"at":17,"error_type":"network","fingerprint":"1:","exception":"",'
    b'"message":"","worker":"celery@","runtime":0.0,"delay":null}],"deferrals":0,"attempt":3,"worker":"celery@",'
    b'"code_version":"","chords":[],"unserialisable":false,"replay":{}}}'
)


def packed(head: dict[str, Any], body: bytes) -> bytes:
    """Both as one value."""
    writer = zlib.compressobj(6, zdict=_COMMON)
    small = writer.compress(dump(head).encode("utf-8", "replace")) + writer.flush()
    flags = 0
    if len(body) >= SHORT:
        smaller = zlib.compress(body, 6)
        if len(smaller) < WORTH * len(body):
            flags, body = _BODY_PACKED, smaller
    return _FRAME.pack(flags, len(small)) + small + body


def unpacked(value: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and body. Raises `ValueError` for what `packed` has not written."""
    try:
        flags, length = _FRAME.unpack_from(value)
        reader = zlib.decompressobj(zdict=_COMMON)
        head = load(reader.decompress(value[_FRAME.size : _FRAME.size + length]).decode("utf-8"))
        body = value[_FRAME.size + length :]
        if body and flags & _BODY_PACKED:
            body = zlib.decompressobj().decompress(body, LARGEST)
    except (struct.error, zlib.error) as exc:
        raise ValueError(f"not a stored message: {exc}") from exc
    return head, body
