"""`recovery circuits …`: one for each remote dependency, shared by all workers."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("circuits",)

_LOOKING, _ACTING = "celery_recovery.cli.circuits_looking", "celery_recovery.cli.circuits_acting"


@click.group(
    name="circuits",
    cls=LazyGroup,
    commands_at={
        "list": f"{_LOOKING}:list_circuits",
        "show": f"{_LOOKING}:show",
        "open": f"{_ACTING}:open_circuits",
        "close": f"{_ACTING}:close",
        "reset": f"{_ACTING}:reset",
    },
)
def circuits() -> None:
    """Look at circuits, open and close them by hand."""
