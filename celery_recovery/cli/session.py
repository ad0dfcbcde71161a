"""What a command works with: the app's dead letters, found to be there, and a place to write to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from celery_recovery.cli.failures import ExitCode, broker_away
from celery_recovery.cli.output import Output
from celery_recovery.redact import Redactor
from celery_recovery.text import counted

if TYPE_CHECKING:
    from celery import Celery

    from celery_recovery.dead_letters.queue import DeadLetterQueue
    from celery_recovery.recovery import Recovery

__all__ = ("Drained", "Session", "session")

#: Seconds after which the operator is told what takes so long, again and again.
PATIENCE = 2.0


@dataclass(kw_only=True)
class Session:
    """One run of one command."""

    app: Celery
    recovery: Recovery
    letters: DeadLetterQueue
    output: Output
    #: Hides secrets, the user's own included.
    redact: Redactor
    #: Letters that this command has moved from the broker's queue into the store; None: the broker is away.
    drained: int | None = 0


@contextmanager
def session(ctx: click.Context, *, as_json: bool = False) -> Iterator[Session]:
    """Connect to the store and move into it what waits in the broker's queue; where tools only look, leave it there.

    Raises `ConfigurationError` where no store is configured and `StoreUnavailable`. A broker that is away is told of
    on stderr; what the store holds can be worked with all the same, and the command ends with the code AWAY.
    """
    from celery_recovery.recovery import Recovery

    recovery = Recovery.of(ctx.obj.app)
    letters = recovery.dead_letters
    letters.store.ping()
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    here = Session(app=ctx.obj.app, recovery=recovery, letters=letters, output=output, redact=recovery.redact)
    here.drained = _drain(here)
    yield here
    if here.drained is None:
        ctx.exit(int(ExitCode.AWAY))


def _drain(here: Session) -> int | None:
    """Move waiting letters; None when the broker cannot be reached."""
    from kombu.exceptions import OperationalError

    queue = here.recovery.dead_letter_queue.name
    looks = here.recovery.role == "read"
    slow = threading.Timer(PATIENCE, here.output.note, (f"Asking the broker for letters that wait in {queue} …",))
    slow.daemon = True
    slow.start()
    try:
        return _told_waiting(here, queue) if looks else here.letters.drain(Drained(here.output, queue))
    except (OperationalError, *_connection_errors(here.app)) as exc:
        here.output.warn(f"{broker_away(exc)} Letters that still wait in its queue {queue} are not seen.")
        return None
    finally:
        slow.cancel()


def _told_waiting(here: Session, queue: str) -> int:
    """Whoever may only look leaves them where they are, and must know of them."""
    count = here.letters.waiting()
    if count is None:
        here.output.note(f"Letters that wait in the broker's queue {queue}, if any, are not seen: the role is read.")
    elif count:
        here.output.warn(f"{counted(count)} still in the broker's queue {queue} not seen: the role is read.")
    return 0


class Drained:
    """Told how many letters were moved: a line on stderr now and then, where there are very many."""

    def __init__(self, output: Output, queue: str) -> None:
        self._output = output
        self._queue = queue
        self._told = time.monotonic()

    def __call__(self, letters: int) -> None:
        """So many were moved so far."""
        now = time.monotonic()
        if now - self._told >= PATIENCE:
            self._told = now
            self._output.note(f"{counted(letters)} taken out of the queue {self._queue} so far …")


def _connection_errors(app: Celery) -> tuple[type[Exception], ...]:
    """What this broker's client raises when it cannot connect, or is cut off."""
    with app.connection_for_read() as connection:
        return (*connection.connection_errors, *connection.channel_errors)
