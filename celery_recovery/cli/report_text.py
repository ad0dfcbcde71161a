"""A report as text: for a terminal of 80 columns or more, or for a file. It shows the same as the page, but shorter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from celery_recovery.cli.grouping import sparkline
from celery_recovery.cli.layout import Layout, Line
from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.report.model import Report
from celery_recovery.report.sections import Circuit, Group, Kind, Replay
from celery_recovery.report.wording import (
    about_counts,
    about_replays,
    count,
    day,
    headline,
    period,
    share,
    took,
    worth,
)
from celery_recovery.text import age, duration, short_class

__all__ = ("as_text", "show_report")

#: Rows of each table; the JSON form has more.
KINDS, CURVES, GROUPS, REASONS, REPLAYS = 15, 8, 12, 12, 8


def show_report(output: Output, report: Report) -> None:
    """Write it as wide as the terminal is; in a pipe nothing is cut or broken."""
    for line in _lines(report, Layout(output.width)):
        if line.is_heading:
            output.line(line.text, bold=True)
        else:
            output.line(line.text)


def as_text(report: Report, width: int) -> str:
    """All of it as one text."""
    return "".join(f"{line.text}\n" for line in _lines(report, Layout(width)))


def _lines(report: Report, out: Layout) -> Iterator[Line]:
    only = f", only {', '.join(report.tasks)}" if report.tasks else ""
    for line in out.paragraph(f"Recovery report of {report.app or 'the app'}{only}", ""):
        yield line._replace(is_heading=True)
    yield Line(f"  {period(report)}")
    yield Line("")
    yield from out.table((Column(""), Column("", right=True), Column("")), headline(report), head=False)
    for title, section in _SECTIONS:
        found = list(section(report, out))
        if found:
            yield Line("")
            yield Line(title, is_heading=True)
            yield from found


def _advice(report: Report, out: Layout) -> Iterator[Line]:
    for number, one in enumerate(report.advice, 1):
        begin = f"  {number}. "
        blank = " " * len(begin)
        yield from out.paragraph(one.says, begin)
        yield from out.paragraph(one.evidence, blank)
        if one.setting:
            yield from out.code(one.setting, one.place, blank)


def _over_time(report: Report, _: Layout) -> Iterator[Line]:
    series = report.series
    of = (("Failed", series.failed), ("Recovered", series.recovered), ("Dead", series.dead_lettered))
    for title, counts in of:
        yield Line(f"  {title:<10}{sparkline(counts)}  at most {max(counts, default=0):,}")
    yield Line(f"  {'':<10}each place {duration(series.step)}, from {day(series.begin)} UTC on")


def _kinds(report: Report, out: Layout) -> Iterator[Line]:
    if not report.kinds:
        yield Line("  Nothing has failed.")
        return
    numbers = ("FAILED", "RECOV", "DEAD", "RATE", "WASTED", "TIME", "MEDIAN", "95%")
    columns = (Column("TASK, ERROR TYPE", least=14, front=True), *(Column(title, right=True) for title in numbers))
    yield from out.table(columns, map(_kind, report.kinds[:KINDS]))
    yield from _more(len(report.kinds) - KINDS, "kinds of failures")
    yield from out.paragraph(
        "Failed: attempts. Recovered and dead: tasks. Wasted: retries of tasks that did not recover, and their worker"
        " time. Median and 95%: from the first failure to the success."
    )


def _kind(one: Kind) -> Sequence[str]:
    wasted = duration(one.wasted_seconds) if one.wasted else "-"
    return (f"{one.task} {one.error_type}", count(one.failed_attempts), count(one.recovered), count(one.dead_lettered),
            share(one.recovery_rate), count(one.wasted), wasted, took(one.median), took(one.p95))  # fmt: skip


def _attempts(report: Report, out: Layout) -> Iterator[Line]:
    kinds = sorted((one for one in report.kinds if one.steps), key=lambda one: -sum(s.tried for s in one.steps))
    for kind in kinds[:CURVES]:
        yield from out.paragraph(f"{kind.error_type} in {kind.task}")
        steps = worth(kind.steps)
        told = (f"{one.attempt}: {one.recovered:,} of {one.tried:,}, {share(own)}" for one, own, _ in steps)
        yield from out.listed(told, "    ")


def _reasons(report: Report, out: Layout) -> Iterator[Line]:
    if report.reasons:
        rows = ((count(one.count), one.reason, one.error_type) for one in report.reasons[:REASONS])
        columns = (Column("LETTERS", right=True), Column("REASON", least=8), Column("ERROR TYPE", least=8))
        yield from out.table(columns, rows)


def _groups(report: Report, out: Layout) -> Iterator[Line]:
    shown = report.groups[:GROUPS]
    if not shown:
        return
    new = f"{report.groups_new:,} {'is' if report.groups_new == 1 else 'are'} new"
    back = f"{report.groups_back:,} {'was' if report.groups_back == 1 else 'were'} resolved and came back"
    yield Line(f"  {report.groups_dead:,} had deaths, {new}, {back}")
    columns = (
        Column("DEATHS", right=True), Column("OPEN", right=True), Column("FIRST", right=True),
        Column("LAST", right=True), Column("STATE", least=4), Column("GROUP", least=18),
        Column("TASK", least=8, front=True),
    )  # fmt: skip
    rows = (_group(one, report.made_at) for one in shown)
    below = [f"{short_class(one.exception) or '?'}: {one.message}".removesuffix(": ") for one in shown]
    yield from out.table(columns, rows, below=below)
    yield from _more(len(report.groups) - len(shown), "groups")


def _group(one: Group, now: float) -> Sequence[str]:
    state = "came back" if one.is_regression else "new" if one.is_new and one.state == "open" else one.state
    first, last = (age(at, now) if at else "-" for at in (one.first_seen, one.last_seen))
    return count(one.deaths), count(one.open), first, last, state, one.fingerprint, one.task or "?"


def _circuits(report: Report, out: Layout) -> Iterator[Line]:
    if report.circuits:
        columns = (
            Column("NAME", least=12, front=True), Column("STATE", least=6), Column("OPENED", right=True),
            Column("TIME OPEN", right=True), Column("PARKED", right=True), Column("WAITING", right=True),
        )  # fmt: skip
        yield from out.table(columns, map(_circuit, report.circuits))


def _circuit(one: Circuit) -> Sequence[str]:
    seconds = duration(one.open_seconds) if one.open_seconds else "-"
    return one.name, one.state, count(one.openings), seconds, count(one.parked), count(one.waiting)


def _replays(report: Report, out: Layout) -> Iterator[Line]:
    sums = report.replays
    if sums.count:
        yield from out.paragraph(about_replays(sums))
        columns = (
            Column("WHEN"), Column("REPLAY", least=6), Column("BY", least=6), Column("PUBLISHED", right=True),
            Column("RECOV", right=True), Column("DIED", right=True), Column("STATE", least=6),
        )  # fmt: skip
        yield from out.table(columns, map(_replay, sums.latest[:REPLAYS]))
    if sums.others:
        others = ", ".join(f"{kind} {number:,}" for kind, number in sums.others.items())
        yield from out.paragraph(f"Letters that were changed otherwise: {others}.")


def _replay(one: Replay) -> Sequence[str]:
    state = "its canary" if one.by_canary else one.state
    return (day(one.created_at), one.id[:8], one.by, f"{one.published:,} of {one.selected:,}", count(one.recovered),
            count(one.died), state)  # fmt: skip


def _batches(report: Report, out: Layout) -> Iterator[Line]:
    if report.batches:
        numbers = ("SUCCEEDED", "FAILED", "DISCARDED")
        columns = (Column("TASK", least=12, front=True), *(Column(title, right=True) for title in numbers))
        rows = ((one.task, count(one.succeeded), count(one.failed), count(one.discarded)) for one in report.batches)
        yield from out.table(columns, rows)


def _notes(report: Report, out: Layout) -> Iterator[Line]:
    for one in about_counts(report):
        yield from out.paragraph(one, "  - ")


def _more(number: int, what: str) -> Iterator[Line]:
    if number > 0:
        yield Line(f"  … and {number:,} more {what} (--format json)")


_SECTIONS: Sequence[tuple[str, Callable[[Report, Layout], Iterable[Line]]]] = (
    ("What to change", _advice),
    ("Over time", _over_time),
    ("By task and error type", _kinds),
    ("What each attempt was worth", _attempts),
    ("Why letters", _reasons),
    ("Groups", _groups),
    ("Circuits", _circuits),
    ("Replays", _replays),
    ("Batches", _batches),
    ("How it is counted", _notes),
)
