"""A Redis client that fails soon and says where it looked, without saying the password."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celery_recovery.exceptions import StoreUnavailable

__all__ = ("CONNECT_TIMEOUT", "SOCKET_TIMEOUT", "address", "connect", "reachable", "trouble")

#: Seconds to wait for a connection, and for an answer.
CONNECT_TIMEOUT, SOCKET_TIMEOUT = 2.0, 5.0
#: A connection idle for this many seconds is tested before it is used.
HEALTH_CHECK_INTERVAL = 30
#: Address -> calls of this process that failed and were not asked about yet.
_trouble: Counter[str] = Counter()
#: Celery's own spelling of what redis-py calls none, optional, required.
_CERT = re.compile(r"(?<=ssl_cert_reqs=)CERT_(NONE|OPTIONAL|REQUIRED)")


def connect(url: str, **options: Any) -> redis.Redis:
    """A client for `url` (redis://, rediss://, unix://), binary-safe, with a pool of its own. Does not connect yet.

    A lost connection is tried once more at once, which a restarted server needs; beyond that the caller is told.
    Every script may be repeated safely. `options` go to the connection, before those that the URL spells.
    """
    settings: dict[str, Any] = {
        "decode_responses": False,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_keepalive": not url.startswith("unix"),
        "health_check_interval": HEALTH_CHECK_INTERVAL,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **options,
    }
    if url.startswith("unix"):
        del settings["socket_keepalive"]
    return redis.Redis.from_url(_CERT.sub(lambda flag: flag[1].lower(), url), **settings)


def address(client: redis.Redis | redis.RedisCluster) -> str:
    """Where the client connects to, for messages: `"host:port/db"` or a socket's path; never the password."""
    if isinstance(client, redis.RedisCluster):
        node = client.get_default_node()  # type: ignore[no-untyped-call]
        return f"{node.host}:{node.port}, a cluster" if node is not None else "a cluster"
    found = client.connection_pool.connection_kwargs
    database = found.get("db") or 0
    where = found.get("path") or f"{found.get('host', 'localhost')}:{found.get('port', 6379)}"
    return f"{where}/{database}"


@contextmanager
def reachable(client: redis.Redis) -> Iterator[None]:
    """What fails inside because of Redis is raised as `StoreUnavailable`, saying where Redis was looked for.

    What cannot be told to Redis is no fault of Redis, and waiting for it would not help: that is raised as it is.
    """
    try:
        yield
    except redis.DataError:
        raise
    except redis.RedisError as exc:
        _trouble[address(client)] += 1
        raise StoreUnavailable(f"the dead-letter store in Redis at {address(client)} does not answer: {exc}") from exc


def trouble(client: redis.Redis) -> int:
    """Calls of this process to that Redis which failed since this was asked last."""
    return _trouble.pop(address(client), 0) if _trouble else 0
