"""Following an operation while this command runs it: a display, Ctrl-C, and what is said when it is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.progress import Stopped, display, stoppable
from celery_recovery.cli.session import Session
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.text import counted, duration

if TYPE_CHECKING:
    from celery_recovery.dead_letters.replay import Progress

__all__ = ("FOR_PEOPLE", "following", "goes_on_with")

#: What every action has that a person asks for here: a worker goes on with it if this process dies.
FOR_PEOPLE: dict[str, Any] = {"via": "cli", "unattended": True}


@contextmanager
def following(here: Session, what: str, past: str) -> Iterator[Callable[[Progress], None]]:
    """Show progress of `what`, as in "Replaying", "replayed".

    Ctrl-C lets the batch end, and pauses the operation: raises `CommandFailure`, which says so.
    """
    last: Progress | None = None
    with display(here.output, what) as show, stoppable() as check:

        def follow(now: Progress) -> None:
            nonlocal last
            last = now
            show(now.published + now.skipped + now.failed, now.total, _note(now))
            check()

        try:
            yield follow
            return
        except (Stopped, KeyboardInterrupt):
            pass
        except StoreUnavailable as exc:
            raise _cut_off(last, past, exc) from exc
    raise _interrupted(here, last, past)


def _note(now: Progress) -> str:
    if now.waiting is not None:
        return f"waiting {duration(now.waiting)} for another replay's letters"
    known = f"{now.recovered} recovered, {now.died} died again" if now.recovered or now.died else ""
    return ", ".join(filter(None, (known, now.note)))


def goes_on_with(operation: str) -> str:
    """The command that goes on."""
    return f"recovery operations resume {operation[:12]}"


def _cut_off(last: Progress | None, past: str, exc: StoreUnavailable) -> CommandFailure:
    """Redis went away under it. A worker goes on once it is back."""
    far = f" At least {last.published} of {counted(last.total)} {past};" if last else ""
    once = f"{far} once it is back, a worker goes on, or: {goes_on_with(last.operation)}" if last else ""
    return CommandFailure(f"Redis is away: {str(exc).rstrip('.')}.{once}", ExitCode.AWAY)


def _interrupted(here: Session, last: Progress | None, past: str) -> CommandFailure:
    """What was done until then, in words and, if asked for, as a document."""
    selected, done, operation = (last.total, last.published, last.operation) if last else (0, 0, "")
    with suppress(StoreUnavailable):  # what the batch that was running has done is not in `last` yet
        done = here.letters.operations.get(operation).done if operation else done
    if here.output.as_json:
        here.output.document({"interrupted": True, "selected": selected, "done": done, "operation": operation})
    of = f"{done} of {counted(selected)}" if selected else "no letter"
    more = f" It is paused: {goes_on_with(operation)}" if operation else ""
    return CommandFailure(f"Interrupted: {of} {past}. The others are as before.{more}", ExitCode.INTERRUPTED)
