"""Traces as a collector would get them: real workers and commands, spans written down by each process as they end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from celery_recovery import DeadLetterQueue, Filter, Letter, Recovery
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.monitoring.tracing import Tracing
from celery_recovery.redis import connect
from tests.integration.jobs_client import eventually
from tests.letters import DIED_AT, letter
from tests.services import Worker

MODULE = "tests.apps.traced"
ROOT = Path(__file__).resolve().parents[2]
#: The context that the sender of a task gives it.
TRACE, SPAN = "a" * 32, "b" * 16
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


class Span(NamedTuple):
    """One line of the file."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    events: dict[str, dict[str, Any]]
    attributes: dict[str, Any]
    status: str
    pid: int

    @classmethod
    def of(cls, line: str) -> Span:
        told = json.loads(line)
        links = [(link["context"]["trace_id"][2:], link["context"]["span_id"][2:]) for link in told["links"]]
        return cls(
            told["name"],
            told["context"]["trace_id"][2:],
            told["context"]["span_id"][2:],
            (told["parent_id"] or "0x")[2:],
            links,
            {event["name"]: event["attributes"] for event in told["events"]},
            told["attributes"],
            told["status"]["status_code"],
            told["pid"],
        )

    @property
    def place(self) -> tuple[str, str]:
        return self.trace, self.id


class Traced:
    """The app of `tests.apps.traced`, its workers and commands, and the spans of them all."""

    def __init__(self, worker: Callable[..., Worker], broker: str, ledger: str, spans: Path) -> None:
        self.spans_file = spans
        self.env = {
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": ledger,
            "TRACED_LEDGER": ledger,
            "TRACED_SPANS": str(spans),
            "TRACED_CONF": json.dumps({"recovery_tracing": True}),
        }
        self._worker = worker
        self.client = redis.Redis.from_url(ledger)
        self.app = Celery("traced-client", broker=broker, backend=ledger, set_as_current=False)
        self.app.conf.recovery_redis_url = ledger
        if broker.startswith("amqp"):
            self.app.conf.broker_transport_options = {"confirm_publish": True}

    def worker(self, **options: Any) -> Worker:
        return self._worker(MODULE, env=self.env, **options)

    def configure(self, **conf: Any) -> None:
        self.env["TRACED_CONF"] = json.dumps({"recovery_tracing": True, **conf})

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult:
        return self.app.send_task(f"{MODULE}.{name}", args=args, headers=SENT, **options)

    def fix(self, *tokens: str) -> None:
        for token in tokens:
            self.client.set(f"fixed:{token}", 1)

    @property
    def letters(self) -> DeadLetterQueue:
        return Recovery.of(self.app).dead_letters

    def letter(self, task_id: str) -> Letter:
        def found() -> Letter | None:
            self.letters.drain()
            return self.letters.store.get(task_id)

        letter = eventually(found, what=f"a letter of {task_id}")
        assert isinstance(letter, Letter)
        return letter

    def recovery(self, *words: str) -> str:
        command = [sys.executable, "-m", "celery", "-A", MODULE, "recovery", *words]
        run = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT,
            env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def spans(self, name: str, **wanted: Any) -> list[Span]:
        lines = self.spans_file.read_text().splitlines() if self.spans_file.exists() else []
        found = [span for span in map(Span.of, lines) if span.name == name]
        return [span for span in found if all(getattr(span, key) == value for key, value in wanted.items())]

    def wait(self, name: str, count: int = 1, **wanted: Any) -> list[Span]:
        """`count` spans, in the order they ended."""
        return eventually(
            lambda: found if len(found := self.spans(name, **wanted)) >= count else None,
            what=f"{count} spans {name} {wanted}",
        )


@pytest.fixture
def traced(worker, broker_url, other_redis_url, tmp_path) -> Iterator[Traced]:
    """On each broker in turn."""
    yield from _closed(Traced(worker, broker_url, other_redis_url, tmp_path / "spans"))


@pytest.fixture
def on_redis(worker, redis_url, other_redis_url, tmp_path) -> Iterator[Traced]:
    """For what does not depend on the broker."""
    yield from _closed(Traced(worker, redis_url, other_redis_url, tmp_path / "spans"))


def _closed(made: Traced) -> Iterator[Traced]:
    yield made
    made.client.close()


RUN = f"run/{MODULE}.charge"


