"""`recovery metrics`: the fleet's figures for Prometheus, over HTTP or printed once."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from celery_recovery.monitoring.prometheus import Cached

__all__ = ("metrics",)

_SERVING, _OUTPUT = "Serving", "Output"


@click.command(cls=RecoveryCommand)
@option("--port", type=click.IntRange(0, 65535), metavar="PORT", default=9808, show_default=True, group=_SERVING,
        help="Where to listen; 0: wherever there is room.")  # fmt: skip
@option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, group=_SERVING,
        help="Address to listen on. There is no login: 0.0.0.0 is for networks that you trust.")  # fmt: skip
@option("--once", is_flag=True, group=_OUTPUT, help="Print the figures and end.")
@click.pass_context
def metrics(ctx: click.Context, port: int, host: str, once: bool) -> None:
    """Serve the figures of the whole fleet to Prometheus until interrupted; one such process is enough.

    Redis may be away: celery_recovery_up is 0 then. Needs `pip install 'celery-recovery[prometheus]'`.
    """
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet)
    registry, source = _registry(ctx, output)
    if once:
        _print(ctx, registry, source)
        return
    _serve(output, registry, host, port)


def _registry(ctx: click.Context, output: Output) -> tuple[CollectorRegistry, Cached]:
    """One with our collector alone. Raises `ConfigurationError` where there is no store."""
    try:
        from prometheus_client import CollectorRegistry

        from celery_recovery.monitoring.prometheus import Cached, RecoveryCollector
    except ImportError as exc:
        raise CommandFailure(
            f"Prometheus' client is not there ({exc}): pip install 'celery-recovery[prometheus]'.", ExitCode.USAGE
        ) from exc
    from celery_recovery.recovery import Recovery

    app = ctx.obj.app
    try:
        app.loader.import_default_modules()  # tasks and the circuits that they name
    except Exception as exc:  # noqa: BLE001  # the user's modules may fail in any way
        output.warn(
            f"The app's task modules cannot be imported: {type(exc).__name__}: {exc}."
            " Tasks that are not known here are counted together."
        )
    source = Cached(Recovery.of(app).fleet_reader().read)
    registry = CollectorRegistry()
    registry.register(RecoveryCollector(source))
    return registry, source


def _print(ctx: click.Context, registry: CollectorRegistry, source: Cached) -> None:
    from prometheus_client import generate_latest

    click.echo(generate_latest(registry).decode(), nl=False)
    if source().fleet is None:
        ctx.exit(int(ExitCode.AWAY))


def _serve(output: Output, registry: CollectorRegistry, host: str, port: int) -> None:
    from prometheus_client import start_http_server

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server: Any = start_http_server(port, host, registry)[0]
    except OSError as exc:
        raise CommandFailure(f"Cannot listen on {host} port {port}: {exc.strerror or exc}.", ExitCode.USAGE) from exc
    output.note(f"Figures are at http://{host}:{server.server_port}/metrics. Ctrl-C ends it.")
    stopped.wait()
    server.shutdown()
    server.server_close()
