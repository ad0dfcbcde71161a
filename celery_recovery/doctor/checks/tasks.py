"""What tasks say about their own ends: acknowledgement, limits, base class."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts, TaskFacts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import listed, named, span

__all__ = ()

#: What their bodies may hold cannot be shown, searched or edited.
_OPAQUE = frozenset(("pickle", "application/x-python-serialize"))


@check(
    "acks-early",
    Severity.LOSS,
    consequence="The message is acknowledged when the task starts. A task that is running when its worker dies, by "
    "kill, power loss or out of memory, is gone: no retry, no letter, its result stays open for ever.",
    fix="acks_late=True on the task, or remove its acks_late=False; recovery_acks_late = True for all.",
)
def acks_early(facts: Facts) -> Iterator[Found]:
    """Recoverable tasks that are acknowledged when they start."""
    if early := [task for task in facts.recoverable if not task.acks_late]:
        yield found("acks_late", f"False for {named(early)}")


@check(
    "always-eager",
    Severity.LOSS,
    consequence="delay() and apply_async() run the task in the caller's own process. Nothing is queued: a task that "
    "fails leaves no letter, and one whose caller dies is gone.",
    fix="task_always_eager = False",
)
def always_eager(facts: Facts) -> Iterator[Found]:
    """Tasks are run by their callers, not by workers."""
    if facts.conf["task_always_eager"]:
        yield found("task_always_eager", "True")


@check(
    "requeue-on-timeout",
    Severity.DUPLICATE,
    consequence="A task that hits its hard time limit goes back to its queue and starts again from the beginning, as "
    "often as it takes: nothing counts the runs, and each of them has been reported as a failure.",
    fix="task_acks_on_timeout = True, or base=RecoverableTask, which counts the runs.",
)
def requeue_on_timeout(facts: Facts) -> Iterator[Found]:
    """Plain tasks that start again for ever when they hit their time limit."""
    loops = [task for task in facts.plain if task.acks_late and not task.acks_on_timeout]
    if loops:
        yield found("acks_on_timeout", f"False for {named(loops)}")


@check(
    "requeue-on-worker-lost",
    Severity.DUPLICATE,
    consequence="A task that kills its process (out of memory, a crash in C code) goes back to its queue and kills "
    "the next one, without bound.",
    fix="base=RecoverableTask, which dead-letters it after recovery_max_crashes; or task_retry_on_worker_lost = True, "
    "which counts against max_retries.",
)
def requeue_on_worker_lost(facts: Facts) -> Iterator[Found]:
    """Plain tasks that go back to their queue for ever when they kill their process."""
    loops = [task for task in facts.plain if _loops_when_lost(task)]
    if loops:
        yield found("reject_on_worker_lost", f"True for {named(loops)}")


def _loops_when_lost(task: TaskFacts) -> bool:
    return task.acks_late and task.reject_on_worker_lost and not task.retry_on_worker_lost


@check(
    "reject-on-failure",
    Severity.ADVICE,
    consequence="A task that has failed, and whose letter is written, is rejected instead of acknowledged. RabbitMQ "
    "then sends its message to the queue's own dead-letter exchange: a second copy, with its retries used up, "
    "outside of `recovery dlq`.",
    fix="task_acks_on_failure = True, task_acks_on_timeout = True",
)
def reject_on_failure(facts: Facts) -> Iterator[Found]:
    """Failed tasks are dead-lettered by RabbitMQ as well."""
    if facts.driver != "amqp":
        return
    through = {queue.name for queue in facts.queues if queue.dead_letter_exchange}
    twice = [task for task in facts.recoverable if _rejected(task) and facts.routes.get(task.name) in through]
    if twice:
        yield found("acks_on_failure, acks_on_timeout", f"False for {named(twice)}")


def _rejected(task: TaskFacts) -> bool:
    return task.acks_late and not (task.acks_on_failure and task.acks_on_timeout)


@check(
    "no-time-limit",
    Severity.ADVICE,
    consequence="A task that hangs, on a socket without a timeout for instance, holds its slot until the worker is "
    "restarted; when all slots are held, nothing is run any more.",
    fix="task_time_limit = <seconds that no task needs>, or time_limit= on the task.",
)
def no_time_limit(facts: Facts) -> Iterator[Found]:
    """Recoverable tasks that may run for ever."""
    if unlimited := [task for task in facts.recoverable if not task.time_limit]:
        yield found("task_time_limit", f"not set for {named(unlimited)}")


@check(
    "plain-tasks",
    Severity.ADVICE,
    consequence="They are watched and counted, nothing more: what plain Celery loses of them is lost. With acks_late "
    "off they die with their worker, and a failed one leaves no letter.",
    fix='base=RecoverableTask on the task, or Celery(task_cls="celery_recovery:RecoverableTask") for all.',
)
def plain_tasks(facts: Facts) -> Iterator[Found]:
    """Tasks that are not on RecoverableTask."""
    if facts.plain:
        yield found("tasks", f"{named(facts.plain)} (of {len(facts.tasks)})")


@check(
    "task-expires",
    Severity.ADVICE,
    consequence="A message that waits longer, in a queue or for a retry, is dropped by the worker as revoked: no "
    "letter, no failure. This is what expires means; make sure that it was meant.",
    fix="Remove expires from the task if it has to be run, however late.",
)
def task_expires(facts: Facts) -> Iterator[Found]:
    """Recoverable tasks that are dropped when they are late."""
    if expiring := [task for task in facts.recoverable if task.expires is not None]:
        yield found("expires", f"set for {named(expiring)}")


@check(
    "pickled-tasks",
    Severity.ADVICE,
    consequence="Nothing of ours loads a pickle. Their letters show the short text that Celery keeps of the "
    "arguments, and those cannot be searched by --arg or failed together with their chord.",
    fix='task_serializer = "json"',
)
def pickled_tasks(facts: Facts) -> Iterator[Found]:
    """Recoverable tasks whose arguments are pickled."""
    if opaque := [task for task in facts.recoverable if task.serializer in _OPAQUE]:
        yield found("task_serializer", f"pickle for {named(opaque)}")


@check(
    "memory-too-short",
    Severity.DUPLICATE,
    consequence="What became of a failed or redelivered attempt is forgotten before its last copy can turn up. A "
    "copy that comes later than that is taken for the first, and runs.",
    fix="recovery_attempt_ttl = <seconds>",
)
def memory_too_short(facts: Facts) -> Iterator[Found]:
    """Attempts are forgotten before their twins can arrive."""
    ttl = facts.settings.attempt_ttl
    waits = {f"the longest delay of {task.name}": task.longest_delay for task in facts.recoverable}
    waits |= {f"the time limit of {task.name}": task.time_limit or 0.0 for task in facts.recoverable}
    if facts.recoverable and not facts.leased:
        waits["visibility_timeout"] = facts.visibility_timeout or 0.0
    longest = max(waits, key=lambda name: waits[name], default="")
    if longest and waits[longest] > ttl:
        what = f"{span(ttl)}, and {longest} is {span(waits[longest])}"
        yield found("recovery_attempt_ttl", what, seconds=f"{2 * waits[longest]:.0f}")


@check(
    "soft-shutdown-off",
    Severity.ADVICE,
    consequence="On a cold shutdown (SIGQUIT, Ctrl-C twice, or SIGTERM where REMAP_SIGTERM is SIGQUIT) running tasks "
    "are ended at once, and start again elsewhere from the beginning.",
    fix="worker_soft_shutdown_timeout = <seconds that most tasks need>",
)
def soft_shutdown_off(facts: Facts) -> Iterator[Found]:
    """A cold shutdown gives running tasks no time."""
    if facts.recoverable and not facts.conf["worker_soft_shutdown_timeout"]:
        yield found("worker_soft_shutdown_timeout", "0")


@check(
    "tasks-not-imported",
    Severity.UNKNOWN,
    consequence="Tasks of modules that failed to be imported were not looked at. A worker does not start either.",
    fix="Import the app's modules in the environment of its workers, then ask again.",
)
def tasks_not_imported(facts: Facts) -> Iterator[Found]:
    """Modules of the app that could not be imported."""
    if facts.import_error:
        yield found("tasks", facts.import_error)


@check(
    "limits-not-enforced",
    Severity.ADVICE,
    consequence="Only prefork and gevent can end a task that runs too long. A hung task holds its slot until the "
    "worker is restarted, whatever limit is set.",
    fix='worker_pool = "prefork", or timeouts within the tasks.',
)
def limits_not_enforced(facts: Facts) -> Iterator[Found]:
    """Time limits on a pool that cannot keep them."""
    limited = [task for task in facts.tasks if task.time_limit]
    if not limited:
        return
    pools = {f"worker {worker.name}": worker.pool for worker in facts.workers or ()}
    pools.setdefault("worker_pool", str(facts.conf["worker_pool"]))
    if toothless := [name for name, pool in pools.items() if pool in ("threads", "solo", "eventlet")]:
        what = f"{', '.join(sorted({str(pools[name]) for name in toothless}))}, with a time limit on {named(limited)}"
        yield found(listed(toothless), what)
