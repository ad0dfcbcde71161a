"""What OpenTelemetry is told, what messages carry of it, and that nothing of it can harm what is told of."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app.task import Context as Request
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from celery_recovery.dead_letters.carrying import line_of, read_line
from celery_recovery.dead_letters.letter import Letter, Outgoing
from celery_recovery.dead_letters.received import HEADER
from celery_recovery.dead_letters.regroup import together
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.monitoring import tracing
from celery_recovery.monitoring.told import Told
from celery_recovery.monitoring.tracing import Tracing
from celery_recovery.redact import Redactor
from tests.letters import letter

DIED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = DIED.split("-")[1:3]
INFO = ErrorInfo(
    error_type=ErrorType.VALIDATION,
    is_retryable=False,
    severity=ErrorSeverity.MEDIUM,
    rule="python.value",
    exception="builtins.ValueError",
    message="card_number=4111111111111111",
    timestamp=1.0,
    fingerprint="1:00112233aabbccdd",
)
TOLD = Told(
    what="retry",
    task="orders.charge",
    task_id="a",
    error_type="network",
    reason="retryable",
    attempt=2,
    max_attempts=8,
    delay=1.5,
    exception="builtins.ConnectionResetError",
    message="password=hunter2",
    fingerprint="1:00112233aabbccdd",
)


class Spans:
    """A provider of its own, and what it was given."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(processor or SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")
        self.tracing = Tracing(self.provider)

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def one(self) -> ReadableSpan:
        (span,) = self.ended
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def propagator() -> Iterator[TextMapPropagator]:
    """Another one than W3C's, for the time of a test."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(made := OwnPropagator())
    yield made
    propagate.set_global_textmap(before)


class OwnPropagator(TextMapPropagator):
    """Everything in one header."""

    @property
    def fields(self) -> set[str]:
        return {"x-shop-trace"}

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        told = str(carrier.get("x-shop-trace", "")).split("/")
        if len(told) != 2:
            return context
        found = trace.SpanContext(int(told[0], 16), int(told[1], 16), is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(found), context)

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        own = trace.get_current_span(context).get_span_context()
        carrier["x-shop-trace"] = f"{own.trace_id:032x}/{own.span_id:016x}"


class Broken(SpanProcessor):
    """Raises at one of its two ends."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at == "start":
            raise RuntimeError("no room")

    def on_end(self, span: Any) -> None:
        if self.at == "end":
            raise RuntimeError("no collector")


def dead(task_id: str = "a", **headers: str) -> Letter:
    """A letter that died in the trace, claimed by a replay."""
    one = letter(task_id, extra={"traceparent": DIED, **headers})
    return one.changed(operation="op-1", token="t", number=3)


def message_of(*letters: Letter) -> Outgoing:
    return letters[0].message(copy="c")


def request_of(**headers: Any) -> Request:
    return Request(id="a", task="orders.charge", **headers)


def parent_of(span: ReadableSpan) -> str:
    return "" if span.parent is None else f"{span.parent.trace_id:032x}/{span.parent.span_id:016x}"


def ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def links(span: ReadableSpan) -> list[tuple[str, str]]:
    return [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links]


