"""Alerts without Redis: what the settings take, what a sink is sent, and what it may not be sent."""

from __future__ import annotations

import hashlib
import hmac
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from celery_recovery.config import Settings
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.monitoring.alerts import webhook
from celery_recovery.monitoring.alerts.alert import SAMPLES, VERSION, Alert
from celery_recovery.monitoring.alerts.events import EVENTS, QUIET
from celery_recovery.monitoring.alerts.sending import sender
from celery_recovery.monitoring.alerts.sink import Pace, Sink
from celery_recovery.monitoring.alerts.webhook import Webhook, signature
from celery_recovery.monitoring.alerts.wrong import NotSent
from celery_recovery.worker.alerting import LONGEST_WAIT, MOST_TRIES, wait_after
from tests.listening import Listener, listening

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reporting.md"
SECRET = "sixteen letters, or more"


def page(alert: Alert) -> None:
    """A sink."""


def alert(event: str = "group_new", count: int = 1, **told: Any) -> Alert:
    known = {"task": "shop.charge", "exception": "builtins.OSError", "message": "no route", "fingerprint": "1:ab"}
    told = {**known, **told}
    return Alert(id="a1", event=event, app="shop", at=1_700_000_000.0, count=count, happenings=(told,))


class TestSettings:
    def test_each_kind(self):
        """A callable, its path, a webhook, a notification, and a mapping of each."""
        entries = [page, "shop.alerts:page", "https://hooks.example/x", "slack://token", {"to": "mailto://a"}]
        sinks = Settings(alerts=entries).alerts
        assert [sink.kind for sink in sinks] == ["callable", "callable", "webhook", "notification", "notification"]
        assert sinks[0].on == tuple(word for word in EVENTS if word not in QUIET)
        assert sinks[0].at_most == Pace(60, 3600)

    def test_a_mapping(self):
        """Filters and limits; a pattern means all the events that it matches."""
        sink = Sink.of({"to": page, "on": ["circuit_*", "operation_done"], "task": "shop.*", "at_most": "10/2m"}, "x")
        assert sink.on == ("circuit_open", "circuit_closed", "operation_done")
        assert sink.at_most == Pace(10, 120)
        assert sink.wants("operation_done", "shop.charge")
        assert not sink.wants("operation_done", "mail.send")
        assert not sink.wants("operation_done")  # belongs to no task
        assert not sink.wants("group_new", "shop.charge")

    @pytest.mark.parametrize(
        ("entry", "says"),
        [
            ("no such thing", "expected a callable"),
            (7, "expected a callable"),
            ({}, "expected a callable"),
            ({"to": page, "events": []}, "expected a key that exists"),
            ({"to": page, "on": ["group_newer"]}, "Did you mean 'group_new'"),
            ({"to": page, "on": []}, "a list of events"),
            ({"to": page, "on": "group_new"}, "a list of events"),
            ({"to": page, "task": 7}, "a task's name"),
            ({"to": page, "at_most": "many"}, "as 10/1h"),
            ({"to": page, "at_most": "0/1h"}, "as 10/1h"),
            ({"to": page, "at_most": "5/0m"}, "as 10/1h"),
            ({"to": page, "at_most": "5/30d"}, "as 10/1h"),
            ("https:///path", "a URL with a host"),
            ("http://host:99999/", "a URL with a host"),
        ],
    )
    def test_what_makes_no_sense(self, entry, says):
        """Is refused, and it is said which entry."""
        with pytest.raises(ConfigurationError, match=r"recovery_alerts\[1\]") as refused:
            Settings(alerts=["shop.alerts:page", entry])
        assert says in str(refused.value)

    def test_no_secret_in_errors(self):
        """A URL that is refused shows its scheme only."""
        for url in ("https://user:hunter2@", "slack:/hunter2/x", "hunter2://"):
            with pytest.raises(ConfigurationError) as refused:
                Settings(alerts=[url])
            assert url == "hunter2://" or "hunter2" not in str(refused.value)
        with pytest.raises(ConfigurationError) as refused:
            Settings(alert_secret="hunter2")
        assert "hunter2" not in str(refused.value)

    @pytest.mark.parametrize("url", ["https://a.example/hunter2\x01", "https://a.example/hunter2\u00e9"])
    def test_what_http_cannot_carry(self, url):
        """It is refused at once: the client's own complaint would have the path in it."""
        with pytest.raises(ConfigurationError, match="plain ASCII") as refused:
            Sink.of(url, "recovery_alerts[0]")
        assert "hunter2" not in str(refused.value)

    def test_two_that_look_alike(self):
        """They would share what is written down for them."""
        with pytest.raises(ConfigurationError, match="sinks that differ"):
            Settings(alerts=["https://a.example/x", "https://a.example/x"])
        Settings(alerts=["https://a.example/x", {"to": "https://a.example/x", "on": ["poison"]}])

    def test_names_hold_no_secret(self):
        """Of a URL the scheme and the host, and what tells two apart; equal settings have equal ids."""
        one = Sink.of("https://user:hunter2@hooks.example:8443/T0/hunter2?key=hunter2", "x")
        assert one.name == f"https://hooks.example:8443/… #{one.id[:4]}"
        assert Sink.of("slack://hunter2/x", "x").name.startswith("slack://… #")
        assert one.id == Sink.of(one.to, "x").id != Sink.of("https://hooks.example/", "x").id
        assert Sink.of(page, "x").name.endswith(":page")

    def test_from_the_environment(self, monkeypatch):
        """A URL that is a secret need not stand in the settings; a missing variable is told where it is used."""
        sink = Sink.of("env:ONCALL", "x")
        assert (sink.kind, sink.name) == ("variable", "env:ONCALL")
        with pytest.raises(ConfigurationError, match="ONCALL"):
            sender(sink)
        monkeypatch.setenv("ONCALL", "https://hunter2@hooks.example/hunter2")
        assert sink.resolved().kind == "webhook"
        assert isinstance(sender(sink), Webhook)
        monkeypatch.setenv("ONCALL", "env:ONCALL")
        with pytest.raises(ConfigurationError, match="ONCALL"):
            sender(sink)

    def test_flood(self):
        """A number in a time, or none."""
        assert Pace.of(Settings().alert_flood, "x") == Pace(100, 600)
        assert Settings(alert_flood=None).alert_flood is None
        with pytest.raises(ConfigurationError, match="recovery_alert_flood"):
            Settings(alert_flood="100")


