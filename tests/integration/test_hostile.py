"""What strangers put into tasks, seen through everything that shows it: it is text, it is short, and it comes soon."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_recovery import Filter, Recovery
from celery_recovery.checkpoint import Run
from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.dead_letters.intake import drain
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.logs import Redacting
from tests.hostile import (
    ADVERSARIAL,
    HOSTILE,
    HUGE,
    SECRET,
    SECRETS,
    active_content,
    controls,
    deep,
    pickle_bombs,
)  # fmt: skip
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_flower import PAGES, Browser, Start, start
from tests.integration.test_parking_cli import park
from tests.letters import body, headers, letter

__all__ = ("start",)

pytestmark = pytest.mark.redis

#: Seconds that a page or a command may take because of one letter, on a machine that does other things as well.
SOON = 4.0


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def hostile_letter(name: str, number: int) -> Letter:
    """One whose every field is hostile."""
    text = HOSTILE[name]
    return letter(
        f"{number}{text}",
        f"{text}.task",
        body=body(text, {text: text}, **{text: [text], "password": f"{text}{SECRET}"}),
        message=f"{text} password={SECRET}",
        exception=f"{text}.{text}",
        fingerprint=f"1:{number:02}{text}",
        queue=text,
        worker=text,
        code_version=text,
        detail=text,
        attempts=[{"n": text, "at": text, "error_type": text, "exception": text, "message": text, "worker": text}],
        extra={
            text: text,
            "argsrepr": f"({text!r},)",
            "kwargsrepr": text,
            "root_id": text,
            "parent_id": text,
            "group": text,
        },
    )


def raw_letter(name: str, number: int) -> Letter:
    """One of a message that never became a task."""
    text = HOSTILE[name]
    about = {
        "id": f"raw{number}",
        "task": text,
        "raw": {"protocol": 2, "properties": {text: text}},
        "reason": "malformed",
    }
    return Letter.from_message(
        text.encode("utf-8", "replace"), {text: text, "recovery": {"letter": about}}, {text: text}, text, text
    )


def fill(jobs: Jobs) -> dict[str, str]:
    """Letters, parked tasks, circuits, checkpoints, operations, notes, groups; returns names of some of each."""
    made = Recovery.of(jobs.app)
    letters = made.dead_letters
    kept = [make(name, n) for n, name in enumerate(HOSTILE) for make in (hostile_letter, raw_letter)]
    letters.store.add_many(kept)
    assert made.checkpoints is not None
    for n, text in enumerate(HOSTILE.values()):
        park(jobs, f"p{n}{text}", task=text, queue=text, reason=text, worker=text, error=text, circuit=f"c{n}",
             headers={"id": text, "task": text, "argsrepr": text})  # fmt: skip
        safe = text.encode("utf-8", "replace").decode()
        with contextlib.suppress(ConfigurationError):
            made.circuits.set(safe, CircuitEvent.FORCE_OPEN, by=safe, reason=safe)
        fence, _ = made.checkpoints.open(f"key:{n}{safe}", Run(safe, f"t{n}"))
        made.checkpoints.save(f"key:{n}{safe}", fence, json.dumps({text: text}).encode())
        letters.annotate([kept[2 * n].id], safe, by=safe)
        letters.discard(Filter(task=("nobody", safe), args={safe: safe}), reason=safe, by=safe)
    some = letters.list(Filter(text="7919*104729"), limit=1)[0]
    letters.send_to_review([some.id], reason=HOSTILE["script"], by=HOSTILE["colours"])
    group = letters.groups()[0].fingerprint
    letters.resolve_group(group, note=HOSTILE["script"], by=HOSTILE["title"], version=HOSTILE["c1"])
    return {"letter": some.id, "group": group, "operation": letters.operations.latest(1)[0].id}


def test_no_command_lets_anything_act(here: Here) -> None:
    """On a terminal, wide or narrow, and as JSON: no control character but line ends, and no secret, from anywhere."""
    some = fill(here.jobs)
    ids = [one.id for one in here.jobs.dead_letters.list(limit=200)]
    made = Recovery.of(here.jobs.app)
    assert made.checkpoints is not None
    names = list(made.checkpoints.names())
    commands: list[tuple[list[str], str]] = [
        *((words.split(), "") for words in (
            "status", "dlq list -n 200", "dlq stats", "dlq stats --state failed", "dlq groups -n 100", "audit -n 500",
            "operations list", "parked list -n 100", "circuits list", "checkpoints list --all", "report --since 1h",
            f"operations show {some['operation']}", "dlq replay --all --dry-run", "parked release --all --dry-run",
        )),
        *((["dlq", "show"], one) for one in ids), *((["checkpoints", "show"], one) for one in names),
        *((["dlq", "group"], one.fingerprint) for one in here.jobs.dead_letters.groups(100) if one.fingerprint),
        *((["circuits", "show"], one) for one in made.circuits.names()),
    ]  # fmt: skip
    for words, name in commands:
        named = ["--", name] if name else []
        for columns in (40, 1000):
            told = here(*words, *named, columns=columns)
            assert controls(told.output + told.errors) == set(), (words, name)
            assert SECRET not in told.output + told.errors, (words, name)
        if words[0] != "report":
            document = here(*words, "--json", *named).output
            json.loads(document)
            assert controls(document) == set(), (words, name)
            assert SECRET not in document, (words, name)
    for words in (
        ["audit", "--export"], ["report", "--format", "html"], ["report", "--format", "json"], ["metrics", "--once"],
    ):  # fmt: skip
        told = here(*words)
        assert controls(told.output + told.errors) == set(), words
        assert SECRET not in told.output, words
        assert "html" not in words or active_content(told.output) == []


def test_no_refusal_lets_anything_act(here: Here) -> None:
    """What a command says of an id, a name, a filter or a file that it cannot take."""
    for hostile in HOSTILE.values():
        text = hostile.replace("\x00", "").encode("utf-8", "replace").decode()
        for words in (
            ["dlq", "show", text], ["dlq", "group", text], ["operations", "show", text], ["circuits", "show", text],
            ["checkpoints", "show", text], ["dlq", "list", "--state", text], ["dlq", "list", "--since", text],
            ["dlq", "discard", f"id{text}", "--yes"], ["dlq", "import", text, "--yes"],
            ["dlq", "list", "--cursor", text],
            ["parked", "discard", f"id{text}", "--yes"], ["circuits", "close", f"x{text}", "--yes"],
            ["dlq", "replay", "--all", "--yes", "--to-queue", text], ["dlq", "edit", "x", "--set", text],
        ):  # fmt: skip
            told = here(*words, code=None)
            assert told.code in (0, 1, 2, 4), (words, told)
            assert controls(told.output + told.errors) == set(), (words, told)


def test_no_page_lets_anything_act(redis_jobs: Jobs, start: Start) -> None:
    """No script, handler, load or link of a stranger's in any page of Flower; nothing that moves text about."""
    some = fill(redis_jobs)
    browser = start()
    letters = redis_jobs.dead_letters
    for page in _pages(browser, redis_jobs, some):
        assert page.code == 200, (page.url, page.text[-2000:])
        assert active_content(page.text) == [], page.url
        assert controls(page.text) == set(), page.url
        assert SECRET not in page.text, page.url
    operation = browser.get("/operation.json", id=some["operation"])
    assert operation.headers["Content-Type"].startswith("application/json")
    assert controls(operation.text) == set()
    assert letters.get(some["letter"]).state.value == "review", "looking and asking changed nothing"


