"""How a command ends when it cannot do what was asked: an exit code, and a sentence on stderr."""

from __future__ import annotations

import enum
from typing import IO, Any

import click
import redis
from kombu.exceptions import OperationalError

from celery_recovery.exceptions import (
    ConfigurationError,
    GroupNotFound,
    LetterNotFound,
    NotAllowed,
    OperationNotFound,
    PublishFailed,
    StoreUnavailable,
)
from celery_recovery.redact import Redactor
from celery_recovery.text import visible

#: By the built-in patterns: an error may come before the app's own are known.
_HIDE = Redactor()

__all__ = ("CommandFailure", "ExitCode", "broker_away", "explained")


class ExitCode(enum.IntEnum):
    """What the exit codes mean; the same for every command."""

    DONE = 0
    NOTHING = 1  # the filter matched nothing
    USAGE = 2  # click's own for a command line that makes no sense; a configuration that makes none, too
    AWAY = 3  # Redis or the broker
    UNKNOWN_ID = 4
    IN_PART = 5  # some letters were skipped or failed
    DECLINED = 6  # the question was answered with no
    FOUND = 7  # the doctor found what --fail-on asks about
    STOPPED = 8  # a replay stopped by itself: its letters died again
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class CommandFailure(click.ClickException):
    """The end of a command, with its sentence and its code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click says ClassVar and sets it in instances

    def show(self, file: IO[Any] | None = None) -> None:
        """The sentence, on stderr."""
        click.echo(visible(_HIDE.text(self.format_message())), file=file, err=True)


def explained(exc: BaseException, ctx: click.Context) -> click.ClickException | None:
    """The failure in words; None for what should not have happened, whose traceback is wanted."""
    if isinstance(exc, (ConfigurationError, NotAllowed)):
        more = " Nothing was done." if isinstance(exc, NotAllowed) else _app_hint(ctx)
        return CommandFailure(f"Error: {exc}{more}", ExitCode.USAGE)
    if isinstance(exc, StoreUnavailable):
        return CommandFailure(f"Redis is away: {exc}", ExitCode.AWAY)
    if isinstance(exc, (GroupNotFound, LetterNotFound, OperationNotFound)):
        return CommandFailure(str(exc), ExitCode.UNKNOWN_ID)
    if isinstance(exc, (PublishFailed, OperationalError)):
        return CommandFailure(broker_away(exc), ExitCode.AWAY)
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError):  # of the result backend: the store says its own
        return CommandFailure(f"The result backend is away: {exc}", ExitCode.AWAY)
    if isinstance(exc, click.Abort):  # Ctrl-C or the end of input, at the question
        return CommandFailure("Nothing was done.", ExitCode.INTERRUPTED)
    if isinstance(exc, KeyboardInterrupt):
        return CommandFailure("Interrupted.", ExitCode.INTERRUPTED)
    return None


def broker_away(exc: BaseException) -> str:
    """The sentence for a broker that cannot be reached."""
    return f"The broker is away: {str(exc).rstrip('.') or type(exc).__name__}."


def _app_hint(ctx: click.Context) -> str:
    """What is most likely wrong when no app was named: Celery then takes its default app, which knows nothing."""
    if ctx.find_root().params.get("app"):
        return ""
    return " No app was named: celery -A your_app recovery …"
