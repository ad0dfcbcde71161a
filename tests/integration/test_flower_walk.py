"""A newcomer's walk through Flower alone, in a real browser: found, understood, not mended, mended, and put right.

The letters are those of `examples/night_shift`, in small: three bugs and a printer that is away. Nothing but links,
buttons and forms of the pages is used; what came of it is then looked up in the store. With `FLOWER_PICTURES=docs` in
the environment the pictures of the documentation are taken on the way.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import redis
from celery import Celery

from celery_recovery import Filter
from tests.integration.jobs_client import Jobs, eventually
from tests.services import Worker

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")
pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
NIGHT = ROOT / "examples" / "night_shift"
#: Of each 44 orders 22, 10 and 8 meet a bug; so many times.
TIMES = 3
INVOICES, STOCK, LABELS = 22 * TIMES, 10 * TIMES, 8 * TIMES
#: Milliseconds that a page may take to show what is waited for.
PATIENCE = 30_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser. Without it the tests are skipped and say why."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed (pip install playwright; its own browsers are not needed)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        _missing("no chromium on the PATH (Debian: apt-get install chromium)")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def _missing(what: str) -> NoReturn:
    if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
        pytest.fail(f"a required browser is missing: {what}")
    pytest.skip(what)


class Warehouse:
    """The application of the night, its workers and its Flower."""

    def __init__(self, jobs: Jobs, start: Callable[..., Worker], log: Path) -> None:
        from tests.integration.test_flower import Flower

        self.letters = jobs.dead_letters
        self.marks = redis.Redis.from_url(jobs.broker)
        self._start = start
        self._worker: Worker | None = None
        self.env = {"WAREHOUSE_REDIS": jobs.broker, "PYTHONPATH": os.pathsep.join((str(NIGHT), str(ROOT)))}
        self.flower = Flower(jobs, log, "--basic-auth=anna:secret", env=self.env, app="warehouse")

    def deploy(self, release: str) -> None:
        """Stop the worker that runs, and start one with this release of the code."""
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._start("warehouse", env={**self.env, "WAREHOUSE_RELEASE": release}, loglevel="INFO")

    def done(self, task: str) -> dict[bytes, bytes]:
        """Order -> how often it was done."""
        found: Any = self.marks.hgetall(f"done:{task}")
        return dict(found)

    def count(self, **where: Any) -> int:
        """Letters that agree."""
        return self.letters.count(Filter.parse(where))


@pytest.fixture
def warehouse(worker: Callable[..., Worker], redis_url: str, tmp_path: Path) -> Iterator[Warehouse]:
    """After the orders of the night have died, with release 1 still running."""
    here = Warehouse(Jobs(worker, redis_url, redis_url), worker, tmp_path / "flower.log")
    here.deploy("1")
    with Celery("client", broker=redis_url, set_as_current=False) as client:
        for number, (task, order, arguments) in enumerate(orders()):
            client.send_task(f"warehouse.{task}", (f"{order}-{number}",), arguments)
    eventually(lambda: here.count() == INVOICES + STOCK + LABELS + 1, timeout=60, what="the orders to die")
    here.flower.ready()
    yield here
    here.flower.stop()
    here.marks.close()


def orders() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Those that meet a bug, one that meets the printer, and some that meet nothing."""
    for n in range(INVOICES):
        yield "book_invoice", "eu", {"total": f"{1 + n % 9}.{100 + n},50", "region": "eu"}
    for n in range(STOCK):
        yield "sync_stock", "north", {"item": {"article": f"a{n}"}}
    for n in range(LABELS):
        yield "print_label", "private", {"address": {"street": f"Elm {n}"}}
    yield "print_label", "firm", {"address": {"street": "Oak 1", "company": "x"}, "service": "away"}
    for n in range(TIMES):
        yield "book_invoice", "us", {"total": f"1,{100 + n}.50", "region": "us"}


