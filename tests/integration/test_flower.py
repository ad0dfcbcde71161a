"""The Recovery tab of a real Flower: read, confirmed, acted on, by a browser's requests and by a browser."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from celery_recovery import Filter, LetterState, Recovery
from celery_recovery.circuit.state import CircuitEvent
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Cli
from tests.integration.test_parking_cli import park
from tests.letters import body, letter
from tests.services.process import free_port

pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")
pytestmark = pytest.mark.redis

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e\"'"
PAGES = ("", "/letters", "/groups", "/circuits", "/parked", "/batches", "/operations", "/audit")


class Answer(NamedTuple):
    """What the server said."""

    code: int
    text: str
    url: str
    headers: Any


class Browser:
    """Requests with cookies, a login, and the token of the forms that were seen."""

    def __init__(self, port: int, user: str = "", prefix: str = "") -> None:
        self.base = f"http://127.0.0.1:{port}{prefix}"
        self.user = user
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self.token = ""
        self.process: Any = None

    def get(self, path: str, **query: Any) -> Answer:
        coded = f"?{urllib.parse.urlencode(query, doseq=True)}" if query else ""
        return self._ask(f"{self.base}/recovery{path}{coded}")

    def post(self, path: str, **form: Any) -> Answer:
        data = urllib.parse.urlencode({"_xsrf": self.token, **form}, doseq=True).encode()
        return self._ask(f"{self.base}/recovery{path}", data)

    def does(self, verb: str, **form: Any) -> Answer:
        """Confirm and do, sending what the confirmation's form holds."""
        if not self.token:
            self.get("/letters")
        confirm = self.post("/confirm", verb=verb, **form)
        assert confirm.code == 200, confirm
        held = dict(re.findall(r'<input type="hidden" name="(verb|target|where|all)" value="([^"]*)"', confirm.text))
        held = {name: value.replace("&amp;", "&") for name, value in held.items()}
        return self.post("/act", **{**form, **held})

    def _ask(self, url: str, data: bytes | None = None) -> Answer:
        request = urllib.request.Request(url, data)
        if self.user:
            request.add_header("Authorization", f"Basic {b64encode(self.user.encode()).decode()}")
        try:
            with self.opener.open(request, timeout=20) as answer:
                text = answer.read().decode()
                found = Answer(answer.status, text, answer.url, answer.headers)
        except urllib.error.HTTPError as exc:
            found = Answer(exc.code, exc.read().decode(), url, exc.headers)
        token = re.search(r'name="_xsrf" value="([^"]+)"', found.text)
        self.token = token[1] if token else self.token
        return found


class Flower:
    """A Flower in its own process."""

    def __init__(
        self, jobs: Jobs, log: Path, *words: str, env: dict[str, str] | None = None, ours: bool = True,
        app: str = MODULE,
    ) -> None:  # fmt: skip
        self.port = free_port()
        command = [
            sys.executable, "-m", "celery", "-A", app, *(("recovery",) if ours else ()), "flower",
            f"--port={self.port}", "--address=127.0.0.1", *words,
        ]  # fmt: skip
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=log.parent, env={**Cli(jobs).env, **(env or {})}, stdout=out, stderr=out
            )
        self.log = log

    def ready(self, prefix: str = "") -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return Browser(self.port, prefix=prefix).get("").code in (200, 401)
            except OSError:
                return False

        eventually(answers, timeout=40, what="Flower")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


Start = Callable[..., Browser]


@pytest.fixture
def start(redis_jobs: Jobs, tmp_path: Path) -> Iterator[Start]:
    """Starts Flowers; the browser that is returned has logged in as `anna` unless `user` says otherwise."""
    begun: list[Flower] = []

    def started(*words: str, user: str = "anna:secret", prefix: str = "", **options: Any) -> Browser:
        login = (f"--basic-auth={user}",) if user else ()
        one = Flower(redis_jobs, tmp_path / f"flower{len(begun)}.log", *login, *words, **options)
        begun.append(one)
        one.ready(prefix)
        browser = Browser(one.port, user, prefix)
        browser.process = one.process
        return browser

    yield started
    for one in begun:
        one.stop()


def store(jobs: Jobs, *tokens: str, **changes: Any) -> list[str]:
    """Letters that run through when they are replayed, unless `task` says otherwise; returns their ids."""
    task = changes.pop("task", f"{MODULE}.fine")
    letters = [letter(f"id-{one}", task, body=body(one), queue="celery", **changes) for one in tokens]
    jobs.dead_letters.store.add_many(letters)
    return [one.id for one in letters]


