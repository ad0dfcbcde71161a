"""The test's side of `tests.apps.batches`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from celery_recovery import Filter, Letter
from celery_recovery.checkpoint import CheckpointStore
from celery_recovery.passage import new_message_id
from celery_recovery.recovery import Recovery
from tests.integration.jobs_client import Jobs
from tests.services import Worker


class Batches(Jobs):
    """The jobs of `tests.apps.batches`."""

    def send(self, name: str, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        signature = self.app.signature(f"tests.apps.batches.{name}", args=args, kwargs=kwargs)
        mark = new_message_id()  # as the app of a recoverable task gives one
        return signature.apply_async(task_id=args[0], message_id=mark, **(options or {}))

    def worker(self, **options: Any) -> Worker:
        return super().worker(module="tests.apps.batches", **options)

    @property
    def store(self) -> CheckpointStore:
        store = Recovery.of(self.app).checkpoints
        assert store is not None
        return store

    def items(self, token: str) -> list[Letter]:
        """The letters of its items, by position."""
        self.dead_letters.drain()
        found = self.dead_letters.list(Filter(parent=(token,)), limit=1000)
        return sorted(found, key=lambda letter: letter.batch["items"][0]["position"])

    def done(self, token: str) -> Counter[str]:
        """How often each item was done."""
        return Counter(line for line in self.ledger.lines(token) if line.isdigit())

    def begun(self, token: str) -> int:
        return self.ledger.lines(token).count("begin")


def numbers(count: int, *without: int) -> Counter[str]:
    return Counter(str(n) for n in range(count) if n not in without)
