"""`manage.py recovery …`: the commands of `celery -A app recovery …`, for the app of this project.

Django's options are taken out of the command line wherever they stand, the rest is click's. Called from code, by
`call_command("recovery", "dlq", "list", stdout=…)`, it prints to `stdout` and raises `CommandError` with the exit code
as its `returncode` where the command line would have ended with one.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from celery import Celery
from celery.bin.base import CLIContext
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from celery_recovery.cli import recovery
from celery_recovery.django.project import celery_app
from celery_recovery.text import visible

__all__ = ("Command",)

_DJANGO = """\b
Of Django's own options:
  --settings, --pythonpath   as everywhere
  --no-color, --force-color  also NO_COLOR and DJANGO_COLORS=nocolor
  -v 0                       no hints and no progress
  --traceback                where a command ended, and why
"""

_GROUP = copy(recovery)
_GROUP.epilog = f"{recovery.epilog}\n\n{_DJANGO}"


class Command(BaseCommand):  # type: ignore[misc]  # Django is untyped
    """Hands the words of the command line to the click group."""

    help = recovery.help
    #: It must work when other things do not. `manage.py check` looks at its settings.
    requires_system_checks: Sequence[str] = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        """Django's parser, which leaves alone what it does not know: `args` are those words, in their order."""
        options |= {"add_help": False, "allow_abbrev": False}  # `--help` is click's, `--set` is not `--settings`
        parser = super().create_parser(prog_name, subcommand, **options)
        known = parser.parse_known_args

        def parse_args(args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:
            django, words = known(args, namespace)
            return Namespace(**vars(django), args=words)

        parser.parse_args = parse_args
        self._program = _program(prog_name)
        return parser

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """`manage.py help recovery`."""
        self.create_parser(prog_name, subcommand)
        self._run(["--help"], {}, standalone_mode=False)

    def handle(self, *words: str, **options: Any) -> None:
        """Run the command. It ends the process as in `celery`; in code, and with --traceback, by raising."""
        from_shell = getattr(self, "_called_from_command_line", False) and not options["traceback"]
        with _written_to(options.get("stdout"), options.get("stderr")):
            if from_shell:
                self._run(words, options)
            else:
                self._run_or_raise(words, options)

    def _run_or_raise(self, words: Sequence[str], options: Mapping[str, Any]) -> None:
        try:
            code = self._run(words, options, standalone_mode=False)
        except click.ClickException as exc:
            lines = exc.format_message().split("\n")  # click lists what is like a misspelt command
            raise CommandError("\n".join(map(visible, lines)), returncode=exc.exit_code) from exc
        if isinstance(code, int) and code:
            raise CommandError(f"{' '.join(['recovery', *words])}: exit code {code}", returncode=code)

    def _run(self, words: Sequence[str], options: Mapping[str, Any], **settings: Any) -> Any:
        """Call the group as a command below `manage.py`; in standalone mode click ends the process."""
        program = click.Context(click.Command(self._program), info_name=self._program, obj=_Project(options))
        program.params["app"] = True  # one is named, or found: no need to ask for celery -A
        color = True if options.get("force_color") else None
        names = ["-h", "--help"]
        return _GROUP.main(list(words), "recovery", parent=program, color=color, help_option_names=names, **settings)


class _Project(CLIContext):  # type: ignore[misc]  # Celery is untyped
    """What commands work with. The app is found when one asks for it: help is there without."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        coloured = not (os.environ.get("NO_COLOR") or os.environ.get("DJANGO_COLORS") == "nocolor")
        self.no_color = options.get("no_color") or not (coloured or options.get("force_color"))
        self.quiet = options.get("verbosity") == 0
        self.workdir = None

    @cached_property
    def app(self) -> Celery:
        """Raises `ConfigurationError`, which the command tells."""
        return celery_app()


def _program(prog_name: str) -> str:
    """How the help calls the program."""
    name = Path(prog_name).name
    return "python -m django" if name == "__main__.py" else name or "manage.py"


@contextmanager
def _written_to(stdout: Any, stderr: Any) -> Iterator[None]:
    """Everything printed meanwhile goes there. Of the whole process: for scripts and tests, not for threads."""
    with ExitStack() as stack:
        if stdout:
            stack.enter_context(redirect_stdout(_bare(stdout)))
        if stderr:
            stack.enter_context(redirect_stderr(_bare(stderr)))
        yield


def _bare(stream: Any) -> Any:
    """The stream itself: another command passes its `self.stdout`, which ends every write with a new line."""
    while isinstance(stream, OutputWrapper):
        stream = stream._out  # noqa: SLF001  # Django has no public name for it
    return stream
