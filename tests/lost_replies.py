"""A connection that is lost, when told to, between a command's execution and its reply: what Redis did, it has done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from celery_recovery.redis import connect

__all__ = ("connect_losing", "lost_reply")


class _Losing(redis.Connection):
    """Reads the next reply, and hands on the error of a lost connection in its place."""

    losing = False

    def read_response(self, *args: Any, **options: Any) -> Any:
        reply = super().read_response(*args, **options)
        if _Losing.losing:
            _Losing.losing = False
            self.disconnect()
            raise redis.ConnectionError("Connection closed by server.")
        return reply


def connect_losing(url: str) -> redis.Redis:
    """As `connect`, over connections that `lost_reply` can cut."""
    return connect(url, connection_class=_Losing)


@contextmanager
def lost_reply() -> Iterator[None]:
    """The next reply inside is lost; whoever waits for it finds the connection closed."""
    _Losing.losing = True
    yield
    assert not _Losing.losing, "nothing was asked"
