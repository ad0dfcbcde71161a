"""Decisions: each rule, which of two comes first, and that nothing makes `decide` fail or leave its bounds."""

from __future__ import annotations

import json
import math
import pickle
import random as dice
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.backoff import BackoffStrategy, Jitter
from celery_recovery.decision import Action, Ask, Asked, Decision, Reason, Situation, decide
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.exceptions import ConfigurationError, Discard, Quarantine, RecoveryControl, RetryIn, Snooze
from celery_recovery.history import HISTORY_LENGTH, MESSAGE_LIMIT, Attempt, History
from celery_recovery.policy import LONGEST_DELAY, NEVER, RecoveryStrategy, RetryPolicy

NOW = 1_700_000_000.0
ENDS = {
    RecoveryStrategy.DEAD_LETTER: Action.DEAD_LETTER,
    RecoveryStrategy.MANUAL_REVIEW: Action.MANUAL_REVIEW,
    RecoveryStrategy.FAIL: Action.FAIL,
}
#: Delays of 10, 20, 40 s without chance.
POLICY = RetryPolicy(max_attempts=4, base_delay=10, max_delay=60, jitter="none")


def info(**fields: Any) -> ErrorInfo:
    """A retryable network failure, now."""
    usual = {
        "error_type": ErrorType.NETWORK,
        "is_retryable": True,
        "severity": ErrorSeverity.LOW,
        "rule": "http.status.503",
        "exception": "requests.HTTPError",
        "timestamp": NOW,
    }
    return ErrorInfo(**{**usual, **fields})


def decided(*, about: ErrorInfo | None = None, retries: int = 0, seed: int = 1, **fields: Any) -> Decision:
    """What is decided about one failure under `POLICY`."""
    usual = {"info": about or info(), "policy": POLICY, "history": History(retries=retries), "now": NOW}
    return decide(Situation(**{**usual, **fields}), dice.Random(seed))


def said(decision: Decision) -> tuple[Action, Reason, float | None]:
    """The three words of a decision."""
    return decision.action, decision.reason, decision.delay


# -- the rules


@pytest.mark.parametrize(("retries", "delay"), [(0, 10), (1, 20), (2, 40)])
def test_transient(retries, delay):
    """A retryable failure with attempts left is retried, later each time."""
    assert said(decided(retries=retries)) == (Action.RETRY, Reason.TRANSIENT, delay)


@pytest.mark.parametrize("retries", [3, 4, 100])
@pytest.mark.parametrize("end", ENDS)
def test_exhausted(retries, end):
    """The last attempt is the end, and so is any beyond it (a policy may have been shortened)."""
    assert said(decided(retries=retries, end=end)) == (ENDS[end], Reason.EXHAUSTED, None)


@pytest.mark.parametrize("end", ENDS)
def test_not_retryable(end):
    """What a retry would meet again ends at once."""
    assert said(decided(about=info(is_retryable=False), end=end)) == (ENDS[end], Reason.NOT_RETRYABLE, None)


def test_explicit_policy_overrules_the_classifier():
    """Where the user's policy insists, the failure is retried, and the reason does not pretend that it may pass."""
    decision = decided(about=info(is_retryable=False), explicit=True)
    assert said(decision) == (Action.RETRY, Reason.POLICY, 10)
    assert "insists" in decision.detail


@pytest.mark.parametrize("end", ENDS)
def test_policy_without_retries(end):
    """One attempt by policy is no exhaustion: nothing was tried and nothing used up."""
    assert said(decided(policy=NEVER, end=end)) == (ENDS[end], Reason.POLICY, None)


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("end", ENDS)
def test_expected(retryable, end):
    """An exception in `throws` fails as plain Celery would; it is nobody's dead letter."""
    decision = decided(about=info(is_retryable=retryable), expected=True, explicit=True, end=end)
    assert said(decision) == (Action.FAIL, Reason.EXPECTED, None)


