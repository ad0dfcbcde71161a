"""The test's side of `tests.apps.results`: broker, backend and ledger in three places."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import Celery

from celery_recovery import Recovery
from celery_recovery.results import OwedStore
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RedisServer, Worker

MODULE = "tests.apps.results"


class Results(Jobs):
    """`backend` may be killed; ledger and recovery store are elsewhere, unless `recovery_redis_url` says otherwise."""

    def __init__(
        self,
        worker: Callable[..., Worker],
        broker: str,
        ledger: str,
        backend: RedisServer,
        conf: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(worker, broker, ledger, backend.url(), conf)
        self.server = backend
        self.sender = Celery("results-sender", broker=broker, backend="cache+memory://", set_as_current=False)
        self._start = lambda _, **options: worker(MODULE, **options)

    def task(self, name: str, *args: Any) -> Any:
        """Sent without a look at the backend, which the caller would have to wait for."""
        return self.sender.signature(f"{MODULE}.{name}", args=args)

    @property
    def owed(self) -> OwedStore:
        recovery = Recovery.of(self.app)
        return OwedStore(recovery.redis, recovery.keys, expires=None)

    def count_owed(self) -> int:
        recovery = Recovery.of(self.app)
        return int(recovery.redis.zcard(recovery.keys.owed))

    def counts(self, token: str) -> dict[str, int]:
        """How often each line stands in the ledger."""
        return dict(Counter(self.ledger.lines(token)))

    def until(self, token: str, *lines: str, timeout: float = 30.0) -> None:
        """Wait for the lines; each must stand there once, and nothing else."""
        eventually(lambda: set(lines) <= set(self.ledger.lines(token)), timeout, f"{lines} of {token}")
        assert self.counts(token) == dict.fromkeys(lines, 1)

    def ready(self, task_id: str, timeout: float = 30.0) -> tuple[str, Any]:
        """State and result, once the backend has them; asked afresh each time, as the backend comes and goes."""

        def found() -> tuple[str, Any] | None:
            with contextlib.suppress(redis.RedisError, OSError):
                meta = Celery("fresh", backend=self.backend, set_as_current=False).backend.get_task_meta(task_id)
                return (meta["status"], meta["result"]) if meta["status"] in ("SUCCESS", "FAILURE") else None
            return None

        state, result = eventually(found, timeout, f"a result of {task_id}")
        return state, result

    def drained(self, *workers: Worker) -> None:
        """Once the workers have ended, what they had not acknowledged is back in the queue: it must be empty."""
        for one in workers:
            one.stop()
        with self.app.connection_for_read() as connection:
            queue = self.app.amqp.queues["celery"](connection.default_channel)
            assert queue.queue_declare(passive=False).message_count == 0  # Redis knows no empty queue
            client = getattr(connection.default_channel, "client", None)
            for key in client.keys("*unacked*") if client is not None else ():
                assert client.type(key) != b"hash" or client.hlen(key) == 0, key
