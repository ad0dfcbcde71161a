"""`celery_recovery.testing`: tasks run in memory, by the real pipeline, on a clock that a test has in hand."""

from __future__ import annotations

import functools
import logging
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, _state, chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject

from celery_recovery import (
    CircuitOpen,
    ConfigurationError,
    Discard,
    ErrorType,
    Jitter,
    LetterState,
    Quarantine,
    RecoverableTask,
    Recovery,
    RecoveryStrategy,
    RetryIn,
    RetryPolicy,
    Snooze,
    clock,
)
from celery_recovery.errors.rules.rule import transient
from celery_recovery.testing import (
    Bench,
    FakeClock,
    NotOnTheBench,
    NotReplayed,
    Outcome,
    Run,
    assert_dead_lettered,
    assert_discarded,
    assert_expired,
    assert_failed,
    assert_items_set_aside,
    assert_not_sent,
    assert_parked,
    assert_retried,
    assert_sent,
    assert_snoozed,
    assert_succeeded,
    circuit_open,
    follow,
    no_delays,
    replay,
    replay_items,
    resume,
    run_task,
    run_workflow,
)

#: 1, 2, 4 … seconds, six attempts, full jitter.
STEADY = RetryPolicy(max_attempts=6, base_delay=1, max_delay=3600, jitter=Jitter.FULL)
#: A broker that is not there: whatever is asked of it fails.
NOWHERE = "redis://127.0.0.1:1/0"


def away() -> Exception:
    return ConnectionResetError(104, "Connection reset by peer")


@pytest.fixture
def app() -> Celery:
    """An app whose broker and backend are not there."""
    made = Celery("shop", broker=NOWHERE, backend=NOWHERE, set_as_current=False)
    made.conf.recovery_policies = {ErrorType.NETWORK: STEADY}
    return made


@pytest.fixture
def flaky(app: Celery) -> Task:
    @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.flaky")
    def flaky(self: Task, failures: int = 1) -> Any:
        if self.request.retries < failures:
            raise away()
        return {"retries": self.request.retries}

    return flaky


@pytest.fixture
def receipt(app: Celery) -> Task:
    @app.task(shared=False, base=RecoverableTask, name="shop.receipt")
    def receipt(order: int, copy: bool = False) -> int:
        if order < 0:
            raise ValueError("no such order")
        return order

    return receipt