class TestReplay:
    def test_begins_a_trace_with_a_link(self, spans):
        """A replay is no part of the trace that the letter died in; it is linked to the very span."""
        message, end = spans.tracing.replay(message_of(dead()), (dead(),))
        end()
        span = spans.one
        assert (span.name, span.kind, span.parent) == ("recovery.replay", trace.SpanKind.PRODUCER, None)
        assert ids(span)[0] != TRACE
        assert links(span) == [(TRACE, SPAN)]
        assert message.headers["traceparent"].split("-")[1:3] == list(ids(span))

    def test_a_span_that_is_current_is_no_parent(self, spans):
        """Forty thousand letters replayed from one request are forty thousand traces, not one."""
        with trace.use_span(spans.tracer.start_span("request")):
            spans.tracing.replay(message_of(dead()), (dead(),))[1]()
        assert spans.one.parent is None

    def test_attributes(self, spans):
        """Who replays which letter the how manieth time, of what task and error; of the arguments nothing."""
        spans.tracing.replay(message_of(dead()), (dead(),))[1]()
        assert dict(spans.one.attributes or {}) == {
            "recovery.operation": "op-1",
            "recovery.letter": "a",
            "recovery.letters": 1,
            "recovery.replay": 3,
            "recovery.task": "orders.charge",
            "recovery.error_type": "network",
            "recovery.fingerprint": "1:00112233aabbccdd",
            "messaging.message.id": "a",
            "messaging.destination.name": "celery",
        }

    def test_nothing_else_is_changed(self, spans):
        """But for the context and the link the message is what it was."""
        before = message_of(dead(tenant="eu"))
        after, _ = spans.tracing.replay(before, (dead(),))
        changed = {**after.headers, "traceparent": DIED}
        assert changed.pop(HEADER) == {**before.headers[HEADER], "links": [DIED]}
        assert changed == {name: value for name, value in before.headers.items() if name != HEADER}
        assert after._replace(headers={}) == before._replace(headers={})

    def test_what_else_travels_in_the_context_goes_on(self, spans):
        """Baggage is kept; the state of the old trace is not the new one's."""
        one = dead(tracestate="shop=1", baggage="tenant=eu")
        message, _ = spans.tracing.replay(message_of(one), (one,))
        assert "tracestate" not in message.headers
        assert message.headers["baggage"] == "tenant=eu"

    @pytest.mark.parametrize("header", [{}, {"traceparent": "garbage"}, {"traceparent": 5}, {"traceparent": None}])
    def test_a_letter_of_no_trace(self, spans, header):
        """It is replayed in a trace of its own all the same, without a link."""
        one = letter("a", extra=header)
        message, end = spans.tracing.replay(message_of(one), (one,))
        end()
        assert links(spans.one) == []
        assert "links" not in message.headers[HEADER]
        assert spans.tracing.failures == 0

    def test_many_letters_in_one_message(self, spans):
        """Items of a batch that go together are one span, linked to as many as OpenTelemetry takes."""
        item = {"parent": "p", "name": "1", "items": [{"position": 1, "key": None, "value": "1", "shown": "1"}]}
        many = []
        for n in range(300):
            one = letter(f"i{n}", extra={"traceparent": DIED.replace(SPAN, f"{n + 1:016x}")})
            many.append(one.changed(batch=item, token="t", number=1, operation="op-1"))
        message, end = spans.tracing.replay(together(many), many)
        end()
        assert [span for _, span in links(spans.one)] == [f"{n + 1:016x}" for n in range(tracing.MOST_LINKS)]
        assert SpanLimits().max_links >= tracing.MOST_LINKS
        assert (spans.one.attributes or {})["recovery.letters"] == 300
        assert len(message.headers[HEADER]["links"]) == tracing.MOST_LINKS

    def test_not_published(self, spans):
        """A replay that the broker does not take is an error, of which the class is told and not the words."""
        _, end = spans.tracing.replay(message_of(dead()), (dead(),))
        end(OSError("redis://:hunter2@host"))
        assert (spans.one.status.status_code, spans.one.status.description) == (trace.StatusCode.ERROR, "OSError")
        assert "hunter2" not in spans.one.to_json()

    def test_not_known(self, spans):
        """One of which nobody knows, because its batch was broken off and goes again, leaves no span."""
        spans.tracing.replay(message_of(dead()), (dead(),))
        assert spans.ended == []

    def test_another_propagator(self, spans, propagator):
        """Whatever the process's propagator writes is read from the letter and written for the replay."""
        one = letter("a", extra={"x-shop-trace": f"{TRACE}/{SPAN}", "traceparent": "theirs"})
        message, end = spans.tracing.replay(message_of(one), (one,))
        end()
        assert links(spans.one) == [(TRACE, SPAN)]
        assert message.headers["x-shop-trace"] == "/".join(ids(spans.one))
        assert message.headers["traceparent"] == "theirs"
        assert message.headers[HEADER]["links"] == [DIED]

    def test_without_an_sdk(self):
        """A command without an SDK makes no span; the run begins a trace nevertheless, and knows what to link to."""
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        message, end = Tracing().replay(message_of(dead()), (dead(),))
        end()
        assert "traceparent" not in message.headers
        assert message.headers[HEADER]["links"] == [DIED]

    def test_hostile_names(self, spans):
        """A name of ten megabytes with half a character in it is cut, and can be written as UTF-8."""
        one = dead().changed(task="\ud800\x1b[31m" * 1_000_000, id="\udfff", operation="\0")
        spans.tracing.replay(message_of(one), (one,))[1]()
        told = json.dumps(dict(spans.one.attributes or {}), ensure_ascii=False)
        assert len(told.encode()) < 5000
        assert "\x1b" not in told


