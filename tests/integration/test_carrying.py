"""Letters as lines: carried to another machine, and run there."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from celery_recovery.dead_letters.carrying import line_of, read_line
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.replay import NOT_REPLAYABLE
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import Redactor
from tests.integration.jobs_client import Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_operations import fill, states
from tests.letters import body, headers, letter

pytestmark = pytest.mark.redis
HIDE = Redactor()


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def test_there_and_back(here, tmp_path):
    """Exported, wiped, imported, replayed: it runs, with its past."""
    ids = fill(here.jobs, 3)
    file = tmp_path / "letters.jsonl"
    told = here("dlq", "export", "-o", str(file), "--with-secrets")
    assert "3 letters exported" in told.errors
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    before = here.jobs.dead_letters.get(ids[0])
    here.jobs.dead_letters.store.client.flushdb()
    assert "3 letters would be imported" in here("dlq", "import", str(file), "--dry-run").output
    assert states(here.jobs) == {}
    assert json.loads(here("dlq", "import", str(file), "--yes", "--json").output)["done"] == 3
    after = here.jobs.dead_letters.get(ids[0])
    assert (after.error, after.attempts, after.body) == (before.error, before.attempts, before.body)
    assert "0 of 3 letters imported. The others are known." in here("dlq", "import", str(file), "--yes").output
    here.jobs.worker()
    here("dlq", "replay", "--all", "--yes")
    eventually(lambda: states(here.jobs) == {"recovered": 3})
    assert all(len(here.jobs.ledger.lines(one)) == 1 for one in ids)
    actions = [one["action"] for one in json.loads(here("audit", "--json").output)["entries"]]
    assert actions.count("import") == 4


def test_without_secrets(here, tmp_path):
    """What looks like a secret is nowhere in an export, unless it was asked for."""
    secret = replace(
        letter("s", message="login failed: password=hunter2"),
        body=body(7, password="hunter2", card={"card_number": "4111", "cvv": 1}),
        headers={**letter("s").headers, "authorization": "Bearer hunter2", "kwargsrepr": "{'password': 'hunter2'}"},
    )
    here.jobs.dead_letters.store.add(secret)
    text = here("dlq", "export").output
    assert "hunter2" not in text
    assert read_line(text).arguments == ([7], {"password": "***", "card": {"card_number": "***", "cvv": "***"}})
    whole = here("dlq", "export", "--with-secrets").output
    assert read_line(whole).arguments[1]["password"] == "hunter2"
    file = tmp_path / "x.jsonl"
    file.write_text(text)
    here.jobs.dead_letters.store.client.flushdb()
    assert "1 of 1 letter came without secrets" in here("dlq", "import", str(file), "--yes").errors
    told = here.json("dlq", "replay", "s", "--yes", code=5)
    assert (told["published"], list(told["skipped"])) == (0, [NOT_REPLAYABLE])


def test_hint_of_what_is_left(here, tmp_path):
    """What the hint of a redacted import promises is so."""
    here.jobs.dead_letters.store.add(letter("s", body=body(7, password="hunter2")))
    bare, whole = tmp_path / "bare.jsonl", tmp_path / "whole.jsonl"
    here("dlq", "export", "-o", str(bare))
    here("dlq", "export", "-o", str(whole), "--with-secrets")
    here.jobs.dead_letters.store.client.flushdb()
    hint = here("dlq", "import", str(bare), "--yes").errors
    assert "replayed before `dlq edit` has put values in their place. Once they are here, an export" in hint
    known = "0 of 1 letter imported. The others are known."
    assert known in here("dlq", "import", str(whole), "--yes").output
    here("dlq", "discard", "s", "--yes")
    assert known in here("dlq", "import", str(whole), "--yes").output


@pytest.mark.parametrize("before", [None, "precious\n"])
def test_nothing_matches(here, tmp_path, before):
    """An export of nothing touches no file, makes none, and is no export in the audit."""
    fill(here.jobs, 1)
    file = tmp_path / "kept.jsonl"
    if before is not None:
        file.write_text(before)
    assert "No dead letter matches" in here("dlq", "export", "--task", "nosuch", "-o", str(file), code=1).errors
    assert (file.read_text() if file.exists() else None) == before
    assert [one.name for one in tmp_path.iterdir()] == ([] if before is None else ["kept.jsonl"])
    assert here.json("audit", "--action", "export") == {"entries": []}


def test_what_had_no_secrets_is_whole(here, tmp_path):
    """A letter in which nothing was hidden runs where it is imported; one whose secrets an edit has put back, too."""
    secret = letter("secret", body=body(7, password="hunter2"))
    here.jobs.dead_letters.store.add_many([letter("plain", body=body(7, order=8)), secret])
    file = tmp_path / "x.jsonl"
    here("dlq", "export", "-o", str(file))
    here.jobs.dead_letters.store.client.flushdb()
    here("dlq", "import", str(file), "--yes")
    assert {one.id: one.redacted for one in here.jobs.dead_letters.list()} == {"plain": False, "secret": True}
    assert here.json("dlq", "replay", "--all", "--yes", code=5)["published"] == 1
    here("dlq", "edit", "secret", "--set", "kwargs.password=again", "--no-validate", "--yes")
    assert not here.jobs.dead_letters.get("secret").lacks_secrets


def test_positional_secrets(here):
    """What the worker marked, and what the signature says, is hidden in the body and in Celery's text of it."""
    marked = letter(
        "m", "not.known.here", body=body(7, "hunter2"), secret_args=[1], extra={"argsrepr": "(7, 'hunter2')"}
    )
    text = line_of(marked, HIDE)
    assert "hunter2" not in text + base64.b64decode(json.loads(text)["message"]["body"]).decode()
    assert read_line(text).secret_args == (1,)
    assert read_line(text).lacks_secrets


