"""`recovery dlq export` and `import`: letters as lines of JSON, to be kept, or run on a test machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from celery_recovery.audit import who
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.filters import filter_options
from celery_recovery.cli.looking import LIST
from celery_recovery.cli.progress import display
from celery_recovery.cli.session import Session, session
from celery_recovery.dead_letters.carrying import line_of, read_line
from celery_recovery.dead_letters.search import batches
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.text import counted

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.letter import Letter

__all__ = ("export_letters", "import_letters")

_OUTPUT, _ACTION = "Output", "Action"
#: Letters between two looks of the display.
BATCH = 200


@click.command(name="export", cls=ActingCommand)
@filter_options
@option("-o", "--output", "name", metavar="FILE", group=_OUTPUT, help="To this file. Default: stdout.")
@option("--with-secrets", is_flag=True, group=_ACTION,
        help="All as it is, to be replayed elsewhere. Default: what looks like a secret is hidden.")  # fmt: skip
@click.pass_context
def export_letters(ctx: click.Context, where: Filter, name: str | None, with_secrets: bool) -> None:
    """Write letters as lines of JSON, the newest death first. Exit code 1 when a filter matches nothing.

    Without --state and --id, those that are not finished. `dlq import` reads them.
    """
    with session(ctx, as_json=True) as here:
        about = {"filter": str(where), "target": name or "stdout", "carried": "with secrets" if with_secrets else ""}
        redact = None if with_secrets else here.redact
        letters = here.letters.iterate(LIST.within(where))
        first = next(letters, None)
        if first is None and not where.is_empty:  # before the file that may be there is touched, and told of
            raise CommandFailure("No dead letter matches the filter.", ExitCode.NOTHING)
        with (
            here.letters.audit.acting("export", by=who(), via="cli", **about) as told,
            _written(name) as file,
            display(here.output, "Exporting") as show,
        ):
            count, total = 0, here.letters.count(LIST.within(where))
            for count, letter in enumerate(chain(() if first is None else (first,), letters), 1):
                file.write(line_of(letter, redact) + "\n")
                if count % BATCH == 0:
                    show(count, total)
            told["done"] = count
        here.output.note(f"{counted(count)} exported" + (f" to {name}." if name else "."))


@contextmanager
def _written(name: str | None) -> Iterator[IO[str]]:
    """stdout, or a file that is there only when it is whole; nobody else may read it: it may hold secrets."""
    if name is None:
        yield sys.stdout
        return
    part = Path(f"{name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(name)
    except OSError as exc:
        with suppress(OSError):
            part.unlink()
        raise click.UsageError(f"--output: expected a file that can be written, got {name!r}: {exc}.") from None
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@click.command(name="import", cls=ActingCommand)
@click.argument("name", metavar="FILE")
@option("--dry-run", is_flag=True, group=_ACTION, help="Only read and check it.")
@option("-y", "--yes", is_flag=True, group=_ACTION, help="Do not ask.")
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="The result as one JSON document.")
@click.pass_context
def import_letters(ctx: click.Context, name: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Store the letters of an export, as failed ones. A file with a line that is none is refused as a whole.

    A letter that is here already stays as it is.
    """
    redacted = total = 0
    for _, is_redacted in _lines(name):  # all of it, before anything is stored
        total, redacted = total + 1, redacted + is_redacted
    with session(ctx, as_json=as_json) as here:
        if redacted:
            here.output.warn(
                f"{redacted} of {counted(total)} came without secrets: those that had some are not replayed before "
                "`dlq edit` has put values in their place. Once they are here, an export --with-secrets does not "
                "replace them: to have the whole ones, import that instead."
            )
        if not dry_run and not yes:
            _ask(total)
        done = 0 if dry_run else _store(here, name, total)
        if as_json:
            here.output.document({"selected": total, "done": done, "redacted": redacted, "dry_run": dry_run})
        elif dry_run:
            here.output.line(f"Dry run: {counted(total)} would be imported.")
        else:
            here.output.line(
                f"{done} of {counted(total)} imported." + ("" if done == total else " The others are known.")
            )


def _ask(total: int) -> None:
    if not sys.stdin.isatty():
        raise CommandFailure("Nobody to ask: say --yes to import without a question.", ExitCode.USAGE)
    if not click.confirm(f"Import {counted(total)}?", err=True):
        raise CommandFailure("Nothing was done.", ExitCode.DECLINED)


def _store(here: Session, name: str, total: int) -> int:
    """Store them; returns how many were not known."""
    done = 0
    with (
        here.letters.audit.acting("import", by=who(), via="cli", target=name, selected=total) as told,
        display(here.output, "Importing") as show,
    ):
        for batch in batches(letter for letter, _ in _lines(name)):
            done += sum(how != "duplicate" for how in here.letters.store.add_many(batch))
            show(done, total)
        told["done"] = done
    return done


def _lines(name: str) -> Iterator[tuple[Letter, bool]]:
    """Letters of a file, and whether they are without their secrets. Raises click's UsageError naming the line."""
    try:
        with Path(name).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        letter = read_line(line)
                    except ConfigurationError as exc:
                        field = "" if exc.option == "line" else f"{exc.option}: "
                        raise click.UsageError(
                            f"{name}, line {number}: {field}expected {exc.expected}, got {exc.got}."
                        ) from None
                    yield letter, json.loads(line).get("redacted") is True
    except (OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f"FILE: expected an export that can be read, got {name!r}: {exc}.") from None
