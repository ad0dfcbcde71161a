"""The sections of a `Report`: retries, kinds of failures, groups, circuits, replays, batches.

Durations are seconds, times unix seconds, shares 0 to 1. What is counted to the hour is told in `model.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ("Batch", "Circuit", "Drift", "Group", "Interval", "Kind", "Reason", "Replay", "Replays", "Step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one number of attempt was worth: all attempts with it, made after such a failure."""

    #: From 2, the first retry; 100 is 100 and more.
    attempt: int
    recovered: int
    failed: int
    #: Worker time of those that failed.
    failed_seconds: float = 0.0
    recovered_seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Attempts with this number."""
        return self.recovered + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Failures of one task and one error type."""

    task: str
    error_type: str
    #: To the minute: attempts that failed so; tasks that recovered from it, became letters, failed as in Celery.
    failed_attempts: int
    recovered: int
    dead_lettered: int
    failed: int
    #: To the hour, what follows. Retries after such a failure, by the number of the attempt.
    steps: tuple[Step, ...] = ()
    #: Retries that failed of tasks that did not recover, or have not yet; an estimate where a task met several types.
    wasted: int = 0
    #: Worker time of these.
    wasted_seconds: float = 0.0
    #: From the first failure to the success, of tasks that recovered; estimates from buckets. 86,400 is that or more.
    median: float | None = None
    p95: float | None = None
    mean: float | None = None
    #: Dead letters by reason.
    reasons: Mapping[str, int] = field(default_factory=dict)
    #: Most attempts by the policy of this process; None: no limit, or the task is not known here.
    max_attempts: int | None = None
    #: Its shortest and its longest delay, in seconds; None: the task is not known here.
    delays: tuple[float, float] | None = None
    #: Its deadline, in seconds from the first failure; None: it has none, or the task is not known here.
    deadline: float | None = None
    #: Whether the task goes through circuits; None: it is not known here.
    has_circuit: bool | None = None

    @property
    def recovery_rate(self) -> float | None:
        """Share of its tasks that have ended which succeeded."""
        ended = self.recovered + self.dead_lettered + self.failed
        return self.recovered / ended if ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Dead letters that ended for one reason (`decision.Reason`)."""

    error_type: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters that died of the same thing (`dead_letters/groups.py`)."""

    fingerprint: str
    task: str
    error_type: str
    #: Class and message of the last death, without secrets.
    exception: str
    message: str
    #: `"open"`, `"resolved"` or `"ignored"`, and who said so.
    state: str
    by: str
    #: Deaths in the period, to the hour; letters that are not finished now, and the oldest of them.
    deaths: int
    open: int
    oldest: float
    first_seen: float
    last_seen: float
    #: Its first death was in the period.
    is_new: bool
    #: It was resolved, and came back in the period; in which version of the code.
    is_regression: bool
    regressed_in: str
    #: Deaths by queue and by version of the code, of all time.
    queues: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    #: Version -> its first death in it.
    versions_since: Mapping[str, float] = field(default_factory=dict)
    #: Deaths by reason, and in each `Report.group_step` seconds.
    reasons: Mapping[str, int] = field(default_factory=dict)
    trend: tuple[int, ...] = ()
    #: Retries after a failure of this group.
    steps: tuple[Step, ...] = ()
    #: Most attempts by the policy of this process for its exception; None: no limit, or the task is not known here.
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A time in which a circuit was not closed, within the period."""

    begin: float
    end: float
    #: `"open"`, `"half_open"`, `"forced_open"` or `"disabled"`.
    state: str
    #: What began it.
    cause: str = ""
    #: It began so early: before the period, or before what is remembered.
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """One circuit that was not closed all the time, or for which tasks wait."""

    name: str
    #: Now.
    state: str
    since: float
    #: Parked tasks that wait for it now; times that one was parked for it in the period, to the hour.
    waiting: int
    parked: int
    #: Times it opened, after failed probes included; of these, times it had been closed before.
    openings: int
    from_closed: int
    #: Time in which it let nothing through, and in which it let probes through.
    open_seconds: float
    probing_seconds: float
    #: The oldest first.
    intervals: tuple[Interval, ...]
    #: What came earlier is not remembered: only the last 50 transitions are. None: all of the period is known.
    known_since: float | None = None
    #: The settings that its calls named last (`CircuitPolicy`).
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One replay that was begun in the period."""

    id: str
    by: str
    via: str
    reason: str
    #: Which letters: a filter as on the command line, or `"by id"`.
    filter: str
    state: str
    created_at: float
    selected: int
    published: int
    #: How they ended: in success, dead again, or neither; and those that have not ended.
    recovered: int
    died: int
    ended: int
    in_flight: int
    #: Its canary has stopped it.
    by_canary: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """All replays that were begun in the period, and what else was done to letters."""

    count: int = 0
    selected: int = 0
    published: int = 0
    recovered: int = 0
    died: int = 0
    ended: int = 0
    in_flight: int = 0
    by_canary: int = 0
    #: Of `"discard"`, `"review"` and their like: letters that it was done to.
    others: Mapping[str, int] = field(default_factory=dict)
    #: The latest first.
    latest: tuple[Replay, ...] = ()

    @property
    def success_rate(self) -> float | None:
        """Share of the replayed letters whose end is known which recovered."""
        ended = self.recovered + self.died + self.ended
        return self.recovered / ended if ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Letters of one exception that were called not retryable, and were replayed as they were; of the latest ones."""

    task: str
    error_type: str
    exception: str
    #: The classifier's rule.
    rule: str
    #: How their replays ended.
    recovered: int
    died: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items of the batches of one task that were done with in the period."""

    task: str
    succeeded: int
    failed: int
    discarded: int
