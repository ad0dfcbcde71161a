"""Sends messages that no Celery client would send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from celery_recovery import Letter
from tests.integration.jobs_client import Jobs, eventually
from tests.services import Worker

__all__ = ("BODY", "FOREIGN", "Door", "headers")

BODY = json.dumps([["t"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


def headers(task_id: str, task: str = "door.note", **changes: Any) -> dict[str, Any]:
    """Headers of protocol 2; what is changed to None is left out."""
    whole = {"lang": "py", "task": task, "id": task_id, "retries": 0, "eta": None, "timelimit": [None, None], **changes}
    return {name: value for name, value in whole.items() if value is not None}


def _bare(task_id: str, task: str, token: str) -> tuple[bytes, dict[str, Any]]:
    """Protocol 2 with no more than it needs, as clients for Node write it."""
    return json.dumps([[token], {}, {}]).encode(), {"lang": "js", "task": task, "id": task_id}


def _null(task_id: str, task: str, token: str) -> tuple[bytes, dict[str, Any]]:
    """Protocol 2 with all its fields null."""
    names = ("root_id", "parent_id", "group", "shadow", "eta", "expires", "retries", "timelimit", "origin", "argsrepr")
    return json.dumps([[token], {}, None]).encode(), {**dict.fromkeys(names), "task": task, "id": task_id}


def _old(task_id: str, task: str, token: str) -> tuple[bytes, dict[str, Any]]:
    """Protocol 1, as Celery 3 wrote it."""
    whole = {"id": task_id, "task": task, "args": [token], "kwargs": {}, "retries": 0, "eta": None, "expires": None,
             "utc": True, "callbacks": None, "errbacks": None, "timelimit": [None, None], "taskset": None,
             "chord": None}  # fmt: skip
    return json.dumps(whole).encode(), {}


def _old_bare(task_id: str, task: str, token: str) -> tuple[bytes, dict[str, Any]]:
    """Protocol 1 as clients for Go write it."""
    whole = {"id": task_id, "task": task, "args": [token], "kwargs": {}, "retries": 0, "eta": None}
    return json.dumps(whole).encode(), {}


#: From id, task and token to body and headers.
FOREIGN = {"bare": _bare, "null": _null, "protocol 1": _old, "protocol 1, bare": _old_bare}


class Door(Jobs):
    """`Jobs` whose workers run `tests.apps.door`."""

    def __init__(
        self, worker: Callable[..., Worker], broker: str, ledger: str, conf: dict[str, Any] | None = None
    ) -> None:
        def start(_: str, **options: Any) -> Worker:
            return worker("tests.apps.door", **options)

        super().__init__(start, broker, ledger, conf=conf)

    def send_raw(
        self,
        body: bytes | str,
        header: Any,
        content_type: str = "application/json",
        queue: str = "celery",
        **options: Any,
    ) -> None:
        """A message as it is."""
        with self.app.connection_for_write() as connection:
            self.app.amqp.queues[queue](connection.default_channel).declare()
            connection.Producer().publish(
                body,
                routing_key=queue,
                headers=header,
                content_type=content_type,
                **{"content_encoding": "utf-8", **options},
            )

    def drained(self) -> list[Letter]:
        """All letters, newest first."""
        self.dead_letters.drain()
        return self.dead_letters.list(limit=1000)

    def run_one(self) -> int:
        """How often a task ran that was sent now; waits for the first."""
        before = len(self.ledger.lines("door"))
        self.sig("door.note").apply_async()
        eventually(lambda: len(self.ledger.lines("door")) > before)
        return len(self.ledger.lines("door")) - before

    def assert_no_restart(self, worker: Worker) -> None:
        """Nothing in the log says that the consumer began anew, or that the worker died."""
        assert not re.search(r"Connection to broker lost|Unrecoverable|Restoring|Frequent restarts", worker.log)
