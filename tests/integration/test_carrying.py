"""Letters as lines: carried to another machine, and run there."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from celery_recovery.dead_letters.carrying import line_of, read_line
from celery_recovery.dead_letters.replay import NOT_REPLAYABLE
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import Redactor
from tests.integration.jobs_client import Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_operations import fill, states
from tests.letters import body, letter

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
    ["", "null", "{", "[]", "{}", '{"celery_recovery": 2, "message": {}}', '{"celery_recovery": 1, "message": null}',
     '{"celery_recovery": 1, "message": {"id": 1}}'],
)  # fmt: skip
def test_no_line(line):
    """What is no line of an export is refused."""
    with pytest.raises(ConfigurationError, match="line: expected"):
        read_line(line)


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
