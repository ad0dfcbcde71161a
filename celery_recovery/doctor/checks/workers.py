"""The workers that run now: whether all of them are what the configuration says."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts, WorkerFacts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import listed

__all__ = ()


@check(
    "fleet-unwired",
    Severity.LOSS,
    consequence="What this worker takes, it runs as plain Celery does: acknowledged at the start and lost with the "
    "worker, failed without a letter; a retry's history and a replay's token mean nothing to it.",
    fix="Deploy the app's present version to that worker, or give it queues of its own.",
)
def fleet_unwired(facts: Facts) -> Iterator[Found]:
    """Workers that run our tasks without recovery."""
    for worker in facts.workers or ():
        wanting = [task for task in _taken(facts, worker) if task in (worker.registered or ()) and
                   task not in worker.recoverable]  # fmt: skip
        if wanting:
            yield found(f"worker {worker.name}", f"without RecoverableTask: {listed(wanting)}")


@check(
    "fleet-unknown-task",
    Severity.LOSS,
    consequence="It consumes their queue and does not know them. A worker without celery-recovery rejects such a "
    "message, and the task is gone.",
    fix="Deploy the app's present version to that worker, or give it queues of its own.",
)
def fleet_unknown_task(facts: Facts) -> Iterator[Found]:
    """Workers without recovery that take tasks they do not know."""
    for worker in facts.workers or ():
        if worker.registered is None or worker.recoverable:
            continue
        unknown = [task for task in _taken(facts, worker) if task not in worker.registered]
        if unknown:
            yield found(f"worker {worker.name}", f"not registered there: {listed(unknown)}")


def _taken(facts: Facts, worker: WorkerFacts) -> list[str]:
    """Recoverable tasks whose queue this worker consumes."""
    queues = worker.queues or frozenset()
    return [task.name for task in facts.recoverable if facts.routes.get(task.name) in queues]


@check(
    "fleet-versions",
    Severity.ADVICE,
    consequence="During a deployment this is normal. If it stays, workers differ in how they acknowledge, retry and "
    "redeliver.",
    fix="The same versions everywhere.",
)
def fleet_versions(facts: Facts) -> Iterator[Found]:
    """Workers with different versions of Celery or kombu."""
    software = {worker.software for worker in facts.workers or () if worker.software}
    if len(software) > 1:
        yield found("workers", " | ".join(sorted(software)))


@check(
    "workers-not-asked",
    Severity.UNKNOWN,
    consequence="Whether all workers are wired and know all tasks was not checked.",
    fix="Ask again from where the broker can be reached, with worker_enable_remote_control on; or --no-workers.",
)
def workers_not_asked(facts: Facts) -> Iterator[Found]:
    """Running workers could not be asked."""
    if facts.workers_error:
        yield found("workers", f"could not be asked: {facts.workers_error}")
