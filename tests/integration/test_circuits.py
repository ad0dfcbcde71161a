"""Tasks behind a circuit, in real workers: refused without a run, parked, and back when the dependency is."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError

from celery_recovery import CircuitBreaker, CircuitPolicy, Filter, Recovery
from celery_recovery.circuit.state import CircuitState
from celery_recovery.circuit.view import CircuitView
from celery_recovery.monitoring.events import EVENT
from celery_recovery.parking import ParkedFilter, ParkedTask
from tests.integration.jobs_client import Jobs, eventually
from tests.services import RedisServer, Worker

OPEN, CLOSED = CircuitState.OPEN, CircuitState.CLOSED
NEEDED = "dependency"


class Circuits(Jobs):
    """The jobs of `tests.apps.circuits`, and what they need."""

    def sig(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.app.signature(f"tests.apps.circuits.{name}", args=args, kwargs=kwargs)

    def worker(self, **options: Any) -> Worker:
        return super().worker(module="tests.apps.circuits", **options)

    def away(self, name: str = NEEDED) -> None:
        self.ledger.client.set(f"away:{name}", 1)

    def back(self, name: str = NEEDED) -> None:
        self.ledger.client.delete(f"away:{name}")

    def view(self, name: str = NEEDED) -> CircuitView:
        return Recovery.of(self.app).circuits.view(name)

    def breaker(self) -> CircuitBreaker:
        return Recovery.of(self.app).circuits.get(NEEDED)

    def stays_open(self) -> None:
        """No probes, and all processes know it: what one of them knew before holds no longer."""
        self.breaker().force_open()
        time.sleep(CircuitPolicy().freshness + 0.5)

    def opens(self, name: str = NEEDED) -> None:
        eventually(lambda: self.view(name).state is not CLOSED, what=f"{name} opens")

    def waiting(self) -> int:
        parked = Recovery.of(self.app).parked
        assert parked is not None
        return parked.count()

    def parked(self) -> list[ParkedTask]:
        parked = Recovery.of(self.app).parked
        assert parked is not None
        return list(parked.find().tasks)

    def calls(self, tokens: list[str]) -> int:
        return sum(self.ledger.lines(token).count("call") for token in tokens)

    def broken(self, how: str = "call", count: int = 8, **options: Any) -> list[str]:
        """The dependency is away; so many tasks meet it, and the circuit opens. Returns tokens, also ids."""
        self.away()
        tokens = [f"{how}-{n}" for n in range(count)]
        for token in tokens:
            self.send(how, token, task_id=token, **options)
        self.opens()
        return tokens

    def done(self, tokens: list[str], timeout: float = 40) -> None:
        eventually(lambda: all("done" in self.ledger.lines(token) for token in tokens), timeout, f"the end of {tokens}")


@pytest.fixture
def circuits(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Circuits:
    """On each broker, the store beside it."""
    return Circuits(worker, broker_url, other_redis_url)


@pytest.fixture
def on_redis(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Circuits:
    """On Redis alone, where the broker makes no difference."""
    return Circuits(worker, redis_url, other_redis_url)


def test_an_outage_costs_no_attempts(circuits: Circuits) -> None:
    """From the first failures on nobody calls but probes; all is done once it is back, and nothing dies."""
    circuits.worker(concurrency=4)
    tokens = circuits.broken(count=30)
    eventually(lambda: circuits.waiting() >= 25, what="tasks wait outside")
    time.sleep(5)  # some probes fail
    assert circuits.view().openings > 1
    circuits.back()
    circuits.done(tokens)
    assert circuits.view().state is CLOSED
    assert [circuits.result(token).get(timeout=20) for token in tokens] == tokens
    assert circuits.dead_letters.count() == 0
    assert circuits.waiting() == 0
    probes = sum(change.cause.value == "probes_failed" for change in circuits.view().history)
    # each that worked, each probe, and the first: four failures open it, and four processes may be in the middle of one
    assert circuits.calls(tokens) <= len(tokens) + 8 + probes
    assert all(circuits.ledger.lines(token).count("done") == 1 for token in tokens)


def test_a_long_outage_with_few_tasks(circuits: Circuits) -> None:
    """The same few probe again and again: they use no attempt by it, and are alive at its end."""
    circuits.worker(concurrency=2)
    tokens = circuits.broken(count=3)
    eventually(lambda: circuits.calls(tokens) >= 3 * 3 + 3, 60, "more runs than attempts")
    circuits.back()
    circuits.done(tokens)
    assert circuits.dead_letters.count() == 0


def test_one_circuit_for_each_tenant(on_redis: Circuits) -> None:
    """A callable on the arguments names it: the other tenants do not notice."""
    on_redis.worker(concurrency=4)
    on_redis.away("acme")
    for n in range(8):
        on_redis.send("for_tenant", f"acme-{n}", "acme")
    on_redis.opens("acme")
    on_redis.sig("for_tenant", "globex-1", tenant="globex").apply_async()
    on_redis.done(["globex-1"])
    assert on_redis.view("globex").state is CLOSED
    on_redis.back("acme")
    on_redis.done([f"acme-{n}" for n in range(8)])


@pytest.mark.parametrize(("tenant", "said"), [(None, ""), (7, "int"), ("two\nlines", "circuit")])
def test_no_name_no_circuit(on_redis: Circuits, tenant: Any, said: str) -> None:
    """None means none; what is no name is said once, and the task runs."""
    worker = on_redis.worker(concurrency=1)
    for n in range(2):
        on_redis.send("for_tenant", f"token-{n}", tenant)
    on_redis.done(["token-0", "token-1"])
    assert worker.log.count("runs without a circuit") == (1 if said else 0)


def test_a_callable_that_raises(on_redis: Circuits) -> None:
    """It cannot take the task with it: a wrong number of arguments is the body's own complaint, too."""
    worker = on_redis.worker(concurrency=1)
    on_redis.send("raising", "token")
    on_redis.done(["token"])
    assert "its callable raised KeyError" in worker.log


