"""How the broker takes unacknowledged messages back, and what happens when the line to it breaks."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts, TaskFacts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import named, span

__all__ = ()

_HALF_HOUR = 1800.0


@check(
    "visibility-timeout-delay",
    Severity.DUPLICATE,
    consequence="A worker holds the retry, unacknowledged, until it is due. After visibility_timeout the broker "
    "gives it to another worker as well, and again after each further one; every copy runs when it is due.",
    fix='broker_transport_options = {"visibility_timeout": <seconds>}, or park long delays (recovery_park_after, '
    "with a Redis for the store), or set recovery_lease.",
)
def visibility_timeout_delay(facts: Facts) -> Iterator[Found]:
    """Retries that wait longer in a worker than the broker leaves a message there."""
    limit = facts.visibility_timeout
    if limit is None or facts.leased:
        return
    held = {task.name: facts.held_delay(task) for task in facts.recoverable}
    over = [task for task in facts.recoverable if held[task.name] >= limit]
    if over:
        longest = max(held.values())
        what = f"{span(limit)}, and retries wait up to {span(longest)} in {named(over)}"
        yield found("visibility_timeout", what, seconds=f"{2 * longest:.0f}")


@check(
    "visibility-timeout-task",
    Severity.DUPLICATE,
    consequence="While the task still runs, the broker takes its worker for dead and gives the message to another: "
    "two of them run side by side.",
    fix='recovery_lease = 15 on Redis; else broker_transport_options = {"visibility_timeout": <seconds>} and a '
    "shorter task_time_limit.",
)
def visibility_timeout_task(facts: Facts) -> Iterator[Found]:
    """Late-acknowledged tasks that may run longer than the broker leaves a message alone."""
    limit = facts.visibility_timeout
    if limit is None or facts.leased:
        return
    over = [task for task in facts.tasks if task.acks_late and (task.time_limit or limit) >= limit]
    if over:
        longest = max(task.time_limit or limit for task in over)
        what = f"{span(limit)}, and nothing ends {named(over)} before that"
        yield found("visibility_timeout", what, seconds=f"{2 * longest:.0f}")


@check(
    "lease-off",
    Severity.LOSS,
    consequence="Kombu takes a message and writes down who has it in two steps: a worker killed in between loses it. "
    "What else it held comes back only after visibility_timeout (<seconds>), not after some seconds.",
    fix="recovery_lease = 15",
)
def lease_off(facts: Facts) -> Iterator[Found]:
    """On Redis, what a worker has just taken belongs to nobody."""
    if facts.driver == "redis" and facts.acknowledged and facts.recoverable and facts.settings.lease is None:
        yield found("recovery_lease", "None", seconds=span(facts.visibility_timeout or 0))


def _consumer_timeout(facts: Facts, task: TaskFacts) -> float | None:
    """Seconds after which RabbitMQ closes the channel of a message that is not acknowledged, as far as can be known."""
    own = {queue.name: queue.consumer_timeout for queue in facts.queues}.get(facts.routes.get(task.name, ""))
    version = facts.rabbit.version if facts.rabbit else None
    if own is not None or facts.rabbit is None or not facts.rabbit.is_rabbitmq:
        return own
    if version is not None and version < (3, 8, 17):  # 3.8.15 brought it, with half of the time
        return _HALF_HOUR / 2 if version >= (3, 8, 15) else None
    return _HALF_HOUR


_CUT_OFF = (
    "RabbitMQ closes the channel of a consumer that keeps a message unacknowledged for longer than consumer_timeout, "
    "and delivers all that the worker holds to others: what runs there runs twice."
)


@check(
    "consumer-timeout-exceeded",
    Severity.DUPLICATE,
    consequence=_CUT_OFF,
    fix="consumer_timeout = <milliseconds> in rabbitmq.conf, or the queue argument x-consumer-timeout, or a shorter "
    "time limit; recovery_park_after for delays. If it is set already, this can be ignored: AMQP does not tell.",
)
def consumer_timeout_exceeded(facts: Facts) -> Iterator[Found]:
    """Tasks that RabbitMQ takes away before they have to end."""
    over, limit, longest = [], _HALF_HOUR, 0.0
    for task in facts.tasks:
        allowed = _consumer_timeout(facts, task)
        needs = max(task.time_limit or 0.0 if task.acks_late else 0.0, facts.held_delay(task))
        if allowed is not None and needs >= allowed:
            over.append(task)
            limit, longest = min(limit, allowed), max(longest, needs)
    if over:
        what = f"{span(limit)} unless configured otherwise, and {named(over)} may take {span(longest)}"
        yield found("consumer_timeout", what, milliseconds=f"{2000 * longest:.0f}")


@check(
    "consumer-timeout-unbounded",
    Severity.ADVICE,
    consequence=_CUT_OFF,
    fix="task_time_limit below it. The value in force is not told over AMQP: "
    "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' (milliseconds).",
)
def consumer_timeout_unbounded(facts: Facts) -> Iterator[Found]:
    """Late-acknowledged tasks without a limit, where RabbitMQ has one."""
    unlimited = [
        task for task in facts.tasks if task.acks_late and not task.time_limit and _consumer_timeout(facts, task)
    ]
    if unlimited:
        limit = min(_consumer_timeout(facts, task) or _HALF_HOUR for task in unlimited)
        yield found("consumer_timeout", f"{span(limit)} by default, and nothing ends {named(unlimited)} before that")


@check(
    "channel-error-fatal",
    Severity.DELAY,
    consequence="An error on the channel alone, such as consumer_timeout or a deleted queue, ends the whole worker "
    'with "Unrecoverable error"; what it was running starts again elsewhere, and its slots are missing until it is '
    "restarted.",
    fix="broker_channel_error_retry = True",
)
def channel_error_fatal(facts: Facts) -> Iterator[Found]:
    """A channel error ends the worker."""
    late = any(task.acks_late for task in facts.tasks)
    if facts.store and facts.recoverable:  # then the worker connects anew
        return
    if facts.driver == "amqp" and late and not facts.conf["broker_channel_error_retry"]:
        yield found("broker_channel_error_retry", "False")


@check(
    "ack-emulation-off",
    Severity.LOSS,
    consequence="A task leaves Redis when a worker takes it, and is written nowhere else. All that a worker has "
    "taken, running or not, is gone with it.",
    fix='Remove "ack_emulation" from broker_transport_options.',
)
def ack_emulation_off(facts: Facts) -> Iterator[Found]:
    """On Redis, tasks are never acknowledged."""
    if facts.driver == "redis" and not facts.acknowledged:
        yield found("broker_transport_options", "ack_emulation is False")


@check(
    "heartbeat-off",
    Severity.DELAY,
    consequence="RabbitMQ does not notice that a worker's machine is gone until TCP does, which may take hours. "
    "Until then what that worker held is not given to another.",
    fix="broker_heartbeat = 120",
)
def heartbeat_off(facts: Facts) -> Iterator[Found]:
    """RabbitMQ does not notice dead connections."""
    if facts.driver == "amqp" and not facts.conf["broker_heartbeat"]:
        yield found("broker_heartbeat", str(facts.conf["broker_heartbeat"]))


@check(
    "connection-retry-off",
    Severity.DELAY,
    consequence="A worker that loses its connection to the broker shuts down instead of connecting again. Until it is "
    "started anew, nothing is run.",
    fix="broker_connection_retry = True",
)
def connection_retry_off(facts: Facts) -> Iterator[Found]:
    """Workers end when the broker restarts."""
    if not facts.conf["broker_connection_retry"]:
        yield found("broker_connection_retry", "False")


@check(
    "connection-loss-twins",
    Severity.DUPLICATE,
    consequence="When the connection to the broker breaks, their messages are delivered again while they still run, "
    "and nothing recognises the second run. (Tasks on RecoverableTask are recognised.)",
    fix="base=RecoverableTask, or worker_cancel_long_running_tasks_on_connection_loss = True, which ends the first "
    "run.",
)
def connection_loss_twins(facts: Facts) -> Iterator[Found]:
    """Plain late-acknowledged tasks go on beside their twins after a broken connection."""
    late = [task for task in facts.plain if task.acks_late]
    if late and not facts.conf["worker_cancel_long_running_tasks_on_connection_loss"]:
        yield found("worker_cancel_long_running_tasks_on_connection_loss", f"False, with acks_late on {named(late)}")


@check(
    "delays-held",
    Severity.DELAY,
    consequence="Retries that wait are kept in the memory of workers, each as one more prefetched message. A failure "
    "of many tasks at once fills it; when the worker is killed for that, all of them go to the next.",
    fix="recovery_park_after = 30, with a Redis for the store; or worker_eta_task_limit = <a number>.",
)
def delays_held(facts: Facts) -> Iterator[Found]:
    """Waiting retries fill the memory of workers."""
    if facts.recoverable and not facts.parking and facts.conf["worker_eta_task_limit"] is None:
        why = "None" if facts.store else "without a store nothing can be parked"
        yield found("recovery_park_after", f"{why}, and worker_eta_task_limit is None")


@check(
    "broker-in-memory",
    Severity.LOSS,
    consequence="The queues live in one process. What waits there ends with it.",
    fix='broker_url = "redis://…" or "amqp://…"',
)
def broker_in_memory(facts: Facts) -> Iterator[Found]:
    """The broker is no server."""
    if facts.driver == "memory":
        yield found("broker_url", "memory://")


@check(
    "broker-unproven",
    Severity.ADVICE,
    consequence="celery-recovery is tested on Redis and RabbitMQ. Other transports differ in what they acknowledge, "
    "confirm and deliver again.",
    fix="Try what must not go wrong: kill -9 a worker while it runs a task, and look for the task.",
)
def broker_unproven(facts: Facts) -> Iterator[Found]:
    """A broker that nothing here was tested on."""
    known = facts.driver in (None, "redis", "amqp", "memory")
    if not known or (facts.rabbit is not None and facts.rabbit.product and not facts.rabbit.is_rabbitmq):
        product = facts.rabbit.product if facts.rabbit else facts.driver
        yield found("broker_url", str(product))


@check(
    "broker-unreachable",
    Severity.UNKNOWN,
    consequence="Nothing that only the broker can tell was checked.",
    fix="Ask again from where the broker can be reached.",
)
def broker_unreachable(facts: Facts) -> Iterator[Found]:
    """The broker did not answer, or its transport cannot be loaded."""
    if facts.rabbit is not None and facts.rabbit.error:
        yield found(f"broker {facts.rabbit.address}", f"could not be asked: {facts.rabbit.error}")
    elif facts.broker_error:
        yield found("broker_url", f"could not be asked: {facts.broker_error}")
