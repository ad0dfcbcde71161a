"""Tasks that go through items. What an item does is written in it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from celery_recovery import Discard, Quarantine, RecoverableTask, RecoveryError
from tests.apps.jobs import app, ledger, pause

__all__ = ("app",)


def items_of(numbers: int, special: dict[str, str]) -> Iterator[dict[str, Any]]:
    """`numbers` items, the special ones by their number."""
    for n in range(numbers):
        yield {"id": n, "do": special.get(str(n), "")}


def handle(token: str, item: dict[str, Any]) -> None:
    """One item: note it once it is done, or do what it says."""
    book, n, what = ledger(), item["id"], _what(token, item)
    raised: dict[str, Exception] = {
        "bad": ValueError(f"row {n} is bad"),
        "odd": RuntimeError(f"row {n} is odd"),
        "away": ConnectionResetError(104, "Connection reset by peer"),
        "quit": RecoveryError("the whole task"),
        "quarantine": Quarantine(f"row {n} is strange", review=True),
        "discard": Discard("not wanted"),
    }
    if what in raised:
        book.note(token, f"{what} {n}")
        raise raised[what]
    if what == "hang" and not (book.client.get(f"go:{token}") or book.client.get(f"go:{token}:{n}")):
        book.client.set(f"pid:{token}", os.getpid())
        pause(token, 60)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    book.note(token, str(n))


def _what(token: str, item: dict[str, Any]) -> str:
    """`word`, or `word:times`: only so often; `slow:seconds`."""
    book, n = ledger(), item["id"]
    what, _, times = str(item["do"]).partition(":")
    if what == "slow":
        time.sleep(float(times))
        return ""
    if what == "away" and book.client.get(f"back:{token}"):
        return ""
    if times and int(str(book.client.incr(f"tries:{token}:{n}"))) > int(times):
        return ""
    return what


@app.task(base=RecoverableTask, bind=True)
def loop(self: Any, token: str, numbers: int, special: dict[str, str], **options: Any) -> Any:
    """The plain loop."""
    ledger().note(token, "begin")
    source = list(items_of(numbers, special)) if options.pop("listed", False) else items_of(numbers, special)
    for item in self.batch(source, key=itemgetter("id"), **options):
        handle(token, item)


@app.task(base=RecoverableTask, bind=True)
def each(self: Any, token: str, numbers: int, special: dict[str, str], **options: Any) -> Any:
    """In place."""
    ledger().note(token, "begin")
    self.batch(items_of(numbers, special), **options).each(lambda item: handle(token, item))


@app.task(base=RecoverableTask, bind=True)
def chunks(self: Any, token: str, numbers: int, special: dict[str, str], size: int, **options: Any) -> Any:
    """A bulk call is done as a whole, or not at all."""
    for part in self.batch.chunks(items_of(numbers, special), size, **options):
        ledger().note(token, f"call {len(part)}")
        for item in part:
            if item["do"]:
                handle(f"{token}:{len(part)}", item)
        ledger().client.rpush(f"rows:{token}", *[item["id"] for item in part])


@app.task(base=RecoverableTask, bind=True)
def whole(self: Any, token: str, numbers: int, special: dict[str, str], size: int) -> Any:
    """Split into parts."""
    ledger().note(token, "begin")
    return self.batch.fan_out(items_of(numbers, special), size, to=part.s(token))


@app.task(base=RecoverableTask, bind=True, recovery_on_dead_letter="fail")
def part(self: Any, items: list[dict[str, Any]], token: str) -> Any:
    ledger().note(token, "part")
    self.batch(items, progress_every=0.2).each(lambda item: handle(token, item))


@app.task(base=RecoverableTask)
def after(result: dict[str, Any], token: str) -> dict[str, Any]:
    ledger().note(token, "after")
    return result


class Wrapped(RecoverableTask):
    """A base class of the user's, as web frameworks advise."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        ledger().note(args[0], "wrapped")
        return super().__call__(*args, **kwargs)


@app.task(base=Wrapped, bind=True)
def wrapped(self: Any, token: str, numbers: int, special: dict[str, str]) -> Any:
    for item in self.batch(items_of(numbers, special)):
        handle(token, item)


@app.task(base=RecoverableTask)
def total(results: list[dict[str, Any]], token: str) -> int:
    ledger().note(token, "total")
    return sum(result["succeeded"] for result in results)


@app.task(base=RecoverableTask, bind=True)
def two(self: Any, token: str, special: dict[str, str]) -> Any:
    """Two batches, one after the other."""
    for item in self.batch(items_of(5, special)):
        handle(token, item)
    for item in self.batch(items_of(5, special), name="second"):
        handle(f"{token}:second", item)


@app.task(base=RecoverableTask, bind=True)
def left(self: Any, token: str, special: dict[str, str]) -> Any:
    """Leaves its first batch early."""
    for item in self.batch(items_of(5, {})):
        handle(token, item)
        if item["id"] == 2:
            break
    for item in self.batch(items_of(5, special)):
        handle(f"{token}:second", item)


@app.task(base=RecoverableTask, bind=True)
def late(self: Any, token: str) -> None:
    """Its beginning fails when it is run again."""
    if ledger().client.incr(f"begun:{token}") == 2:
        raise ValueError("a bad beginning")
    for item in self.batch(items_of(5, {"3": "bad"})):
        handle(token, item)
