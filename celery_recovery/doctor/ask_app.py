"""Reading an application: its tasks with what they inherit, its queues, its routes, its result backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from celery import Celery, Task
from kombu import Queue
from kombu.common import Broadcast

from celery_recovery.backoff import Jitter, raw_delay
from celery_recovery.doctor.ask_redis import reason
from celery_recovery.doctor.facts import QueueFacts, TaskFacts
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.policy import RecoveryPolicy, RetryPolicy

__all__ = ("caches", "imported", "is_recoverable", "queues", "result_backend", "routes", "tasks")

#: Attempts after which no backoff that has an end grows any more.
_MANY = 64
_REDIS_BACKENDS = ("RedisBackend", "SentinelBackend", "RedisClusterBackend")


def imported(app: Celery) -> str | None:
    """Import all that a worker of this app would; returns what went wrong, or None."""
    try:
        app.finalize(auto=True)
        app.loader.import_default_modules()
    except Exception as exc:  # noqa: BLE001  # a module of the user's may fail in any way while it is imported
        return f"{type(exc).__name__}: {reason(exc)}"
    return None


def is_recoverable(task: Any) -> bool:
    """It is on our base class."""
    return hasattr(task, "recovery_on_dead_letter")


def tasks(app: Celery, policies_of: Callable[[Task], RecoveryPolicy]) -> tuple[TaskFacts, ...]:
    """The app's own tasks, by name; Celery's are left out."""
    own = sorted(name for name in app.tasks if not name.startswith(("celery.", "celery_recovery.")))
    return tuple(_task(app.tasks[name], policies_of) for name in own)


def _task(task: Any, policies_of: Callable[[Task], RecoveryPolicy]) -> TaskFacts:
    recoverable = is_recoverable(task)
    expires = getattr(task, "expires", None)
    return TaskFacts(
        name=task.name,
        recoverable=recoverable,
        acks_late=bool(task.acks_late),
        acks_on_failure=_acks_on(task, "failure"),
        acks_on_timeout=_acks_on(task, "timeout"),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        retry_on_worker_lost=bool(getattr(task, "retry_on_worker_lost", False)),
        time_limit=float(task.time_limit or task.app.conf.task_time_limit or 0) or None,  # Celery 5.6 inherits it late
        longest_delay=_longest_delay(task, policies_of(task)) if recoverable else 0.0,
        ignore_result=bool(task.ignore_result),
        serializer=task.serializer,
        expires=None if expires is None else str(expires),
    )


def _acks_on(task: Any, end: str) -> bool:
    """Celery 5.6 has one option for both ends."""
    own = getattr(task, f"acks_on_{end}", None)
    return (task.acks_on_failure_or_timeout if own is None else own) is not False


def _longest_delay(task: Any, policy: RecoveryPolicy) -> float:
    """Seconds that the policies of a task let a retry wait at most; a Retry-After of a server can be longer."""
    own = task.max_retries != Task.max_retries
    delay = 0.0 if task.default_retry_delay == Task.default_retry_delay else float(task.default_retry_delay)
    for info in _every_kind(policy):
        retry = policy.course(None, info).retry
        attempts = retry.max_attempts
        if own and attempts is not None and attempts > 1:
            attempts = None if task.max_retries is None else max(attempts, int(task.max_retries) + 1)
        delay = max(delay, _longest_of(retry, attempts))
    return delay


def _every_kind(policy: RecoveryPolicy) -> Iterator[ErrorInfo]:
    """A failure of each error type, and of each class that a policy names."""
    classes = {name for layer in policy._layers for name in layer.classes}  # noqa: SLF001  # pure records of ours
    for error_type in ErrorType:
        for exception in ("builtins.Exception", *sorted(classes)):
            yield ErrorInfo(
                error_type=error_type, is_retryable=True, severity=ErrorSeverity.LOW, rule="doctor", exception=exception
            )


def _longest_of(retry: RetryPolicy, attempts: int | None) -> float:
    if attempts == 1:
        return 0.0
    if attempts is None or attempts > _MANY or retry.jitter is Jitter.DECORRELATED:
        return retry.max_delay
    return max(raw_delay(retry.backoff, n, retry.base_delay, retry.max_delay) for n in range(1, attempts))


def queues(app: Celery, extra: Iterable[str] = ()) -> tuple[QueueFacts, ...]:
    """The queues that the app lists, and those of `extra` that it would make. Broadcasts are no queues for tasks."""
    listed = app.amqp.Queues(app.conf.task_queues).consume_from  # Celery 5.6 adds to its own what is only routed to
    consumed = set(listed)
    known: dict[str, Queue] = {**listed}
    known |= {name: app.amqp.queues[name] for name in extra if name in app.amqp.queues}
    return tuple(
        _queue(queue, consumed=name in consumed) for name, queue in sorted(known.items()) if _is_for_tasks(queue)
    )


def _is_for_tasks(queue: Queue) -> bool:
    return not isinstance(queue, Broadcast)


def _queue(queue: Queue, *, consumed: bool) -> QueueFacts:
    arguments: Mapping[str, Any] = queue.queue_arguments or {}
    exchange = queue.exchange
    length = queue.max_length or queue.max_length_bytes
    return QueueFacts(
        name=queue.name,
        consumed=consumed,
        durable=queue.durable is not False,
        auto_delete=bool(queue.auto_delete),
        exclusive=bool(queue.exclusive),
        no_ack=bool(queue.no_ack),
        expires=_seconds(queue.expires, arguments.get("x-expires")),
        message_ttl=_seconds(queue.message_ttl, arguments.get("x-message-ttl")),
        max_length=length or arguments.get("x-max-length") or arguments.get("x-max-length-bytes"),
        rejects_when_full=str(arguments.get("x-overflow", "")).startswith("reject-publish"),
        quorum=arguments.get("x-queue-type") == "quorum",
        delivery_limit=arguments.get("x-delivery-limit"),
        dead_letter_exchange="x-dead-letter-exchange" in arguments,
        exchange_type=str(exchange.type or "direct"),
        delivery_mode=exchange.delivery_mode,
        consumer_timeout=_seconds(None, arguments.get("x-consumer-timeout")),
    )


def _seconds(seconds: Any, milliseconds: Any) -> float | None:
    """Kombu's own arguments are seconds, the broker's milliseconds."""
    if seconds is not None:
        return float(seconds)
    return None if milliseconds is None else float(milliseconds) / 1000


def routes(app: Celery, names: Iterable[str]) -> dict[str, str]:
    """Task -> queue, as `delay()` without options would choose; what a router of the user's refuses is left out."""
    found = {}
    for name in names:
        task = app.tasks[name]
        options = {key: value for key, value in task._get_exec_options().items() if value is not None}  # noqa: SLF001
        try:
            queue = app.amqp.router.route(options, name, (), {}, task).get("queue")
        except Exception:  # noqa: BLE001, S112  # a router may need real arguments
            continue
        if queue is not None:
            found[name] = str(getattr(queue, "name", queue))
    return found