class TestRun:
    def test_links_the_run_to_where_it_died(self, spans):
        """The run that a replay leads to has the same link as the replay: where nobody traced that, the only one."""
        message, _ = Tracing().replay(message_of(dead()), (dead(),))
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            spans.tracing.replayed(message.headers[HEADER])
        assert links(spans.one) == [(TRACE, SPAN)]

    @pytest.mark.parametrize("told", [5, "x", ["x", 5, None, {}, DIED * 2], {"a": 1}, [], None])
    def test_a_header_may_hold_anything(self, spans, told):
        """What is no link is none."""
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            spans.tracing.replayed({"links": told})
            spans.tracing.replayed(told)
        assert links(spans.one) == []

    def test_a_run_that_nothing_traces(self, spans):
        """Then there is nothing to link."""
        spans.tracing.replayed({"links": [DIED]})
        assert (spans.ended, spans.tracing.failures) == ([], 0)


class TestAttempt:
    def test_an_event_on_the_run(self, spans):
        """What was decided, by words of which there are few; neither message nor arguments."""
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            attempt = spans.tracing.attempt("orders.charge", request_of(traceparent=DIED), 0.1)
            attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=False)
        (event,) = spans.one.events
        assert event.name == "recovery.decision"
        assert dict(event.attributes or {}) == {
            "recovery.action": "retry",
            "recovery.reason": "retryable",
            "recovery.delay": 1.5,
            "recovery.held": False,
            "recovery.attempt": 2,
            "recovery.max_attempts": 8,
            "recovery.error_type": "network",
            "recovery.severity": "high",
            "recovery.fingerprint": "1:00112233aabbccdd",
            "exception.type": "builtins.ConnectionResetError",
        }
        assert "hunter2" not in spans.one.to_json()

    def test_the_run_can_be_searched_by_it(self, spans):
        """Action, reason, error type and group stand on the span itself, which ends as its owner says."""
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            attempt = spans.tracing.attempt("orders.charge", request_of(), 0.1)
            attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=False)
        assert set(spans.one.attributes or {}) == {
            "recovery.action", "recovery.reason", "recovery.error_type", "recovery.fingerprint"
        }  # fmt: skip
        assert spans.one.status.status_code is trace.StatusCode.UNSET

    def test_a_held_task_is_an_error(self, spans):
        """Celery ignores it, so nobody else would say that it has failed."""
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            attempt = spans.tracing.attempt("orders.charge", request_of(), 0.1)
            attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=True)
        assert spans.one.status.description == "builtins.ConnectionResetError"

    @pytest.mark.parametrize(
        ("what", "status"),
        [("retry", "ERROR"), ("dead_letter", "ERROR"), ("fail", "ERROR"), ("snooze", "UNSET"), ("discard", "UNSET")],
    )
    def test_a_span_of_its_own(self, spans, what, status):
        """Where no span is current, as in a process whose child was killed, it has one, in its message's trace."""
        begun = time.time_ns()
        attempt = spans.tracing.attempt("orders.charge", request_of(traceparent=DIED), 12.0)
        attempt.decided(Told(what=what, task="t", task_id="a", error_type="system"), severity=ErrorSeverity.HIGH,
                        held=False)  # fmt: skip
        span = spans.one
        assert (span.name, span.kind) == ("recovery.attempt", trace.SpanKind.CONSUMER)
        assert parent_of(span) == f"{TRACE}/{SPAN}"
        assert (span.attributes or {})["recovery.task"] == "orders.charge"
        assert (span.attributes or {})["messaging.message.id"] == "a"
        assert span.status.status_code.name == status
        assert span.start_time is not None
        assert 0 <= span.start_time - (begun - 12_000_000_000) < 5_000_000_000

    def test_what_follows_carries_it(self, spans):
        """Retry and letter have the context of the run, whatever their message had; the rest of it stays."""
        run = spans.tracer.start_span("run")
        given = {"traceparent": DIED, "tracestate": "shop=1", "tenant": "eu"}
        with trace.use_span(run):
            carried = spans.tracing.attempt("orders.charge", request_of(**given), 0.1).carried(given)
        assert carried.pop("traceparent").split("-")[1:3] == list(ids(run))
        assert carried == {"tenant": "eu"}

    def test_baggage_is_carried(self, spans):
        """What else the run's context holds follows, too."""
        token = context.attach(baggage.set_baggage("tenant", "eu"))
        try:
            with trace.use_span(spans.tracer.start_span("run")):
                carried = spans.tracing.attempt("orders.charge", request_of(), 0.1).carried({})
        finally:
            context.detach(token)
        assert carried["baggage"] == "tenant=eu"

    def test_without_an_sdk(self):
        """Then what follows carries what its message did."""
        attempt = Tracing().attempt("orders.charge", request_of(traceparent=DIED), 0.1)
        assert attempt is not None
        assert attempt.carried({"traceparent": DIED}) == {"traceparent": DIED}
        attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=False)

    def test_what_is_published_within(self, spans):
        """It follows from the attempt; and a span that a failed publication has left behind is gone afterwards."""
        attempt = spans.tracing.attempt("orders.charge", request_of(traceparent=DIED), 0.1)
        with attempt.within():
            published = spans.tracer.start_span("publish")
            context.attach(trace.set_span_in_context(published))
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert parent_of(published) == "/".join(
            (TRACE, f"{trace.get_current_span(attempt.context).get_span_context().span_id:016x}")
        )

    def test_an_item_set_aside(self, spans):
        """Which item of which batch, and its letter; the run goes on without an error. Its key may be a secret."""
        with trace.use_span(spans.tracer.start_span("run"), end_on_exit=True):
            attempt = spans.tracing.attempt("orders.load", request_of(), 0.1)
            attempt.set_aside(INFO, batch="1", position=4, letter="b")
        (event,) = spans.one.events
        assert event.name == "recovery.item"
        assert dict(event.attributes or {}) == {
            "recovery.batch": "1",
            "recovery.position": 4,
            "recovery.letter": "b",
            "recovery.error_type": "validation",
            "recovery.severity": "medium",
            "recovery.fingerprint": "1:00112233aabbccdd",
            "exception.type": "builtins.ValueError",
        }
        assert spans.one.status.status_code is trace.StatusCode.UNSET


