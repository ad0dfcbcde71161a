"""Processes, executors, event loops, locks, breakers; and Celery's own exceptions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import queue
import subprocess
import threading

import billiard.exceptions
import celery.exceptions
import pytest
import tenacity
from celery.utils.serialization import UnpickleableExceptionWrapper

from celery_recovery.errors import classify
from tests.unit.errors.lookalike import lookalike


def _said(exc: BaseException) -> tuple[str, bool]:
    info = classify(exc)
    return info.error_type.value, info.is_retryable


def _caught(call) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value


# --- children --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "retryable"),
    [
        ("exit 3", "exit 3", False),
        ("exit 75", "exit 75", True),
        ("exit 127", "exit 127", False),
        ("kill -9 $$", "signal 9", True),
        ("kill -15 $$", "signal 15", True),
        ("kill -6 $$", "signal 6", False),
        ("exit 137", "signal 9", True),
    ],
)
def test_a_child_by_how_it_ended(command, code, retryable):
    """Killed from outside passes; an exit status is the program's own word, EX_TEMPFAIL included; a crash stays."""
    info = classify(_caught(lambda: subprocess.run(["/bin/sh", "-c", command], check=True)))
    assert (info.error_type.value, info.error_code, info.is_retryable) == ("system", code, retryable)


def test_a_child_that_takes_too_long():
    """A time limit on a child is transient."""
    exc = _caught(lambda: subprocess.run(["/bin/sleep", "5"], timeout=0.05, check=True))
    assert _said(exc) == ("system", True)


def test_a_program_that_is_not_there():
    """Nothing was started."""
    assert _said(_caught(lambda: subprocess.run(["/nonexistent/program"], check=True))) == ("filesystem", False)


# --- executors, queues, event loops ----------------------------------------------------------------------------------


def _wait_in_vain() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        try:
            pool.submit(gate.wait).result(timeout=0.01)
        finally:
            gate.set()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (_wait_in_vain, {("network", True), ("system", True)}),
        (lambda: queue.Queue().get_nowait(), {("system", True)}),
        (lambda: queue.SimpleQueue().get_nowait(), {("system", True)}),
        (lambda: asyncio.run(asyncio.wait_for(asyncio.sleep(5), 0.01)), {("network", True)}),
        (lambda: asyncio.run(_cut_stream()), {("network", True)}),
        (lambda: asyncio.run(_cancelled()), {("system", True)}),
        (lambda: asyncio.Queue(1).get_nowait(), {("system", True)}),
        (lambda: concurrent.futures.Future().set_result(1) or _twice(), {("unknown", False)}),
    ],
)
def test_concurrency_of_the_standard_library(call, expected):
    """What was waited for in vain may come; misuse does not pass."""
    assert _said(_caught(call)) in expected


def _twice() -> None:
    future: concurrent.futures.Future = concurrent.futures.Future()
    future.set_result(1)
    future.set_result(2)


async def _cut_stream() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"abc")
    reader.feed_eof()
    await reader.readexactly(10)


async def _cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("concurrent.futures.process.BrokenProcessPool", ("system", True)),
        ("pebble.common.types.ProcessExpired", ("system", True)),
        ("anyio.BrokenResourceError", ("network", True)),
        ("anyio._core._exceptions.WouldBlock", ("system", True)),
        ("trio.TooSlowError", ("network", True)),
        ("gevent.timeout.Timeout", ("system", True)),
        ("eventlet.timeout.Timeout", ("system", True)),
        ("async_timeout.TimeoutError", ("network", True)),
        ("filelock._error.Timeout", ("system", True)),
        ("portalocker.exceptions.AlreadyLocked", ("system", True)),
        ("sh.TimeoutException", ("system", True)),
        ("psutil.NoSuchProcess", ("system", False)),
    ],
)
def test_libraries_by_class(path, expected):
    """Pools, loops and locks of other libraries."""
    assert _said(lookalike(path)("x")) == expected


def test_multiprocessing():
    """Its TimeoutError is none of Python's."""
    assert _said(multiprocessing.TimeoutError()) == ("system", True)
    assert _said(multiprocessing.AuthenticationError()) == ("system", False)


