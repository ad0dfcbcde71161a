"""Queues as the app declares them and, where the management API was asked, as RabbitMQ's policies make them."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts, QueueFacts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import span

__all__ = ()

#: First RabbitMQ that gives every quorum queue a delivery limit, of this many deliveries.
_LIMITED_SINCE, _LIMIT = (4, 0), 20


@check(
    "queue-transient",
    Severity.LOSS,
    consequence="Tasks that wait in it are gone when the broker restarts, or when its last consumer leaves: a "
    "deployment is enough.",
    fix='Queue("<queue>", Exchange(…, durable=True), durable=True, auto_delete=False, exclusive=False), '
    "without expires and with delivery_mode 2.",
)
def queue_transient(facts: Facts) -> Iterator[Found]:
    """Queues that vanish, with the tasks in them."""
    for queue in facts.queues:
        if reasons := list(_vanishes(queue, facts.driver)):
            yield found(f"queue {queue.name}", ", ".join(reasons), queue=queue.name)


def _vanishes(queue: QueueFacts, driver: str | None) -> Iterator[str]:
    if queue.auto_delete and driver in ("amqp", "redis"):
        yield "auto_delete"
    if queue.expires is not None and driver in ("amqp", "redis"):
        yield f"expires after {span(queue.expires)} without a consumer"
    if driver != "amqp":
        return
    if queue.exclusive:
        yield "exclusive"
    if not queue.durable:
        yield "not durable"
    if queue.delivery_mode == 1 and not queue.quorum:
        yield "its exchange's delivery mode is transient"


@check(
    "queue-no-ack",
    Severity.LOSS,
    consequence="The broker forgets a task as soon as it has sent it to a worker. All that a worker has taken, "
    "running or not, is gone with it.",
    fix='Queue("<queue>", …) without no_ack.',
)
def queue_no_ack(facts: Facts) -> Iterator[Found]:
    """Queues whose tasks are never acknowledged."""
    for queue in facts.queues:
        if queue.no_ack:
            yield found(f"queue {queue.name}", "no_ack", queue=queue.name)


@check(
    "queue-drops",
    Severity.LOSS,
    consequence="RabbitMQ drops tasks that wait too long in it, or the oldest when it is full. Nobody is told, and "
    "the result stays open for ever.",
    fix='Remove x-message-ttl and x-max-length of "<queue>"; or x-overflow: "reject-publish" where its length has to '
    "be bounded, so that the producer is told.",
)
def queue_drops(facts: Facts) -> Iterator[Found]:
    """Queues that drop waiting tasks."""
    if facts.driver != "amqp":
        return
    for queue in facts.queues:
        if queue.dead_letter_exchange:
            continue
        if queue.message_ttl is not None:
            yield found(f"queue {queue.name}", f"messages live {span(queue.message_ttl)}", queue=queue.name)
        if queue.max_length is not None and not queue.rejects_when_full:
            yield found(f"queue {queue.name}", f"holds {queue.max_length} at most", queue=queue.name)


@check(
    "delivery-limit",
    Severity.LOSS,
    consequence="RabbitMQ counts how often it has delivered a message again. At the limit it drops it, without a "
    "result or a letter. Every worker that dies adds one for each message it had only prefetched.",
    fix='queue_arguments={"x-dead-letter-exchange": …} for "<queue>", so that it is kept; or "x-delivery-limit": -1, '
    "and recovery_max_crashes stops what kills its workers.",
)
def delivery_limit(facts: Facts) -> Iterator[Found]:
    """Quorum queues that drop what was delivered too often."""
    if facts.driver != "amqp":
        return
    rabbit = facts.rabbit
    version = (rabbit.version if rabbit is not None and rabbit.is_rabbitmq else None) or (0,)
    for queue in facts.queues:
        limit = queue.delivery_limit
        if limit is None and version >= _LIMITED_SINCE:
            limit = _LIMIT
        if queue.quorum and limit is not None and limit >= 0 and not queue.dead_letter_exchange:
            yield found(f"queue {queue.name}", f"delivery limit {limit}, no dead-letter exchange", queue=queue.name)


@check(
    "quorum-direct-exchange",
    Severity.DELAY,
    consequence="Native delayed delivery needs a topic exchange. Retries that wait are held in the memory of "
    "workers, and as quorum queues cannot raise the prefetch count, as many of them as a worker may prefetch stop it "
    "altogether.",
    fix='Queue("<queue>", Exchange("<queue>", type="topic"), routing_key="<queue>", …), or recovery_park_after = 30 '
    "with a Redis for the store.",
)
def quorum_direct_exchange(facts: Facts) -> Iterator[Found]:
    """Quorum queues whose delayed tasks block their worker."""
    if facts.driver != "amqp" or facts.parking:
        return
    for queue in facts.queues:
        if queue.quorum and queue.exchange_type == "direct":
            yield found(f"queue {queue.name}", "a quorum queue on a direct exchange", queue=queue.name)


@check(
    "dead-letters-as-tasks",
    Severity.DUPLICATE,
    consequence="A letter is a runnable task. Workers that consume its queue run it again at once, fail, write the "
    "next letter and so on; nothing stays for `recovery dlq`.",
    fix="Take <queue> out of task_queues, task_default_queue, task_routes and every worker's -Q. Workers with "
    "celery-recovery read it by themselves.",
)
def dead_letters_as_tasks(facts: Facts) -> Iterator[Found]:
    """The dead-letter queue is consumed as a task queue."""
    name = facts.settings.dead_letter_queue
    if any(queue.name == name and queue.consumed for queue in facts.queues):
        yield found("task_queues", f"{name} is among them", queue=name)
    for worker in facts.workers or ():
        if name in (worker.queues or ()):
            yield found(f"worker {worker.name}", f"takes tasks from {name}", queue=name)
    routed = sorted(task for task, queue in facts.routes.items() if queue == name)
    if routed:
        yield found("task_routes", f"{routed[0]} goes to {name}", queue=name)


@check(
    "queues-not-created",
    Severity.DELAY,
    consequence="A letter whose queue is not in task_queues of the process that replays it cannot be sent back, and "
    "stays a letter; so does a parked task.",
    fix="task_create_missing_queues = True, or all queues in task_queues of every process.",
)
def queues_not_created(facts: Facts) -> Iterator[Found]:
    """Letters can only go back to queues that this app lists."""
    if facts.recoverable and not facts.conf["task_create_missing_queues"]:
        yield found("task_create_missing_queues", "False")


@check(
    "policies-not-asked",
    Severity.UNKNOWN,
    consequence="A policy on RabbitMQ can bound a queue's length, let its messages expire or limit their deliveries: "
    "tasks are then dropped, whatever the app declares. AMQP does not tell of policies.",
    fix="--management-url http://<host>:15672 (add user:password@ if the broker's user may not ask), or read "
    "rabbitmqctl list_policies and ignore this.",
)
def policies_not_asked(facts: Facts) -> Iterator[Found]:
    """Policies on RabbitMQ that could not be asked."""
    if facts.rabbit is not None and facts.rabbit.is_rabbitmq and facts.policies_error:
        host = facts.rabbit.address.rpartition(":")[0]
        yield found("RabbitMQ's policies", f"could not be asked: {facts.policies_error}", host=host)
