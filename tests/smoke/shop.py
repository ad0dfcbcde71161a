"""The test's side of the shop: sends orders, and acts on them as an operator does, by the command line in the node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery
from celery.canvas import Signature
from celery.result import AsyncResult

from celery_recovery import Filter, Letter, Recovery
from celery_recovery.dead_letters.state import OPEN, LetterState

if TYPE_CHECKING:
    from pytest_celery import CeleryTestSetup

__all__ = ("Shop", "eventually")

_ENDS = ("SUCCESS", "FAILURE", "QUARANTINED")


def eventually(found: Callable[[], Any], timeout: float = 30.0, what: str = "it") -> Any:
    """What `found` answers as soon as that is true; AssertionError with its last answer after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s: {answer!r}"
        time.sleep(0.05)


class Shop:
    """One broker, one backend, one worker."""

    def __init__(self, setup: CeleryTestSetup) -> None:
        self.setup, self.broker, self.worker = setup, setup.broker, setup.worker
        self.app: Celery = setup.app
        self.ledger = redis.Redis.from_url(setup.backend.config()["host_url"], decode_responses=True)

    @property
    def operator(self) -> Recovery:
        """The same as the command line, from this side."""
        return Recovery.of(self.app)

    def sig(self, task: str, *args: Any) -> Signature:
        """One call of a task: `charge`, `ship` and the like."""
        return self.app.signature(f"shop.{task}", args=args)

    def send(self, task: str, *args: Any) -> AsyncResult:
        return self.sig(task, *args).apply_async()

    def result(self, task_id: str) -> AsyncResult:
        """Looked up anew: one that was seen to fail remembers that."""
        return self.app.AsyncResult(task_id)

    def lines(self, order: str) -> list[str]:
        """What happened with an order, in order."""
        return self.ledger.lrange(f"ledger:{order}", 0, -1)

    def runs_in(self, order: str, nth: int = 1) -> int:
        """The process that packs an order for the nth time, as the node numbers it."""

        def found() -> list[str]:
            return [line for line in self.lines(order) if line.startswith("pid ")][nth - 1 : nth]

        return int(eventually(found, what=f"run {nth} of {order}")[0].removeprefix("pid "))

    def recovery(self, *arguments: str) -> Any:
        """What `celery -A app recovery …` prints in the worker's node, with `--json`."""
        command = ["celery", "-A", "app", "recovery", *arguments, "--json"]
        code, (out, err) = self.worker.container.exec_run(command, demux=True)
        assert code == 0, f"{' '.join(command)} ended with {code}: {(err or b'').decode()}"
        return json.loads(out)

    def letter_is(self, letter_id: str, state: str, replays: int = 0) -> Letter:
        """Wait until the letter is in this state, after so many replays. Asked from here: a command takes a second."""
        letters = self.operator.dead_letters

        def found() -> Letter | None:
            letters.drain()
            seen = next(letters.iterate(Filter(ids=(letter_id,))), None)
            return seen if seen and (seen.state, seen.replays) == (state, replays) else None

        return eventually(found, what=f"letter {letter_id} {state} after {replays} replays")

    def kill_in_worker(self, process: int) -> None:
        """SIGKILL for one process of the node."""
        code, output = self.worker.container.exec_run(["python", "-c", f"import os; os.kill({process}, 9)"])
        assert code == 0, output

    def queued(self) -> int:
        """Messages that wait in the queue of the tasks."""
        with self.app.connection_for_read() as link:
            return self.app.amqp.queues["celery"](link.default_channel).queue_declare().message_count

    def broker_is_back(self) -> None:
        """A container that was started again may be reached at another port."""
        setup = self.setup
        config = {"broker_url": self.broker.config()["host_url"], "result_backend": setup.backend.config()["host_url"]}
        self.app.close()
        self.app = setup.create_setup_app(config, setup.name())

    def books(self, sent: Iterable[AsyncResult]) -> dict[str, int]:
        """Wait until nothing is under way; how many have ended where. A task in two places, or in none, is an error."""
        ids = {result.id for result in sent}
        eventually(lambda: all(self.result(one).state in _ENDS for one in ids), timeout=60, what="an end of every task")
        eventually(lambda: self.queued() == self.operator.parked.count() == 0, what="nothing queued or parked")
        letters = self.operator.dead_letters
        letters.drain()
        places = {
            "succeeded": {one for one in ids if self.result(one).state == "SUCCESS"},
            "dead": {letter.id for letter in letters.iterate(Filter(state=tuple(OPEN)))},
            "discarded": {letter.id for letter in letters.iterate(Filter(state=(LetterState.DISCARDED,)))},
        }
        found = [one for place in places.values() for one in place]
        assert sorted(found) == sorted(ids), f"missing: {ids.difference(found)}; where they are: {places}"
        return {name: len(place) for name, place in places.items() if place}

    def close(self) -> None:
        """Let go of all connections."""
        self.app.close()
        self.ledger.close()
