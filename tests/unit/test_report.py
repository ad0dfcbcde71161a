"""What a report is made of: counts added up, times of circuits, the JSON form, the page, the text."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.circuit.machine import HISTORY_LIMIT, Change
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.cli.report_text import as_text
from celery_recovery.report import sections, tally
from celery_recovery.report.circuits import circuit_of
from celery_recovery.report.gather import Period
from celery_recovery.report.markup import tag
from celery_recovery.report.model import Advice, Headline, Report, Series
from celery_recovery.report.page import page
from celery_recovery.report.sections import Batch, Circuit, Interval, Reason, Replays
from celery_recovery.report.tally import Tallies, tallied
from celery_recovery.report.wording import share
from celery_recovery.text import width
from tests.hostile import HOSTILE, HUGE, active_content, controls
from tests.reports import DAY, MADE_AT, group, kind, replay, report, steps

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "reporting.md").read_text("utf-8")


def full(text: str = "shop", **known: Any) -> Report:
    """A report with every section, and the same text in every place for a foreign one."""
    circuit = Circuit(
        name=text, state="open", since=MADE_AT - 60, waiting=3, parked=5, openings=2, from_closed=1, open_seconds=60.0,
        probing_seconds=1.0, intervals=(Interval(begin=MADE_AT - 60, end=MADE_AT, state="open", cause="failure_rate"),),
    )  # fmt: skip
    advice = Advice(rule="poison", subject=text, says=text, evidence=text, setting=text, place=text)
    latest = replay(by=text, via=text, reason=text, filter=text, message=text, published=3, selected=4, died=3)
    plain: dict[str, Any] = {
        "app": text, "tasks": (text,), "headline": Headline(attempts=9, recovered=4, dead_lettered=2, retried=3),
        "before": Headline(attempts=7, recovered=3),
        "kinds": (kind(text, text, failed_attempts=5, recovered=4, dead_lettered=2, wasted=3, wasted_seconds=9.0,
                       median=2.5, p95=86_400.0, steps=steps((2, 3), (1, 2))),),
        "reasons": (Reason(error_type=text, reason=text, count=2),),
        "groups": (group(text, task=text, error_type=text, exception=text, message=text, state=text, by=text, deaths=2,
                         open=1, is_new=True, is_regression=True, queues={text: 1}, versions={text: 2}, trend=(0, 2)),),
        "groups_dead": 1, "circuits": (circuit,),
        "replays": Replays(count=1, selected=4, published=3, died=3, latest=(latest,), others={text: 2}),
        "batches": (Batch(task=text, succeeded=3, failed=1, discarded=0),), "advice": (advice,), "notes": (text,),
        "series": Series(begin=MADE_AT - DAY, step=1800.0, failed=(1, 3) * 24, recovered=(0, 4) * 24,
                         dead_lettered=(0,) * 48),
    }  # fmt: skip
    return report(**{**plain, **known})


# -- counts


def test_counts_are_added_up_by_kind_and_by_group():
    """Retries by their number, deaths by reason and hour, times to recovery, batches, circuits."""
    lines = [
        (0, ("retry", "a", "network", "1:x", "2", "failed"), 3),
        (0, ("retry_ms", "a", "network", "1:x", "2", "failed"), 4500),
        (0, ("batch", "a", "failed"), 2), (0, ("of a newer version", "a"), 1),
        (3600, ("retry", "a", "network", "1:y", "2", "recovered"), 5),
        (3600, ("dead", "a", "network", "1:x", "exhausted"), 2),
        (3600, ("recovery", "a", "network", "5"), 5), (3600, ("recovery_ms", "a", "network"), 15_000),
        (3600, ("circuit", "bank", "open"), 1), (3600, ("parked", "a", "circuit", "bank"), 7),
    ]  # fmt: skip
    found = tallied(lines)
    (step,) = found.kinds["a", "network"].steps
    assert (step.attempt, step.recovered, step.failed, step.failed_seconds) == (2, 5, 3, 4.5)
    assert found.groups["a", "network", "1:x"].deaths == {3600: 2}
    assert found.reasons == {("network", "exhausted"): 2}
    assert (found.times["a", "network"].quantile(0.5), found.times["a", "network"].mean) == (3.0, 3.0)
    assert (found.circuits["bank", "open"], found.parked["bank"], found.batches["a", "failed"]) == (1, 7, 2)


def test_counts_of_some_tasks():
    """Circuits are nobody's, and stay."""
    lines = [(0, ("dead", "a", "network", "1:x", "exhausted"), 2), (0, ("dead", "b", "network", "1:y", "exhausted"), 3),
             (0, ("circuit", "bank", "open"), 1)]  # fmt: skip
    found = tallied(lines, lambda task: task == "b")
    assert list(found.kinds) == [("b", "network")]
    assert found.circuits["bank", "open"] == 1


