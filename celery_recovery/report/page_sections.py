"""The sections of the page: each makes its HTML from a report, or nothing where there is nothing to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celery_recovery.report.markup import Markup, joined, table, tag
from celery_recovery.report.model import Report
from celery_recovery.report.pictures import axis, bars, meter, spans
from celery_recovery.report.sections import Circuit, Group, Kind, Replay
from celery_recovery.report.wording import about_replays, count, day, share, took, worth
from celery_recovery.text import age, cut, duration, short_class, visible

__all__ = ("SECTIONS", "advice")

#: Rows of each table; the JSON form has more.
KINDS, CURVES, GROUPS, REASONS, REPLAYS = 25, 8, 20, 20, 15
#: Characters of a message. So few counts over time make no picture.
MESSAGE, FEW = 240, 3


def advice(report: Report) -> Markup:
    """What the figures say, each with its evidence."""
    items = []
    for one in report.advice:
        code = tag("pre", tag("code", one.setting)) if one.setting else Markup("")
        place = tag("p", f"As {one.place}:", class_="quiet") if one.place else Markup("")
        items.append(tag("li", tag("b", one.says), tag("p", one.evidence), place, code))
    return tag("ol", *items, class_="advice")


def kinds(report: Report) -> Markup:
    """By task and error type."""
    if not report.kinds:
        return tag("p", "Nothing has failed.")
    columns = ("Task, error type", "#Failed", "#Recovered", "#Dead", "#Rate", "#-Retries wasted", "#-Time wasted",
               "#-Median", "#-95%")  # fmt: skip
    rows = [_kind(one) for one in report.kinds[:KINDS]]
    caption = "Failed: attempts. Recovered and dead: tasks. Median and 95%: from the first failure to the success."
    return joined((table(caption, columns, rows), _more(len(report.kinds) - KINDS, "kinds of failures")))


def _kind(one: Kind) -> Sequence[object]:
    name = joined((one.task, tag("br"), tag("span", one.error_type, class_="quiet")))
    wasted = duration(one.wasted_seconds) if one.wasted else "-"
    return (name, count(one.failed_attempts), count(one.recovered), count(one.dead_lettered), share(one.recovery_rate),
            count(one.wasted), wasted, took(one.median), took(one.p95))  # fmt: skip


def curves(report: Report) -> Markup:
    """What each number of attempt was worth."""
    chosen = sorted((one for one in report.kinds if one.steps), key=lambda one: -sum(step.tried for step in one.steps))
    if not chosen:
        return Markup("")
    told = tag(
        "p",
        "The bar: tasks that came to this attempt; its filled part: those that succeeded in it."
        " In all: of all that were retried, those that had recovered by then.",
        class_="quiet",
    )
    return joined((told, tag("div", *(_curve(one) for one in chosen[:CURVES]), class_="grid")))


def _curve(kind: Kind) -> Markup:
    most = max(step.tried for step in kind.steps)
    rows = [
        (str(step.attempt), meter(step.recovered, step.tried, most, f"{step.recovered:,} of {step.tried:,} succeeded"),
         f"{step.recovered:,} of {step.tried:,}", share(own), share(by_then))
        for step, own, by_then in worth(kind.steps)
    ]  # fmt: skip
    columns = ("Attempt", "~Succeeded", "#", "#Share", "#In all")
    return tag("div", table(f"{kind.error_type} in {kind.task}", columns, rows))


def reasons(report: Report) -> Markup:
    """Why letters are letters."""
    if not report.reasons:
        return Markup("")
    most = report.reasons[0].count
    rows = [
        (
            one.reason,
            one.error_type,
            meter(one.count, one.count, most, f"{one.count:,} letters", "dead"),
            count(one.count),
        )
        for one in report.reasons[:REASONS]
    ]
    return table(
        "Letters that tasks became, by the reason of the decision.", ("Reason", "Error type", "~", "#Letters"), rows
    )


def groups(report: Report) -> Markup:
    """What they died of."""
    if not report.groups:
        return Markup("")
    are = "is" if report.groups_new == 1 else "are"
    told = tag("p", f"{report.groups_dead:,} groups had deaths in the period; {report.groups_new:,} {are} new,"
               f" {report.groups_back:,} had been resolved and came back.")  # fmt: skip
    shown = report.groups[:GROUPS]
    rows = [_group(one, report) for one in shown]
    columns = ("Group", "#Deaths", "~Over time", "#Open now", "#-First", "#-Last")
    caption = f"One bar is {duration(report.group_step)}. First and last death: how long ago."
    return joined((told, table(caption, columns, rows), _more(len(report.groups) - len(shown), "groups")))


def _group(one: Group, report: Report) -> Sequence[object]:
    tags = [
        tag("span", word, class_=f"tag {look}")
        for word, look, holds in (
            ("new", "new", one.is_new), ("came back", "regression", one.is_regression),
            (one.state, "state", one.state != "open"),
        )
        if holds
    ]  # fmt: skip
    name = joined((*tags, short_class(one.exception) or "?", " in ", one.task or "?"))
    message = tag("div", cut(visible(one.message), MESSAGE), class_="quiet") if one.message else ""
    about = tag("div", f"{one.fingerprint} · {one.error_type}" + _versions(one), class_="quiet")
    first, last = (f"{age(at, report.made_at)}" if at else "-" for at in (one.first_seen, one.last_seen))
    trend = bars(one.trend, f"Deaths of {one.fingerprint}", "dead") if len(one.trend) > FEW and any(one.trend) else ""
    return joined((name, message, about)), count(one.deaths), trend, count(one.open), first, last


def _versions(one: Group) -> str:
    known = [version for version in one.versions if version]
    return f" · version {', '.join(known[:3])}" + (" …" if len(known) > 3 else "") if known else ""


def circuits(report: Report) -> Markup:
    """When they were not closed."""
    if not report.circuits:
        return Markup("")
    rows = [_circuit(one, report) for one in report.circuits]
    columns = ("Circuit", "~Open (full), probing (low)", "#-Opened", "#Time open", "#-Parked", "#Waiting")
    caption = "Parked: times that a task waited for it instead of running; one task may have waited several times."
    label = tag(
        "div", tag("span", f"The pictures go from {day(report.since)} to {day(report.until)} UTC."), class_="quiet"
    )
    return joined((table(caption, columns, [*rows, _axis_row(report)]), label))


def _axis_row(report: Report) -> Sequence[object]:
    return ("", axis(report.since, report.until, 4), "", "", "", "")


def _circuit(one: Circuit, report: Report) -> Sequence[object]:
    known = f"; known since {day(one.known_since)}" if one.known_since else ""
    name = joined((one.name, tag("div", f"{one.state}{known}", class_="quiet")))
    label = f"{one.name}: opened {one.openings:,} times, open for {duration(one.open_seconds)}"
    return (name, spans(one.intervals, report.since, report.until, label), count(one.openings),
            duration(one.open_seconds) if one.open_seconds else "-", count(one.parked), count(one.waiting))  # fmt: skip


def replays(report: Report) -> Markup:
    """What was put back, and how it ended."""
    sums = report.replays
    others = ", ".join(f"{kind} {number:,}" for kind, number in sums.others.items())
    told = [tag("p", f"Beside replays, letters that were changed: {others}.", class_="quiet")] if others else []
    if not sums.count:
        return joined((tag("p", "No letter was replayed."), *told)) if others else Markup("")
    head = tag("p", about_replays(sums))
    columns = ("Replay", "-Which", "#Published", "#Recovered", "#Died again", "State")
    rows = [_replay(one) for one in sums.latest[:REPLAYS]]
    return joined((head, table("The latest first; those begun in the period.", columns, rows), *told))


def _replay(one: Replay) -> Sequence[object]:
    by = f" by {one.by}" if one.by else ""
    name = joined((day(one.created_at), by, tag("div", one.id[:12], class_="quiet")))
    which = joined((one.filter or "all", tag("div", one.reason, class_="quiet") if one.reason else ""))
    state = "stopped by its canary" if one.by_canary else one.state
    return (name, which, f"{one.published:,} of {one.selected:,}", count(one.recovered), count(one.died), state)


def batches(report: Report) -> Markup:
    """Items."""
    if not report.batches:
        return Markup("")
    rows = [(one.task, count(one.succeeded), count(one.failed), count(one.discarded)) for one in report.batches]
    return table("Items that were done with.", ("Task", "#Succeeded", "#Failed", "#Discarded"), rows)


def _more(number: int, what: str) -> Markup:
    return tag("p", f"and {number:,} more {what}, in the JSON form.", class_="quiet") if number > 0 else Markup("")


#: Key, title and maker of each, in the order of the page.
SECTIONS: Sequence[tuple[str, str, Callable[[Report], Markup]]] = (
    ("kinds", "By task and error type", kinds),
    ("attempts", "What each attempt was worth", curves),
    ("reasons", "Why letters", reasons),
    ("groups", "Groups", groups),
    ("circuits", "Circuits", circuits),
    ("replays", "Replays", replays),
    ("batches", "Batches", batches),
)
