"""Message brokers that speak AMQP or STOMP: amqp and kombu (Celery's own), pika, aio-pika and aiormq, stomp.py, Proton.

A broker that closes a channel or connection says why with a reply code (AMQP 0-9-1 reference, constants); the code says
more than the class.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.retry_after import seconds
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_reply_code")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P = ErrorType.SCHEMA, ErrorType.PARSING
_HIGH = ErrorSeverity.HIGH

# reply code -> (type, retryable, severity or None)
_CODES: dict[int, tuple[ErrorType, bool, ErrorSeverity | None]] = {
    200: (_N, True, None),  # closed in good order, under our hands
    311: (_V, False, None),  # content too large
    312: (_V, False, None),  # no route
    313: (_S, True, None),  # no consumers
    320: (_N, True, None),  # an operator closed the connection
    402: (_N, False, None),  # invalid path: no such virtual host
    403: (_N, False, _HIGH),  # access refused
    404: (_V, False, None),  # no such queue or exchange
    405: (_S, True, None),  # exclusive to another connection
    406: (_V, False, None),  # precondition failed: declared with other arguments
    501: (_N, False, None),  # frame error
    502: (_N, False, None),  # syntax error
    503: (_N, False, None),  # command invalid
    504: (_N, True, None),  # channel error: the channel is not open (any more)
    505: (_N, False, None),  # unexpected frame
    506: (_S, True, None),  # resource error
    530: (_N, False, _HIGH),  # not allowed
    540: (_S, False, None),  # not implemented
    541: (_S, True, None),  # internal error of the broker
}


def by_reply_code(code: Any, text: Any = "") -> Verdict | None:
    """The verdict on an AMQP reply code, e.g. 405; None if it is none. `text` is the broker's explanation."""
    value = number(code)
    found = _CODES.get(value) if value is not None else None
    if value is None or found is None:
        return None
    error_type, retryable, severity = found
    if value == 406 and isinstance(text, str) and ("timed out" in text or "delivery tag" in text):
        # An acknowledgement came too late, or over another channel: the message is delivered again.
        error_type, retryable = _S, True
    context = {"reply_code": value}
    return Verdict(error_type, retryable, f"AMQP {value}", severity=severity, rule=f"code.{value}", context=context)


_LOST = transient(_N, rule="connection")
_DENIED = permanent(_N, rule="denied", severity=_HIGH)
_BUSY = transient(_S, rule="busy")
_NACKED = transient(_S, rule="nacked")
_UNROUTABLE = permanent(_V, rule="unroutable")
_PROTOCOL = permanent(_N, rule="protocol")
_VALUE = permanent(_V, rule="value")
_BUG = permanent(_S, rule="misuse")
_CONFIGURATION = permanent(_S, rule="configuration")


def _coded(exc: Any) -> Answer:
    """By the reply code: an attribute in amqp and pika, the first argument in aiormq."""
    code = getattr(exc, "reply_code", None)
    if code is None:
        code = getattr(exc, "code", None)
    if code is None and exc.args:
        code = exc.args[0]
    return by_reply_code(code, str(getattr(exc, "reply_text", None) or exc.args[-1:]))


def _connection(exc: Any) -> Answer:
    found = _coded(exc)
    if found is not None:
        return found
    inner = next((arg for arg in exc.args if isinstance(arg, BaseException)), None) or exc.__cause__
    return Through(inner, _LOST) if isinstance(inner, BaseException) else _LOST


def _channel(exc: Any) -> Answer:
    return _coded(exc) or _LOST


def _connector(exc: Any) -> Answer:
    """Why a phase of connecting failed is, in pika, in `exception`, or in the list `exceptions` (the last counts)."""
    inner = getattr(exc, "exception", None)
    several = getattr(exc, "exceptions", None)
    if inner is None and several:
        inner = several[-1]
    return Through(inner if isinstance(inner, BaseException) else None, _LOST)


def _operational(exc: Any) -> Answer:
    """In kombu, OperationalError stands for any error of the transport; the cause is that error."""
    cause = exc.__cause__ or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
    return Through(cause, _LOST) if cause is not None else _by_words(exc)


def _by_words(exc: Any) -> Answer:
    text = str(exc.args[0])[:300].lower() if exc.args else ""
    if "access_refused" in text or "access refused" in text or "authentication" in text or "not_allowed" in text:
        return _DENIED
    return _LOST


def _http(exc: Any) -> Answer:
    return by_status(getattr(exc, "status", None) or next(iter(exc.args), None)) or _LOST


def _proton_send(exc: Any) -> Answer:
    state = str(getattr(exc, "state", ""))
    return _VALUE if "REJECTED" in state.upper() else _NACKED