def test_all_circuits_of_a_task_count(on_redis: Circuits) -> None:
    """One that is open is enough to keep it waiting; the permit of the other is given back."""
    on_redis.worker(concurrency=2)
    circuits = Recovery.of(on_redis.app).circuits
    circuits.get("other").force_open(seconds=None, reason="maintenance")
    for n in range(3):
        on_redis.send("both", f"token-{n}")
    eventually(lambda: on_redis.waiting() == 3, what="all wait")
    on_redis.send("call", "lone")
    on_redis.done(["lone"])
    assert on_redis.calls([f"token-{n}" for n in range(3)]) == 0
    circuits.get("other").close()
    on_redis.done([f"token-{n}" for n in range(3)])


def test_on_open_fail(on_redis: Circuits) -> None:
    """The caller hears of it at once."""
    on_redis.worker(concurrency=4)
    on_redis.broken()
    on_redis.stays_open()
    result = on_redis.send("impatient", "token")
    with pytest.raises(Exception, match="the circuit 'dependency' is") as caught:
        result.get(timeout=20)
    assert type(caught.value).__name__ == "CircuitOpen"
    assert on_redis.ledger.lines("token") == []
    assert on_redis.dead_letters.count() == 0


def test_on_open_dead_letter(on_redis: Circuits) -> None:
    """It waits for a person, with the reason; a replay runs it."""
    on_redis.worker(concurrency=4)
    tokens = on_redis.broken()
    on_redis.stays_open()
    result = on_redis.send("set_aside", "token")
    eventually(on_redis.dead_letters.count, what="its letter")
    letter = on_redis.dead_letters.get(result.id)
    assert letter.reason == "circuit"
    assert on_redis.ledger.lines("token") == []
    on_redis.back()
    on_redis.breaker().close()
    on_redis.done(tokens)
    assert on_redis.dead_letters.replay(result.id).published == 1
    on_redis.done(["token"])


def test_bad_data_says_nothing(on_redis: Circuits) -> None:
    """However many orders are wrong, the dependency is not down."""
    on_redis.worker(concurrency=2)
    for n in range(12):
        on_redis.send("picky", f"token-{n}")
    eventually(lambda: on_redis.dead_letters.count() == 12, what="their letters")
    assert on_redis.view().state is CLOSED
    assert on_redis.view().failed == 0


