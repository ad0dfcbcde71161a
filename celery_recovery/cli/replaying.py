"""`recovery dlq replay`: letters go back into their queues."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from celery_recovery.cli.acting import ACTION, ActionOptions, acting, nothing, show_dry_run, tell_counts
from celery_recovery.cli.command import ActingCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up
from celery_recovery.cli.failures import CommandFailure, ExitCode
from celery_recovery.cli.filters import usage
from celery_recovery.cli.following import FOR_PEOPLE, following, goes_on_with
from celery_recovery.cli.session import Session, session
from celery_recovery.dead_letters.scope import REPLAY
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.text import counted, duration

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.replay import ReplayResult
    from celery_recovery.operations.canary import Canary

__all__ = ("replay",)

_REPLAY = Verb(past="replayed", scope=REPLAY)

#: The options of a canary beside how many letters, and their heading in the help.
CANARY, CANARY_GROUP = ("growth", "good", "bad", "risk", "wait"), "Canary"

#: Skipped because another replay, maybe one that was killed since, had put them back: nothing is left undone.
_ON_THEIR_WAY = ("already replayed", "already recovered")


@click.command(cls=ActingCommand)
@acting
@option("--rate", type=float, metavar="N", group=ACTION, help="Letters per second. Default: as fast as it goes.")
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=ACTION, help="Most letters, the oldest deaths first."
)
@option("--to-queue", metavar="NAME", group=ACTION, help="Another queue than the one they came from.")
@option("--regroup", is_flag=True, group=ACTION, help="Items of one batch as one task, not one task for each.")
@option("--canary", type=int, is_flag=False, flag_value=5, metavar="[N]", group=CANARY_GROUP,
        help="N letters first (5), then growing steps, while they recover; else it stops by itself.")  # fmt: skip
@option("--canary-growth", type=float, metavar="FACTOR", group=CANARY_GROUP, help="Each step to the next. Default: 2.")
@option("--canary-good", type=float, metavar="SHARE", group=CANARY_GROUP,
        help="Share that recovers if the fix is right. Default: 0.9.")  # fmt: skip
@option("--canary-bad", type=float, metavar="SHARE", group=CANARY_GROUP,
        help="Share that recovers if it is not. Default: 0.5.")  # fmt: skip
@option("--canary-risk", type=float, metavar="P", group=CANARY_GROUP,
        help="Probability that a right fix is stopped, at most. Default: 0.05.")  # fmt: skip
@option("--canary-wait", metavar="TIME", group=CANARY_GROUP,
        help="Wait for the outcomes of a step so long, then pause. Default: 10m.")  # fmt: skip
@option("--note", default="", metavar="TEXT", group=ACTION, help="Stands in the audit, for whoever asks why.")
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
    note: str,
    **options: Any,
) -> None:
    """Put letters back into the queue they came from, the oldest death first.

    Without --state and ids: failed letters, and those that a killed replay left behind. Letters in review are replayed
    when they are asked for, by --state or by id. Killed and run again, it loses no letter and runs none twice.
    """
    given = {name: options.pop(f"canary_{name}") for name in CANARY} | {"first": options.pop("canary")}
    canary = canary_of(given)
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
        with following(here, "Replaying", "replayed") as follow:
            result = here.letters.replay(
                chosen, rate=rate, limit=asked.limit, to_queue=to_queue, regroup=regroup, force=force, reason=note,
                canary=canary, **FOR_PEOPLE, progress=follow,
            )  # fmt: skip
        _tell_replay(here, result, past)
        _exit_replay(ctx, result, past, anything=asked.everything)


def canary_of(options: dict[str, Any]) -> Canary | None:
    """The canary that the options ask for; None for none. Raises click's UsageError naming the option."""
    from celery_recovery.dead_letters.filter import parse_time
    from celery_recovery.operations.canary import Canary

    given = {name: value for name, value in options.items() if value is not None}
    if "first" not in given:
        if given:
            raise click.UsageError(f"--canary-{next(iter(given))}: expected --canary beside it, got none.")
        return None
    try:
        if "wait" in given:
            given["wait"] = -parse_time("canary_wait", given["wait"], 0.0)
        return Canary(**given)
    except ConfigurationError as exc:
        raise usage(exc) from None


def _know_queue(here: Session, name: str | None) -> None:
    """Refuse a queue that the app does not know and may not make."""
    try:
        _ = name and here.app.amqp.queues[name]
    except KeyError:
        raise click.UsageError(f"--to-queue: expected a queue that the app knows, got {name!r}.") from None


def _tell_replay(here: Session, result: ReplayResult, past: Counter[str]) -> None:
    output, hide = here.output, here.redact.text  # a broker's errors may hold addresses, with passwords
    failed = {one: hide(why) for one, why in result.failed.items()}
    result = replace(result, failed=failed, stopped=hide(result.stopped))
    if output.as_json:
        output.document({**result.to_dict(), "passed_over": dict(past), "interrupted": False})
    elif result.selected:
        speed = f" ({result.published / result.seconds:.0f} a second)" if result.seconds > 1 else ""
        done = f"{result.published} of {counted(result.selected)} replayed"
        output.line(f"{done} in {duration(result.seconds)}{speed}.")
        tell_counts(here, "skipped", result.skipped)
        tell_counts(here, "warning", result.warnings)
        tell_counts(here, "failed", Counter(result.failed.values()))
        if result.recovered or result.died:
            output.line(f"  {result.recovered} recovered, {result.died} died again")
    if result.stopped:
        how = "Stopped by its canary" if result.by_canary else result.state.capitalize()
        output.warn(f"{how}: {result.stopped.rstrip('.')}. The other letters are as before.")
        output.note(f"To go on: {goes_on_with(result.operation)}")


def _exit_replay(ctx: click.Context, result: ReplayResult, past: Counter[str], *, anything: bool) -> None:
    if not result.selected:
        nothing(anything=anything)
    elif result.stopped:
        other = ExitCode.AWAY if result.state == "stopped" else ExitCode.IN_PART
        ctx.exit(int(ExitCode.STOPPED if result.by_canary else other))
    elif past or result.published + sum(result.skipped.get(why, 0) for why in _ON_THEIR_WAY) < result.selected:
        ctx.exit(int(ExitCode.IN_PART))
