"""One worker, one failing task: retried, recovered, dead-lettered, replayed. On both brokers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery.exceptions import Ignore

from celery_recovery import Filter, LetterState
from tests.integration.jobs_client import Jobs, eventually
from tests.services import Worker


def test_success_is_untouched(jobs: Jobs) -> None:
    """A task that works is a task of plain Celery."""
    jobs.worker()
    assert jobs.send("fine", "t", 42).get(timeout=20) == 42
    assert jobs.ledger.lines("t") == ["run"]


def test_transient_failure_recovers_by_itself(jobs: Jobs) -> None:
    """A network error is retried after a delay, and nobody has to know."""
    jobs.worker()
    assert jobs.send("flaky", "t", 2).get(timeout=20) == "t"
    first, second, third = jobs.ledger.times("t")
    assert second - first >= 0.05
    assert third - second >= 0.05


def test_permanent_failure_is_dead_lettered_at_once_and_fails(jobs: Jobs) -> None:
    """Bad data is not retried; the caller sees the original exception, and a letter waits."""
    jobs.worker()
    sent = jobs.send("broken", "t")
    with pytest.raises(ValueError, match="quantity must be positive, got -3"):
        sent.get(timeout=20)
    letter = jobs.letter(sent.id)
    assert (letter.state, letter.reason, letter.error.error_type.value) == (
        LetterState.FAILED,
        "not_retryable",
        "validation",
    )
    assert letter.error.exception == "builtins.ValueError"
    assert letter.error.frames[0].name == "broken"  # what runs tasks is not what went wrong
    assert letter.origin.queue == "celery"
    assert jobs.ledger.lines("t") == ["retries=0"]


def test_exhausted_retries_are_dead_lettered_with_their_history(jobs: Jobs) -> None:
    """After the last attempt the letter holds every attempt: when, what, where, how long until the next."""
    jobs.worker()
    sent = jobs.send("broken", "t", "network")
    with pytest.raises(ConnectionResetError):
        sent.get(timeout=20)
    letter = jobs.letter(sent.id)
    assert letter.reason == "exhausted"
    assert [attempt["n"] for attempt in letter.attempts] == [1, 2, 3]
    assert [attempt["error_type"] for attempt in letter.attempts] == ["network"] * 3
    assert all(attempt["delay"] >= 0.05 for attempt in letter.attempts[:-1])
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1", "retries=2"]


def test_a_replayed_letter_recovers_once_the_world_is_fixed(jobs: Jobs) -> None:
    """One command brings it back, with all its attempts; the letter knows how it ended."""
    jobs.worker()
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    jobs.ledger.fix("t")
    result = jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    assert result.published == 1
    letter = jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert letter.replays == 0 or letter.number == 1
    assert jobs.ledger.lines("t") == ["retries=0", "retries=0"]
    assert eventually(lambda: jobs.result(sent.id).state == "SUCCESS")


def test_a_replay_that_fails_again_comes_back_with_its_past(jobs: Jobs) -> None:
    """The letter is dead again, counts its replay, and can be replayed once more."""
    jobs.worker()
    sent = jobs.send("broken", "t")
    jobs.letter(sent.id)
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, replays=1, state=LetterState.FAILED)
    jobs.ledger.fix("t")
    jobs.dead_letters.replay(Filter(ids=(sent.id,)))
    jobs.letter(sent.id, state=LetterState.RECOVERED)
    assert jobs.ledger.lines("t") == ["retries=0"] * 3


@pytest.mark.parametrize(
    ("how", "runs"), [("retry_in", ["retries=0", "retries=1"]), ("snooze", ["retries=0", "retries=0"])]
)
def test_a_task_may_ask_to_run_later(jobs: Jobs, how: str, runs: list[str]) -> None:
    """RetryIn uses an attempt, Snooze does not; both wait as long as they say."""
    jobs.worker()
    assert jobs.send("controlled", "t", how).get(timeout=20) == "t"
    assert jobs.ledger.lines("t") == runs
    first, second = jobs.ledger.times("t")
    assert second - first >= 0.19


@pytest.mark.parametrize(("how", "state"), [("quarantine", "failed"), ("review", "review")])
def test_a_task_may_quarantine_itself(jobs: Jobs, how: str, state: str) -> None:
    """Straight to the dead letters, or to a person."""
    jobs.worker()
    sent = jobs.send("controlled", "t", how)
    letter = jobs.letter(sent.id)
    assert (letter.state.value, letter.reason) == (state, "quarantined")
    assert letter.detail == "looks like fraud" or "looks like fraud" in letter.error.message


def test_a_discarded_task_leaves_no_letter(jobs: Jobs) -> None:
    """Discard is a decision on the record: the result says so, the queue stays empty."""
    jobs.worker()
    sent = jobs.send("controlled", "t", "discard")
    with pytest.raises(Exception, match="the order was cancelled"):
        sent.get(timeout=20)
    assert jobs.letters() == 0


def test_self_retry_works_with_its_own_delay_and_limit(jobs: Jobs) -> None:
    """`self.retry(countdown=…, max_retries=…)` of an existing task means what it meant, and ends in a letter."""
    jobs.worker()
    sent = jobs.send("by_hand", "t", 0.3, 1)
    with pytest.raises(ValueError, match="quantity"):
        sent.get(timeout=20)
    assert jobs.ledger.lines("t") == ["retries=0", "retries=1"]
    first, second = jobs.ledger.times("t")
    assert second - first >= 0.29
    assert jobs.letter(sent.id).reason == "exhausted"


def test_a_tasks_own_max_retries_is_the_limit(jobs: Jobs) -> None:
    """`max_retries=1` on the task is two attempts, whatever the policy says."""
    jobs.worker()
    sent = jobs.send("at_most_twice", "t")
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("t") == ["run", "run"]


def test_autoretry_for_is_honoured_once(jobs: Jobs) -> None:
    """The exceptions it names are retried as it says, by us alone: no attempt more than asked."""
    jobs.worker()
    assert jobs.send("auto", "t").get(timeout=20) == "t"
    assert jobs.ledger.lines("t") == ["run"] * 3


def test_expected_exceptions_fail_as_in_celery(jobs: Jobs) -> None:
    """What a task lists in `throws` is no failure to recover from: no retry, no letter."""
    jobs.worker()
    sent = jobs.send("expecting", "t")
    with pytest.raises(KeyError):
        sent.get(timeout=20)
    assert jobs.ledger.lines("t") == ["run"]
    assert jobs.letters() == 0


@pytest.mark.parametrize("how", ["ignore", "reject"])
def test_ignore_and_reject_pass_untouched(jobs: Jobs, how: str) -> None:
    """Celery's own control flow is no failure."""
    worker = jobs.worker()
    sent = jobs.send("controlled", "t", how)
    eventually(lambda: jobs.ledger.lines("t"))
    jobs.send("fine", "after").get(timeout=20)
    assert jobs.letters() == 0
    assert "dead_letter" not in worker.log
    assert jobs.result(sent.id).state in {"PENDING", "FAILURE", "REJECTED"}, Ignore


