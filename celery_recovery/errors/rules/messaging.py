"""Messaging that is not AMQP: NATS, MQTT, ZeroMQ, Pulsar, NSQ; and coordination: ZooKeeper, etcd, Consul."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import number
from celery_recovery.errors.rules.os import by_errno
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY

_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_UNAVAILABLE = transient(_N, rule="unavailable")
_BUSY = transient(_S, rule="busy")
_LOCKED = transient(_S, rule="lock")
_CONFLICT = transient(_S, rule="conflict")
_MEMORY = transient(_M, rule="memory", severity=ErrorSeverity.HIGH)
_DENIED = permanent(_N, rule="denied", severity=ErrorSeverity.HIGH)
_PROTOCOL = permanent(_N, rule="protocol")
_NOT_FOUND = permanent(_V, rule="not_found")
_EXISTS = permanent(_V, rule="exists")
_VALUE = permanent(_V, rule="value")
_BUG = permanent(_S, rule="misuse")
_CONFIGURATION = permanent(_S, rule="configuration")
_SCHEMA = permanent(_C, rule="schema")
_UNREADABLE = permanent(_P, rule="unreadable")


def _jetstream(exc: Any) -> Answer:
    """JetStream's API errors carry an HTTP-like `code` and the server's `err_code`."""
    if getattr(exc, "err_code", None) == 10071:  # wrong last sequence: somebody wrote in between
        return _CONFLICT
    return by_status(getattr(exc, "code", None)) or _UNAVAILABLE


_NATS: dict[str, Verdict | Look] = {
    **each("nats.errors", "Error ConnectionClosedError ConnectionReconnectingError ConnectionDrainingError", _LOST),
    **each("nats.errors", "StaleConnectionError UnexpectedEOF NoServersError ServerNotInPoolError", _LOST),
    **each("nats.errors", "TimeoutError FlushTimeoutError DrainTimeoutError", _TIMED_OUT),
    **each("nats.errors", "NoRespondersError", _UNAVAILABLE),
    **each("nats.errors", "SlowConsumerError OutboundBufferLimitError", _BUSY),
    **each("nats.errors", "AuthorizationError InvalidUserCredentialsError SecureConnRequiredError", _DENIED),
    **each("nats.errors", "SecureConnWantedError SecureConnFailedError", _DENIED),
    **each("nats.errors", "MaxPayloadError BadSubjectError BadHeaderError", _VALUE),
    **each("nats.errors", "JsonParseError", _UNREADABLE),
    **each("nats.errors", "ProtocolError", _PROTOCOL),
    **each("nats.errors", "BadSubscriptionError BadTimeoutError InvalidCallbackTypeError", _BUG),
    **each("nats.errors", "MsgAlreadyAckdError NotJSMessageError", _BUG),
    **each("nats.js.errors", "APIError BadRequestError NotFoundError ServerError ServiceUnavailableError", _jetstream),
    "nats.js.errors.ServiceUnavailableError": _UNAVAILABLE,
    "nats.js.errors.ServerError": _UNAVAILABLE,
    **each("nats.js.errors", "NotFoundError KeyNotFoundError KeyDeletedError BucketNotFoundError", _NOT_FOUND),
    **each("nats.js.errors", "ObjectNotFoundError ObjectDeletedError NoKeysError", _NOT_FOUND),
    **each("nats.js.errors", "KeyWrongLastSequenceError", _CONFLICT),
    **each("nats.js.errors", "NoStreamResponseError ConsumerSequenceMismatchError", _UNAVAILABLE),
    **each("nats.js.errors", "FetchTimeoutError", _TIMED_OUT),
    **each("nats.js.errors", "TooManyStalledMsgsError", _BUSY),
    **each("nats.js.errors", "BadBucketError InvalidBucketNameError InvalidKeyError InvalidObjectNameError", _VALUE),
    **each("nats.js.errors", "BadObjectMetaError KeyHistoryTooLargeError ObjectAlreadyExists", _VALUE),
    **each("nats.js.errors", "DigestMismatchError", _LOST),
    "nats.micro.request.ServiceError": lambda exc: by_status(getattr(exc, "code", None)) or _UNAVAILABLE,
}

# Codes from 128 on are MQTT 5's reason codes; below, 1 to 5 answer a CONNECT of MQTT 3.1.1, and Paho has its own.
_MQTT5: dict[int, Verdict] = {
    **dict.fromkeys((128, 131, 136, 137, 139, 141, 142, 152, 156, 157), _LOST),
    **dict.fromkeys((147, 150, 151, 159), _BUSY),
    **dict.fromkeys((132, 134, 135, 138, 140), _DENIED),
    **dict.fromkeys((129, 130, 148, 154, 155, 158, 161, 162), _PROTOCOL),
    **dict.fromkeys((133, 143, 144, 145, 146, 149, 153), _VALUE),
}
# paho.mqtt.enums.MQTTErrorCode
_PAHO: dict[int, Verdict] = {
    **dict.fromkeys((-1, 4, 6, 7, 8, 14, 16), _LOST),
    **dict.fromkeys((15,), _BUSY),
    **dict.fromkeys((1,), _MEMORY),
    **dict.fromkeys((5, 11, 12), _DENIED),
    **dict.fromkeys((2,), _PROTOCOL),
    **dict.fromkeys((3, 9, 10, 13), _VALUE),
}
# MQTT 3.1.1 section 3.2.2.3
_MQTT3_CONNECT: dict[int, Verdict] = {1: _PROTOCOL, 2: _DENIED, 3: _UNAVAILABLE, 4: _DENIED, 5: _DENIED}


def _mqtt(exc: Any, codes: dict[int, Verdict]) -> Answer:
    code = getattr(exc, "rc", None)
    value = number(getattr(code, "value", code))
    if value is None:
        return Through(exc.__cause__, _LOST)
    found = _MQTT5.get(value) or codes.get(value) or _LOST
    return Verdict(found.error_type, found.retryable, f"MQTT {value}", rule=found.rule, context={"rc": value})


_MQTT: dict[str, Verdict | Look] = {
    "paho.mqtt.client.WebsocketConnectionError": _LOST,
    "paho.mqtt.exception.MalformedPacket": _UNREADABLE,
    **each("paho.mqtt.*", "MQTTException", _LOST),
    **each("aiomqtt.*", "MqttCodeError", lambda exc: _mqtt(exc, _PAHO)),
    **each("aiomqtt.*", "MqttConnectError", lambda exc: _mqtt(exc, _MQTT3_CONNECT)),
    **each("aiomqtt.*", "MqttReentrantError", _BUG),
    **each("aiomqtt.*", "MqttError", lambda exc: Through(exc.__cause__, _LOST)),
    **each("asyncio_mqtt.*", "MqttCodeError", lambda exc: _mqtt(exc, _PAHO)),
    **each("asyncio_mqtt.*", "MqttConnectError", lambda exc: _mqtt(exc, _MQTT3_CONNECT)),
    **each("asyncio_mqtt.*", "MqttError", lambda exc: Through(exc.__cause__, _LOST)),
}

# libzmq's own errno values (zmq.h): 156384712 is ZMQ_HAUSNUMERO
_ZMQ_OWN: dict[int, Verdict] = {
    156384712 + 51: permanent(_S, "EFSM", rule="state"),
    156384712 + 52: _PROTOCOL,
    156384712 + 53: transient(_S, "ETERM", rule="terminated"),
    156384712 + 54: _BUSY,
}


def _zmq(exc: Any) -> Answer:
    code = number(getattr(exc, "errno", None))
    if code is None:
        return _BUG
    return _ZMQ_OWN.get(code) or by_errno(code) or _BUG


_ZMQ: dict[str, Verdict | Look] = {
    "zmq.error.Again": transient(_N, "EAGAIN", rule="again"),
    "zmq.error.InterruptedSystemCall": transient(_S, "EINTR", rule="interrupted"),
    "zmq.error.ContextTerminated": transient(_S, "ETERM", rule="terminated"),
    "zmq.error.ZMQError": _zmq,
    "zmq.error.NotDone": _BUSY,
    "zmq.error.ZMQBindError": _BUSY,
    "zmq.error.ZMQVersionError": _CONFIGURATION,
    "zmq.error.ZMQBaseError": _BUG,
    "zmq.ssh.tunnel.MaxRetryExceeded": _LOST,
    "zmq.ssh.tunnel.SSHException": _LOST,
}

_PULSAR: dict[str, Verdict | Look] = {
    **each("_pulsar", "PulsarException ConnectError NotConnected ReadError AlreadyClosed ChecksumError", _LOST),
    **each("_pulsar", "ServiceUnitNotReady BrokerMetadataError BrokerPersistenceError LookupError", _UNAVAILABLE),
    **each("_pulsar", "TransactionCoordinatorNotFoundError UnknownError ConsumerAssignError", _UNAVAILABLE),
    **each("_pulsar", "TooManyLookupRequestException", transient(_N, rule="throttled")),
    **each("_pulsar", "Timeout", _TIMED_OUT),
    **each("_pulsar", "Interrupted ConsumerBusy ProducerBusy ProducerQueueIsFull", _BUSY),
    **each("_pulsar", "ProducerBlockedQuotaExceededError ProducerBlockedQuotaExceededException", _BUSY),
    **each("_pulsar", "MemoryBufferIsFull", _MEMORY),
    **each("_pulsar", "TransactionConflict", _CONFLICT),
    **each("_pulsar", "AuthenticationError AuthorizationError ErrorGettingAuthenticationData", _DENIED),
    **each("_pulsar", "TopicNotFound SubscriptionNotFound ConsumerNotFound TransactionNotFound", _NOT_FOUND),
    **each("_pulsar", "MessageTooBig InvalidMessage InvalidTopicName InvalidUrl TopicTerminated", _VALUE),
    **each("_pulsar", "IncompatibleSchema", _SCHEMA),
    **each("_pulsar", "CryptoError", _UNREADABLE),
    **each("_pulsar", "InvalidConfiguration UnsupportedVersionError OperationNotSupported", _CONFIGURATION),
    **each("_pulsar", "NotAllowedError ProducerFenced ConsumerNotInitialized ProducerNotInitialized", _BUG),
    **each("_pulsar", "CumulativeAcknowledgementNotAllowedError InvalidTxnStatusError", _BUG),
    **each("pulsar.*", "PulsarException", _LOST),
}

_NSQ: dict[str, Verdict | Look] = {
    **each("nsq.*", "ConnectionClosedError SendError IntegrityError", _LOST),
    **each("gnsq.errors", "NSQSocketError NSQNoConnections NSQHttpError NSQException", _LOST),
    **each("pynsq.*", "SendError ConnectionClosedError", _LOST),
}

_ZOOKEEPER: dict[str, Verdict | Look] = {
    **each("kazoo.exceptions", "KazooException ConnectionLoss ConnectionDropped ConnectionClosedError", _LOST),
    **each("kazoo.exceptions", "SessionExpiredError SessionMovedError UnknownSessionError", _LOST),
    **each("kazoo.exceptions", "OperationTimeoutError RequestTimeoutError", _TIMED_OUT),
    **each("kazoo.exceptions", "SystemZookeeperError NewConfigNoQuorumError ReconfigInProcessError", _UNAVAILABLE),
    **each("kazoo.exceptions", "NotReadOnlyCallError", _UNAVAILABLE),
    **each("kazoo.exceptions", "ThrottledOpError", transient(_N, rule="throttled")),
    **each("kazoo.exceptions", "LockTimeout", _LOCKED),
    **each("kazoo.exceptions", "CancelledError", _LOCKED),
    **each("kazoo.exceptions", "BadVersionError RolledBackError", _CONFLICT),
    **each("kazoo.exceptions", "RuntimeInconsistency DataInconsistency", _BUSY),
    **each("kazoo.exceptions", "AuthFailedError NoAuthError InvalidACLError SASLException", _DENIED),
    **each("kazoo.exceptions", "SessionClosedRequireSaslError", _DENIED),
    **each("kazoo.exceptions", "NoNodeError NoWatcherError", _NOT_FOUND),
    **each("kazoo.exceptions", "NodeExistsError NotEmptyError", _EXISTS),
    **each("kazoo.exceptions", "BadArgumentsError MarshallingError NoChildrenForEphemeralsError", _VALUE),
    **each("kazoo.exceptions", "QuotaExceededError EphemeralOnLocalSessionError", _VALUE),
    **each("kazoo.exceptions", "ZookeeperStoppedError InvalidCallbackError WriterNotClosedException", _BUG),
    **each("kazoo.exceptions", "ConfigurationError UnimplementedError ReconfigDisabledError APIError", _CONFIGURATION),
    **each("kazoo.*", "KazooTimeoutError", _TIMED_OUT),
    **each("kazoo.retry", "RetryFailedError ForceRetryError InterruptedError", _UNAVAILABLE),
}


def _etcd_status(exc: Any) -> Answer:
    payload = getattr(exc, "payload", None)
    code = payload.get("errorCode") if isinstance(payload, dict) else None
    if code in (300, 301, 401):  # raft internal error, leader election, event index cleared
        return _UNAVAILABLE
    return _UNAVAILABLE if exc.__cause__ is None else Through(exc.__cause__, _UNAVAILABLE)


_ETCD: dict[str, Verdict | Look] = {
    **each("etcd", "EtcdConnectionFailed EtcdWatchTimedOut EtcdClusterIdChanged", _LOST),
    **each("etcd", "EtcdLeaderElectionInProgress EtcdEventIndexCleared EtcdWatcherCleared", _UNAVAILABLE),
    **each("etcd", "EtcdException", _etcd_status),
    **each("etcd", "EtcdLockExpired", _LOCKED),
    **each("etcd", "EtcdCompareFailed", _CONFLICT),
    **each("etcd", "EtcdInsufficientPermissions", _DENIED),
    **each("etcd", "EtcdKeyNotFound EtcdKeyError EtcdNotFile EtcdNotDir EtcdRootReadOnly", _NOT_FOUND),
    **each("etcd", "EtcdAlreadyExist EtcdDirNotEmpty EtcdValueError", _EXISTS),
    **each(
        "etcd3.exceptions", "Etcd3Exception ConnectionFailedError InternalServerError NoServerAvailableError", _LOST
    ),
    **each("etcd3.exceptions", "ConnectionTimeoutError WatchTimedOut", _TIMED_OUT),
    **each("etcd3.exceptions", "PreconditionFailedError", _CONFLICT),
    **each("etcd3.exceptions", "RevisionCompactedError", _NOT_FOUND),
    **each("etcd3gw.exceptions", "Etcd3Exception ConnectionFailedError InternalServerError", _LOST),
    **each("etcd3gw.exceptions", "ConnectionTimeoutError WatchTimedOut", _TIMED_OUT),
    **each("etcd3gw.exceptions", "PreconditionFailedError", _CONFLICT),
    **each("etcd3gw.exceptions", "ApiVersionDiscoveryFailedError", _CONFIGURATION),
}


def _consul(exc: Any) -> Answer:
    """The text begins with the HTTP status: "500 No cluster leader"."""
    text = str(exc.args[0]) if exc.args else ""
    return by_status(text[:3]) or _UNAVAILABLE


_CONSUL: dict[str, Verdict | Look] = {
    **each("consul.*", "ConsulException", _consul),
    **each("consul.*", "Timeout", _TIMED_OUT),
    **each("consul.*", "ACLDisabled ACLPermissionDenied", _DENIED),
    **each("consul.*", "NotFound", _NOT_FOUND),
    **each("consul.*", "BadRequest ClientError", _VALUE),
}

FAMILY = Family(
    name="messaging",
    classes={**_NATS, **_MQTT, **_ZMQ, **_PULSAR, **_NSQ, **_ZOOKEEPER, **_ETCD, **_CONSUL},
)
