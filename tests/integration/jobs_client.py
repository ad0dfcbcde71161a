"""The test's side of `tests.apps.jobs`: sends tasks to the workers and looks at what became of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery
from celery.canvas import Signature
from celery.result import AsyncResult

from celery_recovery import DeadLetterQueue, Filter, Letter, Recovery
from tests.apps.jobs import Ledger
from tests.services import Worker

MODULE = "tests.apps.jobs"


def eventually(found: Callable[[], Any], timeout: float = 20.0, what: str = "it") -> Any:
    """What `found` answers as soon as that is true; AssertionError with its last answer after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s: {answer!r}"
        time.sleep(0.05)


class Jobs:
    """One broker, one backend, one ledger; workers as many as the test starts."""

    def __init__(
        self,
        worker: Callable[..., Worker],
        broker: str,
        ledger: str,
        backend: str | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> None:
        self.broker, self.backend = broker, backend or ledger
        self.ledger_url = ledger
        self.conf = dict(conf or {})
        self.ledger = Ledger(ledger)
        os.environ["JOBS_LEDGER"] = ledger  # an errback of a discarded letter runs in this process
        self.app = Celery("jobs-client", broker=broker, backend=self.backend, set_as_current=False)
        self.app.conf.update(recovery_redis_url=ledger, accept_content=["json", "pickle", "msgpack"])
        self.app.conf.update(self.conf)
        if broker.startswith("amqp"):  # no app with a recoverable task, which would see to it itself
            self.app.conf.broker_transport_options = {"confirm_publish": True}
        self.app.conf.result_accept_content = ["json", "pickle", "msgpack"]
        self._start = worker

    def worker(self, **options: Any) -> Worker:
        env = {
            "CELERY_BROKER_URL": self.broker,
            "CELERY_RESULT_BACKEND": self.backend,
            "JOBS_LEDGER": self.ledger_url,
            "JOBS_CONF": json.dumps(self.conf),
            "C_FORCE_ROOT": "1",  # the app accepts pickle, and CI may be root
            **options.pop("env", {}),
        }
        return self._start(options.pop("module", MODULE), env=env, **options)

    def sig(self, name: str, *args: Any, **kwargs: Any) -> Signature:
        return self.app.signature(f"{MODULE}.{name}" if "." not in name else name, args=args, kwargs=kwargs)

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult:
        return self.sig(name, *args).apply_async(**options)

    def result(self, task_id: str) -> AsyncResult:
        return self.app.AsyncResult(task_id)

    @property
    def dead_letters(self) -> DeadLetterQueue:
        return Recovery.of(self.app).dead_letters

    def letters(self) -> int:
        """How many letters there are, wherever they are."""
        self.dead_letters.drain()
        return self.dead_letters.count()

    def letter(self, task_id: str, **wanted: Any) -> Letter:
        """The task's letter, once it is there and looks as wanted."""

        def found() -> Letter | None:
            self.dead_letters.drain()
            letters = list(self.dead_letters.list(Filter(ids=(task_id,)), limit=1))
            fits = letters and all(str(getattr(letters[0], k)) == str(v) for k, v in wanted.items())
            return letters[0] if fits else None

        letter = eventually(found, what=f"a letter of {task_id} with {wanted}")
        assert isinstance(letter, Letter)
        return letter