class TestRuns:
    def test_a_success(self, receipt: Task) -> None:
        """The run tells what the task gave, and that it needed one attempt."""
        run = run_task(receipt, 7, copy=True)
        assert assert_succeeded(run, result=7, attempts=1, waited=0) == 7
        assert (run.task, run.args, run.kwargs, run.state) == ("shop.receipt", (7,), {"copy": True}, "SUCCESS")

    def test_retries_pass_in_no_time(self, flaky: Task) -> None:
        """Delays pass on the bench's clock, the longest that the dice allow; who waits is nobody."""
        run = run_task(flaky, failures=5)
        assert_succeeded(run, result={"retries": 5}, attempts=6, delays=[1, 2, 4, 8, 16], waited=31)
        assert [start.at for start in run.starts] == [0, 1, 3, 7, 15, 31]

    def test_dice(self, app: Celery, flaky: Task) -> None:
        """Other dice give other delays; the same seed gives the same."""
        delays = [Bench(app, dice=random.Random(7)).run(flaky, 5).delays for _ in range(2)]
        assert delays[0] == delays[1] != run_task(flaky, 5).delays

    def test_exhausted(self, flaky: Task) -> None:
        """A dead letter is the very letter that the queue would hold, with the attempts behind it."""
        letter = assert_dead_lettered(run_task(flaky, 99), ErrorType.NETWORK, reason="exhausted", attempts=6)
        assert [one["delay"] for one in letter.attempts] == [1, 2, 4, 8, 16, None]
        assert letter.arguments == ([99], {})

    def test_every_attempt_comes_from_a_message(self, app: Celery) -> None:
        """What a retry cannot carry is found out, as it would be on the way to the broker."""

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.changing")
        def changing(self: Task, order: Any) -> None:
            raise self.retry(args=(object(),), exc=away())

        letter = assert_dead_lettered(run_task(changing, 1), reason="not_published")
        assert letter.arguments == ([1], {})

    def test_options_of_a_signature(self, app: Celery, receipt: Task) -> None:
        """Queue, priority, id, countdown and headers are those of the signature."""
        signature = receipt.s(7).set(
            queue="mail", priority=4, task_id="order-7", countdown=30, headers={"tenant": "blue"}
        )
        with Bench(app) as bench:
            signature.apply_async()
            sent = assert_sent(bench, receipt.s(7), queue="mail", delay=30)
            assert (sent.id, sent.priority, sent.headers["tenant"]) == ("order-7", 4, "blue")
            (run,) = bench.drain()
        assert (run.id, run.waited) == ("order-7", 30)

    def test_ends_of_a_task_of_its_own_will(self, app: Celery) -> None:
        """Each instruction ends as a worker would have it end."""

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.asking")
        def asking(self: Task, how: str) -> str:
            header = self.request.__dict__.get("recovery") or {}
            if header.get("deferrals") or self.request.retries:
                return "later"
            raise {
                "snooze": Snooze(60, "not open yet"), "retry_in": RetryIn(90), "discard": Discard("cancelled"),
                "quarantine": Quarantine("fraud?"), "review": Quarantine("fraud?", review=True),
                "ignore": Ignore("no"), "reject": Reject("no", requeue=False),
            }[how]  # fmt: skip

        snoozed, again = run_task(asking, "snooze"), run_task(asking, "retry_in")
        assert_snoozed(snoozed, 1, delays=[60])
        assert_succeeded(snoozed, attempts=1, waited=60)
        assert_retried(again, 1, kind=RetryIn, delays=[90])
        assert_succeeded(again, attempts=2)
        assert_discarded(run_task(asking, "discard"), reason="cancelled")
        assert_dead_lettered(run_task(asking, "quarantine"), "business_logic", reason="quarantined", review=False)
        assert run_task(asking, how="review").in_review
        assert run_task(asking, "ignore").outcome is Outcome.IGNORED
        assert run_task(asking, "reject").outcome is Outcome.REJECTED

    def test_given_back(self, app: Celery) -> None:
        """`Reject` with requeue brings the same message again, marked as redelivered; it uses no attempt."""

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.hesitant")
        def hesitant(self: Task) -> bool:
            again = bool(self.request.delivery_info["redelivered"])
            if not again:
                raise Reject("not me", requeue=True)
            return again

        run = run_task(hesitant)
        assert_succeeded(run, result=True, attempts=1)
        assert [start.done for start in run.starts] == ["given_back", "succeeded"]

    def test_failed_without_a_letter(self, app: Celery) -> None:
        """What the policy lets fail leaves no letter, and the exception is the body's own."""

        @app.task(shared=False, base=RecoverableTask, name="shop.failing", policies={ValueError: RecoveryStrategy.FAIL})
        def failing() -> None:
            raise ValueError("as in Celery")

        assert str(assert_failed(run_task(failing), "validation", exception=ValueError)) == "as in Celery"

    def test_a_task_without_end_is_left_waiting(self, app: Celery) -> None:
        """Who never ends starts as often as the bench allows; the run can be taken further."""

        @app.task(shared=False, base=RecoverableTask, name="shop.polling")
        def polling() -> None:
            raise Snooze(60)

        run = Bench(app, starts=3).run(polling)
        assert (run.outcome, len(run.starts), run.due_in) == (Outcome.WAITING, 3, 60)
        again = resume(run)
        assert (again.outcome, len(again.starts), again.waited) == (Outcome.WAITING, 6, 300)

    def test_work_that_makes_work_without_end(self, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task that sends itself is stopped, and named."""

        @app.task(shared=False, base=RecoverableTask, name="shop.rabbits")
        def rabbits() -> None:
            rabbits.delay()

        run = run_task(rabbits)
        monkeypatch.setattr("celery_recovery.testing.world.MOST_STARTS", 50)
        with pytest.raises(RuntimeError, match=r"shop\.rabbits: it has no end"):
            follow(run)


class TestTime:
    def test_retry_after(self, app: Celery) -> None:
        """A date that the other side names is a date on the bench's clock."""

        class Busy(Exception):
            def __init__(self, until: datetime) -> None:
                super().__init__("busy")
                self.status_code = 503
                self.headers = {"Retry-After": format_datetime(until, usegmt=True)}

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.polite")
        def polite(self: Task) -> None:
            if not self.request.retries:
                raise Busy(datetime(2020, 2, 3, 12, 10, tzinfo=timezone.utc))

        run = Bench(app, clock=FakeClock(datetime(2020, 2, 3, 12, tzinfo=timezone.utc))).run(polite)
        assert_succeeded(run, attempts=2, waited=600)

    def test_deadline(self, app: Celery) -> None:
        """The policy's deadline counts on the bench's clock."""
        policy = RetryPolicy(max_attempts=None, base_delay=10, max_delay=10, deadline=25, jitter=Jitter.NONE)

        @app.task(shared=False, base=RecoverableTask, name="shop.hurried", policy=policy)
        def hurried() -> None:
            raise away()

        assert_dead_lettered(run_task(hurried), reason="deadline", attempts=3, waited=20)

    def test_expires(self, flaky: Task) -> None:
        """So does the message's `expires`: a retry that would come too late is none."""
        run = run_task(flaky.s(99).set(expires=20))
        assert_dead_lettered(run, reason="expires", attempts=5, waited=15)

    def test_expired_while_it_waited(self, app: Celery) -> None:
        """What expires before it can start is revoked, as Celery does."""

        @app.task(shared=False, base=RecoverableTask, name="shop.pay", circuit="payments")
        def pay() -> None: ...

        with circuit_open("payments"):
            run = run_task(pay.s().set(expires=60))
            assert_expired(run, attempts=0)
        assert (run.state, run.waited > 59) == ("REVOKED", True)

    def test_a_body_may_let_time_pass(self, app: Celery) -> None:
        """`clock.advance` in a body is how long it takes: it is no waiting."""
        bench = Bench(app)

        @app.task(shared=False, base=RecoverableTask, name="shop.slow")
        def slow() -> None:
            bench.clock.advance(42)

        run = bench.run(slow)
        assert (run.starts[0].runtime, run.took, run.waited) == (42, 42, 0)

    def test_other_clocks_come_along(self, flaky: Task, app: Celery) -> None:
        """Whoever fakes the time for user code is told of each move."""
        moves: list[float] = []
        Bench(app, clock=FakeClock(1000, moved=moves.append)).run(flaky, 2)
        assert moves == pytest.approx([1000, 1001, 1003])

    def test_real_time_machine(self, app: Celery) -> None:
        """With time-machine, user code sees the bench's time."""
        time_machine = pytest.importorskip("time_machine")
        seen: list[float] = []

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.looking")
        def looking(self: Task) -> None:
            seen.append(time.time())
            if not self.request.retries:
                raise RetryIn(3600)

        with time_machine.travel(0, tick=False) as traveller:
            Bench(app, clock=FakeClock(5000, moved=traveller.move_to)).run(looking)
        assert seen == [5000, 8600]

    @pytest.mark.parametrize("start", [-1, float("nan"), "now", datetime(2020, 1, 1), True])  # noqa: DTZ001
    def test_no_moment(self, start: Any) -> None:
        """What is no moment is refused."""
        with pytest.raises(ConfigurationError, match="unix seconds, or a datetime with a time zone"):
            FakeClock(start)

    def test_time_does_not_go_back(self) -> None:
        """Neither by a move nor by a negative step."""
        fake = FakeClock(100)
        fake.move_to(50)
        with pytest.raises(ConfigurationError):
            fake.advance(-1)
        assert fake.now() == 100


class TestWorkflows:
    def test_what_a_task_sends(self, app: Celery, receipt: Task) -> None:
        """Subtasks wait on the bench: with which arguments, for how long; they run when they are followed."""

        @app.task(shared=False, base=RecoverableTask, name="shop.charge")
        def charge(order: int) -> None:
            receipt.apply_async((order,), countdown=60)

        run = run_task(charge, 7)
        assert_sent(run, receipt.s(order=7), delay=60, times=1)
        assert_not_sent(run, receipt.s(8))
        (second,) = follow(run)
        assert_succeeded(second, result=7, waited=60)

    def test_callbacks_and_errbacks(self, app: Celery, receipt: Task, flaky: Task) -> None:
        """`link` follows a success, `link_error` the end of a failure, and neither a retry."""
        good = run_task(receipt.s(3).set(link=receipt.signature(immutable=False)))
        assert_sent(good, receipt.s(3))

        @app.task(shared=False, base=RecoverableTask, name="shop.noted")
        def noted(task_id: str) -> None: ...

        bad = run_task(flaky.s(99).set(link_error=noted.s(), link=receipt.si(2)))
        assert_sent(bad, noted.s(bad.id), times=1)
        assert_not_sent(bad, receipt)

    def test_chain(self, receipt: Task, flaky: Task) -> None:
        """One after the other, each with its own life."""
        runs = run_workflow(chain(receipt.s(4), flaky.si(1), receipt.si(-4), receipt.si(9)))
        assert [(run.task, run.outcome.value) for run in runs] == [
            ("shop.receipt", "succeeded"), ("shop.flaky", "succeeded"), ("shop.receipt", "dead_lettered"),
        ]  # fmt: skip

    def test_a_held_member_of_a_chord(self, app: Celery, receipt: Task) -> None:
        """It is held, so the body does not run; its replay, edited, brings the body."""

        @app.task(shared=False, base=RecoverableTask, name="shop.total")
        def total(orders: list[int]) -> int:
            return sum(orders)

        runs = run_workflow(chord([receipt.s(1), receipt.s(-2), receipt.s(3)], total.s()))
        (bad,) = [run for run in runs if run.outcome is Outcome.DEAD_LETTERED]
        assert_dead_lettered(bad, held=True)
        assert (len(runs), bad.state) == (3, "QUARANTINED")
        again = replay(bad, edit=["args.0=2"])
        (body,) = follow(again)
        assert_succeeded(body, result=6)

    def test_in_the_order_in_which_they_are_due(self, app: Celery, receipt: Task, flaky: Task) -> None:
        """Tasks that wait at the same time take turns by the clock."""
        with Bench(app) as bench:
            flaky.delay(2)  # at 0, 1 and 3 s
            receipt.apply_async((1,), countdown=2)
            began = bench.clock.now()
            first, second = bench.drain()
        assert [first.task, second.task] == ["shop.flaky", "shop.receipt"]
        assert (second.took, round(bench.clock.now() - began, 3)) == (2, 3)

    def test_a_plain_task_among_others(self, app: Celery, receipt: Task) -> None:
        """A task on Celery's own base runs, too, where it follows one of ours."""

        @app.task(shared=False, name="shop.plain")
        def plain(order: int) -> None:
            raise KeyError(order)

        _, last = run_workflow(chain(receipt.s(4), plain.s()))
        assert (last.outcome, repr(last.exception)) == (Outcome.FAILED, "KeyError(4)")

    def test_group_needs_a_workflow(self, receipt: Task) -> None:
        """`run_task` is for one task, and says where to go with several."""
        with pytest.raises(ConfigurationError, match=r"run_workflow\(\)"):
            run_task(group(receipt.s(1), receipt.s(2)))


class TestReplays:
    def test_after_the_fix(self, app: Celery) -> None:
        """A letter is replayed as an operator would: it counts itself, and its letter knows how that ended."""
        world = {"fixed": False}

        @app.task(shared=False, base=RecoverableTask, name="shop.ship")
        def ship(order: int) -> str:
            if not world["fixed"]:
                raise KeyError("address")
            return "shipped"

        run = run_task(ship, 7)
        again = replay(run)
        assert_dead_lettered(again, attempts=1)
        assert (again.replays, again.letter.outcome) == (1, "died again")
        world["fixed"] = True
        last = replay(again)
        assert_succeeded(last, result="shipped")
        assert (last.id, last.replays) == (run.id, 2)
        assert run.bench.letter(run.id).state is LetterState.RECOVERED

    def test_edited(self, receipt: Task) -> None:
        """Edits are those of `dlq edit`, checked against the task."""
        run = run_task(receipt, -7)
        with pytest.raises(ConfigurationError, match=r"arguments that shop\.receipt takes"):
            replay(run, edit=["kwargs.colour=red"])
        assert_succeeded(replay(run, edit=["args.0=7"]), result=7)

    @pytest.mark.parametrize("pydantic", [False, True])
    def test_edits_of_wrapped_tasks(self, app: Celery, pydantic: bool) -> None:
        """They are checked, too, behind Celery's wrapper for models and behind a decorator."""

        def passing(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def around(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return around

        def ship(order: int) -> int:
            if order < 0:
                raise ValueError(order)
            return order

        body = ship if pydantic else passing(ship)
        run = run_task(app.task(body, shared=False, base=RecoverableTask, name="shop.ship", pydantic=pydantic), -7)
        with pytest.raises(ConfigurationError, match=r"arguments that shop\.ship takes"):
            replay(run, edit=["kwargs.zzz=3"])
        assert_succeeded(replay(run, edit=["args.0=7"]), result=7)

    def test_nothing_to_replay(self, receipt: Task) -> None:
        """A run without a letter, or whose letter has recovered, is not replayed, and says why."""
        with pytest.raises(NotReplayed, match=r"no letter to replay.*\n.*succeeded"):
            replay(run_task(receipt, 7))
        run = run_task(receipt, -7)
        replay(run, edit=["args.0=7"])
        with pytest.raises(NotReplayed, match="already recovered"):
            replay(run)

    def test_goes_on_at_the_checkpoint(self, app: Celery) -> None:
        """What a task has saved is found by its retry and by its replay, and is over with its success."""
        broken = [True]

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.copying")
        def copying(self: Task) -> list[int]:
            begun = self.checkpoint.load(0)
            self.checkpoint("all").save({"seen": begun})
            for n in range(begun, 10):
                self.checkpoint.save(n + 1)
                if n == 6 and broken:
                    raise ValueError("row 6")
            return [begun, self.request.retries]

        run = run_task(copying)
        assert run.checkpoint == 7
        assert run.bench.checkpoint("key:shop.copying:all") == {"seen": 0}
        broken.clear()
        again = replay(run)
        assert_succeeded(again, result=[7, 0])
        assert again.checkpoint is None


class TestBatches:
    @pytest.fixture
    def importing(self, app: Celery) -> Task:
        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.importing")
        def importing(self: Task, rows: list[int], away_at: int = -1) -> None:
            tries = self.request.__dict__.setdefault("tries", [])
            for row in self.batch(rows, key=lambda row: f"row-{row}", max_delay=30):
                if row < 0:
                    raise ValueError(f"row {row} is bad")
                if row == away_at and len(tries) < 2:
                    tries.append(row)
                    raise away()

        return importing

    def test_items_set_aside(self, importing: Task) -> None:
        """Bad items are letters of their own; the task goes on, and they can be replayed, edited."""
        run = run_task(importing, [1, -2, 3, -4])
        assert assert_succeeded(run, attempts=1)["failed"] == 2
        letters = assert_items_set_aside(run, 2, error_type=ErrorType.VALIDATION, keys=["row--2", "row--4"])
        (both,) = replay_items(run, edit=["item=5"])
        assert assert_succeeded(both)["succeeded"] == 2
        assert {run.bench.letter(letter.id).state for letter in letters} == {LetterState.RECOVERED}

    def test_one_item_alone(self, importing: Task) -> None:
        """The letter of an item is replayed like any other; what is asked of the run leads to it."""
        run = run_task(importing, [1, -2])
        with pytest.raises(NotReplayed, match=r"replay_items\(\)"):
            replay(run)
        assert_succeeded(replay(run, run.item_letters[0], edit=["item=2"]))

    def test_waiting_in_place_costs_no_time(self, importing: Task) -> None:
        """An item that is tried again in place waits on the bench's clock."""
        run = run_task(importing, [1, 2, 3], away_at=2)
        assert assert_succeeded(run, attempts=1)["succeeded"] == 3
        assert run.starts[0].runtime == pytest.approx(1 + 2)

    def test_fan_out(self, app: Celery, importing: Task) -> None:
        """The parts are sent, the task is replaced, and its id has the joint result in the end."""

        @app.task(shared=False, base=RecoverableTask, bind=True, name="shop.fanning")
        def fanning(self: Task) -> Any:
            return self.batch.fan_out([1, -2, 3, 4, 5], 2, to=importing)

        run = run_task(fanning)
        assert (run.outcome, len(run.sent)) == (Outcome.REPLACED, 3)
        *parts, joint = follow(run)
        assert [len(part.item_letters) for part in parts] == [1, 0, 0]
        assert joint.id == run.id
        assert (joint.result["succeeded"], joint.result["failed"]) == (4, 1)


class TestCircuits:
    @pytest.fixture
    def pay(self, app: Celery) -> Task:
        policy = {"consecutive_failures": 2, "open_duration": 30, "half_open_permits": 1, "slow_call_duration": 5,
                  "minimum_calls": 2, "slow_call_rate_threshold": 1.0}  # fmt: skip

        @app.task(
            shared=False, base=RecoverableTask, bind=True, name="shop.pay", circuit="payments", circuit_policy=policy
        )
        def pay(self: Task, failures: int = 0) -> str:
            if self.request.retries < failures:
                raise away()
            return "paid"

        return pay

    def test_parked_until_it_is_closed(self, pay: Task) -> None:
        """While a circuit is forced open its tasks are parked, without an attempt; then they go on."""
        with circuit_open("payments"):
            run = run_task(pay)
        assert_parked(run, circuit="payments", attempts=0)
        assert run.state == "PENDING"
        assert_succeeded(resume(run), result="paid", attempts=1)

    def test_parked_for_a_time(self, app: Celery, pay: Task) -> None:
        """Open for so long, it probes by itself; the clock has moved there."""
        with Bench(app), circuit_open("payments", 90):
            assert_succeeded(run_task(pay), waited=90)

    def test_opened_by_its_own_failures(self, app: Celery, pay: Task) -> None:
        """Runs on one bench share its circuits: what opens one for all parks the next."""
        with Bench(app) as bench:
            run = bench.run(pay, 2)
            assert_succeeded(run, attempts=3, waited=31)
            assert [start.done for start in run.starts].count("parked") == 1
            assert bench.circuit("payments").state.value == "closed"

    def test_slow_calls(self, app: Celery, pay: Task) -> None:
        """A body that takes long on the bench's clock is a slow call."""
        with Bench(app) as bench:

            @app.task(shared=False, base=RecoverableTask, name="shop.slow", circuit="payments")
            def slow() -> None:
                bench.clock.advance(6)

            for _ in range(2):
                bench.run(slow)
            assert bench.circuit("payments").state.value == "open"

    @pytest.mark.parametrize(("on_open", "outcome"), [("fail", Outcome.FAILED), ("dead_letter", Outcome.DEAD_LETTERED)])
    def test_not_to_wait(self, app: Celery, on_open: str, outcome: Outcome) -> None:
        """A task that is not to wait ends at once, for the reason `circuit`."""

        @app.task(shared=False, base=RecoverableTask, name="shop.now", circuit="payments", circuit_on_open=on_open)
        def now() -> None: ...

        with circuit_open("payments"):
            run = run_task(now)
        assert (run.outcome, run.reason) == (outcome, "circuit")
        assert isinstance(run.exception, CircuitOpen)

    def test_closed_again_for_all(self, app: Celery, pay: Task) -> None:
        """After the block the circuit is closed, on benches that came later, too."""
        with Bench(app) as bench:
            with circuit_open("payments"):
                assert_parked(bench.run(pay))
            assert_succeeded(bench.run(pay))

    def test_budget(self, app: Celery) -> None:
        """Without budget a retry is parked for a while, on the bench's clock."""
        policy = {"retry_ratio": 0.1, "retry_floor": 0.1, "window": 10, "consecutive_failures": 100}

        @app.task(
            shared=False, base=RecoverableTask, bind=True, name="shop.dear", circuit="payments", circuit_policy=policy
        )
        def dear(self: Task) -> None:
            if self.request.retries < 3:
                raise away()

        run = run_task(dear)
        assert_succeeded(run, attempts=4)
        assert "parked" in [start.done for start in run.starts]


def late() -> str:
    """A task's body."""
    return "late"


class TestTheApp:
    def test_is_as_it_was(self, app: Celery, flaky: Task) -> None:
        """Nothing of a bench is left on the app, in the pipeline's clock, or in the log."""
        logger = logging.getLogger("celery_recovery")

        def state() -> Any:
            names = ("_connection", "_pool", "now", "_backend_cache", "_celery_recovery_guards", "_get_backend")
            held = {name: app.__dict__.get(name) for name in names}
            own = {name for task in app.tasks.values() for name in task.__dict__ if "guard" in name}
            return held, own, Recovery.of(app), clock.now, clock.sleep, logger.level, list(logger.handlers)

        before = state()
        with Bench(app) as bench:
            run_task(flaky, 1)
            assert run_task(app.task(shared=False, base=RecoverableTask, name="shop.late")(late)).result == "late"
            with pytest.raises(KeyboardInterrupt), bench:
                raise KeyboardInterrupt
            assert Recovery.of(app) is not before[2]
        assert state() == before
        assert app.connection_for_write().transport.driver_type == "redis"

    def test_interrupted(self, app: Celery) -> None:
        """A test that is interrupted in a body leaves the app as it was."""

        @app.task(shared=False, base=RecoverableTask, name="shop.interrupted")
        def interrupted() -> None:
            raise KeyboardInterrupt

        own = Recovery.of(app)
        with pytest.raises(KeyboardInterrupt):
            run_task(interrupted)
        assert Recovery.of(app) is own
        assert clock.now is time.time

    def test_always_eager(self, app: Celery, flaky: Task, receipt: Task) -> None:
        """An app that is set to run tasks at once is not, while a bench is in use; afterwards it is again."""
        app.conf.task_always_eager = True
        with Bench(app) as bench:
            receipt.delay(1)
            assert_sent(bench, receipt)
            assert_succeeded(bench.run(flaky, 2), attempts=3)
        assert app.conf.task_always_eager is True

    def test_benches_in_one_another(self, app: Celery, receipt: Task) -> None:
        """The functions use the bench that is in use; a run goes on where it began."""
        run = run_task(receipt, -1)
        with Bench(app) as outer, outer:
            receipt.delay(5)
            assert run_task(receipt, -2).bench is outer
            assert_succeeded(replay(run, edit=["args.0=1"]))
            assert [sent.args for sent in outer.waiting] == [(5,)]
        assert run.bench is not outer

    def test_a_task_run_by_a_body(self, app: Celery, receipt: Task) -> None:
        """A body may run another task on its bench; each has its own story."""

        @app.task(shared=False, base=RecoverableTask, name="shop.outer")
        def outer() -> None:
            assert_dead_lettered(run_task(receipt, -1), ErrorType.VALIDATION)
            raise KeyError("outer")

        run = run_task(outer)
        assert_dead_lettered(run, exception=KeyError)
        assert run.starts[0].decision is not None

    def test_a_shared_task(self, app: Celery) -> None:
        """A task that belongs to whichever app is current is run on a bench of that one."""

        @shared_task(base=RecoverableTask, name="shop.shared")
        def shared() -> str:
            return "shared"

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_state._tls, "current_app", app, raising=False)
            run = run_task(shared)
            assert_succeeded(run, result="shared")
            assert run.bench.app is app

    def test_results_of_another_serializer(self, app: Celery) -> None:
        """With pickle a tuple comes back as the tuple it was, and is compared as one; so are arguments."""
        app.conf.update(
            task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"],
            result_accept_content=["pickle"],
        )  # fmt: skip

        @app.task(shared=False, base=RecoverableTask, name="shop.pickled")
        def pickled(pair: Any) -> Any:
            if pair[0]:
                pickled.delay((0, {1, 2}))
            return pair

        run = run_task(pickled, (1, {1}))
        assert_succeeded(run, result=(1, {1}))
        assert_sent(run, pickled.s((0, {1, 2})))

    def test_its_rules_and_settings(self, app: Celery) -> None:
        """The app's own rules are asked, and its settings are those of now."""

        class Odd(Exception):
            pass

        @app.task(shared=False, base=RecoverableTask, name="shop.odd")
        def odd() -> None:
            raise Odd("nobody knows")

        assert run_task(odd).error.error_type is ErrorType.UNKNOWN
        Recovery.of(app).classifier.add_rule(
            lambda exc, *_: transient(ErrorType.SYSTEM, "TEST") if isinstance(exc, Odd) else None
        )
        app.conf.recovery_policies = {ErrorType.SYSTEM: RetryPolicy(max_attempts=2, base_delay=7, jitter=Jitter.NONE)}
        assert_dead_lettered(run_task(odd), ErrorType.SYSTEM, attempts=2, waited=7)

    @pytest.mark.parametrize(
        ("part", "name", "told"),
        [
            ("dead_letters", "count", "`count` of the operator's object"),
            ("store", "stats", "`stats` of the store of dead letters"),
            ("parked", "stats", "`stats` of the parked tasks"),
            ("checkpoints", "iterate", "`iterate` of the checkpoints"),
        ],
    )
    def test_what_is_not_there_says_so(self, app: Celery, part: str, name: str, told: str) -> None:
        """A body that asks for what only Redis has is told, by name, and not led astray."""

        @app.task(shared=False, base=RecoverableTask, name="shop.curious")
        def curious() -> None:
            getattr(getattr(Recovery.of(app), part), name)()

        run = run_task(curious)
        assert isinstance(run.exception, NotOnTheBench)
        assert told in str(run.exception)

    def test_log(self, flaky: Task, caplog: pytest.LogCaptureFixture) -> None:
        """The run has the lines of the log, with their fields."""
        with caplog.at_level(logging.ERROR):
            run = run_task(flaky, 99)
        assert run.actions == ("retry",) * 5 + ("dead_letter",)
        assert run.log[-1].fields["error_type"] == "network"

    def test_guards(self, app: Celery) -> None:
        """A result that cannot be stored has the letter that a worker would leave."""

        @app.task(shared=False, base=RecoverableTask, name="shop.unwritable")
        def unwritable() -> Any:
            return object()

        letter = assert_dead_lettered(run_task(unwritable), message="its result could not be stored")
        assert letter.detail.startswith("the body had run")

    @pytest.mark.parametrize("what", ["shop.flaky", 7, len])
    def test_no_task(self, what: Any) -> None:
        """What is no task is refused."""
        with pytest.raises(ConfigurationError, match="task: expected a task"):
            run_task(what)

    def test_not_recoverable(self, app: Celery) -> None:
        """A task on Celery's own base is refused: nothing of it would be tested."""

        @app.task(shared=False, name="shop.plain")
        def plain() -> None: ...

        with pytest.raises(ConfigurationError, match="base=RecoverableTask"):
            run_task(plain)

    def test_not_registered(self, app: Celery, receipt: Task) -> None:
        """What follows has to be imported, and is named where it is not."""
        with Bench(app) as bench:
            app.send_task("elsewhere.task")  # by name, as from another service
            with pytest.raises(ConfigurationError, match=r"elsewhere\.task"):
                bench.drain()


class TestMessages:
    def test_tell_the_whole_life(self, flaky: Task) -> None:
        """A failed assertion names all that is wrong, and tells what happened."""
        run = run_task(flaky, 2)
        with pytest.raises(AssertionError) as failed:
            assert_dead_lettered(run, ErrorType.VALIDATION, reason="not_retryable", attempts=1)
        told = str(failed.value)
        assert told.startswith("expected that it was dead-lettered:\n  - it is succeeded\n")
        parts = (
            "error type: expected validation, got network (rule os.ConnectionResetError)",
            "attempts: expected 1, got 3", "shop.flaky(2)", "at 1 s: attempt 2", "retry in 2 s, transient",
        )  # fmt: skip
        assert [part for part in parts if part not in told] == []

    @pytest.mark.parametrize(
        ("check", "part"),
        [
            (lambda run, _: assert_succeeded(run, result=1), r"result: expected 1, got \{'retries': 1\}"),
            (lambda run, _: assert_succeeded(run, delays=[2]), r"delays: expected \[2\] s, got \[1.0\]"),
            (lambda run, _: assert_succeeded(run, waited=9), "waited: expected 9 s, got 1"),
            (lambda run, _: assert_failed(run, exception=OSError), "it is succeeded"),
            (lambda run, _: assert_discarded(run), "expected that it was discarded"),
            (lambda run, _: assert_expired(run), "expected that it expired"),
            (lambda run, _: assert_parked(run, circuit="x"), "circuit: expected 'x', got ''"),
            (lambda run, _: assert_retried(run, 2), "times retried: expected 2, got 1"),
            (lambda run, _: assert_retried(run, kind="validation"), "not of validation, but ConnectionResetError"),
            (lambda run, _: assert_snoozed(run), "it never was"),
            (lambda run, _: assert_items_set_aside(run), "there is no letter of an item"),
            (lambda run, task: assert_sent(run, task.s(1), queue="mail"), r"shop.flaky\(1\) to queue mail was sent"),
            (lambda _, task: assert_sent(Bench(task.app), task), "On the bench wait:\n  none"),
        ],
    )  # fmt: skip
    def test_each_says_what_is_wrong(self, flaky: Task, check: Any, part: str) -> None:
        """Every assertion can fail, and says by what."""
        with pytest.raises(AssertionError, match=part):
            check(run_task(flaky, 1), flaky)

    def test_words_are_checked(self, flaky: Task) -> None:
        """A misspelt word is no failed assertion but a mistake, and the nearest one is named."""
        with pytest.raises(ConfigurationError, match="validation"):
            assert_dead_lettered(run_task(flaky, 99), "validaton")
        with pytest.raises(TypeError, match="expected a Run"):
            assert_succeeded(None)  # type: ignore[arg-type]

    def test_hints(self, app: Celery, flaky: Task) -> None:
        """Of a run that has not ended the message says how to go on."""
        with pytest.raises(AssertionError, match=r"waiting after 2 starts.*resume\(run\)"):
            assert_succeeded(Bench(app, starts=2).run(flaky, 9))

    def test_secrets_and_foreign_text(self, app: Celery) -> None:
        """Secrets are hidden in a story, and control characters spelled out."""

        @app.task(shared=False, base=RecoverableTask, name="shop.login")
        def login(user: str, password: str) -> None:
            raise ValueError("token=s3cr3t \x1b[31mred")

        story = run_task(login, "ann\x07", password="hunter2").story()
        assert "hunter2" not in story
        assert "s3cr3t" not in story
        assert "\x1b" not in story
        assert "\x07" not in story

    def test_is_the_text_of_a_run(self, flaky: Task) -> None:
        """`print(run)` tells the story."""
        run = run_task(flaky, 0)
        assert str(run) == run.story()
        assert isinstance(run, Run)


def test_no_delays(app: Celery, flaky: Task) -> None:
    """Within the block every decision is what it was, its delay apart."""
    recovery = Recovery.of(app)
    own = recovery.decide
    with no_delays(app), no_delays(app):
        assert recovery.decide is not own
    assert recovery.decide == own


def test_imports_are_kept_apart() -> None:
    """The package does not import its testing tools, and these do not import pytest."""
    program = (
        "import sys, celery_recovery, celery_recovery.recovery, celery_recovery.task;"
        "assert not [name for name in sys.modules if name.startswith('celery_recovery.testing')];"
        "import celery_recovery.testing; assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_plugin(tmp_path: Any) -> None:
    """A project that asks for the plugin has its fixtures; its app and its clock can be put in their place."""
    (tmp_path / "conftest.py").write_text(
        """
import pytest
from celery import Celery
from celery_recovery import RecoverableTask
from celery_recovery.testing import FakeClock
pytest_plugins = ["celery_recovery.testing.pytest_plugin"]
app = Celery("shop", broker="redis://127.0.0.1:1/0")

@app.task(base=RecoverableTask, bind=True)
def charge(self, order):
    if not self.request.retries:
        raise ConnectionResetError(104, "reset")
    return order

@pytest.fixture
def recovery_clock():
    return FakeClock(1000)
"""
    )
    (tmp_path / "test_shop.py").write_text(
        """
from celery_recovery.testing import assert_sent, assert_succeeded
from conftest import charge

def test_charge(recovery_run, recovery_clock):
    assert_succeeded(recovery_run(charge, 7), result=7, attempts=2)
    assert recovery_clock.now() > 1000

def test_what_the_test_sends(recovery_bench):
    charge.delay(8)
    assert_sent(recovery_bench, charge.s(8))
    (run,) = recovery_bench.drain()
    assert_succeeded(run, result=8)

def test_that_fails(recovery_run):
    assert_succeeded(recovery_run(charge, 7), attempts=1)
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(clock.__file__).parents[1])}
    ended = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "2 passed" in ended.stdout
    assert "1 failed" in ended.stdout
    assert "attempts: expected 1, got 2" in ended.stdout
    assert "raise AssertionError" not in ended.stdout  # the failure is shown where the test asserts


def test_the_pipeline_asks_one_module_for_the_time() -> None:
    """What decides about a task, or waits for it, goes by `celery_recovery.clock`, which a bench can move."""
    package = Path(clock.__file__).parent
    names = ("actions", "admission", "call", "checkpoint", "decision", "following", "handing_over", "history",
             "interrupts", "passage", "recovery", "stopping", "task*", "telling", "batch/*", "errors/**/*")  # fmt: skip
    files = [path for name in names for path in package.glob(f"{name}.py")]
    assert len(files) > 60
    asked = re.compile(r"^\s*(?:import time|from time import)|datetime\.(?:now|utcnow)\(", re.MULTILINE)
    assert [str(path) for path in files if asked.search(path.read_text("utf-8"))] == []