class TestLife:
    def test_of_a_failing_task(self, traced):
        """Attempts are one trace, each the child of the one before; a replay is another, linked to the last attempt."""
        traced.worker()
        sent = traced.send("charge", "t")
        letter = traced.letter(sent.id)
        first, second, third = traced.wait(RUN, 3)
        by_id = {span.id: span for span in traced.spans(f"apply_async/{MODULE}.charge")}
        assert {span.trace for span in (first, second, third)} == {TRACE}
        assert first.parent == SPAN
        assert [by_id[span.parent].parent for span in (second, third)] == [first.id, second.id]
        decisions = [span.events["recovery.decision"] for span in (first, second, third)]
        assert [one["recovery.action"] for one in decisions] == ["retry", "retry", "dead_letter"]
        assert [one["recovery.attempt"] for one in decisions] == [1, 2, 3]
        assert letter.headers["traceparent"].split("-")[1:3] == list(third.place)
        assert re.search(rf"Trace +{TRACE}", traced.recovery("dlq", "show", sent.id))

        traced.fix("t")
        traced.recovery("dlq", "replay", "--yes", sent.id)
        (replay,) = traced.wait("recovery.replay")
        (run,) = traced.wait(RUN, trace=replay.trace)
        assert replay.trace != TRACE
        assert (replay.parent, replay.links) == ("", [third.place])
        assert (run.parent, run.links) == (replay.id, [third.place])
        assert replay.attributes["recovery.letter"] == sent.id
        assert replay.attributes["recovery.replay"] == 1
        eventually(lambda: traced.letters.store.get(sent.id).state == "recovered", what="the replay's end")

    def test_of_one_that_dies_again(self, on_redis):
        """Its next replay is a third trace, linked to the second, in which it died again."""
        on_redis.worker()
        sent = on_redis.send("charge", "t", "validation")
        on_redis.letter(sent.id)
        on_redis.recovery("dlq", "replay", "--yes", sent.id)
        (first,) = on_redis.wait("recovery.replay")
        (again,) = on_redis.wait(RUN, trace=first.trace)
        eventually(lambda: on_redis.letter(sent.id).replays == 1, what="its second death")
        on_redis.recovery("dlq", "replay", "--yes", sent.id)
        _, second = on_redis.wait("recovery.replay", 2)
        assert again.status == "ERROR"
        assert len({TRACE, first.trace, second.trace}) == 3
        assert second.links == [again.place]
        assert second.attributes["recovery.replay"] == 2

    def test_of_self_retry(self, on_redis):
        """Celery's own `self.retry()` keeps the trace, too."""
        on_redis.worker()
        on_redis.letter(on_redis.send("by_hand", "t").id)
        runs = on_redis.wait(f"run/{MODULE}.by_hand", 2)
        assert [run.trace for run in runs] == [TRACE, TRACE]
        assert runs[0].events["recovery.decision"]["recovery.action"] == "retry"

    def test_of_a_killed_process(self, on_redis):
        """Its run is never told, so the worker tells of the attempt; the retry is in the same trace, below it."""
        worker = on_redis.worker()
        sent = on_redis.send("dying", "t")
        assert sent.get(timeout=30) == "t"
        (attempt,) = on_redis.wait("recovery.attempt")
        (run,) = on_redis.wait(f"run/{MODULE}.dying")
        (published,) = on_redis.spans(f"apply_async/{MODULE}.dying")
        assert (attempt.trace, attempt.parent, attempt.status, attempt.pid) == (TRACE, SPAN, "ERROR", worker.pid)
        assert attempt.events["recovery.decision"]["recovery.error_type"] == "system"
        assert (published.trace, published.parent) == (TRACE, attempt.id)
        assert (run.trace, run.parent) == (TRACE, published.id)

    def test_of_a_parked_task(self, on_redis):
        """Parked and released it is in the trace that it was sent in."""
        on_redis.configure(recovery_park_after=0.5)
        worker = on_redis.worker()
        on_redis.fix("t")
        assert on_redis.send("charge", "t", countdown=2).get(timeout=30) == "t"
        assert worker.wait_log("is parked for")
        (run,) = on_redis.wait(RUN)
        assert (run.trace, run.parent) == (TRACE, SPAN)

    def test_of_a_held_task(self, on_redis):
        """Celery ignores a held task; its span is an error all the same."""
        on_redis.worker()
        on_redis.letter(on_redis.send("held", "t").id)
        (run,) = on_redis.wait(f"run/{MODULE}.held")
        assert run.status == "ERROR"
        assert run.events["recovery.decision"]["recovery.held"] is True

    def test_of_the_items_of_a_batch(self, on_redis):
        """Each item's letter is of the run that set it aside; replayed together they are one span with their links."""
        on_redis.worker()
        on_redis.send("load", ["x", "y"]).get(timeout=30)
        (run,) = on_redis.wait(f"run/{MODULE}.load")
        letters = on_redis.letters
        eventually(lambda: letters.drain() or letters.count() == 2, what="two letters")
        assert {one.headers["traceparent"].split("-")[2] for one in letters.list(Filter())} == {run.id}
        assert run.status == "UNSET"
        assert run.events["recovery.item"]["recovery.error_type"] == "validation"
        on_redis.fix("x", "y")
        on_redis.recovery("dlq", "replay", "--yes", "--regroup", "--task", f"{MODULE}.load")
        (replay,) = on_redis.wait("recovery.replay")
        assert replay.links == [run.place, run.place]
        (again,) = on_redis.wait(f"run/{MODULE}.load", trace=replay.trace)
        assert again.links == [run.place, run.place]


