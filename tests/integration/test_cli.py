"""`celery -A app recovery …` as an operator meets it: in processes of its own, on real services."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from celery import chord
from celery.bin.base import CLIContext

from celery_recovery import Filter, LetterState, Recovery
from celery_recovery.cli import recovery
from celery_recovery.dead_letters.letter import Letter
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.letters import body, letter
from tests.services import RedisServer, Worker

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "redis://127.0.0.1:1/0"

pytestmark = pytest.mark.redis


class Cli:
    """The command line of one app. `output` of a call is stdout, `errors` stderr, `code` the exit code."""

    def __init__(self, jobs: Jobs, **env: str) -> None:
        self.jobs = jobs
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")},
            "CELERY_BROKER_URL": jobs.broker,
            "CELERY_RESULT_BACKEND": jobs.backend,
            "JOBS_LEDGER": jobs.ledger_url,
            "JOBS_CONF": json.dumps(jobs.conf),
            "C_FORCE_ROOT": "1",
            "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)),
            **env,
        }

    def start(self, *words: str, app: str | None = MODULE, before: tuple[str, ...] = (), **options: Any) -> Any:
        command = [sys.executable, "-m", "celery", *(("-A", app) if app else ()), *before, "recovery", *words]
        env = {**self.env, **options.pop("env", {})}
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=env, text=True, **{**streams, **options})

    def __call__(self, *words: str, code: int | None = 0, **options: Any) -> Ended:
        process = self.start(*words, **options)
        ended = Ended(*process.communicate(timeout=60), process.returncode)
        assert "Traceback (most recent call last)" not in ended.errors, ended.errors
        assert code is None or ended.code == code, ended
        return ended

    def json(self, *words: str, code: int = 0, **options: Any) -> Any:
        return json.loads(self(*words, "--json", code=code, **options).output)


class Ended(NamedTuple):
    """What a command printed on stdout and stderr, and its exit code."""

    output: str
    errors: str
    code: int


class Here(Cli):
    """The same in this process: quick, for the many ways in which one command can be called."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, code: int | None = 0, columns: int = 1000, **_: Any) -> Ended:
        context = CLIContext(app=self.jobs.app, no_color=False, workdir=None)
        self.capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            with pytest.raises(SystemExit) as end:
                recovery.main(list(words), prog_name="celery recovery", obj=context)
        ended = Ended(*self.capsys.readouterr(), int(end.value.code or 0))
        assert code is None or ended.code == code, ended
        return ended


@pytest.fixture
def cli(redis_jobs: Jobs) -> Cli:
    return Cli(redis_jobs)


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def store_letters(jobs: Jobs, *letters: Letter) -> None:
    store = Recovery.of(jobs.app).store
    assert store is not None
    for first in range(0, len(letters), 500):
        store.add_many(letters[first : first + 500])


def runnable(token: str, **changes: Any) -> Letter:
    """A letter whose replay succeeds and leaves a line in the ledger."""
    changes.setdefault("died_at", time.time())
    plain = {"timelimit": [None, None], "argsrepr": repr((token,)), "kwargsrepr": "{}"}
    return letter(f"id-{token}", f"{MODULE}.fine", body=body(token), extra=plain, **changes)


def waiting(jobs: Jobs, queue: str = "celery") -> int:
    """Messages in a queue of the Redis broker."""
    with redis.Redis.from_url(jobs.broker) as client:
        return int(client.llen(queue))


def states(jobs: Jobs) -> dict[str, int]:
    return {state: count for state, count in jobs.dead_letters.stats().by_state.items() if count}


# -- from end to end


