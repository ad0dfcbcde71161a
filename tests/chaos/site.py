"""One place to run a scenario: queues, a Redis database, a ledger and a trace of its own, and workers forked there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import redis
from celery import Celery

from celery_recovery import DeadLetterQueue, Letter, Recovery
from tests.apps.chaos import Ledger, make_app
from tests.chaos import steps
from tests.chaos.zygote import Nursery, Spawned

__all__ = ("Services", "Site", "until")

#: The sender of a chord needs the result backend, and must not wait for one that was just killed.
_IMPATIENT = {"retry_policy": {"max_retries": 1, "interval_start": 0.1, "timeout": 0.5}}
#: Seconds that children of a dead main process are given to finish what they were doing.
ORPHANED = 4.0


def until(condition: Callable[[], Any], timeout: float, interval: float = 0.03) -> bool:
    """True as soon as the condition is; False when time is up."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


class Services(NamedTuple):
    """Where to find what; `broker` is `redis` or `rabbitmq`."""

    broker: str
    broker_url: str
    #: Results, letters, and all else of ours.
    redis_url: str


class Site:
    """`number` must be new for the services: it names the queues."""

    def __init__(self, nursery: Nursery, services: Services, number: int, conf: dict[str, Any] | None = None) -> None:
        self.nursery = nursery
        self.services = services
        self.directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        (self.directory / "ledger").mkdir()
        self.ledger = Ledger(str(self.directory / "ledger"))
        self.queue, self.letter_queue = f"tasks-{number}", f"letters-{number}"
        self.conf = {**self._conf(), **(conf or {})}
        self.app: Celery = make_app({**self.conf, "result_backend_transport_options": _IMPATIENT})
        self.app.backend.on_task_call = lambda *_, **__: None  # nobody waits for results, so none is subscribed to
        self.app.backend.remove_pending_result = lambda result: result
        self.redis = redis.Redis.from_url(services.redis_url)
        self.redis.flushdb()
        self.workers: list[Spawned] = []
        self.others: list[Spawned] = []
        self._dead_since: dict[int, float] = {}

    def _conf(self) -> dict[str, Any]:
        """What is quick here and slow elsewhere: the lease, and how soon Redis gives messages back without it."""
        on_redis = {"visibility_timeout": 2, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
        on_rabbit = {"confirm_publish": True}  # or what the sender sends is lost before it is ours
        return {
            # Celery's claim on sending a chord's body lasts five times as long, and outlives who holds it.
            "broker_connection_timeout": 1,
            "broker_url": self.services.broker_url,
            "result_backend": self.services.redis_url,
            "recovery_redis_url": self.services.redis_url,
            "task_default_queue": self.queue,
            "recovery_dead_letter_queue": self.letter_queue,
            "recovery_dead_letter_exchange": self.letter_queue,
            "recovery_lease": 3,
            "recovery_stats": False,
            "broker_transport_options": on_redis if self.services.broker == "redis" else on_rabbit,
        }

    # -- processes

    @property
    def armed(self) -> Path:
        return self.directory / "armed"

    @property
    def trace(self) -> str:
        return str(self.directory / "trace")

    def arm(self) -> None:
        """From now on steps count."""
        self.armed.touch()

    def worker(self, target: steps.Target | None = None, *, counted: bool = False, **options: str) -> Spawned:
        """A worker that dies at `target`, or counts its steps, or neither; it may not be ready yet."""
        plan = steps.Plan(self.trace, str(self.armed) if counted or target else "/nonexistent", "main", target)
        name = f"w{len(self.workers) + 1}@chaos"
        arguments = [name, "--pool", options.get("pool", "prefork"), "--concurrency", options.get("concurrency", "1")]
        found = self._spawn("worker", arguments, plan, name)
        self.workers.append(found)
        return found

    def other(self, call: str, arguments: list[Any], target: steps.Target | None, *, counted: bool = False) -> Spawned:
        """A process that replays, or runs a command; its role is the name of the call."""
        plan = steps.Plan(self.trace, str(self.armed) if counted or target else "/nonexistent", call, target)
        found = self._spawn(call, arguments, plan, f"{call}{len(self.others) + 1}")
        self.others.append(found)
        return found

    def _spawn(self, call: str, arguments: list[Any], plan: steps.Plan, name: str) -> Spawned:
        env = {
            "CHAOS_CONF": json.dumps(self.conf),
            "CHAOS_LEDGER": str(self.ledger.directory),
            "CHAOS_PLAN": plan.to_json(),
            "CHAOS_INTAKE_VISIBILITY": "2",
        }
        return self.nursery.spawn(
            f"tests.chaos.roles:{call}", arguments, env=env, log=self.directory / f"{name.partition('@')[0]}.log"
        )

    def ready(self, worker: Spawned, timeout: float = 20.0) -> bool:
        """Whether it consumes tasks and, unless told not to, letters (which a Redis broker's intake only looks at)."""
        consumes_letters = self.conf.get("recovery_intake", True) and self.services.broker == "rabbitmq"
        wanted = [self.queue, *([self.letter_queue] if consumes_letters else [])]
        until(lambda: self._consumed(worker).issuperset(wanted) or not worker.running, timeout)
        return worker.running and self._consumed(worker).issuperset(wanted)

    def _consumed(self, worker: Spawned) -> set[str]:
        lines = (line for line in steps.read_trace(self.trace) if line["pid"] == worker.pid and line["when"] == "after")
        operations = (line["step"].split(":", 2)[1] for line in lines)
        return {queue for what in operations if what.startswith(steps.CONSUMES) for queue in what[8:].split(",")}

    def stacks(self, worker: Spawned) -> str:
        """Where every thread of a worker and of its children is, most recent call first."""
        before = len(worker.log)
        for pid in (worker.pid, *worker.children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR2)
            time.sleep(0.3)  # each writes into the same log, and not at once
        return worker.log[before:]

    @property
    def log(self) -> str:
        """All workers' logs, one after the other."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in self._logs())

    def _logs(self) -> list[Path]:
        return sorted(self.directory.glob("*.log"), key=lambda path: path.stat().st_ctime)

    # -- what there is

    @property
    def dead_letters(self) -> DeadLetterQueue:
        return Recovery.of(self.app).dead_letters

    def letters(self) -> dict[str, Letter]:
        """All letters of the store, by task id."""
        return {letter.id: letter for letter in self.dead_letters.iterate()}

    def result(self, task_id: str) -> dict[str, Any] | None:
        """What the result backend has."""
        found = self.redis.get(f"celery-task-meta-{task_id}")
        return json.loads(found) if found else None

    def waiting(self) -> dict[str, int]:
        """Messages in each queue that no worker has taken."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            return {name: self._waiting(channel, name) for name in (self.queue, self.letter_queue)}

    def _waiting(self, channel: Any, name: str) -> int:
        try:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
        except Exception as exc:
            if getattr(exc, "code", None) == 404 or "NOT_FOUND" in str(exc):
                return 0
            raise

    def held(self) -> int:
        """Messages that workers, living or dead, have not acknowledged."""
        if self.services.broker == "redis":
            keys = (key for key in self.redis.scan_iter("*unacked*", count=500) if not key.endswith(b".lives"))
            hashes = (key for key in keys if self.redis.type(key) == b"hash")
            return sum(self.redis.hlen(key) - self.redis.hexists(key, "next") for key in hashes)
        return sum(self._held_by_connections().values())

    def _held_by_connections(self) -> Counter[tuple[int, str]]:
        """RabbitMQ: what the last connection of each living worker got, less what it acknowledged."""
        living = {worker.pid for worker in self.workers if worker.running}
        count: Counter[tuple[int, str]] = Counter()
        last: dict[tuple[int, str], str] = {}
        for line in steps.read_trace(self.trace):
            role, operation = line["step"].split(":", 1)
            if line["pid"] not in living or line["when"] != "after":
                continue
            if operation.startswith((steps.HELD, steps.CONSUMES)):
                before, last[line["pid"], role] = last.get((line["pid"], role)), line["of"]
                if before not in (None, line["of"]):
                    del count[line["pid"], before or ""]
            if operation.startswith(steps.HELD):
                count[line["pid"], line["of"]] += 1
            elif operation.startswith(steps.RETURNED) and (line["pid"], line["of"]) in count:
                count[line["pid"], line["of"]] -= 1
        return count

    def parked(self) -> int:
        """Tasks that wait in Redis for their time."""
        parked = getattr(Recovery.of(self.app), "parked", None)
        return int(parked.count()) if parked is not None else 0

    def restless(self, *, letters: bool = True) -> dict[str, int]:
        """What is not yet where it ends: messages that wait or are held, parked tasks, children without their parent.

        Without `letters`, the letters' queue is where they end. A child counts for `ORPHANED` seconds only: after its
        last task it still waits half a minute for its dead parent to read what it said (billiard's habit).
        """
        waiting = self.waiting()
        if not letters:
            waiting.pop(self.letter_queue)
        orphans = sum(self._is_orphaned(worker) for worker in self.workers)
        found = {**waiting, "held": self.held(), "parked": self.parked(), "orphans": orphans}
        return {name: count for name, count in found.items() if count}

    def _is_orphaned(self, worker: Spawned) -> bool:
        if worker.running:
            return False
        since = self._dead_since.setdefault(worker.pid, time.monotonic())
        return worker.group_running and time.monotonic() - since < ORPHANED

    # -- the end

    def close(self, *, keep: bool = False) -> None:
        """Kill what still lives, remove the queues and, unless they are evidence, the files."""
        for process in (*self.workers, *self.others):
            process.kill()
        with contextlib.suppress(Exception), self.app.connection_for_write() as connection:
            for name in (self.queue, self.letter_queue):
                connection.default_channel.queue_delete(name)
        self.redis.flushdb()
        self.redis.close()
        self.app.close()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
