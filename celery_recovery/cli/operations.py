"""`recovery operations …`: what was asked of many letters at once, and how far it is."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("operations",)

_HERE = "celery_recovery.cli.operations_acting"


@click.group(
    name="operations",
    cls=LazyGroup,
    commands_at={name: f"{_HERE}:{function}" for name, function in (
        ("list", "list_operations"), ("show", "show"), ("pause", "pause"), ("resume", "resume"), ("cancel", "cancel"),
    )},
)  # fmt: skip
def operations() -> None:
    """Replays, discards and their like: how far they are, pause, go on, cancel."""
