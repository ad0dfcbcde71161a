"""`recovery dlq …`: the dead letters."""

from __future__ import annotations

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("dlq",)

_GROUPS = "celery_recovery.cli.grouping"
_LOOKING, _CHANGING = "celery_recovery.cli.looking", "celery_recovery.cli.changing"


@click.group(
    name="dlq",
    cls=LazyGroup,
    commands_at={
        "list": f"{_LOOKING}:list_letters",
        "show": f"{_LOOKING}:show",
        "stats": f"{_LOOKING}:stats",
        "groups": f"{_GROUPS}:list_groups",
        "group": f"{_GROUPS}:show_group",
        "resolve": f"{_GROUPS}:resolve",
        "ignore": f"{_GROUPS}:ignore",
        "reopen": f"{_GROUPS}:reopen",
        "replay": "celery_recovery.cli.replaying:replay",
        "edit": "celery_recovery.cli.editing:edit",
        "discard": f"{_CHANGING}:discard",
        "review": f"{_CHANGING}:review",
        "restore": f"{_CHANGING}:restore",
        **{
            name: f"celery_recovery.cli.reviewing:{name}"
            for name in ("take", "assign", "annotate", "approve", "reject")
        },
        "export": "celery_recovery.cli.carrying:export_letters",
        "import": "celery_recovery.cli.carrying:import_letters",
    },
)
def dlq() -> None:
    """Look at dead letters, put them back, drop them."""
