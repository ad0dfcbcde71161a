"""Traces, for those who use OpenTelemetry: what became of an attempt, and what a replay goes back to.

    failing attempt    an event on the span that it runs in. Where there is none (its process was killed, or nothing
                       instruments tasks) a span of its own, `recovery.attempt`
    its retry          published from within that span: the same trace
    its letter         has the context of that span in its headers, as the process's propagator writes it
    replay             a span `recovery.replay` that begins a trace, with a link to the span that the letter died in;
                       the run it leads to is its child, and has the same link

Runs themselves are not traced: that is `opentelemetry-instrumentation-celery`'s, and a second span for each would cost
every task something and tell nothing. What is parked and released keeps its headers, and with them its trace.

A replay stands between a claim and its mark, and a failure before a letter, so nothing here raises, and nothing waits:
what OpenTelemetry raises is counted and said once, and when it was slow to take a span it is given none for a while.
No module of it is imported before `begin` is called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from celery.app.task import Context as Request

from celery_recovery.dead_letters.received import HEADER
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity
from celery_recovery.text import visible

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, Tracer, TracerProvider

    from celery_recovery.dead_letters.letter import Letter, Outgoing
    from celery_recovery.monitoring.told import Told

__all__ = ("ATTEMPT", "DECISION", "ITEM", "REPLAY", "Attempt", "Tracing", "begin")

logger = logging.getLogger("celery_recovery")

T = TypeVar("T")

#: Names of spans and of events.
ATTEMPT, REPLAY = "recovery.attempt", "recovery.replay"
DECISION, ITEM = "recovery.decision", "recovery.item"
#: Part of the `recovery` header: the spans that the letters of this replay died in, as W3C `traceparent`.
LINKS = "links"
#: Links of one replay: the items of a batch may be thousands. OpenTelemetry's own limit is 128.
MOST_LINKS = 100
#: Characters of a text among the attributes.
LONGEST = 200
#: Seconds in which a span should have been taken, and for which none is given when it was not.
SLOW, REST = 1.0, 60.0
#: Of what the event tells, what the span itself has, too: most tools search spans alone.
_SEARCHED = ("recovery.action", "recovery.reason", "recovery.error_type", "recovery.fingerprint")
#: What ends an attempt without being an error.
_NO_ERROR = ("snooze", "discard")


def begin() -> Tracing | None:
    """Tracing by the process's own tracer provider; None, and a warning, where OpenTelemetry cannot be imported."""
    try:
        return Tracing()
    except Exception as exc:  # noqa: BLE001  # it is imported here, with what its environment variables name
        logger.warning(
            "recovery_tracing is on, and there are no traces: OpenTelemetry cannot be imported (%s: %s)",
            type(exc).__name__, exc, extra={"action": "no_tracing"},
        )  # fmt: skip
        return None