class TestHarm:
    @pytest.mark.parametrize("at", ["start", "end"])
    def test_a_processor_that_raises(self, at, caplog):
        """A replay is published, and an attempt ends, whatever OpenTelemetry does; it is counted, and said once."""
        spans = Spans(Broken(at))
        before = message_of(dead())
        with caplog.at_level(logging.WARNING, "celery_recovery"):
            for _ in range(3):
                message, end = spans.tracing.replay(before, (dead(),))
                end()
                attempt = spans.tracing.attempt("orders.charge", request_of(), 0.1)
                if attempt is not None:
                    attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=False)
        assert message.body == before.body
        assert message.headers["id"] == "a"
        assert spans.tracing.failures == 6
        (said,) = [one for one in caplog.records if one.name == "celery_recovery"]
        assert said.__dict__["action"] == "tracing_failed"

    def test_a_propagator_that_raises(self, spans, propagator, monkeypatch):
        """The message goes as it is."""
        monkeypatch.setattr(OwnPropagator, "inject", lambda *_, **__: 1 / 0)
        before = message_of(dead())
        assert spans.tracing.replay(before, (dead(),))[0] == before
        with trace.use_span(spans.tracer.start_span("run")):
            attempt = spans.tracing.attempt("orders.charge", request_of(), 0.1)
            assert attempt.carried({"tenant": "eu"}) == {"tenant": "eu"}
        assert spans.tracing.failures == 2

    def test_an_exporter_that_keeps_us_waiting(self, spans, monkeypatch):
        """It is given no span for a while: thousands of replays must not wait for it. Contexts go on all the same."""
        monkeypatch.setattr(tracing, "SLOW", -1.0)
        spans.tracing.replay(message_of(dead()), (dead(),))[1]()
        monkeypatch.setattr(tracing, "SLOW", 1.0)
        message, end = spans.tracing.replay(message_of(dead()), (dead(),))
        end()
        attempt = spans.tracing.attempt("orders.charge", request_of(traceparent=DIED), 0.1)
        attempt.decided(TOLD, severity=ErrorSeverity.HIGH, held=False)
        assert len(spans.ended) == 1
        assert "traceparent" not in message.headers
        assert message.headers[HEADER]["links"] == [DIED]
        assert attempt.carried({})["traceparent"] == DIED
        spans.tracing._rests_until = 0.0
        spans.tracing.replay(message_of(dead()), (dead(),))[1]()
        assert len(spans.ended) == 2


