"""What makes `celery_recovery.testing` trustworthy: in memory a task ends as it does in a real worker on real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import redis
from celery import Celery, states

from celery_recovery import Letter, Recovery
from celery_recovery.actions import QUARANTINED
from celery_recovery.testing import Bench, Run, follow, replay, replay_items, run_task
from tests.apps import alike
from tests.integration.jobs_client import eventually
from tests.services import RedisServer, Worker

pytestmark = pytest.mark.redis

_BY_NAME = {case.name: case for case in alike.CASES}
#: Ends that neither the backend nor a letter tells of, by what the worker logs.
_UNTOLD = {"ignore": "ignored", "reject": "reject "}


class Real:
    """One real worker, and what became of every case there."""

    def __init__(self, worker: Worker, url: str) -> None:
        self.worker = worker
        self.app = Celery("alike-client", broker=url, backend=url, set_as_current=False)
        self.app.tasks.update({name: task for name, task in alike.app.tasks.items() if name not in self.app.tasks})
        self.letters = Recovery.of(self.app).dead_letters
        self.ids = {case.name: self.send(case) for case in alike.CASES}

    def send(self, case: alike.Case) -> str:
        options = {"ignore_result": case.task.ignore_result, **case.options}  # as the task itself would be sent
        return str(self.app.send_task(case.task.name, case.args, **options).id)

    def state(self, task_id: str) -> str:
        return str(self.app.AsyncResult(task_id).state)

    def letter(self, task_id: str) -> Letter | None:
        self.letters.drain()
        return self.letters.store.get(task_id)

    def ended(self, name: str) -> str:
        """The task's id, once it is at its end."""
        task_id = self.ids[name]
        if name in _UNTOLD:
            assert self.worker.wait_log(rf"\[{task_id}\] {_UNTOLD[name]}")
            return task_id
        ends = {*states.READY_STATES, QUARANTINED}
        silent = name == "ignore_result"
        eventually(lambda: self.letter(task_id) if silent else self.state(task_id) in ends, what=f"the end of {name}")
        return task_id


@pytest.fixture(scope="module")
def real(redis_server: RedisServer, _databases: Iterator[int]) -> Iterator[Real]:
    """All cases are sent at once, to one worker with a pool of processes."""
    url = redis_server.url(next(_databases))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    env = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    worker = Worker("tests.apps.alike", env=env, concurrency=2).wait_ready()
    try:
        yield Real(worker, url)
    finally:
        worker.kill()
        print(worker.log)  # noqa: T201  # pytest shows it when a test failed


class Told(NamedTuple):
    """What is compared of one life."""

    state: str
    result: Any
    letter: Mapping[str, Any] | None
    items: tuple[Mapping[str, Any], ...] = ()


def about(letter: Letter | None) -> Mapping[str, Any] | None:
    """What a letter says of a death, without ids, times and the name of the worker."""
    if letter is None:
        return None
    error = letter.error
    header = letter.batch_header
    return {
        "task": letter.task,
        "reason": letter.reason,
        "detail": letter.detail,
        "state": letter.state,
        "held": letter.held,
        "attempt": letter.attempt,
        "deferrals": letter.deferrals,
        "replays": letter.replays,
        "error_type": error.error_type,
        "rule": error.rule,
        "retryable": error.is_retryable,
        "exception": error.exception,
        "message": error.message,
        "fingerprint": error.fingerprint,
        "attempts": [
            (one["n"], one["error_type"], one["exception"], one["fingerprint"], one["delay"]) for one in letter.attempts
        ],
        "arguments": letter.arguments,
        "queue": letter.origin.queue,
        "priority": letter.origin.priority,
        "items": [] if header is None else [(item.position, item.key, item.value) for item in header.items],
    }


def timeless(result: Any) -> Any:
    """A batch's result without the seconds it took; an exception by its words."""
    if isinstance(result, BaseException):
        return type(result).__name__, str(result)
    return {**result, "seconds": 0.0} if isinstance(result, dict) and "seconds" in result else result


def in_memory(run: Run) -> Told:
    assert run.bench is not None
    with run.bench:
        result = alike.app.AsyncResult(run.id).result
    items = sorted(run.item_letters, key=lambda letter: str(about(letter)))
    return Told(run.state, timeless(result), about(run.letter), tuple(about(letter) or {} for letter in items))


