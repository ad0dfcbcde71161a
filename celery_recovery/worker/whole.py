"""A frame of AMQP is read, or written, in one piece: Celery's cold shutdown talks to RabbitMQ from a signal's handler.

The handler cancels the consumer, waits for the answer and acknowledges what ends meanwhile, wherever it has interrupted
the main thread. In the middle of a frame that mixes two frames up, or waits for a lock that its own thread holds, and
the worker never ends. There the handler gets a connection error instead, which Celery expects and passes over: messages
that come after it are not acknowledged, and the broker delivers them again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from amqp.exceptions import RecoverableConnectionError
from celery.utils import log

__all__ = ("keep_whole",)


def keep_whole(connection: Any) -> None:
    """Take care of one connection of py-amqp; others are left alone."""
    if not hasattr(connection, "blocking_read") or isinstance(connection.blocking_read, _Whole):
        return
    connection.blocking_read = _Whole(connection.blocking_read, nests=True)
    connection.frame_writer = _Whole(connection.frame_writer, nests=False)


class _Whole:
    """Reading, or writing, which no signal's handler may begin where it has interrupted the same."""

    def __init__(self, call: Callable[..., Any], *, nests: bool) -> None:
        self._call = call
        #: Whether it may come again inside itself: what is read may be a message whose consumer waits for an answer.
        self._nests = nests
        self._depth = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():  # where no handler runs
            return self._call(*args, **kwargs)
        if self._depth and (log._in_sighandler or not self._nests):  # noqa: SLF001  # Celery has no public word for it
            raise RecoverableConnectionError("a signal came in the middle of a frame")
        self._depth += 1
        try:
            return self._call(*args, **kwargs)
        finally:
            self._depth -= 1
