"""Plain facts about one application and what it stands on: all that the checks see.

A fact that could not be had is None, which never means "off": a check that needs it says nothing, and a check of its
own says that it could not be had. Seconds, bytes and counts are plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_recovery.config import Settings

__all__ = ("CONF", "Facts", "QueueFacts", "RabbitFacts", "RedisFacts", "TaskFacts", "WorkerFacts")

#: Celery's settings that the checks read; none of them holds a secret.
CONF = (
    "broker_channel_error_retry",
    "broker_connection_retry",
    "broker_heartbeat",
    "broker_pool_limit",
    "result_backend_always_retry",
    "result_backend_max_retries",
    "task_always_eager",
    "task_create_missing_queues",
    "task_default_delivery_mode",
    "task_publish_retry",
    "worker_cancel_long_running_tasks_on_connection_loss",
    "worker_deduplicate_successful_tasks",
    "worker_eta_task_limit",
    "worker_pool",
    "worker_soft_shutdown_timeout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """One registered task, with what it has from the app's settings."""

    name: str
    #: It is on `RecoverableTask`.
    recoverable: bool
    acks_late: bool = True
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = False
    retry_on_worker_lost: bool = False
    #: Seconds after which its process is killed; None: never.
    time_limit: float | None = None
    #: Seconds that its policies let a retry wait at most, a server's Retry-After left aside.
    longest_delay: float = 0.0
    ignore_result: bool = False
    serializer: str | None = "json"
    #: Its own `expires`, as text; None: none.
    expires: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """One queue that the app declares. Seconds, where the broker has milliseconds."""

    name: str
    #: A worker without `-Q` takes tasks from it.
    consumed: bool = True
    durable: bool = True
    auto_delete: bool = False
    exclusive: bool = False
    #: The broker counts a message as done when it has sent it.
    no_ack: bool = False
    #: Seconds without a consumer after which the queue is deleted.
    expires: float | None = None
    #: Seconds after which a waiting message is dropped.
    message_ttl: float | None = None
    #: `x-max-length` or `x-max-length-bytes`.
    max_length: int | None = None
    #: A full queue refuses new messages instead of dropping old ones.
    rejects_when_full: bool = False
    quorum: bool = False
    delivery_limit: int | None = None
    #: What the broker drops from it goes to another exchange.
    dead_letter_exchange: bool = False
    exchange_type: str = "direct"
    #: The exchange's own delivery mode; None: the app's.
    delivery_mode: int | None = None
    #: Seconds of `x-consumer-timeout`.
    consumer_timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """One Redis server and what it is used for."""

    #: host:port/db or a socket's path; no password.
    address: str
    #: Of "broker", "store", "results".
    roles: frozenset[str]
    #: Why it could not be asked at all; None: it answers.
    error: str | None = None
    #: Why CONFIG GET was refused; None: it was answered.
    config_error: str | None = None
    version: tuple[int, ...] | None = None
    replica: bool | None = None
    #: Masters of the cluster it belongs to; 0: it belongs to none.
    cluster_size: int | None = None
    #: The `save` setting; empty: no snapshots.
    save: str | None = None
    appendonly: bool | None = None
    appendfsync: str | None = None
    #: Names of INFO fields that say the last write to disk failed; None: not known.
    failed_writes: tuple[str, ...] | None = None
    #: Bytes; 0: no limit.
    maxmemory: int | None = None
    used_memory: int | None = None
    maxmemory_policy: str | None = None
    #: Replicas connected now.
    replicas: int | None = None
    min_replicas_to_write: int | None = None
    #: Seconds after which an idle connection is closed; 0: never.
    idle_timeout: int | None = None

    @property
    def subject(self) -> str:
        """How a finding names it."""
        return f"Redis at {self.address} ({', '.join(sorted(self.roles))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitFacts:
    """The broker, where it speaks AMQP."""

    #: host:port and virtual host; no password.
    address: str
    #: Why it could not be asked; None: it answers.
    error: str | None = None
    product: str | None = None
    version: tuple[int, ...] | None = None

    @property
    def is_rabbitmq(self) -> bool:
        """Other brokers speak AMQP too."""
        return self.product == "RabbitMQ"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """One worker that answered."""

    name: str
    #: `prefork`, `threads`, `solo`, `gevent`, `eventlet`, or a class; None: it did not say.
    pool: str | None = None
    #: Queues it takes tasks from; None: it did not say.
    queues: frozenset[str] | None = None
    #: Its tasks, Celery's own left out; None: it did not say.
    registered: frozenset[str] | None = None
    #: Those of them that are on `RecoverableTask`.
    recoverable: frozenset[str] = frozenset()
    #: `celery:… kombu:… py:…`, as it reports them; None: it did not say.
    software: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was found out."""

    #: The kind of broker: `redis`, `amqp`, `sqs`, `memory`, …; None: its transport could not be loaded.
    driver: str | None
    settings: Settings
    #: Celery's settings, those of `CONF`.
    conf: Mapping[str, Any]
    transport_options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[TaskFacts, ...] = ()
    #: Why the app's modules could not all be imported; None: they were.
    import_error: str | None = None
    queues: tuple[QueueFacts, ...] = ()
    #: Queue that a task goes to by the app's routes, where they can be asked.
    routes: Mapping[str, str] = field(default_factory=dict)
    redis: tuple[RedisFacts, ...] = ()
    rabbit: RabbitFacts | None = None
    #: Why RabbitMQ's policies are not known; None: they are, or there are none.
    policies_error: str | None = None
    #: Why a broker that is neither could not be reached; None: it was, or is one of them.
    broker_error: str | None = None
    #: There is a Redis for letters, parked tasks and the memory of attempts.
    store: bool = True
    #: The kind of broker URL that no store can be derived from, e.g. `sentinel`; None: there is a store, or no hint.
    store_hint: str | None = None
    #: The kind of result backend: `redis`, `rpc`, `disabled`, …; None: it could not be loaded.
    results: str | None = None
    #: Seconds that results and chords are kept; None: for ever, or not known.
    result_expires: float | None = None
    #: The workers that answered; None: they were not asked.
    workers: tuple[WorkerFacts, ...] | None = None
    #: Why they could not be asked.
    workers_error: str | None = None
    #: Names of caches that live in the store's Redis database and clear it as a whole.
    caches: tuple[str, ...] = ()

    @property
    def parking(self) -> bool:
        """Long delays leave the worker."""
        return self.store and self.settings.park_after is not None

    @property
    def recoverable(self) -> tuple[TaskFacts, ...]:
        """The tasks on `RecoverableTask`."""
        return tuple(task for task in self.tasks if task.recoverable)

    @property
    def plain(self) -> tuple[TaskFacts, ...]:
        """All others of the app's own."""
        return tuple(task for task in self.tasks if not task.recoverable)

    @property
    def leased(self) -> bool:
        """Messages of living workers are kept from `visibility_timeout`."""
        on = self.settings.lease is not None and self.acknowledged and bool(self.recoverable)
        return self.driver == "redis" and on

    @property
    def acknowledged(self) -> bool:
        """The broker keeps what a worker has taken, until it is acknowledged."""
        return self.transport_options.get("ack_emulation", True) is not False

    @property
    def visibility_timeout(self) -> float | None:
        """Seconds after which the broker gives an unacknowledged message to the next worker; None: it does not."""
        default = {"redis": 3600.0, "sqs": 1800.0}.get(self.driver or "")  # the transports' own
        return None if default is None else float(self.transport_options.get("visibility_timeout") or default)

    def held_delay(self, task: TaskFacts) -> float:
        """Seconds that a delayed retry of this task is held by a worker at most."""
        longest = task.longest_delay
        return min(longest, self.settings.park_after or longest) if self.parking else longest