class TestWords:
    def test_one(self):
        """What it is about is in the title; all that matters is in the text."""
        one = alert(at=1_700_000_000.0, id="t1")
        assert one.title == "[shop] new group of dead letters: shop.charge: OSError"
        assert one.text == "2023-11-14 22:13:20 UTC  shop.charge: OSError  no route  group 1:ab  letter t1"

    def test_many(self):
        """Their number is in the title, the first are in the text."""
        one = alert(count=1000)
        assert one.title == "[shop] 1,000 new groups of dead letters"
        assert one.text.splitlines()[-1] == "… and 999 more"

    def test_the_others(self):
        """A circuit, an operation, a flood."""
        circuit = Alert(id="1", event="circuit_open", app="shop", at=0, count=1, happenings=(
            {"circuit": "bank", "before": "closed", "after": "open", "cause": "failure_rate"},))  # fmt: skip
        assert (circuit.title, circuit.text) == ("[shop] circuit open: bank", "bank  closed → open  failure_rate")
        operation = {"operation": "abcdef0123456789", "kind": "replay", "done": 5, "selected": 80,
                     "message": "5 of 5 died again", "by": "eva"}  # fmt: skip
        told = Alert(id="1", event="operation_stopped", app="shop", at=0, count=1, happenings=(operation,))
        assert told.title == "[shop] operation stopped by itself: replay abcdef012345"
        assert told.text == "replay abcdef012345  5 of 80 done  5 of 5 died again  asked by eva"
        flood = {"letters": 4000, "minutes": 10, "by_task": {"shop.charge": 3990}}
        told = Alert(id="1", event="dead_letter_flood", app="shop", at=0, count=1, happenings=(flood,))
        assert told.title == "[shop] flood of dead letters: 4,000 in 10 minutes"
        assert told.text.endswith("shop.charge 3,990")

    @pytest.mark.parametrize("event", [*EVENTS, "test", "of_a_newer_version"])
    def test_nothing_is_needed(self, event):
        """A happening of another version, or none at all, breaks nothing."""
        for happenings in ((), ({},), ({"at": "x"},)):
            one = Alert(id="1", event=event, app="", at=0, count=1, happenings=happenings)
            assert one.title.startswith("[celery]")
            assert one.to_dict()["version"] == VERSION

    def test_foreign_text_is_harmless(self):
        """No control characters in titles and texts, and no endless ones."""
        one = alert(task="a\x1b[31m\r\nb", message="x" * 100_000)
        assert one.title.isprintable()
        assert all(line.isprintable() and len(line) <= 400 for line in one.text.split("\n"))

    def test_documented(self):
        """docs/reporting.md has every event with its severity and its meaning, and every key of the JSON form."""
        text = PAGE.read_text("utf-8")
        for word, event in EVENTS.items():
            assert f"| `{word}` | {event.severity} | {event.doc} |" in text, word
        rows = text.partition("<!-- webhook body")[2].partition("\n\n")[0]
        assert rows
        assert {part for part in alert().to_dict() if f"`{part}`" not in rows} == set()
        assert f"first {SAMPLES}" in rows


