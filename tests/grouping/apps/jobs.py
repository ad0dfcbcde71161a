"""What stands between a job and the code it calls: decorators for seams, and ways to run a whole job.

Copied into every installed application as its module `jobs`.
"""

import asyncio
import contextlib
import functools
import time
from concurrent.futures import ThreadPoolExecutor

import tenacity


class ServiceFailed(Exception):
    pass


class JobFailed(Exception):
    pass


class GaveUp(RuntimeError):
    pass


# Decorators for seams


def timed(fn):
    def timed_call(*args, **kwargs):
        start = time.perf_counter()
        try:
            return fn(*args, **kwargs)
        finally:
            time.perf_counter() - start

    return timed_call


def logged(label):
    def decorate(function):
        @functools.wraps(function)
        def with_log_lines(*args, **kwargs):
            return function(*args, **kwargs)

        with_log_lines.label = label
        return with_log_lines

    return decorate


class Guarded:
    def __init__(self, target):
        functools.update_wrapper(self, target)
        self.target = target

    def __call__(self, *args, **kwargs):
        return self.target(*args, **kwargs)


@contextlib.contextmanager
def span(name):
    started = time.monotonic()
    try:
        yield name
    finally:
        time.monotonic() - started


def spanned(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        with span(fn.__name__):
            return fn(*args, **kwargs)

    return wrapper


def translated(fn):
    @functools.wraps(fn)
    def inner(*args, **kwargs):
        try:
            return fn(*args, **kwargs)
        except Exception as exc:
            raise ServiceFailed(f"{fn.__name__} failed: {exc}") from exc

    return inner


retried = tenacity.retry(stop=tenacity.stop_after_attempt(2))
retried_openly = tenacity.retry(stop=tenacity.stop_after_attempt(2), reraise=True)


def persistent(fn):
    @functools.wraps(fn)
    def try_again_and_again(*args, **kwargs):
        last = None
        for _ in range(3):
            try:
                return fn(*args, **kwargs)
            except Exception as exc:  # noqa: BLE001
                last = exc
        raise GaveUp(f"{fn.__name__}: gave up after 3 attempts") from last

    return try_again_and_again


# Ways to run a job


def plainly(job, args):
    return job(*args)


def run_job(job, args):
    return _execute(job, *args)


def _execute(job, *args):
    return job(*args)


def checked(job, args):
    try:
        return job(*args)
    except Exception as exc:
        raise JobFailed(f"job {job.__name__} failed") from exc


def grouped(job, args):
    try:
        return job(*args)
    except Exception as exc:  # noqa: BLE001
        raise ExceptionGroup("unhandled errors of a batch", [exc]) from None  # noqa: F821


def in_thread(job, args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(job, *args).result()


def in_loop(job, args):
    return asyncio.run(_in_loop(job, args))


async def _in_loop(job, args):
    return await asyncio.get_running_loop().run_in_executor(None, job, *args)


class Dispatcher:
    def __init__(self):
        self.handlers = {}

    def on(self, event, handler):
        self.handlers[event] = handler

    def emit(self, event, *args):
        return self.handlers[event](*args)


def dispatched(job, args):
    dispatcher = Dispatcher()
    dispatcher.on("due", job)
    return dispatcher.emit("due", *args)
