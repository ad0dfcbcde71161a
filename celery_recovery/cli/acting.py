"""`recovery dlq replay`, `discard`, `review` and `restore`: what changes letters, after it was shown and confirmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.breakdown import Breakdown
from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.confirmation import Verb, aim, confirm, look_up, show_selection
from celery_recovery.cli.failures import ExitCode, Failure
from celery_recovery.cli.filters import filter_options
from celery_recovery.cli.progress import Stopped, display, stoppable
from celery_recovery.cli.session import Session, session
from celery_recovery.cli.text import duration, visible
from celery_recovery.dead_letters.search import batches
from celery_recovery.dead_letters.state import OPEN, LetterState

if TYPE_CHECKING:
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.queue import ActionResult
    from celery_recovery.dead_letters.replay import Progress, ReplayResult

__all__ = ("discard", "replay", "restore", "review")

_FAILED, _REVIEW, _RETRY = LetterState.FAILED, LetterState.REVIEW, LetterState.RETRY
_OPEN = tuple(state for state in LetterState if state in OPEN)
_RESTORABLE = (_REVIEW, LetterState.DISCARDED)
_REPLAY = Verb(
    name="replay", past="replayed", states=(_FAILED, _RETRY), states_by_id=(_FAILED, _REVIEW, _RETRY), possible=_OPEN
)
_DISCARD = Verb(name="discard", past="discarded", states=(_FAILED, _REVIEW), states_by_id=_OPEN, possible=_OPEN)
_SET_ASIDE = Verb(name="review", past="set aside", states=(_FAILED,), states_by_id=(_FAILED,), possible=(_FAILED,))
_RESTORE = Verb(name="restore", past="restored", states=(_REVIEW,), states_by_id=_RESTORABLE, possible=_RESTORABLE)

#: Letters acted on between two looks at the keyboard.
BATCH = 500
_GROUP = "Action"


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that all of them have."""
    for add in (
        option("--json", "as_json", is_flag=True, group="Output", help="The result as one JSON document."),
        option("-y", "--yes", is_flag=True, group=_GROUP, help="Do not ask."),
        option("--dry-run", is_flag=True, group=_GROUP, help="Only show what would be done."),
        option("--all", "everything", is_flag=True, group=_GROUP, help="No filter: all letters are meant."),
        filter_options,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = add(command)
    return command


_note = option("--note", default="", metavar="TEXT", group=_GROUP, help="Written on the letters, for whoever asks why.")


@click.command(cls=RecoveryCommand)
@_acting
@option("--rate", type=float, metavar="N", group=_GROUP, help="Letters per second. Default: as fast as it goes.")
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=_GROUP, help="Most letters, the oldest deaths first."
)
@option("--to-queue", metavar="NAME", group=_GROUP, help="Another queue than the one they came from.")
@option("--force", is_flag=True, group=_GROUP, help="Also letters that were replayed ten times already.")
@click.pass_context
def replay(
    ctx: click.Context, /, where: Filter, rate: float | None, to_queue: str | None, force: bool, **options: Any
) -> None:
    """Put letters back into the queue they came from, the oldest death first.

    Without --state and ids: failed letters, and those that a killed replay left behind. Letters in review are replayed
    when they are asked for, by --state or by id. Killed and run again, it loses no letter and runs none twice.
    """
    asked = _Asked(**options)
    chosen = aim(_REPLAY, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        if here.drained is None:  # why, has been told
            raise Failure("Nothing was replayed.", ExitCode.AWAY)
        past = look_up(here, _REPLAY, chosen)
        _know_queue(here, to_queue)
        if asked.dry_run:
            _show_dry_run(here, _REPLAY, chosen, asked)
            return
        chosen = confirm(here, _REPLAY, chosen, limit=asked.limit, yes=asked.yes)
        result = _replayed(here, chosen, rate=rate, limit=asked.limit, to_queue=to_queue, force=force)
        _tell_replay(here, result, past)
        _exit_replay(ctx, result, past, anything=asked.everything)


def _know_queue(here: Session, name: str | None) -> None:
    """Refuse a queue that the app does not know and may not make."""
    try:
        _ = name and here.app.amqp.queues[name]
    except KeyError:
        raise click.UsageError(f"--to-queue: expected a queue that the app knows, got {name!r}.") from None


def _replayed(here: Session, where: Filter, **terms: Any) -> ReplayResult:
    """Replay with a display. Raises `Failure` when interrupted."""
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
    raise _interrupted(here, last)


def _interrupted(here: Session, last: Progress | None) -> Failure:
    """What was done until then, in words and, if asked for, as a document."""
    selected, published = (last.total, last.published) if last else (0, 0)
    if here.output.as_json:
        here.output.document({"interrupted": True, "selected": selected, "published": published})
    of = f"{published} of {_count(selected)}" if selected else "no letter"
    return Failure(
        f"Interrupted: {of} replayed. The others are dead letters as before; the same command goes on with them.",
        ExitCode.INTERRUPTED,
    )


def _tell_replay(here: Session, result: ReplayResult, past: Counter[str]) -> None:
    output = here.output
    if output.as_json:
        output.document({**result.to_dict(), "passed_over": dict(past), "interrupted": False})
    elif result.selected:
        speed = f" ({result.published / result.seconds:.0f} a second)" if result.seconds > 1 else ""
        done = f"{result.published} of {_count(result.selected)} replayed"
        output.line(f"{done} in {duration(result.seconds)}{speed}.")
        _tell_counts(here, "skipped", result.skipped)
        _tell_counts(here, "warning", result.warnings)
        _tell_counts(here, "failed", Counter(result.failed.values()))
    if result.stopped:
        output.warn(f"Stopped: {result.stopped}. The other letters are as before.")


def _exit_replay(ctx: click.Context, result: ReplayResult, past: Counter[str], *, anything: bool) -> None:
    if not result.selected:
        _nothing(anything=anything)
    elif result.stopped:
        ctx.exit(int(ExitCode.AWAY))
    elif past or result.published < result.selected:
        ctx.exit(int(ExitCode.IN_PART))


@click.command(cls=RecoveryCommand)
@_acting
@_note
@option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", group=_GROUP, help="Most letters, the newest deaths first."
)
@click.pass_context
def discard(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Drop letters. A held one fails first, and the chord or chain that waits for it.

    Without --state and ids: failed letters and those in review. A discarded letter is kept for a while (setting
    recovery_letter_max_age), and until then `restore`, by id or with --state discarded, brings it back.
    """

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.discard(batch, reason=note)

    _act(ctx, _DISCARD, where, _Asked(**options), act, prepare=_import_tasks)


@click.command(cls=RecoveryCommand)
@_acting
@_note
@click.pass_context
def review(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Set failed letters aside for a person: a replay of all letters passes them by."""

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.send_to_review(batch, reason=note)

    _act(ctx, _SET_ASIDE, where, _Asked(**options), act)


@click.command(cls=RecoveryCommand)
@_acting
@_note
@click.pass_context
def restore(ctx: click.Context, /, where: Filter, note: str, **options: Any) -> None:
    """Put letters back among the failed: out of review or, by id or with --state discarded, discarded ones."""

    def act(here: Session, batch: Sequence[str]) -> ActionResult:
        return here.letters.restore(batch, reason=note)

    _act(ctx, _RESTORE, where, _Asked(**options), act)


class _Asked(NamedTuple):
    """The options that all of them have; `limit` is not for review and restore."""

    ids: tuple[str, ...]
    everything: bool
    dry_run: bool
    yes: bool
    as_json: bool
    limit: int | None = None


def _act(
    ctx: click.Context,
    verb: Verb,
    where: Filter,
    asked: _Asked,
    act: Callable[[Session, Sequence[str]], ActionResult],
    prepare: Callable[[Session, Filter], None] = lambda *_: None,
) -> None:
    """Choose, show, ask, and act on one batch after the other."""
    chosen = aim(verb, where, asked.ids, everything=asked.everything)
    with session(ctx, as_json=asked.as_json) as here:
        past = look_up(here, verb, chosen)
        if asked.dry_run:
            _show_dry_run(here, verb, chosen, asked)
            return
        chosen = confirm(here, verb, chosen, limit=asked.limit, yes=asked.yes)
        prepare(here, chosen)
        ids = tuple(islice(here.letters.store.iterate_ids(chosen), asked.limit))
        result = _in_batches(here, verb, ids, act)
        _tell(here, verb, result, past)
        if result.interrupted:
            raise Failure("Interrupted: the other letters are as before.", ExitCode.INTERRUPTED)
        if not ids:
            _nothing(anything=asked.everything)
        elif past or result.done < len(ids):
            ctx.exit(int(ExitCode.IN_PART))


class _Result(NamedTuple):
    """What became of the batches."""

    selected: int
    done: int
    warnings: Counter[str]
    interrupted: bool


def _in_batches(
    here: Session, verb: Verb, ids: Sequence[str], act: Callable[[Session, Sequence[str]], ActionResult]
) -> _Result:
    done, through, warnings = 0, 0, Counter[str]()
    with display(here.output, verb.name.capitalize()) as show, stoppable() as check:
        try:
            for batch in batches(ids, BATCH):
                result = act(here, batch)
                done += result.done
                through += len(batch)
                warnings.update(result.warnings)
                show(through, len(ids))
                check()
        except (Stopped, KeyboardInterrupt):
            return _Result(len(ids), done, warnings, through < len(ids))
    return _Result(len(ids), done, warnings, interrupted=False)


def _tell(here: Session, verb: Verb, result: _Result, past: Counter[str]) -> None:
    if here.output.as_json:
        here.output.document({**result._asdict(), "warnings": result.warnings, "passed_over": past, "dry_run": False})
    elif result.selected:
        here.output.line(f"{result.done} of {_count(result.selected)} {verb.past}.")
        _tell_counts(here, "warning", result.warnings)


def _show_dry_run(here: Session, verb: Verb, where: Filter, asked: _Asked) -> None:
    figures = Breakdown.of(here.letters.iterate(where))
    selected = min(figures.count, asked.limit or figures.count)
    if here.output.as_json:
        here.output.document({"dry_run": True, "selected": selected, "matched": figures.count, **figures.to_dict()})
    elif figures.count:
        show_selection(here, verb, figures, asked.limit)
        here.output.line(f"Dry run: {_count(selected)} would be {verb.past}.")
    if not figures.count:
        _nothing(anything=asked.everything)


def _import_tasks(here: Session, where: Filter) -> None:
    """Failing a held letter may call its errbacks here, as in a worker; they must be registered for that."""
    if not here.letters.count(replace(where, held=True)):
        return
    try:
        here.app.loader.import_default_modules()
    except Exception as exc:  # the user's modules may fail in any way
        why = f"{type(exc).__name__}: {exc}"
        raise Failure(f"The app's task modules cannot be imported: {why}. Nothing was done.", ExitCode.USAGE) from exc


def _tell_counts(here: Session, word: str, counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        here.output.line(f"  {word} {count}: {visible(what)}")


def _nothing(*, anything: bool) -> None:
    """Where all were meant, an empty queue is no failure."""
    if not anything:
        raise Failure("No dead letter matches the filter. Nothing was done.", ExitCode.NOTHING)
    click.echo("There is nothing to do.", err=True)


def _count(number: int) -> str:
    return "1 letter" if number == 1 else f"{number} letters"
