"""Redis: the client, the one place that spells keys, and the Lua scripts that change what is stored."""

from __future__ import annotations

from celery_recovery.redis.client import address, connect, reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("Keys", "Scripts", "address", "connect", "reachable")
