"""`recovery flower`: Flower with the Recovery tab. All of Flower's own options go to Flower."""

from __future__ import annotations

import click
from celery.bin.base import CeleryCommand

from celery_recovery.cli.failures import CommandFailure, ExitCode

__all__ = ("flower",)


@click.command(
    cls=CeleryCommand,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("tornado_argv", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def flower(ctx: click.Context, tornado_argv: tuple[str, ...]) -> None:
    """Start Flower with a Recovery tab; takes all of Flower's options, such as --port and --basic-auth.

    Nobody can act on its pages without a login. Needs `pip install 'celery-recovery[flower]'`.
    """
    if "--help" in tornado_argv:
        click.echo(ctx.get_help())
    try:
        from celery_recovery.flower import install
    except ImportError as exc:
        raise CommandFailure(
            f"Flower is not there ({exc}): pip install 'celery-recovery[flower]'.", ExitCode.USAGE
        ) from exc
    import flower.command  # type: ignore[import-untyped]

    install()
    ctx.invoke(flower.command.flower, tornado_argv=tornado_argv)
