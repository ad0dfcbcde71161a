"""Remote procedure calls: gRPC by status; Thrift, SOAP, JSON-RPC, Pyro, zerorpc, nameko by class and fault code."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import by_own_status, stated, status_of, under
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_grpc_code", "retry_info")

_N, _V, _B, _S, _P, _SCHEMA = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.PARSING,
    ErrorType.SCHEMA,
)
_HIGH = ErrorSeverity.HIGH

# https://grpc.io/docs/guides/status-codes: name, number, type, retryable
_STATUS = (
    ("CANCELLED", 1, _N, True),  # mostly a proxy or a worker going away
    ("UNKNOWN", 2, _N, True),  # a handler that raised, or a peer that answered nothing of use
    ("INVALID_ARGUMENT", 3, _V, False),
    ("DEADLINE_EXCEEDED", 4, _N, True),
    ("NOT_FOUND", 5, _B, False),
    ("ALREADY_EXISTS", 6, _B, False),
    ("PERMISSION_DENIED", 7, _N, False),
    ("RESOURCE_EXHAUSTED", 8, _N, True),
    ("FAILED_PRECONDITION", 9, _B, False),  # "do not retry until the state has been fixed"
    ("ABORTED", 10, _S, True),  # a lost race: retry at a higher level, which a task is
    ("OUT_OF_RANGE", 11, _V, False),
    ("UNIMPLEMENTED", 12, _N, False),
    ("INTERNAL", 13, _N, True),  # what HTTP calls 500; proxies also use it for a broken stream
    ("UNAVAILABLE", 14, _N, True),
    ("DATA_LOSS", 15, _S, False),  # "unrecoverable"
    ("UNAUTHENTICATED", 16, _N, False),
)
_SEVERE = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "DATA_LOSS", "UNIMPLEMENTED"})
_BY_NAME = {
    name: Verdict(kind, retry, name, severity=_HIGH if name in _SEVERE else None, rule=f"status.{name}")
    for name, _, kind, retry in _STATUS
}
_BY_NUMBER = {value: _BY_NAME[name] for name, value, _, _ in _STATUS}
_BAD_CERTIFICATE = permanent(_N, "UNAVAILABLE", severity=_HIGH, rule="status.UNAVAILABLE.certificate")
_TOO_LARGE = permanent(_V, "RESOURCE_EXHAUSTED", rule="status.RESOURCE_EXHAUSTED.size")
_DOWN = transient(_N)


def by_grpc_code(code: Any) -> Verdict | None:
    """The verdict on a gRPC status: an enum member, its name in any case, or its number; None for OK and nonsense."""
    name = attr(code, "name", code)
    if isinstance(name, str) and not name.isdecimal():
        return _BY_NAME.get(name.upper())
    value = number(name)
    return _BY_NUMBER.get(value) if value is not None else None


def _rpc_error(exc: Any) -> Verdict:
    code = exc.code() if callable(attr(exc, "code")) else attr(exc, "code")
    verdict = by_grpc_code(code)
    if verdict is None:
        return _DOWN
    if verdict.code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        details = str(exc.details() if callable(attr(exc, "details")) else "")
        if "CERTIFICATE_VERIFY_FAILED" in details:
            return _BAD_CERTIFICATE
        if "message larger than max" in details:
            return _TOO_LARGE  # gRPC's own limit on the size of one message
    return _pushed_back(verdict, exc) if verdict.retryable else verdict


def _pushed_back(verdict: Verdict, exc: Any) -> Verdict:
    """With the wait the server asked for: google.rpc.RetryInfo, or gRFC A6's `grpc-retry-pushback-ms`."""
    try:
        return stated(verdict, wait=_wait(exc.trailing_metadata()))
    except Exception:  # cut or foreign metadata must not hide the code
        return verdict


def _wait(metadata: Any) -> float | None:
    for key, value in metadata or ():
        if key == "grpc-status-details-bin" and b"google.rpc.RetryInfo" in value:
            return retry_info(value)
        if key in ("grpc-retry-pushback-ms", "retry-after"):
            wait = float(value) / (1000.0 if key.endswith("ms") else 1.0)
            return wait if wait >= 0 else None
    return None


