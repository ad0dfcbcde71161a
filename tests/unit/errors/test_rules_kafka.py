"""Kafka: the protocol's error codes, and librdkafka's own below zero."""

from __future__ import annotations

import pytest

from celery_recovery.errors import ErrorSeverity, ErrorType, classify
from celery_recovery.errors.rules.kafka import by_kafka_code
from tests.unit.errors.lookalike import lookalike

N, S, V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION


class KafkaError:
    """As confluent-kafka's: an object with methods, no exception."""

    def __init__(self, code: int, *, retriable: bool = False, fatal: bool = False) -> None:
        self._code, self._retriable, self._fatal = code, retriable, fatal

    def code(self) -> int:
        return self._code

    def name(self) -> str:
        return "NAME"

    def retriable(self) -> bool:
        return self._retriable

    def fatal(self) -> bool:
        return self._fatal


CODES = [
    (-195, N, True),  # transport
    (-187, N, True),  # all brokers down
    (-184, S, True),  # queue full
    (-169, N, False),  # authentication
    (-186, V, False),  # invalid argument
    (5, N, True),  # leader not available
    (7, N, True),  # request timed out
    (10, V, False),  # message too large
    (27, S, True),  # rebalance in progress
    (29, N, False),  # topic authorization
    (47, S, False),  # invalid producer epoch
]


@pytest.mark.parametrize(("code", "expected", "retryable"), CODES)
def test_confluent_kafka_by_the_code_of_its_error_object(code: int, expected: ErrorType, retryable: bool) -> None:
    """KafkaException's only argument is not an exception."""
    info = classify(lookalike("cimpl.KafkaException")(KafkaError(code)))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, "Kafka NAME")


@pytest.mark.parametrize(("code", "expected", "retryable"), [case for case in CODES if case[0] > 0])
@pytest.mark.parametrize("package", ["kafka", "aiokafka"])
def test_python_clients_by_errno(package: str, code: int, expected: ErrorType, retryable: bool) -> None:
    """Each class of kafka-python has its code as `errno`."""
    base = lookalike(f"{package}.errors.BrokerResponseError", retriable=False)
    info = classify(lookalike(f"{package}.errors.Whatever", base, errno=code)())
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_fatal_and_retriable_flags_overrule_the_code() -> None:
    """A fatal error ends the client instance; a retriable one is the client's own advice."""
    exception = lookalike("cimpl.KafkaException")
    fatal = classify(exception(KafkaError(-195, fatal=True)))
    assert (fatal.is_retryable, fatal.severity) == (False, ErrorSeverity.CRITICAL)
    assert classify(exception(KafkaError(47, retriable=True))).is_retryable


@pytest.mark.parametrize(
    ("path", "expected", "retryable"),
    [
        ("kafka.errors.NoBrokersAvailable", N, True),
        ("kafka.errors.KafkaTimeoutError", N, True),
        ("aiokafka.errors.KafkaConnectionError", N, True),
        ("aiokafka.errors.CommitFailedError", S, False),
        ("kafka.errors.UnsupportedCodecError", ErrorType.SCHEMA, False),
        ("confluent_kafka.error.ValueDeserializationError", ErrorType.PARSING, False),
    ],
)
def test_what_the_clients_say_themselves(path: str, expected: ErrorType, retryable: bool) -> None:
    """These have no code of the protocol."""
    info = classify(lookalike(path)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_an_unlisted_code_says_nothing() -> None:
    """A newer broker may know more."""
    assert by_kafka_code(9999) is None
