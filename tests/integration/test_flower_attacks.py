"""Attempts on the pages of a real Flower: from other sites, without rights, by way of methods, headers and names."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.hostile import HOSTILE, SECRET
from tests.integration.jobs_client import Jobs, eventually
from tests.integration.test_flower import PAGES, Answer, Browser, Flower, Start, start, store
from tests.letters import body, letter

__all__ = ("start",)

pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")
pytestmark = pytest.mark.redis


def ask(browser: Browser, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
    """One request as it is written here: no redirect is followed, no path made sound; with login, cookies and token."""
    connection = http.client.HTTPConnection(urllib.parse.urlparse(browser.base).netloc, timeout=20)
    cookies = "; ".join(f"{one.name}={one.value}" for one in browser.jar)
    own = {
        "Cookie": cookies,
        **({"Authorization": f"Basic {b64encode(browser.user.encode()).decode()}"} if browser.user else {}),
    }
    data = None if form is None else urllib.parse.urlencode({"_xsrf": browser.token, **form})
    if data is not None:
        own["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(
        method, path, data, {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    answer = connection.getresponse()
    found = Answer(answer.status, answer.read().decode(), path, answer.headers)
    connection.close()
    return found


@pytest.fixture
def kept(redis_jobs: Jobs) -> Any:
    """A letter; afterwards it is as it was, whatever was tried."""
    (one,) = store(redis_jobs, "kept")
    yield one
    assert redis_jobs.dead_letters.get(one).state.value == "failed"
    assert not list(redis_jobs.dead_letters.audit.entries())


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"},
        {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site", "Origin": "own"}, {"Origin": "http://127.0.0.1.evil.example"},
    ],
)  # fmt: skip
def test_another_site_cannot_act_even_with_the_token(start: Start, kept: str, headers: dict[str, str]) -> None:
    """As one that has planted a cookie from a neighbouring name: the browser says where the page is from."""
    browser = start()
    browser.get("/letter", id=kept)
    headers = {name: browser.base if value == "own" else value for name, value in headers.items()}
    for path in ("/recovery/confirm", "/recovery/act"):
        refused = ask(browser, "POST", path, {"verb": "discard", "id": kept, "reason": "x"}, **headers)
        assert refused.code == 403
        assert "another site" in refused.text


def test_our_own_pages_can(redis_jobs: Jobs, start: Start) -> None:
    """With what browsers send from them, also behind a proxy that has another name."""
    (one,) = store(redis_jobs, "again")
    browser = start()
    browser.get("/letter", id=one)
    for headers in (
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://flower.example"}, {"Origin": browser.base}, {},
        {"Origin": "https://flower.example", "X_Forwarded_Host": "flower.example"},
    ):  # fmt: skip
        assert ask(browser, "POST", "/recovery/confirm", {"verb": "discard", "id": one}, **headers).code == 200, headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get"])
def test_only_a_post_acts(start: Start, kept: str, method: str) -> None:
    """No other method, and none that a header or a field asks for."""
    browser = start()
    browser.get("/letter", id=kept)
    form = urllib.parse.urlencode(
        {"verb": "discard", "id": kept, "reason": "x", "_xsrf": browser.token, "_method": "POST"}
    )
    for path in ("act", "confirm"):
        answer = ask(
            browser, method, f"/recovery/{path}?{form}", X_HTTP_Method_Override="POST", X_Method_Override="POST"
        )
        looks = path == "confirm" and method == "GET"  # it asks, and does nothing
        assert answer.code in ((200,) if looks else (204, 403, 405, 501)), answer


@pytest.mark.parametrize("form", [{}, {"_xsrf": ""}, {"_xsrf": "2|00000000|00|0"}, {"_xsrf": "\x00"}])
def test_no_token_no_act(start: Start, kept: str, form: dict[str, str]) -> None:
    """Nor a forged one, nor one without its cookie."""
    browser = start()
    browser.get("/letter", id=kept)
    token, browser.token = browser.token, ""
    assert ask(browser, "POST", "/recovery/act", {"verb": "discard", "id": kept, "reason": "x", **form}).code == 403
    browser.jar.clear()
    assert (
        ask(browser, "POST", "/recovery/act", {"verb": "discard", "id": kept, "reason": "x", "_xsrf": token}).code
        == 403
    )


@pytest.mark.parametrize("login", ["", "anna", "anna:", "anna:wrong", "anna:secret ", "anna:secretx", "\x00:\x00"])
def test_no_login_no_page(start: Start, kept: str, login: str) -> None:
    """Neither to look nor to act, whatever the login looks like; the answer says nothing of what is there."""
    browser = start()
    browser.get("/letter", id=kept)
    browser.user = login
    for path in (*PAGES, f"/letter?id={kept}", "/operation.json?id=x"):
        answer = ask(browser, "GET", f"/recovery{path}")
        assert answer.code == 401, path
        assert kept not in answer.text
    assert ask(browser, "POST", "/recovery/act", {"verb": "discard", "id": kept, "reason": "x"}).code in (401, 403)


def test_every_answer_is_kept_to_itself(start: Start, kept: str) -> None:
    """No frame, no cache, no other site's script; of pages, of JSON, and of refusals."""
    browser = start()
    browser.get("/letter", id=kept)
    answers = [ask(browser, "GET", f"/recovery{path}", Origin="https://evil.example") for path in (
        *PAGES, f"/letter?id={kept}", "/letter?id=nobody", "/letters?state=x", "/operation.json?id=x", "/act",
    )]  # fmt: skip
    answers.append(ask(browser, "POST", "/recovery/act", {"_xsrf": "forged"}))
    for answer in answers:
        assert answer.headers["X-Frame-Options"] == "DENY", answer.url
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers
    token = [one for one in ask(browser, "GET", "/recovery").headers.get_all("Set-Cookie", []) if "_xsrf" in one]
    browser.jar.clear()
    token += [one for one in ask(browser, "GET", "/recovery").headers.get_all("Set-Cookie", []) if "_xsrf" in one]
    assert token
    assert all("SameSite=Lax" in one for one in token)