def test_a_failed_task_is_seen_understood_and_put_back(jobs_with: Callable[..., Jobs]) -> None:
    """On both brokers: what still waits in the broker's queue is listed, shown, replayed, and seen to recover."""
    jobs = jobs_with(recovery_intake=False)
    cli = Cli(jobs)
    worker = jobs.worker()
    results = [jobs.send("broken", f"token-{n}") for n in range(3)]
    assert worker.wait_log("dead_letter", count=3)

    status = cli.json("status")
    assert status["drained"] == 3
    assert status["by_state"]["failed"] == 3
    assert status["groups"][0]["count"] == 3
    assert status["groups"][0]["error_type"] == "validation"

    listed = cli.json("dlq", "list", "--task", "*.broken")["letters"]
    assert {one["id"] for one in listed} == {result.id for result in results}
    shown = cli("dlq", "show", results[0].id).output
    assert "quantity must be positive" in shown
    assert f"{MODULE}.broken" in shown

    for n in range(3):
        jobs.ledger.fix(f"token-{n}")
    replayed = cli.json("dlq", "replay", results[0].id, results[1].id, "--yes")
    assert (replayed["selected"], replayed["published"]) == (2, 2)
    eventually(lambda: states(jobs) == {"failed": 1, "recovered": 2}, what="two recoveries")
    assert "succeeded" not in cli("dlq", "list", "--state", "failed").output
    assert "recovered" in cli("dlq", "show", results[0].id).output


def test_status_counts_runs_by_task_and_error_type(cli: Cli) -> None:
    """First tries, recoveries, dead letters, and failures of tasks that are only watched."""
    worker = cli.jobs.worker()
    for name in ("fine", "flaky", "broken", "jobs.plain"):
        cli.jobs.send(name, name)
    assert worker.wait_log("dead_letter")
    assert worker.wait_log("flaky.* succeeded")

    def counted() -> bool:
        """Each child writes its own from time to time: an attempt in one, the recovery in the other."""
        found = Recovery.of(cli.jobs.app).stats.rates(time.time() - 60)
        return sum(one.first_try + one.recovered + one.dead_lettered + one.watched for one in found) == 4

    eventually(counted, what="the ends of four tasks to be counted")
    rates = {(rate["task"], rate["error_type"]): rate for rate in cli.json("status")["rates"]}
    assert rates[f"{MODULE}.fine", ""]["first_try"] == 1
    assert rates[f"{MODULE}.flaky", "network"]["recovered"] == 1
    assert rates[f"{MODULE}.broken", "validation"]["dead_lettered"] == 1
    assert rates["jobs.plain", "network"]["watched"] == 1
    text = cli("status").output
    assert "jobs.plain" in text
    assert "Largest error groups" in text


def test_a_discarded_chord_member_fails_its_chord(cli: Cli) -> None:
    """Discarding a held letter tells its caller."""
    cli.jobs.worker()
    members = [cli.jobs.sig("fine", "other", 1), cli.jobs.sig("broken", "member")]
    result = chord(members, app=cli.jobs.app)(cli.jobs.sig("total", "sum"))
    eventually(lambda: cli.jobs.dead_letters.count(Filter(held=True)) == 1, what="a held letter")
    assert "held" in cli("dlq", "discard", "--held", "--dry-run").output
    assert cli.json("dlq", "discard", "--held", "--yes", "--note", "wrong order")["done"] == 1
    eventually(result.failed, what="the failure of the chord")


# -- choosing


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--task", "shop.*"), {"a", "b"}),
        (("--task", "shop.pay", "--task", "mail.send"), {"a", "c"}),
        (("--error-type", "validation"), {"b"}),
        (("--exception", "*Timeout"), {"a"}),
        (("--fingerprint", "1:c*"), {"c"}),
        (("--queue", "slow"), {"c"}),
        (("--state", "review"), {"c"}),
        (("--reason", "quarantined"), {"b"}),
        (("--id", "a", "--id", "c"), {"a", "c"}),
        (("--since", "90m"), {"a"}),
        (("--until", "90m"), {"b", "c"}),
        (("--since", "1d", "--until", "90m"), {"b"}),
        (("--text", "SNOWED"), {"c"}),
        (("--arg", "order.id=7"), {"b"}),
        (("--arg", "order.id=7", "--arg", "currency=EUR"), {"b"}),
        (("--held",), {"b"}),
        (("--not-held",), {"a", "c"}),
        (("--task", "shop.*", "--error-type", "network"), {"a"}),
    ],
)
def test_every_option_of_the_filter_chooses(here: Here, options: tuple[str, ...], found: set[str]) -> None:
    """Each option reaches the filter; all that are given must hold."""
    hour, now = 3600, time.time()
    order = body(order={"id": 7}, currency="EUR")
    store_letters(
        here.jobs,
        letter("a", "shop.pay", died_at=now - hour, exception="http.client.Timeout"),
        letter("b", "shop.ship", died_at=now - 2 * hour, error_type="validation", reason="quarantined", held=True,
               exception="builtins.ValueError", body=order),
        letter("c", "mail.send", died_at=now - 48 * hour, fingerprint="1:cccc", queue="slow", message="snowed in",
               action="manual_review", exception="builtins.OSError"),
    )  # fmt: skip
    assert {one["id"] for one in here.json("dlq", "list", *options)["letters"]} == found