def _pages(browser: Browser, jobs: Jobs, some: dict[str, str]) -> Iterator[Any]:
    letters = jobs.dead_letters
    yield from (browser.get(path) for path in (*PAGES, "/report"))
    for one in letters.list(limit=200):
        yield browser.get("/letter", id=one.id)
        yield browser.post("/confirm", verb="discard", id=one.id)
    for group in letters.groups(100):
        yield browser.get("/group", fingerprint=group.fingerprint)
        yield browser.post("/confirm", verb="resolve", target=group.fingerprint)
    for name in Recovery.of(jobs.app).circuits.names():
        yield browser.get("/circuit", name=name)
        yield browser.post("/confirm", verb="open-circuit", target=name)
    for text in HOSTILE.values():
        safe = text.encode("utf-8", "replace").decode()
        yield browser.get("/letters", text=safe, task=safe, queue=safe, exception=safe, assignee=safe)
        yield browser.get("/circuit", name=safe)
        yield browser.get("/parked", task=safe, circuit=safe)
        yield browser.post("/confirm", verb="discard", where=f"task={safe.replace('&', '')}", all="1")
    yield browser.get("/operation", id=some["operation"])


def test_a_real_browser_finds_nothing_to_run(redis_jobs: Jobs, start: Start, tmp_path: Path) -> None:
    """Chromium parses the pages as no library does: what it has made of them holds no element of a stranger's."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
            pytest.fail("a required browser is missing: chromium")
        pytest.skip("no chromium on the PATH (Debian: apt-get install chromium)")
    fill(redis_jobs)
    port = start().base.rpartition(":")[2]
    ids = {
        name: redis_jobs.dead_letters.list(Filter(text=HOSTILE[name]), limit=1)[0].id for name in ("script", "comment")
    }
    pictures = Path(os.environ.get("FLOWER_SCREENSHOTS", tmp_path))
    for name, path in (
        ("letters", "/letters"), ("parked", "/parked"),
        *((name, f"/letter?{urllib.parse.urlencode({'id': one})}") for name, one in ids.items()),
    ):  # fmt: skip
        address = f"http://anna:secret@127.0.0.1:{port}/recovery{path}"
        common = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                  f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,1600"]  # fmt: skip
        seen = subprocess.run(
            [*common, "--virtual-time-budget=3000", "--dump-dom", address], check=True, timeout=90, capture_output=True
        ).stdout.decode()
        assert "pwned" in seen, "it is shown"
        assert active_content(seen) == [], path
        picture = pictures / f"hostile-{name}.png"
        subprocess.run([*common, f"--screenshot={picture}", address], check=True, timeout=90, capture_output=True)
        assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["message", "body", "names", "bodies"])
def test_ten_megabytes_hold_nobody_up(redis_jobs: Jobs, here: Here, start: Start, name: str) -> None:
    """In a message, in one body, in the names, in two hundred bodies of one group."""
    letters = redis_jobs.dead_letters
    noise = base64.b64encode(Path("/dev/urandom").open("rb").read(7_500_000)).decode()  # noqa: SIM115
    made = {
        "message": lambda: [letter("big", message=HUGE, exception=HUGE, worker=HUGE, attempts=[{"message": HUGE}] * 3)],
        "body": lambda: [letter("big", body=body(noise, HUGE))],
        "names": lambda: [letter("big", f"t{HUGE}", queue=f"q{HUGE}", extra={"root_id": HUGE, "argsrepr": HUGE})],
        "bodies": lambda: [letter(f"big{n or ''}", body=body(HUGE[:9_000_000], n)) for n in range(200)],
    }[name]()
    for one in made:
        letters.store.add(one)
    group = letters.groups()[0].fingerprint
    browser = start()
    browser.get("/letters")
    took = {}
    for path, query in (
        *((path, {}) for path in PAGES), ("/letter", {"id": "big"}), ("/group", {"fingerprint": group}),
    ):  # fmt: skip
        begun = time.monotonic()
        page = browser.get(path, **query)
        took[path] = time.monotonic() - begun
        assert page.code == 200, page.text[-3000:]
        assert len(page.text) < 1_000_000
    for words in (["dlq", "list"], ["dlq", "show", "big"], ["dlq", "group", group], ["dlq", "groups"], ["status"]):
        begun = time.monotonic()
        told = here(*words, columns=100)
        took[" ".join(words[:2])] = time.monotonic() - begun
        assert len(told.output) < 1_000_000
    assert max(took.values()) < SOON, took


def test_texts_made_to_hang_a_search_hold_nobody_up(redis_jobs: Jobs, here: Here, start: Start) -> None:
    """Each as message, argument and detail of a letter, all on one page."""
    letters = [
        letter(f"a{n}", message=text, detail=text, body=body(text, key=text), fingerprint=f"1:{n}")
        for n, text in enumerate(ADVERSARIAL.values())
    ]
    redis_jobs.dead_letters.store.add_many(letters)
    browser = start()
    browser.get("/letters")
    took = {}
    for path, query in (("", {}), ("/letters", {}), ("/groups", {}), *(("/letter", {"id": one.id}) for one in letters)):
        begun = time.monotonic()
        assert browser.get(path, **query).code == 200
        took[f"{path} {query}"] = time.monotonic() - begun
    begun = time.monotonic()
    here("dlq", "list")
    took["list"] = time.monotonic() - begun
    assert max(took.values()) < SOON, took


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param({"body": deep()}, id="nested so deep that no one can read it"),
        pytest.param({"body": deep(400)}, id="nested so deep that it can just be read"),
        pytest.param({"body": body().replace(b"[[]", b"[[" + b"9" * 5000 + b"]")}, id="an integer of 5000 digits"),
        pytest.param(
            {"body": b"x", "extra": {"argsrepr": f"({'0x' + 'f' * 9000},)", "kwargsrepr": "{}"}}, id="a long integer"
        ),
        pytest.param({"body": body().replace(b"[[]", b"[[NaN, Infinity, -Infinity]")}, id="no numbers"),
        pytest.param({"body": b"\xff\xfe\x00", "content_type": "application/json"}, id="no UTF-8"),
        pytest.param({"extra": {"argsrepr": {"a": [1]}, "kwargsrepr": 7, "group": ["x"], "root_id": {}}}, id="no text"),
        pytest.param({"attempts": [{"n": 10**40, "at": "x", "delay": {}, "runtime": True, 7: 8}]}, id="no attempts"),
        pytest.param(
            {"extra": {"argsrepr": "({b'x': (1,), (1, 2): {3}},)", "kwargsrepr": "{}"}, "body": b""}, id="no JSON"
        ),
    ],
)  # fmt: skip
def test_strange_data_is_shown(here: Here, start: Start, strange: dict[str, Any]) -> None:
    """Three letters of it, so that a group looks for what they have in common."""
    letters = here.jobs.dead_letters
    letters.store.add_many([letter(f"s{n}", **strange) for n in range(3)])
    group = letters.groups()[0].fingerprint
    for words in (
        ["dlq", "show", "s1"], ["dlq", "list", "--text", "x"], ["dlq", "list", "--arg", "0=7"], ["dlq", "group", group],
        ["dlq", "stats"],
    ):  # fmt: skip
        here(*words, code=None)
        told = here(*words, "--json", code=None)
        if told.output:
            json.loads(told.output, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    line = here("dlq", "export", "--id", "s1").output
    json.loads(line)
    browser = start()
    for path, query in (("/letters", {}), ("/letter", {"id": "s1"}), ("/group", {"fingerprint": group})):
        assert browser.get(path, **query).code == 200, path


@pytest.mark.parametrize(
    "header",
    [
        {"replay": {"token": {"a": 1}, "copy": [1], "operation": True, "number": "x"}}, {"worker": {"a": 1}},
        {"replay": {"token": "\ud800", "copy": "\ud800", "operation": "\ud800"}, "message": "\ud800"},
        {"exception": "\ud800", "fingerprint": "\ud800", "queue": "\ud800", "worker": "\ud800", "reason": "\ud800"},
        {"code_version": [1], "chords": [{"a": 1}, None], "attempt": 10**30, "died_at": "x", "held": {}},
        {"reason": {"x": [1]}, "replays": -(10**14), "detail": [1], "priority": {"a": 1}, "first_failure": {"a": 1}},
        {"fingerprint": {"a": 1}, "message": {"a": 1}, "exception": [1], "queue": {"a": 1}, "secret_args": {"a": -1}},
    ],
    ids=range(7),
)  # fmt: skip
def test_no_letter_holds_up_the_others(here: Here, header: dict[str, Any]) -> None:
    """Whatever stands in the headers of one that waits, it and the one behind it are taken in, and shown."""
    made = Recovery.of(here.jobs.app)
    for name, changes in (("\ud800bad", header), ("good", {})):
        made.publisher.publish_raw_letter(
            made.dead_letter_queue, body(7), headers=headers(name, **changes), properties={},
            content_type="application/json", content_encoding="utf-8",
        )  # fmt: skip
    assert here.json("status")["drained"] == 2
    assert {one.id for one in made.dead_letters.list()} == {"?bad", "good"}
    here("dlq", "show", "?bad")
    here("dlq", "replay", "?bad", "--yes", code=None)


def test_nothing_unpickles(redis_jobs: Jobs, here: Here, start: Start, tmp_path: Path) -> None:
    """Bodies that would make a file: taken in, listed, shown, searched, exported, imported, edited, discarded."""
    trap = tmp_path / "sprung"
    made = Recovery.of(redis_jobs.app)
    letters = made.dead_letters
    kinds = ("application/x-python-serialize", "application/json", "application/data", "text/plain", "pickle")
    for n, bomb in enumerate(pickle_bombs(trap)):
        for m, kind in enumerate(kinds):
            name = f"bomb{n}-{m}"
            waiting = {**headers(name, f"{MODULE}.fine"), "argsrepr": bomb.decode("latin-1"), "kwargsrepr": "{}"}
            made.publisher.publish_raw_letter(
                made.dead_letter_queue, bomb, headers=waiting, properties={}, content_type=kind,
                content_encoding="binary",
            )  # fmt: skip
            letters.store.add(letter(f"held{name}", body=bomb, content_type=kind, held=True, chords=["g"]))
            park(redis_jobs, f"parked{name}", body=bomb, content_type=kind, content_encoding="binary")
    assert drain(redis_jobs.app, made.dead_letter_queue, letters.store) == 7 * len(kinds)
    ids = [one.id for one in letters.list(limit=200)]
    group = letters.groups()[0].fingerprint
    for words in (
        ["status"], ["dlq", "list", "--text", "touch", "--arg", "0=7"], ["dlq", "list", "-n", "200"], ["dlq", "stats"],
        ["dlq", "group", group], ["parked", "list"], *(["dlq", "show", one] for one in ids),
    ):  # fmt: skip
        here(*words, code=None)
        here(*words, "--json", code=None)
    file = tmp_path / "export.jsonl"
    here("dlq", "export", "-o", str(file), "--with-secrets")
    here("dlq", "export")
    here("dlq", "import", str(file), "--yes")
    here("dlq", "edit", "--all", "--set", "args.0=x", "--yes", "--no-validate", code=None)
    browser = start()
    for path in PAGES:
        assert browser.get(path).code == 200
    for one in ids:
        assert browser.get("/letter", id=one).code == 200
    assert browser.get("/group", fingerprint=group).code == 200
    here("dlq", "discard", "--all", "--yes", code=None)
    here("parked", "discard", "--all", "--yes", code=None)
    assert not trap.exists()


def test_a_worker_that_takes_json_alone_keeps_a_pickle_unread(redis_jobs: Jobs, tmp_path: Path) -> None:
    """As a message of a task: refused at the door, kept as a letter, never loaded."""
    trap = tmp_path / "sprung"
    redis_jobs.conf["accept_content"] = ["json"]
    redis_jobs.worker()
    with redis_jobs.app.connection_for_write() as connection, connection.Producer() as producer:
        for n, bomb in enumerate(pickle_bombs(trap)):
            producer.publish(
                bomb, routing_key="celery", content_type="application/x-python-serialize", content_encoding="binary",
                headers={"id": f"b{n}", "task": f"{MODULE}.fine", "lang": "py", "argsrepr": "()", "kwargsrepr": "{}"},
            )  # fmt: skip
    eventually(lambda: redis_jobs.letters() == 7, what="seven letters")
    assert {one.reason for one in redis_jobs.dead_letters.list()} == {"malformed"}
    assert not trap.exists()


def test_what_a_worker_logs_is_without_secrets(redis_jobs: Jobs) -> None:
    """By built-in names and by a team's own values, in our lines; on one line each, whatever the exception says."""
    redis_jobs.conf["recovery_redact_values"] = ["KN-\\d{4}"]
    worker = redis_jobs.worker(module="tests.apps.leaky")
    cases = [case for case in SECRETS if "\n" not in case.text][:40]
    forged = "customer KN-1234\x1b[2J\n2026-01-31 00:00:00,000: ERROR forged"
    for text in (*(case.text for case in cases), forged):
        redis_jobs.send("tests.apps.leaky.say", text)
    eventually(lambda: redis_jobs.letters() == len(cases) + 1, timeout=60, what="all letters")
    ours = [line for line in worker.log.splitlines() if "attempt 1/1: dead_letter" in line]
    assert len(ours) == len(cases) + 1
    assert not [(line, case) for line in ours for case in cases if case.secret in line]
    assert not [line for line in ours if "KN-1234" in line or "\x1b" in line]
    assert [line for line in ours if "ERROR forged" in line], "it is told on the same line"


