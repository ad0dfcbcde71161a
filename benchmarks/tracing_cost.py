"""What `recovery_tracing` costs: microseconds of CPU that a replayed letter and a failing attempt take longer.

    python benchmarks/tracing_cost.py [ROUNDS]

Needs the extra `otel` and `opentelemetry-sdk`. No service runs; the exporter throws spans away. What recovery tells is
measured, and beside it the least that anybody pays: one span of OpenTelemetry's own, begun and ended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from celery.app.task import Context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery.errors.model import ErrorSeverity
from celery_recovery.monitoring.told import Told
from celery_recovery.monitoring.tracing import Tracing
from tests.letters import letter

SENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
TOLD = Told(
    what="retry", task="orders.charge", task_id="a", error_type="network", reason="transient", attempt=2,
    max_attempts=8, delay=1.5, exception="builtins.ConnectionResetError", fingerprint="1:00112233aabbccdd",
)  # fmt: skip


class Nowhere(SpanExporter):
    """A collector without a network."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """Throw them away."""
        return SpanExportResult.SUCCESS


def main(rounds: int) -> None:
    """Measure and print."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100 * rounds))
    tracer = provider.get_tracer("benchmark")
    with_sdk, without = Tracing(provider), Tracing()
    for name, act in (
        ("one empty span", lambda: tracer.start_span("empty").end()),
        ("a replayed letter", _replay(with_sdk)),
        ("a replayed letter, no SDK", _replay(without)),
        ("a failing attempt, its run traced", _attempt(with_sdk, tracer)),
        ("a failing attempt, no run traced", _attempt(with_sdk, None)),
        ("a failing attempt, no SDK", _attempt(without, None)),
    ):
        print(f"{name:36} {min(_seconds(act, rounds) for _ in range(5)) * 1e6:7.1f} µs")


def _seconds(act: Callable[[], object], rounds: int) -> float:
    begun = time.process_time()
    for _ in range(rounds):
        act()
    return (time.process_time() - begun) / rounds


def _replay(tracing: Tracing) -> Callable[[], None]:
    one = letter("a", extra=SENT).changed(token="t", operation="op", number=1)
    message = one.message(copy="c")

    def act() -> None:
        _, end = tracing.replay(message, (one,))
        end()

    return act


def _attempt(tracing: Tracing, tracer: trace.Tracer | None) -> Callable[[], None]:
    request = Context(id="a", task="orders.charge", **SENT)

    def fail() -> None:
        attempt = tracing.attempt("orders.charge", request, 0.1)
        if attempt is None:
            sys.exit("OpenTelemetry failed; its warning is above")
        attempt.carried(SENT)
        with attempt.within():
            pass
        attempt.decided(TOLD, severity=ErrorSeverity.MEDIUM, held=False)

    def fail_in_a_run() -> None:
        with trace.use_span(run):
            fail()

    run = tracer.start_span("run") if tracer is not None else trace.INVALID_SPAN
    return fail if tracer is None else fail_in_a_run


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