def test_no_limit():
    """Without a limit in number there is always another attempt."""
    assert decided(policy=POLICY.replace(max_attempts=None), retries=10**9).action is Action.RETRY


def test_retry_is_no_end():
    """An end that says "retry" would be none; the dead letters are."""
    assert decided(retries=9, end=RecoveryStrategy.RETRY).action is Action.DEAD_LETTER


# -- the delay


@pytest.mark.parametrize(("retry_after", "delay"), [(5, 10), (10, 10), (25, 25), (3600, 3600), (1e12, LONGEST_DELAY)])
def test_never_below_retry_after(retry_after, delay):
    """The other side's own wish is a lower bound, also beyond `max_delay`; a year is the most."""
    assert decided(about=info(retry_after=retry_after)).delay == delay


@pytest.mark.parametrize("nonsense", [-5, math.nan, math.inf, True, "10", None])
def test_nonsense_retry_after(nonsense):
    """A wish that is no number of seconds is none."""
    assert decided(about=info(retry_after=nonsense)).delay == 10


def test_retry_after_is_told():
    """Where the other side set the delay, the detail says so."""
    assert decided(about=info(retry_after=25)).detail == "the other side asked for 25 s"
    assert decided(about=info(retry_after=5)).detail == ""


def test_decorrelated_jitter_remembers():
    """The delay before comes from the history."""
    policy = RetryPolicy(max_attempts=None, base_delay=1, max_delay=1e6, jitter="decorrelated")
    delays = [decided(policy=policy, history=History(last_delay=1000.0), seed=seed).delay for seed in range(200)]
    assert 2500 < max(delays) <= 3000


# -- deadline and expires


@pytest.mark.parametrize(("failed_ago", "action"), [(0, Action.RETRY), (90, Action.RETRY), (90.1, Action.DEAD_LETTER)])
def test_deadline(failed_ago, action):
    """No retry starts later than `deadline` after the first failure; at that moment it still may."""
    decision = decided(policy=POLICY.replace(deadline=100), history=History(first_failure=NOW - failed_ago))
    assert decision.action is action
    assert decision.reason is (Reason.TRANSIENT if action is Action.RETRY else Reason.DEADLINE)


@pytest.mark.parametrize("deadline", [9, 10])
def test_deadline_of_a_first_failure(deadline):
    """The first failure is counted from itself."""
    assert (decided(policy=POLICY.replace(deadline=deadline)).action is Action.RETRY) == (deadline >= 10)


def test_retry_after_past_the_deadline():
    """A server that wants more time than there is ends it: a retry before would be against its word."""
    decision = decided(about=info(retry_after=500), policy=POLICY.replace(deadline=100))
    assert said(decision) == (Action.DEAD_LETTER, Reason.DEADLINE, None)


def test_expires():
    """A retry that Celery would drop as expired is never sent: it would vanish."""
    assert said(decided(expires=NOW + 11)) == (Action.RETRY, Reason.TRANSIENT, 10)
    for late in (10, 0, -5):
        assert said(decided(expires=NOW + late)) == (Action.DEAD_LETTER, Reason.EXPIRES, None)


# -- what the task asks for


def test_asked_retry_overrules_the_classifier():
    """`self.retry()` is retried whatever the rules think of the fault, after the policy's delay."""
    decision = decided(about=info(is_retryable=False), asked=Asked.retry())
    assert said(decision) == (Action.RETRY, Reason.REQUESTED, 10)


@pytest.mark.parametrize("countdown", [0, 0.5, 7, timedelta(minutes=2), 10_000])
def test_asked_countdown_is_exact(countdown):
    """A countdown is taken as it is: neither floor nor maximum, jitter or the other side's wish changes it."""
    asked, patient = Asked.retry(countdown=countdown), RetryPolicy(min_delay=5)
    decision = decided(about=info(retry_after=30), policy=patient, asked=asked)
    assert decision.delay == (countdown.total_seconds() if isinstance(countdown, timedelta) else countdown)