def test_every_page_shows_what_there_is(redis_jobs: Jobs, start: Start) -> None:
    """Letters, groups and one of each, in Flower's own frame with our tab in its bar."""
    ids = store(redis_jobs, *"abc")
    browser = start()
    for path in PAGES:
        page = browser.get(path)
        assert page.code == 200, (path, page.text)
        assert re.search(r'<a class="nav-link[^>]*href="/recovery"[^>]*>Recovery</a>', page.text), path
    assert all(one in browser.get("/letters").text for one in ids)
    one = browser.get("/letter", id=ids[0])
    assert one.code == 200
    assert "Traceback" in one.text
    group = redis_jobs.dead_letters.groups()[0].fingerprint
    assert browser.get("/group", fingerprint=group).code == 200
    assert browser.get("/circuit", name="payments").code == 200
    assert browser.get("/letters", text="nothing has this").text.count("No dead letter matches") == 1
    assert browser.get("/letter", id="nobody").code == 404
    assert "expected" in browser.get("/letters", since="whenever").text


def test_a_letter_is_replayed_from_its_page(redis_jobs: Jobs, start: Start) -> None:
    """Confirmed first, then run by Flower itself; the audit knows who."""
    (one,) = store(redis_jobs, "again")
    worker = redis_jobs.worker()
    browser = start()
    assert "Replay" in browser.get("/letter", id=one).text
    confirm = browser.post("/confirm", verb="replay", id=one)
    assert "Replay 1 letter" in confirm.text
    assert redis_jobs.dead_letters.get(one).state.value == "failed", "asked, not done"
    done = browser.does("replay", id=one, canary="0", reason="it is mended")
    assert "/recovery/operation?" in done.url
    eventually(lambda: redis_jobs.dead_letters.get(one).state.value == "recovered", what="the letter to recover")
    assert len(redis_jobs.ledger.lines("again")) == 1
    entries = list(redis_jobs.dead_letters.audit.entries())
    assert {(entry["by"], entry["via"]) for entry in entries} == {("anna", "flower")}
    assert worker.running


def test_all_that_match_are_acted_on_and_no_later_ones(redis_jobs: Jobs, start: Start) -> None:
    """What was counted is what is done."""
    ids = store(redis_jobs, *"abcd", error_type="validation")
    other = store(redis_jobs, "other", error_type="network")
    browser = start()
    browser.get("/letters")
    confirm = browser.post("/confirm", verb="discard", where="error_type=validation", all="1")
    assert "Discard 4 letters" in confirm.text
    where = re.search(r'name="where" value="([^"]*)"', confirm.text)[1].replace("&amp;", "&")  # type: ignore[index]
    late = store(redis_jobs, "late", error_type="validation", died_at=4e9)
    refused = browser.post("/act", verb="discard", where=where, all="1")
    assert refused.code == 400, "a reason is asked for"
    assert browser.post("/act", verb="discard", where=where, all="1", reason="test data").code == 200
    state = redis_jobs.dead_letters.get
    eventually(lambda: all(state(one).state.value == "discarded" for one in ids), what="the four to be discarded")
    assert [state(one).state.value for one in (*other, *late)] == ["failed", "failed"]


def test_a_canary_stops_on_the_wrong_fix_and_goes_through_on_the_right_one(redis_jobs: Jobs, start: Start) -> None:
    """Found as a group, replayed before anything is mended, mended, resumed."""
    store(redis_jobs, *(f"n{n}" for n in range(60)), task=f"{MODULE}.needs_fixing")
    redis_jobs.worker()
    browser = start()
    browser.get("/groups")
    group = redis_jobs.dead_letters.groups()[0].fingerprint
    page = browser.does("replay", where=f"fingerprint={group}", canary="3")
    operation = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)["id"][0]
    eventually(lambda: '"stopped"' in browser.get("/operation.json", id=operation).text, what="the canary to stop")
    assert "died again, where" in browser.get("/operation", id=operation).text
    assert redis_jobs.dead_letters.count(Filter(operation=(operation,))) < 20, "most were never touched"
    for n in range(60):
        redis_jobs.ledger.fix(f"n{n}")
    browser.does("resume", target=operation)
    eventually(lambda: '"done"' in browser.get("/operation.json", id=operation).text, timeout=60, what="its end")