def test_a_list_goes_on_behind_its_cursor(here: Here) -> None:
    """The hint that a page ends with is a command that prints the next."""
    store_letters(here.jobs, *(letter(f"n{n}", died_at=time.time() - n) for n in range(5)))
    first = here("dlq", "list", "--limit", "2", "--task", "orders.*")
    hint = re.search(r"More: recovery (.*)", first.errors)
    assert hint
    second = here(*shlex.split(hint[1]))
    assert re.findall(r"\bn\d", first.output + second.output) == ["n0", "n1", "n2", "n3"]
    page = here.json("dlq", "list", "--limit", "3")
    rest = here.json("dlq", "list", "--cursor", page["cursor"])
    assert [one["id"] for one in page["letters"] + rest["letters"]] == [f"n{n}" for n in range(5)]
    assert rest["cursor"] is None


def test_a_list_leaves_out_what_is_finished(here: Here) -> None:
    """Unless it is asked for, by state or id."""
    store_letters(here.jobs, letter("open"), letter("done"))
    here("dlq", "discard", "done", "--yes")
    assert [one["id"] for one in here.json("dlq", "list")["letters"]] == ["open"]
    assert [one["id"] for one in here.json("dlq", "list", "--state", "discarded")["letters"]] == ["done"]
    assert [one["state"] for one in here.json("dlq", "list", "--id", "done")["letters"]] == ["discarded"]


def test_stats_count_all_letters_or_those_of_a_filter(here: Here) -> None:
    """The same tables, from the store's counters or from the letters themselves."""
    store_letters(here.jobs, letter("a", "shop.pay"), letter("b", "shop.pay"), letter("c", "mail.send"))
    everything, some = here.json("dlq", "stats"), here.json("dlq", "stats", "--task", "shop.*")
    assert everything["by_task"] == {"shop.pay": 2, "mail.send": 1}
    assert everything["totals"]["added"] == 3
    assert some["by_task"] == {"shop.pay": 2}
    assert some["by_queue"] == {"celery": 2}
    assert "mail.send" in here("dlq", "stats").output


# -- acting


def test_a_dry_run_changes_nothing(here: Here) -> None:
    """It says what would be done, for every action, and does not do it."""
    store_letters(here.jobs, *(runnable(f"t{n}") for n in range(3)))
    for verb in ("replay", "discard", "review"):
        assert "3 letters would be" in here("dlq", verb, "--all", "--dry-run").output
        assert here.json("dlq", verb, "--task", "*.fine", "--dry-run")["by_task"] == {f"{MODULE}.fine": 3}
    assert states(here.jobs) == {"failed": 3}
    assert waiting(here.jobs) == 0