@pytest.mark.parametrize(
    "eta",
    [
        datetime.fromtimestamp(NOW + 90, timezone.utc),
        datetime.fromtimestamp(NOW + 90, timezone(timedelta(hours=5))),
        datetime.fromtimestamp(NOW + 90, timezone.utc).replace(tzinfo=None),
        datetime.fromtimestamp(NOW + 90, timezone.utc).isoformat(),
        datetime.fromtimestamp(NOW + 90, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ],
)
def test_asked_eta(eta):
    """An `eta` in any zone, naive for UTC, or in ISO form, is the moment of the retry."""
    assert decided(asked=Asked.retry(eta=eta)).delay == 90


def test_countdown_comes_before_eta():
    """With both, the countdown counts."""
    assert decided(asked=Asked.retry(countdown=3, eta=datetime.now(timezone.utc))).delay == 3


@pytest.mark.parametrize("asked", [Asked.retry(countdown=-5), Asked.retry(eta=datetime(2020, 1, 1))])  # noqa: DTZ001
def test_asked_for_the_past(asked):
    """A moment that has passed means at once."""
    assert decided(asked=asked).delay == 0


@pytest.mark.parametrize("limit", [0, 1, 2, 9])
@pytest.mark.parametrize("retries", [0, 1, 8, 9])
def test_asked_limit(limit, retries):
    """`max_retries=n` allows n + 1 attempts, above or below what the policy allows, for this request."""
    decision = decided(asked=Asked.retry(max_retries=limit), retries=retries)
    assert (decision.action is Action.RETRY) == (retries < limit)
    assert decision.max_attempts == limit + 1


@pytest.mark.parametrize("asked", [Asked.retry(), Asked.retry(countdown=1), Asked.by(RetryIn(1))])
def test_asking_uses_attempts(asked):
    """Asking does not lift the policy's limit; the end is the same."""
    assert said(decided(asked=asked, retries=3)) == (Action.DEAD_LETTER, Reason.EXHAUSTED, None)


def test_asked_and_expected():
    """`self.retry(exc=…)` with an exception in `throws` is retried; when no attempt is left it fails, as expected."""
    assert decided(asked=Asked.retry(), expected=True).action is Action.RETRY
    assert said(decided(asked=Asked.retry(), expected=True, retries=3)) == (Action.FAIL, Reason.EXHAUSTED, None)


@pytest.mark.parametrize("asked", [Asked.retry(countdown=50), Asked.by(RetryIn(50)), Asked.by(Snooze(50))])
def test_asked_past_expires(asked):
    """Not even on request is a message sent that will have expired."""
    assert said(decided(asked=asked, expires=NOW + 50)) == (Action.DEAD_LETTER, Reason.EXPIRES, None)


def test_retry_in():
    """RetryIn: exactly that delay, one attempt, the task's own reason."""
    decision = decided(asked=Asked.by(RetryIn(77, "ledger is locked")), about=info(is_retryable=False))
    assert said(decision) == (Action.RETRY, Reason.REQUESTED, 77)
    assert (decision.uses_attempt, decision.detail) == (True, "ledger is locked")


@pytest.mark.parametrize("retries", [0, 3, 1000])
def test_snooze(retries):
    """Snooze: exactly that delay, no attempt, and no limit in attempts or deadline: waiting is not failing."""
    history = History(retries=retries, first_failure=NOW - 1e6, deferrals=10**6)
    decision = decided(asked=Asked.by(Snooze(77)), history=history, policy=POLICY.replace(deadline=1), expected=True)
    assert said(decision) == (Action.SNOOZE, Reason.SNOOZED, 77)
    assert not decision.uses_attempt


@pytest.mark.parametrize("retries", [0, 3, 50])
@pytest.mark.parametrize("asked", [None, Asked.retry(max_retries=3)])
def test_a_probe_uses_no_attempt(asked, retries):
    """Waiting for a circuit is no fault of the task: neither the policy's limit nor `self.retry()`'s counts."""
    decision = decided(probe="payments-api", asked=asked, retries=retries)
    assert decision.action is Action.SNOOZE
    assert decision.reason is Reason.PROBE
    assert not decision.uses_attempt


def test_a_probe_that_may_not_run_again():
    """One attempt is one attempt; bad data, and what has expired, end as ever."""
    assert said(decided(probe="x", policy=NEVER))[1] is Reason.POLICY
    assert said(decided(probe="x", asked=Asked.retry(max_retries=0)))[1] is Reason.EXHAUSTED
    assert said(decided(probe="x", about=info(is_retryable=False)))[1] is Reason.NOT_RETRYABLE
    assert said(decided(probe="x", expires=NOW + 1))[1] is Reason.EXPIRES


@pytest.mark.parametrize(("review", "action"), [(False, Action.DEAD_LETTER), (True, Action.MANUAL_REVIEW)])
def test_quarantine(review, action):
    """Quarantine goes to the dead letters, or before a person, whatever the policy's end is."""
    decision = decided(asked=Asked.by(Quarantine("odd sum", review=review)), end=RecoveryStrategy.FAIL)
    assert said(decision) == (action, Reason.QUARANTINED, None)
    assert decision.detail == "odd sum"


def test_discard():
    """Discard drops it, and says why."""
    decision = decided(asked=Asked.by(Discard("customer is gone")))
    assert said(decision) == (Action.DISCARD, Reason.DISCARDED, None)
    assert decision.detail == "customer is gone"


@pytest.mark.parametrize("exc", [None, ValueError(), ConfigurationError("x")])
def test_other_exceptions_ask_for_nothing(exc):
    """Only the control exceptions do."""
    assert Asked.by(exc) is None


def test_a_control_of_ones_own():
    """A control exception that we do not know is kept safe rather than lost."""

    class Odd(RecoveryControl):
        pass

    assert decided(asked=Asked.by(Odd("?"))).action is Action.DEAD_LETTER


@pytest.mark.parametrize(
    ("name", "nonsense"), [("countdown", "soon"), ("countdown", math.nan), ("max_retries", "3"), ("max_retries", True)]
)
def test_asking_nonsense(name, nonsense):
    """Arguments of `self.retry()` that make no sense are refused by name."""
    with pytest.raises(ConfigurationError, match=rf"^retry\.{name}"):
        Asked.retry(**{name: nonsense})


# -- what a decision carries


def test_decision_tells_all():
    """Attempt, limit, rule and words: enough for a log line without looking anywhere else."""
    decision = decided(retries=2)
    assert (decision.attempt, decision.max_attempts, decision.rule) == (3, 4, "http.status.503")
    assert pickle.loads(pickle.dumps(decision)) == decision


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"retries": 3}, "attempt 4 of 4 failed"),
        ({"about": info(is_retryable=False)}, "rule http.status.503: a retry would meet the same fault"),
        ({"policy": NEVER}, "the policy allows no retry"),
        ({"expires": NOW}, "in 10 s the message will have expired"),
        ({"policy": POLICY.replace(deadline=1)}, "a retry in 10 s would miss the deadline"),
    ],
)
def test_ends_say_why(fields, detail):
    """Every end has a sentence that a person understands."""
    assert decided(**fields).detail == detail


