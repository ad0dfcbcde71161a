"""The app of the tests about traces: `tests.apps.jobs`' kind of tasks, and spans as JSON lines in a file.

    TRACED_SPANS     the file; every process appends to it
    TRACED_SETUP     "import" (default): each process that imports this has the SDK; "child": only those that run tasks
    TRACED_CELERY    "0": without opentelemetry-instrumentation-celery
    TRACED_CONF      settings, as JSON

Without `TRACED_SPANS` there is no SDK at all.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery, Task
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from celery_recovery import ErrorType, RecoverableTask, RetryPolicy

QUICK = RetryPolicy(max_attempts=3, base_delay=0.1, max_delay=0.3)

app = Celery(
    "traced",
    broker=os.environ.get("CELERY_BROKER_URL", "memory://"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://"),
)
app.conf.update(
    recovery_policies=dict.fromkeys((ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.UNKNOWN), QUICK),
    recovery_redis_url=os.environ.get("TRACED_LEDGER"),
    recovery_publish_timeout=5,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
app.conf.update(json.loads(os.environ.get("TRACED_CONF", "{}")))


class SpansFile(SpanExporter):
    """One line a span, written at once: what is killed afterwards has told what it did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, spans: Any) -> SpanExportResult:
        with self.path.open("a", encoding="utf-8") as file:
            for span in spans:
                file.write(_line(span))
        return SpanExportResult.SUCCESS


def _line(span: ReadableSpan) -> str:
    told = json.loads(span.to_json(indent=None))
    return json.dumps({**told, "pid": os.getpid(), "scope": span.instrumentation_scope.name}) + "\n"


def set_up(**_: Any) -> None:
    """The SDK, and Celery's instrumentation."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpansFile(Path(os.environ["TRACED_SPANS"]))))
    trace.set_tracer_provider(provider)
    if os.environ.get("TRACED_CELERY") != "0":
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        CeleryInstrumentor().instrument()


if os.environ.get("TRACED_SPANS"):
    if os.environ.get("TRACED_SETUP", "import") == "import":
        set_up()
    else:
        worker_process_init.connect(set_up, weak=False)


def _is(word: str, token: str) -> bool:
    with redis.Redis.from_url(os.environ["TRACED_LEDGER"]) as client:
        return bool(client.exists(f"{word}:{token}"))


@app.task(base=RecoverableTask, bind=True)
def charge(self: Task, token: str, error: str = "network") -> str:
    """Fails until the ledger says `fixed`."""
    if not _is("fixed", token):
        raise ConnectionResetError(104, "Connection reset by peer") if error == "network" else ValueError("quantity")
    return token


@app.task(base=RecoverableTask, bind=True)
def by_hand(self: Task, token: str) -> str:
    """Celery's own `self.retry()`."""
    if not _is("fixed", token):
        raise self.retry(exc=ConnectionResetError(104, "reset"), countdown=0.1, max_retries=1)
    return token


@app.task(base=RecoverableTask, bind=True)
def load(self: Task, tokens: list[str]) -> None:
    """A batch whose items fail until the ledger says `fixed`."""
    for token in self.batch(tokens):
        if not _is("fixed", token):
            raise ValueError("quantity")


@app.task(base=RecoverableTask, bind=True, recovery_on_dead_letter="hold")
def held(self: Task, token: str) -> None:
    """Its caller waits."""
    if not _is("fixed", token):
        raise ValueError("quantity")


@app.task(base=RecoverableTask, bind=True)
def dying(self: Task, token: str) -> str:
    """Takes its process with it, on its first run."""
    if not self.request.retries:
        time.sleep(0.2)
        os.kill(os.getpid(), 9)
    return token
