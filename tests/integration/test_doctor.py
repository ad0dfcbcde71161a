"""`celery -A app recovery doctor` on real servers, sound ones and others."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from kombu import Connection, Queue

from celery_recovery.doctor import CHECKS, Severity, ask_management
from tests.services import RabbitServer, RedisServer, Worker, wait_until
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.apps.examined"
NOWHERE = "redis://127.0.0.1:1/0"
SERIOUS = {severity.value for severity in (Severity.LOSS, Severity.DUPLICATE)}
CONFIRMED = {"broker_transport_options": {"confirm_publish": True}, "broker_channel_error_retry": True}

pytestmark = pytest.mark.redis


class Ended(NamedTuple):
    """What the doctor printed on stdout and stderr, and its exit code."""

    output: str
    errors: str
    code: int

    @property
    def document(self) -> dict[str, Any]:
        """Its JSON."""
        found: dict[str, Any] = json.loads(self.output)
        return found

    @property
    def codes(self) -> set[str]:
        """Of all findings."""
        return {finding["code"] for finding in self.document["findings"]}

    @property
    def serious(self) -> list[dict[str, str]]:
        """Findings of loss and duplicates."""
        return [finding for finding in self.document["findings"] if finding["severity"] in SERIOUS]


def environment(broker: str, backend: str | None, **conf: Any) -> dict[str, str]:
    places = {"CELERY_BROKER_URL": broker, "EXAMINED_CONF": json.dumps(conf)}
    return {**places, **({"CELERY_RESULT_BACKEND": backend} if backend else {})}


class ManagedRabbit(RabbitServer):
    """With the management plugin."""

    def _write_configuration(self) -> None:
        super()._write_configuration()
        self.management_port = free_port()
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management].\n")
        with (self.directory / "rabbitmq.conf").open("a") as conf:
            conf.write(f"management.tcp.port = {self.management_port}\nmanagement.tcp.ip = 127.0.0.1\n")

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    def told(self, vhost: str) -> str:
        """What the API says of the queues."""
        place = ask_management.Place(vhost=vhost, user="guest", password="guest")
        return str(ask_management.ask(self.management_url, place))

    def policy(self, vhost: str, pattern: str, **definition: Any) -> None:
        """Set one, over the management API."""
        body = json.dumps({"pattern": pattern, "apply-to": "queues", "definition": definition}).encode()
        token = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        url = f"{self.management_url}/api/policies/{vhost}/test"
        urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT"), timeout=10).close()


def doctor(*words: str, broker: str, backend: str | None = None, app: str | None = MODULE, **conf: Any) -> Ended:
    """Run the command as an operator does; workers are asked where the words say how long."""
    if "--timeout" not in words:
        words = (*words, "--no-workers")
    paths = os.pathsep.join((str(ROOT), *sys.path))
    env = {**os.environ, **environment(broker, backend or broker, **conf), "PYTHONPATH": paths, "COLUMNS": "100"}
    command = [sys.executable, "-m", "celery", *(("-A", app) if app else ()), "recovery", "doctor", *words]
    run = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback (most recent call last)" not in run.stderr, run.stderr
    return Ended(run.stdout, run.stderr, run.returncode)


@pytest.fixture(scope="module")
def sound_redis() -> Iterator[RedisServer]:
    """It writes everything down and evicts nothing."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture(scope="module")
def careless_redis() -> Iterator[RedisServer]:
    """It writes nothing down and evicts anything."""
    with RedisServer(options=("--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru")) as server:
        yield server


