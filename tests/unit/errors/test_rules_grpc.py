"""Remote procedure calls by status and fault code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from celery_recovery.errors.rules.grpc import by_grpc_code, retry_info
from tests.unit.errors.lookalike import lookalike

RpcError = lookalike("grpc.RpcError")
# google.rpc.Status{code: 8, details: [Any(RetryInfo{retry_delay: 7.5 s})]}, as protobuf 6 encodes it
RETRY_INFO = (
    b"\x08\x08\x12\x01x\x1a6\n(type.googleapis.com/google.rpc.RetryInfo\x12\n\n\x08\x08\x07\x10\x80\xca\xb5\xee\x01"
)


def rpc_error(name: str, details: str = "", metadata: Any = ()) -> BaseException:
    """As a channel raises it: the error is the call."""

    class Call(RpcError):  # type: ignore[misc, valid-type]
        def code(self) -> Any:
            return SimpleNamespace(name=name)

        def details(self) -> str:
            return details

        def trailing_metadata(self) -> Any:
            return metadata

    return Call()


@pytest.mark.parametrize(
    ("name", "error_type", "retryable"),
    [
        ("UNAVAILABLE", ErrorType.NETWORK, True),
        ("DEADLINE_EXCEEDED", ErrorType.NETWORK, True),
        ("RESOURCE_EXHAUSTED", ErrorType.NETWORK, True),
        ("ABORTED", ErrorType.SYSTEM, True),
        ("INTERNAL", ErrorType.NETWORK, True),
        ("INVALID_ARGUMENT", ErrorType.VALIDATION, False),
        ("NOT_FOUND", ErrorType.BUSINESS_LOGIC, False),
        ("FAILED_PRECONDITION", ErrorType.BUSINESS_LOGIC, False),
        ("UNAUTHENTICATED", ErrorType.NETWORK, False),
        ("UNIMPLEMENTED", ErrorType.NETWORK, False),
        ("DATA_LOSS", ErrorType.SYSTEM, False),
    ],
)
def test_status_codes(name: str, error_type: ErrorType, retryable: bool) -> None:
    """The meaning of each code is that of grpc.io's table."""
    info = classify(rpc_error(name))
    assert (info.error_type, info.is_retryable, info.error_code) == (error_type, retryable, name)


def test_a_status_in_any_spelling() -> None:
    """Enum member, name, number; OK and nonsense are no verdict."""
    spellings = (SimpleNamespace(name="UNAVAILABLE"), "unavailable", 14, "14")
    assert all(by_grpc_code(spelling) is by_grpc_code("UNAVAILABLE") for spelling in spellings)
    assert by_grpc_code(0) is None
    assert by_grpc_code("WHAT") is None


def test_the_servers_wish_is_the_wait() -> None:
    """google.rpc.RetryInfo in the status details, or gRFC A6's push-back in milliseconds."""
    detailed = rpc_error("RESOURCE_EXHAUSTED", metadata=(("grpc-status-details-bin", RETRY_INFO),))
    pushed = rpc_error("UNAVAILABLE", metadata=(("grpc-retry-pushback-ms", "7000"),))
    assert classify(detailed).retry_after == pytest.approx(7.5)
    assert classify(pushed).retry_after == 7.0


def test_retry_info_cut_short_does_not_hide_the_status() -> None:
    """Whatever the bytes are, the code still decides."""
    for cut in range(len(RETRY_INFO)):
        info = classify(rpc_error("UNAVAILABLE", metadata=(("grpc-status-details-bin", RETRY_INFO[:cut]),)))
        assert (info.error_code, info.is_retryable) == ("UNAVAILABLE", True)
    assert retry_info(RETRY_INFO) == pytest.approx(7.5)


def test_two_details_turn_a_transient_code_into_a_permanent_fault() -> None:
    """A certificate that does not verify, and a message that is too large for one frame."""
    assert not classify(rpc_error("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED")).is_retryable
    too_large = classify(rpc_error("RESOURCE_EXHAUSTED", "Sent message larger than max (100 vs. 10)"))
    assert (too_large.error_type, too_large.is_retryable) == (ErrorType.VALIDATION, False)


@pytest.mark.parametrize(
    ("path", "attrs", "retryable"),
    [
        ("thrift.transport.TTransport.TTransportException", {"type": 3}, True),
        ("thrift.transport.TTransport.TTransportException", {"type": 6}, False),
        ("thrift.Thrift.TApplicationException", {"type": 1}, False),
        ("thrift.Thrift.TApplicationException", {"type": 6}, True),
        ("zeep.exceptions.Fault", {"code": "soap:Client"}, False),
        ("zeep.exceptions.Fault", {"code": "{http://www.w3.org/2003/05/soap-envelope}Receiver"}, True),
        ("zeep.exceptions.TransportError", {"status_code": 503}, True),
        ("suds.WebFault", {"fault": SimpleNamespace(faultcode="SOAP-ENV:Client")}, False),
        ("jsonrpclib.jsonrpc.ProtocolError", {"args": (-32601, "Method not found")}, False),
        ("Pyro5.errors.ConnectionClosedError", {}, True),
        ("Pyro5.errors.SecurityError", {}, False),
        ("zerorpc.exceptions.LostRemote", {}, True),
        ("grpclib.exceptions.GRPCError", {"status": SimpleNamespace(name="UNAVAILABLE")}, True),
        ("grpclib.exceptions.GRPCError", {"status": SimpleNamespace(name="NOT_FOUND")}, False),
    ],
)
def test_other_protocols(path: str, attrs: dict[str, Any], retryable: bool) -> None:
    """Each has a fault code of its own."""
    error = lookalike(path)("m")
    for name, value in attrs.items():
        setattr(error, name, value)
    assert classify(error).is_retryable is retryable
