"""What this package raises, and what user code may raise to steer it. Imports nothing of the package.

    Exception
    ├── RecoveryError                 something of ours went wrong
    │   ├── ConfigurationError        (also a ValueError) an option has a value that makes no sense
    │   ├── StoreUnavailable          Redis, where the dead letters are, cannot be reached
    │   ├── LetterNotFound            no dead letter has that id
    │   ├── OperationNotFound         no operation has that id
    │   ├── GroupNotFound             no group has that fingerprint, or several have
    │   ├── NotAllowed                this tool may look, and change nothing (`recovery_role`)
    │   ├── PublishFailed             the broker did not confirm a message in time
    │   │   └── Unroutable            no queue takes it, however often it is tried
    │   ├── UnserialisableLetter      a message cannot be written down, so it cannot be sent or kept
    │   ├── NotAnException            in the result of a task that raised, say, asyncio.CancelledError
    │   ├── CircuitOpen(circuit)      a call was refused: what it needs is down; says when it is worth asking again
    │   ├── IllegalTransition         what a person asks of a circuit is not possible in its state (`circuit/state.py`)
    │   ├── CheckpointFenced          another run of this task has taken over its checkpoint
    │   ├── CheckpointTooLarge        (also a ValueError) a state is larger than `recovery_checkpoint_size`
    │   ├── BatchStopped              too many items of a batch failed, or too many alike: it is one failure
    │   ├── BatchFailed               a batch is through, with items set aside, and its policy says that this is failing
    │   ├── SourceChanged             what a batch goes through is not what it was when it began
    │   └── DiscardedLetter           in the result of a held task whose letter was discarded
    └── RecoveryControl               raised *by tasks*: an instruction, not a failure
        ├── RetryIn(seconds)          run again after this delay; uses an attempt
        ├── Snooze(seconds)           run again later; uses no attempt
        ├── Quarantine(reason)        straight to the dead letters
        └── Discard(reason)           drop it, as a decision on the record

The docstring of a class is its default message. Every one of them can be pickled, copied, and built again from its
`args` alone, which is all that Celery's JSON result backends keep.
"""

from __future__ import annotations

import difflib
import enum
import math
import numbers
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

__all__ = (
    "BatchFailed",
    "BatchStopped",
    "CheckpointFenced",
    "CheckpointTooLarge",
    "CircuitOpen",
    "ConfigurationError",
    "Discard",
    "DiscardedLetter",
    "GroupNotFound",
    "LetterNotFound",
    "NotAllowed",
    "NotAnException",
    "OperationNotFound",
    "PublishFailed",
    "Quarantine",
    "RecoveryControl",
    "RecoveryError",
    "RetryIn",
    "Snooze",
    "SourceChanged",
    "StoreUnavailable",
    "Unroutable",
    "UnserialisableLetter",
    "as_member",
    "as_seconds",
)

E = TypeVar("E", bound=enum.Enum)

#: Characters of a refused value that are shown in a message.
SHOWN_LIMIT = 120


def _documented(cls: type[BaseException]) -> str:
    """The class's docstring on one line; its name when Python runs with -OO and there are none."""
    return " ".join((cls.__doc__ or cls.__name__).split())


class RecoveryError(Exception):
    """Something went wrong in the recovery of a task."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or _documented(type(self)))


class ConfigurationError(RecoveryError, ValueError):
    """An option of celery-recovery has a value that makes no sense."""

    #: The option's full name, e.g. `"recovery_policies['network'].max_delay"`; empty when built from a message.
    option: str = ""
    #: What would have been right.
    expected: str = ""
    #: What was there, as text: the value itself may be anything, and need not survive pickling.
    got: str = ""

    @classmethod
    def of(
        cls, option: str, *, expected: str, got: object, known: Iterable[str] = (), hint: str = ""
    ) -> ConfigurationError:
        """Build the error whose message names the option, what was expected and what was given.

        Where `got` may be a misspelt name, the nearest of `known` is suggested. `hint` is a closing sentence.
        """
        shown = _shown(got)
        near = difflib.get_close_matches(str(got).lower(), known, n=1) if isinstance(got, str) else ()
        suggestion = f"Did you mean {near[0]!r}?" if near else ""
        self = cls(" ".join(filter(None, (f"{option}: expected {expected}, got {shown}.", suggestion, hint))))
        self.option, self.expected, self.got = option, expected, shown
        return self


class StoreUnavailable(RecoveryError):
    """The Redis that holds the dead letters cannot be reached."""


class LetterNotFound(RecoveryError):
    """There is no dead letter with that id."""


class GroupNotFound(RecoveryError):
    """There is no group with that fingerprint, or several have one that begins so."""


class OperationNotFound(RecoveryError):
    """There is no operation with that id; its record is kept for 30 days after its last change."""


class NotAllowed(RecoveryError):
    """The role of this tool is to look, and to change nothing (recovery_role)."""


class PublishFailed(RecoveryError):
    """The broker did not confirm a message in the time it was given, or has no queue for it."""


class Unroutable(PublishFailed):
    """No queue takes the message: the broker is there, but trying again would change nothing."""


class UnserialisableLetter(RecoveryError):
    """The message cannot be serialised, so it can be neither sent nor stored."""


class NotAnException(RecoveryError):
    """The task raised something that is no Exception, which Celery cannot report."""

    @classmethod
    def of(cls, raised: BaseException) -> NotAnException:
        """Stands in for `raised` in the task's result, and names it."""
        return cls(f"{type(raised).__name__}: {_shown(raised)}")