def retry_info(status: bytes) -> float | None:
    """`retry_delay` (seconds) of the google.rpc.RetryInfo inside an encoded google.rpc.Status; None when it has none.

    Any{type_url, value=RetryInfo{1: Duration{1: seconds, 2: nanos}}}, read without a protobuf library.
    """
    start = status.index(b"google.rpc.RetryInfo") + len(b"google.rpc.RetryInfo")
    if status[start : start + 1] != b"\x12" or status[start + 2 : start + 3] != b"\x0a":
        return None
    end = start + 4 + status[start + 3]
    at, delay = start + 4, 0.0
    while at < end:
        tag, at = status[at], at + 1
        value, at = _varint(status, at)
        delay += value if tag == 0x08 else value / 1e9
    return delay


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, at


def _grpclib_error(exc: Any) -> Verdict:
    return by_grpc_code(exc.status) or _DOWN


# thrift.transport.TTransport: NOT_OPEN 1, ALREADY_OPEN 2, TIMED_OUT 3, END_OF_FILE 4, NEGATIVE_SIZE 5, SIZE_LIMIT 6
_THRIFT_TRANSPORT = {
    2: permanent(_S, "ALREADY_OPEN"),
    5: permanent(_P, "NEGATIVE_SIZE"),
    6: permanent(_V, "SIZE_LIMIT"),
}
# thrift.Thrift.TApplicationException: what the *server's* library says
_THRIFT_APPLICATION = {
    0: transient(_N, "UNKNOWN"),
    1: permanent(_SCHEMA, "UNKNOWN_METHOD"),
    2: permanent(_SCHEMA, "INVALID_MESSAGE_TYPE"),
    3: permanent(_SCHEMA, "WRONG_METHOD_NAME"),
    4: transient(_N, "BAD_SEQUENCE_ID"),  # answers out of step: a new connection cures it
    5: permanent(_SCHEMA, "MISSING_RESULT"),
    6: transient(_N, "INTERNAL_ERROR"),
    7: permanent(_SCHEMA, "PROTOCOL_ERROR"),
    8: permanent(_SCHEMA, "INVALID_TRANSFORM"),
    9: permanent(_SCHEMA, "INVALID_PROTOCOL"),
    10: permanent(_SCHEMA, "UNSUPPORTED_CLIENT_TYPE"),
}


def _thrift_transport(exc: Any) -> Verdict:
    return _THRIFT_TRANSPORT.get(exc.type, _DOWN)


def _thrift_application(exc: Any) -> Verdict:
    return _THRIFT_APPLICATION.get(exc.type, _DOWN)


_SERVER_FAULT = transient(_N, rule="soap.server")
_CLIENT_FAULT = permanent(_V, rule="soap.client")
_SOAP = {
    # SOAP 1.1 section 4.4.1, SOAP 1.2 part 1, 5.4.6: Server/Receiver "may succeed later", Client/Sender not unchanged
    "server": _SERVER_FAULT,
    "receiver": _SERVER_FAULT,
    "client": _CLIENT_FAULT,
    "sender": _CLIENT_FAULT,
    "versionmismatch": permanent(_SCHEMA, rule="soap.version"),
    "mustunderstand": permanent(_SCHEMA, rule="soap.understand"),
    "dataencodingunknown": permanent(_SCHEMA, rule="soap.encoding"),
}


def _by_fault_code(code: Any) -> Verdict:
    text = str(code or "")
    name = text.rpartition("}")[2].rpartition(":")[2].partition(".")[0].lower()
    return stated(_SOAP.get(name) or permanent(_B, rule="soap.fault"), text or None)


def _zeep_fault(exc: Any) -> Verdict:
    return _by_fault_code(attr(exc, "code"))


def _suds_fault(exc: Any) -> Verdict:
    fault = attr(exc, "fault")
    code = attr(fault, "faultcode") or attr(attr(fault, "Code"), "Value")
    return _by_fault_code(code)


def _zeep_transport(exc: Any) -> Verdict:
    return by_own_status(exc) or _DOWN


def _suds_transport(exc: Any) -> Verdict:
    return by_status(attr(exc, "httpcode")) or _DOWN


# https://www.jsonrpc.org/specification#error_object
_JSON_RPC = {
    -32700: permanent(_P, "-32700"),
    -32600: permanent(_V, "-32600"),
    -32601: permanent(_SCHEMA, "-32601"),
    -32602: permanent(_V, "-32602"),
    -32603: transient(_N, "-32603"),
}
_JSON_RPC_SERVER = transient(_N, rule="jsonrpc.server")  # -32099 to -32000: the server's own


def _json_rpc(exc: Any) -> Verdict | None:
    args = exc.args[0] if exc.args else None
    code = number(attr(exc, "code")) or number(args[0] if isinstance(args, tuple) and args else args)
    if code is None:
        return by_own_status(exc)
    if code in _JSON_RPC:
        return _JSON_RPC[code]
    return stated(_JSON_RPC_SERVER, str(code)) if -32099 <= code <= -32000 else permanent(_B, str(code))