#: Of each task the results of its attempts from the second on; it recovered, or not (yet).
lives = st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40)


@given(lives)
def test_wasted_retries_are_those_of_tasks_that_did_not_recover(tasks):
    """Exactly, as long as each task met one error type and its whole life is in the period."""
    counts: Counter[tuple[str, ...]] = Counter()
    for failed, recovered in tasks:
        for number in range(2, 2 + failed):
            counts["retry", "a", "network", "1:x", str(number), "failed"] += 1
        if recovered:
            counts["retry", "a", "network", "1:x", str(2 + failed), "recovered"] += 1
    found = tallied((0, labels, count) for labels, count in counts.items())
    wasted = found.kinds["a", "network"].wasted if counts else 0
    assert wasted == sum(failed for failed, recovered in tasks if not recovered)


def test_groups_are_bounded(monkeypatch):
    """However many there are: the smallest are dropped hour by hour, sums keep them, and it is told."""
    monkeypatch.setattr(tally, "MOST_GROUPS", 10)
    lines = [
        (hour * 3600, ("dead", "a", "network", f"1:{hour}-{n}", "exhausted"), n + 1)
        for hour in range(20)
        for n in range(50)
    ]
    found = tallied(lines)
    assert len(found.groups) == 10
    assert found.kinds["a", "network"].reasons["exhausted"] == 20 * 50 * 51 // 2
    assert {one.deaths.total() for one in found.groups.values()} == {50}
    assert found.is_cut
    assert not tallied(lines[:10]).is_cut
    assert Tallies().is_cut is False


# -- the period


def test_periods():
    """Whole minutes at the beginning; the end is not after now; the period before ends where it begins."""
    period = Period.read("24h", None, 1_000_030.0)
    assert (period.since, period.until, period.last) == (913_620.0, 1_000_030.0, 1_000_030.0)
    past = Period.read("3h", "1h", 1_000_030.0)
    assert past.last < past.until == 996_430.0
    assert past.before.until == past.since
    assert Period.read("24h", "2126-01-01", 1_000_030.0).until == 1_000_030.0


@pytest.mark.parametrize(
    ("since", "until", "option"), [("1h", "2h", "since"), ("soon", None, "since"), ("1h", "x", "until")]
)
def test_periods_that_make_no_sense(since, until, option):
    """Refused, and which option it is."""
    from celery_recovery import RecoveryError
    from celery_recovery.exceptions import ConfigurationError

    with pytest.raises(ConfigurationError) as refused:
        Period.read(since, until, 1_000_000.0)
    assert isinstance(refused.value, RecoveryError)
    assert refused.value.option == option


@pytest.mark.parametrize("hours", [0.1, 1, 5, 24, 48, 168, 24 * 90])
def test_series_have_few_places(hours):
    """Enough to see something, few enough to draw."""
    period = Period.read(str(MADE_AT - hours * 3600), None, MADE_AT)
    assert (period.until - period.since) / period.step <= 61 or period.step == 86400


# -- circuits


