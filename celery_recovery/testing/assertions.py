"""Assertions about runs. Each that fails says what was wanted, what was found, and tells the whole life of the task.

What is not said is not looked at. Each gives back what the next question is about: the result, the letter, the starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.decision import Action, Reason
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import as_member
from celery_recovery.testing.checks import Check, Kind, as_stored, close, is_of, kind_name
from celery_recovery.testing.run import Outcome, Run, Start

__all__ = (
    "assert_dead_lettered",
    "assert_discarded",
    "assert_expired",
    "assert_failed",
    "assert_items_set_aside",
    "assert_parked",
    "assert_retried",
    "assert_snoozed",
    "assert_succeeded",
)

#: Stands for "not asked".
_ANY: Any = object()


def assert_succeeded(
    run: Run, *, result: Any = _ANY, attempts: int | None = None, delays: Sequence[float] | None = None,
    waited: float | None = None,
) -> Any:  # fmt: skip
    """It came to its end, with this result, in the last of so many attempts. Returns the result, as a caller gets it.

    `delays`: seconds before each further start; `waited`: in all. A result is compared as it comes back from the result
    backend: a tuple is a list.
    """
    __tracebackhide__ = True
    check = Check(run, "that it succeeded")
    check.outcome(Outcome.SUCCEEDED)
    if result is not _ANY:
        check.equal("result", run.result, result if run.result == result else as_stored(result))
    check.counts(attempts, delays, waited)
    check.done()
    return run.result


def assert_dead_lettered(  # noqa: PLR0913  # each is a question with a name
    run: Run, error_type: ErrorType | str | None = None, *, reason: Reason | str | None = None,
    attempts: int | None = None, exception: type[BaseException] | str | None = None, message: str | None = None,
    held: bool | None = None, review: bool | None = None, delays: Sequence[float] | None = None,
    waited: float | None = None,
) -> Letter:  # fmt: skip
    """It is a dead letter, of this kind of fault, for this reason, after so many attempts. Returns the letter.

    `exception`: class or name of what it died of; `message`: a part of its text; `held`: whether its result is still
    open; `review`: whether it waits for a person.
    """
    __tracebackhide__ = True
    check = Check(run, "that it was dead-lettered")
    check.outcome(Outcome.DEAD_LETTERED)
    check.failure(error_type, reason, exception, message)
    if held is not None:
        check.equal("held", run.held, held)
    if review is not None:
        check.equal("in review", run.in_review, review)
    check.counts(attempts, delays, waited)
    check.done()
    assert run.letter is not None  # noqa: S101  # as the outcome says
    return run.letter


def assert_failed(
    run: Run, error_type: ErrorType | str | None = None, *, reason: Reason | str | None = None,
    attempts: int | None = None, exception: type[BaseException] | str | None = None, message: str | None = None,
) -> BaseException:  # fmt: skip
    """It failed as in plain Celery, without a letter (its policy says so, or its `throws`). Returns the exception."""
    __tracebackhide__ = True
    check = Check(run, "that it failed without a letter")
    check.outcome(Outcome.FAILED)
    check.failure(error_type, reason, exception, message)
    check.counts(attempts, None, None)
    check.done()
    assert run.exception is not None  # noqa: S101
    return run.exception


def assert_discarded(run: Run, *, reason: str | None = None, attempts: int | None = None) -> None:
    """It was dropped because it raised `Discard`; `reason`: a part of what it said."""
    __tracebackhide__ = True
    check = Check(run, "that it was discarded")
    check.outcome(Outcome.DISCARDED)
    if reason is not None:
        detail = run.last.decision.detail if run.last is not None and run.last.decision is not None else ""
        check.holds(reason in detail, f"its reason is {check.shown(detail)}, without {check.shown(reason)}")
    check.counts(attempts, None, None)
    check.done()


def assert_expired(run: Run, *, attempts: int | None = None) -> None:
    """Its `expires` was over before it could start again: Celery revoked it."""
    __tracebackhide__ = True
    check = Check(run, "that it expired")
    check.outcome(Outcome.EXPIRED)
    check.counts(attempts, None, None)
    check.done()


def assert_parked(run: Run, *, circuit: str | None = None, attempts: int | None = None) -> None:
    """It waits for a circuit, and has used so many attempts so far."""
    __tracebackhide__ = True
    check = Check(run, "that it is parked")
    check.outcome(Outcome.PARKED)
    if circuit is not None:
        check.equal("circuit", "" if run.parked is None else run.parked.circuit, circuit)
    check.counts(attempts, None, None)
    check.done()


def assert_retried(
    run: Run, times: int | None = None, *, kind: Kind | None = None, delays: Sequence[float] | None = None
) -> tuple[Start, ...]:
    """It was retried (so many times; of failures of this kind; after these delays), whatever came of it.

    Returns the failed starts that it was retried after.
    """
    __tracebackhide__ = True
    return _put_off(run, "retried", Action.RETRY, times, kind, delays)


def assert_snoozed(run: Run, times: int | None = None, *, delays: Sequence[float] | None = None) -> tuple[Start, ...]:
    """It was put off without using an attempt. Returns the starts that it was put off after."""
    __tracebackhide__ = True
    return _put_off(run, "snoozed", Action.SNOOZE, times, None, delays)


def assert_items_set_aside(
    run: Run, count: int | None = None, *, error_type: ErrorType | str | None = None, keys: Sequence[str] | None = None
) -> tuple[Letter, ...]:
    """Its batches have set so many items aside; all of this kind; with these keys. Returns their letters."""
    __tracebackhide__ = True
    check = Check(run, "that items of it were set aside")
    check.holds(bool(run.item_letters) or count == 0, "there is no letter of an item")
    if count is not None:
        check.equal("items set aside", len(run.item_letters), count)
    if error_type is not None:
        wanted = as_member(ErrorType, error_type, "error_type")
        others = sorted({one.error.error_type.value for one in run.item_letters if one.error.error_type is not wanted})
        check.holds(not others, f"some are {', '.join(others)}, not {wanted}")
    if keys is not None:
        headers = [letter.batch_header for letter in run.item_letters]
        found = [header.items[0].key for header in headers if header is not None]
        check.equal("keys", found, list(keys))
    check.done()
    return run.item_letters


def _put_off(
    run: Run, word: str, action: Action, times: int | None, kind: Kind | None, delays: Sequence[float] | None
) -> tuple[Start, ...]:
    __tracebackhide__ = True
    check = Check(run, f"that it was {word}")
    found = tuple(start for start in run.starts if start.done == action.value)
    check.holds(bool(found) or times == 0, "it never was")
    if times is not None:
        check.equal(f"times {word}", len(found), times)
    others = [start for start in found if kind is not None and not is_of(kind, start)]
    check.holds(
        not others, f"not of {kind_name(kind)}, but {', '.join(check.shown(start.exception) for start in others)}"
    )
    if delays is not None:
        told = [start.delay for start in found if start.delay is not None]
        check.holds(close(told, delays), f"delays: expected {list(delays)} s, got {told}")
    check.done()
    return found