def test_a_login_leads_back_here_and_nowhere_else(redis_jobs: Jobs, kept: str, tmp_path: Path) -> None:
    """With a login page: `next` is a path of ours, whatever the address was."""
    flower = Flower(
        redis_jobs, tmp_path / "flower.log", "--auth=.*@example\\.com", "--oauth2-key=x", "--oauth2-secret=y",
        "--auth-provider=flower.views.auth.GithubLoginHandler", "--oauth2-redirect-uri=http://127.0.0.1/login",
    )  # fmt: skip
    browser = Browser(flower.port)

    def answers() -> bool:
        try:
            return ask(browser, "GET", "/recovery").code == 302
        except OSError:
            return False

    try:
        eventually(answers, timeout=40, what="Flower")
        for path in (
            "/recovery", "/recovery/letters?next=//evil.example", f"/recovery/letter?id={kept}&next=https://evil.example",
            "//evil.example/recovery", "/recovery/%2f%2fevil.example", "/\\evil.example/recovery",
            "http://evil.example/recovery",
        ):  # fmt: skip
            answer = ask(browser, "GET", path)
            place = answer.headers.get("Location", "")
            assert answer.code in (302, 404), path
            assert not place or place.startswith("/login?next=%2Frecovery"), (path, place)
        assert ask(browser, "POST", "/recovery/act", {"verb": "discard", "id": kept, "reason": "x"}).code == 403
    finally:
        flower.stop()


@pytest.mark.parametrize("name", ["lines", "nul", "path", "redis", "script", "link", "bidi", "attribute"])
def test_names_stay_names(redis_jobs: Jobs, start: Start, name: str) -> None:
    """In an address that is led to, in a header, in a key: an id is carried whole, and nothing follows from it."""
    text = HOSTILE[name]
    redis_jobs.dead_letters.store.add(letter(text, "orders.charge", body=body(7)))
    browser = start()
    browser.get("/letters")
    led = ask(browser, "POST", "/recovery/act", {"verb": "annotate", "id": urllib.parse.quote(text), "reason": "seen"})
    assert led.code == 303, led
    assert "pwned" not in "".join(other for other in led.headers if other.lower() != "location")
    assert led.headers["Location"].startswith("/recovery/letter?id=")
    assert "Set-Cookie" not in led.headers
    assert redis_jobs.dead_letters.store.notes(text)[0]["text"] == "seen"
    with redis.Redis.from_url(redis_jobs.ledger_url) as client:
        before = _kept(client)
        for path, field in (("letter", "id"), ("operation", "id"), ("operation.json", "id"), ("group", "fingerprint")):
            answer = ask(browser, "GET", f"/recovery/{path}?{urllib.parse.urlencode({field: f'x{text}'})}")
            assert answer.code == 404, (path, answer)
        for verb in ("pause", "resume", "cancel", "resolve"):
            form = {"verb": verb, "target": urllib.parse.quote(f"x{text}"), "reason": "x"}
            assert ask(browser, "POST", "/recovery/act", form).code == 404
        assert _kept(client) == before


def _kept(client: Any) -> set[bytes]:
    """All keys but those of the counters, which are written now and then."""
    return {key for key in client.scan_iter() if b"{rates}" not in key}


def test_a_mistake_of_ours_tells_nothing(redis_jobs: Jobs, start: Start) -> None:
    """Not even where Flower was started with `--debug`, whose own page of it shows the traceback; the log has it."""
    (one,) = store(redis_jobs, "broken")
    with redis.Redis.from_url(redis_jobs.ledger_url) as client:
        letters = redis_jobs.dead_letters
        group = letters.get(one).error.fingerprint
        client.hset(letters.store.keys.group(group), "total", f"password={SECRET}")  # no number
    browser = start("--debug")
    answer = browser.get("/group", fingerprint=group)
    assert answer.code == 500
    assert "the log of Flower tells more" in answer.text
    assert not re.search(r"Traceback|File &quot;|not a stored message|hunter2", answer.text)