class DiscardedLetter(RecoveryError):
    """The task failed, was held as a dead letter, and has been discarded."""


class CircuitOpen(RecoveryError):
    """The call was refused because its circuit is open."""

    def __init__(self, circuit: str = "", retry_after: float | None = None, state: str = "open") -> None:
        self.circuit = circuit
        #: Seconds until it is worth asking again; None: not before a person says so.
        self.retry_after = retry_after
        #: `"open"`, `"half_open"` (all probes are under way) or `"forced_open"`.
        self.state = state
        super().__init__()
        self.args = (circuit, retry_after, state)

    def __str__(self) -> str:
        if not self.circuit:
            return _documented(type(self))
        when = "" if self.retry_after is None else f", worth asking again in {self.retry_after:.3g} s"
        return f"the circuit {self.circuit!r} is {self.state}{when}"


class CheckpointFenced(RecoveryError):
    """Another run of this task has taken over its checkpoint: this one is not to go on."""


class CheckpointTooLarge(RecoveryError, ValueError):
    """The state is larger than a checkpoint may be."""


class BatchStopped(RecoveryError):
    """Too many items of the batch have failed."""


class BatchFailed(RecoveryError):
    """The batch is through, and items of it were set aside."""


class SourceChanged(RecoveryError):
    """What the batch goes through is not what it was when it began."""


class RecoveryControl(Exception):
    """The task asked for something to be done with it."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return self.reason or _documented(type(self))


class _Later(RecoveryControl):
    """The task asked to run again later."""

    def __init__(self, seconds: float | timedelta, reason: str = "") -> None:
        super().__init__(reason)
        self.seconds = as_seconds(seconds, f"{type(self).__name__}.seconds")
        self.args = (self.seconds, reason)


class RetryIn(_Later):
    """The task asked to be retried after a delay of its own choice.

    `seconds` (or a timedelta) is the delay; it uses up an attempt. Raises ConfigurationError if it is negative, not
    finite or not a number.
    """

    def __str__(self) -> str:
        return self.reason or f"The task asked to be retried in {self.seconds:g} s."


class Snooze(_Later):
    """The task asked to run again later, which is no failure and uses up no attempt.

    `seconds` (or a timedelta) is the delay. Raises ConfigurationError if it is negative, not finite or not a number.
    """

    def __str__(self) -> str:
        return self.reason or f"The task asked to run again in {self.seconds:g} s."


class Quarantine(RecoveryControl):
    """The task asked to be put among the dead letters."""

    def __init__(self, reason: str = "", review: bool = False) -> None:
        super().__init__(reason)
        #: True: a person has to look at it before it may run again.
        self.review = review
        self.args = (reason, review)


class Discard(RecoveryControl):
    """The task asked to be dropped for good."""


def as_seconds(value: Any, option: str, *, least: float = 0.0, most: float = math.inf) -> float:
    """Read a duration as it comes in at the edge: int, float or timedelta, to seconds as float.

    Raises ConfigurationError (naming `option`) for anything else, a bool, nan, inf, or outside `least`..`most`.
    """
    seconds = _real(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds is None or not least <= seconds <= most:
        raise ConfigurationError.of(option, expected=_duration(least, most), got=value)
    return seconds


def as_member(kind: type[E], value: Any, option: str, *, also: str = "") -> E:
    """Read a member of an enum, given itself or its value.

    Raises ConfigurationError (naming `option`, the words there are, and `also` what else would do) for anything else.
    """
    try:
        return kind(value)
    except ValueError:
        names = [str(member) for member in kind]
        expected = f"one of {', '.join(names)}" + (f", or {also}" if also else "")
        raise ConfigurationError.of(option, expected=expected, got=value, known=names) from None


def _real(value: Any) -> float | None:
    """A finite number as float, or None. A bool is not a number here."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond a float's range
        return None
    return number if math.isfinite(number) else None


def _duration(least: float, most: float) -> str:
    """The expectation in words, e.g. `"seconds from 0 to 60"`."""
    return f"seconds >= {least:.12g}" if math.isinf(most) else f"seconds from {least:.12g} to {most:.12g}"


def _shown(value: object) -> str:
    """`repr(value)`, cut; a broken `__repr__` must not hide the message it stands in."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # whatever it does
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 1] + "…"
