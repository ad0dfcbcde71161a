"""The parts of one application, each made when first used: importing or configuring an app costs nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property, partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu import Queue

from celery_recovery import errors
from celery_recovery.actions import Actions
from celery_recovery.audit import Audit
from celery_recovery.backoff import RandomSource
from celery_recovery.config import PREFIX, Settings
from celery_recovery.custody import Custody
from celery_recovery.dead_letters.exchange import Publisher, dead_letter_queue
from celery_recovery.dead_letters.intake import drain, waiting
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.dead_letters.replay import untraced
from celery_recovery.dead_letters.signature import parameters
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import ConfigurationError, NotAllowed
from celery_recovery.logs import learn
from celery_recovery.monitoring.events import announce, announce_groups
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.monitoring.tracing import Tracing, begin
from celery_recovery.parking import Parking
from celery_recovery.parking.release import PATIENCE
from celery_recovery.redact import Redactor
from celery_recovery.redis.client import connect
from celery_recovery.redis.keys import Keys

if TYPE_CHECKING:
    from celery_recovery.checkpoint import CheckpointStore
    from celery_recovery.circuit.breaker import CircuitBreaker
    from celery_recovery.circuit.circuits import Circuits
    from celery_recovery.circuit.machine import Change
    from celery_recovery.dead_letters.letter import Letter
    from celery_recovery.errors import ErrorClassifier
    from celery_recovery.monitoring.alerts.alerts import Alerts
    from celery_recovery.monitoring.fleet import FleetReader
    from celery_recovery.operations.operation import Operation

__all__ = ("Parts",)

#: Seconds to wait for the Redis of the circuits: a call waits as long. Without an answer the process decides alone.
CIRCUIT_TIMEOUT = 1.0
#: The environment variable that makes tools read only.
ROLE = "CELERY_RECOVERY_ROLE"


class Parts:
    """Settings, classifier, publisher, store, statistics and the operator's queue of one app."""

    #: The worker sends task events (`-E`), as it said when it started.
    sends_task_events = False
    #: This process is a worker, or a child of one: it does its work whatever the role of tools is.
    in_worker = False
    #: The dice of all delays. The system's, because all children of one fork would throw the same.
    random: RandomSource = SystemRandom()

    def __init__(self, app: Celery) -> None:
        self.app = app

    @cached_property
    def settings(self) -> Settings:
        """The app's `recovery_…` settings, validated. Raises `ConfigurationError`."""
        settings = Settings.from_mapping(_settings_in(self.app))
        learn(settings.redact, settings.redact_values)
        return settings

    @property
    def role(self) -> str:
        """What this process may do: `"operate"`, or `"read"`. The environment can take away, and not give."""
        told = os.environ.get(ROLE, "").strip().lower() or "operate"
        if told not in ("operate", "read"):
            raise ConfigurationError.of(ROLE, expected="operate or read", got=told)
        return "read" if not self.in_worker and "read" in (told, self.settings.role) else "operate"

    def allow(self, action: str) -> None:
        """Raises `NotAllowed` where this tool may only look."""
        if self.role == "read":
            where = f"{PREFIX}role" if self.settings.role == "read" else f"the environment variable {ROLE}"
            raise NotAllowed(f"{action}: not allowed, as {where} is read: this tool looks, and changes nothing.")

    @cached_property
    def redact(self) -> Redactor:
        """Hides secrets of whatever is shown, by the app's own patterns, too, and by the signatures of its tasks."""
        return Redactor(self.settings.redact, self.settings.redact_values, partial(parameters, self.app))

    @cached_property
    def classifier(self) -> ErrorClassifier:
        """Understands exceptions; the app's own rules are asked first."""
        made: ErrorClassifier = (self.settings.load_classifier() or errors.ErrorClassifier)()
        for rule in reversed(self.settings.load_rules()):
            made.add_rule(rule)
        return made

    @cached_property
    def dead_letter_queue(self) -> Queue:
        """The durable queue that dead letters are published to."""
        settings = self.settings
        return dead_letter_queue(
            settings.dead_letter_exchange, settings.dead_letter_queue, settings.dead_letter_queue_type
        )

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes retries, letters and replays, with confirm."""
        return Publisher(self.app, self.settings.publish_timeout, self._not_published)

    def _not_published(self) -> None:
        self.stats.troubled(1, of="publish")

    @cached_property
    def keys(self) -> Keys:
        """Spells the Redis keys."""
        return Keys(self.settings.key_prefix)

    @cached_property
    def redis(self) -> Any:
        """The client of the Redis that holds letters and statistics; None where there is none."""
        url = self.settings.redis_url or _redis_of(self.app)
        return connect(url) if url else None

    @cached_property
    def store(self) -> DeadLetterStore | None:
        """Where letters are indexed; None without Redis: they stay in their queue."""
        if self.redis is None:
            return None
        return DeadLetterStore(
            self.redis,
            self.keys,
            max_age=self.settings.letter_max_age,
            max_count=self.settings.letter_max_count,
            on_news=self._groups_changed,
        )

    @cached_property
    def audit(self) -> Audit | None:
        """What operators did; None without Redis."""
        return None if self.redis is None else Audit(self.redis, self.keys, hide=self.redact, allow=self.allow)

    @cached_property
    def custody(self) -> Custody | None:
        """Who has a task that came back, was retried, or crashed its worker; None without Redis: nobody knows."""
        if self.redis is None:
            return None
        settings = self.settings
        return Custody(self.redis, self.keys, ttl=settings.attempt_ttl, max_crashes=settings.max_crashes)

    @cached_property
    def parked(self) -> Parking | None:
        """Tasks that are not due for long; None without Redis: they wait in workers.

        Its publisher gives up within the lease of a claim; it may, because what it publishes is kept.
        """
        if self.redis is None:
            return None
        patient = min(self.settings.publish_timeout, PATIENCE)
        return Parking(
            self.redis, self.keys, Publisher(self.app, patient, self._not_published), self.store,
            pace=lambda name, most: self.circuits.pace(name, most),  # noqa: PLW0108  # made when first used
            audit=self.audit,
        )  # fmt: skip

    @cached_property
    def checkpoints(self) -> CheckpointStore | None:
        """What tasks save of where they stand; None without Redis."""
        if self.redis is None:
            return None
        from celery_recovery.checkpoint import CheckpointStore

        settings = self.settings
        return CheckpointStore(
            self.redis, self.keys,
            ttl=settings.checkpoint_ttl, kept=settings.attempt_ttl, most=settings.checkpoint_size,
            audit=self.audit,
        )  # fmt: skip

    @cached_property
    def circuits(self) -> Circuits:
        """The circuits that tasks declare, and all others by name; without Redis each process has its own."""
        made = self._new_circuits()
        for task in list(self.app.tasks.values()):
            for name in getattr(task, "recovery_circuits", ()):
                if isinstance(name, str):
                    made.declare(name, task.recovery_circuit_policy, task.name, ahead=True)
        return made

    def _new_circuits(self) -> Circuits:
        from celery_recovery.circuit.circuits import Circuits

        settings = self.settings
        url = settings.redis_url or _redis_of(self.app)
        client = connect(url, socket_timeout=CIRCUIT_TIMEOUT, socket_connect_timeout=CIRCUIT_TIMEOUT) if url else None
        return Circuits(client, settings.key_prefix, settings.circuits, self._circuit_changed, self.audit)

    def _circuit_changed(self, circuit: CircuitBreaker, change: Change) -> None:
        self.stats.circuit_changed(circuit.name, change, named=self.circuits.is_declared(circuit.name))
        if self.alerts is not None:
            self.alerts.circuit(circuit.name, change)
        announce(self.app, circuit.name, change, self.redact)

    def _groups_changed(self, news: Sequence[tuple[Letter, str]]) -> None:
        if self.alerts is not None:
            self.alerts.groups(news)
        for letter, word in news:
            self.stats.group_changed(word, letter)
        announce_groups(self.app, news)

    def _operation_moved(self, operation: Operation, by_itself: bool) -> None:
        if self.alerts is not None:
            self.alerts.operation(operation, by_itself)
        self.stats.operation_moved(operation)

    @cached_property
    def alerts(self) -> Alerts | None:
        """Where people are called from; None where nobody wants to be, or there is no Redis to write it down in."""
        settings = self.settings
        url = settings.redis_url or _redis_of(self.app)
        if not (settings.alerts and url):
            return None
        from celery_recovery.monitoring.alerts.alerts import Alerts
        from celery_recovery.monitoring.alerts.outbox import Outbox
        from celery_recovery.monitoring.alerts.sink import Pace

        client = connect(url, socket_timeout=CIRCUIT_TIMEOUT, socket_connect_timeout=CIRCUIT_TIMEOUT)  # a task may wait
        outbox = Outbox(client, self.keys, self.app.main or "", settings.alert_window)
        flood = Pace.of(settings.alert_flood, f"{PREFIX}alert_flood") if settings.alert_flood else None
        return Alerts(outbox, settings.alerts, self.redact, flood)

    @cached_property
    def stats(self) -> SuccessRateMonitor:
        """Counts attempts, recoveries and exhaustions."""
        settings = self.settings
        client = self.redis if settings.stats else None
        return SuccessRateMonitor(
            client, self.keys, interval=settings.stats_interval, retention=settings.stats_retention
        )

    def fleet_reader(self) -> FleetReader:
        """Reads how all processes and the store stand, for whoever measures; it waits a second for Redis, no longer.

        Raises `ConfigurationError` where there is no Redis. What the app's modules hold must be imported first.
        """
        from celery_recovery.monitoring.fleet import FleetReader

        keys = self.dead_letters.store.keys  # it says best what is missing
        ours = (name for name, task in self.app.tasks.items() if hasattr(task, "recovery_on_dead_letter"))
        tasks = sorted(name for name in ours if not name.startswith(("celery.", "celery_recovery.")))
        return FleetReader(self.circuits.client, keys, self.circuits, tasks, counts=self.settings.stats)

    @cached_property
    def tracing(self) -> Tracing | None:
        """Tells OpenTelemetry; None unless `recovery_tracing` is on, and OpenTelemetry is there."""
        return begin() if self.settings.tracing else None

    @cached_property
    def dead_letters(self) -> DeadLetterQueue:
        """The operator's object. Raises `ConfigurationError` where there is no Redis to keep letters in."""
        store = self.store
        if store is None:
            expected = "the URL of a Redis to keep letters in (neither the broker nor the result backend is one)"
            raise ConfigurationError.of("recovery_redis_url", expected=expected, got=None)
        return DeadLetterQueue(
            self.app,
            store,
            self.publisher,
            drain=partial(drain, self.app, self.dead_letter_queue, store),
            waiting=partial(waiting, self.app, self.dead_letter_queue),
            audit=self.audit,
            trace=untraced if self.tracing is None else self.tracing.replay,
            tell=self._operation_moved,
        )

    @cached_property
    def actions(self) -> Actions:
        """Carries decisions out."""
        return Actions(
            self.app, self.publisher, self.dead_letter_queue, self.store, self.settings.code_version, self.redact
        )

    @property
    def acks_late(self) -> bool:
        """`recovery_acks_late`, which is needed when a task is bound: too early to read, and keep, all settings."""
        return bool(_settings_in(self.app).get(f"{PREFIX}acks_late", True))


def _redis_of(app: Celery) -> str | None:
    """The broker's or the result backend's URL, whichever is Redis; of several brokers the first."""
    for url in (app.conf.broker_write_url, app.conf.broker_url, app.conf.result_backend):
        first = str((url[0] if url else "") if isinstance(url, (list, tuple)) else url or "").partition(";")[0]
        if first.startswith("redis+socket://"):
            return "unix" + first.removeprefix("redis+socket")
        if first.startswith(("redis://", "rediss://", "unix://")):
            return first
    return None


def _settings_in(app: Celery) -> dict[str, Any]:
    """Our entries of a Celery configuration, their names in lower or upper case, with a namespace or without."""
    own = f"{app.namespace}_{PREFIX}".lower() if app.namespace else PREFIX
    found = {}
    for key in map(str, list(app.conf)):
        if key.startswith(PREFIX) or key.lower().startswith(own):
            name = PREFIX + key.lower().partition(PREFIX)[2]
            found[name] = app.conf.get(name, app.conf.get(key))
    return found
