"""Caches and data grids: memcached (pymemcache, pylibmc, aiomcache), dogpile, Hazelcast, Ignite."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Answer, Family, Look, Verdict, each, permanent, transient

__all__ = ("FAMILY",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _P, _M = ErrorType.SCHEMA, ErrorType.PARSING, ErrorType.MEMORY

_LOST = transient(_N, rule="connection")
_SERVER = transient(_N, rule="server")
_BUSY = transient(_S, rule="busy")
_CONFLICT = transient(_S, rule="conflict")
_MEMORY = transient(_M, rule="memory", severity=ErrorSeverity.HIGH)
_DENIED = permanent(_N, rule="denied", severity=ErrorSeverity.HIGH)
_VALUE = permanent(_V, rule="value")
_BUG = permanent(_S, rule="misuse")
_QUERY = permanent(_C, rule="query")
_UNREADABLE = permanent(_P, rule="unreadable")


def _memcached_server(exc: Any) -> Answer:
    """`SERVER_ERROR <text>` (memcached's protocol.txt): the text tells out of memory and too large values apart."""
    first = exc.args[0] if exc.args else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    if "too large" in text:
        return _VALUE
    return _MEMORY if "out of memory" in text else _SERVER


def _pylibmc(exc: Any) -> Answer:
    """The base class of pylibmc: the text is libmemcached's."""
    text = str(exc.args[0]).lower() if exc.args else ""
    if "too big" in text or "too large" in text or "bad key" in text:
        return _VALUE
    return _MEMORY if "memory allocation" in text else _LOST


_MEMCACHED: dict[str, Verdict | Look] = {
    **each("pymemcache.exceptions", "MemcacheServerError", _memcached_server),
    **each("pymemcache.exceptions", "MemcacheUnexpectedCloseError", _LOST),
    **each("pymemcache.exceptions", "MemcacheClientError MemcacheIllegalInputError", _VALUE),
    **each("pymemcache.exceptions", "MemcacheUnknownCommandError", _QUERY),
    **each("pymemcache.exceptions", "MemcacheUnknownError MemcacheError", _SERVER),
    **each("pylibmc.*", "Error SomeErrors Failure", _pylibmc),
    **{
        name: answer
        for package in ("pylibmc", "_pylibmc")
        for name, answer in {
            **each(package, "ConnectionError ConnectionBindError HostLookupError ReadError WriteError", _LOST),
            **each(package, "ServerDead ServerDown ServerError NoServers UnixSocketError SocketCreateError", _LOST),
            **each(package, "UnknownReadFailure ProtocolError FetchNotFinished", _LOST),
            **each(package, "AllocationError", _MEMORY),
            **each(package, "BadKeyProvided TooBig ClientError DataDoesNotExist DataExists NotFound CacheMiss", _VALUE),
            **each(package, "NotSupportedError InvalidHostProtocolError UnknownStatKey", _BUG),
            **each(package, "Error SomeErrors Failure", _pylibmc),
        }.items()
    },
    "aiomcache.exceptions.ClientException": _memcached_server,
    "aiomcache.exceptions.ValidationException": _VALUE,
    **each("memcache", "MemcachedKeyError MemcachedKeyNoneError MemcachedKeyTypeError", _VALUE),
    **each("memcache", "MemcachedKeyLengthError MemcachedKeyCharacterError MemcachedStringEncodingError", _VALUE),
    **each("memcache.*", "MemcachedKeyError", _VALUE),
    **each("memcache.*", "_ConnectionDeadError _Error", _LOST),
    **each("bmemcached.exceptions", "MemcachedException AuthenticationNotSupported InvalidCredentials", _DENIED),
    **each("django.core.cache.backends.base", "InvalidCacheBackendError", _BUG),
    **each("django.core.cache.backends.base", "InvalidCacheKey", _VALUE),
    **each("dogpile.*", "CantDeserializeException", _UNREADABLE),
    **each("dogpile.*", "RegionNotConfigured RegionAlreadyConfigured PluginNotFound ValidationError", _BUG),
    **each("dogpile.*", "NeedRegenerationException LockError", _BUSY),
    **each("aiocache.*", "OptimisticLockError", _CONFLICT),
    **each("aiocache.*", "InvalidCacheType", _BUG),
}

_HAZELCAST: dict[str, Verdict | Look] = {
    **each("hazelcast.errors", "HazelcastError TargetDisconnectedError TargetNotMemberError MemberLeftError", _LOST),
    **each("hazelcast.errors", "HazelcastIOError HazelcastEOFError SocketError RetryableIOError", _LOST),
    **each("hazelcast.errors", "RetryableHazelcastError ClientOfflineError HazelcastTimeoutError", _LOST),
    **each("hazelcast.errors", "OperationTimeoutError HazelcastInstanceNotActiveError CallerNotMemberError", _LOST),
    **each("hazelcast.errors", "PartitionMigratingError WrongTargetError TargetNotReplicaError NotLeaderError", _LOST),
    **each("hazelcast.errors", "LeaderDemotedError StaleAppendRequestError CannotReplicateError", _LOST),
    **each("hazelcast.errors", "NoDataMemberInClusterError SplitBrainProtectionError ConsistencyLostError", _LOST),
    **each("hazelcast.errors", "HazelcastOverloadError RejectedExecutionError TopicOverloadError", _BUSY),
    **each("hazelcast.errors", "WANReplicationQueueFullError ReachedMaxSizeError LockAcquireLimitReachedError", _BUSY),
    **each("hazelcast.errors", "HazelcastInterruptedError IndeterminateOperationStateError", _BUSY),
    **each("hazelcast.errors", "SessionExpiredError WaitKeyCancelledError LockOwnershipLostError", _BUSY),
    **each("hazelcast.errors", "TransactionError TransactionTimedOutError ConcurrentModificationError", _CONFLICT),
    **each("hazelcast.errors", "StaleSequenceError StaleTaskError MutationDisallowedError", _CONFLICT),
    **each("hazelcast.errors", "OutOfMemoryError NativeOutOfMemoryError", _MEMORY),
    **each("hazelcast.errors", "AuthenticationError AccessControlError SecurityError LoginError", _DENIED),
    **each("hazelcast.errors", "ClientNotAllowedInClusterError HazelcastCertificationError", _DENIED),
    **each("hazelcast.errors", "IllegalArgumentError NullPointerError ClassCastError QueryError", _VALUE),
    **each("hazelcast.errors", "IndexOutOfBoundsError NoSuchElementError DuplicateTaskError", _VALUE),
    **each("hazelcast.errors", "HazelcastSerializationError NotSerializableError UTFDataFormatError", _UNREADABLE),
    **each("hazelcast.errors", "IllegalStateError IllegalMonitorStateError UnsupportedOperationError", _BUG),
    **each("hazelcast.errors", "HazelcastClientNotActiveError ConfigurationError InvalidConfigurationError", _BUG),
    **each("hazelcast.errors", "ConfigMismatchError ClassNotFoundError ServiceNotFoundError", _BUG),
    "hazelcast.sql.HazelcastSqlError": _QUERY,
    **each("pyignite.exceptions", "ReconnectError ClusterError HandshakeError", _LOST),
    "pyignite.exceptions.AuthenticationError": _DENIED,
    **each("pyignite.exceptions", "ParameterError ParseError BinaryTypeError", _VALUE),
    **each("pyignite.exceptions", "SQLError CacheError CacheCreationError NotSupportedError", _QUERY),
    "pyignite.exceptions.NotSupportedByClusterError": _QUERY,
}

FAMILY = Family(name="caches", classes={**_MEMCACHED, **_HAZELCAST})