# -- the history


def failed(history: History, at: float = NOW, **fields: Any) -> History:
    """The history after one more failure."""
    return history.after(info(timestamp=at, **fields), worker="w1", runtime=0.5)


def test_a_life():
    """Fail, retry, snooze, fail, retry, end: what the header says at each step."""
    retry, snooze, end = decided(), decided(asked=Asked.by(Snooze(5))), decided(retries=9)
    first = retry.onto(failed(History(), at=NOW))
    assert (first.retries, first.last_delay, first.first_failure) == (1, 10, NOW)
    assert [(attempt.n, attempt.delay) for attempt in first.attempts] == [(1, 10)]
    snoozed = snooze.onto(failed(first, at=NOW + 10))
    assert snoozed == replace(first, deferrals=1)
    second = retry.onto(failed(snoozed, at=NOW + 15))
    assert (second.retries, second.first_failure, second.attempt) == (2, NOW, 3)
    assert [attempt.n for attempt in second.attempts] == [1, 2]
    ended = end.onto(failed(second, at=NOW + 35))
    assert (ended.retries, ended.attempts[-1].delay) == (2, None)


def test_snooze_before_any_failure():
    """Snoozing is not failing: the deadline does not start to run."""
    assert decided(asked=Asked.by(Snooze(5))).onto(failed(History())) == History(deferrals=1)


