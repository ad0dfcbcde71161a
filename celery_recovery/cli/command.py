"""The classes that the commands are made with: loaded late, options in groups, errors in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click
from celery.bin.base import CeleryCommand, CeleryOption
from click_didyoumean import DYMGroup  # type: ignore[import-untyped]

__all__ = ("ActingCommand", "LazyGroup", "RecoveryCommand", "option")


class LazyGroup(DYMGroup):  # type: ignore[misc]  # untyped, too
    """A group that knows its commands by name, and imports one when it is asked for.

    `commands_at`: name -> `package.module:attribute`, in the order of the help.
    """

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """All names, in the order given."""
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name; None when there is none."""
        place = self.commands_at.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class RecoveryCommand(CeleryCommand):  # type: ignore[misc]  # Celery is untyped
    """A command that ends in an exit code and a sentence, where something expected went wrong."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("epilog", "Exit codes: recovery --help")
        super().__init__(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a failure that an operator can do something about is told without a traceback."""
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as exc:
            from celery_recovery.text import visible

            exc.message = visible(exc.message)  # type: ignore[misc]  # ids of letters, and more of theirs, may be in it
            raise
        except (Exception, KeyboardInterrupt) as exc:
            from celery_recovery.cli.failures import explained

            failure = explained(exc, ctx)
            if failure is None:
                raise
            raise failure from exc


class ActingCommand(RecoveryCommand):
    """A command that changes something: refused, before anything is touched, where tools may only look."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, if it may; a dry run is only a look."""
        if not ctx.params.get("dry_run"):
            from celery_recovery.cli.failures import explained
            from celery_recovery.exceptions import RecoveryError
            from celery_recovery.recovery import Recovery

            try:
                Recovery.of(ctx.obj.app).allow(ctx.command_path.partition("recovery ")[2] or str(self.name))
            except RecoveryError as exc:
                raise explained(exc, ctx) or exc from exc
        return super().invoke(ctx)


def option(*names: str, group: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A click option, listed in the help under `group`."""
    return click.option(*names, cls=CeleryOption, help_group=group, **settings)
