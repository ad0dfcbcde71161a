"""`recovery dlq …`: the dead letters."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("dlq",)

_LOOKING, _ACTING = "celery_recovery.cli.looking", "celery_recovery.cli.acting"


@click.group(
    name="dlq",
    cls=LazyGroup,
    commands_at={
        "list": f"{_LOOKING}:list_letters",
        "show": f"{_LOOKING}:show",
        "stats": f"{_LOOKING}:stats",
        "replay": f"{_ACTING}:replay",
        "discard": f"{_ACTING}:discard",
        "review": f"{_ACTING}:review",
        "restore": f"{_ACTING}:restore",
    },
)
def dlq() -> None:
    """Look at dead letters, put them back, drop them."""