@pytest.mark.faults
def test_a_worker_goes_on_when_flower_is_killed(redis_jobs: Jobs, start: Start) -> None:
    """SIGKILL in the middle of a replay: the rest follows, and each letter runs once."""
    tokens = [f"k{n}" for n in range(200)]
    store(redis_jobs, *tokens)
    browser = start()
    browser.does("replay", where=f"task={MODULE}.fine", canary="0", rate="50")
    replayed = Filter(state=(LetterState.REPLAYED,))
    eventually(lambda: redis_jobs.dead_letters.count(replayed) >= 20, what="the replay to be on its way")
    browser.process.kill()
    browser.process.wait()
    assert redis_jobs.dead_letters.count(replayed) < len(tokens)
    redis_jobs.worker(pool="threads", concurrency=4)
    recovered = Filter(state=(LetterState.RECOVERED,))
    eventually(lambda: redis_jobs.dead_letters.count(recovered) == len(tokens), timeout=60, what="all to recover")
    assert {token: len(redis_jobs.ledger.lines(token)) for token in tokens} == dict.fromkeys(tokens, 1)


def test_a_form_that_is_sent_twice_is_done_once(redis_jobs: Jobs, start: Start) -> None:
    """By a double click, or out of the history: both lead to the same operation. What was refused may be sent again."""
    store(redis_jobs, *"abc")
    browser = start()
    form = browser.get("/confirm", verb="discard", where="task=*.fine")
    once = re.search(r'name="once" value="([0-9a-f]{32})"', form.text)[1]  # type: ignore[index]
    sent = {"verb": "discard", "where": "task=*.fine", "once": once}
    assert browser.post("/act", **sent).code == 400, "a reason is asked for"
    led = [browser.post("/act", **sent, reason="test data").url for _ in range(2)]
    assert led[0] == led[1]
    assert len(redis_jobs.dead_letters.operations.latest(10)) == 1
    again = browser.get("/confirm", verb="discard", where="task=*.fine").text
    assert once not in again, "each form is one of its own"


def test_a_confirmation_is_a_look(redis_jobs: Jobs, start: Start) -> None:
    """It can be reloaded and gone back to; what was typed is still there when it is refused; back is a page of ours."""
    (one,) = store(redis_jobs, "kept")
    browser = start()
    browser.get("/letters")
    for back, shown in (
        ("/recovery/group?fingerprint=x", True), ("https://evil.example/recovery/x", False),
        ("//evil/recovery/x", False), ("javascript:alert(1)", False), ("/recoveryx", False),
        ("/recovery/confirm?verb=x", False),
    ):  # fmt: skip
        assert (f'href="{back}"' in browser.get("/confirm", verb="replay", id=one, back=back).text) is shown, back
    refused = browser.post("/act", verb="replay", id=one, rate="0", canary="5", reason="twice as well")
    assert (refused.code, "twice as well" in refused.text, "rate: expected" in refused.text) == (400, True, True)
    edit = browser.post("/confirm", verb="edit", id=one, changes="kwargs.nonsense=1", reason="why not")
    assert (edit.code, "kwargs.nonsense=1" in edit.text, "why not" in edit.text) == (400, True, True)
    assert redis_jobs.dead_letters.get(one).state.value == "failed"


def test_edits_of_wrapped_tasks(redis_jobs: Jobs, start: Start) -> None:
    """What does not fit a task with `pydantic=True`, or one behind a decorator, is refused in the form."""
    browser = start(app="tests.apps.wrapped")
    for task in ("tests.apps.wrapped.book", "tests.apps.wrapped.ship"):
        (one,) = store(redis_jobs, task, task=task)
        browser.get("/confirm", verb="edit", id=one)
        for page in ("/confirm", "/act"):
            told = browser.post(page, verb="edit", id=one, changes="kwargs.nosuch=1")
            assert (told.code, f"arguments that {task} takes" in told.text) == (400, True), (task, page)
        assert redis_jobs.dead_letters.get(one).edits == 0


def test_a_stopped_operation_of_which_nothing_is_left(redis_jobs: Jobs, start: Start) -> None:
    """It is not among those that are not through, and cannot be resumed; as long as one letter waits it is."""
    ids = store(redis_jobs, *"abcd")
    letters = redis_jobs.dead_letters
    begun = letters.operations.create("discard", ids, by="anna", terms={"states": ["failed"], "rate": None})
    letters.operations.ask(begun.id, "paused", by="anna")
    letters.discard(ids[:3])
    browser = start()
    assert "Operations that are not through" in browser.get("").text
    assert "verb=resume" in browser.get("/operation", id=begun.id).text
    letters.discard(ids[3:])
    assert "Operations that are not through" not in browser.get("").text
    page = browser.get("/operation", id=begun.id).text
    assert ("verb=resume" in page, "verb=cancel" in page) == (False, True)
    assert "None of the other 4 letters waits any more" in page


