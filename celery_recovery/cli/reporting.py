"""`recovery report`: what failed in a period, what recovered, and what should be changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.output import Output
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.written import written

if TYPE_CHECKING:
    from celery_recovery.report.model import Report

__all__ = ("report",)

_OUTPUT, _PERIOD = "Output", "Period"
_FORMATS = ("text", "json", "html")
#: Columns of a text that is written to a file.
FILE_WIDTH = 100


@click.command(cls=RecoveryCommand)
@option("--since", metavar="TIME", default="24h", show_default=True, group=_PERIOD,
        help="From then on: an age such as 24h or 7d, ISO 8601, or unix seconds.")  # fmt: skip
@option("--until", metavar="TIME", group=_PERIOD, help="To then. Default: now.")
@option("--task", "tasks", multiple=True, metavar="NAME", group=_PERIOD,
        help="Of this task only; * and ? match. Repeatable.")  # fmt: skip
@option("--format", "form", type=click.Choice(_FORMATS), group=_OUTPUT,
        help="Default: what the name of the file ends in, else text.")  # fmt: skip
@option("-o", "--output", "name", metavar="FILE", group=_OUTPUT, help="To this file. Default: stdout.")
@click.pass_context
def report(
    ctx: click.Context, since: str, until: str | None, tasks: Sequence[str], form: str | None, name: str | None
) -> None:
    """Report what failed in a period, what recovered and how, what it cost, and what should be changed.

    The HTML page is one file, with pictures, for browsers and for print. The period reaches back as far as counts are
    kept (recovery_stats_retention).
    """
    form = form or _form_of(name)
    with session(ctx, as_json=form != "text" or name is not None) as here:
        _know_tasks(here)
        made = _for_app(_made(here, since, until, tasks), ctx.find_root().params.get("app"))
        if name is None:
            _print(here.output, made, form)
            return
        with written(name) as file:
            file.write(_whole(made, form))
        here.output.note(f"The report is in {name}.")


def _form_of(name: str | None) -> str:
    ending = Path(name or "").suffix.lower().lstrip(".")
    return {"htm": "html"}.get(ending, ending if ending in _FORMATS else "text")


def _made(here: Session, since: str, until: str | None, tasks: Sequence[str]) -> Report:
    from celery_recovery.cli.filters import usage
    from celery_recovery.exceptions import ConfigurationError

    try:
        return here.recovery.report(since, until, tasks=tasks)
    except ConfigurationError as exc:
        if exc.option in ("since", "until"):
            raise usage(exc) from None
        raise


def _for_app(made: Report, app: Any) -> Report:
    """Its commands for the app that was named on this command line; a report that code makes knows no name."""
    if not isinstance(app, str) or not app:
        return made
    named = f"celery -A {shlex.quote(app)} "
    advice = (replace(one, setting=one.setting.replace("celery -A your_app ", named)) for one in made.advice)
    return replace(made, advice=tuple(advice))


def _know_tasks(here: Session) -> None:
    """What their policies allow is part of the advice."""
    try:
        here.app.loader.import_default_modules()
    except Exception as exc:  # noqa: BLE001  # the user's modules may fail in any way
        why = f"{type(exc).__name__}: {exc}"
        here.output.warn(f"The app's task modules cannot be imported: {why}. The policies of tasks are not known here.")


def _print(output: Output, made: Report, form: str) -> None:
    from celery_recovery.cli.report_text import show_report

    if form == "text":
        show_report(output, made)
    elif form == "json":
        output.document(made.to_dict())
    else:
        click.echo(_whole(made, form), nl=False)


def _whole(made: Report, form: str) -> str:
    """The content of a file."""
    from celery_recovery.cli.report_text import as_text
    from celery_recovery.report.page import page

    if form == "html":
        return page(made) + "\n"
    if form == "json":
        return json.dumps(made.to_dict(), indent=2).replace("\x7f", "\\u007f") + "\n"
    return as_text(made, FILE_WIDTH)
