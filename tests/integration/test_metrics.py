"""The figures for Prometheus: what they say of a real store, what they cost, and what they say when Redis is away."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from celery_recovery import LetterState, RecoverableTask, Recovery
from celery_recovery.circuit.machine import Change
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring.fleet import Fleet
from celery_recovery.monitoring.metrics import METRICS
from celery_recovery.monitoring.told import Told
from celery_recovery.operations.operation import OperationState
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import NOWHERE, Cli
from tests.letters import letter, redied
from tests.services.process import free_port

prometheus_client = pytest.importorskip("prometheus_client", reason="pip install 'celery-recovery[prometheus]'")
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402  # only where it is installed

from celery_recovery.monitoring import prometheus  # noqa: E402
from celery_recovery.monitoring.prometheus import PREFIX, Background, Cached, RecoveryCollector  # noqa: E402

pytestmark = pytest.mark.redis

HOSTILE = 'evil"\n\\{}\x1b[31m\u202e<b>'
Series = dict[tuple[str, ...], float]


def nothing() -> None:
    """The body of a task."""


class Shop:
    """An app with two tasks and a declared circuit, and what is scraped of it."""

    def __init__(self, url: str, **conf: Any) -> None:
        self.app = Celery("shop", broker=url, set_as_current=False)
        self.app.conf.update(recovery_stats_interval=3600, **conf)
        self.app.task(base=RecoverableTask, shared=False, name="shop.charge", circuit="bank")(nothing)
        self.app.task(base=RecoverableTask, shared=False, name="shop.import")(nothing)
        self.app.finalize()
        self.recovery = Recovery.of(self.app)
        self.store = self.recovery.dead_letters.store

    def scraped(self) -> dict[str, Series]:
        """Name of each family -> label values, in the order of the labels' names -> value."""
        return families(self.text())

    def text(self) -> str:
        registry = prometheus_client.CollectorRegistry()
        registry.register(RecoveryCollector(Cached(self.recovery.fleet_reader().read)))
        return str(prometheus_client.generate_latest(registry).decode())


def families(text: str) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix(PREFIX), {})[values] = sample.value
    return found


def nonzero(series: Series) -> Series:
    return {labels: value for labels, value in series.items() if value}


@pytest.fixture
def shop(redis_url: str) -> Shop:
    return Shop(redis_url)


def told(what: str, **known: Any) -> Told:
    return Told(**{"what": what, "task": "shop.charge", "task_id": "1", "error_type": "network", **known})


def test_everything_is_zero_from_the_beginning(shop):
    """Each family is there with all labels of closed sets, and nothing has happened."""
    found = shop.scraped()
    names = {metric.name for metric in METRICS}
    assert {
        name.rpartition("_")[0] if name.endswith(("_bucket", "_sum", "_count")) else name for name in found
    } == names
    assert found.pop("up") == {(): 1}
    assert found.pop("read_seconds")[()] > 0
    states = found.pop("circuit_state")
    assert {labels for labels, value in states.items() if value} == {("bank", "closed")}
    assert {value for series in found.values() for value in series.values()} == {0}
    assert found["attempts_total"].keys() >= {("dead_letter", "shop.import"), ("first_try", "(other)")}
    assert found["outcomes_total"].keys() >= {(kind.value, "recovered") for kind in ErrorType}
    assert ("network", "exhausted") in found["dead_letters_total"]
    assert ("network", "+Inf") in found["retry_delay_seconds_bucket"]
    assert set(found["circuit_transitions_total"]) >= {("bank", "open"), ("(other)", "open")}


