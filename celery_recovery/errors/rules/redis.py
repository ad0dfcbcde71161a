"""Redis and its kin: redis-py, valkey, coredis, GLIDE, their clusters, sentinels and locks.

A server's error reply begins with a word in capitals (redis.io, "Redis serialization protocol", simple errors).
redis-py turns some of them into classes and drops the word; the rest are `ResponseError`, told apart by it.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_reply")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _M = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY

# first word of an error reply -> verdict
_REPLIES: dict[str, Verdict] = {
    word: Verdict(error_type, retryable, f"Redis {word}", rule=f"reply.{word}", severity=severity)
    for error_type, retryable, severity, words in (
        # Loading, failing over, moving slots: passes by itself.
        (_N, True, None, "LOADING MASTERDOWN CLUSTERDOWN TRYAGAIN MOVED ASK NOMASTERLINK IOERR NOGOODSLAVE NOQUORUM"),
        (_S, True, None, "BUSY READONLY NOREPLICAS UNBLOCKED INPROG NOTREADY STALE UNKILLABLE"),
        (_M, True, ErrorSeverity.HIGH, "OOM"),
        # The server cannot write its snapshot: a full or broken disk, until a person looks.
        (_S, True, ErrorSeverity.CRITICAL, "MISCONF"),
        (_N, False, ErrorSeverity.HIGH, "NOAUTH WRONGPASS NOPERM DENIED NOPROTO"),
        (_V, False, None, "WRONGTYPE CROSSSLOT BUSYKEY BUSYGROUP NOGROUP BADARITY VALIDATION"),
        (_S, False, None, "EXECABORT NOSCRIPT NOTBUSY NOADDR BADARCH"),
    )
    for word in words.split()
}

# text after ERR (in lower case) -> verdict, the first that is found
_ERR: tuple[tuple[str, Verdict], ...] = (
    ("max number of clients", transient(_S, "Redis max clients", rule="reply.max_clients")),
    ("already in progress", transient(_S, rule="reply.in_progress")),
    ("background save", transient(_S, rule="reply.in_progress")),
    ("try again", transient(_S, rule="reply.try_again")),
    ("timeout", transient(_N, rule="reply.timeout")),
    ("auth", permanent(_N, rule="reply.auth", severity=ErrorSeverity.HIGH)),
    ("permission", permanent(_N, rule="reply.auth", severity=ErrorSeverity.HIGH)),
    ("unknown command", permanent(_C, rule="reply.unknown_command")),
    ("unknown subcommand", permanent(_C, rule="reply.unknown_command")),
    ("unknown index name", permanent(_C, rule="reply.unknown_index")),
    ("no such index", permanent(_C, rule="reply.unknown_index")),
)
_ERR_OTHER = permanent(_V, rule="reply.ERR")

_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_LOADING = _REPLIES["LOADING"]
_DENIED = permanent(_N, rule="denied", severity=ErrorSeverity.HIGH)
_CERTIFICATE = permanent(_N, rule="certificate", severity=ErrorSeverity.HIGH)
_POOL_FULL = transient(_S, rule="pool")
_LOCKED = transient(_S, rule="lock")
_CONFLICT = transient(_S, rule="conflict")
_BUG = permanent(_S, rule="misuse")
_VALUE = permanent(_V, rule="value")
_NO_DATABASE = permanent(_S, rule="no_database")


def by_reply(text: str) -> Verdict | None:
    """The verdict on the text of a Redis error reply, e.g. `"LOADING Redis is loading the dataset in memory"`."""
    word, _, rest = text.partition(" ")
    found = _REPLIES.get(word.rstrip(":"))
    if found is not None:
        return found
    lower = (rest if word == "ERR" else text)[:300].lower()
    if "script" in lower or "user_function" in lower:  # an error reply that a script passed on
        for inner in ("READONLY", "OOM", "WRONGTYPE", "CLUSTERDOWN", "NOSCRIPT", "NOPERM"):
            if inner in text:
                return _REPLIES[inner]
    for marker, verdict in _ERR:
        if marker in lower:
            return verdict
    return None


def _text(exc: Any) -> str:
    first = exc.args[0] if exc.args else ""
    if isinstance(first, bytes):
        return first.decode("utf-8", "replace")
    return first if isinstance(first, str) else ""


def _response(exc: Any) -> Answer:
    return by_reply(_text(exc)) or _ERR_OTHER


def _connection(exc: Any) -> Answer:
    """Most are lost connections; a few are what the server said while the connection was being set up."""
    text = _text(exc)
    lower = text[:300].lower()
    if "certificate" in lower:
        return _CERTIFICATE
    if "invalid database" in lower or "db index" in lower:
        return _NO_DATABASE
    if "too many connections" in lower or "max number of clients" in lower or "no connection available" in lower:
        return _POOL_FULL
    word = text.partition(" ")[0]
    return _REPLIES.get(word, _LOST)


def _lock(exc: Any) -> Answer:
    """Not to get a lock, or to lose it, passes; to release what was never taken is a mistake."""
    text = _text(exc)
    return _BUG if "unlocked" in text or "no timeout" in text or "must be" in text else _LOCKED


def _cluster(exc: Any) -> Answer:
    """No node answers, or the client refused a command that a cluster cannot do."""
    text = _text(exc).lower()
    if "reachable" in text or "connect" in text or "ttl exhausted" in text or "not covered" in text:
        return _LOST
    return _BUG


def _inside(exc: Any) -> Answer:
    """django-redis and others: what counts is the cause."""
    cause = exc.__cause__ or getattr(exc, "parent", None)
    return Through(cause if isinstance(cause, BaseException) else None, _LOST)


def _http(exc: Any) -> Answer:
    return by_status(getattr(exc, "status", None)) or _LOST


def _client(prefix: str) -> dict[str, Verdict | Look]:
    return {
        **each(prefix, "ConnectionError ConnectionClosedError ConnectionForcedCloseError", _connection),
        **each(prefix, "TimeoutError", _TIMED_OUT),
        **each(prefix, "BusyLoadingError", _LOADING),
        **each(prefix, "AuthenticationError AuthorizationError AuthenticationWrongNumberOfArgsError", _DENIED),
        **each(prefix, "AuthenticationFailureError AuthenticationRequiredError", _DENIED),
        **each(prefix, "ExternalAuthProviderError RequestTokenErr TokenRenewalErr", _LOST),
        **each(prefix, "NoPermissionError", _REPLIES["NOPERM"]),
        **each(prefix, "MaxConnectionsError", _POOL_FULL),
        **each(prefix, "MasterNotFoundError SlaveNotFoundError PrimaryNotFoundError ReplicaNotFoundError", _LOST),
        **each(prefix, "ResponseError ReplyError", _response),
        **each(prefix, "ReadOnlyError", _REPLIES["READONLY"]),
        **each(prefix, "OutOfMemoryError", _REPLIES["OOM"]),
        **each(prefix, "NoScriptError", _REPLIES["NOSCRIPT"]),
        **each(prefix, "ExecAbortError", _REPLIES["EXECABORT"]),
        **each(prefix, "WrongTypeError", _REPLIES["WRONGTYPE"]),
        **each(prefix, "SentinelError StalePrimaryError", _LOST),
        **each(prefix, "NotBusyError", _REPLIES["NOTBUSY"]),
        **each(prefix, "UnblockedError", _REPLIES["UNBLOCKED"]),
        **each(prefix, "CommandSyntaxError CommandNotSupportedError NoKeyError FunctionError", _VALUE),
        **each(prefix, "PersistenceError", _REPLIES["MISCONF"]),
        **each(prefix, "ClusterTransactionError ClusterResponseError", _LOST),
        **each(prefix, "ModuleError UnknownCommandError NoSuchFieldsetError", permanent(_C, rule="unknown_command")),
        **each(prefix, "DataError", _VALUE),
        **each(prefix, "InvalidResponse ProtocolError", transient(_N, rule="protocol")),
        **each(prefix, "PubSubError ReplicationError SubscriptionError", _BUG),
        **each(prefix, "WatchError TransactionError", _CONFLICT),
        **each(prefix, "LockError", _lock),
        **each(prefix, "LockNotOwnedError LockAcquisitionError", _LOCKED),
        **each(prefix, "LockReleaseError LockExtensionError", _LOCKED),
        **each(prefix, "ChildDeadlockedError", transient(_S, rule="child_deadlocked")),
        **each(prefix, "ClusterDownError", _REPLIES["CLUSTERDOWN"]),
        **each(prefix, "MasterDownError PrimaryDownError", _REPLIES["MASTERDOWN"]),
        **each(prefix, "TryAgainError", _REPLIES["TRYAGAIN"]),
        **each(prefix, "AskError", _REPLIES["ASK"]),
        **each(prefix, "MovedError", _REPLIES["MOVED"]),
        **each(prefix, "ClusterError SlotNotCoveredError ClusterUnreachableError", _LOST),
        **each(prefix, "RedisClusterException ValkeyClusterException RedisClusterError ClusterRoutingError", _cluster),
        **each(prefix, "ClusterCrossSlotError CrossSlotTransactionError ClusterCrossSlotsError", _REPLIES["CROSSSLOT"]),
        **each(prefix, "InvalidPipelineStack IncorrectPolicyType EventException", _BUG),
        **each(prefix, "TemporaryUnavailableException UnhealthyDatabaseException", _LOST),
        **each(prefix, "NoValidDatabaseException InitialHealthCheckFailedError", _LOST),
        **each(prefix, "InvalidTokenSchemaErr", _DENIED),
        **each(prefix, "HttpError", _http),
        **each(prefix, "RedisError ValkeyError", _response_or_lost),
    }


def _response_or_lost(exc: Any) -> Answer:
    """The base class itself, as some code raises it by hand."""
    return by_reply(_text(exc)) or transient(_N, rule="RedisError")


_OTHERS: dict[str, Verdict | Look] = {
    # GLIDE
    **each("glide_shared.exceptions", "ConnectionError ClosingError GlideError", _connection),
    **each("glide_shared.exceptions", "TimeoutError", _TIMED_OUT),
    **each("glide_shared.exceptions", "RequestError", _response),
    **each("glide_shared.exceptions", "ExecAbortError", _CONFLICT),
    **each("glide_shared.exceptions", "ConfigurationError LoggerError RdmaError", _BUG),
    **each("glide_shared.exceptions", "CircuitBreakerError", _LOST),
    **each("glide.*", "ConnectionError ClosingError GlideError", _connection),
    **each("glide.*", "TimeoutError", _TIMED_OUT),
    **each("glide.*", "RequestError", _response),
    **each("glide.*", "ExecAbortError", _CONFLICT),
    **each("glide.*", "ConfigurationError", _BUG),
    # hiredis, Upstash
    **each("hiredis.*", "ReplyError", _response),
    **each("hiredis.*", "ProtocolError HiredisError", transient(_N, rule="protocol")),
    "upstash_redis.errors.UpstashError": _response,
    # Layers above
    "django_redis.exceptions.ConnectionInterrupted": _inside,
    "django_redis.exceptions.CompressorError": permanent(ErrorType.PARSING, rule="compressed"),
    **each("redis_om.*", "NotFoundError", _VALUE),
    **each("redis_om.*", "RedisModelError QueryNotSupportedError QuerySyntaxError SchemaMigrationError", _VALUE),
    # Locks in Redis
    **each("redis_lock", "AlreadyAcquired NotAcquired AlreadyStarted NotExpirable TimeoutNotUsable", _BUG),
    **each("redis_lock", "InvalidTimeout TimeoutTooLarge", _BUG),
    **each("redlock.*", "CannotObtainLock", _LOCKED),
    **each("redlock.*", "MultipleRedlockException", _LOST),
    **each("aioredlock.*", "LockError LockAcquiringError LockRuntimeError", _LOCKED),
    **each("pottery.*", "ExtendUnlockedLock ReleaseUnlockedLock TooManyExtensions", _LOCKED),
    **each("pottery.*", "QuorumNotAchieved QuorumIsImpossible QueueEmptyError", _LOCKED),
    **each("pottery.*", "RandomKeyError InefficientAccessWarning", _BUG),
}

FAMILY = Family(
    name="redis",
    classes={
        **{
            name: answer
            for package in ("redis", "valkey", "aioredis", "coredis", "rediscluster", "yaaredis", "aredis")
            for name, answer in _client(f"{package}.*").items()
        },
        **_OTHERS,
    },
)
