"""A report as one HTML page: no script, no request, pictures inside, light and dark, made to be printed as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from celery_recovery.report import page_sections
from celery_recovery.report.markup import Markup, joined, tag
from celery_recovery.report.model import Report, Series
from celery_recovery.report.pictures import axis, bars
from celery_recovery.report.wording import about_counts, day, headline, period
from celery_recovery.text import duration

__all__ = ("POLICY", "page")

_STYLE = Path(__file__).with_name("page.css")
#: What a browser may load for it: nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole document."""
    title = f"Recovery report: {report.app or 'the app'}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_STYLE.read_text("utf-8"))),
    )
    sections = list(_sections(report))
    links = (tag("a", name, href=f"#{key}") for key, name, _ in sections)
    intro = (
        tag("h1", title),
        tag("p", period(report), tag("br"), tag("span", _made(report), class_="quiet")),
        tag("nav", *links, aria_label="Sections"),
        _tiles(report),
    )
    body = tag("body", tag("main", *intro, *(_section(key, name, inner) for key, name, inner in sections)))
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en")


def _made(report: Report) -> str:
    only = f", of {', '.join(report.tasks)} only" if report.tasks else ""
    return f"Made {day(report.made_at)} UTC{only}"


def _sections(report: Report) -> Iterator[tuple[str, str, Markup]]:
    """Key, title and content, of those that have something to say."""
    if report.advice:
        yield "advice", "What to change", page_sections.advice(report)
    yield "time", "Over time", _over_time(report.series, report.until)
    for key, title, make in page_sections.SECTIONS:
        if inner := make(report):
            yield key, title, inner
    notes = tag("ul", *(tag("li", one) for one in about_counts(report)), class_="quiet")
    yield "counting", "How it is counted", notes


def _section(key: str, name: str, inner: Markup) -> Markup:
    return tag("section", tag("h2", name, id=key), inner, aria_labelledby=key)


def _tiles(report: Report) -> Markup:
    told = "Recovery rate: of the tasks that failed at least once and have ended, those that succeeded."
    if report.before is not None:
        told += " Before: in the period of the same length before this one."
    items = (tag("li", name, tag("b", value), tag("small", more)) for name, value, more in headline(report))
    return joined((tag("ul", *items, class_="tiles"), tag("p", told, class_="quiet")))


def _over_time(series: Series, until: float) -> Markup:
    of = (("failed", "Failed attempts", series.failed), ("recovered", "Tasks that recovered", series.recovered),
          ("dead", "Dead letters", series.dead_lettered))  # fmt: skip
    end = series.begin + series.step * len(series.failed)
    figures = [
        tag("figure",
            tag("figcaption", tag("span", title), tag("span", f"{sum(counts):,} in all, at most {max(counts):,}",
                                                      class_="quiet")),
            bars(counts, title, look), axis(series.begin, end))
        for look, title, counts in of
    ]  # fmt: skip
    told = f"One bar is {duration(series.step)}; times are UTC." + (" The last one is not over." if end > until else "")
    return joined((*figures, tag("p", told, class_="quiet")))
