"""What may interrupt a body, and what may not interrupt us after it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from billiard import common
from billiard.process import current_process
from celery.exceptions import WorkerShutdown, WorkerTerminate

__all__ = ("ends_more_than_the_task", "is_pools_time_limit", "undisturbed")


def ends_more_than_the_task(exc: BaseException) -> bool:
    """Whether it ends the process, the generator or the greenlet it is raised in, and has to go on.

    `SystemExit` and `KeyboardInterrupt` end a pool's child only where its own signal handler raised them: what a body
    raises itself (`sys.exit()`) is a failure like any other, and need not cost the process.
    """
    if isinstance(exc, GeneratorExit) or type(exc).__name__ == "GreenletExit":
        return True
    if _is_terminated():
        return True
    if isinstance(exc, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread() and not _in_pool_child()
    return isinstance(exc, (WorkerShutdown, WorkerTerminate))


def is_pools_time_limit(exc: BaseException, *limits: float | None) -> bool:
    """Whether it is gevent's hard time limit, which its pool raises in the body and waits for outside."""
    return type(exc).__module__ == "gevent.timeout" and getattr(exc, "seconds", None) in [n for n in limits if n]


def _is_terminated() -> bool:
    """The pool has told this child to end: whatever comes up now is the ending."""
    return bool(common._should_have_exited[0])  # noqa: SLF001  # `terminate_handler_fired()` came with billiard 4.3


def _in_pool_child() -> bool:
    return bool(current_process()._name != "MainProcess")  # noqa: SLF001  # as Celery itself asks


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Celery's soft time limit (SIGUSR1) away: the body has ended, and what is left must be done in one piece."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGUSR1"):
        yield
        return
    handler = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL if handler is None else handler)
