"""Every check finds what it looks for and nothing else; the reference lists them all."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task
from celery.app import defaults
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_recovery import RecoverableTask, Recovery, RetryPolicy
from celery_recovery.config import Settings
from celery_recovery.doctor import CHECKS, Facts, Severity, ask_app, ask_broker, ask_redis, diagnose
from celery_recovery.doctor.facts import CONF, QueueFacts, RabbitFacts, RedisFacts, TaskFacts, WorkerFacts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text("utf-8")
SERIOUS = (Severity.LOSS, Severity.DUPLICATE)

CONFIGURED: dict[str, Any] = {
    "broker_channel_error_retry": True,
    "broker_connection_retry": True,
    "broker_heartbeat": 120,
    "broker_pool_limit": 10,
    "result_backend_always_retry": False,
    "result_backend_max_retries": float("inf"),
    "task_always_eager": False,
    "task_create_missing_queues": True,
    "task_default_delivery_mode": 2,
    "task_publish_retry": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_deduplicate_successful_tasks": False,
    "worker_eta_task_limit": None,
    "worker_pool": "prefork",
    "worker_soft_shutdown_timeout": 10.0,
}
TASK = TaskFacts(name="shop.charge", recoverable=True, time_limit=300.0, longest_delay=240.0)
PLAIN = TaskFacts(name="shop.mail", recoverable=False, acks_late=False, time_limit=300.0)
QUEUE = QueueFacts(name="celery")
SERVER = RedisFacts(
    address="redis:6379/0",
    roles=frozenset(("broker", "store", "results")),
    version=(7, 2, 4),
    replica=False,
    save="3600 1",
    appendonly=True,
    appendfsync="everysec",
    failed_writes=(),
    maxmemory=0,
    used_memory=10_000_000,
    maxmemory_policy="noeviction",
    replicas=0,
    min_replicas_to_write=0,
    idle_timeout=0,
)
WORKER = WorkerFacts(
    name="w1@host",
    pool="prefork",
    queues=frozenset(("celery",)),
    registered=frozenset(("shop.charge",)),
    recoverable=frozenset(("shop.charge",)),
    software="celery 5.7.0, kombu 5.7.0, python 3.11",
)
RABBIT = RabbitFacts(address="rabbit:5672/", product="RabbitMQ", version=(3, 13, 2))

ON_REDIS = Facts(
    driver="redis",
    settings=Settings(),
    conf=CONFIGURED,
    tasks=(TASK,),
    queues=(QUEUE,),
    routes={"shop.charge": "celery"},
    redis=(SERVER,),
    results="redis",
    result_expires=86400.0,
    workers=(WORKER,),
)
ON_RABBITMQ = replace(
    ON_REDIS,
    driver="amqp",
    rabbit=RABBIT,
    transport_options={"confirm_publish": True},
    redis=(replace(SERVER, roles=frozenset(("store", "results"))),),
)


def conf(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, conf={**CONFIGURED, **changes})


def task(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, tasks=(replace(TASK, **changes),))


def plain(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, tasks=(TASK, replace(PLAIN, **changes)))


def queue(**changes: Any) -> Facts:
    return replace(ON_RABBITMQ, queues=(replace(QUEUE, **changes),))


def server(*roles: str, **changes: Any) -> Facts:
    return replace(ON_REDIS, redis=(replace(SERVER, roles=frozenset(roles or ("broker", "store")), **changes),))


def worker(facts: Facts = ON_REDIS, **changes: Any) -> Facts:
    return replace(facts, workers=(replace(WORKER, **changes),))


def setting(facts: Facts = ON_REDIS, **changes: Any) -> Facts:
    return replace(facts, settings=Settings(**changes))


NO_LEASE = setting(lease=None)
NO_PARKING = setting(ON_RABBITMQ, park_after=None)
NO_STORE = replace(ON_RABBITMQ, store=False, redis=())

#: Code -> (what has it, what is close to it and has it not).
CASES: dict[str, tuple[list[Facts], list[Facts]]] = {
    "acks-early": ([task(ON_REDIS, acks_late=False)], [plain(ON_REDIS, acks_late=False)]),
    "always-eager": ([conf(ON_REDIS, task_always_eager=True)], [ON_REDIS]),
    "requeue-on-timeout": (
        [plain(ON_REDIS, acks_late=True, acks_on_timeout=False)],
        [plain(ON_REDIS, acks_on_timeout=False), task(ON_REDIS, acks_on_timeout=False)],
    ),
    "requeue-on-worker-lost": (
        [plain(ON_REDIS, acks_late=True, reject_on_worker_lost=True)],
        [
            plain(ON_REDIS, acks_late=True, reject_on_worker_lost=True, retry_on_worker_lost=True),
            plain(ON_REDIS, acks_late=False, reject_on_worker_lost=True),
            task(ON_REDIS, reject_on_worker_lost=True),
        ],
    ),
    "reject-on-failure": (
        [
            task(queue(dead_letter_exchange=True), acks_on_failure=False),
            task(queue(dead_letter_exchange=True), acks_on_timeout=False),
        ],
        [task(ON_RABBITMQ, acks_on_failure=False), task(ON_REDIS, acks_on_failure=False)],
    ),
    "no-time-limit": ([task(ON_REDIS, time_limit=None)], [plain(ON_REDIS, time_limit=None)]),
    "plain-tasks": ([plain(ON_REDIS)], [ON_REDIS]),
    "task-expires": ([task(ON_REDIS, expires="60")], [plain(ON_REDIS, expires="60")]),
    "pickled-tasks": ([task(ON_REDIS, serializer="pickle")], [task(ON_REDIS, serializer="msgpack")]),
    "memory-too-short": (
        [
            setting(task(ON_REDIS, longest_delay=7200.0), attempt_ttl=3600),
            setting(task(ON_REDIS, time_limit=7200.0), attempt_ttl=3600),
            setting(lease=None, attempt_ttl=600),
        ],
        [setting(attempt_ttl=600), setting(ON_RABBITMQ, attempt_ttl=600)],
    ),
    "soft-shutdown-off": (
        [conf(ON_REDIS, worker_soft_shutdown_timeout=0.0)],
        [replace(conf(ON_REDIS, worker_soft_shutdown_timeout=0.0), tasks=(PLAIN,))],
    ),
    "tasks-not-imported": ([replace(ON_REDIS, import_error="ImportError: no shop.models")], [ON_REDIS]),
    "limits-not-enforced": (
        [worker(pool="threads"), worker(pool="solo"), worker(pool="eventlet"), conf(ON_REDIS, worker_pool="threads")],
        [worker(pool="gevent"), worker(pool=None), worker(task(ON_REDIS, time_limit=None), pool="threads")],
    ),
    "publish-unconfirmed": (
        [
            replace(ON_RABBITMQ, transport_options={}, tasks=(PLAIN,)),
            replace(ON_RABBITMQ, transport_options={"confirm_publish": False}),
        ],
        [replace(ON_REDIS, transport_options={}), replace(ON_RABBITMQ, transport_options={})],
    ),
    "publish-not-retried": ([conf(ON_REDIS, task_publish_retry=False)], [ON_REDIS]),
    "transient-messages": (
        [conf(ON_RABBITMQ, task_default_delivery_mode=mode) for mode in (1, "1", "transient")],
        [conf(ON_REDIS, task_default_delivery_mode=1), conf(ON_RABBITMQ, task_default_delivery_mode="persistent")],
    ),
    "connection-pool-off": (
        [conf(ON_REDIS, broker_pool_limit=None), conf(ON_REDIS, broker_pool_limit=0)],
        [conf(ON_REDIS, broker_pool_limit=1)],
    ),
    "queue-transient": (
        [
            queue(durable=False),
            queue(auto_delete=True),
            queue(exclusive=True),
            queue(expires=60.0),
            queue(delivery_mode=1),
            replace(ON_REDIS, queues=(replace(QUEUE, auto_delete=True),)),
        ],
        [replace(ON_REDIS, queues=(replace(QUEUE, durable=False),)), queue(quorum=True, delivery_mode=1)],
    ),
    "queue-no-ack": ([queue(no_ack=True)], [ON_RABBITMQ]),
    "queue-drops": (
        [queue(message_ttl=60.0), queue(max_length=1000)],
        [
            queue(max_length=1000, rejects_when_full=True),
            queue(message_ttl=60.0, dead_letter_exchange=True),
            replace(ON_REDIS, queues=(replace(QUEUE, message_ttl=60.0),)),
        ],
    ),
    "delivery-limit": (
        [
            queue(quorum=True, delivery_limit=5),
            replace(queue(quorum=True), rabbit=replace(RABBIT, version=(4, 0, 5))),
        ],
        [
            queue(quorum=True),
            queue(delivery_limit=5),
            queue(quorum=True, delivery_limit=5, dead_letter_exchange=True),
            replace(queue(quorum=True, delivery_limit=-1), rabbit=replace(RABBIT, version=(4, 0, 5))),
        ],
    ),
    "policies-not-asked": (
        [replace(ON_RABBITMQ, policies_error="timed out")],
        [ON_RABBITMQ, replace(ON_RABBITMQ, policies_error="timed out", rabbit=replace(RABBIT, product="LavinMQ"))],
    ),
    "quorum-direct-exchange": (
        [setting(queue(quorum=True), park_after=None)],
        [queue(quorum=True), setting(queue(quorum=True, exchange_type="topic"), park_after=None)],
    ),
    "dead-letters-as-tasks": (
        [
            queue(name="celery.dead_letters"),
            worker(queues=frozenset(("celery", "celery.dead_letters"))),
            replace(ON_REDIS, routes={"shop.charge": "celery.dead_letters"}),
            setting(queue(name="dead"), dead_letter_queue="dead"),
        ],
        [queue(name="celery.dead_letters", consumed=False), queue(name="dead")],
    ),
    "queues-not-created": (
        [conf(ON_REDIS, task_create_missing_queues=False)],
        [replace(conf(ON_REDIS, task_create_missing_queues=False), tasks=(PLAIN,))],
    ),
    "visibility-timeout-delay": (
        [
            replace(setting(lease=None, park_after=None), transport_options={"visibility_timeout": 200}),
            replace(NO_LEASE, transport_options={"visibility_timeout": 20}),
            replace(setting(park_after=None), driver="sqs", transport_options={"visibility_timeout": 200}),
        ],
        [
            setting(lease=None, park_after=None),
            replace(NO_LEASE, transport_options={"visibility_timeout": 200}),
            replace(setting(park_after=None), transport_options={"visibility_timeout": 200}),
            NO_PARKING,
        ],
    ),
    "visibility-timeout-task": (
        [
            task(NO_LEASE, time_limit=7200.0),
            task(NO_LEASE, time_limit=None),
            plain(NO_LEASE, acks_late=True, time_limit=None),
        ],
        [
            NO_LEASE,
            task(ON_REDIS, time_limit=None),
            plain(NO_LEASE, time_limit=None),
            task(ON_RABBITMQ, time_limit=None),
        ],
    ),
    "lease-off": ([NO_LEASE], [setting(ON_RABBITMQ, lease=None)]),
    "consumer-timeout-exceeded": (
        [
            task(ON_RABBITMQ, time_limit=3600.0),
            task(NO_PARKING, longest_delay=7200.0),
            queue(consumer_timeout=120.0),
            replace(task(ON_RABBITMQ, time_limit=1000.0), rabbit=replace(RABBIT, version=(3, 8, 16))),
        ],
        [
            task(ON_REDIS, time_limit=3600.0),
            task(ON_RABBITMQ, longest_delay=7200.0),
            task(queue(consumer_timeout=7200.0), time_limit=3600.0),
            replace(task(ON_RABBITMQ, time_limit=3600.0), rabbit=replace(RABBIT, version=(3, 8, 9))),
            plain(ON_RABBITMQ, time_limit=3600.0),
        ],
    ),
    "consumer-timeout-unbounded": (
        [task(ON_RABBITMQ, time_limit=None)],
        [
            ON_RABBITMQ,
            task(ON_REDIS, time_limit=None),
            replace(task(ON_RABBITMQ, time_limit=None), rabbit=replace(RABBIT, version=(3, 8, 9))),
        ],
    ),
    "channel-error-fatal": (
        [conf(replace(ON_RABBITMQ, store=False), broker_channel_error_retry=False)],
        [conf(ON_REDIS, broker_channel_error_retry=False), conf(ON_RABBITMQ, broker_channel_error_retry=False)],
    ),
    "ack-emulation-off": (
        [replace(ON_REDIS, transport_options={"ack_emulation": False})],
        [replace(ON_RABBITMQ, transport_options={"ack_emulation": False})],
    ),
    "heartbeat-off": (
        [conf(ON_RABBITMQ, broker_heartbeat=0), conf(ON_RABBITMQ, broker_heartbeat=None)],
        [conf(ON_REDIS, broker_heartbeat=0)],
    ),
    "connection-retry-off": ([conf(ON_REDIS, broker_connection_retry=False)], [ON_REDIS]),
    "connection-loss-twins": (
        [plain(ON_RABBITMQ, acks_late=True), plain(ON_REDIS, acks_late=True)],
        [
            plain(ON_RABBITMQ),
            plain(conf(ON_RABBITMQ, worker_cancel_long_running_tasks_on_connection_loss=True), acks_late=True),
        ],
    ),
    "delays-held": (
        [NO_PARKING, NO_STORE],
        [ON_REDIS, replace(NO_PARKING, conf={**CONFIGURED, "worker_eta_task_limit": 1000})],
    ),
    "broker-in-memory": ([replace(ON_REDIS, driver="memory")], [ON_REDIS]),
    "broker-unproven": (
        [replace(ON_REDIS, driver="sqs"), replace(ON_RABBITMQ, rabbit=replace(RABBIT, product="LavinMQ"))],
        [ON_RABBITMQ, replace(ON_REDIS, driver=None), replace(ON_REDIS, driver="memory")],
    ),
    "broker-unreachable": (
        [
            replace(ON_RABBITMQ, rabbit=RabbitFacts(address="rabbit:5672/", error="refused")),
            replace(ON_REDIS, driver=None, broker_error="no module named boto3"),
        ],
        [ON_RABBITMQ, ON_REDIS],
    ),
    "redis-not-persistent": (
        [server(appendonly=False, save=""), server("store", appendonly=False, save="")],
        [server("results", appendonly=False, save=""), server(save=""), server(appendonly=False, save=None)],
    ),
    "redis-snapshots-only": ([server(appendonly=False)], [server(), server(appendonly=None)]),
    "redis-fsync-off": ([server(appendfsync="no")], [server(appendfsync="always"), server(appendfsync=None)]),
    "redis-write-failing": ([server(failed_writes=("aof_last_write_status",))], [server(failed_writes=None)]),
    "redis-evicts": (
        [
            server(maxmemory=10**9, maxmemory_policy="allkeys-lru"),
            server("results", maxmemory=10**9, maxmemory_policy="allkeys-random"),
        ],
        [
            server(maxmemory_policy="allkeys-lru"),
            server(maxmemory=10**9),
            server(maxmemory=10**9, maxmemory_policy="volatile-ttl"),
        ],
    ),
    "redis-evicts-expiring": (
        [server(maxmemory=10**9, maxmemory_policy="volatile-lru")],
        [server("results", maxmemory=10**9, maxmemory_policy="volatile-lru"), server(maxmemory_policy="volatile-lru")],
    ),
    "redis-would-evict": (
        [server(maxmemory_policy="allkeys-lru"), server(maxmemory_policy="volatile-lru")],
        [server(maxmemory_policy=None), server(maxmemory=None, maxmemory_policy="allkeys-lru")],
    ),
    "redis-almost-full": (
        [server(maxmemory=11_000_000)],
        [server(maxmemory=12_000_000), server(maxmemory=11_000_000, used_memory=None)],
    ),
    "redis-read-only": ([server(replica=True)], [server(replica=None), server("results", replica=True)]),
    "redis-cluster": (
        [server(cluster_size=3)],
        [server(cluster_size=1), server(cluster_size=None), server("results", cluster_size=3)],
    ),
    "redis-failover": (
        [server(replicas=2)],
        [server(replicas=2, min_replicas_to_write=1), server(replicas=2, min_replicas_to_write=None)],
    ),
    "redis-too-old": (
        [server(version=(6, 0, 16)), server(version=(5,))],
        [server(version=(6, 2)), server(version=None), server("store", version=(6, 0, 16))],
    ),
    "redis-idle-timeout": ([server(idle_timeout=20)], [server(idle_timeout=300), server(idle_timeout=None)]),
    "redis-unreachable": ([server(error="Connection refused.")], [ON_REDIS]),
    "redis-config-refused": (
        [server(config_error="no permission", save=None, appendfsync=None)],
        [server("results", config_error="no permission")],
    ),
    "no-store": ([NO_STORE, replace(NO_STORE, store_hint="sentinel")], [replace(NO_STORE, tasks=(PLAIN,))]),
    "intake-off": ([setting(intake=False)], [setting(NO_STORE, intake=False)]),
    "store-in-cache": ([replace(ON_REDIS, caches=("default",))], [ON_REDIS]),
    "result-not-kept": (
        [
            replace(ON_REDIS, results="disabled"),
            replace(ON_REDIS, results="rpc"),
            replace(ON_REDIS, results="memory"),
            task(ON_REDIS, ignore_result=True),
        ],
        [
            task(replace(ON_REDIS, results="disabled"), acks_late=False),
            plain(ON_REDIS, ignore_result=True),
            replace(ON_REDIS, results="database"),
        ],
    ),
    "result-backend-unknown": ([replace(ON_REDIS, results=None)], [ON_REDIS]),
    "result-retried-forever": (
        [plain(conf(ON_REDIS, result_backend_always_retry=True))],
        [
            plain(ON_REDIS),
            conf(ON_REDIS, result_backend_always_retry=True),
            plain(conf(ON_REDIS, result_backend_always_retry=True, result_backend_max_retries=5)),
        ],
    ),
    "chords-expire": (
        [setting(intake=False), setting(intake=False, on_dead_letter="hold"), NO_STORE],
        [
            ON_REDIS,
            setting(intake=False, on_dead_letter="fail"),
            replace(setting(intake=False), result_expires=None),
            replace(setting(intake=False), results="database"),
        ],
    ),
    "chords-expire-soon": (
        [replace(ON_REDIS, result_expires=600.0)],
        [replace(setting(on_dead_letter="fail"), result_expires=600.0), replace(ON_REDIS, result_expires=None)],
    ),
    "deduplicates-itself": (
        [conf(ON_REDIS, worker_deduplicate_successful_tasks=True)],
        [plain(conf(ON_REDIS, worker_deduplicate_successful_tasks=True))],
    ),
    "fleet-unwired": (
        [worker(recoverable=frozenset())],
        [
            worker(),
            worker(recoverable=frozenset(), queues=frozenset(("other",))),
            worker(recoverable=frozenset(), registered=None),
        ],
    ),
    "fleet-unknown-task": (
        [worker(recoverable=frozenset(), registered=frozenset(("other.task",)))],
        [
            worker(recoverable=frozenset(("other.task",)), registered=frozenset(("other.task",))),
            worker(recoverable=frozenset(), registered=None),
            worker(recoverable=frozenset(), registered=frozenset(), queues=frozenset(("other",))),
        ],
    ),
    "fleet-versions": (
        [replace(ON_REDIS, workers=(WORKER, replace(WORKER, name="w2@host", software="celery 5.6.0, kombu 5.6.1")))],
        [replace(ON_REDIS, workers=(WORKER, replace(WORKER, name="w2@host", software=None)))],
    ),
    "workers-not-asked": (
        [replace(ON_REDIS, workers=None, workers_error="timed out")],
        [replace(ON_REDIS, workers=None)],
    ),
}


def codes(facts: Facts) -> set[str]:
    return {finding.code for finding in diagnose(facts)}


class TestChecks:
    def test_every_check_has_its_cases(self):
        """None was added without an example of both sides."""
        assert set(CASES) == set(CHECKS)

    @pytest.mark.parametrize("facts", [ON_REDIS, ON_RABBITMQ], ids=["redis", "rabbitmq"])
    def test_a_sound_configuration_has_no_findings(self, facts):
        """None at all: whoever has done everything right is not told anything."""
        assert diagnose(facts) == []

    @pytest.mark.parametrize(("code", "facts"), [(code, ill) for code, (bad, _) in CASES.items() for ill in bad])
    def test_finds(self, code, facts):
        """With a subject, what was found there, and words in which nothing is left open."""
        (finding,) = (one for one in diagnose(facts) if one.code == code)
        assert finding.severity is CHECKS[code].severity
        assert all(finding.to_dict().values())
        assert not re.search(r"<\w+>", finding.consequence + finding.fix)
        json.dumps(finding.to_dict())

    @pytest.mark.parametrize(("code", "facts"), [(code, well) for code, (_, good) in CASES.items() for well in good])
    def test_finds_not(self, code, facts):
        """What is close to it and is none."""
        assert code not in codes(facts)

    def test_a_finding_says_what_was_there(self):
        """The value, the server, the tasks by name, and the setting to write."""
        (found,) = (one for one in diagnose(task(NO_LEASE, time_limit=7200.0)) if one.code == "visibility-timeout-task")
        assert found.what == "3600 s, and nothing ends 1 task: shop.charge before that"
        assert '{"visibility_timeout": 14400}' in found.fix
        (found,) = diagnose(server("store", appendonly=False, save=""))
        assert found.subject == "Redis at redis:6379/0 (store)"
        assert found.consequence.endswith("every dead letter, every parked task, and what is known of attempts.")

    def test_long_lists_are_cut(self):
        """Five names, and how many more."""
        many = tuple(replace(PLAIN, name=f"shop.t{n}") for n in range(9))
        (found,) = diagnose(replace(ON_REDIS, tasks=(TASK, *many)))
        assert found.what == "9 tasks: shop.t0, shop.t1, shop.t2, shop.t3, shop.t4 and 4 more (of 10)"

    def test_the_worst_comes_first(self):
        """Loss, duplicate, delay, unknown, advice."""
        facts = plain(conf(setting(intake=False), broker_connection_retry=False), acks_late=True)
        ranks = [finding.severity.rank for finding in diagnose(replace(facts, results=None, caches=("default",)))]
        assert ranks == sorted(ranks)
        assert set(ranks) == set(range(5))

    def test_what_is_not_known_is_no_finding(self):
        """A server that tells nothing is reported as that, and not as one that loses everything."""
        mute = RedisFacts(address="redis:6379/0", roles=frozenset(("broker", "store")), error="timed out")
        facts = replace(ON_REDIS, redis=(mute,), workers=None, results=None)
        assert {finding.severity for finding in diagnose(facts)} == {Severity.UNKNOWN}

    def test_refused_settings_are_named(self):
        """Those that only CONFIG tells, so that somebody can look them up."""
        facts = server(config_error="no permission", save=None, appendfsync=None, idle_timeout=None)
        (found,) = diagnose(facts)
        assert found.what == "could not ask for save, appendfsync, timeout (CONFIG refused: no permission)"

    def test_a_check_that_fails_hides_no_other(self):
        """A setting of the wrong type breaks one check; the others still speak."""
        odd = replace(conf(ON_REDIS, task_always_eager=True), transport_options={"visibility_timeout": "an hour"})
        found = {finding.code: finding for finding in diagnose(replace(odd, settings=Settings(lease=None)))}
        assert {"always-eager", "check-failed"} <= set(found)
        assert found["check-failed"].severity is Severity.UNKNOWN

    def test_the_settings_that_are_read_are_gathered(self):
        """The examples above have the same settings as real facts."""
        assert set(CONF) == set(CONFIGURED)
        assert set(CONF) <= set(defaults.DEFAULTS)


class TestReference:
    def test_every_check_is_listed(self):
        """With its severity, its consequence and its fix, word for word, in the order of severity."""
        told = [
            (code, severity, consequence, fix)
            for code, severity, consequence, fix in re.findall(
                r"^### `([\w-]+)`\n\n\*(\w+)\.\* [^\n]+\n\n\*\*Then:\*\* ([^\n]+)\n\n\*\*Fix:\*\* ([^\n]+)\n",
                PAGE,
                re.MULTILINE,
            )
        ]
        checks = sorted(CHECKS.values(), key=lambda check: check.severity.rank)
        assert told == [(check.code, check.severity.value, check.consequence, check.fix) for check in checks]

    def test_titles(self):
        """As `--list` has them."""
        for check in CHECKS.values():
            assert f"*{check.severity}.* {check.title}.\n" in PAGE


def charge() -> None:
    """The body of all tasks here."""


class Shop:
    """A small app in this process; nothing is connected to."""

    def __init__(self, **settings: Any) -> None:
        self.app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(settings)

    def task(self, name: str = "shop.charge", base: type[Task] = RecoverableTask, **options: Any) -> TaskFacts:
        self.app.task(name=name, base=base, shared=False, **options)(charge)
        self.app.finalize()
        (found,) = (one for one in ask_app.tasks(self.app, Recovery.of(self.app).policies_of) if one.name == name)
        return found


class TestApp:
    def test_tasks_with_what_they_inherit(self):
        """Settings of the app, unless the task has its own."""
        facts = Shop(task_time_limit=60, task_acks_on_failure_or_timeout=False).task(acks_late=False, expires=30)
        assert facts.recoverable
        assert (facts.acks_late, facts.acks_on_failure, facts.acks_on_timeout) == (False, False, False)
        assert (facts.time_limit, facts.expires) == (60.0, "30")

    def test_recoverable_tasks_acknowledge_late(self):
        """By themselves; the app can say otherwise."""
        assert Shop().task().acks_late
        assert not Shop(recovery_acks_late=False).task().acks_late

    def test_a_plain_task(self):
        """Is known as one, and Celery's own tasks are left out."""
        shop = Shop()
        assert not shop.task(base=Task).recoverable
        found = {one.name for one in ask_app.tasks(shop.app, Recovery.of(shop.app).policies_of)}
        assert not any(name.startswith("celery.") for name in found)

    @pytest.mark.parametrize(
        ("options", "longest"),
        [
            ({}, 120.0),  # memory: 60 + 120 s
            ({"policy": RetryPolicy(max_attempts=4, base_delay=10)}, 40.0),
            ({"policy": RetryPolicy(max_attempts=None, base_delay=10, max_delay=7200)}, 7200.0),
            ({"policy": RetryPolicy(max_attempts=2, max_delay=900, jitter="decorrelated")}, 900.0),
            ({"policy": 1}, 0.0),
            ({"policy": 1, "policies": {"shop.errors.Slow": RetryPolicy(max_attempts=2, base_delay=200)}}, 200.0),
            ({"policy": 1, "default_retry_delay": 999}, 999.0),
        ],
    )
    def test_longest_delay(self, options, longest):
        """Over all error types, and all exceptions that a policy names."""
        assert Shop().task(**options).longest_delay == longest

    def test_queues(self):
        """What the broker is told when they are declared, in seconds."""
        shop = Shop(
            task_queues=[
                Queue(
                    "orders",
                    Exchange("orders", type="topic", durable=False, delivery_mode="transient"),
                    durable=False,
                    queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": 5, "x-message-ttl": 1500},
                ),
                Queue("mails", max_length=10, expires=60, queue_arguments={"x-overflow": "reject-publish"}),
                Broadcast("announcements"),
            ]
        )
        mails, orders = ask_app.queues(shop.app)
        assert (orders.quorum, orders.delivery_limit, orders.message_ttl) == (True, 5, 1.5)
        assert (orders.durable, orders.exchange_type, orders.delivery_mode) == (False, "topic", 1)
        assert (mails.max_length, mails.expires, mails.rejects_when_full) == (10, 60.0, True)

    def test_queues_that_are_only_routed_to(self):
        """Are known, but not as consumed."""
        shop = Shop(task_routes={"shop.charge": "billing"})
        shop.task()
        routes = ask_app.routes(shop.app, ["shop.charge"])
        assert routes == {"shop.charge": "billing"}
        found = {queue.name: queue.consumed for queue in ask_app.queues(shop.app, routes.values())}
        assert found == {"celery": True, "billing": False}

    def test_a_router_that_fails(self):
        """Leaves the task's queue unknown."""

        def router(*_: Any, **__: Any) -> Any:
            raise KeyError("tenant")

        shop = Shop(task_routes=[router])
        shop.task()
        assert ask_app.routes(shop.app, ["shop.charge"]) == {}

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            (None, "disabled"),
            ("redis://127.0.0.1:1", "redis"),
            ("rpc://", "rpc"),
            ("cache+memory://", "memory"),
            ("nonsense://", None),
        ],
    )
    def test_result_backend(self, url, found):
        """Its kind, without connecting to it."""
        kind, _ = ask_app.result_backend(Celery("shop", backend=url, set_as_current=False))
        assert kind == found

    @pytest.mark.parametrize(
        ("location", "shared"),
        [
            ("redis://127.0.0.1:6379/1", True),
            ("redis://:secret@localhost/1", True),
            (["redis://other:6379/1", "redis://localhost:6379/1"], True),
            ("redis://127.0.0.1:6379/2", False),
            ("127.0.0.1:11211", False),
        ],
    )
    def test_djangos_caches(self, location, shared, monkeypatch):
        """One in the database of the store is found; clearing it would empty the store."""
        settings = SimpleNamespace(CACHES={"default": {"LOCATION": location}, "local": {"BACKEND": "locmem"}})
        monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=settings))
        found = ask_app.caches([{"host": "127.0.0.1", "port": 6379, "db": 1}])
        assert found == (("default",) if shared else ())

    def test_modules_that_cannot_be_imported(self):
        """Are told, with the error."""
        told = ask_app.imported(Celery("shop", include=["no.such.module"], set_as_current=False))
        assert told == "ModuleNotFoundError: No module named 'no'"

    def test_a_broker_whose_library_is_missing(self):
        """Is told, and nothing is known of it."""
        answer = ask_broker.ask(Celery("shop", broker="nonsense://here", set_as_current=False))
        assert answer.driver is None
        assert answer.error
        assert not answer.reached


class TestRedis:
    def test_roles_of_one_server_are_merged(self):
        """The same run id is the same server, whatever database; the findings name both."""
        broker = replace(SERVER, address="redis:6379/0", roles=frozenset(("broker",)))
        store = replace(SERVER, address="redis:6379/1", roles=frozenset(("store",)))
        other = replace(SERVER, address="other:6379/0", roles=frozenset(("results",)))
        (one, two) = ask_redis.merged([(broker, "run1"), (store, "run1"), (other, "run2")])
        assert (one.address, one.roles) == ("redis:6379/0 and redis:6379/1", {"broker", "store"})
        assert two == other

    def test_silent_servers_are_told_apart_by_address(self):
        """There is no run id to compare."""
        away = RedisFacts(address="redis:6379/0", roles=frozenset(("broker",)), error="refused")
        (one,) = ask_redis.merged([(away, None), (replace(away, roles=frozenset(("store",))), None)])
        assert one.roles == {"broker", "store"}