# --- retries, breakers, limiters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"), [(ConnectionResetError(), ("network", True)), (ValueError(), ("validation", False))]
)
def test_what_tenacity_gave_up_on_counts(error, expected):
    """RetryError is what the last attempt failed with."""

    @tenacity.retry(stop=tenacity.stop_after_attempt(2))
    def call() -> None:
        raise error

    assert _said(_caught(call)) == expected


def test_a_result_that_was_never_right():
    """Without an exception inside, tenacity's own word stands."""

    @tenacity.retry(stop=tenacity.stop_after_attempt(2), retry=tenacity.retry_if_result(lambda result: result is None))
    def call() -> None:
        return None

    assert _said(_caught(call)) == ("system", True)


def test_retrying_keeps_a_triple():
    """The older library keeps `sys.exc_info()`."""
    attempt = type("Attempt", (), {"value": (ValueError, ValueError("x"), None)})()
    assert _said(lookalike("retrying.RetryError", last_attempt=attempt)()) == ("validation", False)


@pytest.mark.parametrize(
    ("path", "attributes", "wait"),
    [
        ("pybreaker.CircuitBreakerError", {}, None),
        ("circuitbreaker.CircuitBreakerError", {"_circuit_breaker": type("B", (), {"open_remaining": 12.5})()}, 12.5),
        ("aiobreaker.state.CircuitBreakerError", {"time_remaining": 7}, 7.0),
        ("purgatory.domain.model.OpenedState", {}, None),
        ("ratelimit.exception.RateLimitException", {"period_remaining": 3.5}, 3.5),
        ("pyrate_limiter.exceptions.BucketFullException", {"meta_info": {"remaining_time": 4}}, 4.0),
    ],
)
def test_breakers_and_limiters_pass_and_may_say_when(path, attributes, wait):
    """An open circuit closes, a full bucket drains."""
    info = classify(lookalike(path, **attributes)("x"))
    assert (info.error_type.value, info.is_retryable, info.retry_after) == ("system", True, wait)


# --- Celery ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (billiard.exceptions.SoftTimeLimitExceeded(), ("system", True)),
        (billiard.exceptions.TimeLimitExceeded(3), ("system", True)),
        (billiard.exceptions.WorkerLostError("signal 9"), ("system", True)),
        (billiard.exceptions.Terminated(15), ("system", True)),
        (celery.exceptions.NotRegistered("shop.charge"), ("system", False)),
        (celery.exceptions.QueueNotFound("q"), ("system", False)),
        (celery.exceptions.ImproperlyConfigured("x"), ("system", False)),
        (celery.exceptions.InvalidTaskError("x"), ("validation", False)),
        (celery.exceptions.TimeoutError("x"), ("system", True)),
        (celery.exceptions.IncompleteStream(), ("system", True)),
        (celery.exceptions.BackendStoreError("x"), ("system", True)),
        (celery.exceptions.TaskRevokedError(), ("system", False)),
        (celery.exceptions.ChordError("x"), ("system", False)),
        (celery.exceptions.MaxRetriesExceededError("x"), ("system", False)),
        (celery.exceptions.Retry(exc=ConnectionResetError()), ("network", True)),
        (celery.exceptions.Retry(), ("system", True)),
        (celery.exceptions.WorkerShutdown(), ("system", True)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_celery(exc, expected):
    """Celery's and billiard's own."""
    assert _said(exc) == expected


def test_every_exception_of_celery_is_known():
    """None is left to its name or to chance."""
    left = [
        name
        for name in celery.exceptions.__all__
        if isinstance(cls := getattr(celery.exceptions, name), type)
        and not issubclass(cls, Warning)
        and cls.__module__ == "celery.exceptions"
        and not name.endswith("Exception")
        and not classify(cls.__new__(cls)).rule.startswith("processes.")
    ]
    assert not left


def test_what_could_not_be_pickled_is_judged_by_the_names_it_bears():
    """Celery sends module and class of such an exception."""
    exc = UnpickleableExceptionWrapper("requests.exceptions", "ReadTimeout", ["x"], text="x")
    assert _said(exc) == ("network", True)
