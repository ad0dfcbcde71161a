"""What is owed survives being written down; a backend that is away is told from one that refuses; nobody waits long."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import BackendStoreError
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import EncodeError

from celery_recovery import RecoverableTask
from celery_recovery.errors import ErrorClassifier
from celery_recovery.redis.client import connect
from celery_recovery.redis.keys import Keys
from celery_recovery.results import Keeper, Outcome, Owed, OwedStore, install
from celery_recovery.results import keeper as keeper_module
from celery_recovery.results.bounded import bounded
from tests.services import RedisServer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def app_on(backend: str, **conf: Any) -> Celery:
    made = Celery("owing", broker="memory://", backend=backend, set_as_current=False)
    made.conf.update(conf)
    return made


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    """Its backend is a directory that a test may take away."""
    return app_on(f"file://{tmp_path}")


@pytest.fixture
def store(redis_url: str) -> Iterator[OwedStore]:
    with connect(redis_url) as client:
        yield OwedStore(client, Keys(), expires=None)


def outcome(**values: Any) -> Outcome:
    return Outcome(**{"kind": "done", "id": "i", "state": states.SUCCESS, "result": 1, **values})


def written(app: Celery, **values: Any) -> Owed:
    return Owed.of(app, app.backend, "shop.charge", outcome(**values))


@given(result=JSON)
def test_a_return_value_is_read_as_it_was_written(result: Any) -> None:
    """Every value that the backend can store; and with it what completes a chord."""
    app = app_on("cache+memory://")
    request = Context(id="i", group="g", group_index=2, chord={"task": "t", "chord_size": 3}, reply_to="q")
    owed = Owed.of(app, app.backend, "t", outcome(result=result, request=request))
    read, errbacks = owed.read(app)
    assert read.result == result
    assert errbacks == []
    assert read.request is not None
    kept = ("id", "group", "group_index", "chord", "reply_to")
    assert [getattr(read.request, name) for name in kept] == [getattr(request, name) for name in kept]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_an_exception_is_stored_as_if_at_once(tmp_path: Path, serializer: str) -> None:
    """Class, arguments and traceback; by a process that may not even know the class."""
    app = app_on(f"file://{tmp_path}", result_serializer=serializer, accept_content=["json", "pickle"])
    keeper = Keeper(app, timeout=1, classifier=ErrorClassifier())
    owed = written(app, kind="failure", state=states.FAILURE, result=KeyError("sku"), traceback="tb")
    assert keeper.settled(owed)
    meta = app.backend.get_task_meta("i")
    assert (meta["status"], type(meta["result"]), meta["result"].args, meta["traceback"]) == (
        "FAILURE", KeyError, ("sku",), "tb",
    )  # fmt: skip


def test_a_revocation_is_settled(app: Celery) -> None:
    """With its reason."""
    owed = written(app, kind="revoked", state=states.REVOKED, result="expired")
    assert Keeper(app, timeout=1, classifier=ErrorClassifier()).settled(owed)
    meta = app.backend.get_task_meta("i")
    assert meta["status"] == "REVOKED"
    assert "expired" in str(meta["result"])


def test_what_cannot_be_written_down_is_refused(app: Celery) -> None:
    """As the backend would refuse it."""
    with pytest.raises(EncodeError):
        written(app, result=object())


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (redis.ConnectionError("x"), True),
        (redis.TimeoutError("x"), True),
        (redis.AuthenticationError("x"), True),
        (redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'"), True),
        (ConnectionRefusedError(111, "refused"), True),
        (RuntimeError("whatever"), True),
        (EncodeError("x"), False),
        (TypeError("x"), False),
        (redis.DataError("Invalid input of type"), False),
        (BackendStoreError("value too large for Redis backend"), False),
    ],
    ids=repr,
)
def test_away_or_refused(app: Celery, error: Exception, away: bool) -> None:
    """Waiting helps against the one and not against the other."""
    assert Keeper(app, timeout=1, classifier=ErrorClassifier()).is_away(error) is away


@pytest.mark.redis
def test_one_claims_and_the_lease_runs_out(store: OwedStore, app: Celery) -> None:
    """What one settler has, no other gets; what a dead one had, comes back."""
    owed = written(app)
    assert store.add(owed)
    assert store.claim(5, lease=0.2) == [owed]
    assert store.claim(5) == []
    time.sleep(0.25)
    assert store.claim(5) == [owed]
    assert store.settled(owed)
    assert store.get("i") is None
    assert store.claim(5) == []


@pytest.mark.redis
def test_the_newest_outcome_counts(store: OwedStore, app: Celery) -> None:
    """Settling an old one does not remove the one that has taken its place."""
    old, new = written(app), written(app, result=2)
    store.add(old)
    store.add(new)
    assert not store.settled(old)
    assert store.get("i") == new


@pytest.mark.redis
def test_given_back_it_is_due_later(store: OwedStore, app: Celery) -> None:
    """And a failure of its own is counted."""
    store.add(written(app))
    (claimed,) = store.claim(1)
    store.release(claimed, 0, failed=True)
    (again,) = store.claim(1)
    assert again.tries == 1
    store.release(again, 60)
    assert store.claim(1) == []


@pytest.mark.redis
def test_the_store_is_bounded(store: OwedStore, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a new one is refused; a newer one of a known task is not."""
    monkeypatch.setattr("celery_recovery.results.owed.LIMIT", 1)
    assert store.add(written(app))
    assert not store.add(written(app, id="j"))
    assert store.add(written(app))


