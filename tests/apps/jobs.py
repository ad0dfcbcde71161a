"""The app that integration tests run in real workers. Every run of a task leaves a line in a ledger in Redis.

Settings beyond the two addresses come as JSON in `JOBS_CONF`; the ledger's address in `JOBS_LEDGER`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from typing import Any

import redis
from celery import Celery, Task, shared_task
from celery.exceptions import Ignore, Reject
from kombu import Exchange, Queue

from celery_recovery import Discard, ErrorType, Quarantine, RecoverableTask, RetryIn, RetryPolicy, Snooze
from celery_recovery.dead_letters import intake
from tests.apps.crashing import arm

#: Quick, but in the shape of the real ones.
QUICK = RetryPolicy(max_attempts=3, base_delay=0.1, max_delay=0.4)

app = Celery(
    "jobs",
    broker=os.environ.get("CELERY_BROKER_URL", "memory://"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://"),
)
app.conf.update(
    recovery_policies=dict.fromkeys((ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.UNKNOWN), QUICK),
    recovery_redis_url=os.environ.get("JOBS_LEDGER"),
    recovery_stats_interval=0.5,
    recovery_publish_timeout=5,
    accept_content=["json", "pickle", "msgpack"],
    result_accept_content=["json", "pickle", "msgpack"],
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
if os.environ.get("JOBS_TOPIC"):
    app.conf.task_queues = [Queue("celery"), Queue("shop.orders", Exchange("shop", type="topic"), "order.#")]
app.conf.update(json.loads(os.environ.get("JOBS_CONF", "{}")))


class Ledger:
    """What really ran, in what order, seen from outside the workers."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, decode_responses=True)

    def note(self, token: str, word: str = "run") -> int:
        """Add a line; returns how many lines the token has now."""
        return int(self.client.rpush(f"ledger:{token}", f"{time.time():.6f} {word}"))

    def lines(self, token: str) -> list[str]:
        return [line.split(" ", 1)[1] for line in self.client.lrange(f"ledger:{token}", 0, -1)]

    def times(self, token: str) -> list[float]:
        return [float(line.split(" ", 1)[0]) for line in self.client.lrange(f"ledger:{token}", 0, -1)]

    def fix(self, token: str) -> None:
        """From now on `broken` works for this token."""
        self.client.set(f"fixed:{token}", 1)

    def fixed(self, token: str) -> bool:
        return bool(self.client.exists(f"fixed:{token}"))


def ledger() -> Ledger:
    return Ledger(os.environ["JOBS_LEDGER"])


def pause(token: str, seconds: float) -> None:
    """So long, or until the ledger says that `token` is fixed: a test need not hurry to be there in between."""
    book, end = ledger(), time.monotonic() + seconds
    while time.monotonic() < end and not book.fixed(token):
        time.sleep(0.02)


class Declined(Exception):
    """The domain's own error, unknown to every rule."""


def fault(kind: str) -> Exception:
    """A fresh exception of one kind."""
    if kind == "network":
        return ConnectionResetError(104, "Connection reset by peer")
    if kind == "validation":
        return ValueError("quantity must be positive, got -3")
    return Declined("order 4711 was declined")


@app.task(base=RecoverableTask)
def fine(token: str, value: Any = None) -> Any:
    ledger().note(token)
    return value


@app.task(base=RecoverableTask)
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task(base=RecoverableTask)
def total(values: list[Any], token: str) -> Any:
    ledger().note(token, f"total {sum(values)}")
    return sum(values)


@app.task(base=RecoverableTask)
def flaky(token: str, failures: int = 1, error: str = "network") -> str:
    """Fails the first `failures` times."""
    if ledger().note(token) <= failures:
        raise fault(error)
    return token


@app.task(base=RecoverableTask, bind=True)
def broken(self: Task, token: str, error: str = "validation", value: Any = None) -> Any:
    """Fails until the ledger says that the world was fixed."""
    ledger().note(token, f"retries={self.request.retries}")
    if not ledger().fixed(token):
        raise fault(error)
    return token if value is None else value


@app.task(base=RecoverableTask, bind=True)
def by_hand(
    self: Task, token: str, countdown: float | None = 0.1, max_retries: int | None = None, **options: Any
) -> str:
    """Celery's own `self.retry()`, until the ledger says fixed."""
    ledger().note(token, f"retries={self.request.retries}")
    try:
        if not ledger().fixed(token):
            raise fault("validation")
    except ValueError as exc:
        raise self.retry(exc=exc, countdown=countdown, max_retries=max_retries, **options) from exc
    return token