def test_attempts_and_their_ends(shop):
    """By task and by error type; a task that nobody knows here is counted with the others."""
    stats = shop.recovery.stats
    stats.succeeded("shop.charge")
    for task in ("shop.charge", "elsewhere.task"):
        stats.failed(task, ErrorType.NETWORK, "retry")
    stats.recovered("shop.charge", ErrorType.NETWORK)
    stats.watched(HOSTILE, "unknown", "unknown_task")
    stats.watched("plain.task", "network", "failed")
    stats.flush()
    found = shop.scraped()
    assert found["attempts_total"]["first_try", "shop.charge"] == 1
    assert found["attempts_total"]["retry", "shop.charge"] == found["attempts_total"]["retry", "(other)"] == 1
    assert found["outcomes_total"]["network", "retry"] == 2
    assert found["outcomes_total"]["network", "recovered"] == 1
    assert sum(found["outcomes_total"].values()) == 3, "a success at the first try met no error"
    assert found["watched_total"] == {("failed",): 1, ("unknown_task",): 1, ("retried",): 0, ("internal_error",): 0,
                                      ("rejected",): 0}  # fmt: skip


def test_delays_are_a_histogram(shop):
    """Buckets add up, the last one is the count, the sum is in seconds."""
    stats = shop.recovery.stats
    for delay in (0.5, 4.0, 4.0, 9999.0):
        stats.tell(told("retry", delay=delay))
    stats.tell(told("recovered", took=90.0))
    stats.tell(told("dead_letter", reason="exhausted"))
    stats.flush()
    found = shop.scraped()
    buckets = {le: n for (kind, le), n in found["retry_delay_seconds_bucket"].items() if kind == "network"}
    assert (buckets["1"], buckets["5"], buckets["3600"], buckets["+Inf"]) == (1, 3, 3, 4)
    assert found["retry_delay_seconds_count"]["network",] == 4
    assert found["retry_delay_seconds_sum"]["network",] == 10_007.5
    assert found["time_to_recovery_seconds_sum"]["network",] == 90
    assert found["dead_letters_total"]["network", "exhausted"] == 1


def test_letters(shop):
    """By state, task, type and reason; how old the oldest is; what happened to them."""
    now = time.time()
    young, old, hostile = (
        letter(one, "shop.charge", died_at=now - age) for one, age in (("a", 60), ("b", 600), ("c", 5))
    )
    strange = letter("d", HOSTILE, reason=HOSTILE, died_at=now - 1)
    shop.store.add_many([young, old, hostile, strange])
    shop.store.discard(["c"])
    shop.store.review(["a"])
    found = shop.scraped()
    assert found["letters"] == {("failed",): 2, ("review",): 1, ("retry",): 0, ("replayed",): 0, ("recovered",): 0,
                                ("discarded",): 1}  # fmt: skip
    assert nonzero(found["open_letters_by_task"]) == {("shop.charge",): 2, ("(other)",): 1}
    assert found["open_letters_by_error_type"]["network",] == 3
    assert found["open_letters_by_reason"]["exhausted",] == 2
    assert found["open_letters_by_reason"]["(other)",] == 1
    assert found["oldest_letter_age_seconds"]["failed",] == pytest.approx(600, abs=30)
    assert found["oldest_letter_age_seconds"]["review",] == pytest.approx(60, abs=30)
    assert found["oldest_letter_age_seconds"]["replayed",] == 0
    assert found["letter_events_total"]["added",] == 4
    assert found["letter_events_total"]["discarded",] == 1
    assert found["letter_bytes"][()] == sum(one.size for one in (young, old, hostile, strange))


def test_replays_and_how_they_ended(shop):
    """Published, recovered, died again."""
    shop.store.add_many([letter("a", "shop.charge"), letter("b", "shop.charge")])
    claims = [one.letter for one in shop.store.claim(["a", "b"], "op") if one.letter is not None]
    shop.store.published(["a", "b"], "op")
    shop.store.started("a", claims[0].token, "copy")
    shop.store.recovered("a", "copy")
    shop.store.add(redied(claims[1]))
    events = shop.scraped()["letter_events_total"]
    assert (events["replayed",], events["recovered",], events["again",]) == (2, 1, 1)