def test_a_base_class_with_its_own_call_is_recovered_too(jobs: Jobs) -> None:
    """`with context: return self.run(…)` never calls our `__call__`, and is recovered all the same."""
    jobs.worker()
    assert jobs.send("in_context", "a", 2).get(timeout=20) == "a"
    assert jobs.ledger.lines("a") == ["run"] * 3
    sent = jobs.send("in_context", "b", 9)
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("b") == ["run"] * 3


def test_a_mixin_with_its_own_call_is_recovered_too(jobs: Jobs) -> None:
    """`class T(TheirTask, RecoverableTask)`: theirs is called first, and never calls ours."""
    jobs.worker()
    assert jobs.send("mixed", "a", 1).get(timeout=20) == "a"
    sent = jobs.send("mixed", "b", 9)
    jobs.letter(sent.id, reason="exhausted")
    assert jobs.ledger.lines("b") == ["run"] * 3


def test_hooks_that_call_each_other_are_one_attempt(jobs: Jobs) -> None:
    """`super().before_start()`: one recovery around both."""
    jobs.worker()
    assert jobs.send("prepared_twice", "t").get(timeout=20) == "t"
    assert jobs.ledger.lines("t") == ["before", "before", "outer", "before", "outer", "run"]


def test_leaving_in_a_thread_is_a_failure(jobs: Jobs) -> None:
    """`sys.exit()` ends no process there, and must not leave the result open for ever."""
    jobs.worker(pool="threads")
    sent = jobs.send("leaving", "t")
    assert jobs.letter(sent.id, reason="exhausted").error.exception.endswith("SystemExit")
    assert eventually(lambda: jobs.result(sent.id).state == "FAILURE")


def test_an_attempt_that_fails_before_its_body_has_failed(jobs: Jobs) -> None:
    """`before_start` belongs to the attempt."""
    jobs.worker()
    assert jobs.send("prepared", "t").get(timeout=20) == "t"
    assert jobs.ledger.lines("t") == ["before", "before", "run"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_is_no_exception_is_a_failure_too(jobs: Jobs, pool: str) -> None:
    """A BaseException from the body kills no worker, leaves no result open, and ends in a letter."""
    jobs.worker(pool=pool)
    sent = jobs.send("cancelled", "t")
    assert jobs.letter(sent.id).error.exception.endswith("CancelledError")
    assert eventually(lambda: jobs.result(sent.id).state == "FAILURE")
    assert jobs.send("fine", "after", 1).get(timeout=20) == 1


@pytest.mark.parametrize("name", ["jobs.shared", "jobs.importer"])
def test_shared_and_class_based_tasks_recover_too(jobs: Jobs, name: str) -> None:
    """The base class is all it takes."""
    jobs.worker()
    assert jobs.send(name, "t").get(timeout=20) == "t"
    assert jobs.ledger.lines("t") == ["run", "run"]


def test_errbacks_fire_once_when_a_task_is_dead_lettered(jobs: Jobs) -> None:
    """In mode "fail" everything that Celery does about a failure still happens, once."""
    jobs.worker()
    sent = jobs.sig("broken", "t").apply_async(link_error=jobs.sig("noted_error", token="t"))
    jobs.letter(sent.id)
    eventually(lambda: len(jobs.ledger.lines("t")) == 2)
    assert jobs.ledger.lines("t") == ["retries=0", "errback ValueError"]


def test_plain_tasks_are_watched_and_nothing_more(jobs: Jobs) -> None:
    """A task without our base fails as ever; the log says what we would have thought of it."""
    worker = jobs.worker()
    sent = jobs.send("jobs.plain", "t")
    with pytest.raises(ConnectionResetError):
        sent.get(timeout=20)
    assert worker.wait_log(r"watched: task jobs\.plain failed \(network")
    assert jobs.ledger.lines("t") == ["run"]
    assert jobs.letters() == 0


def test_a_worker_with_a_bad_setting_does_not_start_and_says_why(worker: Callable[..., Worker], redis_url: str) -> None:
    """One sentence that names the setting, not a traceback."""
    jobs = Jobs(worker, redis_url, redis_url, conf={"recovery_publish_timeout": "soon"})
    with pytest.raises(RuntimeError) as refused:
        jobs.worker()
    assert "celery-recovery: recovery_publish_timeout: expected" in str(refused.value)
    assert "Traceback" not in str(refused.value)