def really(real: Real, name: str, items: int) -> Told:
    task_id = real.ended(name)
    result = timeless(real.app.AsyncResult(task_id).result)
    state = real.state(task_id)
    told = eventually(lambda: real.letter(task_id)) if name in _DIES else real.letter(task_id)
    found = eventually(lambda: _items(real, task_id, items) or not items, what=f"{items} letters of items")
    return Told(state, result, about(told), found if items else ())


def _items(real: Real, parent: str, count: int) -> tuple[Mapping[str, Any], ...]:
    real.letters.drain()
    letters = [letter for letter in real.letters.store.iterate() if letter.parent == parent]
    told = sorted((about(letter) or {} for letter in letters), key=str)
    return tuple(told) if len(letters) == count else ()


_DIES = {
    "exhausted", "unknown error", "validation", "quarantine", "review", "self.retry, used up", "max_retries",
    "autoretry_for", "expires", "deadline", "hold", "result that cannot be stored", "ignore_result",
}  # fmt: skip


@pytest.mark.parametrize("name", _BY_NAME)
def test_ends_alike(name: str, real: Real) -> None:
    """State, result, letter, history with its delays, letters of items: all the same, here and there."""
    case = _BY_NAME[name]
    run = run_task(case.task.s(*case.args).set(**case.options))
    assert (run.letter is not None) == (name in _DIES)
    assert in_memory(run) == really(real, name, len(run.item_letters))


def test_replays_end_alike(real: Real) -> None:
    """An edited letter that is replayed recovers, and its letter knows it; one that is not dies again."""
    case = _BY_NAME["validation"]
    for edit in ([], ["args.0.quantity=3"]):
        run = run_task(case.task, *case.args)
        again = replay(run, edit=edit)
        task_id = real.send(case)
        eventually(lambda task_id=task_id: real.letter(task_id))
        if edit:
            real.letters.edit((task_id,), edit)
        assert real.letters.replay((task_id,)).published == 1
        settled = eventually(lambda task_id=task_id: (found := real.letter(task_id)) and found.outcome and found)
        known = again.bench.letter(run.id)
        assert about(known) == about(settled)
        assert known.outcome == settled.outcome == ("recovered" if edit else "died again")
        assert again.state == real.state(task_id)


def test_replayed_items_end_alike(real: Real) -> None:
    """The items that a batch has set aside go together as one message; edited they recover."""
    case = _BY_NAME["batch"]
    run = run_task(case.task, *case.args)
    (again,) = replay_items(run, edit=["item.do="])
    task_id = real.send(case)
    eventually(lambda: _items(real, task_id, 3))
    ids = [letter.id for letter in real.letters.store.iterate() if letter.parent == task_id]
    real.letters.edit(ids, ["item.do="])
    assert real.letters.replay(ids, regroup=True).published == 3
    eventually(lambda: all(letter is not None and letter.outcome for letter in map(real.letter, ids)))
    found = sorted((about(real.letter(letter_id)) or {} for letter_id in ids), key=str)
    assert sorted((about(again.bench.letter(one.id)) or {} for one in run.item_letters), key=str) == found
    assert {one.state.value for one in again.bench.letters} == {"recovered"}


def test_fan_out_ends_alike(real: Real) -> None:
    """Parts are tasks of their own, and the task that fanned out has the result of all of them."""
    run = run_task(alike.fanning_out, [1, 2, 3, 4, 5])
    *parts, joint = follow(run)
    result = real.app.send_task(alike.fanning_out.name, ([1, 2, 3, 4, 5],)).get(timeout=30)
    assert (len(parts), joint.id) == (3, run.id)
    assert timeless(joint.result) == timeless(result)


def test_nothing_waits_in_memory() -> None:
    """All cases together take less time than one of their delays would."""
    bench = Bench(alike.app)
    for case in alike.CASES:
        bench.run(case.task.s(*case.args).set(**case.options))
    assert bench.clock.now() > 0
    assert bench.waiting == ()


def test_no_delays_in_a_real_worker(worker: Callable[..., Worker], redis_url: str) -> None:
    """`without_delays` in the module that a worker loads: as many attempts as ever, and none is waited for."""
    run = run_task(alike.patient)
    assert (run.result, len(run.attempts), len(run.starts)) == (3, 4, 5)
    assert run.waited > 1800
    url = {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url}
    logged = worker("tests.apps.alike", env={**url, "ALIKE_NO_DELAYS": "1"})
    app = Celery("alike-client", broker=redis_url, backend=redis_url, set_as_current=False)
    assert app.send_task(alike.patient.name).get(timeout=30) == 3
    assert logged.log.count("retry, transient in 0.0 s") == 3