def test_groups_and_their_news(shop):
    """Those with open letters, by what people have said of them."""
    shop.store.add_many([letter(fingerprint=f"1:{n}", task="shop.charge") for n in range(3)])
    shop.store.grouped.ignore("1:0", by="anna")
    shop.store.grouped.resolve("1:1", by="anna")
    done = letter("done", "shop.charge", fingerprint="1:9")
    shop.store.add(done)
    shop.store.discard(["done"])
    shop.recovery.stats.flush()
    found = shop.scraped()
    assert found["open_groups"] == {("open",): 1, ("resolved",): 1, ("ignored",): 1}
    assert found["group_news_total"]["new",] == 4


def test_circuits(shop):
    """Declared ones by name; what a callable names is only counted, however many they are."""
    circuits = shop.recovery.circuits
    circuits.get("bank").acquire().success()
    circuits.flush()
    circuits.set("bank", CircuitEvent.FORCE_OPEN)
    for tenant in range(3):
        circuits.set(f"tenant-{tenant}", CircuitEvent.FORCE_OPEN)
    circuits.set("<b>tenant</b>", CircuitEvent.DISABLE)
    shop.recovery.stats.flush()
    found = shop.scraped()
    assert found["circuits"]["forced_open",] == 4
    assert found["circuits"]["disabled",] == 1
    assert nonzero(found["circuit_state"]) == {("bank", "forced_open"): 1}
    assert found["circuit_transitions_total"]["bank", "forced_open"] == 1
    assert found["circuit_transitions_total"]["(other)", "forced_open"] == 3


def test_circuits_that_a_callable_names_do_not_grow_the_totals(shop):
    """They are declared when they are met, and yet there may be any number."""
    circuits = shop.recovery.circuits
    for tenant in range(20):
        circuits.declare(f"tenant-{tenant}", circuits.policy("bank"), "shop.charge")
        change = Change(CircuitState.CLOSED, CircuitState.OPEN, CircuitEvent.FAILURE_RATE, 1.0, 1, "", {})
        shop.recovery._circuit_changed(circuits.get(f"tenant-{tenant}"), change)
    shop.recovery.stats.flush()
    assert {labels[1] for labels in shop.recovery.stats.totals() if labels[0] == "circuit"} == {""}
    assert circuits.declared == ["bank"]


def test_parked_tasks(redis_jobs: Jobs):
    """Why they wait, what they wait for, and for how long one that is due was forgotten."""
    from tests.integration.test_parking_cli import park

    redis_jobs.app.conf.recovery_circuits = {"bank": {}, "tenant-*": {}}
    park(redis_jobs, "soon")
    park(redis_jobs, "late", due=-120.0, reason="retry")
    park(redis_jobs, "bank", reason="circuit", circuit="bank")
    park(redis_jobs, "tenant", reason="circuit", circuit="tenant-1")
    registry = prometheus_client.CollectorRegistry()
    registry.register(RecoveryCollector(Cached(Recovery.of(redis_jobs.app).fleet_reader().read)))
    found = families(prometheus_client.generate_latest(registry).decode())
    assert found["parked"] == {("eta",): 1, ("retry",): 1, ("circuit",): 2, ("snooze",): 0, ("budget",): 0}
    assert found["parked_overdue"][()] == 1
    assert found["parked_overdue_seconds"][()] == pytest.approx(120, abs=30)
    assert found["circuit_waiting"] == {("bank",): 1, ("(other)",): 1}


def test_operations_that_have_not_ended(shop):
    """What is under way, and how many letters it is not through with."""
    shop.store.add_many([letter(one, "shop.charge") for one in "abc"])
    operations = shop.recovery.dead_letters.operations
    operations.create("replay", ["a", "b", "c"], by="anna")
    done = operations.create("discard", ["a"], by="anna")
    operations.ask(done.id, OperationState.CANCELLED.value, by="anna")
    found = shop.scraped()
    assert nonzero(found["operations"]) == {("replay", "running"): 1}
    assert found["operation_letters_left"]["replay",] == 3
    assert found["operation_letters_left"]["discard",] == 0


