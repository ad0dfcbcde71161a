"""What to do now: `decide` is the one pure, total function between understanding a failure and acting on it.

    Situation (what failed, the policy, the history, the clock)  ──decide──►  Decision (action, reason, delay)

The rules, in order; the first that applies decides:

    0  poison                  its worker died too often while it ran: the end, at once
       refused                 its circuit is open or its budget empty, and the policy says not to wait: that end
    1  the task said so        Quarantine, Discard and Snooze are obeyed; `self.retry()` and RetryIn overrule rule 3
    2  expected                an exception in the task's `throws` is no failure: FAIL, as Celery would
    3  not retryable           the end, at once, unless the user's policy insists on retries (`Situation.explicit`)
       moved on                a batch of it got further in this attempt: SNOOZE, where a retry is due
       a probe                 its circuit let it through to see whether the dependency is back, and it is not:
                               SNOOZE, where a retry is due; it will be parked, and has used no attempt
    4  attempts used up        the end
    5  deadline, expires       a retry that would start too late is no retry: the end
    6  otherwise               RETRY after a delay

"The end" is `Situation.end`: dead letter, manual review, or fail; for an expected exception always fail.

**The delay** is backoff and jitter within the policy's bounds, and never less than what the other side asked for
(`retry_after`): that counts even beyond `max_delay`. A delay the user names is taken as it is. None exceeds a year.

**Snooze** uses no attempt and is not limited in number, nor by the policy's deadline: waiting is not failing. It is
limited by `expires` alone. Times are unix seconds, durations seconds; an attempt is 1-based.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from celery_recovery.backoff import RandomSource
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.exceptions import (
    CircuitOpen,
    ConfigurationError,
    Discard,
    Quarantine,
    RecoveryControl,
    RetryIn,
    Snooze,
    as_seconds,
)
from celery_recovery.history import History, seconds_or_none
from celery_recovery.policy import RecoveryStrategy
from celery_recovery.retry_policy import LONGEST_DELAY, RetryPolicy

__all__ = ("Action", "Ask", "Asked", "Decision", "Reason", "Situation", "decide", "unix_time")


class Action(str, enum.Enum):
    """What to do. The word is what logs, metrics and letters carry."""

    RETRY = "retry"  # publish the next attempt
    DEAD_LETTER = "dead_letter"  # keep it where it can be replayed
    MANUAL_REVIEW = "manual_review"  # keep it, for a person to look at first
    FAIL = "fail"  # let it fail as plain Celery would
    SNOOZE = "snooze"  # publish the same attempt for later
    DISCARD = "discard"  # drop it for good

    def __str__(self) -> str:
        return self.value


class Reason(str, enum.Enum):
    """Why. One word for each line of the rules above."""

    TRANSIENT = "transient"  # retried: it may pass
    POLICY = "policy"  # retried, or not, because the policy says so, whatever the fault
    REQUESTED = "requested"  # retried: the task asked for it
    SNOOZED = "snoozed"  # later: the task asked for it
    MOVED_ON = "moved_on"  # later: a batch got further in this attempt, which does not count
    PROBE = "probe"  # later: it ran to see whether its circuit can close, and it cannot
    QUARANTINED = "quarantined"  # ended: the task asked for it
    DISCARDED = "discarded"  # dropped: the task asked for it
    EXPECTED = "expected"  # failed: the task lists it in `throws`
    NOT_RETRYABLE = "not_retryable"  # ended: a retry would meet the same fault
    EXHAUSTED = "exhausted"  # ended: no attempt is left
    DEADLINE = "deadline"  # ended: the retry would start after the policy's deadline
    NOT_PUBLISHED = "not_published"  # ended: the next attempt could not be sent
    POISON = "poison"  # ended: its worker died too often while it ran
    EXPIRES = "expires"  # ended: the retry would start after the message has expired
    CIRCUIT = "circuit"  # ended without a run: its circuit is open, and the policy is not to wait
    BUDGET = "budget"  # ended without a run: no retry is left in the budget, and the policy is not to wait

    def __str__(self) -> str:
        return self.value


class Ask(str, enum.Enum):
    """What user code can ask for."""

    RETRY = "retry"  # self.retry(), RetryIn
    SNOOZE = "snooze"
    QUARANTINE = "quarantine"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What user code asked for, as plain values."""

    ask: Ask
    #: Seconds from now; None: as the policy says.
    seconds: float | None = None
    #: Unix time (seconds) at which to run; used when `seconds` is None.
    until: float | None = None
    #: Celery's limit for this request: n retries are n + 1 attempts; None: as the policy says.
    max_retries: int | None = None
    #: In the user's words.
    reason: str = ""
    #: A quarantine that a person has to look at.
    review: bool = False

    @classmethod
    def retry(cls, *, countdown: Any = None, eta: Any = None, max_retries: int | None = None) -> Asked:
        """The arguments of `self.retry()`. A naive `eta` is read as UTC; what lies in the past means at once.

        Raises ConfigurationError for a countdown that is no duration, and for a limit that is no whole number.
        """
        seconds = None if countdown is None else as_seconds(countdown, "retry.countdown", least=-math.inf)
        if max_retries is not None and (isinstance(max_retries, bool) or not isinstance(max_retries, int)):
            raise ConfigurationError.of("retry.max_retries", expected="a whole number or None", got=max_retries)
        return cls(ask=Ask.RETRY, seconds=seconds, until=unix_time(eta), max_retries=max_retries)

    @classmethod
    def by(cls, exc: BaseException | None) -> Asked | None:
        """What a control exception asks for; None for any other exception.

        A circuit that the body asked itself, and that refused, asks for a snooze: waiting uses no attempt.
        """
        if isinstance(exc, CircuitOpen):
            return cls(
                ask=Ask.SNOOZE, seconds=exc.retry_after if exc.retry_after is not None else 60.0, reason=str(exc)
            )
        if not isinstance(exc, RecoveryControl):
            return None
        if isinstance(exc, (RetryIn, Snooze)):
            ask = Ask.RETRY if isinstance(exc, RetryIn) else Ask.SNOOZE
            return cls(ask=ask, seconds=exc.seconds, reason=exc.reason)
        if isinstance(exc, Discard):
            return cls(ask=Ask.DISCARD, reason=exc.reason)
        return cls(ask=Ask.QUARANTINE, reason=exc.reason, review=isinstance(exc, Quarantine) and exc.review)

    def delay(self, now: float) -> float | None:
        """Seconds from `now`, 0 to a year; None: not said."""
        seconds = self.until - now if self.seconds is None and self.until is not None else self.seconds
        return None if seconds is None else _bounded(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision depends on, beside the dice."""

    #: What failed.
    info: ErrorInfo
    #: How it would be retried.
    policy: RetryPolicy
    #: What happens when it is not.
    end: RecoveryStrategy = RecoveryStrategy.DEAD_LETTER
    #: The user's policy asks for retries of just this failure, whatever the classifier says.
    explicit: bool = False
    #: What happened before; whether this failure is noted in it already makes no difference.
    history: History = field(default_factory=History)
    #: Unix time.
    now: float
    #: Unix time at which the message expires; None: never.
    expires: float | None = None
    #: What user code asked for; None: nothing, it just failed.
    asked: Asked | None = None
    #: The exception is in the task's `throws`.
    expected: bool = False
    #: Its worker died too often while it ran.
    poison: bool = False
    #: It was not let through: why (CIRCUIT, BUDGET), and how it is to end then (`"fail"`, `"dead_letter"`).
    refused: tuple[Reason, str] | None = None
    #: The circuit of this name had let it through as a probe, and counts the failure.
    probe: str = ""
    #: A batch of the task got further in this attempt.
    moved_on: bool = False

    @property
    def max_attempts(self) -> int | None:
        """The limit that counts here: the request's own, or else the policy's; None: no limit."""
        if self.asked is not None and self.asked.max_retries is not None:
            return max(self.asked.max_retries, 0) + 1
        return self.policy.max_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, and why: enough to act on it and to log it without looking anywhere else."""

    action: Action
    reason: Reason
    #: Seconds until the next start; None: there is no next.
    delay: float | None = None
    #: The attempt that this is about, 1-based.
    attempt: int
    #: The limit that counted; None: no limit.
    max_attempts: int | None
    #: The classifier's rule.
    rule: str
    #: The circumstances in one sentence, for people.
    detail: str = ""

    @property
    def uses_attempt(self) -> bool:
        """The next start is a new attempt, not the same one later."""
        return self.action is Action.RETRY

    def not_published(self) -> Decision:
        """What is left when the next attempt that was decided on cannot be sent."""
        return replace(self, action=Action.DEAD_LETTER, reason=Reason.NOT_PUBLISHED, delay=None)

    def onto(self, history: History) -> History:
        """The history as the next message carries it, if there is a next message."""
        if self.action is Action.SNOOZE:
            return history.snoozed()
        return history.retried(self.delay) if self.uses_attempt else history

    @classmethod
    def retry(cls, situation: Situation, reason: Reason, delay: float, detail: str = "") -> Decision:
        """Run it again in `delay` seconds."""
        return cls._about(situation, Action.RETRY, reason, detail, delay)

    @classmethod
    def snooze(cls, situation: Situation, delay: float, detail: str = "", reason: Reason = Reason.SNOOZED) -> Decision:
        """Run the same attempt in `delay` seconds."""
        return cls._about(situation, Action.SNOOZE, reason, detail, delay)

    @classmethod
    def discard(cls, situation: Situation, detail: str = "") -> Decision:
        """Drop it for good."""
        return cls._about(situation, Action.DISCARD, Reason.DISCARDED, detail)

    @classmethod
    def quarantine(cls, situation: Situation, review: bool, detail: str = "") -> Decision:
        """Among the dead letters, because the task said so."""
        action = Action.MANUAL_REVIEW if review else Action.DEAD_LETTER
        return cls._about(situation, action, Reason.QUARANTINED, detail)

    @classmethod
    def refused(cls, situation: Situation, reason: Reason, end: str) -> Decision:
        """It was not let through, and is not to wait."""
        return cls._about(situation, Action.FAIL if end == "fail" else Action.DEAD_LETTER, reason, "it did not run")

    @classmethod
    def ending(cls, situation: Situation, reason: Reason, detail: str = "") -> Decision:
        """The situation's end."""
        end = RecoveryStrategy.FAIL if situation.expected else situation.end
        return cls._about(situation, _ENDS.get(end, Action.DEAD_LETTER), reason, detail)

    @classmethod
    def _about(
        cls, situation: Situation, action: Action, reason: Reason, detail: str, delay: float | None = None
    ) -> Decision:
        return cls(
            action=action,
            reason=reason,
            delay=delay,
            attempt=situation.history.attempt,
            max_attempts=situation.max_attempts,
            rule=situation.info.rule,
            detail=detail,
        )


def decide(situation: Situation, random: RandomSource) -> Decision:
    """Apply the rules in the module's docstring. Never raises, whatever the values; `random` is the only dice."""
    asked = situation.asked
    if situation.poison:
        return Decision.ending(situation, Reason.POISON, "another run would cost another worker")
    if situation.refused is not None:
        return Decision.refused(situation, *situation.refused)
    if asked is None:
        return _about_failure(situation, random)
    if asked.ask is Ask.DISCARD:
        return Decision.discard(situation, asked.reason)
    if asked.ask is Ask.QUARANTINE:
        return Decision.quarantine(situation, asked.review, asked.reason)
    if asked.ask is Ask.SNOOZE:
        return _later(situation, asked.delay(situation.now) or 0.0, asked.reason)
    return _retry(situation, Reason.REQUESTED, random)


def _about_failure(situation: Situation, random: RandomSource) -> Decision:
    info = situation.info
    if situation.expected:
        return Decision.ending(situation, Reason.EXPECTED, "the task lists this exception in its `throws`")
    if not info.is_retryable and not situation.explicit:
        return Decision.ending(situation, Reason.NOT_RETRYABLE, f"rule {info.rule}: a retry would meet the same fault")
    if situation.policy.max_attempts == 1:
        return Decision.ending(situation, Reason.POLICY, "the policy allows no retry")
    return _retry(situation, Reason.TRANSIENT if info.is_retryable else Reason.POLICY, random)


def _later(situation: Situation, delay: float, why: str, reason: Reason = Reason.SNOOZED) -> Decision:
    """The same attempt again, unless the message expires before."""
    if _expired(situation, delay):
        return Decision.ending(situation, Reason.EXPIRES, f"in {delay:.3g} s the message will have expired")
    return Decision.snooze(situation, delay, why, reason)


def _retry(situation: Situation, reason: Reason, random: RandomSource) -> Decision:
    """Retry, if the limits allow."""
    attempt, limit = situation.history.attempt, situation.max_attempts
    if situation.probe and limit != 1:
        return _later(situation, _delay(situation, random), f"the circuit {situation.probe!r} stays open", Reason.PROBE)
    if situation.moved_on and limit != 1:
        return _later(situation, _delay(situation, random), "it got further in this attempt", Reason.MOVED_ON)
    if limit is not None and attempt >= limit:
        return Decision.ending(situation, Reason.EXHAUSTED, f"attempt {attempt} of {limit} failed")
    delay = _delay(situation, random)
    if _past_deadline(situation, delay):
        return Decision.ending(situation, Reason.DEADLINE, f"a retry in {delay:.3g} s would miss the deadline")
    if _expired(situation, delay):
        return Decision.ending(situation, Reason.EXPIRES, f"in {delay:.3g} s the message will have expired")
    return Decision.retry(situation, reason, delay, _why(situation, delay))


def _delay(situation: Situation, random: RandomSource) -> float:
    """Seconds from now: as asked, or computed and not below what the other side wants."""
    asked = situation.asked.delay(situation.now) if situation.asked else None
    if asked is not None:
        return asked
    history = situation.history
    computed = situation.policy.delay(history.attempt, history.last_delay, random)
    return min(max(computed, _asked_by_server(situation.info)), LONGEST_DELAY)


def _asked_by_server(info: ErrorInfo) -> float:
    """Seconds that the other side wants us to wait; 0 when it did not say, or said nonsense."""
    return seconds_or_none(info.retry_after) or 0.0


def _past_deadline(situation: Situation, delay: float) -> bool:
    """A retry would start after the policy's deadline, which counts from the first failure."""
    if situation.policy.deadline is None:
        return False
    first = situation.history.first_failure
    return situation.now + delay > (situation.now if first is None else first) + situation.policy.deadline


def _expired(situation: Situation, delay: float) -> bool:
    """The message would reach its worker too late, and Celery drop it without a trace."""
    return situation.expires is not None and situation.now + delay >= situation.expires


def _why(situation: Situation, delay: float) -> str:
    """What people cannot read off the reason."""
    if situation.asked:
        return situation.asked.reason
    if delay == _asked_by_server(situation.info):
        return f"the other side asked for {delay:g} s"
    return "" if situation.info.is_retryable else "the policy insists, the classifier would not retry"


_ENDS = {
    RecoveryStrategy.DEAD_LETTER: Action.DEAD_LETTER,
    RecoveryStrategy.MANUAL_REVIEW: Action.MANUAL_REVIEW,
    RecoveryStrategy.FAIL: Action.FAIL,
}


def unix_time(moment: Any) -> float | None:
    """Unix time of a datetime (naive: UTC) or of its ISO form; None for anything else."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _bounded(seconds: float) -> float:
    """0 to a year; nan is 0."""
    return min(seconds, LONGEST_DELAY) if seconds > 0 else 0.0
