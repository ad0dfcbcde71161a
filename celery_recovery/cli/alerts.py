"""`recovery alerts …`: whether alerts arrive."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("alerts",)

_HERE = "celery_recovery.cli.alerting"


@click.group(name="alerts", cls=LazyGroup,
             commands_at={"list": f"{_HERE}:list_alerts", "test": f"{_HERE}:test_alerts"})  # fmt: skip
def alerts() -> None:
    """Who is called when something happens: try it, and see what was sent."""
