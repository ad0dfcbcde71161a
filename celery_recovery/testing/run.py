"""`Run`: what became of one task, from its first message to its end; all that a test may want to ask of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.decision import Action, Decision
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.testing.story import Teller

if TYPE_CHECKING:
    from celery_recovery.testing.bench import Bench

__all__ = ("LogLine", "Outcome", "Run", "Sent", "Start")


class Outcome(str, enum.Enum):
    """How a run ended, or why it has not."""

    SUCCEEDED = "succeeded"
    DEAD_LETTERED = "dead_lettered"  # a letter tells of it; failed or held, as its caller sees it
    FAILED = "failed"  # as in plain Celery, without a letter
    DISCARDED = "discarded"  # the task said so
    EXPIRED = "expired"  # its `expires` was over before it could start
    IGNORED = "ignored"  # Celery's own `Ignore`
    REJECTED = "rejected"  # Celery's own `Reject`, without requeue
    REPLACED = "replaced"  # `self.replace()`, `fan_out`: others go on in its place (`follow`)
    PARKED = "parked"  # it waits for a circuit that nobody knows to close
    WAITING = "waiting"  # it would start again: it has started as often as the bench allows

    def __str__(self) -> str:
        return self.value


#: Ends of a start that use no attempt.
_USES_NONE = (Action.SNOOZE.value, "parked", "put_off", "given_back", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One message of the task that a worker took. `at` is seconds since the run began."""

    #: Name of the task; another after `self.replace()`.
    task: str
    #: Which attempt it was, 1-based: the same again after what uses no attempt.
    attempt: int
    at: float
    #: Seconds that the body let pass on the bench's clock.
    runtime: float
    #: What was done: `"succeeded"`, an `Action` such as `"retry"`, `"parked"`, `"ignored"` …
    done: str
    #: What the body raised; None: nothing, or it did not run.
    exception: BaseException | None = None
    #: How that was understood.
    error: ErrorInfo | None = None
    #: What was decided; None: there was nothing to decide.
    decision: Decision | None = None

    @property
    def delay(self) -> float | None:
        """Seconds to the next start, as decided; None: there is none."""
        return None if self.decision is None else self.decision.delay

    @property
    def uses_attempt(self) -> bool:
        """Whether it counts: not when it was put off, not let through, given back, or too late."""
        return self.done not in _USES_NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A task that was sent, by the body or behind it, and waits."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    queue: str
    #: Seconds from when it was sent to when it is due; 0: at once.
    delay: float = 0.0
    #: Seconds from when it was sent until it expires; None: never.
    expires: float | None = None
    priority: int | None = None
    #: Without ours.
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line in the log of `celery_recovery`."""

    #: The stable word for what it tells, as in `"retry"`.
    action: str
    level: str
    message: str
    #: Its fields, by the names that log formatters see.
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a task. Durations are seconds, to the millisecond."""

    id: str
    #: Name of the task, and what it was called with, as its worker got it.
    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outcome: Outcome
    #: What the task gave, as its caller gets it from the result backend; None unless it succeeded.
    result: Any = None
    #: Its state in the result backend, as `"SUCCESS"`, `"FAILURE"`, `"QUARANTINED"`; `"PENDING"`: nothing is stored.
    state: str
    #: Every message of it that a worker took, in order; `attempts` are those that count.
    starts: tuple[Start, ...] = ()
    #: From when it was sent to its end, bodies included.
    took: float = 0.0
    #: Seconds until its next start, where it has not ended and that is known.
    due_in: float | None = None
    #: The letter it ended as.
    letter: Letter | None = None
    #: Letters of items of its batches.
    item_letters: tuple[Letter, ...] = ()
    #: The parked message, where it waits for a circuit.
    parked: ParkedTask | None = None
    #: What it saved in `self.checkpoint` and has not finished.
    checkpoint: Any = None
    #: Tasks that it sent, or that follow it: subtasks, the next of its chain, callbacks, errbacks.
    sent: tuple[Sent, ...] = ()
    #: What `celery_recovery` logged meanwhile.
    log: tuple[LogLine, ...] = ()
    #: Replays behind it.
    replays: int = 0
    #: Where it ran; `replay`, `resume` and `follow` go on there.
    bench: Bench = field(repr=False, compare=False)

    @property
    def attempts(self) -> tuple[Start, ...]:
        """The starts that used an attempt."""
        return tuple(start for start in self.starts if start.uses_attempt)

    @property
    def waited(self) -> float:
        """From when it was sent to its end, without the time that bodies took."""
        return round(self.took - sum(start.runtime for start in self.starts), 3)

    @property
    def delays(self) -> tuple[float, ...]:
        """Before each further start that was decided on, as decided."""
        return tuple(start.delay for start in self.starts if start.delay is not None)

    @property
    def last(self) -> Start | None:
        """The last start that something was decided about."""
        return next((start for start in reversed(self.starts) if start.decision is not None), None)

    @property
    def error(self) -> ErrorInfo | None:
        """How the last failure was understood."""
        return next((start.error for start in reversed(self.starts) if start.error is not None), None)

    @property
    def exception(self) -> BaseException | None:
        """The last failure itself."""
        return next((start.exception for start in reversed(self.starts) if start.exception is not None), None)

    @property
    def reason(self) -> str:
        """Why it ended as it did, in one word of `Reason`; empty where nothing was to be decided."""
        if self.letter is not None:
            return self.letter.reason
        return "" if self.last is None or self.last.decision is None else self.last.decision.reason.value

    @property
    def held(self) -> bool:
        """A letter whose result is still open, so that chain or chord can be finished by its replay."""
        return self.letter is not None and self.letter.held

    @property
    def in_review(self) -> bool:
        """A letter that waits for a person."""
        return self.letter is not None and self.letter.state is LetterState.REVIEW

    @property
    def actions(self) -> tuple[str, ...]:
        """The `action` of each line in the log that has one."""
        return tuple(line.action for line in self.log if line.action)

    def story(self) -> str:
        """The whole life, a line for each start. It is what a failed assertion shows."""
        return Teller(self.bench.redact).told(self)

    def __str__(self) -> str:
        return self.story()