def test_what_is_too_large_is_left_out():
    """A body that cannot be looked through whole is not carried in part."""
    long = letter("long", body=body("x" * 200_000))
    assert not read_line(line_of(long, HIDE)).is_replayable
    assert read_line(line_of(long, None)).body == long.body


def test_pickle():
    """A body that is no JSON is left out of an export without secrets; with them it is carried, unread."""
    one = replace(letter("p"), body=b"\x80\x04\x95boom", content_type="application/x-python-serialize")
    assert not read_line(line_of(one, HIDE)).is_replayable
    assert read_line(line_of(one, None)).body == one.body


@pytest.mark.parametrize(
    "line",
    ["", "null", "{", "[]", "{}", '{"celery_recovery": 2, "message": {}}', '{"celery_recovery": 1}',
     "[" * 100_000],
)  # fmt: skip
def test_no_line(line):
    """What is no line of an export is refused."""
    with pytest.raises(ConfigurationError, match="line: expected"):
        read_line(line)


def line_with(path: str, value: object) -> str:
    """A line of an export in which one field is another; the path leads there from `message`."""
    told = json.loads(line_of(letter("x"), None))
    *way, last = path.split(".")
    place = told["message"]
    for name in way:
        place = place[name]
    place[last] = value
    return json.dumps(told)


def nested(levels: int) -> object:
    return {"a": nested(levels - 1)} if levels else 1