def test_a_killed_probe_frees_its_place(circuits: Circuits) -> None:
    """Its process dies by SIGKILL in the middle of the call: another probes when its lease is over; nothing is lost."""
    circuits.worker(concurrency=2)
    breaker = Recovery.of(circuits.app).circuits.get(NEEDED)
    breaker.force_open()
    breaker.half_open()
    circuits.send("stuck", "probe", task_id="probe")
    pid = int(eventually(lambda: circuits.ledger.client.get("pid:probe"), what="the probe"))
    tokens = [f"token-{n}" for n in range(4)]
    for token in tokens:
        circuits.send("call", token)
    eventually(lambda: circuits.waiting() == 4, what="the others wait")
    assert circuits.calls(tokens) == 0
    circuits.ledger.client.delete("pid:probe")
    circuits.ledger.fix("probe")
    os.kill(pid, signal.SIGKILL)
    circuits.done([*tokens, "probe"])
    assert circuits.view().state is CLOSED


def test_redis_away(
    worker: Callable[..., Worker], redis_url: str, other_redis_url: str, own_redis: RedisServer
) -> None:
    """Each process goes by a circuit of its own meanwhile; no task fails for it, and it is said once a process."""
    conf = {"recovery_redis_url": own_redis.url()}
    jobs = Circuits(worker, redis_url, other_redis_url, conf=conf)
    running = jobs.worker(concurrency=1)
    jobs.send("call", "before")
    jobs.done(["before"])
    own_redis.kill()
    tokens: list[str] = []

    def said(words: str) -> bool:
        tokens.append(f"token-{len(tokens)}")
        jobs.send("call", tokens[-1])
        return words in running.log

    eventually(lambda: said("decides by itself"), what="a word of it")
    own_redis.start()
    eventually(lambda: said("shared again"), what="the shared circuit")
    jobs.done(tokens)
    assert running.log.count("decides by itself") <= 2  # the main process and its child
    broken = jobs.broken()
    jobs.back()
    jobs.done(broken)


def test_the_budget_keeps_retries_back(on_redis: Circuits) -> None:
    """When it is empty a retry waits longer; no attempt is used, none is lost."""
    on_redis.worker(concurrency=4)
    on_redis.away("budgeted")
    tokens = [f"token-{n}" for n in range(12)]
    for token in tokens:
        on_redis.send("budgeted", token)
    parked = Recovery.of(on_redis.app).parked
    assert parked is not None
    eventually(lambda: parked.count(ParkedFilter(reason=("budget",))), what="one that waits for the budget")
    on_redis.back("budgeted")
    on_redis.done(tokens, 90)
    assert on_redis.dead_letters.count() == 0


def test_declared_twice(on_redis: Circuits) -> None:
    """The first counts, and it is said once."""
    worker = on_redis.worker(concurrency=1)
    for n in range(3):
        on_redis.send("call", f"call-{n}")
        on_redis.send("differs", f"differs-{n}")
    on_redis.done([f"{how}-{n}" for how in ("call", "differs") for n in range(3)])
    assert worker.log.count("has other settings") == 1
    assert "recovery_circuits is the place" in worker.log


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_other_pools(on_redis: Circuits, pool: str) -> None:
    """Where tasks share a process the same holds."""
    on_redis.worker(concurrency=4, pool=pool)
    tokens = on_redis.broken(count=10)
    eventually(lambda: on_redis.waiting() >= 5, what="tasks wait outside")
    on_redis.back()
    on_redis.done(tokens)
    assert on_redis.dead_letters.count() == 0


def test_canvas(circuits: Circuits) -> None:
    """What waits is still a member of its chain and its chord."""
    circuits.worker(concurrency=4)
    circuits.broken()
    joined = chain(circuits.sig("call", "first"), circuits.sig("call", "second").set(immutable=True)).apply_async()
    body = circuits.app.signature("tests.apps.jobs.total", kwargs={"token": "body"})
    total = chord([circuits.sig("number", f"member-{n}", n) for n in range(3)])(body)
    eventually(lambda: circuits.waiting() >= 4, what="they wait")
    circuits.back()
    assert joined.get(timeout=40) == "second"
    assert total.get(timeout=40) == 0 + 1 + 2
    assert circuits.ledger.lines("body") == ["total 3"]