@pytest.mark.redis
@pytest.mark.faults
def test_one_try_is_short(own_redis: RedisServer) -> None:
    """Celery's own takes 20 s when Redis is down, and minutes when it hangs; ours no longer than it is told to."""
    app = app_on(own_redis.url())
    backend = bounded(app.backend, 0.5)
    assert backend is bounded(app.backend, 0.5)
    outcome().store_in(backend)
    assert app.backend.get_task_meta("i")["result"] == 1
    own_redis.pause()
    assert _seconds(backend) < 3
    own_redis.kill()
    assert _seconds(backend) < 1


def _seconds(backend: Any) -> float:
    began = time.monotonic()
    with pytest.raises(redis.RedisError):
        outcome(id="k").store_in(backend)
    return time.monotonic() - began


def test_the_twin_of_a_patient_backend_tries_once(tmp_path: Path) -> None:
    """`result_backend_always_retry` means for ever; then nobody could owe anything."""
    app = app_on(f"file://{tmp_path}", result_backend_always_retry=True)
    assert app.backend.always_retry
    assert not bounded(app.backend, 1).always_retry


def test_the_memory_is_bounded_and_settled(app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store outcomes stay in memory, up to a limit; the process settles them itself."""
    monkeypatch.setattr(keeper_module, "MEMORY_COUNT", 2)
    monkeypatch.setattr(keeper_module, "MEMORY_PAUSE", 0.05)
    keeper = Keeper(app, timeout=1, classifier=ErrorClassifier())
    for name in "abc":
        keeper.remember(written(app, id=name), None, 1)
    deadline = time.monotonic() + 10
    while len(keeper._memory) and time.monotonic() < deadline:
        time.sleep(0.02)
    stored = [app.backend.get_task_meta(name)["status"] for name in "abc"]
    assert stored == ["SUCCESS", "SUCCESS", "PENDING"]
    keeper.close()


def test_a_forked_child_does_not_own_its_parents_memory(app: Celery) -> None:
    """Else both would store it, and a chord would count it twice."""
    keeper = Keeper(app, timeout=1, classifier=ErrorClassifier())
    keeper._memory["i"] = written(app)
    child = os.fork()
    if not child:
        _ = keeper.absence
        os._exit(len(keeper._memory))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_workers_guard(app: Celery) -> None:
    """A client sees its backend; a worker sees the guard, which passes everything else through."""

    @app.task(base=RecoverableTask)
    def charge() -> None: ...

    assert charge.backend is app.backend
    install(app, Keeper(app, timeout=1, classifier=ErrorClassifier()), lambda *_: None)
    assert charge.backend is not app.backend
    assert charge.backend.serializer == "json"
    assert charge.AsyncResult("i").state == "PENDING"
    assert charge.backend.get_key_for_task("i") == app.backend.get_key_for_task("i")
    own = app_on("cache+memory://").backend
    charge.backend = own
    assert charge.backend._unguarded() is own


def test_waiting_ends_with_the_hard_time_limit(app: Celery) -> None:
    """A child that is killed while it waits would have done its work for nothing."""

    @app.task(base=RecoverableTask)
    def charge() -> None: ...

    install(app, Keeper(app, timeout=30, classifier=ErrorClassifier()), lambda *_: None)
    guard = charge.backend
    for limit, patience in ((None, 30), (100, 30), (20, 13), (5, 0)):
        request = Context(id="i", timelimit=[limit, None], recovery_running=time.monotonic())
        charge.request_stack.push(request)
        assert guard._patience(request) == pytest.approx(patience, abs=0.5)
        charge.request_stack.pop()
    assert guard._patience(Context(id="i")) == 0, "the main process does not wait"


def test_concurrent_claims_are_disjoint(store: OwedStore, app: Celery) -> None:
    """Ten workers, one hundred outcomes, each claimed once."""
    for number in range(100):
        store.add(written(app, id=str(number)))
    claimed: list[str] = []

    def settler() -> None:
        while batch := store.claim(7):
            claimed.extend(one.id for one in batch)

    threads = [threading.Thread(target=settler) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed, key=int) == [str(number) for number in range(100)]


@pytest.mark.redis
def test_a_chord_that_was_claimed_in_vain_stays_owed(redis_url: str) -> None:
    """A repetition within the claim's seconds does nothing and says nothing: it is no settlement."""
    app = app_on(redis_url)
    backend = app.backend
    claim = backend.get_key_for_group("g", ".c")
    backend.set_chord_size("g", 2)
    request = Context(id="i", group="g", group_index=0, chord={"task": "t", "args": [], "kwargs": {}, "options": {}})
    owed = written(app, request=request)
    keeper = Keeper(app, timeout=1, classifier=ErrorClassifier())
    backend.client.set(claim, "another's token")
    assert not keeper.settled(owed)
    backend.client.set(claim, "done")
    assert keeper.settled(owed)