_AMQP: dict[str, Verdict | Look] = {
    **each("amqp.exceptions", "AMQPError ConnectionError ChannelError", _connection),
    **each("amqp.exceptions", "RecoverableConnectionError RecoverableChannelError ConsumerCancelled", _connection),
    **each("amqp.exceptions", "IrrecoverableConnectionError IrrecoverableChannelError", _channel),
    **each("amqp.exceptions", "ConnectionForced ChannelNotOpen InternalError", _channel),
    **each("amqp.exceptions", "Blocked ResourceError NoConsumers ResourceLocked", _BUSY),
    "amqp.exceptions.MessageNacked": _NACKED,
    "amqp.exceptions.ContentTooLarge": _VALUE,
    **each("amqp.exceptions", "FrameError FrameSyntaxError InvalidCommand UnexpectedFrame InvalidPath", _PROTOCOL),
    **each("amqp.exceptions", "NotAllowed AccessRefused", _DENIED),
    "amqp.exceptions.NotFound": by_reply_code(404) or _VALUE,
    "amqp.exceptions.PreconditionFailed": _channel,
    "amqp.exceptions.AMQPNotImplementedError": _BUG,
}

_KOMBU: dict[str, Verdict | Look] = {
    "kombu.exceptions.OperationalError": _operational,
    "kombu.exceptions.KombuError": _operational,
    **each("kombu.exceptions", "LimitExceeded ConnectionLimitExceeded ChannelLimitExceeded", _BUSY),
    "kombu.exceptions.InconsistencyError": transient(_N, rule="inconsistency"),
    "kombu.exceptions.BatchPublishError": _operational,
    "kombu.exceptions.DecodeError": permanent(_P, rule="decode"),
    "kombu.exceptions.EncodeError": permanent(_V, rule="encode"),
    "kombu.exceptions.SerializationError": permanent(_P, rule="serialization"),
    "kombu.exceptions.ContentDisallowed": permanent(_V, rule="content_disallowed"),
    **each("kombu.exceptions", "SerializerNotInstalled VersionMismatch", _CONFIGURATION),
    **each("kombu.exceptions", "NotBoundError MessageStateError", _BUG),
    "kombu.exceptions.HttpError": _http,
    "kombu.transport.redis.MutexHeld": transient(_S, rule="lock"),
    "kombu.transport.consul.LockError": transient(_S, rule="lock"),
    "kombu.transport.virtual.base.NotEquivalentError": by_reply_code(406) or _VALUE,
    "kombu.transport.qpid.AuthenticationFailure": _DENIED,
    "kombu.transport.confluentkafka.NoBrokersAvailable": _LOST,
    "kombu.transport.SQS.AccessDeniedQueueException": _DENIED,
    **each("kombu.transport.SQS", "DoesNotExistQueueException UndefinedQueueException", _VALUE),
    **each("kombu.transport.SQS", "UndefinedExchangeException InvalidQueueException QueueException", _VALUE),
    "kombu.matcher.MatcherNotInstalled": _CONFIGURATION,
}

_PIKA: dict[str, Verdict | Look] = {
    **each("pika.exceptions", "AMQPError AMQPConnectionError ConnectionClosed ConnectionClosedByBroker", _connection),
    **each("pika.exceptions", "ConnectionClosedByClient ConnectionOpenAborted StreamLostError", _connection),
    **each("pika.exceptions", "AMQPHeartbeatTimeout ConnectionBlockedTimeout ConnectionWrongStateError", _connection),
    **each("pika.exceptions", "AMQPChannelError ChannelClosed ChannelClosedByBroker ChannelClosedByClient", _channel),
    **each("pika.exceptions", "ChannelWrongStateError ChannelError", _channel),
    **each("pika.exceptions", "AuthenticationError ProbableAuthenticationError ProbableAccessDeniedError", _DENIED),
    **each("pika.exceptions", "NoFreeChannels ConsumerCancelled", _BUSY),
    "pika.exceptions.NackError": _NACKED,
    "pika.exceptions.UnroutableError": _UNROUTABLE,
    **each("pika.exceptions", "IncompatibleProtocolError ProtocolSyntaxError ProtocolVersionMismatch", _PROTOCOL),
    **each("pika.exceptions", "InvalidFrameError UnexpectedFrameError", _PROTOCOL),
    **each("pika.exceptions", "BodyTooLongError ShortStringTooLong InvalidFieldTypeException", _VALUE),
    **each("pika.exceptions", "UnsupportedAMQPFieldException UnspportedAMQPFieldException", _VALUE),
    **each("pika.exceptions", "DuplicateConsumerTag DuplicateGetOkCallback InvalidChannelNumber", _BUG),
    **each("pika.exceptions", "MethodNotImplemented ReentrancyError", _BUG),
    **each("pika.*", "AMQPConnectionWorkflowFailed AMQPConnectorException AMQPConnectorPhaseErrorBase", _connector),
    **each("pika.*", "AMQPConnectorSocketConnectError AMQPConnectorAMQPHandshakeError", _connector),
    **each("pika.*", "AMQPConnectorTransportSetupError", _connector),
    **each("pika.*", "AMQPConnectorStackTimeout AMQPConnectionWorkflowAborted AMQPConnectorAborted", _LOST),
    **each("pika.*", "AMQPConnectionWorkflowWrongState AMQPConnectorWrongState", _BUG),
}