class Tracing:
    """What recovery has to tell OpenTelemetry. Raises `ImportError` when it is made; nothing raises afterwards."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        from opentelemetry import context, propagate, trace

        self._context, self._propagate, self._trace = context, propagate, trace
        # without a provider it is a proxy, until there is one: a worker's children may set it up after the fork
        self._tracer: Tracer = trace.get_tracer("celery_recovery", tracer_provider=provider)
        self._rests_until = 0.0
        #: How often OpenTelemetry raised, in this process.
        self.failures = 0

    def attempt(self, task: str, request: Request, runtime: float) -> Attempt | None:
        """The span that an attempt fails in, which began `runtime` seconds ago; None where there can be none."""
        return self.safely(lambda: self._attempt(task, request, runtime), None)

    def _attempt(self, task: str, request: Request, runtime: float) -> Attempt:
        current = self._trace.get_current_span()
        if current.get_span_context().is_valid:
            return Attempt(self, current, self._context.get_current(), own=False)
        before = self._extracted(request.headers)
        span = self._giving.start_span(
            ATTEMPT,
            before,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes({"recovery.task": task, "messaging.message.id": str(request.id)}),
            start_time=time.time_ns() - int(runtime * 1e9),
        )
        return Attempt(self, span, self._trace.set_span_in_context(span, before), own=True)

    def replay(self, message: Outgoing, letters: Sequence[Letter]) -> tuple[Outgoing, Callable[..., None]]:
        """The message of a replay in a trace of its own, and what is to be called when it is published, or is not."""
        return self.safely(lambda: self._replay(message, letters), (message, _nothing))

    def _replay(self, message: Outgoing, letters: Sequence[Letter]) -> tuple[Outgoing, Callable[..., None]]:
        contexts = [self._extracted(letter.headers) for letter in letters[:MOST_LINKS]]
        died = [span for span in map(self._span_in, contexts) if span.is_valid]
        # without the span that it died in; what else travels in its context, as baggage does, goes on
        before = self._trace.set_span_in_context(self._trace.INVALID_SPAN, contexts[0])
        span = self._giving.start_span(
            REPLAY,
            before,
            kind=self._trace.SpanKind.PRODUCER,
            attributes=_about_replay(message, letters),
            links=[self._link(context) for context in died],
        )
        headers = self.carried(message.headers, self._trace.set_span_in_context(span, before))
        if died:
            headers[HEADER] = {**headers[HEADER], LINKS: [_traceparent(context) for context in died]}

        def end(exc: BaseException | None = None) -> None:
            self.safely(lambda: self._end(span, exc), None)

        return message._replace(headers=headers), end

    def replayed(self, header: Any) -> None:
        """Link the span that runs to those that the letters died in, by the `recovery` header of a replay."""
        links = header.get(LINKS) if isinstance(header, Mapping) else None
        if isinstance(links, (list, tuple)) and links:
            self.safely(lambda: self._replayed(links), None)

    def _replayed(self, links: Sequence[Any]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span, read = self._trace.get_current_span(), TraceContextTextMapPropagator()
        for told in links[:MOST_LINKS]:
            context = self._span_in(read.extract({"traceparent": str(told)}, context=self._context.Context()))
            if context.is_valid:
                span.add_link(context, {"recovery.link": "died"})

    def carried(self, headers: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Headers with this context, and with nothing of the one they had."""
        own = self._propagate.get_global_textmap().fields
        kept = {name: value for name, value in headers.items() if name not in own}
        self._propagate.inject(kept, context)
        return kept

    @contextmanager
    def within(self, context: Context) -> Iterator[None]:
        """What is published meanwhile follows from it; whatever is left behind by what failed is gone afterwards."""
        token = self.safely(lambda: self._context.attach(context), None)
        try:
            yield
        finally:
            if token is not None:
                self.safely(lambda: self._context.detach(token), None)

    def end(self, span: Span) -> None:
        """End it. A processor that exports at once does so here."""
        begun = time.monotonic()
        span.end()
        if (seconds := time.monotonic() - begun) > SLOW:
            self._rests_until = time.monotonic() + REST
            self._say(f"it took {seconds:.1f} s to take a span, and is given none for {REST:.0f} s")

    def safely(self, act: Callable[[], T], otherwise: T) -> T:
        """What `act` gives, or `otherwise` when it raises."""
        try:
            return act()
        except Exception as exc:  # noqa: BLE001  # anybody's exporter, processor, propagator or sampler
            self._say(f"{type(exc).__name__}: {exc}")
            return otherwise

    def _say(self, what: str) -> None:
        self.failures += 1
        if self.failures == 1:
            logger.warning(
                "OpenTelemetry fails; recovery goes on without it, and does not say so again: %s", visible(what),
                extra={"action": "tracing_failed"},
            )  # fmt: skip

    @property
    def _giving(self) -> Tracer:
        return self._tracer if time.monotonic() >= self._rests_until else self._trace.NoOpTracer()

    def _end(self, span: Span, exc: BaseException | None) -> None:
        if exc is not None:
            self.error(span, type(exc).__name__)
        self.end(span)

    def error(self, span: Span, what: str) -> None:
        """Say that it ended with an error, by the name of its class: a message may hold anything."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, _text(what)))

    def _extracted(self, headers: Mapping[str, Any] | None) -> Context:
        """The context that headers carry; an empty one where they carry none, whatever is going on here."""
        carrier = {name: value for name, value in (headers or {}).items() if isinstance(value, str)}
        return self._propagate.extract(carrier, context=self._context.Context())

    def _span_in(self, context: Context) -> SpanContext:
        return self._trace.get_current_span(context).get_span_context()

    def _link(self, context: SpanContext) -> Link:
        return self._trace.Link(context, {"recovery.link": "died"})


class Attempt:
    """The span that one attempt fails in."""

    def __init__(self, tracing: Tracing, span: Span, context: Context, *, own: bool) -> None:
        self._tracing, self._span, self._own = tracing, span, own
        #: What follows from the attempt follows from this.
        self.context = context

    def carried(self, headers: dict[str, Any]) -> dict[str, Any]:
        """Headers that follow from it."""
        return self._tracing.safely(lambda: self._tracing.carried(headers, self.context), headers)

    def within(self) -> Any:
        """A context manager: what is published meanwhile follows from it."""
        return self._tracing.within(self.context)

    def decided(self, told: Told, *, severity: ErrorSeverity, held: bool) -> None:
        """Tell what was done about its failure. A held task ends without an error, as Celery sees it; it is one."""
        self._tracing.safely(lambda: self._decided(told, severity, held), None)

    def _decided(self, told: Told, severity: ErrorSeverity, held: bool) -> None:
        about = _about_failure(told, severity, held)
        self._span.add_event(DECISION, about)
        self._span.set_attributes({name: about[name] for name in _SEARCHED if name in about})
        if held or (self._own and told.what not in _NO_ERROR):
            self._tracing.error(self._span, told.exception)
        self._end()

    def set_aside(self, info: ErrorInfo, *, batch: str, position: int, letter: str) -> None:
        """Tell of an item of a batch that failed; `letter` is its letter's id, or empty. The run goes on."""
        told = {
            "recovery.batch": batch, "recovery.position": position, "recovery.letter": letter or None,
            "recovery.error_type": info.error_type.value, "recovery.severity": info.severity.value,
            "recovery.fingerprint": info.fingerprint, "exception.type": info.exception,
        }  # fmt: skip
        self._tracing.safely(lambda: self._set_aside(_attributes(told)), None)

    def _set_aside(self, told: dict[str, Any]) -> None:
        self._span.add_event(ITEM, told)
        self._end()

    def _end(self) -> None:
        if self._own:
            self._tracing.end(self._span)


