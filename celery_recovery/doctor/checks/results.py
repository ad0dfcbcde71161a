"""The result backend: what it can make a task wait for, and what it forgets."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import named, span

__all__ = ()

#: Backends from which a worker cannot read what another has stored.
_UNREADABLE = ("rpc", "disabled", "memory")
#: Seconds that a pause of all workers may well last.
_PAUSE = 3600.0


@check(
    "result-not-kept",
    Severity.DUPLICATE,
    consequence="When a worker dies after a task has ended and before its message is acknowledged, the message is "
    "delivered again. That the task had succeeded is nowhere written, so it runs once more.",
    fix="A result backend that workers can read (redis://, a database), and ignore_result off for tasks that must "
    "not be repeated; or make them idempotent.",
)
def result_not_kept(facts: Facts) -> Iterator[Found]:
    """Late-acknowledged tasks whose success is nowhere written."""
    if facts.results in _UNREADABLE:
        late = [task for task in facts.recoverable if task.acks_late]
        what = f"{facts.results}, for {named(late)}" if late else ""
        subject = "result_backend"
    else:
        late = [task for task in facts.recoverable if task.acks_late and task.ignore_result]
        what = f"True for {named(late)}" if late else ""
        subject = "ignore_result"
    if late:
        yield found(subject, what)


@check(
    "result-backend-unknown",
    Severity.UNKNOWN,
    consequence="What it keeps, and for how long, was not checked.",
    fix="Install what the result backend needs in this environment, then ask again.",
)
def result_backend_unknown(facts: Facts) -> Iterator[Found]:
    """The result backend could not be loaded."""
    if facts.results is None:
        yield found("result_backend", "could not be loaded")


@check(
    "result-retried-forever",
    Severity.DELAY,
    consequence="While the result backend is away, a plain task that has ended goes on trying to store its result and "
    "holds its slot. Soon all slots are held, and nothing is run until the backend is back. (Tasks on "
    "RecoverableTask hold it for recovery_result_timeout at most.)",
    fix="result_backend_max_retries = 20, or what suits (each waits 10 s at most)",
)
def result_retried_forever(facts: Facts) -> Iterator[Found]:
    """Plain tasks that try to store their result without end."""
    endless = facts.conf["result_backend_max_retries"] in (None, float("inf"))
    if facts.plain and facts.conf["result_backend_always_retry"] and endless and facts.results != "disabled":
        what = f"result_backend_always_retry is True, and result_backend_max_retries {_bound(facts)}"
        yield found("result_backend_max_retries", what)


def _bound(facts: Facts) -> str:
    return str(facts.conf["result_backend_max_retries"])


@check(
    "chords-expire",
    Severity.LOSS,
    consequence="A chord that waits for a held letter is kept alive by the workers' intake only. Without it, it is "
    "gone after result_expires (<seconds>): the letter can still be replayed, the chord's body never runs.",
    fix='recovery_intake = True; or result_expires = None; or recovery_on_dead_letter = "fail".',
)
def chords_expire(facts: Facts) -> Iterator[Found]:
    """Chords that wait for a held letter are forgotten."""
    settings = facts.settings
    if (
        facts.results != "redis"
        or settings.on_dead_letter == "fail"
        or not facts.result_expires
        or not facts.recoverable
    ):
        return
    if not (settings.intake and facts.store):
        why = "no intake keeps held chords" if facts.store else "without a store there is no intake"
        yield found("result_expires", f"{span(facts.result_expires)}, and {why}", seconds=span(facts.result_expires))


@check(
    "chords-expire-soon",
    Severity.ADVICE,
    consequence="A chord that waits for a held letter is kept alive by running workers. When all of them are stopped "
    "for longer than that, a night or a migration, it is forgotten and its body never runs.",
    fix="result_expires = 86400 or more.",
)
def chords_expire_soon(facts: Facts) -> Iterator[Found]:
    """Held chords do not outlive a pause of the workers."""
    lease = facts.result_expires
    if facts.results == "redis" and lease and lease < _PAUSE and facts.settings.on_dead_letter != "fail":
        yield found("result_expires", span(lease))


@check(
    "deduplicates-itself",
    Severity.ADVICE,
    consequence="Celery's own look for finished twins runs beside ours. It asks the result backend for every "
    "redelivered message, and when it cannot send on the chain of a finished task it requeues the message without "
    "bound.",
    fix="worker_deduplicate_successful_tasks = False, where all tasks are on RecoverableTask.",
)
def deduplicates_itself(facts: Facts) -> Iterator[Found]:
    """Celery looks for finished twins as well."""
    if facts.conf["worker_deduplicate_successful_tasks"] and facts.recoverable and not facts.plain:
        yield found("worker_deduplicate_successful_tasks", "True")