class TestLetter:
    def test_trace_id(self):
        """A letter says in which trace it died, where it carries W3C's header."""
        assert dead().trace_id == TRACE
        assert dead().to_dict()["trace_id"] == TRACE
        assert letter("a", extra={"traceparent": "garbage"}).trace_id is None
        assert letter("a").trace_id is None

    def test_an_export_keeps_it(self):
        """Redaction does not touch the context: a letter that was carried elsewhere is still linked to its death."""
        one = dead(tracestate="shop=t61rcWkgMzE", baggage="tenant=eu")
        carried = read_line(line_of(one, Redactor()))
        assert {name: carried.headers[name] for name in ("traceparent", "tracestate", "baggage")} == {
            "traceparent": DIED, "tracestate": "shop=t61rcWkgMzE", "baggage": "tenant=eu"
        }  # fmt: skip


#: A task that fails and is retried, without a broker; `%s` is what comes before. Redis's client imports OpenTelemetry
#: itself, where it is installed, so imports are told by who asks for them.
_PROGRAM = """
import builtins, logging, sys
asked, plain_import = set(), builtins.__import__

def watched(name, globals=None, *rest):
    if name.startswith("opentelemetry") and (globals or {}).get("__name__", "").startswith("celery_recovery"):
        asked.add(globals["__name__"])
    return plain_import(name, globals, *rest)

builtins.__import__ = watched
%s
logging.basicConfig(format="%%(message)s", stream=sys.stdout)
from celery import Celery
from celery_recovery import RecoverableTask, Recovery

app = Celery("shop", set_as_current=False)
app.conf.update(recovery_tracing=%r, recovery_stats=False)

@app.task(base=RecoverableTask, policy=2)
def charge():
    raise ConnectionResetError(104, "reset")

print("state", charge.apply().state)
print("again", charge.apply().state)
print("asked", sorted(asked))
"""


def run(before: str, on: bool) -> str:
    program = [sys.executable, "-c", _PROGRAM % (before, on)]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout


class TestNotThere:
    def test_off(self):
        """Nothing of OpenTelemetry is imported unless the setting says so."""
        told = run("", on=False)
        assert "state FAILURE" in told
        assert "asked []" in told

    def test_on(self):
        """With the setting it is."""
        assert "asked ['celery_recovery.monitoring.tracing']" in run("", on=True)

    def test_not_importable(self):
        """Asked for and not there: that is said once, and tasks are recovered as ever."""
        told = run("sys.modules['opentelemetry'] = None", on=True)
        assert "state FAILURE" in told
        assert "again FAILURE" in told
        assert "attempt 2/2: fail" in told
        assert told.count("recovery_tracing is on, and there are no traces") == 1

    def test_an_environment_that_makes_no_sense(self):
        """OpenTelemetry raises while it is imported when a variable names a propagator that there is not."""
        told = run("import os; os.environ['OTEL_PROPAGATORS'] = 'nonsense'", on=True)
        assert "attempt 2/2: fail" in told
        assert told.count("recovery_tracing is on, and there are no traces") == 1