def view(*moves: tuple[float, str, str], name: str = "bank", scope: str = "", state: str = "") -> CircuitView:
    """`moves`: when, from, to; the oldest first."""
    history = tuple(
        Change(CircuitState(a), CircuitState(b), CircuitEvent.FAILURE_RATE, at, 1, scope)
        for at, a, b in reversed(moves)
    )
    last = state or (moves[-1][2] if moves else "closed")
    return CircuitView(
        name=name, state=CircuitState(last), generation=1, since=moves[-1][0] if moves else 50.0, until=None,
        openings=0, calls=0, failed=0, slow=0, row=0, probing=0, steady=0.0, returning=None, history=history,
    )  # fmt: skip


def spans(found: Circuit) -> list[tuple[float, float, str]]:
    return [(one.begin, one.end, one.state) for one in found.intervals]


def test_times_that_a_circuit_was_open():
    """From its transitions, within the period."""
    seen = view((10, "closed", "open"), (20, "open", "half_open"), (25, "half_open", "closed"), (90, "closed", "open"))
    found = circuit_of(seen, 0, 100)
    assert spans(found) == [(10, 20, "open"), (20, 25, "half_open"), (90, 100, "open")]
    assert (found.openings, found.from_closed, found.open_seconds, found.probing_seconds) == (2, 2, 20, 5)
    assert spans(circuit_of(seen, 15, 22)) == [(15, 20, "open"), (20, 22, "half_open")]
    assert circuit_of(seen, 15, 22).intervals[0].cut
    assert spans(circuit_of(seen, 30, 80)) == []


def test_a_circuit_that_was_open_before_all_that_is_known():
    """It was in the state that the first transition ended, unless older ones had to go."""
    seen = view((50, "open", "half_open"), (60, "half_open", "closed"))
    assert spans(circuit_of(seen, 0, 100)) == [(0, 50, "open"), (50, 60, "half_open")]
    moves = [(n, "closed", "open") if n % 2 else (n, "open", "closed") for n in range(50, 50 + HISTORY_LIMIT)]
    busy = circuit_of(view(*moves), 0, 200, opened=400)
    assert busy.intervals[0].begin == 51
    assert (busy.known_since, busy.openings, busy.from_closed) == (50, 400, 25)


def test_a_circuit_whose_transitions_are_forgotten():
    """What a person forced a month ago still holds."""
    assert spans(circuit_of(view(state="forced_open"), 60, 100)) == [(60, 100, "forced_open")]
    assert spans(circuit_of(view(), 60, 100)) == []


def test_transitions_of_single_hosts():
    """They are not the circuit's."""
    assert spans(circuit_of(view((10, "closed", "open"), scope="host-1", state="closed"), 0, 100)) == []


# -- JSON


def test_json_has_what_is_documented():
    """Every field of every section, and no other."""
    rows = dict(
        re.findall(
            r"^\| (the report|`\w+`) \| (.*) \|$", DOCS.partition("<!-- fields")[2].partition("\n## ")[0], re.MULTILINE
        )
    )
    rows = {of.strip("`"): keys for of, keys in rows.items()}
    made = full().to_dict()
    parts = {
        "the report": made, "headline": made["headline"], "kinds": made["kinds"][0], "series": made["series"],
        "steps": made["kinds"][0]["steps"][0], "reasons": made["reasons"][0], "groups": made["groups"][0],
        "circuits": made["circuits"][0], "intervals": made["circuits"][0]["intervals"][0], "replays": made["replays"],
        "latest": made["replays"]["latest"][0], "batches": made["batches"][0], "standing": made["standing"],
        "advice": made["advice"][0],
    }  # fmt: skip
    assert set(rows) == {*parts, "drifts"}
    for name, part in parts.items():
        keys = re.sub(r"\(.*?\)", "", rows[name])
        assert set(re.findall(r"`(\w+)`", keys)) == set(part), name
    assert set(re.findall(r"`(\w+)`", rows["drifts"])) == {item.name for item in fields(sections.Drift)}


def test_json_is_json():
    """Nothing in it needs a reader of its own."""
    assert json.loads(json.dumps(full().to_dict(), allow_nan=False))["headline"]["recovery_rate"] == 4 / 6