def test_batches_under_way(shop):
    """How many there are, how far those are that know where they end, and what became of their items."""
    from celery_recovery.checkpoint import Run

    checkpoints = shop.recovery.checkpoints
    for n, total in enumerate((100, 300, None)):
        run = Run("shop.import", f"t{n}")
        fence, _ = checkpoints.open(f"batch:1:id:t{n}", run)
        state = {"batch": "1", "done": 40, "total": total, "failed": 2}
        checkpoints.save(f"batch:1:id:t{n}", fence, json.dumps(state).encode())
    run = Run("shop.import", "own")
    fence, _ = checkpoints.open("id:own", run)
    checkpoints.save("id:own", fence, b"7")
    shop.recovery.stats.batch_moved("shop.import", succeeded=38, failed=2, discarded=0)
    shop.recovery.stats.flush()
    found = shop.scraped()
    assert nonzero(found["batches"]) == {("shop.import",): 3}
    assert found["batch_items_done"]["shop.import",] == 80
    assert found["batch_items_expected"]["shop.import",] == 400
    assert found["batch_items_total"]["succeeded", "shop.import"] == 38
    assert found["checkpoints"][()] == 4


def test_nothing_of_a_message_gets_in(shop):
    """Names and texts that a message chose are in no label; the answer is one that Prometheus can read."""
    shop.store.add_many([letter(f"h{n}", f"{HOSTILE}{n}", queue=HOSTILE, message=HOSTILE) for n in range(200)])
    for n in range(200):
        shop.recovery.stats.watched(f"{HOSTILE}{n}", "unknown", "rejected")
        shop.recovery.stats.failed(f"{HOSTILE}{n}", HOSTILE, HOSTILE)
    shop.recovery.stats.flush()
    text = shop.text()
    assert "evil" not in text
    assert "\x1b" not in text
    found = families(text)
    assert found["attempts_total"]["(other)", "(other)"] == 200
    assert found["open_letters_by_task"]["(other)",] == 200


@pytest.mark.parametrize(
    "labels", [["attempts", "shop.charge", "network", "retry", "more"], ["delay", "network"], ["news", 1], []], ids=str
)
def test_what_a_newer_version_counts_in_another_form_is_left_out(shop, labels):
    """In the middle of a deployment: the rest is told."""
    shop.recovery.redis.hset(shop.recovery.keys.totals_of_rates, json.dumps(labels), 5)
    found = shop.scraped()
    assert found["up"] == {(): 1}
    assert nonzero(found["attempts_total"]) == {}


def test_a_figure_that_cannot_be_told_does_not_break_the_scrape(shop, caplog):
    """Flower's own figures are in the same answer."""
    reading = Cached(shop.recovery.fleet_reader().read)
    reading().fleet.totals["group", "new"] = "no number"
    assert [family.name for family in RecoveryCollector(reading).collect()] == [PREFIX + "up", PREFIX + "read_seconds"]
    assert [record.action for record in caplog.records] == ["metrics_unread"]


def test_names_of_the_app_are_shown_harmlessly(redis_url):
    """A task may be named as it likes; control characters are spelled out."""
    shop = Shop(redis_url)
    shop.app.task(base=RecoverableTask, shared=False, name=HOSTILE)(nothing)
    shop.app.finalize()
    text = shop.text()
    assert "\x1b" not in text
    assert any("evil" in labels[0] for labels in families(text)["open_letters_by_task"])