def test_a_positional_secret_is_known_by_its_parameter(here: Here) -> None:
    """The worker notes which arguments are secret by their names; tools need not know the task."""
    here.jobs.worker(module="tests.apps.leaky")
    one = here.jobs.send("tests.apps.leaky.charge", 7, SECRET).id
    kept = here.jobs.letter(one)
    assert kept.secret_args == (1,)
    assert kept.arguments == ([7, SECRET], {})
    for words in (["dlq", "show", one], ["dlq", "show", one, "--json"], ["dlq", "list", "--json"], ["dlq", "export"]):
        told = here(*words).output
        assert SECRET not in told
        assert base64.b64encode(SECRET.encode()).decode() not in told
    told = here("dlq", "edit", one, "--set", "args.1=other", "--no-validate", "--yes")
    assert "other" not in told.output
    recorded = here("audit", "--export").output
    assert "args.1=***" in recorded
    assert "other" not in recorded + here("operations", "list", "--json").output


class TestLog:
    """The filter of our logger."""

    def logged(self, call: Callable[[logging.Logger], Any]) -> str:
        records: list[str] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                records.append(self.format(record) + json.dumps(record.__dict__, default=repr))

        logger = logging.Logger("apart")  # noqa: LOG001  # of this test alone
        logger.addFilter(Redacting())
        logger.addHandler(Keep())
        call(logger)
        return records[0]

    @pytest.mark.parametrize("case", SECRETS, ids=lambda case: case.text[:40])
    def test_arguments(self, case: Any) -> None:
        """As texts, as exceptions, as fields beside the line."""
        told = self.logged(lambda log: log.error("it failed: %s, %r", ValueError(case.text), case.text))
        assert case.secret not in told
        assert case.secret not in self.logged(lambda log: log.error("it failed", extra={"why": case.text}))

    def test_traceback(self) -> None:
        """With what causes hold, and written out: nobody formats the exception once more."""

        def call(log: logging.Logger) -> None:
            try:
                try:
                    raise KeyError(f"password={SECRET}")
                except KeyError as exc:
                    raise ValueError(f"\x1b[2Jtoken={SECRET}") from exc
            except ValueError:
                log.exception("it failed")

        told = self.logged(call)
        assert SECRET not in told
        assert "\x1b" not in told
        assert "direct cause" in told

    def test_what_cannot_be_shown(self) -> None:
        """A line is never lost over it."""

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError

        assert "a Broken that cannot be shown" in self.logged(lambda log: log.error("it is %s", Broken()))

    def test_a_huge_argument(self) -> None:
        """It is cut."""
        assert len(self.logged(lambda log: log.error("it is %s", HUGE))) < 50_000

    def test_numbers_stay(self) -> None:
        """For `%d`, and for whoever counts them."""
        told = self.logged(lambda log: log.error("%d of %.1f", 7, 8.5, extra={"delay": 1.5}))
        assert told.startswith("7 of 8.5")
        assert re.search(r'"delay": 1.5', told)