NO_FIELD = [
    *((name, value) for name in ("died_at", "first_failure", "about.error.timestamp")
      for value in (math.nan, math.inf, -math.inf, 10**400, 1e15, True, "1", None, [1])),
    *((name, value) for name in ("replays", "about.attempt", "about.deferrals")
      for value in (-1, 10**30, 1.5, math.nan, True, "1", None)),
    *((name, value) for name in ("id", "task", "reason", "content_type", "about.detail", "about.worker",
                                 "about.error.fingerprint", "about.error.message", "about.origin.exchange")
      for value in ("a\ud800b", 1, None, ["x"])),
    ("id", ""), ("body", "?"), ("body", 1), ("headers", [1]), ("headers", nested(300)), ("properties", None),
    ("held", 1), ("about", None), ("about", [1]), ("about.raw", [1]), ("about.batch", "x"),
    ("about.attempts", ["x", 5]), ("about.attempts", [{"at": math.nan}]),
    ("about.attempts", [{"n": [math.nan]}]), ("about.attempts", {"a": 1}),
    ("about.replay", [1]), ("about.replay", {"token": 1}), ("about.replay", {"number": 10**400}),
    ("about.chords", [{"a": 1}]), ("about.chords", "x"), ("about.secret_args", [True]), ("about.unserialisable", 1),
    ("about.origin", None), ("about.origin.queue", 1), ("about.origin.priority", 1.5), ("about.error", None),
    ("about.error.error_type", "odd"), ("about.error.severity", 1), ("about.error.retry_after", math.inf),
    ("about.error.is_retryable", "no"), ("about.error.frames", [["f", "1", "g"]]), ("about.error.frames", [1]),
    ("about.error.class_chain", [1]), ("about.error.context", {"a": math.nan}), ("about.error.context", {"\ud800": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), NO_FIELD)
def test_no_field(path, value):
    """A field that is not of its type is named, with what was expected and what was there."""
    with pytest.raises(ConfigurationError, match=rf"^message\.{path}: expected .+, got ") as raised:
        read_line(line_with(path, value))
    assert raised.value.expected
    assert str(raised.value).encode()


def test_a_missing_field():
    told = json.loads(line_of(letter("x"), None))
    del told["message"]["about"]["origin"]
    with pytest.raises(ConfigurationError, match=r"message\.about\.origin: expected an object.*, got 'nothing'"):
        read_line(json.dumps(told))


def test_a_strange_message_there_and_back(here):
    """What the intake makes of odd headers can be carried, whatever they hold."""
    message = headers("s", detail="lone \ud800", worker="w\ud800", extra={"odd": math.nan, "more": "\ud800"})
    message["recovery"]["attempts"] = [{"n": math.nan, "at": [1], "message": "\ud800"}, "x"]
    message["recovery"]["letter"]["error"] |= {"message": "\ud800", "retry_after": math.inf, "context": {"a": {"b": 1}}}
    store = here.jobs.dead_letters.store
    store.add(Letter.from_message(body(7), message))
    one = store.get("s")
    for redact in (None, HIDE):
        back = read_line(line_of(one, redact))
        assert (back.error, back.attempts, back.detail) == (one.error, one.attempts, one.detail)
        assert back.headers["more"] == "\ud800"


@pytest.mark.parametrize("path", ["died_at", "about.raw", "id"])
def test_nothing_of_a_bad_file_is_stored(here, tmp_path, path):
    """The good lines before a bad one are not stored, and the file may be mended and imported."""
    bad = line_with(path, {"died_at": math.nan, "about.raw": [1], "id": "a\ud800"}[path])
    file = tmp_path / "bad.jsonl"
    file.write_text(f"{line_of(letter('y'), None)}\n{bad}\n")
    told = here("dlq", "import", str(file), "--yes", code=2).errors
    assert f"bad.jsonl, line 2: message.{path}: expected" in told
    assert states(here.jobs) == {}
    assert here.jobs.dead_letters.store.get("x") is None
    file.write_text(line_of(letter("x"), None))
    here("dlq", "import", str(file), "--yes")
    assert states(here.jobs) == {"failed": 1}


def test_refused_as_a_whole(here, tmp_path):
    """A file with one bad line stores nothing, and names the line."""
    fill(here.jobs, 2)
    file = tmp_path / "bad.jsonl"
    file.write_text(here("dlq", "export", "--with-secrets").output + '{"no": "letter"}\n')
    here.jobs.dead_letters.store.client.flushdb()
    assert "bad.jsonl, line 3: expected" in here("dlq", "import", str(file), "--yes", code=2).errors
    assert states(here.jobs) == {}
    here("dlq", "import", str(tmp_path / "none"), "--yes", code=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here: a full disk cannot be had")
def test_disk_full(here, tmp_path):
    """A disk that is full is a sentence, and leaves no half of a file."""
    fill(here.jobs, 50)
    target = tmp_path / "out.jsonl"
    Path(f"{target}.part").symlink_to("/dev/full")
    assert "--output: expected a file that can be written" in here("dlq", "export", "-o", str(target), code=2).errors
    assert not target.exists()
    here("dlq", "export", "-o", str(tmp_path / "no" / "where"), code=2)
    here("dlq", "export", "--task", "nobody", code=1)