def _opens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestRedis:
    def test_a_cluster_of_one(self):
        """Has all keys: it is as good as any other."""
        with RedisServer(appendonly=True, options=("--cluster-enabled", "yes")) as server:
            with redis.Redis.from_url(server.url()) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", what="the cluster")
            ended = doctor("--json", broker=server.url())
        assert ended.codes == set()

    def test_a_sound_configuration(self, sound_redis):
        """No loss, no duplicate, exit code 0; not even advice."""
        ended = doctor("--json", "--fail-on", "advice", broker=sound_redis.url())
        assert ended.document["findings"] == []
        assert ended.code == 0
        assert ended.document["tasks"] == 1

    def test_a_redis_that_forgets(self, careless_redis):
        """Eviction and missing persistence are losses, of all that is on that server; exit code 7."""
        ended = doctor("--json", broker=careless_redis.url(), backend=careless_redis.url(1))
        assert ended.code == 7
        found = {finding["code"]: finding for finding in ended.serious}
        assert set(found) == {"redis-not-persistent", "redis-evicts"}
        assert "(broker, results, store)" in found["redis-evicts"]["subject"]
        assert "maxmemory-policy is allkeys-lru" in found["redis-evicts"]["what"]

    def test_in_words(self, careless_redis):
        """By severity, each with where, what, consequence and fix, in the width of the terminal."""
        ended = doctor(broker=careless_redis.url())
        assert ended.code == 7
        assert ended.output.startswith("LOSS: a task, its letter or its chord can vanish (2)\n")
        assert "  fix    maxmemory-policy noeviction" in ended.output
        assert f"Found 2 loss ({len(CHECKS)} checks of 1 tasks; workers were not asked)." in ended.output
        assert max(map(len, ended.output.splitlines())) <= 100

    def test_snapshots_only(self, sound_redis):
        """What was written since the last one is lost."""
        with RedisServer(options=("--save", "3600 1")) as server:
            ended = doctor("--json", broker=server.url())
        assert [finding["code"] for finding in ended.serious] == ["redis-snapshots-only"]
        assert '"3600 1"' in ended.serious[0]["what"]

    def test_a_replica(self, sound_redis):
        """Nothing can be written to it; the primary is told what a failover loses."""
        with RedisServer(appendonly=True, options=("--replicaof", f"127.0.0.1 {sound_redis.port}")) as replica:
            with redis.Redis.from_url(replica.url()) as client:
                wait_until(lambda: client.info("replication")["master_link_status"] == "up", what="the link")
            ended = doctor("--json", broker=sound_redis.url(), backend=replica.url(), recovery_redis_url=replica.url())
        assert [finding["code"] for finding in ended.serious] == ["redis-read-only"]
        assert "redis-failover" in ended.codes

    def test_settings_that_are_refused(self, sound_redis):
        """Are not guessed: what INFO tells is checked, the rest is said not to be known."""
        with redis.Redis.from_url(sound_redis.url()) as client:
            client.acl_setuser(
                "app", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-config"]
            )
        url = sound_redis.url().replace("redis://", "redis://app:any@")
        ended = doctor("--json", broker=url)
        assert ended.codes == {"redis-config-refused"}
        (found,) = ended.document["findings"]
        assert found["what"].startswith("could not ask for save, appendfsync, timeout, min-replicas-to-write (CONFIG")
        assert "any@" not in ended.output
        assert (ended.code, doctor("--fail-on", "unknown", broker=url).code) == (0, 7)

    def test_a_store_without_persistence_apart_from_the_broker(self, sound_redis, careless_redis):
        """The finding names the server that it is about, and what is on it."""
        ended = doctor("--json", broker=sound_redis.url(), recovery_redis_url=careless_redis.url(3))
        found = {finding["code"]: finding for finding in ended.serious}
        assert set(found) == {"redis-not-persistent", "redis-evicts"}
        assert found["redis-evicts"]["subject"] == f"Redis at 127.0.0.1:{careless_redis.port}/3 (store)"
        assert "every dead letter" in found["redis-evicts"]["consequence"]
        assert "every task" not in found["redis-evicts"]["consequence"]