def result_backend(app: Celery) -> tuple[str | None, float | None]:
    """Its kind (`redis`, `rpc`, `disabled`, …; None: it cannot be loaded), and the seconds that results are kept."""
    try:
        backend = app.backend
    except Exception:  # noqa: BLE001  # a URL or a library that is not there
        return None, None
    kind = type(backend).__name__
    name = "redis" if kind in _REDIS_BACKENDS else kind.removesuffix("Backend").lower()
    if str(app.conf.result_backend).startswith("cache+memory"):
        name = "memory"
    return name, float(backend.expires) if getattr(backend, "expires", None) else None


def caches(databases: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Django's caches in one of these Redis databases (`host`, `port`, `db`); nothing where Django is not in use."""
    if "django.conf" not in sys.modules:
        return ()
    try:
        configured = dict(sys.modules["django.conf"].settings.CACHES)
        places = [_place(database) for database in databases]
        return tuple(name for name, cache in configured.items() if _shares(cache, places))
    except Exception:  # noqa: BLE001  # settings that are not configured, or are not what they seem
        return ()


def _shares(cache: Mapping[str, Any], places: list[tuple[str, int, int]]) -> bool:
    from redis.connection import ConnectionPool

    location = cache.get("LOCATION") or ""
    urls = location.split(",") if isinstance(location, str) else list(location)
    return any(
        url.startswith("redis") and _place(ConnectionPool.from_url(url).connection_kwargs) in places
        for url in map(str, urls)
    )


def _place(database: Mapping[str, Any]) -> tuple[str, int, int]:
    host = str(database.get("host") or "localhost")
    return "127.0.0.1" if host == "localhost" else host, int(database.get("port") or 6379), int(database.get("db") or 0)
