"""`recovery dlq replay`: letters go back into their queues."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing, show_dry_run, tell_counts
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.progress import Stopped, display, stoppable
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.text import counted, duration
from celery_recovery.dead_letters.scope import REPLAY
from celery_recovery.exceptions import StoreUnavailable

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.replay import Progress, ReplayResult

__all__ = ("replay",)

_REPLAY = Verb(past="replayed", scope=REPLAY)

#: Skipped because another replay, maybe one that was killed since, had put them back: nothing is left undone.
_ON_THEIR_WAY = ("already replayed", "already recovered")


@click.command(cls=RecoveryCommand)
@acting
@option("--rate", type=float, metavar="N", group=ACTION, help="Letters per second. Default: as fast as it goes.")
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, the oldest deaths first."
)
@option("--to-queue", metavar="NAME", group=ACTION, help="Another queue than the one they came from.")
@option("--regroup", is_flag=True, group=ACTION, help="Items of one batch as one task, not one task for each.")
@option("--force", is_flag=True, group=ACTION, help="Also letters that were replayed ten times already.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    where: Filter,
    rate: float | None,
    to_queue: str | None,
    regroup: bool,
    force: bool,
    **options: Any,
) -> None:
    """Put letters back into the queue they came from, the oldest death first.

    Without --state and ids: failed letters, and those that a killed replay left behind. Letters in review are replayed
    when they are asked for, by --state or by id. Killed and run again, it loses no letter and runs none twice.
    """
    asked = ActionOptions(**options)
    chosen = aim(_REPLAY, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        if here.drained is None:  # why, has been told
            raise CommandFailure("Nothing was replayed.", ExitCode.AWAY)
        past = look_up(here, _REPLAY, chosen)
        _know_queue(here, to_queue)
        if asked.dry_run:
            show_dry_run(here, _REPLAY, chosen, asked)
            return
        chosen = confirm(here, _REPLAY, chosen, limit=asked.limit, yes=asked.yes)
        result = _replayed(here, chosen, rate=rate, limit=asked.limit, to_queue=to_queue, regroup=regroup, force=force)
        _tell_replay(here, result, past)
        _exit_replay(ctx, result, past, anything=asked.everything)


def _know_queue(here: Session, name: str | None) -> None:
    """Refuse a queue that the app does not know and may not make."""
    try:
        _ = name and here.app.amqp.queues[name]
    except KeyError:
        raise click.UsageError(f"--to-queue: expected a queue that the app knows, got {name!r}.") from None


def _replayed(here: Session, where: Filter, **terms: Any) -> ReplayResult:
    """Replay with a display. Raises `CommandFailure` when interrupted."""
    last: Progress | None = None
    with display(here.output, "Replaying") as show, stoppable() as check:

        def on_progress(now: Progress) -> None:
            nonlocal last
            last = now
            waiting = "" if now.waiting is None else f"waiting {duration(now.waiting)} for another replay's letters"
            show(now.published + now.skipped + now.failed, now.total, waiting)
            check()

        try:
            return here.letters.replay(where, progress=on_progress, **terms)
        except (Stopped, KeyboardInterrupt):
            pass
        except StoreUnavailable as exc:
            raise _cut_off(last, exc) from exc
    raise _interrupted(here, last)


def _cut_off(last: Progress | None, exc: StoreUnavailable) -> CommandFailure:
    """Redis went away under it. What was published and could not be marked runs once all the same."""
    far = f" At least {last.published} of {counted(last.total)} replayed;" if last else " Once it is back,"
    return CommandFailure(f"Redis is away: {exc}.{far} the same command goes on.", ExitCode.AWAY)


def _interrupted(here: Session, last: Progress | None) -> CommandFailure:
    """What was done until then, in words and, if asked for, as a document."""
    selected, published = (last.total, last.published) if last else (0, 0)
    if here.output.as_json:
        here.output.document({"interrupted": True, "selected": selected, "published": published})
    of = f"{published} of {counted(selected)}" if selected else "no letter"
    return CommandFailure(
        f"Interrupted: {of} replayed. The others are dead letters as before; the same command goes on with them.",
        ExitCode.INTERRUPTED,
    )


def _tell_replay(here: Session, result: ReplayResult, past: Counter[str]) -> None:
    output = here.output
    if output.as_json:
        output.document({**result.to_dict(), "passed_over": dict(past), "interrupted": False})
    elif result.selected:
        speed = f" ({result.published / result.seconds:.0f} a second)" if result.seconds > 1 else ""
        done = f"{result.published} of {counted(result.selected)} replayed"
        output.line(f"{done} in {duration(result.seconds)}{speed}.")
        tell_counts(here, "skipped", result.skipped)
        tell_counts(here, "warning", result.warnings)
        tell_counts(here, "failed", Counter(result.failed.values()))
    if result.stopped:
        output.warn(f"Stopped: {result.stopped.rstrip('.')}. The other letters are as before.")


def _exit_replay(ctx: click.Context, result: ReplayResult, past: Counter[str], *, anything: bool) -> None:
    if not result.selected:
        nothing(anything=anything)
    elif result.stopped:
        ctx.exit(int(ExitCode.AWAY))
    elif past or result.published + sum(result.skipped.get(why, 0) for why in _ON_THEIR_WAY) < result.selected:
        ctx.exit(int(ExitCode.IN_PART))