@pytest.fixture
def listener() -> Any:
    with listening() as found:
        yield found


class TestWebhook:
    def test_what_is_sent(self, listener: Listener):
        """A POST of JSON, with id and event as headers, user and password as a header and not in the address."""
        Webhook(listener.url(who="u%40x:p%3Aw@"))(alert())
        (one,) = listener.posted
        assert (one.method, one.path, one.json) == ("POST", "/hook", alert().to_dict())
        assert one.headers["content-type"] == "application/json"
        assert (one.headers["celery-recovery-event"], one.headers["celery-recovery-id"]) == ("group_new", "a1")
        assert one.headers["authorization"] == "Basic dUB4OnA6dw=="
        assert one.headers["host"] == f"127.0.0.1:{listener.port}"
        assert "celery-recovery-signature" not in one.headers

    def test_signed(self, listener: Listener):
        """With a secret the body can be checked, and so can when it was sent."""
        Webhook(listener.url(), SECRET)(alert())
        (one,) = listener.posted
        at, given = (part.partition("=")[2] for part in one.headers["celery-recovery-signature"].split(","))
        assert given == hmac.new(SECRET.encode(), f"{at}.".encode() + one.body, hashlib.sha256).hexdigest()
        assert given == signature(SECRET, int(at), one.body)
        assert abs(int(at) - time.time()) < 60

    def test_refused(self, listener: Listener):
        """Any status but 2xx: not sent, and what the other side says of it."""
        listener.answers["/hook"] = (400, {}, b"invalid\n payload" + b"x" * 10_000)
        with pytest.raises(NotSent, match="HTTP 400 Bad Request: invalid payloadx") as said:
            Webhook(listener.url())(alert())
        assert len(str(said.value)) < 400
        assert said.value.after is None

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_told_to_wait(self, listener: Listener, form: str):
        """Retry-After, in seconds or as a date."""
        wish = "30" if form == "seconds" else formatdate(time.time() + 31, usegmt=True)
        listener.answers["/hook"] = (429, {"Retry-After": wish})
        with pytest.raises(NotSent) as said:
            Webhook(listener.url())(alert())
        assert 25 < (said.value.after or 0) <= 31

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirected_within_the_host(self, listener: Listener, status: int):
        """Followed, with the same POST and the same signature."""
        listener.answers["/hook"] = (status, {"Location": "/other"})
        Webhook(listener.url(who="a:b@"), SECRET)(alert())
        first, second = listener.posted
        assert (second.method, second.path, second.body) == ("POST", "/other", first.body)
        for name in ("celery-recovery-signature", "authorization", "content-type"):
            assert second.headers[name] == first.headers[name]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirected_elsewhere(self, listener: Listener, status: int):
        """Not followed: nothing arrives at another host, or another port of this one."""
        with listening() as other:
            for place in (other.url("/steal"), f"http://localhost:{listener.port}/steal", "file:///etc/passwd", "//x/"):
                listener.answers["/hook"] = (status, {"Location": place})
                with pytest.raises(NotSent):
                    Webhook(listener.url(), SECRET)(alert())
            assert other.posted == []
            assert listener.at("/steal") == []

    def test_redirected_in_a_circle(self, listener: Listener):
        """It ends."""
        listener.answers["/hook"] = (307, {"Location": "/hook"})
        with pytest.raises(NotSent):
            Webhook(listener.url())(alert())
        assert len(listener.posted) <= 5

    def test_hanging(self, listener: Listener, monkeypatch):
        """It is waited for, and no longer than the timeout."""
        monkeypatch.setattr(webhook, "TIMEOUT", 0.3)
        listener.answers["/hook"] = "hang"
        began = time.monotonic()
        with pytest.raises(NotSent, match=r"(?i)timed out"):
            Webhook(listener.url())(alert())
        assert time.monotonic() - began < 10

    def test_nobody_there(self):
        """Not sent; the error names no address beyond what the system says."""
        with pytest.raises(NotSent, match="ConnectionRefusedError") as said:
            Webhook("http://user:hunter2@127.0.0.1:1/hunter2")(alert())
        assert "hunter2" not in str(said.value)