@app.task(base=RecoverableTask, bind=True, max_retries=1)
def at_most_twice(self: Task, token: str) -> None:
    ledger().note(token)
    raise fault("network")


@app.task(base=RecoverableTask, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2, "countdown": 0.1})
def auto(token: str) -> str:
    if ledger().note(token) <= 2:
        raise KeyError("sku")
    return token


@app.task(base=RecoverableTask, bind=True)
def controlled(self: Task, token: str, how: str) -> str:
    """Uses each control exception on its first run."""
    if ledger().note(token, f"retries={self.request.retries}") > 1:
        return token
    ends: dict[str, Exception] = {
        "retry_in": RetryIn(0.2),
        "snooze": Snooze(0.2),
        "quarantine": Quarantine("looks like fraud"),
        "review": Quarantine("looks like fraud", review=True),
        "discard": Discard("the order was cancelled"),
        "ignore": Ignore("not today"),
        "reject": Reject("no", requeue=False),
    }
    raise ends[how]


@app.task(base=RecoverableTask, throws=(KeyError,))
def expecting(token: str) -> None:
    ledger().note(token)
    raise KeyError("nothing unusual")


@app.task(name="jobs.plain")
def plain(token: str) -> None:
    """Not on our base: watched, nothing more."""
    ledger().note(token)
    raise fault("network")


@shared_task(base=RecoverableTask, name="jobs.shared")
def shared(token: str) -> str:
    if ledger().note(token) <= 1:
        raise fault("network")
    return token


class Importer(RecoverableTask):
    """A class-based task."""

    name = "jobs.importer"

    def run(self, token: str) -> str:
        if ledger().note(token) <= 1:
            raise fault("network")
        return token


importer = app.register_task(Importer())


class InContext(RecoverableTask):
    """As web frameworks' documentation has it: `__call__` that never calls the base class's."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(KeyError):
            return self.run(*args, **kwargs)
        return "suppressed"


@app.task(base=InContext)
def in_context(token: str, failures: int) -> str:
    if ledger().note(token) <= failures:
        raise fault("network")
    return token


class Prepared(RecoverableTask):
    """Fails before its body, once."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if ledger().note(args[0], "before") == 1:
            raise fault("network")


@app.task(base=Prepared)
def prepared(token: str) -> str:
    ledger().note(token)
    return token


class PlainContext(Task):
    """A base class of the user's that knows nothing of us."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


class Mixed(PlainContext, RecoverableTask):
    """Theirs in front of ours."""

    abstract = True


@app.task(base=Mixed)
def mixed(token: str, failures: int) -> str:
    if ledger().note(token) <= failures:
        raise fault("network")
    return token


class PreparedTwice(Prepared):
    """Calls on to the hook of its base class, then fails itself, once."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        super().before_start(task_id, args, kwargs)
        if ledger().note(args[0], "outer") == 3:
            raise fault("network")


@app.task(base=PreparedTwice)
def prepared_twice(token: str) -> str:
    ledger().note(token)
    return token


@app.task(base=RecoverableTask)
def leaving(token: str) -> None:
    """In a thread this ends no process."""
    ledger().note(token)
    raise SystemExit(3)


@app.task(base=RecoverableTask)
def cancelled(token: str) -> None:
    """What a cancelled coroutine leaves behind is no Exception."""
    ledger().note(token)
    raise asyncio.CancelledError


@app.task(base=RecoverableTask)
def noted_error(request: Any, exc: Any, traceback: Any, token: str = "") -> None:
    """An errback."""
    ledger().note(token, f"errback {type(exc).__name__}")


class Seconds:
    """A duration that pickle can write and JSON cannot."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@app.task(base=RecoverableTask)
def flaky_slowly(token: str, seconds: float | Seconds) -> None:
    """Fails once, after a while."""
    if ledger().note(token) == 1:
        pause(token, seconds.seconds if isinstance(seconds, Seconds) else seconds)
        raise fault("network")


@app.task(base=RecoverableTask, bind=True)
def slow(self: Task, token: str, seconds: float) -> str:
    ledger().note(token, f"retries={self.request.retries}")
    pause(token, seconds)
    return token


if os.environ.get("JOBS_VISIBILITY"):
    intake.VISIBILITY_TIMEOUT = int(os.environ["JOBS_VISIBILITY"])
if os.environ.get("JOBS_CRASH"):
    arm(os.environ["JOBS_CRASH"], os.environ["JOBS_LEDGER"])
