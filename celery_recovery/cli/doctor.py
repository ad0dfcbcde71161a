"""`recovery doctor`: what in this configuration can still lose or duplicate a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.failures import ExitCode
from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column

if TYPE_CHECKING:
    from celery_recovery.doctor import Facts, Finding

__all__ = ("doctor",)

#: The severities, the worst first, and what each means to whoever reads the table.
_MEANINGS = {
    "loss": "a task, its letter or its chord can vanish",
    "duplicate": "work can be done twice",
    "delay": "tasks can wait far longer than they have to",
    "unknown": "could not be checked",
    "advice": "nothing is lost; something would be better",
}
_COLOURS = {"loss": "red", "duplicate": "red", "delay": "yellow", "unknown": "yellow"}
_COLUMNS = (Column("CODE"), Column("SEVERITY"), Column("LOOKS FOR", least=30))
_LOOKING, _OUTPUT = "Examination", "Output"


@click.command(cls=RecoveryCommand)
@option("--fail-on", type=click.Choice([*_MEANINGS, "never"]), default="duplicate", show_default=True, group=_LOOKING,
        help="End with code 7 when something of this severity, or worse, is found.")  # fmt: skip
@option("--ignore", "ignored", metavar="CODE", multiple=True, group=_LOOKING,
        help="Leave this finding out: a risk that was looked at and taken. Repeatable.")  # fmt: skip
@option("--workers/--no-workers", default=True, show_default=True, group=_LOOKING, help="Ask running workers, too.")
@option("--timeout", type=click.FloatRange(0.1, 60), metavar="SECONDS", default=1.0, show_default=True, group=_LOOKING,
        help="How long workers have to answer.")  # fmt: skip
@option("--management-url", metavar="URL", group=_LOOKING,
        help="RabbitMQ's management API, http://[user:password@]host:15672: only it tells of policies.")  # fmt: skip
@option("--list", "listing", is_flag=True, group=_OUTPUT, help="Only list what is looked for.")
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON document instead of text.")
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    fail_on: str,
    ignored: tuple[str, ...],
    workers: bool,
    timeout: float,
    management_url: str | None,
    listing: bool,
    as_json: bool,
) -> None:
    """Say what in this configuration can still lose or duplicate a task, and how to mend it. Changes nothing."""
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    _check_codes(ignored)
    if listing:
        _list_checks(output, as_json=as_json)
        return
    facts, findings = _examined(ctx, workers=workers, timeout=timeout, management_url=management_url)
    if not facts.tasks and not ctx.find_root().params.get("app"):
        output.warn("No app was named (celery -A your_app recovery doctor): this is about Celery's defaults.")
    left_out = sorted({finding.code for finding in findings if finding.code in ignored})
    findings = [finding for finding in findings if finding.code not in ignored]
    failed = [finding for finding in findings if _at_least(finding, fail_on)]
    if as_json:
        output.document(_document(ctx.obj.app.main or "", facts, findings, left_out, failed=bool(failed)))
    else:
        _show(output, facts, findings, left_out)
    _exit(ctx, facts, failed=bool(failed))


def _examined(ctx: click.Context, **options: Any) -> tuple[Facts, list[Finding]]:
    from celery_recovery.doctor import Doctor, diagnose
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    facts = Doctor(recovery, **options).facts()
    hide = recovery.redact
    return facts, [replace(one, subject=hide(one.subject), what=hide(one.what)) for one in diagnose(facts)]


def _check_codes(ignored: Iterable[str]) -> None:
    """A misspelt code would ignore nothing, and nobody would see it."""
    from celery_recovery.doctor import CHECKS

    for code in ignored:
        if code not in CHECKS:
            raise click.UsageError(f"--ignore: there is no check {code!r}; see --list")


def _at_least(finding: Finding, level: str) -> bool:
    order = list(_MEANINGS)
    return level != "never" and finding.severity.rank <= order.index(level)


def _list_checks(output: Output, *, as_json: bool) -> None:
    from celery_recovery.doctor import CHECKS

    checks = sorted(CHECKS.values(), key=lambda check: check.severity.rank)
    if as_json:
        names = ("code", "severity", "title", "consequence", "fix")
        output.document({"checks": [{name: str(getattr(check, name)) for name in names} for check in checks]})
    else:
        output.table(_COLUMNS, [[check.code, check.severity, check.title] for check in checks])


def _document(
    app: str, facts: Facts, findings: Sequence[Finding], left_out: Sequence[str], *, failed: bool
) -> dict[str, Any]:
    """The whole examination, JSON-ready."""
    from celery_recovery.doctor import CHECKS

    return {
        "app": app,
        "broker": facts.driver,
        "tasks": len(facts.tasks),
        "workers": None if facts.workers is None else [worker.name for worker in facts.workers],
        "checks": len(CHECKS),
        "counts": _counts(findings),
        "findings": [finding.to_dict() for finding in findings],
        "ignored": list(left_out),
        "failed": failed,
    }


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    counts = Counter(finding.severity.value for finding in findings)
    return {severity: counts[severity] for severity in _MEANINGS}


def _show(output: Output, facts: Facts, findings: Sequence[Finding], left_out: Sequence[str]) -> None:
    for severity, meaning in _MEANINGS.items():
        group = [finding for finding in findings if finding.severity.value == severity]
        if group:
            output.line(f"{severity.upper()}: {meaning} ({len(group)})", bold=True, fg=_COLOURS.get(severity))
            for finding in group:
                _show_one(output, finding)
            output.line()
    output.line(_summary(facts, findings))
    if left_out:
        output.line(f"Ignored, as asked: {', '.join(left_out)}.")


def _show_one(output: Output, finding: Finding) -> None:
    output.line()
    output.heading(f"  {finding.code}")
    output.fields(
        {
            "where": finding.subject,
            "found": finding.what,
            "then": finding.consequence,
            "fix": finding.fix,
        }
    )


def _summary(facts: Facts, findings: Sequence[Finding]) -> str:
    from celery_recovery.doctor import CHECKS

    counts = ", ".join(f"{number} {severity}" for severity, number in _counts(findings).items() if number)
    answered = "workers were not asked" if facts.workers is None else f"{len(facts.workers)} workers answered"
    looked = f"{len(CHECKS)} checks of {len(facts.tasks)} tasks; {answered}"
    return f"Found {counts or 'nothing'} ({looked})."


def _exit(ctx: click.Context, facts: Facts, *, failed: bool) -> None:
    """A finding counts more than a server that was away; what could not be asked must not pass for sound."""
    if failed:
        ctx.exit(int(ExitCode.FOUND))
    rabbit_away = facts.rabbit is not None and facts.rabbit.error
    if facts.broker_error or rabbit_away or any(server.error for server in facts.redis):
        ctx.exit(int(ExitCode.AWAY))