def test_many_circuits(redis_jobs: Jobs, start: Start) -> None:
    """Of one for each tenant the first are looked at, those that refuse calls in front."""
    circuits = Recovery.of(redis_jobs.app).circuits
    for n in range(130):
        circuits.set(f"tenant-{n:03}", CircuitEvent.FORCE_OPEN if n == 129 else CircuitEvent.RESET)
    browser = start()
    text = browser.get("/circuits").text
    assert len(re.findall(r"/recovery/circuit\?name=tenant-", text)) == 100
    assert text.index("tenant-129") < text.index("tenant-000")
    assert "The first 100 of 130" in text
    overview = browser.get("").text
    assert ("tenant-129" in overview, "tenant-000" in overview) == (True, False)


def test_edit_review_and_groups(redis_jobs: Jobs, start: Start) -> None:
    """An edit that fits is made and undone; a group is resolved; a letter is set aside, assigned and rejected."""
    (one,) = store(redis_jobs, "wrong")
    browser = start()
    browser.get("/letter", id=one)
    browser.does("edit", id=one, changes="args.0=right")
    eventually(lambda: redis_jobs.dead_letters.get(one).edits == 1, what="the edit")
    assert "right" in browser.get("/letter", id=one).text
    assert browser.post("/act", verb="edit", id=one, changes="kwargs.nonsense=1").code == 400
    browser.does("undo", id=one)
    assert redis_jobs.dead_letters.get(one).arguments[0] == ["wrong"]  # type: ignore[index]
    group = redis_jobs.dead_letters.groups()[0].fingerprint
    assert "resolved" in browser.does("resolve", target=group, version="v7").text
    browser.does("review", id=one)
    eventually(lambda: redis_jobs.dead_letters.get(one).state.value == "review", what="the review")
    browser.does("assign", id=one, to="ben")
    assert redis_jobs.dead_letters.get(one).assignee == "ben"
    refused = browser.post("/act", verb="assign", id=one, to="eve")
    assert (refused.code, redis_jobs.dead_letters.get(one).assignee) == (400, "ben"), "nobody said whose it is"
    assert "It is ben's: this takes it over" in refused.text
    assert 'name="owner" value="ben"' in refused.text
    browser.post("/act", verb="assign", id=one, to="eve", owner="ben")
    assert redis_jobs.dead_letters.get(one).assignee == "eve"
    browser.does("assign", id=one, to="ben", owner="eve")
    browser.does("annotate", id=one, reason="looked at it")
    assert "looked at it" in browser.get("/letter", id=one).text
    browser.does("reject", id=one, reason="nobody wants it")
    eventually(lambda: redis_jobs.dead_letters.get(one).state.value == "discarded", what="the end")


def test_an_edit_of_a_secret(redis_jobs: Jobs, start: Start) -> None:
    """It is told to change, before it is done and in the history; neither the old nor the new one is shown."""
    (one,) = store(redis_jobs, "old-secret", secret_args=(0,))
    browser = start()
    browser.get("/letters")
    told = browser.post("/confirm", verb="edit", id=one, changes="args.0=new-secret").text
    browser.does("edit", id=one, changes="args.0=new-secret")
    page = browser.get("/letter", id=one).text
    for text in (told, page):
        assert "*** (changed)" in text
        assert "old-secret" not in text.replace(one, "")
    assert "new-secret" not in page


def test_circuits_open_and_close(redis_jobs: Jobs, start: Start) -> None:
    """Forced open for a time, closed again, both with a reason in the history."""
    browser = start()
    browser.get("/letters")
    assert "forced open" in browser.does("open-circuit", target="payments", reason="they deploy", **{"for": "10m"}).text
    history = browser.get("/circuit", name="payments").text
    assert "they deploy" in history
    assert "anna" in history
    assert "payments" in browser.get("").text
    assert "closed" in browser.does("close-circuit", target="payments", reason="done").text
    assert browser.post("/act", verb="probe-circuit", target="payments").code == 400, "it is closed"