@pytest.mark.rabbitmq
class TestRabbitMQ:
    def test_a_sound_configuration(self, rabbit_url, sound_redis):
        """No loss, no duplicate, no advice; that the policies were not asked is all there is to say."""
        ended = doctor("--json", broker=rabbit_url, backend=sound_redis.url(), **CONFIRMED)
        assert ended.codes == {"policies-not-asked"}
        assert (ended.code, ended.document["broker"]) == (0, "amqp")

    def test_celerys_defaults(self, rabbit_url, sound_redis):
        """They leave nothing open that the package does not see to."""
        ended = doctor("--json", broker=rabbit_url, backend=sound_redis.url())
        assert ended.serious == []
        assert ended.codes == {"policies-not-asked"}
        assert ended.code == 0

    def test_confirms_switched_off(self, rabbit_url, sound_redis):
        """Whoever says so loses tasks with the broker."""
        options = {"confirm_publish": False}
        ended = doctor("--json", broker=rabbit_url, backend=sound_redis.url(), broker_transport_options=options)
        assert [finding["code"] for finding in ended.serious] == ["publish-unconfirmed"]
        assert ended.code == 7

    def test_without_a_store(self, rabbit_url):
        """Neither letters nor attempts are kept, and results that nobody can read tell of no success."""
        ended = doctor("--json", broker=rabbit_url, backend="rpc://", **CONFIRMED)
        assert {finding["code"] for finding in ended.serious} == {"no-store", "result-not-kept"}

    def test_the_version_is_asked(self, rabbit_url, sound_redis):
        """A task without a limit meets the consumer_timeout that this version has."""
        conf = {**CONFIRMED, "task_time_limit": None}
        ended = doctor("--json", broker=rabbit_url, backend=sound_redis.url(), **conf)
        assert "consumer-timeout-unbounded" in ended.codes

    @pytest.mark.slow
    def test_policies(self, sound_redis):
        """What a policy does to a queue is seen through the management API; if that is not there, it is said."""
        with ManagedRabbit() as rabbit:
            broker = rabbit.fresh_url()
            with Connection(broker) as connection:
                Queue("celery", durable=True)(connection.default_channel).declare()
            wait_until(lambda: _opens(rabbit.management_port), what="the management API")
            ask = ("--json", "--management-url", rabbit.management_url)
            sound = doctor(*ask, broker=broker, backend=sound_redis.url(), **CONFIRMED)
            rabbit.policy("v1", "^celery$", **{"max-length": 1000, "message-ttl": 60000})
            wait_until(lambda: "max-length" in rabbit.told("v1"), what="the API to tell", interval=0.2)  # its own pace
            dropping = doctor(*ask, broker=broker, backend=sound_redis.url(), **CONFIRMED)
            refused = ("--json", "--management-url", rabbit.management_url.replace("//", "//guest:wrong@"))
            found = doctor(*refused, broker=broker, backend=sound_redis.url(), **CONFIRMED)
        assert sound.document["findings"] == []
        assert {finding["what"] for finding in dropping.serious} == {"messages live 60 s", "holds 1000 at most"}
        assert dropping.codes == {"queue-drops"}
        assert found.codes == {"policies-not-asked"}
        assert "401" in found.document["findings"][0]["what"]


class TestAway:
    def test_nothing_is_there(self):
        """It says what could not be asked, and ends with 3: that is not the same as sound."""
        ended = doctor("--json", broker=NOWHERE)
        assert ended.codes == {"redis-unreachable"}
        assert ended.code == 3
        assert ended.document["workers"] is None

    def test_only_the_broker_is_away(self, careless_redis):
        """What is found in the rest counts more than what was not seen."""
        ended = doctor("--json", broker="amqp://guest:secret@127.0.0.1:1//", backend=careless_redis.url())
        assert ended.code == 7
        assert {"broker-unreachable", "redis-evicts"} <= ended.codes
        assert "secret" not in ended.output + ended.errors

    def test_a_setting_that_makes_no_sense(self, sound_redis):
        """Is refused in a sentence."""
        ended = doctor(broker=sound_redis.url(), recovery_park_after="soon")
        assert ended.code == 2
        assert "recovery_park_after" in ended.errors

    @pytest.mark.slow
    def test_a_paused_redis(self):
        """Costs some seconds, and no more."""
        with RedisServer(appendonly=True) as server:
            server.pause()
            ended = doctor("--json", broker=server.url())
        assert ended.codes == {"redis-unreachable"}
        assert ended.code == 3


