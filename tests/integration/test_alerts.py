"""Alerts on a real Redis, from real workers, to a real server that fails, hangs, or is there when it should not be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_string
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.app.task import Context

from celery_recovery import Filter, RecoverableTask, Recovery, clock
from celery_recovery.circuit.machine import Change
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.decision import Action, Decision, Reason
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring.alerts import outbox as outbox_module
from celery_recovery.monitoring.alerts.alert import Alert
from celery_recovery.monitoring.alerts.alerts import Alerts
from celery_recovery.monitoring.alerts.outbox import Outbox
from celery_recovery.monitoring.alerts.sending import sender
from celery_recovery.monitoring.alerts.sink import Pace, Sink
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.operations.canary import Canary
from celery_recovery.operations.operation import Operation, OperationState
from celery_recovery.redact import Redactor
from celery_recovery.redis import Keys, connect
from celery_recovery.worker import alerting
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Cli, store_letters
from tests.letters import letter
from tests.listening import Listener, listening

pytestmark = pytest.mark.redis

ALERTING, CIRCUITS = "tests.apps.alerting", "tests.apps.circuits"
SINK, OTHER = Sink.of("https://a.example/", "x"), Sink.of("https://b.example/", "x")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def outbox(redis_url: str) -> Outbox:
    return Outbox(connect(redis_url), Keys("shop"), "shop", window=0.05)


def add(outbox: Outbox, count: int = 1, event: str = "group_new", sink: Sink = SINK, first: int = 0) -> None:
    told = [{"task": f"t{n}", "at": 1.0} for n in range(first, first + min(count, 20))]
    outbox.add([(sink, told, count)], event)


def due(outbox: Outbox, sink: Sink = SINK) -> Any:
    return eventually(lambda: outbox.take(sink), timeout=5, what="an alert that is due")


class TestOutbox:
    def test_gathered(self, redis_url):
        """What comes within the window is one alert: the number, and the first of them, in order."""
        outbox = Outbox(connect(redis_url), Keys("shop"), "shop", window=0.5)
        for n in range(5):
            add(outbox, 10, first=n * 10)
        assert outbox.take(SINK) is None
        assert outbox.waiting(SINK) == 50
        taken = due(outbox)
        assert (taken.alert.count, taken.alert.event, taken.alert.tries, taken.state) == (50, "group_new", 1, "sending")
        assert [one["task"] for one in taken.alert.happenings] == [f"t{n}" for n in range(20)]

    def test_kinds_and_sinks_are_apart(self, outbox):
        """Each event is an alert of its own, and each sink has its own."""
        add(outbox)
        add(outbox, event="poison")
        add(outbox, sink=OTHER)
        assert {due(outbox).alert.event, due(outbox).alert.event} == {"group_new", "poison"}
        assert outbox.take(SINK) is None
        assert due(outbox, OTHER).alert.event == "group_new"

    def test_a_lease(self, outbox, monkeypatch):
        """Taken, it is nobody else's until the lease ends; then it is the next one's, with the same id and content."""
        monkeypatch.setattr(outbox_module, "LEASE", 0.5)
        add(outbox, 3)
        first = due(outbox)
        assert outbox.take(SINK) is None
        second = due(outbox)
        assert replace(second.alert, tries=1) == first.alert
        assert second.alert.tries == 2
        outbox.put_off(first, 0, "too late")  # the first has nothing to say any more
        assert outbox.take(SINK) is None
        outbox.sent(first)  # but for this: it has arrived
        time.sleep(0.6)
        assert outbox.take(SINK) is None
        assert [one.state for one in outbox.latest(5)] == ["sent"]

    def test_what_comes_later_is_another_alert(self, outbox):
        """An alert that is on its way does not change."""
        add(outbox)
        first = due(outbox)
        add(outbox, first=7)
        outbox.put_off(first, 0.01, "away")
        told = sorted((due(outbox).alert for _ in range(2)), key=lambda alert: alert.tries)
        assert [[one["task"] for one in alert.happenings] for alert in told] == [["t7"], ["t0"]]

    def test_put_off(self, outbox):
        """Not before its time; why is kept."""
        add(outbox)
        outbox.put_off(due(outbox), 0.5, "HTTP 500")
        assert outbox.take(SINK) is None
        (known,) = outbox.latest(5)
        assert (known.state, known.error) == ("retrying", "HTTP 500")
        assert due(outbox).alert.tries == 2

    def test_given_up(self, outbox):
        """Not tried again, and on the list."""
        add(outbox)
        outbox.give_up(due(outbox), "HTTP 500")
        assert outbox.take(SINK) is None
        assert outbox.waiting(SINK) == 0
        assert [(one.state, one.error) for one in outbox.latest(5)] == [("given_up", "HTTP 500")]

    def test_at_most(self, redis_url):
        """A sink gets its share; what is beyond is gathered until there is room, and nothing is dropped."""
        outbox = Outbox(connect(redis_url), Keys("shop"), "shop", window=0.01)
        sink = replace(SINK, at_most=Pace(2, 2))
        for _ in range(2):
            add(outbox, sink=sink)
            outbox.sent(due(outbox, sink))
        began = time.monotonic()
        for n in range(10):
            add(outbox, sink=sink, first=n)
            time.sleep(0.02)
            assert outbox.take(sink) is None
        assert due(outbox, sink).alert.count == 10
        assert time.monotonic() - began > 1

    def test_an_asked_again_take_overwrites_nothing(self, outbox, monkeypatch):
        """The reply was lost and the client asks again with the same id: the same alert, not the next in its place."""

        class Same:
            hex = "one"

        monkeypatch.setattr(outbox_module.uuid, "uuid4", Same)
        add(outbox)
        add(outbox, event="poison")
        time.sleep(0.1)
        first, again = outbox.take(SINK), outbox.take(SINK)
        assert first.alert.event == again.alert.event
        monkeypatch.undo()
        assert due(outbox).alert.event != first.alert.event

    def test_bounded(self, outbox):
        """A flood costs no more than its first 20; the list keeps 1,000; all of it ends by itself."""
        for n in range(300):
            add(outbox, 20, first=n)
        client = outbox._client
        key = outbox._keys.alert_gathering(SINK.id, "group_new")
        assert client.hlen(key) == 22
        assert due(outbox).alert.count == 6000
        client.zadd(outbox._keys.alerts, {f"old-{n}": n for n in range(1200)})
        add(outbox)
        due(outbox)
        assert client.zcard(outbox._keys.alerts) == 1000
        assert all(client.ttl(key) > 0 for key in client.keys("*alert*"))

    def test_redis_away(self, own_redis):
        """It is said; whoever tells is not disturbed, and knows from the log."""
        outbox = Outbox(connect(own_redis.url()), Keys(), "shop", 1)
        own_redis.kill()
        with pytest.raises(StoreUnavailable):
            outbox.take(SINK)


class Told:
    """Alerts of an app with one sink, and what the outbox has of them."""

    def __init__(self, outbox: Outbox, *sinks: Sink) -> None:
        self.outbox = outbox
        self.sinks = sinks or (SINK,)
        self.alerts = Alerts(outbox, self.sinks, Redactor(), Pace(100, 600))

    def all(self, sink: Sink = SINK) -> list[Any]:
        time.sleep(0.1)
        found = iter(lambda: self.outbox.take(sink), None)
        return [one.alert for one in found]


@pytest.fixture
def told(outbox: Outbox) -> Told:
    return Told(outbox)


class TestWhatIsTold:
    def test_groups(self, told):
        """What a person needs to find it: task, error, letter, group; no secrets, arguments, control characters."""
        one = letter("t1", task="shop.charge", message="login password=hunter2 \x1b[31m" + "x" * 5000)
        told.alerts.groups([(one, "new"), (one, "regressed")])
        alerts = told.all()
        assert {alert.event for alert in alerts} == {"group_new", "group_regressed"}
        (known,) = alerts[0].happenings
        assert (known["task"], known["id"], known["fingerprint"]) == ("shop.charge", "t1", one.error.fingerprint)
        text = json.dumps(alerts[0].to_dict())
        assert "hunter2" not in text
        assert "\\u001b" not in text
        assert "currency" not in text  # of its keyword arguments
        assert len(text) < 3000

    @pytest.mark.parametrize(
        ("before", "after", "event"),
        [
            ("closed", "open", "circuit_open"),
            ("half_open", "open", None),
            ("open", "half_open", None),
            ("half_open", "closed", "circuit_closed"),
            ("forced_open", "closed", "circuit_closed"),
            ("closed", "forced_open", None),
            ("disabled", "closed", None),
        ],
    )
    def test_circuits(self, told, before, after, event):
        """It opens, and is closed again; what a probe or a person does is no news."""
        change = Change(CircuitState(before), CircuitState(after), CircuitEvent.FAILURE_RATE, 1.0, 1, "", {"calls": 9})
        told.alerts.circuit("bank", change)
        told.alerts.circuit("bank", change._replace(scope="one host"))
        alerts = told.all()
        assert [alert.event for alert in alerts] == ([event] if event else [])
        assert all(alert.happenings[0]["calls"] == 9 and alert.count == 1 for alert in alerts)

    @pytest.mark.parametrize(
        ("state", "message", "by_itself", "event"),
        [
            ("stopped", "5 of 5 died", True, "operation_stopped"),
            ("paused", "no outcome of 3 replays", True, "operation_stopped"),
            ("paused", "interrupted: KeyError", True, "operation_failed"),
            ("paused", "paused by eva", False, None),
            ("cancelled", "cancelled by eva", False, None),
            ("running", "", False, None),
            ("done", "", True, None),  # only for whoever names it
        ],
    )
    def test_operations(self, told, state, message, by_itself, event):
        """What stops by itself; what people ask for is no news."""
        one = Operation(id="o1", kind="replay", state=OperationState(state), message=message)
        told.alerts.operation(one, by_itself)
        assert [alert.event for alert in told.all()] == ([event] if event else [])

    def test_done_for_whoever_wants_it(self, outbox):
        """By name."""
        sink = Sink.of({"to": "https://a.example/", "on": ["operation_*"]}, "x")
        told = Told(outbox, sink)
        told.alerts.operation(Operation(id="o1", kind="replay", state=OperationState.DONE), True)
        assert [alert.event for alert in told.all(sink)] == ["operation_done"]

    def test_only_those_who_want_it(self, outbox):
        """By event and by task; what nobody wants is not written down."""
        sink = Sink.of({"to": "https://a.example/", "on": ["group_new"], "task": "shop.*"}, "x")
        told = Told(outbox, sink)
        told.alerts.groups([(letter("t1", task="mail.send"), "new"), (letter("t2", task="shop.charge"), "growing")])
        assert outbox._client.keys("*") == []
        told.alerts.groups([(letter("t3", task="shop.charge"), "new"), (letter("t4", task="mail.send"), "new")])
        assert [[one["id"] for one in alert.happenings] for alert in told.all(sink)] == [["t3"]]

    def test_a_flood(self, redis_url, told):
        """So many dead letters in so much time, with the tasks that most are of; told once in that time."""
        app = Celery("shop", broker=redis_url, set_as_current=False)
        app.conf.update(recovery_stats_interval=3600)
        stats = Recovery.of(app).stats
        for n in range(99):
            stats.failed("shop.charge" if n % 3 else "shop.other", "network", "dead_letter")
        stats.flush()
        told.alerts.look_for_floods(stats)
        assert told.all() == []
        stats.failed("shop.charge", "network", "manual_review")
        stats.flush()
        told.alerts.look_for_floods(stats)
        told.alerts.look_for_floods(stats)
        (alert,) = told.all()
        assert alert.event == "dead_letter_flood"
        assert alert.happenings[0]["letters"] == 100
        assert alert.happenings[0]["by_task"] == {"shop.charge": 67, "shop.other": 33}

    def test_a_flood_that_was_not_written_down(self, redis_url, told, monkeypatch):
        """Redis went away, or the worker died, before it was: the next look tells it."""
        stats = Recovery.of(Celery("shop", broker=redis_url, set_as_current=False)).stats
        stats.failed("shop.charge", "network", "dead_letter")
        stats.flush()
        flood = Alerts(told.outbox, told.sinks, Redactor(), Pace(1, 600))

        def away(*_: Any) -> None:
            raise StoreUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(told.outbox, "add", away)
            with pytest.raises(StoreUnavailable):
                flood.look_for_floods(stats)
        flood.look_for_floods(stats)
        flood.look_for_floods(stats)
        assert [alert.event for alert in told.all()] == ["dead_letter_flood"]

    def test_redis_away(self, own_redis, caplog):
        """What happens goes on; that nobody will hear of it is in the log."""
        told = Told(Outbox(connect(own_redis.url()), Keys(), "shop", 1))
        own_redis.kill()
        told.alerts.poison("shop.charge", "t1")
        assert "alert_not_written" in [getattr(record, "action", "") for record in caplog.records]


def test_a_storm_of_new_groups(redis_jobs):
    """A thousand groups in a few seconds are one alert with the number."""
    redis_jobs.app.conf.update(recovery_alerts=["https://a.example/"], recovery_alert_window=0.2)
    recovery = Recovery.of(redis_jobs.app)
    recovery.alerts.outbox._window = 5.0
    store_letters(redis_jobs, *(letter(f"t{n}", fingerprint=f"1:{n:016x}") for n in range(1000)))
    (sink,) = recovery.settings.alerts
    recovery.alerts.outbox._client.zadd(recovery.keys.alert_due(sink.id), {"group_new": 1})  # its time is over
    alert = recovery.alerts.outbox.take(sink).alert
    assert (alert.event, alert.count, len(alert.happenings)) == ("group_new", 1000, 20)
    assert alert.title == "[jobs-client] 1,000 new groups of dead letters"


def test_nobody_wants_any(redis_jobs):
    """Without a sink nothing is written, and there is nothing that could."""
    redis_jobs.worker()
    with pytest.raises(ValueError, match="quantity"):
        redis_jobs.send("broken", "t").get(timeout=20)
    assert redis_jobs.letters() == 1
    assert Recovery.of(redis_jobs.app).alerts is None
    with redis.Redis.from_url(redis_jobs.ledger_url) as client:
        assert client.keys("*alert*") == []


# -- workers


class Site:
    """Jobs whose workers send alerts, and who listens."""

    def __init__(self, jobs: Jobs, listener: Listener, *more: Any, **conf: Any) -> None:
        self.jobs, self.listener = jobs, listener
        jobs.conf.update(recovery_alerts=[listener.url("/a"), *more], recovery_alert_window=0.3, **conf)
        jobs.app.conf.update(jobs.conf)

    def worker(self, **options: Any) -> Any:
        return self.jobs.worker(module=ALERTING, **options)

    def die(self, token: str = "t") -> None:
        with pytest.raises(ValueError, match="quantity"):
            self.jobs.send("broken", token).get(timeout=20)

    def told(self, event: str, path: str = "/a") -> Any:
        def found() -> Any:
            return next((one for one in self.listener.at(path) if one.json["event"] == event), None)

        return eventually(found, what=f"{event} at {path}")


@pytest.fixture
def site(redis_jobs: Jobs, listener: Listener) -> Site:
    return Site(redis_jobs, listener)


def test_a_new_group(site):
    """From the failure of a task to the webhook."""
    site.worker()
    site.die()
    one = site.told("group_new")
    assert one.json["app"] == "jobs"
    assert one.json["happenings"][0]["task"] == f"{MODULE}.broken"
    assert one.json["happenings"][0]["exception"] == "builtins.ValueError"
    (known,) = Recovery.of(site.jobs.app).alerts.outbox.latest(5)
    assert known.alert.id == one.json["id"]
    eventually(lambda: Recovery.of(site.jobs.app).alerts.outbox.latest(5)[0].state == "sent")


HOSTILE = '@everyone <!channel> <https://evil.example|click> <b>hi</b> <a href="https://evil.example">login</a>'


@pytest.mark.parametrize("service", ["mail", "tgram", "slack", "discord"])
def test_markup_stays_text(service, monkeypatch):
    """What an exception says is no markup in a mail or a chat, and calls nobody."""
    apprise = pytest.importorskip("apprise", reason="pip install 'celery-recovery[alerts]'")
    posted: list[str] = []

    def post(_: str, _url: str, **sent: Any) -> Any:
        posted.append(str(sent.get("data") or sent.get("json")))
        return SimpleNamespace(status_code=200, content=b"ok", text="ok", headers={})

    class Server:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def quit(self) -> None: ...
        def sendmail(self, _: str, __: Any, text: str) -> None:
            posted.append(" ".join(str(part.get_payload(decode=True)) for part in message_from_string(text).walk()))

    monkeypatch.setattr("requests.request", post)
    monkeypatch.setattr("requests.post", lambda url, **sent: post("POST", url, **sent))
    monkeypatch.setattr("smtplib.SMTP", Server)
    assert apprise
    url = {
        "mail": "mailto://localhost:2525?from=a@example.com&to=b@example.com",
        "tgram": "tgram://123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc/12345",
        "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
        "discord": "discord://123456789012345678/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz1234567890ab-_",
    }[service]
    told = {"task": "t.x", "id": "1", "exception": "ValueError", "message": HOSTILE, "at": 1.0}
    sender(Sink.of(url, "x"))(Alert(id="1", event="group_new", app="shop", at=1.0, count=1, happenings=(told,)))
    (text,) = posted
    assert "click" in text
    if service == "mail":
        assert "text/html" not in text
    if service in ("tgram", "slack"):
        assert "<b>hi" not in text
        assert "<a " not in text
    assert "@everyone" not in text
    assert "<!channel>" not in text


def test_a_notification(redis_jobs, listener):
    """Chat, mail and the like, by Apprise, from a worker; the address comes from the environment."""
    pytest.importorskip("apprise", reason="pip install 'celery-recovery[alerts]'")
    site = Site(redis_jobs, listener, "env:ONCALL")
    site.worker(env={"ONCALL": f"json://127.0.0.1:{listener.port}/chat"})
    site.die()
    (one,) = eventually(lambda: listener.at("/chat"))
    assert one.json["title"].startswith("[jobs] new group of dead letters: tests.apps.jobs.broken")


def test_a_flood(redis_jobs, listener):
    """Looked for by a worker, in the counts of all."""
    site = Site(redis_jobs, listener, recovery_alert_flood="3/2m")
    site.worker()
    for token in ("a", "b"):
        site.die(token)
    assert site.told("group_new")
    time.sleep(1.5)  # some looks
    assert not [one for one in listener.posted if one.json["event"] == "dead_letter_flood"]
    site.die("c")
    assert site.told("dead_letter_flood").json["happenings"][0]["by_task"] == {f"{MODULE}.broken": 3}


def test_an_outage(site):
    """A circuit opens: an alert; its probes fail: none; it closes again: another."""
    jobs = site.jobs
    jobs.ledger.client.set("away:dependency", 1)
    jobs.worker(module=CIRCUITS)
    for n in range(4):
        jobs.send(f"{CIRCUITS}.impatient", f"c{n}")
    assert site.told("circuit_open").json["happenings"][0]["circuit"] == "dependency"
    circuits = Recovery.of(jobs.app).circuits

    def has_probed() -> bool:
        jobs.send(f"{CIRCUITS}.impatient", "probe")
        causes = [change.cause for change in circuits.view("dependency").history]
        return CircuitEvent.PROBES_FAILED in causes

    eventually(has_probed)
    jobs.ledger.client.delete("away:dependency")

    def closed() -> bool:
        jobs.send(f"{CIRCUITS}.impatient", "again")
        return any(one.json["event"] == "circuit_closed" for one in site.listener.posted)

    eventually(closed, timeout=30)
    assert sum(one.json["count"] for one in site.listener.posted if one.json["event"] == "circuit_open") == 1


def test_a_canary_stops(site):
    """Whoever runs the replay writes it down, a worker sends it."""
    site.worker()
    site.die("a")
    for token in ("b", "c"):
        site.jobs.send("broken", token)
    eventually(lambda: site.jobs.letters() == 3)
    result = site.jobs.dead_letters.replay(Filter(), canary=Canary(first=2))
    assert result.by_canary
    one = site.told("operation_stopped").json["happenings"][0]
    assert one["operation"] == result.operation
    assert "died again" in one["message"]


def test_a_failing_sink(redis_jobs, listener):
    """Is tried again, with the same id, until it takes it; another sink does not wait for it."""
    site = Site(redis_jobs, listener, f"http://127.0.0.1:{listener.port}/b", f"{ALERTING}:note")
    listener.answers["/a"] = (500, {}, b"out of order")
    site.worker()
    site.die()
    site.told("group_new", "/b")
    eventually(lambda: redis_jobs.ledger.lines("alerts"))
    eventually(lambda: len(listener.at("/a")) >= 3)
    del listener.answers["/a"]
    outbox = Recovery.of(redis_jobs.app).alerts.outbox
    eventually(lambda: {one.state for one in outbox.latest(10)} == {"sent"})
    sent = [one.json for one in listener.at("/a")]
    assert len({one["id"] for one in sent}) == 1
    assert [one["tries"] for one in sent] == list(range(1, len(sent) + 1))
    assert len(listener.at("/b")) == 1


def test_told_to_wait(site):
    """A Retry-After is obeyed."""
    site.listener.answers["/a"] = (429, {"Retry-After": "4"})
    site.worker()
    site.die()
    first = site.told("group_new")
    assert first is not None
    del site.listener.answers["/a"]
    began = time.monotonic()
    eventually(lambda: len(site.listener.at("/a")) == 2)
    assert time.monotonic() - began > 2.5


def test_a_hanging_sink_delays_nobody(redis_jobs, listener):
    """Tasks run, and the other sink hears of it, while one never answers."""
    site = Site(redis_jobs, listener, f"{ALERTING}:note")
    listener.answers["/a"] = "hang"
    site.worker()
    site.die()
    eventually(lambda: listener.at("/a"))
    eventually(lambda: redis_jobs.ledger.lines("alerts"))
    began = time.monotonic()
    assert redis_jobs.send("fine", "f", 7).get(timeout=20) == 7
    assert time.monotonic() - began < 5


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [
        "celery_recovery.worker.alerting:Alerter._deliver:before",
        "celery_recovery.monitoring.alerts.outbox:Outbox.sent:before",
        "celery_recovery.monitoring.alerts.outbox:Outbox.sent:after",
    ],
)
def test_a_worker_is_killed(site, point):
    """Between taking and sending, or after sending: the next worker sends it, with the same id; at least once."""
    site.worker(pool="threads", env={"ALERTS_CRASH": point})
    site.jobs.send("broken", "t")
    eventually(lambda: site.jobs.ledger.client.exists(f"crashed:{point}"))
    arrived = len(site.listener.posted)
    assert arrived == (0 if "_deliver" in point else 1)
    site.worker(pool="threads")
    outbox = Recovery.of(site.jobs.app).alerts.outbox
    eventually(lambda: [one.state for one in outbox.latest(5)] == ["sent"])
    ids = {one.json["id"] for one in site.listener.posted}
    assert (len(ids), len(site.listener.posted)) == (1, arrived if point.endswith("sent:after") else arrived + 1)


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("raised", [SystemExit(3), _Unspeakable()], ids=["exit", "unspeakable"])
def test_whatever_a_sink_raises_is_a_failed_try(outbox, raised):
    """Also what ends a thread as a rule, and what cannot be written down."""

    def send(_: Any) -> None:
        raise raised

    add(outbox)
    eventually(lambda: outbox.latest(1) or _turn(outbox, send), timeout=5)
    [delivery] = outbox.latest(1)
    assert delivery.state == "retrying"
    assert type(raised).__name__ in delivery.error


def test_a_sink_that_kills_every_worker_does_not_go_on_for_ever(outbox, monkeypatch):
    """An alert that was taken too often, and of which nothing was heard, is given up and not tried once more."""
    monkeypatch.setattr(outbox_module, "LEASE", 0.0)
    add(outbox)
    for tries in range(1, alerting.MOST_TRIES + 1):
        assert due(outbox).alert.tries == tries
    sent: list[Any] = []
    _turn(outbox, sent.append)
    assert sent == []
    [delivery] = outbox.latest(1)
    assert (delivery.state, delivery.error) == ("given_up", "whoever tried to send it was not heard of again")
    assert outbox.take(SINK) is None


def _turn(outbox: Outbox, send: Any) -> None:
    """One look for what is due, as a worker takes it."""
    alerts = Alerts(outbox, [SINK], Redactor(), None)
    alerting.Alerter(alerts, [(SINK, send)], SuccessRateMonitor(None)).turn(SINK, send)


def test_redis_restarts(worker, own_redis, listener):
    """What was written down is sent once Redis is back."""
    site = Site(Jobs(worker, own_redis.url(), own_redis.url(1)), listener)
    listener.answers["/a"] = (500, {})
    site.worker()
    site.jobs.send("broken", "t")
    site.told("group_new")
    own_redis.kill()
    del listener.answers["/a"]
    own_redis.start()
    outbox = Recovery.of(site.jobs.app).alerts.outbox
    eventually(lambda: [one.state for one in outbox.latest(5)] == ["sent"], timeout=60)


def test_a_sink_that_cannot_be_used(redis_jobs, listener):
    """A worker does not start, and says why in a sentence."""
    site = Site(redis_jobs, listener, "tests.apps.alerting:nothing")
    command = [sys.executable, "-m", "celery", "-A", ALERTING, "worker", "-l", "INFO"]
    ended = subprocess.run(command, env=Cli(site.jobs).env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "recovery_alerts: expected a path that can be imported" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- the commands


class TestCommands:
    def test_test(self, redis_jobs, listener):
        """Each sink is tried, and it is said how it went; secrets in URLs are not shown."""
        listener.answers["/bad"] = (403, {}, b"no such token")
        os.environ["JOBS_LEDGER"] = redis_jobs.ledger_url
        sinks = [listener.url("/good"), listener.url("/bad", who="user:hunter2@"), "tests.apps.alerting:nothing"]
        redis_jobs.conf.update(recovery_alerts=sinks, recovery_alert_secret="sixteen letters, or more")
        cli = Cli(redis_jobs)
        ended = cli("alerts", "test", code=5, app=ALERTING)
        good, bad, none = ended.output.splitlines()[1:4]
        assert f"http://127.0.0.1:{listener.port}/… #" in good
        assert " sent" in good
        assert "failed  HTTP 403 Forbidden: no such token" in bad
        assert "failed" in none
        assert "hunter2" not in ended.output + ended.errors
        assert "celery-recovery-signature" in listener.at("/good")[0].headers
        assert listener.at("/good")[0].json["event"] == "test"
        known = cli.json("alerts", "test", code=5, app=ALERTING)
        assert [one["sent"] for one in known["sinks"]] == [True, False, False]

    def test_test_where_tools_only_look(self, site):
        """Sending is acting."""
        assert "not allowed" in Cli(site.jobs)("alerts", "test", code=2, env={"CELERY_RECOVERY_ROLE": "read"}).errors
        assert site.listener.posted == []

    def test_list(self, site):
        """What was sent, what was not and why, and what is on its way."""
        cli = Cli(site.jobs)
        assert "No alert was sent" in cli("alerts", "list").errors
        outbox = Recovery.of(site.jobs.app).alerts.outbox
        (sink,) = Recovery.of(site.jobs.app).settings.alerts
        add(outbox, 3, sink=sink)
        add(outbox, sink=sink, event="poison")
        assert cli.json("alerts", "list")["waiting"] == {sink.name: 4}
        outbox.sent(due(outbox, sink))
        outbox.give_up(due(outbox, sink), "HTTP 500 password=hunter2")
        text = cli("alerts", "list").output
        assert "hunter2" not in text
        assert "3 new groups of dead letters" in text
        assert "given_up" in text
        assert {one["state"] for one in cli.json("alerts", "list")["alerts"]} == {"sent", "given_up"}

    def test_nobody_to_tell(self, redis_jobs):
        """Said, with an exit code of its own."""
        for word in ("list", "test"):
            assert "recovery_alerts is empty" in Cli(redis_jobs)("alerts", word, code=1).errors


def nothing() -> None:
    """The body of a task."""


def test_poison(site):
    """A task that was taken for poison, and is a dead letter now, is an alert; any other letter alone is none."""
    app = site.jobs.app
    task = app.task(base=RecoverableTask, shared=False, name="shop.deadly")(nothing)
    recovery = Recovery.of(app)
    for task_id, reason in (("t1", Reason.EXHAUSTED), ("t2", Reason.POISON)):
        request = Context(
            id=task_id, task="shop.deadly", hostname="w@h", args=(), kwargs={}, delivery_info={}, retries=0
        )
        request.recovery_running = clock.monotonic()
        failure = recovery.understand(task, request, RuntimeError("killed by signal 9"))
        decision = Decision(action=Action.DEAD_LETTER, reason=reason, attempt=1, max_attempts=None, rule="x")
        recovery.record(failure, decision, failure.exc)
    (sink,) = recovery.settings.alerts
    alert = due(recovery.alerts.outbox, sink).alert
    assert (alert.event, [one["id"] for one in alert.happenings]) == ("poison", ["t2"])
    assert recovery.alerts.outbox.waiting(sink) == 1