def test_parked_tasks_are_released_by_circuit(redis_jobs: Jobs, start: Start) -> None:
    """Those of the circuit that the page shows, and no others."""
    park(redis_jobs, "one", circuit="payments")
    park(redis_jobs, "two", circuit="mail")
    browser = start()
    page = browser.get("/parked", circuit="payments")
    assert "payments" in page.text
    assert "two" not in page.text
    parking = Recovery.of(redis_jobs.app).parked
    assert parking is not None
    assert "Release now 1" in browser.post("/confirm", verb="release", where="circuit=payments", all="1").text
    browser.does("release", where="circuit=payments")
    assert [one.circuit for one in parking.iterate()] == ["mail"]


def test_what_makes_no_sense_is_refused(redis_jobs: Jobs, start: Start) -> None:
    """A filter that is not known means no letters, and not all; what is asked for is named."""
    (one,) = store(redis_jobs, "kept")
    browser = start()
    browser.get("/letters")
    for form in (
        {"verb": "discard", "where": "colour=red"}, {"verb": "discard", "where": "circuit=x"}, {"verb": "discard"},
        {"verb": "explode", "id": one}, {"verb": "replay", "id": one, "canary": "nan"},
        {"verb": "replay", "id": one, "rate": "-1"}, {"verb": "replay", "id": one, "canary": "1e99"},
        {"verb": "edit", "id": one, "changes": "nonsense"}, {"verb": "ignore", "target": "x", "for": "soon"},
    ):  # fmt: skip
        answer = browser.post("/act", reason="x", **form)
        assert answer.code in (400, 404), (form, answer)
        assert "Traceback" not in answer.text
    for query in ({"cursor": "x"}, {"since": "soon"}, {"state": "lost"}, {"arg": "x"}):
        assert browser.get("/letters", **query).code == 400, query
    assert browser.get("/parked", cursor="x").code == 400
    assert redis_jobs.dead_letters.get(one).state.value == "failed"


@pytest.mark.parametrize(
    ("words", "env", "user"),
    [
        pytest.param((), {}, "", id="without a login"),
        pytest.param(("--read-only",), {}, "anna:secret", id="read-only"),
    ],
)
def test_who_may_not_act(
    redis_jobs: Jobs, start: Start, words: tuple[str, ...], env: dict[str, str], user: str
) -> None:
    """They see the pages, are told why, and nothing happens, whatever they send."""
    if words and _flower_version() < (2, 2):
        pytest.skip("this Flower has no read-only mode")
    (one,) = store(redis_jobs, "kept")
    browser = start(*words, user=user, env=env)
    page = browser.get("/letter", id=one)
    assert page.code == 200
    assert 'value="discard"' not in page.text
    for path in ("/confirm", "/act"):
        assert browser.post(path, verb="discard", id=one, reason="x").code == 403
    assert redis_jobs.dead_letters.get(one).state.value == "failed"


def test_operators_are_named(redis_jobs: Jobs, start: Start) -> None:
    """With `recovery_flower_operators`, all others only look."""
    redis_jobs.conf["recovery_flower_operators"] = ("op-*",)
    (one,) = store(redis_jobs, "kept")
    for user, code in (("anna:secret", 403), ("op-ben:secret", 200)):
        browser = start(user=user)
        browser.get("/groups")
        assert browser.get("/letter", id=one).code == 200
        assert browser.post("/confirm", verb="discard", id=one).code == code


def test_no_login_no_page_and_no_token_no_act(redis_jobs: Jobs, start: Start) -> None:
    """Neither a stranger nor another site's page with the user's login."""
    (one,) = store(redis_jobs, "kept")
    browser = start()
    browser.get("/letter", id=one)
    stranger = Browser(int(browser.base.rpartition(":")[2]))
    assert [stranger.get(path).code for path in (*PAGES, "/report")] == [401] * (len(PAGES) + 1)
    assert stranger.post("/act", verb="discard", id=one, reason="x").code in (401, 403)
    for token in ("", "forged"):
        browser.token = token
        answer = browser._ask(f"{browser.base}/recovery/act", f"_xsrf={token}&verb=discard&id={one}&reason=x".encode())
        assert answer.code == 403
    assert redis_jobs.dead_letters.get(one).state.value == "failed"
    assert "Access-Control-Allow-Origin" not in browser.get("").headers