_AIORMQ: dict[str, Verdict | Look] = {
    **each("aiormq.exceptions", "AMQPError AMQPConnectionError ConnectionClosed ConnectionInternalError", _connection),
    **each("aiormq.exceptions", "AMQPChannelError ChannelClosed ChannelInvalidStateError", _channel),
    **each("aiormq.exceptions", "ConnectionChannelError", _LOST),
    **each("aiormq.exceptions", "AuthenticationError ProbableAuthenticationError ChannelAccessRefused", _DENIED),
    **each("aiormq.exceptions", "ConnectionNotAllowed", _DENIED),
    **each("aiormq.exceptions", "ChannelLockedResource ConnectionResourceError", _BUSY),
    "aiormq.exceptions.ChannelNotFoundEntity": by_reply_code(404) or _VALUE,
    "aiormq.exceptions.ChannelPreconditionFailed": lambda exc: by_reply_code(406, str(exc.args)),
    **each("aiormq.exceptions", "ConnectionFrameError ConnectionSyntaxError ConnectionCommandInvalid", _PROTOCOL),
    **each("aiormq.exceptions", "ConnectionUnexpectedFrame IncompatibleProtocolError InvalidFrameError", _PROTOCOL),
    **each("aiormq.exceptions", "ProtocolSyntaxError", _PROTOCOL),
    "aiormq.exceptions.DeliveryError": _NACKED,
    "aiormq.exceptions.PublishError": _UNROUTABLE,
    **each("aiormq.exceptions", "DuplicateConsumerTag MethodNotImplemented ConnectionNotImplemented", _BUG),
    "aio_pika.exceptions.QueueEmpty": _BUSY,
    "aio_pika.pool.PoolInvalidStateError": _BUG,
    "aio_pika.exceptions.MessageProcessError": _BUG,
}


def _asked_for(unit: float) -> Look:
    """A task that asks to be run again after its `delay`, in units of so many seconds."""

    def look(exc: Any) -> Verdict:
        wait = seconds(attr(exc, "delay"))
        return transient(_S, "retry", retry_after=None if wait is None else wait * unit, rule="asked_for")

    return look


_OTHERS: dict[str, Verdict | Look] = {
    **each("stomp.exception", "StompException ConnectFailedException ConnectionClosedException", _LOST),
    **each("stomp.exception", "NotConnectedException", _LOST),
    "stomp.exception.InterruptedException": transient(_S, rule="interrupted"),
    **each("proton.*", "ProtonException ConnectionException TransportException SessionException LinkException", _LOST),
    **each("proton.*", "Timeout LinkDetached ConnectionClosed Interrupt", _LOST),
    **each("proton.*", "SendException", _proton_send),
    **each("proton.*", "MessageException DataException SSLUnavailable SASLException", _BUG),
    **each("dramatiq.errors", "ConnectionError ConnectionFailed ConnectionClosed BrokerError", _operational),
    **each("dramatiq.errors", "RateLimitExceeded QueueJoinTimeout", _BUSY),
    "dramatiq.errors.Retry": _asked_for(0.001),
    **each("dramatiq.errors", "ActorNotFound QueueNotFound NoResults", _CONFIGURATION),
    **each("dramatiq.errors", "DecodeError", permanent(_P, rule="decode")),
    "huey.exceptions.RetryTask": _asked_for(1.0),
    "huey.exceptions.TaskLockedException": _BUSY,
    **each("dramatiq.results.errors", "ResultTimeout ResultMissing ResultError", _BUSY),
    **each("rq.exceptions", "NoSuchJobError InvalidJobOperation InvalidJobDependency NoSuchResultError", _VALUE),
    **each("rq.exceptions", "DequeueTimeout ShutDownImminentException", _BUSY),
    **each("rq.timeouts", "JobTimeoutException HorseMonitorTimeoutException BaseTimeoutException", _BUSY),
    **each("greenstalk", "TimedOutError OutOfMemoryError DrainingError DeadlineSoonError InternalError", _BUSY),
    **each("greenstalk", "NotFoundError JobTooBigError BadFormatError BuriedError ExpectedCrlfError", _VALUE),
    **each("greenstalk", "UnknownCommandError UnknownResponseError NotIgnoredError BeanstalkdError Error", _BUG),
}

FAMILY = Family(name="amqp", classes={**_AMQP, **_KOMBU, **_PIKA, **_AIORMQ, **_OTHERS})