def test_series_are_as_many_as_the_page_says(redis_url):
    """Of four tasks and one circuit, of each further task, of each further circuit."""
    page = (Path(__file__).resolve().parents[2] / "docs/monitoring.md").read_text("utf-8")
    four, task, circuit = (
        int(found[1]) for found in re.finditer(r"(?:has|task adds|each circuit) (\d+)(?: series|,|\.)", page)
    )

    def series(tasks: int, *circuits: str) -> int:
        shop = Shop(redis_url, recovery_circuits={name: {} for name in circuits})
        for n in range(tasks - 2):
            shop.app.task(base=RecoverableTask, shared=False, name=f"shop.task{n}")(nothing)
        reader = shop.recovery.fleet_reader()
        reader._tasks = [name for name in reader._tasks if name.startswith("shop.")]  # not what other tests have shared
        families = RecoveryCollector(Cached(reader.read)).collect()
        return sum(len(family.samples) for family in families)

    assert series(4) == four
    assert series(5) == four + task
    assert series(4, "mail") == four + circuit


def test_an_app_that_does_not_count(redis_url):
    """What is not counted is not told; it is not 0."""
    found = Shop(redis_url, recovery_stats=False).scraped()
    assert set(found) == {metric.name for metric in METRICS if not metric.counted}


def test_what_a_scrape_asks_is_bounded(shop, monkeypatch):
    """3,000 circuits and 500 groups cost four round trips more, letters none."""
    sent: list[int] = []
    send = redis.connection.AbstractConnection.send_packed_command

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        sent.append(1)
        return send(self, *args, **options)

    reader = shop.recovery.fleet_reader()
    reader.read()
    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)
    reader.read()
    few = len(sent)
    monkeypatch.undo()
    shop.store.add_many([letter(fingerprint=f"1:{n}", task="shop.charge") for n in range(500)])
    index = shop.recovery.circuits.client.zadd
    index(f"{shop.store.keys.prefix}:{{circuits}}", {f"tenant-{n}": time.time() for n in range(3000)})
    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)
    sent.clear()
    fleet = reader.read()
    assert len(fleet.circuits) == 3000
    assert sum(fleet.groups.values()) == 500
    assert few <= 10
    assert len(sent) - few <= 4


class TestRedisAway:
    """What is not known is not told."""

    def test_away_and_back(self, own_redis):
        """`up` is 0 and alone; then all is there again."""
        shop = Shop(own_redis.url())
        registry = prometheus_client.CollectorRegistry()
        registry.register(RecoveryCollector(Cached(shop.recovery.fleet_reader().read, fresh=0.0)))
        scrape = lambda: families(prometheus_client.generate_latest(registry).decode())  # noqa: E731
        assert scrape()["up"] == {(): 1}
        own_redis.kill()
        assert scrape() == {"up": {(): 0}, "read_seconds": {(): pytest.approx(0, abs=2)}}
        own_redis.start()
        assert scrape()["up"] == {(): 1}

    def test_hanging(self, own_redis):
        """A scrape takes two seconds at most."""
        shop = Shop(own_redis.url())
        source = Cached(shop.recovery.fleet_reader().read, fresh=0.0)
        assert source().fleet is not None
        own_redis.pause()
        began = time.monotonic()
        assert source().fleet is None
        assert time.monotonic() - began < 2.0
        own_redis.resume()
        assert source().fleet is not None

    def test_what_nobody_expected(self):
        """Whatever is raised, the scrape is answered."""

        def read() -> Fleet:
            raise ValueError("of another version")

        assert next(iter(RecoveryCollector(Cached(read)).collect())).samples[0].value == 0


