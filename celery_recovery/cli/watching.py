"""`recovery watch`: what happens, while it happens."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_recovery.cli.command import RecoveryCommand, option
from celery_recovery.cli.output import Output

if TYPE_CHECKING:
    from celery_recovery.monitoring.feed import Happening, Look, Tail
    from celery_recovery.recovery import Recovery

__all__ = ("watch",)

_CHOICE, _OUTPUT = "Choice", "Output"
#: Happenings shown to begin with, where nothing else is asked for.
BEFORE = 10
#: Seconds between two lines of sums; and how long after a minute its counts are complete, as a rule.
SUMS_EVERY, SUMS_AFTER = 60, 8
#: Seconds between two tries while Redis is away.
PAUSE = 2.0
#: Circuits named in a line of sums.
MOST_CIRCUITS = 5


@click.command(cls=RecoveryCommand)
@option("--task", "tasks", multiple=True, metavar="NAME", group=_CHOICE,
        help="Of this task only; * and ? match. Repeatable. What belongs to no task is left out.")  # fmt: skip
@option("--error-type", "types", multiple=True, metavar="TYPE", group=_CHOICE,
        help="With this error only, as network, validation. Repeatable.")  # fmt: skip
@option("--what", "whats", multiple=True, metavar="WORD", group=_CHOICE,
        help="Only this: retry, dead_letter, recovered, circuit, group, operation …, several with commas. "
        "Repeatable.")  # fmt: skip
@option("--since", metavar="TIME", group=_CHOICE,
        help="Begin with what happened then: an age such as 10m, ISO 8601, or unix seconds.")  # fmt: skip
@option("-n", "--limit", type=click.IntRange(0), metavar="N", group=_CHOICE,
        help=f"Begin with the last N. Default: {BEFORE}, with --since all.")  # fmt: skip
@option("--json", "as_json", is_flag=True, group=_OUTPUT, help="One JSON object a line, and nothing is condensed.")
@click.pass_context
def watch(ctx: click.Context, tasks: Sequence[str], types: Sequence[str], whats: Sequence[str], since: str | None,
          limit: int | None, as_json: bool) -> None:  # fmt: skip
    """Show failures, retries, recoveries, circuits, groups and operations as they happen, until Ctrl-C.

    A flood of the same is condensed, and every minute its sums are told on stderr. Times are UTC.
    """
    from celery_recovery.monitoring.feed import Tail
    from celery_recovery.recovery import Recovery

    chosen = Chosen(tuple(tasks), _types(types), _whats(whats), _moment(since))
    recovery = Recovery.of(ctx.obj.app)
    store = recovery.dead_letters.store  # it says best what is missing
    store.ping()
    output = Output(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet, as_json=as_json)
    if not recovery.settings.stats:
        output.warn("recovery_stats is off in this configuration: processes with it tell nothing.")
    _Watch(recovery, output, chosen).run(Tail(recovery.redis, recovery.keys), limit)


class Chosen(NamedTuple):
    """What is to be shown."""

    tasks: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    whats: tuple[str, ...] = ()
    #: Unix seconds.
    since: float | None = None

    def fits(self, one: Happening) -> bool:
        """Whether this one is."""
        if one.what == "missed":
            return True
        return (
            (not self.whats or one.what in self.whats)
            and (not self.tasks or self.takes(one.text("task")))
            and (not self.types or one.text("error_type") in self.types)
            and (self.since is None or one.at >= self.since)
        )

    def takes(self, task: str) -> bool:
        """Whether this task is."""
        return not self.tasks or any(fnmatchcase(task, pattern) for pattern in self.tasks)


class _Watch:
    """One run of the command."""

    def __init__(self, recovery: Recovery, output: Output, chosen: Chosen) -> None:
        from celery_recovery.cli.watch_lines import Flood

        self._recovery = recovery
        self._output = output
        self._chosen = chosen
        self._flood = Flood()
        self._sums_at = _next_sums(time.time())

    def run(self, tail: Tail, limit: int | None) -> None:
        """Show until interrupted."""
        if self._chosen.since is not None and limit is None:
            tail.from_moment(self._chosen.since)
        else:
            self._show(tail.from_last(BEFORE if limit is None else limit, self._chosen.fits))
        try:
            while True:
                self._turn(tail)
        except KeyboardInterrupt:
            self._print(self._flood.rest())
            raise

    def _turn(self, tail: Tail) -> None:
        from celery_recovery.exceptions import StoreUnavailable

        try:
            self._tell(tail.look())
            self._tell_sums()
        except StoreUnavailable as exc:
            self._output.warn(f"{str(exc).rstrip('.')}. Waiting for it …")
            self._wait_for_redis()
            self._output.note("Redis answers again.")

    def _wait_for_redis(self) -> None:
        from celery_recovery.exceptions import StoreUnavailable

        while True:
            time.sleep(PAUSE)
            try:
                self._recovery.dead_letters.store.ping()
                return
            except StoreUnavailable:
                pass

    def _tell(self, look: Look) -> None:
        if look.anew:
            self._output.warn("The feed begins anew: Redis has lost what it was.")
        if look.missed != 0:
            many = "some" if look.missed is None else f"{look.missed:,}"
            self._output.warn(f"This reader was too slow: {many} happenings were gone before they could be shown.")
        self._show(filter(self._chosen.fits, look.happenings))
        if not look.happenings and not self._output.as_json:
            self._print(self._flood.over(time.time()))

    def _show(self, happenings: Iterable[Happening]) -> None:
        from celery_recovery.cli.watch_lines import line

        for one in happenings:
            if self._output.as_json:
                click.echo(json.dumps(self._hidden(one).told).replace("\x7f", "\\u007f"))
                continue
            self._print(self._flood.over(one.at))
            if self._flood.passes(one):
                self._print((line(self._hidden(one), self._output.width),))

    def _print(self, lines: Iterable[Any]) -> None:
        for text, colour in lines:
            self._output.line(text, **({"fg": colour} if colour else {}))

    def _hidden(self, one: Happening) -> Happening:
        """The same without secrets."""
        from dataclasses import replace

        return replace(one, told=self._recovery.redact(dict(one.told)))

    # -- sums

    def _tell_sums(self) -> None:
        """Once a minute, of the minute before."""
        now = time.time()
        if now < self._sums_at or self._output.quiet:
            return
        self._sums_at = _next_sums(now)
        begin = int(now) // SUMS_EVERY * SUMS_EVERY - SUMS_EVERY
        rates = self._recovery.stats.rates(begin, begin + SUMS_EVERY - 1)
        sums: Counter[str] = Counter()
        for rate in rates:
            if self._chosen.takes(rate.task) and (not self._chosen.types or rate.error_type in self._chosen.types):
                sums["failures"] += rate.retried + rate.dead_lettered + rate.failed
                sums["recoveries"] += rate.recovered
                sums["dead letters"] += rate.dead_lettered
        told = ", ".join(f"{sums[name]:,} {name}" for name in ("failures", "recoveries", "dead letters"))
        at = time.strftime("%H:%M", time.gmtime(begin))
        self._output.note(f"-- minute {at}: {told}; open circuits: {self._open()}")

    def _open(self) -> str:
        states = self._recovery.circuits.states()
        found = [name for name, state in states.items() if state.value in ("open", "forced_open", "half_open")]
        more = f" and {len(found) - MOST_CIRCUITS:,} more" if len(found) > MOST_CIRCUITS else ""
        return (", ".join(found[:MOST_CIRCUITS]) or "none") + more


def _next_sums(now: float) -> float:
    """When the minute that runs is over, and counted."""
    return (int(now - SUMS_AFTER) // SUMS_EVERY + 1) * SUMS_EVERY + SUMS_AFTER


def _whats(words: Sequence[str]) -> tuple[str, ...]:
    from celery_recovery.monitoring.feed import WHATS

    return _known("--what", words, WHATS)


def _types(words: Sequence[str]) -> tuple[str, ...]:
    from celery_recovery.errors.model import ErrorType

    return _known("--error-type", words, [one.value for one in ErrorType])


def _known(name: str, words: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The words, commas resolved. Raises click's UsageError for one that is not known."""
    given = [word.strip() for part in words for word in part.split(",") if word.strip()]
    for word in given:
        if word not in known:
            raise click.UsageError(f"{name}: expected some of {', '.join(known)}, got {word!r}.")
    return tuple(given)


def _moment(since: str | None) -> float | None:
    from celery_recovery.cli.filters import usage
    from celery_recovery.dead_letters.filter import parse_time
    from celery_recovery.exceptions import ConfigurationError

    try:
        return None if since is None else parse_time("since", since, time.time())
    except ConfigurationError as exc:
        raise usage(exc) from None