def _json_rpc_transport(exc: Any) -> Verdict:
    status = status_of(exc, "errcode", "status_code", "status")
    return (by_status(status) if status else None) or _DOWN


def _remote(exc: Any) -> Answer:
    """An exception raised at the other side, known here by name only."""
    return Through(exc.__cause__, permanent(_B, rule="remote"))


_MISUSE = permanent(_V)
_SHAPE = permanent(_SCHEMA)
_UNREADABLE = permanent(_P)

FAMILY = Family(
    name="grpc",
    classes={
        "grpc.RpcError": _rpc_error,
        "grpc.FutureTimeoutError": _DOWN,
        "grpc.FutureCancelledError": transient(_S),
        **under("grpc", permanent(_S), "UsageError BaseError NoSuchMethodError"),
        **under("grpc", _DOWN, "AbortionError CancelledError TimeoutError InternalError"),
        "grpclib.exceptions.GRPCError": _grpclib_error,
        **under("grpclib", _DOWN, "ProtocolError StreamTerminatedError"),
        "connectrpc.*.ConnectError": _rpc_error,
        **{f"{package}.*.TTransportException": _thrift_transport for package in ("thrift", "thriftpy2")},
        **{f"{package}.*.TApplicationException": _thrift_application for package in ("thrift", "thriftpy2")},
        **{f"{package}.*.TProtocolException": _UNREADABLE for package in ("thrift", "thriftpy2")},
        **{f"{package}.*.TDecodeException": _UNREADABLE for package in ("thrift", "thriftpy2")},
        **under("thriftpy2", permanent(_S, severity=_HIGH), "ThriftParserError TCyThriftError"),
        "zeep.exceptions.Fault": _zeep_fault,
        "zeep.exceptions.TransportError": _zeep_transport,
        **under("zeep", _UNREADABLE, "XMLSyntaxError XMLParseError DTDForbidden EntitiesForbidden"),
        **under("zeep", _MISUSE, "ValidationError SignatureVerificationFailed"),
        **under(
            "zeep",
            _SHAPE,
            "UnexpectedElementError WsdlSyntaxError LookupError NamespaceError IncompleteMessage IncompleteOperation "
            "ExternalReferenceForbidden Error",
        ),
        "suds.WebFault": _suds_fault,
        "suds.transport.TransportError": _suds_transport,
        **under(
            "suds",
            _SHAPE,
            "MethodNotFound PortNotFound ServiceNotFound TypeNotFound BuildError SoapHeadersNotPermitted",
        ),
        "zerorpc.exceptions.TimeoutExpired": _DOWN,
        "zerorpc.exceptions.LostRemote": _DOWN,
        "zerorpc.exceptions.RemoteError": _remote,
        **{
            key: answer
            for package in ("Pyro5", "Pyro4")
            for key, answer in {
                **under(package, _DOWN, "CommunicationError ConnectionClosedError TimeoutError"),
                **under(package, _MISUSE, "MessageTooLargeError SerializeError"),
                **under(package, permanent(_N, severity=_HIGH), "SecurityError"),
                **under(package, permanent(_SCHEMA), "ProtocolError"),
                **under(package, permanent(_S), "DaemonError PyroError"),
                **under(package, transient(_N), "NamingError PoolError"),  # the name server: its objects register again
            }.items()
        },
        **under("rpyc", _DOWN, "AsyncResultTimeout PingError DiscoveryError"),
        **under("rpyc", permanent(_N, severity=_HIGH), "AuthenticationError"),
        "rpyc.core.vinegar.GenericException": _remote,
        **under("nameko", _DOWN, "RpcTimeout RpcConnectionError"),
        **under("nameko", _SHAPE, "MethodNotFound UnknownService IncorrectSignature MalformedRequest"),
        "nameko.exceptions.RemoteError": _remote,
        **under("jsonrpclib", _json_rpc_transport, "TransportError"),
        **under("jsonrpclib", _json_rpc, "ProtocolError AppError"),
        **under("jsonrpcclient", _json_rpc, "ReceivedErrorResponseError JsonRpcClientError"),
        **under("jsonrpcclient", _json_rpc_transport, "ReceivedNon2xxResponseError"),
        **under("jsonrpc", _json_rpc, "JSONRPCDispatchException JSONRPCError"),
        **under("jsonrpcserver", _json_rpc, "JsonRpcError"),
    },
)