class TestWhoReplays:
    def test_a_worker(self, on_redis):
        """A worker that goes on with an operation tells of its replays as a command does."""
        worker = on_redis.worker()
        sent = on_redis.send("charge", "t", "validation")
        on_redis.letter(sent.id)
        on_redis.fix("t")
        on_redis.letters.replay([sent.id], only_begin=True)
        (replay,) = on_redis.wait("recovery.replay")
        (run,) = on_redis.wait(RUN, trace=replay.trace)
        assert replay.pid == worker.pid
        assert run.parent == replay.id

    def test_a_command_without_an_sdk(self, on_redis):
        """Then the run begins the trace, and has the link."""
        on_redis.env["TRACED_SETUP"] = "child"
        on_redis.worker()
        sent = on_redis.send("charge", "t", "validation")
        on_redis.letter(sent.id)
        on_redis.fix("t")
        on_redis.recovery("dlq", "replay", "--yes", sent.id)
        _, run = on_redis.wait(RUN, 2)
        (died,) = on_redis.spans(RUN, trace=TRACE)
        assert run.trace != TRACE
        assert (run.parent, run.links) == ("", [died.place])
        assert on_redis.spans("recovery.replay") == []


class _Unbatched(Publisher):
    """Breaks off the first batch after some of its messages."""

    broke_off = False

    def publish(self, body: bytes, **message: Any) -> None:
        if message.get("producer") is not None and not self.broke_off and message["headers"]["id"] == "task-0007":
            self.broke_off = True
            raise OSError("the connection is lost")
        super().publish(body, **message)


class _Breaking(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no collector")


class TestMany:
    LETTERS = 250

    def replayed(self, redis_url: str, store_url: str, processor: SpanProcessor, publisher: type[Publisher]) -> Tracing:
        """All letters replayed, in this process."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracing = Tracing(provider)
        app = Celery("shop", broker=redis_url, set_as_current=False)
        store = DeadLetterStore(connect(store_url))
        store.add_many([letter(f"task-{n:04}", extra=SENT, died_at=DIED_AT + n) for n in range(self.LETTERS)])
        result = DeadLetterQueue(app, store, publisher(app, timeout=5), trace=tracing.replay).replay(Filter())
        assert result.published == self.LETTERS
        assert store.stats().by_state["replayed"] == self.LETTERS
        return tracing

    @pytest.mark.parametrize("publisher", [Publisher, _Unbatched])
    def test_one_span_each(self, redis_url, other_redis_url, publisher):
        """Every letter is one span and one trace, published in a batch or, where that broke off, one by one."""
        exporter = InMemorySpanExporter()
        self.replayed(redis_url, other_redis_url, SimpleSpanProcessor(exporter), publisher)
        spans = exporter.get_finished_spans()
        assert len(spans) == len({span.context.trace_id for span in spans}) == self.LETTERS
        with redis.Redis.from_url(redis_url) as broker:
            carried = [json.loads(item)["headers"]["traceparent"] for item in broker.lrange("celery", 0, -1)]
        assert {f"{span.context.trace_id:032x}" for span in spans} <= {one.split("-")[1] for one in carried}

    def test_whatever_opentelemetry_does(self, redis_url, other_redis_url):
        """Published, confirmed and marked: a replay does not depend on who is told of it."""
        assert self.replayed(redis_url, other_redis_url, _Breaking(), Publisher).failures == self.LETTERS


class TestWithoutInstrumentation:
    @pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
    def test_attempts_have_spans_of_their_own(self, on_redis, pool):
        """Each failing attempt is a span below the one before; a replay is linked to the last of them."""
        on_redis.env["TRACED_CELERY"] = "0"
        on_redis.worker(pool=pool)
        sent = on_redis.send("charge", "t")
        on_redis.letter(sent.id)
        attempts = on_redis.wait("recovery.attempt", 3)
        assert [one.trace for one in attempts] == [TRACE] * 3
        assert [one.parent for one in attempts] == [SPAN, attempts[0].id, attempts[1].id]
        on_redis.fix("t")
        on_redis.recovery("dlq", "replay", "--yes", sent.id)
        (replay,) = on_redis.wait("recovery.replay")
        assert replay.links == [attempts[2].place]


class TestOff:
    def test_nothing_is_told(self, on_redis):
        """Without the setting only Celery's own spans are there, and a replay goes on in the old trace."""
        on_redis.configure(recovery_tracing=False)
        on_redis.worker()
        sent = on_redis.send("charge", "t", "validation")
        assert on_redis.letter(sent.id).headers["traceparent"] == SENT["traceparent"]
        on_redis.fix("t")
        on_redis.recovery("dlq", "replay", "--yes", sent.id)
        died, run = on_redis.wait(RUN, 2)
        assert (run.trace, run.parent, run.links) == (TRACE, SPAN, [])
        assert "recovery.decision" not in died.events
        assert on_redis.spans("recovery.replay") == []