class TestCommand:
    def test_without_an_app(self, sound_redis):
        """Celery's default app says nothing about anybody's; whoever forgot -A is told."""
        ended = doctor("--json", broker=sound_redis.url(), app=None)
        assert "No app was named" in ended.errors

    def test_fail_on(self, careless_redis):
        """The level from which on the exit code is 7."""
        url = careless_redis.url()
        assert [doctor("--fail-on", level, broker=url).code for level in ("loss", "never")] == [7, 0]

    def test_ignore(self, careless_redis):
        """A risk that was taken is left out, and named; one that does not exist is refused."""
        taken = ("--ignore", "redis-evicts", "--ignore", "redis-not-persistent", "--ignore", "no-time-limit")
        ended = doctor("--json", *taken, broker=careless_redis.url())
        assert ended.code == 0
        assert ended.document["ignored"] == ["redis-evicts", "redis-not-persistent"]
        assert not ended.serious
        ended = doctor("--ignore", "redis-evict", broker=careless_redis.url())
        assert (ended.code, "no check 'redis-evict'" in ended.errors) == (2, True)

    def test_list(self):
        """All checks, without asking anybody."""
        ended = doctor("--list", broker=NOWHERE)
        assert ended.code == 0
        assert {line.split()[0] for line in ended.output.splitlines()[1:]} == set(CHECKS)
        listed = doctor("--list", "--json", broker=NOWHERE).document["checks"]
        assert [set(check) for check in listed] == [{"code", "severity", "title", "consequence", "fix"}] * len(CHECKS)

    def test_json(self, careless_redis):
        """The keys that stay."""
        document = doctor("--json", broker=careless_redis.url()).document
        assert list(document) == [
            *("app", "broker", "tasks", "workers", "checks", "counts", "findings", "ignored", "failed"),
        ]
        assert list(document["counts"]) == [severity.value for severity in Severity]
        for finding in document["findings"]:
            assert list(finding) == ["code", "severity", "subject", "what", "consequence", "fix"]
            assert all(isinstance(value, str) and value for value in finding.values())


class TestWorkers:
    def test_a_fleet_of_one_kind(self, sound_redis, worker: Callable[..., Worker]):
        """Is asked, and found sound."""
        one = worker(MODULE, pool="solo", env=environment(sound_redis.url(7), sound_redis.url(7)))
        ended = doctor("--json", "--timeout", "3", broker=sound_redis.url(7))
        assert ended.document["workers"] == [one.name]
        assert ended.codes == {"limits-not-enforced"}

    def test_a_mixed_fleet(self, sound_redis, worker: Callable[..., Worker]):
        """A worker that runs the same tasks without recovery is found out; --no-workers does not ask."""
        env = environment(sound_redis.url(8), sound_redis.url(8))
        worker(MODULE, pool="solo", env=env)
        old = worker(MODULE, pool="solo", env={**env, "EXAMINED_PLAIN": "1"})
        ended = doctor("--json", "--timeout", "3", broker=sound_redis.url(8))
        (found,) = ended.serious
        assert (found["code"], found["subject"]) == ("fleet-unwired", f"worker {old.name}")
        assert f"{MODULE}.charge" in found["what"]
        unasked = doctor("--json", "--no-workers", broker=sound_redis.url(8))
        assert (unasked.document["workers"], unasked.serious) == (None, [])

    def test_a_worker_that_eats_letters(self, sound_redis, worker: Callable[..., Worker]):
        """Its queues are compared with the dead-letter queue."""
        env = environment(sound_redis.url(9), sound_redis.url(9))
        worker(MODULE, pool="solo", env=env, queues=["celery", "celery.dead_letters"])
        ended = doctor("--json", "--timeout", "3", broker=sound_redis.url(9))
        assert [finding["code"] for finding in ended.serious] == ["dead-letters-as-tasks"]
