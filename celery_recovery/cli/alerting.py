"""`recovery alerts test` and `recovery alerts list`."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import ActingCommand, RecoveryCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.text import age, moment

if TYPE_CHECKING:
    from celery_recovery.monitoring.alerts.sink import Sink
    from celery_recovery.recovery import Recovery

__all__ = ("list_alerts", "test_alerts")

_OUTPUT = "Output"
_RESULT = (Column("SINK", least=20), Column("RESULT"), Column("WHY", least=20))
_LIST = (
    Column("WHEN"), Column("EVENT"), Column("COUNT", right=True), Column("SINK", least=16), Column("STATE"),
    Column("TRIES", right=True), Column("TITLE", least=20),
)  # fmt: skip


@click.command(name="test", cls=ActingCommand)
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")
@click.pass_context
def test_alerts(ctx: click.Context, as_json: bool) -> None:
    """Send a test alert through each sink of recovery_alerts now, and say how it went. No worker is needed."""
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    results = [_tried(recovery, sink) for sink in _sinks(recovery)]
    if as_json:
        output.document({"sinks": results})
    else:
        output.table(_RESULT, [[one["sink"], "sent" if one["sent"] else "failed", one["error"]] for one in results])
    if not all(one["sent"] for one in results):
        ctx.exit(int(ExitCode.IN_PART))


@click.command(name="list", cls=RecoveryCommand)
@option("-n", "--limit", type=click.IntRange(1, 1000), metavar="N", default=20, show_default=True, group=_OUTPUT,
        help="Most alerts, the latest first.")  # fmt: skip
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of a table.")
@click.pass_context
def list_alerts(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the alerts of the last week, the latest first, and whether they were sent; at most 1,000 are kept."""
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    recovery.dead_letters.store.ping()  # it says best what is missing
    sinks = {sink.id: sink for sink in _sinks(recovery)}
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    assert recovery.alerts is not None  # noqa: S101  # there are sinks, and there is a store
    outbox = recovery.alerts.outbox
    found = [recovery.redact(one.to_dict()) for one in outbox.latest(limit)]
    for one in found:
        one["sink"] = (
            sinks[one["sink"]].name if one["sink"] in sinks else f"{one['sink']}, not in the settings any more"
        )
    waiting = {sink.name: outbox.waiting(sink) for sink in sinks.values()}
    if as_json:
        output.document({"alerts": found, "waiting": waiting})
        return
    if found:
        output.table(_LIST, [_row(one) for one in found], below=[one["error"] for one in found])
    else:
        output.note("No alert was sent in the last week.")
    for name, count in waiting.items():
        if count:
            output.line(f"{count} on the way to {name}")


def _sinks(recovery: Recovery) -> tuple[Sink, ...]:
    """Those of the settings. Raises `CommandFailure` where there are none."""
    sinks = recovery.settings.alerts
    if not sinks:
        raise CommandFailure("recovery_alerts is empty: there is nobody to tell.", ExitCode.NOTHING)
    return sinks


def _tried(recovery: Recovery, sink: Sink) -> dict[str, Any]:
    from celery_recovery.exceptions import ConfigurationError
    from celery_recovery.monitoring.alerts.alert import Alert
    from celery_recovery.monitoring.alerts.sending import sender

    now = time.time()
    told = {"message": "this is a test of recovery_alerts; nothing has happened", "at": now}
    alert = Alert(id=uuid.uuid4().hex, event="test", app=recovery.app.main or "", at=now, count=1, happenings=(told,))
    error = ""
    try:
        sender(sink, recovery.settings.alert_secret)(alert)
    except ConfigurationError as exc:
        error = str(exc)
    except Exception as exc:  # noqa: BLE001  # a callable of the user's, a library: any error
        error = str(exc) or type(exc).__name__
    return {
        "sink": sink.name,
        "kind": sink.kind,
        "sent": not error,
        "error": recovery.redact.text(error),
        "id": alert.id,
    }


def _row(one: dict[str, Any]) -> list[str]:
    state = one["state"] if one["state"] == "sent" else f"{one['state']} {age(one['changed_at'])} ago"
    return [moment(one["at"]), one["event"], str(one["count"]), one["sink"], state, str(one["tries"]), one["title"]]