def test_a_replay_waits_too(circuits: Circuits) -> None:
    """Put back while its circuit is open, a letter's task is parked, and recovered when it has run."""
    circuits.worker(concurrency=4)
    result = circuits.send("needs_fixing", "token", task_id="fixed-later")
    eventually(circuits.dead_letters.count, what="its letter")
    circuits.ledger.fix("token")
    circuits.broken()
    assert circuits.dead_letters.replay(result.id).published == 1
    eventually(lambda: any(one.id == result.id for one in circuits.parked()), what="it waits")
    circuits.back()
    circuits.done(["token"])
    eventually(lambda: circuits.dead_letters.get(result.id).state.value == "recovered", what="its letter is recovered")
    assert circuits.ledger.lines("token").count("done") == 1


def test_a_message_that_expires(on_redis: Circuits) -> None:
    """It does not wait for ever: it ends as an expired task does."""
    on_redis.worker(concurrency=4)
    on_redis.broken()
    result = on_redis.send("call", "late", expires=2)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=40)
    seen = on_redis.ledger.lines("late")
    assert len(seen) <= 1, "only by a process that had not yet heard of the open circuit"
    on_redis.back()
    on_redis.send("call", "after").get(timeout=40)
    assert on_redis.ledger.lines("late") == seen, "expired, it does not run when the circuit closes"


def test_a_queue_of_its_own_is_paused(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> None:
    """Its tasks wait at the broker, and not one after the other in a worker's hands; others go on."""
    conf = {"recovery_circuits": {NEEDED: {"pauses": ["dependent"]}}}
    jobs = Circuits(worker, broker_url, other_redis_url, conf=conf)
    running = jobs.worker(concurrency=2, queues=("celery", "dependent"))
    breaker = Recovery.of(jobs.app).circuits.get(NEEDED)
    breaker.force_open(reason="maintenance")
    assert running.wait_log("queue dependent is paused")
    for n in range(5):
        jobs.send("call", f"token-{n}", queue="dependent")
    jobs.app.send_task("tests.apps.jobs.fine", ("other",))
    eventually(lambda: jobs.ledger.lines("other"), what="another queue's task")
    assert (jobs.waiting(), jobs.calls([f"token-{n}" for n in range(5)])) == (0, 0)
    breaker.close()
    jobs.done([f"token-{n}" for n in range(5)])
    assert running.wait_log("queue dependent is consumed again")


def test_told_of_transitions(on_redis: Circuits) -> None:
    """Whoever watches the cluster gets an event, and the log of the process that saw it a line with the figures."""
    running = on_redis.worker(concurrency=4)
    heard: list[dict[str, Any]] = []
    with on_redis.app.connection_for_read() as connection:
        receiver = on_redis.app.events.Receiver(connection, handlers={EVENT: heard.append})
        with receiver.consumer_context():
            on_redis.broken()
            with contextlib.suppress(TimeoutError):
                for _ in receiver.consume(limit=None, timeout=10, wakeup=False):
                    if heard:
                        break
    told = heard[0]  # which one, depends on when this process could listen
    (change,) = [one for one in on_redis.view().history if one.generation == told["generation"]]
    assert (told["circuit"], told["before"], told["after"], told["cause"], told["detail"]) == (
        NEEDED, change.before.value, change.after.value, change.cause.value, change.detail,
    )  # fmt: skip
    assert running.wait_log(r"circuit dependency: closed -> open, consecutive_failures \(calls \d+, failed \d+")


def test_redis_forgets_everything(on_redis: Circuits) -> None:
    """The circuit's Redis is flushed in the middle of an outage: it opens anew, and late reports do no harm."""
    on_redis.worker(concurrency=4)
    on_redis.broken()
    client = Recovery.of(on_redis.app).circuits.client
    generation = on_redis.view().generation
    for key in client.scan_iter("*{circuit*"):
        client.delete(key)
    tokens = [f"later-{n}" for n in range(12)]
    for token in tokens:
        on_redis.send("call", token, task_id=token)
    on_redis.opens()
    assert on_redis.view().generation > generation
    on_redis.back()
    tokens += [f"call-{n}" for n in range(8)]
    ended = lambda: sum("done" in on_redis.ledger.lines(token) for token in tokens) + on_redis.letters()  # noqa: E731
    eventually(lambda: ended() == len(tokens), 60, "the end of all")
    # One that is let go alone behind the flush uses its attempts up before enough have failed to open the circuit.
    assert on_redis.letters() <= 1
    on_redis.dead_letters.replay(Filter())
    on_redis.done(tokens)
