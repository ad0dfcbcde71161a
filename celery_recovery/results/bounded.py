"""A result backend that answers soon, or fails soon.

Celery's own patience sits in four places: `retry_policy` (20 tries a second apart for one SET), the sockets' timeouts
(120 s for Redis), redis-py's retries, and `result_backend_always_retry` (for ever). Waiting is the `Keeper`'s business,
so it works with a twin of the backend that has none of that patience.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ("CONNECT_TIMEOUT", "bounded")

#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 2.0
_ATTRIBUTE = "_celery_recovery_bounded"
#: What the Redis backend makes once, of its connection parameters.
_MADE = ("client", "_chord_part_return_script", "_chord_cleanup_script", "_chord_claim_extend_script")


def bounded(backend: Any, timeout: float) -> Any:
    """The twin of `backend` that waits at most `timeout` seconds for one answer; the same one every time.

    It shares everything with the original (cache, pending results, sessions), but for patience and connections.
    """
    twins: dict[float, Any] = backend.__dict__.setdefault(_ATTRIBUTE, {})
    if timeout not in twins:
        twins[timeout] = _twin(backend, timeout)
    return twins[timeout]


def _twin(backend: Any, timeout: float) -> Any:
    twin = object.__new__(type(backend))  # its `__reduce__` would make a new one of the current app
    twin.__dict__.update(backend.__dict__)
    twin.always_retry = False
    if isinstance(getattr(backend, "retry_policy", None), dict):
        twin.retry_policy = {**backend.retry_policy, "max_retries": 0}
    if isinstance(getattr(backend, "connparams", None), dict):
        twin.connparams = _hurried(backend.connparams, timeout)
        for name in _MADE:
            twin.__dict__.pop(name, None)
    return twin


def _hurried(connparams: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Connection parameters of redis-py; what the user set shorter stays.

    A connection lost while it was idle is tried once more at once: a restarted server has dropped them all.
    """
    own = {
        "socket_timeout": min(connparams.get("socket_timeout") or timeout, timeout),
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    if "path" not in connparams:
        own["socket_connect_timeout"] = min(connparams.get("socket_connect_timeout") or timeout, CONNECT_TIMEOUT)
    return {**connparams, **own}