class TestSenders:
    def test_a_path(self):
        """A callable is imported by its path; one that is not there is told, with the setting."""
        sender(Sink.of("tests.listening:listening", "x"))
        with pytest.raises(ConfigurationError, match="recovery_alerts"):
            sender(Sink.of("tests.listening:nothing", "x"))

    def test_a_notification(self, listener: Listener):
        """Through Apprise: title, text and severity."""
        pytest.importorskip("apprise", reason="pip install 'celery-recovery[alerts]'")
        sender(Sink.of(f"json://127.0.0.1:{listener.port}/note", "x"))(alert("circuit_open"))
        (one,) = listener.posted
        assert one.json["title"] == alert("circuit_open").title
        assert "shop.charge" in one.json["message"]
        assert one.json["type"] == "failure"

    def test_a_notification_that_fails(self, listener: Listener):
        """Apprise's own words say why."""
        pytest.importorskip("apprise", reason="pip install 'celery-recovery[alerts]'")
        listener.answers["/note"] = (500, {})
        with pytest.raises(NotSent, match="error=500"):
            sender(Sink.of(f"json://127.0.0.1:{listener.port}/note", "x"))(alert())

    def test_a_url_that_apprise_does_not_know(self, caplog):
        """Refused where a worker starts; the URL is shown nowhere."""
        pytest.importorskip("apprise", reason="pip install 'celery-recovery[alerts]'")
        with pytest.raises(ConfigurationError, match="a URL that Apprise understands") as refused:
            sender(Sink.of("nosuchservice://hunter2", "x"))
        assert "hunter2" not in str(refused.value) + caplog.text


def test_waits_grow_and_end():
    """From seconds to a quarter of an hour; in all about an hour and a half."""
    waits = [wait_after(n) for n in range(1, MOST_TRIES)]
    assert waits == sorted(waits)
    assert waits[0] == 5
    assert max(waits) == LONGEST_WAIT
    assert 3600 < sum(waits) < 2 * 3600
