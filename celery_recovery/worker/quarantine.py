"""The line in which refused messages wait until they are kept: each published with confirm, then acknowledged.

It has a thread and connections of its own, so that a broker that does not confirm never holds up the worker's consumer.
A message is unacknowledged for as long as it stands here; what is lost with the process comes back from its queue.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ("Line",)

logger = logging.getLogger("celery_recovery")

#: Seconds between two tries for something that could not be kept: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
T = TypeVar("T")


class Line(Generic[T]):
    """Does `work` with one thing after the other, in a daemon thread that is started by the first.

    `work` answers whether it is done; what is not goes to the end of the line and is tried again after a pause. With
    `longest`, what would make the line longer is refused.
    """

    def __init__(self, name: str, work: Callable[[T], bool], *, longest: int | None = None) -> None:
        self.name = name
        self._work = work
        self._longest = longest
        self._waiting: deque[T] = deque()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._at_work = 0
        self._stuck = threading.Event()

    def put(self, thing: T) -> bool:
        """Stand in line; False when it is full."""
        with self._news:
            if self._longest is not None and len(self._waiting) >= self._longest:
                return False
            self._waiting.append(thing)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._news.notify_all()
        return True

    def wait_empty(self, timeout: float) -> bool:
        """Whether all are done within `timeout` seconds; at once False when something has just failed."""
        with self._news:
            self._news.wait_for(lambda: self._stuck.is_set() or not (self._waiting or self._at_work), timeout)
            return not (self._waiting or self._at_work)

    def clear(self) -> None:
        """Forget those that wait; what is being worked on is finished."""
        with self._news:
            self._waiting.clear()
            self._stuck.clear()
            self._news.notify_all()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                thing = self._waiting.popleft()
                self._at_work = 1
            done = self._done(thing)
            with self._news:
                self._at_work = 0
                if not done:
                    self._waiting.append(thing)
                    self._stuck.set()
                self._news.notify_all()
                if not done:
                    self._news.wait_for(lambda: not self._stuck.is_set(), pause)
                    self._stuck.clear()
            pause = FIRST_PAUSE if done else min(pause * 2, LONGEST_PAUSE)

    def _done(self, thing: T) -> bool:
        try:
            return self._work(thing)
        except Exception:  # the line must outlive anything; the message is still in its queue
            logger.exception("a refused message could not be kept; it is tried again", extra={"action": "letter_waits"})
            return False