def _about_failure(told: Told, severity: ErrorSeverity, held: bool) -> dict[str, Any]:
    """Few values each, but for the fingerprint; neither arguments nor messages, which may hold anything."""
    about = {
        "action": told.what, "reason": told.reason, "delay": told.delay, "held": held, "attempt": told.attempt,
        "max_attempts": told.max_attempts, "error_type": told.error_type, "severity": severity.value,
        "fingerprint": told.fingerprint,
    }  # fmt: skip
    named = {f"recovery.{name}": value for name, value in about.items()}
    return _attributes({**named, "exception.type": told.exception})


def _about_replay(message: Outgoing, letters: Sequence[Letter]) -> dict[str, Any]:
    first = letters[0]
    told = {
        "operation": first.operation, "letter": first.id, "letters": len(letters), "replay": first.number,
        "task": first.task, "error_type": first.error.error_type.value, "fingerprint": first.error.fingerprint,
    }  # fmt: skip
    return {
        **_attributes({f"recovery.{name}": value for name, value in told.items()}),
        "messaging.message.id": _text(str(message.headers.get("id") or first.id)),
        "messaging.destination.name": _text(message.queue or message.routing_key),
    }


def _attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenTelemetry takes for attributes; what is not known is left out."""
    known = {name: value for name, value in told.items() if value is not None}
    return {name: _text(value) if isinstance(value, str) else value for name, value in known.items()}


def _text(value: str) -> str:
    """Cut, and without what cannot be written as UTF-8: a protocol would refuse the whole batch of spans."""
    return visible(value[:LONGEST])


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _nothing(*_: object) -> None:
    """The end of a span that there is not."""
