"""The doctor: gathers the facts of one application, and puts every check to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from celery import Celery, Task

from celery_recovery.config import Settings
from celery_recovery.doctor import ask_app, ask_broker, ask_management, ask_redis, ask_workers
from celery_recovery.doctor.checks import CHECKS
from celery_recovery.doctor.facts import CONF, Facts, QueueFacts
from celery_recovery.doctor.finding import Check, Finding, Severity
from celery_recovery.policy import RecoveryPolicy
from celery_recovery.redis.client import address, connect

__all__ = ("TIMEOUT", "Doctor", "Patient", "diagnose")

#: Seconds that workers have to answer.
TIMEOUT = 1.0


class Patient(Protocol):
    """What the doctor needs of a `Recovery`."""

    app: Celery

    @property
    def settings(self) -> Settings:
        """The app's `recovery_…` settings."""

    @property
    def redis(self) -> Any:
        """The client of the store; None where there is none."""

    def policies_of(self, task: Task) -> RecoveryPolicy:
        """The policy of one task."""


class Doctor:
    """Says what in the configuration of one application, and of what it stands on, can lose or repeat a task."""

    def __init__(
        self, patient: Patient, *, workers: bool = True, timeout: float = TIMEOUT, management_url: str | None = None
    ) -> None:
        """`workers`: ask running ones, too, for `timeout` seconds. `management_url`: of RabbitMQ's management API."""
        self.patient = patient
        self.app = patient.app
        self.workers = workers
        self.timeout = timeout
        self.management_url = management_url

    def examine(self) -> list[Finding]:
        """All findings, the worst first. Whatever cannot be reached is a finding; raises `ConfigurationError` only."""
        return diagnose(self.facts())

    def facts(self) -> Facts:
        """Look at the app, its broker, its store, its result backend and its workers."""
        app, patient = self.app, self.patient
        import_error = ask_app.imported(app)
        broker = ask_broker.ask(app)
        tasks = ask_app.tasks(app, patient.policies_of)
        routes = ask_app.routes(app, [task.name for task in tasks])
        results, expires = ask_app.result_backend(app)
        queues, policies_error = self._queues(broker, routes.values())
        workers, workers_error = ask_workers.ask(app, self.timeout) if self.workers and broker.reached else (None, None)
        store = patient.redis
        return Facts(
            driver=broker.driver,
            settings=patient.settings,
            conf={name: app.conf.get(name) for name in CONF},
            transport_options=broker.options,
            tasks=tasks,
            import_error=import_error,
            queues=queues,
            routes=routes,
            redis=ask_redis.merged((*broker.redis, *self._servers(results))),
            rabbit=broker.rabbit,
            policies_error=policies_error,
            broker_error=broker.error,
            store=store is not None,
            store_hint=_hint(app) if store is None else None,
            results=results,
            result_expires=expires,
            workers=workers,
            workers_error=workers_error,
            caches=ask_app.caches([store.connection_pool.connection_kwargs] if store is not None else []),
        )

    def _queues(
        self, broker: ask_broker.BrokerAnswer, routed: Iterable[str]
    ) -> tuple[tuple[QueueFacts, ...], str | None]:
        """The app's queues, with the broker's policies where they can be asked; and why they cannot."""
        declared = ask_app.queues(self.app, routed)
        if broker.place is None:
            return declared, None
        told, error = ask_management.ask(self.management_url, broker.place)
        return ask_management.with_policies(declared, told), error

    def _servers(self, results: str | None) -> Iterable[ask_redis.Asked]:
        """The store's Redis, and the result backend's."""
        store = self.patient.redis
        if store is not None:
            yield ask_redis.ask(store, address(store), "store")
        url = str(self.app.conf.result_backend or "")
        if results == "redis" and url.startswith(("redis://", "rediss://")):
            with connect(url) as client:
                yield ask_redis.ask(client, address(client), "results")


def _hint(app: Celery) -> str | None:
    """The kind of the broker's or result backend's URL that is a Redis of a kind that no store can be on."""
    for url in (app.conf.broker_write_url, app.conf.broker_url, app.conf.result_backend):
        first = str((url[0] if url else "") if isinstance(url, (list, tuple)) else url or "")
        scheme = first.partition("://")[0]
        if "sentinel" in scheme or "cluster" in scheme:
            return scheme
    return None


def diagnose(facts: Facts) -> list[Finding]:
    """All that the checks find, the worst first, in the order of the table. A check that fails is a finding."""
    findings: list[Finding] = []
    for one in CHECKS.values():
        try:
            findings.extend(one(facts))
        except Exception as exc:  # noqa: BLE001  # one odd value must not hide what the other checks find
            findings.append(_failed(one, exc))
    return sorted(findings, key=lambda finding: finding.severity.rank)


def _failed(one: Check, exc: Exception) -> Finding:
    return Finding(
        code="check-failed",
        severity=Severity.UNKNOWN,
        subject=one.code,
        what=f"{type(exc).__name__}: {ask_redis.reason(exc)}",
        consequence=f"Nothing was said about: {one.title}.",
        fix="This is a mistake in celery-recovery, or a setting with a value of the wrong type. Please report it.",
    )