class TestSources:
    """When it is read."""

    def test_cached(self, shop):
        """Two scrapes at once, or one after the other, are one reading."""
        read, calls = shop.recovery.fleet_reader().read, []

        def counted() -> Fleet:
            calls.append(1)
            return read()

        source = Cached(counted, fresh=60.0)
        threads = [threading.Thread(target=source) for _ in range(5)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert source().fleet is not None
        assert len(calls) == 1

    def test_background(self, monkeypatch):
        """Whoever asks never waits: nothing at first, the last reading then, and what is too old is not known."""
        gate, calls = threading.Event(), []

        def read() -> Fleet:
            calls.append(1)
            gate.wait(20)
            raise StoreUnavailable("away")

        source = Background(read, interval=3600)
        source.start()
        eventually(lambda: calls, what="the first reading")
        assert source() is None
        assert list(RecoveryCollector(source).collect()) == []
        gate.set()
        assert eventually(source, what="a reading").fleet is None
        monkeypatch.setattr(prometheus, "STALE", -1.0)
        assert source().fleet is None
        source.stop()
        source._thread.join(10)
        assert not source._thread.is_alive()


class TestCommand:
    """`recovery metrics`."""

    def test_once(self, redis_jobs: Jobs) -> None:
        """The figures on stdout, those of the app's own tasks among them."""
        found = families(Cli(redis_jobs)("metrics", "--once").output)
        assert found["up"] == {(): 1}
        assert ("first_try", f"{MODULE}.fine") in found["attempts_total"]

    def test_once_with_redis_away(self, redis_jobs: Jobs) -> None:
        """It says so, and ends with the code for it."""
        redis_jobs.conf["recovery_redis_url"] = NOWHERE
        ended = Cli(redis_jobs)("metrics", "--once", code=3)
        assert families(ended.output)["up"] == {(): 0}

    def test_served_until_it_is_ended(self, redis_jobs: Jobs) -> None:
        """Over HTTP; a second one is told that the port is taken; the end is an orderly one."""
        redis_jobs.worker()
        redis_jobs.send("flaky", "t", 2).get(timeout=20)
        cli, port = Cli(redis_jobs), free_port()
        serving = cli.start("metrics", "--port", str(port))
        try:
            text = eventually(lambda: _fetched(port), what="the server")
            assert families(text)["up"] == {(): 1}
            taken = cli("metrics", "--port", str(port), code=2)
            assert taken.errors == f"Cannot listen on 127.0.0.1 port {port}: Address already in use.\n"

            def recovered() -> bool:
                found = families(_fetched(port))
                return found["attempts_total"]["recovered", f"{MODULE}.flaky"] == 1

            eventually(recovered, what="the recovery in the figures")
        finally:
            serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0

    def test_no_store(self, redis_jobs: Jobs) -> None:
        """Nothing to tell of: a sentence, and the code for a configuration that makes no sense."""
        redis_jobs.broker = redis_jobs.backend = "memory://"
        redis_jobs.conf["recovery_redis_url"] = None
        env = {"CELERY_RESULT_BACKEND": "cache+memory://"}
        assert "recovery_redis_url" in Cli(redis_jobs)("metrics", "--once", code=2, env=env).errors


def _fetched(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_flower_shows_them(redis_jobs: Jobs, tmp_path: Any, own_redis: Any) -> None:
    """On its own `/metrics`, once; with a Redis that hangs it answers at once all the same, and says so."""
    pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")
    from tests.integration.test_flower import Flower

    redis_jobs.conf["recovery_redis_url"] = own_redis.url()
    flower = Flower(redis_jobs, tmp_path / "flower.log")
    try:
        flower.ready()
        text = eventually(lambda: "celery_recovery_up" in (text := _fetched(flower.port)) and text, what="our figures")
        assert text.count("# TYPE celery_recovery_up gauge") == 1
        assert families(text)["up"] == {(): 1}
        assert "python_info" in text, "and what else is in the registry"
        own_redis.pause()
        slowest = 0.0

        def unknown() -> bool:
            nonlocal slowest
            began = time.monotonic()
            found = families(_fetched(flower.port))
            slowest = max(slowest, time.monotonic() - began)
            return found["up"] == {(): 0}

        eventually(unknown, what="the news that Redis hangs")
        assert slowest < 0.9, "it waits a second for Redis, but not here"
    finally:
        own_redis.resume()
        flower.stop()


def test_states_are_complete(shop):
    """Every state of a letter has a series, so that none is forgotten when one is added."""
    assert {state for (state,) in shop.scraped()["letters"]} == {state.value for state in LetterState}