@pytest.mark.parametrize("keep", [1, 3, 10])
def test_history_is_short(keep):
    """The newest attempts are kept, the oldest forgotten; the counts go on."""
    history = History()
    for n in range(25):
        history = decided().onto(history.after(info(timestamp=NOW + n), keep=keep))
    assert [attempt.n for attempt in history.attempts] == list(range(26 - keep, 26))
    assert (history.retries, history.first_failure) == (25, NOW)
    assert len(History.from_header(history.to_header(), keep=keep).attempts) == keep


def test_messages_are_cut_and_clean():
    """A message of a megabyte, or one that no UTF-8 can hold, does not travel as it is."""
    attempt = failed(History(), message="x" * 10**6).attempts[-1]
    assert len(attempt.message) == MESSAGE_LIMIT
    failed(History(), message="\ud800").attempts[-1].message.encode()


def test_header_is_small():
    """A full history of the worst messages stays within a few kilobytes."""
    history = History()
    for _ in range(50):
        history = failed(history, message="m" * 10**4, exception="e" * 10**4, fingerprint="1:0123456789abcdef")
    assert len(json.dumps(history.to_header())) < 8000


# -- properties

NUMBERS = st.one_of(st.floats(), st.integers(-(10**12), 10**12))
TEXTS = st.text(max_size=300)
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.binary(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(TEXTS | st.integers(), inner, max_size=4),
    max_leaves=8,
)
NAMES = ("attempts", "retries", "deferrals", "first_failure", "replays", "last_delay", "n", "at", "error_type", "delay")
HEADERS = JUNK | st.dictionaries(st.sampled_from(NAMES), JUNK | st.lists(st.dictionaries(st.sampled_from(NAMES), JUNK)))
HISTORIES = st.builds(
    History,
    retries=st.integers(0, 10**9),
    deferrals=st.integers(0, 10**9),
    first_failure=st.none() | st.floats(0, 1e10),
    replays=st.integers(0, 100),
    last_delay=st.none() | st.floats(0, 1e9),
    attempts=st.lists(
        st.builds(
            Attempt,
            n=st.integers(1, 10**9),
            at=st.floats(0, 1e10),
            error_type=st.sampled_from(ErrorType),
            message=st.text(st.characters(codec="utf-8"), max_size=MESSAGE_LIMIT),
            runtime=st.none() | st.floats(0, 1e6),
            delay=st.none() | st.floats(0, 1e6),
        ),
        max_size=HISTORY_LENGTH,
    ).map(tuple),
)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    """Any policy that can be built, with callables that misbehave."""
    base = draw(st.floats(0, 1e5))
    return RetryPolicy(
        max_attempts=draw(st.none() | st.integers(1, 10**6)),
        base_delay=base,
        max_delay=base + draw(st.floats(0, 1e5)),
        backoff=draw(st.sampled_from([*BackoffStrategy, lambda attempt: 1 / 0, lambda attempt: math.nan])),
        jitter=draw(st.sampled_from(Jitter)),
        deadline=draw(st.none() | st.floats(0, 1e7)),
    )