def test_hostile_letters_are_shown_harmlessly(redis_jobs: Jobs, start: Start) -> None:
    """Markup, escapes and ten megabytes, in every field that a message can fill; secrets stay hidden."""
    one = letter(HOSTILE, HOSTILE, body=body(HOSTILE, password="hunter2"), message=HOSTILE, queue=HOSTILE)
    big = letter("big", "tests.big", body=body("x" * 10_000_000))
    redis_jobs.dead_letters.store.add_many([one, big])
    browser = start()
    browser.get("/letters")
    pages = [browser.get(path) for path in (*PAGES, "/report")]
    pages.append(browser.get("/letter", id=HOSTILE))
    pages.append(browser.get("/letter", id="big"))
    pages.append(browser.get("/letters", text=HOSTILE))
    pages.append(browser.post("/confirm", verb="replay", id=HOSTILE))
    pages.append(browser.does("annotate", id=HOSTILE, reason=HOSTILE))
    pages += [browser.get("/group", fingerprint=group.fingerprint) for group in redis_jobs.dead_letters.groups()]
    for page in pages:
        assert page.code == 200, page.text[:2000]
        assert "<script>alert" not in page.text
        assert "\x1b" not in page.text
        assert "\u202e" not in page.text
        assert "hunter2" not in page.text
        assert len(page.text) < 300_000


def test_a_report(redis_jobs: Jobs, start: Start) -> None:
    """The page that the command line writes, for a period and a task; it may load nothing."""
    store(redis_jobs, *"abc")
    browser = start()
    links = re.findall(r'href="(/recovery/report\?[^"]+)"', browser.get("").text)
    assert links == [f"/recovery/report?since={since}" for since in ("1h", "24h", "7d")]
    for link in links:
        page = browser.get(link.removeprefix("/recovery"))
        assert page.code == 200
        assert page.text.startswith("<!DOCTYPE html>")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    refused = browser.get("/report", since="whenever")
    assert (refused.code, "since: expected unix seconds" in refused.text) == (400, True)


def test_under_a_prefix(redis_jobs: Jobs, start: Start) -> None:
    """All links stay below it."""
    (one,) = store(redis_jobs, "a")
    browser = start("--url-prefix=tools/flower", prefix="/tools/flower")
    page = browser.get("/letter", id=one)
    assert page.code == 200
    assert not re.findall(r'(?:href|action)="(/(?!tools/flower)[^"]*)"', page.text)
    assert "/tools/flower/recovery/letter?" in browser.does("annotate", id=one, reason="seen").url


def test_two_lines_in_flowerconfig(redis_jobs: Jobs, start: Start, tmp_path: Path) -> None:
    """Plain `celery flower` with them shows the tab, too."""
    (tmp_path / "flowerconfig.py").write_text("from celery_recovery.flower import install\ninstall()\n")
    assert start(ours=False).get("/letters").code == 200


def test_redis_away(redis_jobs: Jobs, start: Start, own_redis: Any) -> None:
    """The page says so, in a sentence, and Flower goes on."""
    redis_jobs.conf["recovery_redis_url"] = own_redis.url()
    browser = start()
    assert browser.get("/groups").code == 200
    own_redis.kill()
    away = browser.get("/groups")
    assert away.code == 503
    assert "Redis is away" in away.text, away.text[-3000:]
    own_redis.start()
    eventually(lambda: browser.get("/groups").code == 200, what="the page is back")


def test_in_a_browser(redis_jobs: Jobs, start: Start, tmp_path: Path) -> None:
    """Chromium renders the pages, wide and as narrow as a phone; nothing sticks out, no script runs but ours."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
            pytest.fail("a required browser is missing: chromium")
        pytest.skip("no chromium on the PATH (Debian: apt-get install chromium)")
    store(redis_jobs, *(f"t{n}" for n in range(30)), message=HOSTILE)
    browser = start()
    port = browser.base.rpartition(":")[2]
    target = Path(os.environ.get("FLOWER_SCREENSHOTS", tmp_path))
    for name, size in (("wide", "1280,900"), ("phone", "390,844")):
        for path in ("", "/letters", "/letter?id=id-t1"):
            picture = target / f"{name}{path.partition('?')[0].replace('/', '-')}.png"
            subprocess.run(
                [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 f"--user-data-dir={tmp_path / 'profile'}",
                 f"--window-size={size}", f"--screenshot={picture}", "--virtual-time-budget=4000",
                 f"http://anna:secret@127.0.0.1:{port}/recovery{path}"],
                check=True, timeout=90, capture_output=True,
            )  # fmt: skip
            assert picture.stat().st_size > 10_000


def _flower_version() -> tuple[int, ...]:
    from flower import VERSION  # type: ignore[import-untyped]

    return tuple(VERSION[:2])
