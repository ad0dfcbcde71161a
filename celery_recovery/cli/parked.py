"""`recovery parked …`: tasks that are not due for long, and wait in Redis for it."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("parked",)


@click.group(
    name="parked",
    cls=LazyGroup,
    commands_at={
        "list": "celery_recovery.cli.parked_looking:list_parked",
        "release": "celery_recovery.cli.parked_acting:release",
        "discard": "celery_recovery.cli.parked_acting:discard",
    },
)
def parked() -> None:
    """Look at parked tasks, run them now, drop them."""