class Visitor:
    """Somebody with a browser, who has logged in."""

    def __init__(self, browser: Browser, flower: Any, **options: Any) -> None:
        login = {"username": "anna", "password": "secret"}
        options = {"viewport": {"width": 1100, "height": 690}, **options}
        self.context = browser.new_context(http_credentials=login, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.root = f"http://127.0.0.1:{flower.port}/recovery"
        #: What went wrong in the pages' own scripts.
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def opens(self, path: str = "") -> Visitor:
        self.page.goto(self.root + path)
        return self

    def follows(self, link: str, page: str) -> Visitor:
        """Click on a link or button that says so; it leads to a page of that name."""
        self.page.locator(f"a:has-text('{link}'), button:has-text('{link}')").first.click()
        self.page.wait_for_url(re.compile(rf"/recovery/{page}(\?|$)"))
        return self

    def sees(self, *words: str) -> Visitor:
        """All of this stands on the page, or comes to."""
        for one in words:
            self.page.get_by_text(one).first.wait_for()
        return self

    def shows(self, name: str) -> None:
        """Take a picture of what is in the window, where pictures are wanted."""
        if directory := os.environ.get("FLOWER_PICTURES"):
            self.page.screenshot(path=Path(directory) / f"flower-{name}.png")

    def figure(self, name: str) -> int:
        """A figure of the progress, as it is shown now."""
        return int(self.page.inner_text(f"[data-figure={name}]").replace(",", ""))


def fits(warehouse: Warehouse, chromium: Browser) -> None:
    """As narrow as a phone nothing sticks out of any page, and its scripts make no mistake."""
    (one,) = warehouse.letters.list(limit=1)
    paths = (
        "", "/groups", f"/group?fingerprint={one.error.fingerprint}", "/letters", "/letters?state=review",
        f"/letter?id={one.id}", f"/confirm?verb=replay&id={one.id}", f"/confirm?verb=edit&id={one.id}", "/circuits",
        "/circuit?name=x", "/parked", "/batches", "/operations", "/audit",
    )  # fmt: skip
    phone = Visitor(chromium, warehouse.flower, viewport={"width": 390, "height": 844})
    for path in paths:
        phone.opens(path)
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert phone.page.title().endswith("Recovery · Flower"), path
    assert phone.errors == []


def test_found_understood_not_mended_and_mended(warehouse: Warehouse, chromium: Browser) -> None:
    """The wrong fix stops by itself and says why; the right one goes through; all of it is on record."""
    anna = Visitor(chromium, warehouse.flower)

    # found: how many errors it is, since when, what they have in common
    total = INVOICES + STOCK + LABELS + 1
    anna.opens().sees(f"{total:,} letters", "4 different errors", "3 of them are", "all in version release-1")
    anna.sees("in amount (warehouse.py:", "region = eu in 30 of 30").shows("overview")

    # understood: the group, and one letter of it
    anna.follows("InvalidOperation in warehouse.book_invoice", "group").sees("region = eu", "release-1", "Raised in")
    assert anna.page.get_by_text("Reopen").count() == 0, "it is open"
    group = anna.page.url
    anna.page.locator("h2:has-text('The newest letter') a").click()
    anna.sees(
        "Why it is dead", '"region": "eu"', "in amount", "Attempts", f"{INVOICES} open letters that died of the same"
    )

    # the wrong fix; the button is hit twice, and the operation is one
    warehouse.deploy("2")
    anna.page.goto(group)
    anna.follows("Replay …", "confirm").sees(f"Replay {INVOICES} letters?", "died in release-1")
    anna.page.locator(f"button:has-text('Replay {INVOICES}')").dblclick()
    anna.page.wait_for_url(re.compile("/operation"))
    anna.page.locator("#state", has_text="stopped").wait_for()
    anna.sees(
        "Its canary has stopped it",
        "replays died again, where 90% should recover",
        f"The other {INVOICES - 5} letters are as they were",
    )
    anna.sees("What they died of again", "release-2")
    anna.shows("stopped")
    assert len(warehouse.letters.operations.latest(10)) == 1
    assert warehouse.count(state="failed") == total
    anna.page.go_back()
    anna.sees(f"Replay {INVOICES} letters?")
    anna.page.go_back()
    anna.sees("What was done to it", "0 recovered, 5 died again")

    # the right one, by the keyboard
    warehouse.deploy("3")
    anna.follows("Replay …", "confirm")
    anna.page.locator("#field-reason").fill("decimal commas")
    anna.page.keyboard.press("Enter")
    anna.page.wait_for_url(re.compile("/operation"))
    anna.page.locator("#state", has_text="done").wait_for()
    eventually(lambda: anna.figure("recovered") == INVOICES, what="the page to show that all have recovered")
    assert set(warehouse.done("book_invoice").values()) == {b"1"}, "each order once"
    assert len(warehouse.done("book_invoice")) == INVOICES + TIMES
    anna.opens().sees(f"{STOCK + LABELS + 1} letters")
    assert anna.page.get_by_text("Operations that are not through").count() == 0, "nothing is left of the first replay"

    # said that it is mended, and that it came back
    anna.page.goto(group)
    anna.follows("Resolve …", "confirm").page.fill("#field-version", "release-3")
    anna.page.keyboard.press("Enter")
    anna.sees("resolved in release-3")
    warehouse.deploy("4")
    with Celery("client", broker=warehouse.env["WAREHOUSE_REDIS"], set_as_current=False) as client:
        client.send_task("warehouse.book_invoice", ("eu-again",), {"total": "1.234,50", "region": "eu"})
    eventually(lambda: warehouse.count(state="failed") == STOCK + LABELS + 2, what="the bug to come back")
    anna.opens().sees("Came back after they were resolved", "in version release-4", "anna had resolved it in release-3")
    anna.opens("/audit").sees("replay stopped", "“decimal commas”", "group resolved", "in version release-3")
    assert anna.errors == []


def test_put_right_in_the_page(warehouse: Warehouse, chromium: Browser) -> None:
    """Arguments are edited as a diff, what does not fit is refused, an edit is undone; noise goes with a reason."""
    anna = Visitor(chromium, warehouse.flower, color_scheme="dark")
    anna.opens("/groups").follows("KeyError in warehouse.sync_stock", "group").follows("Edit …", "confirm")
    anna.page.locator("[data-line^='kwargs.item.article=']").click()
    assert anna.page.input_value("#field-changes").startswith("kwargs.item.article=a")
    anna.page.fill("#field-changes", "kwargs.items=[]")
    anna.follows("Show what changes", "confirm").sees("Changes: expected arguments that warehouse.sync_stock takes")
    assert anna.page.input_value("#field-changes") == "kwargs.items=[]", "what was typed is still there"
    anna.page.fill("#field-changes", "kwargs.item.sku=a1")
    anna.follows("Show what changes", "confirm").sees(f"It was tried on all {STOCK}, and fits")
    anna.shows("edit")
    assert anna.page.locator(".diff .ins", has_text='"sku": "a1"').count() == 5
    assert all(one.edits == 0 for one in warehouse.letters.iterate(Filter.parse({"task": "*.sync_stock"})))
    anna.follows(f"Edit {STOCK}", "operation").page.locator("#state", has_text="done").wait_for()
    assert {one.edits for one in warehouse.letters.iterate(Filter.parse({"task": "*.sync_stock"}))} == {1}
    anna.follows("Undo edit …", "confirm").sees("This is what comes back")
    anna.follows(f"Undo the last edit of {STOCK}", "operation").page.locator("#state", has_text="done").wait_for()
    assert not any(
        "sku" in one.arguments[1]["item"]
        for one in warehouse.letters.iterate(Filter.parse({"task": "*.sync_stock"}))
        if one.arguments
    )
    anna.page.go_back()
    anna.sees("That edit has been undone already")

    # one letter is set aside, taken, spoken for
    anna.opens("/letters?task=*.print_label")
    assert anna.page.locator("button[name=verb]").first.is_disabled(), "nothing is ticked"
    anna.page.locator("[name=id]").first.check()
    anna.sees("1 ticked").follows("Review …", "confirm").follows("Set aside for review", "letter").sees("review")
    anna.opens("/letters?state=review").follows("Error", "letter").follows("Assign …", "confirm")
    anna.page.fill("#field-to", "ben")
    anna.follows("Assign 1", "letter").sees("ben").follows("Reject …", "confirm").page.fill("#field-reason", "a test")
    anna.follows("Reject 1", "letter").sees("discarded", "rejected: a test")

    # the rest goes by filter, not without a reason
    anna.opens("/letters?task=*.print_label").follows("Discard all …", "confirm").sees(f"Discard {LABELS} letters?")
    anna.page.locator(f"button:has-text('Discard {LABELS}')").click()
    assert warehouse.count(state="discarded") == 1
    anna.page.fill("#field-reason", "printed by hand")
    anna.follows(f"Discard {LABELS}", "operation").page.locator("#state", has_text="done").wait_for()
    assert warehouse.count(state="discarded") == LABELS + 1

    fits(warehouse, chromium)

    # a search goes on until it has an answer
    anna.opens("/letters?text=nobody-has-this").sees("No dead letter matches.")
    assert anna.errors == []