# -- the page


class Reader(HTMLParser):
    """Checks that what is opened is closed, and notes what could load or run something."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(made: Report) -> Reader:
    reader = Reader()
    reader.feed(page(made))
    reader.close()
    assert not reader.open
    return reader


@pytest.mark.parametrize("made", [report(), full()], ids=["quiet", "full"])
def test_the_page_is_whole_and_loads_nothing(made):
    """No script, no address of another place, no style that would fetch one; a policy that forbids it all."""
    reader = read(made)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(reader.seen)
    addresses = [value for _, name, value in reader.attributes if name in ("src", "href", "action")]
    assert all(address.startswith("#") for address in addresses)
    assert not re.search(r"url\(|@import|https?:|//", page(made).replace("<!DOCTYPE html>", ""))
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes


def test_the_page_can_be_read_aloud():
    """A language, names for pictures, captions and heads for tables, a heading for each section."""
    reader = read(full())
    assert ("html", "lang", "en") in reader.attributes
    assert reader.seen["svg"] == sum(
        1 for tag, name, value in reader.attributes if (tag, name) == ("svg", "aria-label") and value
    )
    assert reader.seen["table"] == reader.seen["caption"] == reader.seen["thead"]
    assert (
        reader.seen["section"]
        == reader.seen["h2"]
        == len({v for t, n, v in reader.attributes if (t, n) == ("h2", "id")})
    )
    assert all(value in ("row", "col") for _, name, value in reader.attributes if name == "scope")


def test_the_page_is_made_for_dark_and_for_print():
    """Both are in its style."""
    text = page(full())
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "break-inside: avoid" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_do_nothing(name):
    """Wherever they stand: on the page nothing acts, on the terminal no control character is left."""
    made = full(HOSTILE[name])
    shown = page(made)
    assert active_content(shown) == []
    assert not controls(shown)
    assert not controls(as_text(made, 80))
    read(made)
    assert HOSTILE[name] not in json.dumps(made.to_dict()) or HOSTILE[name].isascii()


def test_one_is_one():
    """As words for one, and for more."""
    for number, words in (
        (1, "1 is new, 1 was resolved and came back"),
        (2, "2 are new, 2 were resolved and came back"),
    ):
        made = report(groups=(group(),), groups_new=number, groups_back=number)
        assert words in as_text(made, 200)
        assert f"{number} {'is' if number == 1 else 'are'} new" in page(made)


def test_huge_texts_are_cut():
    """Ten megabytes of a name do not make a page of ten megabytes."""
    assert len(page(full(HUGE[:200_000]))) < 300_000


@given(st.text(), st.text(alphabet="<>\"'&\x00\x1b\u202e"))
def test_markup_escapes(name, value):
    """Whatever the text, an element holds it as text."""
    reader = Reader()
    reader.feed(tag("p", value, title=name))
    reader.close()
    assert reader.seen == {"p": 1}
    assert reader.text.isprintable()


# -- text


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_text_keeps_to_its_width(columns):
    """Every line but what is to be copied, which would be of no use in pieces."""
    long = full("shop.orders.a_task_with_a_rather_long_name_such_as_people_give", advice=full().advice)
    for line in as_text(long, columns).splitlines():
        assert width(line) <= columns, line
    setting = "policies={" + "'x': 1, " * 30 + "}"
    advice = (Advice(rule="r", subject="s", says="Do.", evidence="Seen.", setting=setting, place="an option"),)
    assert f"     {setting}\n" in as_text(full(advice=advice), columns)


def test_text_of_a_quiet_day():
    """It says that nothing has failed."""
    assert "Nothing has failed." in as_text(report(), 80)
    assert "Nothing has failed." in read(report()).text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0%"), (1, "100%"), (0.99999, "99.9%"), (0.00001, "0.1%"), (0.4567, "45.7%")]
)
def test_shares_do_not_promise_too_much(value, text):
    """100 % is all, and 0 % none."""
    assert share(value) == text
