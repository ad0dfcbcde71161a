"""Kafka: kafka-python, aiokafka and confluent-kafka, by the protocol's error codes.

The broker's codes and which of them the client may retry are those of the Kafka protocol guide, "Error codes"; the
negative ones are librdkafka's own (`RD_KAFKA_RESP_ERR__…`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient

__all__ = ("FAMILY", "by_kafka_code")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY
_HIGH, _CRITICAL = ErrorSeverity.HIGH, ErrorSeverity.CRITICAL

# A group: type, retryable, severity or None, codes.
_GROUPS: tuple[tuple[ErrorType, bool, ErrorSeverity | None, str], ...] = (
    # Leaders and coordinators move, brokers are slow or away: "retriable: True" in the guide, and what ends by itself.
    (_N, True, None, "3 5 6 7 8 9 13 14 15 16 19 20 41 56 72 74 75 77 78 80 83 88 89 100 103 106"),
    # A consumer group or a transaction is being rearranged.
    (_S, True, None, "22 25 27 51 60 70 71 79 110 111 113 120 122 123 124 129 133"),
    (_S, True, None, "-1 84 -142 -177 -178 -147"),
    # librdkafka: transport, all brokers down, timed out, resolve, destroyed, queue full, in-sync replicas, retry.
    (_N, True, None, "-195 -187 -185 -192 -193 -197 -180 -166 -164 -163 -146 -137 -188 -190 -183"),
    (_S, True, None, "-184 -152 -151 -153 -191 -167"),
    (_M, True, None, "-194"),
    # Certificates, credentials, rights.
    (_N, False, _HIGH, "29 30 31 33 34 53 54 58 61 62 63 64 65 66 67 93 97 -169 -181"),
    # Messages and arguments that will not be taken.
    (_V, False, None, "1 4 10 12 17 18 21 23 24 26 28 32 36 37 38 39 40 42 44 50 57 68 69 81 85 86 87 91 92 95 96 99"),
    (_V, False, None, "105 112 117 118 119 121 125 126 127 128 130 131 132"),
    (_V, False, None, "-186 -199 -173 -176 -168 -155 -154 -140 -139 -138"),
    # A message whose checksum is wrong: broken on its way, says the guide, so to be sent again.
    (_P, True, None, "2"),
    (_P, False, None, "-198 -160 -159 -162 -161"),
    # Versions and features.
    (_C, False, None, "35 43 76 114 115 -165 -171 -170"),
    # Producers that were fenced off, sequences that broke, misuse.
    (_S, False, _HIGH, "11 45 46 47 48 49 52 55 59 73 82 90 94 98 101 102 104 107 108 109 116 -144 -148 -149 -150"),
    (_S, False, None, "-172 -196 -145 -143 -141 -156 -157 -158 -174 -175 -179 -182 -189"),
)

_CODES = {int(code): group[:3] for group in reversed(_GROUPS) for code in group[3].split()}


@lru_cache(maxsize=512)
def by_kafka_code(code: int, name: str = "") -> Verdict | None:
    """The verdict on an error code of the protocol (or, below -1, of librdkafka); `name` as the client calls it."""
    found = _CODES.get(code)
    if found is None:
        return None
    error_type, retryable, severity = found
    text = f"Kafka {name or code}"
    return Verdict(error_type, retryable, text, severity=severity, rule=f"code.{code}", context={"code": code})


def _confluent(exc: Any) -> Answer:
    """confluent_kafka.KafkaException: the first argument is a KafkaError, an object that is no exception."""
    error = exc.args[0] if exc.args else None
    code = getattr(error, "code", None)
    if not callable(code):
        return _UNKNOWN
    name = str(getattr(error, "name", str)())
    found = by_kafka_code(code(), name)
    if getattr(error, "fatal", bool)():
        # The client instance is beyond repair (librdkafka, "Fatal errors").
        return permanent(found.error_type if found else _S, f"Kafka {name}", rule="fatal", severity=_CRITICAL)
    if getattr(error, "retriable", bool)() or getattr(error, "txn_requires_abort", bool)():
        error_type = found.error_type if found is not None and found.retryable else _N
        return transient(error_type, f"Kafka {name}", rule="retriable")
    return found or _UNKNOWN


def _broker(exc: Any) -> Answer:
    """kafka-python, aiokafka: `errno` is the code; `retriable` what the client would do."""
    code = getattr(exc, "errno", None)
    found = by_kafka_code(code, type(exc).__name__) if type(code) is int else None
    if found is not None:
        return found
    return _LOST if getattr(exc, "retriable", False) else _OTHER


def _schema_registry(exc: Any) -> Answer:
    """Schema Registry: an HTTP status, and a five-digit `error_code` that begins with it."""
    status = getattr(exc, "http_status_code", None)
    if type(status) is int and (status >= 500 or status == 429):
        return transient(_N, f"HTTP {status}", rule="registry")
    return permanent(_N if status in (401, 403) else _C, f"HTTP {status}", rule="registry")


def _serialization(exc: Any) -> Answer:
    cause = exc.__cause__
    otherwise = permanent(_P, rule="serialization")
    return Through(cause, otherwise) if isinstance(cause, OSError) else otherwise


_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_GROUP = transient(_S, rule="group")
_BUSY = transient(_S, rule="busy")
_DENIED = permanent(_N, rule="denied", severity=_HIGH)
_VALUE = permanent(_V, rule="value")
_BUG = permanent(_S, rule="misuse")
_VERSION = permanent(_C, rule="version")
_OTHER = permanent(_S, rule="KafkaError")
_UNKNOWN = transient(_N, rule="KafkaException")


def _client(prefix: str) -> dict[str, Verdict | Look]:
    return {
        **each(prefix, "KafkaError BrokerResponseError RetriableError InvalidMetadataError", _broker),
        **each(prefix, "KafkaConnectionError NoBrokersAvailable KafkaUnavailableError NodeNotReadyError", _LOST),
        **each(prefix, "StaleMetadata MetadataEmptyBrokerList CorrelationIdError Cancelled", _LOST),
        **each(prefix, "KafkaTimeoutError", _TIMED_OUT),
        **each(prefix, "KafkaProtocolError InvalidReceiveError", _LOST),
        **each(prefix, "UnjoinedGroupException RebalanceInProgressError", _GROUP),
        **each(prefix, "IllegalGenerationError UnknownMemberIdError TransactionAbortedError", _GROUP),
        **each(prefix, "TooManyInFlightRequests QuotaViolationError ConsumerTimeout BufferError", _BUSY),
        **each(prefix, "AuthenticationFailedError AuthenticationMethodNotSupported AuthorizationError", _DENIED),
        **each(prefix, "RecordTooLargeError IllegalArgumentError NoOffsetForPartitionError LogTruncationError", _VALUE),
        **each(prefix, "UnsupportedCodecError UnsupportedVersionError IncompatibleBrokerVersion", _VERSION),
        **each(prefix, "UnrecognizedBrokerVersion", _VERSION),
        **each(prefix, "IllegalStateError IllegalOperation KafkaConfigurationError ProducerClosed", _BUG),
        **each(
            prefix,
            "CommitFailedError ConsumerStoppedError ProducerFenced AsyncProducerQueueFull UnknownBrokerIdError",
            _BUG,
        ),
    }


_CLASSES: dict[str, Verdict | Look] = {
    **_client("kafka.*"),
    **_client("aiokafka.*"),
    **each("cimpl", "KafkaException", _confluent),
    **each("confluent_kafka.*", "KafkaException ConsumeError ProduceError TransactionException", _confluent),
    **each("confluent_kafka.error", "KeyDeserializationError ValueDeserializationError", permanent(_P, rule="decode")),
    **each("confluent_kafka.error", "KeySerializationError ValueSerializationError", permanent(_P, rule="encode")),
    **each("confluent_kafka.*", "SerializationError", _serialization),
    **each("confluent_kafka.*", "SchemaRegistryError", _schema_registry),
    **each("confluent_kafka.*", "SchemaParseException", permanent(_C, rule="schema")),
}

FAMILY = Family(name="kafka", classes=_CLASSES)