ASKED = st.builds(
    Asked,
    ask=st.sampled_from(Ask),
    seconds=st.none() | NUMBERS,
    until=st.none() | NUMBERS,
    max_retries=st.none() | st.integers(),
    reason=TEXTS,
    review=st.booleans(),
)
SITUATIONS = st.builds(
    Situation,
    info=st.builds(
        info, is_retryable=st.booleans(), retry_after=st.none() | NUMBERS, error_type=st.sampled_from(ErrorType)
    ),
    policy=policies(),
    end=st.sampled_from(RecoveryStrategy),
    explicit=st.booleans(),
    history=HISTORIES,
    now=NUMBERS,
    expires=st.none() | NUMBERS,
    asked=st.none() | ASKED,
    expected=st.booleans(),
    probe=st.sampled_from(["", "payments-api"]),
)


@given(SITUATIONS, st.integers())
def test_decide_is_total(situation, seed):
    """Any situation gets a decision whose parts fit: a delay of 0 to a year exactly where there is a next start."""
    decision = decide(situation, dice.Random(seed))
    assert decision.action in Action
    assert decision.reason in Reason
    assert (decision.delay is not None) == (decision.action in {Action.RETRY, Action.SNOOZE})
    assert decision.delay is None or 0 <= decision.delay <= LONGEST_DELAY
    assert decision.attempt == situation.history.retries + 1


@given(SITUATIONS, st.integers())
def test_decide_is_determined(situation, seed):
    """Same situation, same dice: same decision."""
    assert decide(situation, dice.Random(seed)) == decide(situation, dice.Random(seed))


@given(SITUATIONS, st.integers())
def test_retries_keep_every_limit(situation, seed):
    """A retry has an attempt left, starts before deadline and expires, and waits as long as policy and server want."""
    decision = decide(situation, dice.Random(seed))
    if decision.action is not Action.RETRY:
        return
    start = situation.now + decision.delay
    first = situation.now if situation.history.first_failure is None else situation.history.first_failure
    assert decision.max_attempts is None or decision.attempt < decision.max_attempts
    assert situation.policy.deadline is None or not start > first + situation.policy.deadline
    assert situation.expires is None or not start >= situation.expires
    if situation.asked is None:
        assert situation.info.is_retryable or situation.explicit
        assert decision.delay >= situation.policy.floor
        wish = situation.info.retry_after
        assert wish is None or not 0 <= wish <= LONGEST_DELAY or decision.delay >= wish


@given(SITUATIONS)
def test_only_discard_drops(situation):
    """No failure is dropped but by the task's own word."""
    if decide(situation, dice.Random(0)).action is Action.DISCARD:
        assert situation.asked.ask is Ask.DISCARD


@given(HEADERS, st.none() | st.integers())
def test_any_header_is_read(header, retries):
    """A header from another version, another program or a bad day is read without complaint, and can be sent on."""
    history = History.from_header(header, retries=retries)
    assert history.retries >= 0
    assert len(history.attempts) <= HISTORY_LENGTH
    assert History.from_header(json.loads(json.dumps(history.to_header()))) == history
    decide(Situation(info=info(), policy=POLICY, history=history, now=NOW), dice.Random(0))


@given(HISTORIES)
def test_header_round_trip(history):
    """What is sent is what is read, through JSON."""
    assert History.from_header(json.loads(json.dumps(history.to_header()))) == history


def test_celerys_count_wins():
    """The message's own `retries` counts, whatever the header says."""
    assert History.from_header({"retries": 7}, retries=2).retries == 2
    assert History.from_header({"retries": 7}).retries == 7


@pytest.mark.parametrize("kind", [Action, Reason])
def test_words_are_what_is_printed(kind):
    """An enum member prints as its value."""
    assert [str(member) for member in kind] == [member.value for member in kind]
