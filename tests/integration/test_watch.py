"""`recovery watch` on a real feed: where it begins, what it shows, what it says of what it cannot show."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
import time
from typing import Any

import pytest
import redis

from celery_recovery import Filter, Recovery
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring import counting, feed
from celery_recovery.monitoring.feed import Tail
from celery_recovery.monitoring.stats import SuccessRateMonitor
from celery_recovery.redis import Keys, connect
from tests.integration.jobs_client import Jobs, eventually
from tests.integration.test_cli import NOWHERE, Cli

pytestmark = pytest.mark.redis

NEVER = 3600.0


class Feed:
    """A process that tells, and a reader."""

    def __init__(self, url: str) -> None:
        self.keys = Keys("shop")
        self.client = connect(url)
        self.monitor = SuccessRateMonitor(self.client, self.keys, interval=NEVER)
        self.tail = Tail(connect(url), self.keys)

    def tell(self, *numbers: int, what: str = "retry") -> None:
        for n in numbers:
            self.monitor.feed(what=what, n=n)
        assert self.monitor.flush()

    def seen(self, wait: float = 0) -> list[int]:
        return [one.told["n"] for one in self.tail.look(wait).happenings]


@pytest.fixture
def told(redis_url: str) -> Feed:
    return Feed(redis_url)


def test_the_last_ones_first(told):
    """The last N that fit, oldest first, over pages; then what comes."""
    told.tell(*range(900))
    told.tell(900, what="recovered")
    assert [one.told["n"] for one in told.tail.from_last(3, lambda one: one.what == "retry")] == [897, 898, 899]
    assert len(told.tail.from_last(700)) == 700
    assert told.seen() == []
    told.tell(1, 2)
    assert told.seen() == [1, 2]


def test_from_a_moment_on(told):
    """What was written then or later, a page at a time."""
    told.tell(1)
    time.sleep(0.01)
    before = int(told.client.time()[0]) + told.client.time()[1] / 1e6
    time.sleep(0.01)
    told.tell(*range(10, 900))
    told.tail.from_moment(before)
    assert [*told.seen(), *told.seen()] == list(range(10, 900))
    told.tell(7)
    assert told.seen() == [7]


def test_a_look_waits(told):
    """It returns as soon as something is told, on a feed that did not exist."""
    assert told.tail.from_last(10) == []
    threading.Timer(0.3, told.tell, (5,)).start()
    began = time.monotonic()
    assert told.seen(wait=4) == [5]
    assert 0.2 < time.monotonic() - began < 3


def test_a_slow_reader_is_told(told, monkeypatch):
    """How many were trimmed before it came, to the last one; what is left is read."""
    monkeypatch.setattr(counting, "FEED_KEPT", 100)
    told.tell(0)
    told.tail.from_last(10)
    for start in range(1, 2000, 500):
        told.tell(*range(start, start + 500))
    look = told.tail.look(0)
    first = look.happenings[0].told["n"]
    assert look.missed == first - 1 > 1000
    assert told.tail.look(0).missed == 0
    told.tell(1)
    assert told.tail.look(0).missed == 0


def test_missed_in_the_middle_of_a_page(told, monkeypatch):
    """A reader with pages to go counts on from where it is."""
    monkeypatch.setattr(feed, "PAGE", 50)
    told.tell(0)
    told.tail.from_last(1)
    told.tell(*range(1, 301))
    assert told.seen() == list(range(1, 51))
    told.client.xtrim(told.keys.feed, maxlen=120, approximate=False)
    look = told.tail.look(0)
    assert (look.missed, look.happenings[0].told["n"]) == (130, 181)
    assert told.seen() == list(range(231, 281))


def test_a_feed_that_was_lost(told):
    """Redis was emptied: it is told, and the new one is read from its beginning."""
    told.tell(*range(10))
    told.tail.from_last(1)
    told.client.flushdb()
    told.tell(77)
    assert told.tail.look(0).anew
    assert told.seen() == [77]


def test_what_others_wrote_is_passed_over(told):
    """An entry that is none of ours ends nothing."""
    told.tail.from_last(0)
    for entry in ({"x": "1"}, {"e": "no json"}, {"e": "[]"}, {"e": '{"at": "x", "what": "y"}'}):
        told.client.xadd(told.keys.feed, entry)
    told.tell(3)
    assert told.seen() == [3]


def test_redis_restarts_under_it(own_redis):
    """Asked again it goes on where it was; nothing is shown twice, nothing is left out."""
    told = Feed(own_redis.url())
    told.tell(1)
    told.tail.from_last(1)
    told.tell(2)
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        told.tail.look()
    own_redis.start()
    assert told.seen() == [2]
    told.tell(3)
    assert told.seen() == [3]


# -- the command


class Watching:
    """A running `recovery watch`; what it has printed so far."""

    def __init__(self, cli: Cli, *words: str, **options: Any) -> None:
        self.process = cli.start("watch", *words, **options)
        self.lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        for name, lines in self.lines.items():
            if (stream := getattr(self.process, name)) is not None:
                threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        lines.extend(stream)

    def sees(self, *parts: str, where: str = "stdout") -> str:
        """The line with all these parts."""
        return str(eventually(
            lambda: next((one for one in list(self.lines[where]) if all(part in one for part in parts)), None),
            what=f"a line with {parts} in {self.lines}",
        ))  # fmt: skip

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return int(self.process.wait(20))


@pytest.fixture
def watching(redis_jobs: Jobs) -> Any:
    started: list[Watching] = []

    def start(*words: str, **options: Any) -> Watching:
        started.append(Watching(Cli(redis_jobs, COLUMNS="200"), *words, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_watching_a_worker(redis_jobs, watching):
    """A task that recovers, one that dies, the group and the replay, each a line, soon after it happened."""
    redis_jobs.worker()
    one = watching("--since", "1h")
    redis_jobs.send("flaky", "t", 1).get(timeout=20)
    with pytest.raises(ValueError, match="quantity"):
        redis_jobs.send("broken", "u", "validation").get(timeout=20)
    one.sees("retry", "jobs.flaky", "1/3, again in", "network: ConnectionResetError")
    one.sees("recovered", "jobs.flaky", "attempt 2 after")
    one.sees("dead letter", "jobs.broken", "not_retryable", "validation: ValueError: quantity must be")
    one.sees("group new", "jobs.broken")
    redis_jobs.ledger.fix("u")
    redis_jobs.dead_letters.replay(Filter(), by="eva")
    Recovery.of(redis_jobs.app).stats.flush()
    one.sees("replay running", "operation")
    one.sees("replay done", "1 of 1")
    assert one.end() == 130
    assert "Interrupted." in "".join(one.lines["stderr"])


def told_jobs(jobs: Jobs, **entry: Any) -> None:
    stats = Recovery.of(jobs.app).stats
    stats.feed(**{"what": "retry", "task": "shop.charge", "id": "1", "error_type": "network", "attempt": 1, **entry})
    assert stats.flush()


def test_choosing(redis_jobs, watching):
    """By task, by type, by what; beginning with what was before."""
    told_jobs(redis_jobs, message="first")
    told_jobs(redis_jobs, message="other task", task="mail.send")
    told_jobs(redis_jobs, message="other type", error_type="validation")
    told_jobs(redis_jobs, message="other what", what="snooze")
    told_jobs(redis_jobs, message="last")
    one = watching("--task", "shop.*", "--error-type", "network", "--what", "retry,recovered", "--since", "10m")
    one.sees("last")
    assert [line.split()[-1] for line in one.lines["stdout"]] == ["first", "last"]


def test_json_lines(redis_jobs, watching):
    """One object a line, with all fields, ASCII only, without secrets, nothing condensed."""
    for n in range(30):
        told_jobs(redis_jobs, n=n, message="password=hunter2 \x1b[31m \x7f ü")
    one = watching("--json", "--since", "1h")
    eventually(lambda: len(one.lines["stdout"]) == 30)
    text = "".join(one.lines["stdout"])
    assert text.replace("\n", "").isprintable()
    assert text.isascii()
    assert "hunter2" not in text
    assert [json.loads(line)["n"] for line in one.lines["stdout"]] == list(range(30))


def test_no_secrets(redis_jobs, watching):
    """Messages are without secrets."""
    told_jobs(redis_jobs, message="login with password=hunter2 failed")
    line = watching().sees("login with")
    assert "hunter2" not in line


def test_a_flood(redis_jobs, watching):
    """Is condensed; when it ends, its number is told on Ctrl-C at the latest."""
    stats = Recovery.of(redis_jobs.app).stats
    one = watching("--since", "1h")
    told_jobs(redis_jobs, task="marker")
    one.sees("marker")
    for n in range(800):
        stats.feed(what="retry", task="shop.charge", exception="builtins.ConnectionError", n=n, at=time.time())
    assert stats.flush()
    one.sees("more retries of shop.charge: ConnectionError")
    assert len(one.lines["stdout"]) < 30


def test_redis_restarts_under_the_command(worker, own_redis):
    """It says that it waits, and goes on by itself."""
    jobs = Jobs(worker, own_redis.url(), own_redis.url(1))
    told_jobs(jobs, message="before")
    one = Watching(Cli(jobs))
    try:
        one.sees("before")
        own_redis.kill()
        one.sees("Waiting for it", where="stderr")
        own_redis.start()
        one.sees("Redis answers again", where="stderr")
        told_jobs(jobs, message="after")
        one.sees("after")
        assert one.end() == 130
    finally:
        one.process.kill()
        one.process.wait()


def test_a_closed_pipe_ends_it_quietly(redis_jobs):
    """As with `head`: no traceback, no message."""
    cli = Cli(redis_jobs)
    for n in range(20):
        told_jobs(redis_jobs, n=n)
    process = cli.start("watch", "-n", "5")
    head = subprocess.run(["head", "-n", "2"], stdin=process.stdout, capture_output=True, text=True, check=True)
    process.stdout.close()
    assert len(head.stdout.splitlines()) == 2
    for n in range(20):
        if process.poll() is not None:
            break
        told_jobs(redis_jobs, n=n)
        time.sleep(0.2)
    assert process.wait(20) in (0, 1)
    assert process.stderr.read() == ""


def test_on_a_terminal(redis_jobs):
    """Lines are coloured, and fit."""
    told_jobs(redis_jobs, message="x" * 250)
    master, slave = pty.openpty()
    process = Cli(redis_jobs, COLUMNS="80", TERM="xterm").start("watch", stdout=slave, stderr=subprocess.DEVNULL)
    os.close(slave)
    text = b""
    try:
        while b"\n" not in text and select.select([master], [], [], 20)[0]:
            text += os.read(master, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b"\x1b[33m" in text
    plain = text.replace(b"\x1b[33m", b"").replace(b"\x1b[0m", b"").decode().splitlines()[0]
    assert len(plain) == 80


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--what", "nothing"), "--what: expected some of retry"),
        (("--error-type", "nothing"), "--error-type: expected some of"),
        (("--since", "yesterday-ish"), "--since: expected"),
    ],
)
def test_what_makes_no_sense(redis_jobs, words, says):
    """Is refused, with what would."""
    ended = Cli(redis_jobs)("watch", *words, code=2)
    assert says in ended.errors


def test_no_redis(redis_jobs):
    """Nothing to watch: said, with the code of every command for it."""
    ended = Cli(redis_jobs)("watch", env={"JOBS_LEDGER": NOWHERE}, code=3)
    assert "Redis is away" in ended.errors


def test_sums(redis_jobs, capsys):
    """What was counted in the minute before, of the tasks that were chosen, and the circuits that are open."""
    from celery_recovery.cli.output import Output
    from celery_recovery.cli.watching import Chosen, _Watch

    recovery = Recovery.of(redis_jobs.app)
    now = time.time()
    labels = json.dumps(("shop.charge", "network", "dead_letter"))
    other = json.dumps(("mail.send", "network", "retry"))
    minute = recovery.keys.rates(int(now) // 60 * 60 - 60)
    redis.Redis.from_url(redis_jobs.ledger_url).hset(minute, mapping={labels: 3, other: 9})
    watched = _Watch(recovery, Output(), Chosen(tasks=("shop.*",)))
    watched._sums_at = 0
    watched._tell_sums()
    said = capsys.readouterr().err
    assert "3 failures, 0 recoveries, 3 dead letters; open circuits: none" in said
    watched._tell_sums()
    assert capsys.readouterr().err == ""  # not before the next minute
    assert watched._sums_at > now
