"""Brokers that speak AMQP or STOMP: the reply code says more than the class."""

from __future__ import annotations

import amqp
import kombu
import pytest
from kombu.exceptions import OperationalError

from celery_recovery.errors import ErrorType, classify
from celery_recovery.errors.rules.amqp import by_reply_code
from tests.unit.errors.lookalike import lookalike

N, S, V, P = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.PARSING


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        (320, N, True),
        (403, N, False),
        (404, V, False),
        (405, S, True),
        (406, V, False),
        (504, N, True),
        (506, S, True),
        (530, N, False),
        (541, S, True),
    ],
)
def test_reply_codes_of_the_broker(code: int, expected: ErrorType, retryable: bool) -> None:
    """amqp, pika and aiormq keep it in different places."""
    pika = lookalike("pika.exceptions.ConnectionClosedByBroker", reply_code=code, reply_text="why")
    aiormq = lookalike("aiormq.exceptions.ConnectionClosed")
    for exc in (amqp.exceptions.ChannelError("why", reply_code=code), pika(code, "why"), aiormq(code, "why")):
        info = classify(exc)
        assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, f"AMQP {code}")


def test_an_acknowledgement_that_came_too_late_is_worth_another_try() -> None:
    """406 says "declared otherwise" or "your acknowledgement timed out"; the text tells."""
    late = by_reply_code(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")
    assert late is not None
    assert late.retryable
    assert by_reply_code(999) is None


@pytest.mark.parametrize(
    ("exc", "expected", "retryable"),
    [
        (amqp.exceptions.RecoverableConnectionError("closed"), N, True),
        (amqp.exceptions.ConnectionForced("operator"), N, True),
        (amqp.exceptions.AccessRefused("vhost"), N, False),
        (amqp.exceptions.NotFound("no queue"), V, False),
        (amqp.exceptions.ResourceLocked("exclusive"), S, True),
        (amqp.exceptions.MessageNacked("nacked"), S, True),
        (amqp.exceptions.PreconditionFailed("inequivalent arg"), V, False),
        (kombu.exceptions.DecodeError("bad body"), P, False),
        (kombu.exceptions.ChannelLimitExceeded(5), S, True),
    ],
)
def test_classes_of_amqp_and_kombu(exc: BaseException, expected: ErrorType, retryable: bool) -> None:
    """Celery's own transports."""
    info = classify(exc)
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_kombu_refused_by_a_real_socket() -> None:
    """OperationalError is raised from the socket's error, which has the code."""
    with (
        kombu.Connection("amqp://127.0.0.1:1//", connect_timeout=1) as connection,
        pytest.raises(OperationalError) as caught,
    ):
        connection.ensure_connection(max_retries=1, timeout=0.1, interval_start=0, reraise_as_library_errors=True)
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable, info.error_code) == (N, True, "ECONNREFUSED")


@pytest.mark.parametrize(
    ("path", "expected", "retryable"),
    [
        ("pika.exceptions.AMQPConnectionError", N, True),
        ("pika.exceptions.AMQPHeartbeatTimeout", N, True),
        ("pika.exceptions.ProbableAuthenticationError", N, False),
        ("pika.exceptions.UnroutableError", V, False),
        ("pika.exceptions.NackError", S, True),
        ("aiormq.exceptions.ChannelLockedResource", S, True),
        ("stomp.exception.ConnectFailedException", N, True),
        ("greenstalk.DrainingError", S, True),
    ],
)
def test_classes_of_other_clients(path: str, expected: ErrorType, retryable: bool) -> None:
    """Without a code the class decides."""
    info = classify(lookalike(path)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