def test_a_dry_run_counts_what_the_action_takes(here: Here) -> None:
    """The command names the same states as the queue does itself when a filter names none."""
    store_letters(here.jobs, *(runnable(f"t{n}") for n in range(6)))
    queue = here.jobs.dead_letters
    queue.send_to_review(["id-t0", "id-t1"])
    queue.discard(["id-t2"])
    queue.store.claim(["id-t3"], "operation")
    actions: dict[str, Callable[..., Any]] = {
        "replay": queue.replay, "discard": queue.discard, "review": queue.send_to_review, "restore": queue.restore,
    }  # fmt: skip
    by_id = Filter(ids=tuple(f"id-t{n}" for n in range(6)))
    for verb, action in actions.items():
        assert here.json("dlq", verb, "--all", "--dry-run")["selected"] == action(Filter(), dry_run=True).selected
        assert here.json("dlq", verb, *by_id.ids, "--dry-run")["selected"] == action(by_id, dry_run=True).selected


def test_letters_are_set_aside_restored_and_discarded(here: Here) -> None:
    """Each action does what it says, notes who and why, and counts."""
    store_letters(here.jobs, *(runnable(f"t{n}") for n in range(3)))
    assert here.json("dlq", "review", "id-t0", "--yes", "--note", "odd")["done"] == 1
    assert here.json("dlq", "discard", "--all", "--yes", "--limit", "1")["done"] == 1
    assert states(here.jobs) == {"failed": 1, "review": 1, "discarded": 1}
    shown = here.json("dlq", "show", "id-t0")
    assert (shown["note"], bool(shown["by"])) == ("odd", True)
    assert here.json("dlq", "restore", "--state", "discarded", "--state", "review", "--yes")["done"] == 2
    assert states(here.jobs) == {"failed": 3}


def test_a_replay_keeps_to_rate_limit_and_queue(here: Here) -> None:
    """`--rate`, `--limit` and `--to-queue` reach the replay; the oldest deaths go first."""
    now = time.time()
    store_letters(here.jobs, *(runnable(f"t{n}", died_at=now - n) for n in range(30)))
    result = here.json("dlq", "replay", "--all", "--yes", "--limit", "20", "--rate", "20", "--to-queue", "calm")
    assert result["published"] == 20
    assert 0.9 <= result["seconds"] <= 2
    assert waiting(here.jobs, "calm") == 20
    assert {one["id"] for one in here.json("dlq", "list", "--state", "failed")["letters"]} == {
        f"id-t{n}" for n in range(10)
    }


def test_a_letter_replayed_too_often_is_left_alone_unless_forced(here: Here) -> None:
    """It is skipped with the reason, and the command ends with code 5."""
    store_letters(here.jobs, runnable("often", replays=10))
    skipped = here.json("dlq", "replay", "id-often", "--yes", code=5)
    assert skipped["skipped"] == {"replayed too often": 1}
    assert here.json("dlq", "replay", "id-often", "--yes", "--force")["published"] == 1


# -- the question


def answered(cli: Cli, answer: str, *words: str) -> Ended:
    """Run a command whose stdin is a terminal, at which somebody types."""
    ours, theirs = pty.openpty()
    process = cli.start(*words, stdin=theirs)
    os.close(theirs)
    os.write(ours, answer.encode())
    try:
        return Ended(*process.communicate(timeout=60), process.returncode)
    finally:
        os.close(ours)


def test_a_question_is_asked_and_the_answer_obeyed(cli: Cli) -> None:
    """First the breakdown, then the question; no: nothing happens; yes: it does."""
    store_letters(cli.jobs, letter("a"), letter("b", error_type="validation"))
    no = answered(cli, "n\n", "dlq", "discard", "--all")
    assert no.code == 6
    assert "Discard 2 letters?" in no.errors
    assert re.search(r"1 +network", no.output)
    assert states(cli.jobs) == {"failed": 2}
    assert answered(cli, "y\n", "dlq", "discard", "--all").code == 0
    assert states(cli.jobs) == {"discarded": 2}


def test_what_dies_after_the_question_is_not_part_of_the_answer(cli: Cli) -> None:
    """The answer is about the letters that were shown."""
    store_letters(cli.jobs, letter("shown", died_at=time.time()))
    ours, theirs = pty.openpty()
    process = cli.start("dlq", "discard", "--all", stdin=theirs)
    assert process.stdout.readline()
    store_letters(cli.jobs, letter("later", died_at=time.time() + 1))
    os.write(ours, b"y\n")
    process.communicate(timeout=60)
    for end in (ours, theirs):
        os.close(end)
    assert [one.id for one in cli.jobs.dead_letters.failed.list()] == ["later"]


def test_nobody_to_ask_is_a_refusal(cli: Cli) -> None:
    """Without a terminal and without --yes nothing is done."""
    store_letters(cli.jobs, letter("a"))
    for verb in ("replay", "discard", "review"):
        assert "--yes" in cli("dlq", verb, "a", code=2).errors
    assert states(cli.jobs) == {"failed": 1}


# -- what goes wrong


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("dlq", "show", "nope"), 4, "There is no dead letter with the id nope."),
        (("dlq", "replay", "a", "nope", "--yes"), 4, "id nope. Nothing was done."),
        (("dlq", "discard", "nope", "--yes"), 4, "Nothing was done."),
        (("dlq", "list", "--task", "nope"), 1, "No dead letter matches the filter."),
        (("dlq", "stats", "--task", "nope"), 1, "No dead letter matches the filter."),
        (("dlq", "replay", "--task", "nope", "--yes"), 1, "No dead letter matches the filter."),
        (("dlq", "replay", "--task", "nope", "--dry-run"), 1, "No dead letter matches the filter."),
        (("dlq", "discard", "--task", "nope", "--yes"), 1, "No dead letter matches the filter."),
        (("dlq", "restore", "a", "--yes"), 1, "Of those named, 1 failed. Nothing was done."),
        (("dlq", "restore", "--all", "--yes"), 0, "There is nothing to do."),
        (("dlq", "replay", "--yes"), 2, "replay needs ids or a filter"),
        (("dlq", "discard", "--yes"), 2, "discard needs ids or a filter"),
        (("dlq", "list", "--since", "yesterday"), 2, "--since: expected unix seconds"),
        (("dlq", "list", "--state", "dead"), 2, "--state: expected one of failed"),
        (("dlq", "list", "--error-type", "web"), 2, "--error-type: expected one of network"),
        (("dlq", "list", "--arg", "order"), 2, "--arg: expected key=value"),
        (("dlq", "list", "--limit", "0"), 2, "--limit"),
        (("dlq", "list", "--cursor", "x"), 2, "--cursor: expected what an earlier page printed"),
        (("dlq", "replay", "a", "--yes", "--rate", "-1"), 2, "rate: expected letters per second, above 0"),
        (("status", "--since", "now"), 2, "--since: expected unix seconds"),
        (
            ("dlq", "replay", "--state", "recovered", "--yes"),
            2,
            "failed, review, retry or replayed (for replay), got 'recovered'",
        ),
        (("dlq", "discard", "--state", "discarded", "--yes"), 2, "got 'discarded'"),
        (("dlq", "review", "--state", "retry", "--yes"), 2, "--state: expected failed (for review), got 'retry'"),
        (("dlq", "restore", "--state", "failed", "--yes"), 2, "review or discarded (for restore), got 'failed'"),
        (("dlq", "repla"), 2, "replay"),
        (("stats",), 2, "status"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    here: Here, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """On stderr, with its exit code, and nothing is changed."""
    store_letters(here.jobs, letter("a"))
    ended = here(*words, code=code)
    assert sentence in ended.errors
    assert ended.output == ""
    assert states(here.jobs) == {"failed": 1}


def test_a_process_ends_with_sentence_and_code(cli: Cli) -> None:
    """The same from the outside: an unknown id, a filter that matches nothing, a bad time, and success."""
    store_letters(cli.jobs, letter("a"))
    assert "no dead letter with the id nope" in cli("dlq", "show", "nope", code=4).errors
    assert "No dead letter matches" in cli("dlq", "list", "--task", "nope", code=1).errors
    assert "--since: expected" in cli("dlq", "list", "--since", "yesterday", code=2).errors
    assert cli("dlq", "show", "a", code=0).errors == ""


def test_letters_past_an_action_are_passed_over(here: Here) -> None:
    """Of several ids, those that can be acted on are; the code says that it was done in part."""
    store_letters(here.jobs, letter("a"), letter("b"))
    here("dlq", "discard", "a", "--yes")
    result = here.json("dlq", "discard", "a", "b", "--yes", code=5)
    assert (result["done"], result["passed_over"]) == (1, {"discarded": 1})


def test_redis_that_is_away_is_said(cli: Cli) -> None:
    """The store's address, code 3."""
    conf = json.dumps({"recovery_redis_url": NOWHERE})
    for words in (("status",), ("dlq", "list"), ("dlq", "replay", "--all", "--yes")):
        ended = cli(*words, code=3, env={"JOBS_CONF": conf})
        assert "Redis is away: the dead-letter store in Redis at 127.0.0.1:1/0 does not answer" in ended.errors


@pytest.mark.parametrize("broker", [NOWHERE, "amqp://guest:guest@127.0.0.1:1//"])
def test_a_broker_that_is_away_leaves_what_the_store_holds(cli: Cli, broker: str) -> None:
    """Looking works, with a warning and code 3; a replay is refused; letters stay."""
    store_letters(cli.jobs, letter("a"))
    away = {"CELERY_BROKER_URL": broker}
    looked = cli("dlq", "list", "--json", code=3, env=away)
    assert [one["id"] for one in json.loads(looked.output)["letters"]] == ["a"]
    assert "The broker is away" in looked.errors
    refused = cli("dlq", "replay", "--all", "--yes", code=3, env=away)
    assert "Nothing was replayed." in refused.errors
    assert states(cli.jobs) == {"failed": 1}


def test_an_app_without_a_store_is_told_what_to_set(cli: Cli) -> None:
    """Neither broker nor backend is a Redis: the setting is named, code 2."""
    bare = {"CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://", "JOBS_LEDGER": ""}
    cli.env.pop("JOBS_LEDGER")
    ended = cli("status", code=2, env={k: v for k, v in bare.items() if v})
    assert "recovery_redis_url" in ended.errors
    assert "-A" not in ended.errors


def test_without_an_app_the_option_is_named(cli: Cli) -> None:
    """`celery recovery status` alone has Celery's default app, which knows no Redis."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        del cli.env[name]
    assert "celery -A your_app recovery" in cli("status", code=2, app=None).errors


def test_a_setting_that_makes_no_sense_is_named(cli: Cli) -> None:
    """The same sentence as a worker would log, code 2."""
    conf = json.dumps({"recovery_letter_max_aeg": 5})
    ended = cli("dlq", "list", code=2, env={"JOBS_CONF": conf})
    assert "recovery_letter_max_age" in ended.errors


# -- what is shown

HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold]markup[/bold]\nforged line \x9b31m \u202etxt \x7f"


def test_foreign_text_cannot_reach_the_terminal(here: Here) -> None:
    """Control characters are spelled out, markup is text, and no line can be forged."""
    hostile = {"message": HOSTILE, "worker": HOSTILE, "detail": HOSTILE, "queue": HOSTILE, "exception": HOSTILE}
    store_letters(here.jobs, letter(HOSTILE, HOSTILE, extra={"argsrepr": HOSTILE, "kwargsrepr": HOSTILE}, body=b"\x80",
                                   content_type="application/x-python-serialize", **hostile))  # fmt: skip
    commands = (("status",), ("dlq", "list"), ("dlq", "show", HOSTILE), ("dlq", "stats"), ("dlq", "stats", "--held"),
                ("dlq", "discard", "--all", "--dry-run"), ("dlq", "show", HOSTILE, "--json"))  # fmt: skip
    for words in commands:
        for columns in (70, 140):
            ended = here(*words, columns=columns, code=None)
            printed = ended.output + ended.errors
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed), words
            assert not re.search(r"^forged line", printed, re.MULTILINE), words
    assert "[bold]markup[/bold]" in here("dlq", "show", HOSTILE).output


def test_secrets_are_hidden(redis_jobs: Jobs) -> None:
    """By the built-in names and the app's own, in arguments and messages, in text and in JSON."""
    redis_jobs.conf["recovery_redact"] = ["loyalty"]
    secret = body(password="hunter2", loyalty="12345678", order=7)
    store_letters(redis_jobs, letter("a", body=secret, message="login with token=hunter2 failed"))
    cli = Cli(redis_jobs)
    for words in (("dlq", "show", "a"), ("dlq", "list"), ("status",)):
        for form in ((), ("--json",)):
            printed = cli(*words, *form).output
            assert "hunter2" not in printed
            assert "12345678" not in printed
    assert '"order": 7' in cli("dlq", "show", "a", "--json").output


def test_a_pickled_body_is_never_loaded(here: Here, tmp_path: Path) -> None:
    """A body that would write a file when unpickled is listed, shown, searched and discarded, and writes none."""
    trap = tmp_path / "sprung"
    bomb = b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."
    store_letters(here.jobs, letter("bomb", body=bomb, content_type="application/x-python-serialize", held=True,
                                   extra={"argsrepr": "(7,)", "kwargsrepr": "{}"}))  # fmt: skip
    here("status")
    here("dlq", "show", "bomb")
    here("dlq", "list", "--text", "7", "--arg", "0=7")
    assert here.json("dlq", "discard", "bomb", "--yes")["warnings"]
    assert not trap.exists()


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_lines_are_no_longer_than_the_terminal(here: Here, columns: int) -> None:
    """Long names and messages, and such as take two cells a character, are cut."""
    long = "shop.orders.tasks." + "very_" * 20 + "long"
    store_letters(here.jobs, letter("e0c1b2a3-0000-4000-8000-123456789abc", long, message="注文が見つかりません" * 30))
    for words in (("status",), ("dlq", "list"), ("dlq", "stats")):
        for line in here(*words, columns=columns).output.splitlines():
            assert len(line) + sum(ord(c) > 0x2E80 for c in line) <= columns, line


def test_pipes_get_no_colours_and_no_hints(cli: Cli) -> None:
    """What a pipe gets is plain text, and complete: nothing is cut."""
    message = "x" * 500
    store_letters(cli.jobs, letter("a", message=message), letter("b"))
    ended = cli("dlq", "list", "--limit", "1", "--id", "a")
    assert message in ended.output
    assert "\x1b" not in ended.output
    assert "More:" not in ended.output


def test_terminals_get_colours_unless_told_otherwise(cli: Cli) -> None:
    """`celery --no-color` and `celery --quiet` are obeyed."""
    store_letters(cli.jobs, letter("a", died_at=2.0), letter("b", died_at=1.0))

    def shown(*before: str) -> str:
        ours, theirs = pty.openpty()
        process = cli.start("dlq", "list", "--limit", "1", before=before, stdout=theirs, stderr=theirs)
        process.wait(timeout=60)
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # the end, when nobody has the other side any more
            while some := os.read(ours, 65536):
                text += some
        os.close(ours)
        return text.decode()

    assert "\x1b[1m" in shown()
    assert "More:" in shown()
    assert "\x1b" not in shown("--no-color")
    assert "More:" not in shown("--quiet")


def test_options_can_come_from_the_environment(cli: Cli) -> None:
    """By Celery's convention: the command's words, then the option's."""
    store_letters(cli.jobs, letter("a"), letter("b"), letter("c"))
    listed = cli.json("dlq", "list", env={"CELERY_RECOVERY_DLQ_LIST_LIMIT": "2"})
    assert len(listed["letters"]) == 2


def test_an_output_that_cannot_hold_a_character_gets_its_escape(cli: Cli) -> None:
    """A terminal in plain ASCII is no reason to fail."""
    store_letters(cli.jobs, letter("a", message="Größe…"))
    assert "Gr\\xf6\\xdfe" in cli("dlq", "list", env={"PYTHONIOENCODING": "ascii"}).output


# -- interrupted


def replay_until(cli: Cli, published: int, *words: str) -> Any:
    """A replay that has published so many, and still runs."""
    process = cli.start("dlq", "replay", "--all", "--yes", *words)
    eventually(lambda: waiting(cli.jobs) >= published or process.poll() is not None, what="the replay to be on its way")
    assert process.poll() is None, process.communicate()
    return process


def each_ran_once(jobs: Jobs, worker: Worker, tokens: list[str]) -> None:
    """All letters recovered, and the ledger knows exactly one run of each."""
    eventually(lambda: states(jobs) == {"recovered": len(tokens)}, timeout=90, what="all to recover")
    eventually(lambda: waiting(jobs) == 0, what="an empty queue")
    assert worker.running
    assert {token: len(jobs.ledger.lines(token)) for token in tokens} == dict.fromkeys(tokens, 1)


@pytest.mark.faults
def test_ctrl_c_ends_a_replay_in_order(cli: Cli) -> None:
    """It stops after the batch, says how far it came, and leaves no letter between two states."""
    tokens = [f"c{n}" for n in range(1500)]
    store_letters(cli.jobs, *map(runnable, tokens))
    process = replay_until(cli, 100, "--rate", "500")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    told = re.search(r"Interrupted: (\d+) of 1500 letters replayed", errors)
    assert told, errors
    done = int(told[1])
    assert states(cli.jobs) == {"failed": 1500 - done, "replayed": done}
    assert waiting(cli.jobs) == done
    assert cli.json("dlq", "replay", "--all", "--yes")["published"] == 1500 - done
    each_ran_once(cli.jobs, cli.jobs.worker(pool="threads", concurrency=4), tokens)


@pytest.mark.faults
def test_a_store_that_goes_away_ends_a_replay_with_a_sentence(redis_jobs: Jobs, own_redis: RedisServer) -> None:
    """It says how far it came; what it had claimed is there when Redis is back."""
    redis_jobs.conf["recovery_redis_url"] = redis_jobs.app.conf.recovery_redis_url = own_redis.url()
    store_letters(redis_jobs, *(runnable(f"s{n}") for n in range(500)))
    process = replay_until(Cli(redis_jobs), 50, "--rate", "100")
    own_redis.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.search(r"Redis is away: .* At least \d+ of 500 letters replayed", errors), errors
    own_redis.start()
    assert sum(states(redis_jobs).values()) == 500


@pytest.mark.faults
def test_a_broker_that_goes_away_ends_a_replay_with_a_sentence(redis_jobs: Jobs, own_redis: RedisServer) -> None:
    """After the time that publishing is tried for; the letters that it did not take are dead letters as before."""
    redis_jobs.broker = redis_jobs.app.conf.broker_url = own_redis.url()
    redis_jobs.conf["recovery_publish_timeout"] = 1
    store_letters(redis_jobs, *(runnable(f"s{n}") for n in range(500)))
    process = replay_until(Cli(redis_jobs), 50, "--rate", "100")
    own_redis.kill()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Stopped: the broker did not take a letter" in errors
    done = int(re.match(r"(\d+) of 500 letters replayed", output)[1])  # type: ignore[index]
    assert states(redis_jobs) == {"failed": 500 - done, "replayed": done}


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_replay_run_again_runs_each_letter_once(cli: Cli) -> None:
    """SIGKILL in the middle, twice; the same command goes on, and waits for the lease of the dead one."""
    tokens = [f"k{n}" for n in range(3000)]
    store_letters(cli.jobs, *map(runnable, tokens))
    for published in (400, 900):
        process = replay_until(cli, published, "--rate", "1000")
        process.kill()
        process.communicate()
    worker = cli.jobs.worker(pool="threads", concurrency=4)
    final = cli.json("dlq", "replay", "--all", "--yes", code=None)
    # Copies of the killed ones, or the worker, which goes on with what they had begun.
    assert set(final["skipped"]) <= {"already replayed", "already recovered", "held by another replay"}
    assert final["published"] + sum(final["skipped"].values()) == final["selected"]
    each_ran_once(cli.jobs, worker, tokens)
    assert LetterState.RETRY.value not in states(cli.jobs)
