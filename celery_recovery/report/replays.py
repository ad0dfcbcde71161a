"""Replays of a period and how they ended, and what they say of the classifier's word."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.decision import Reason
from celery_recovery.operations.operation import Operation
from celery_recovery.operations.register import LIST_LIMIT, Register
from celery_recovery.redact import Redactor
from celery_recovery.report.sections import Drift, Replay, Replays
from celery_recovery.text import cut

__all__ = ("drifts_of", "replays_of")

#: Replays that are told of one by one.
MOST_TOLD = 20
#: Characters of a text.
LONGEST = 500
#: Letters of a page, and seconds for all pages, when it is looked for drifts; and how many of these are told.
PAGE, PATIENCE, MOST_DRIFTS = 100, 2.0, 10


def replays_of(operations: Register, redact: Redactor, since: float, until: float) -> Replays:
    """Of all operations that are on record, those that were begun in the period."""
    within = [one for one in operations.latest(LIST_LIMIT) if since <= one.created_at <= until]
    replays = [_replay(one, redact) for one in within if one.kind == "replay"]
    others: Counter[str] = Counter()
    for one in within:
        if one.kind != "replay":
            others[one.kind] += one.done
    counts = ("selected", "published", "recovered", "died", "ended", "in_flight", "by_canary")
    return Replays(
        count=len(replays),
        others=dict(others),
        latest=tuple(replays[:MOST_TOLD]),
        **{name: sum(getattr(one, name) for one in replays) for name in counts},
    )


def _replay(one: Operation, redact: Redactor) -> Replay:
    return Replay(
        id=one.id,
        by=one.by,
        via=one.via,
        reason=cut(redact(one.reason), LONGEST),
        filter=cut(redact(one.filter), LONGEST),
        state=one.state.value,
        created_at=one.created_at,
        selected=one.selected,
        published=one.done,
        recovered=one.outcomes.recovered,
        died=one.outcomes.died,
        ended=one.outcomes.ended,
        in_flight=one.in_flight,
        by_canary=one.by_canary,
        message=cut(redact(one.message), LONGEST),
    )


#: Task, error type, exception, rule.
_Kind = tuple[str, str, str, str]


def drifts_of(
    letters: DeadLetterQueue, since: float, until: float, chosen: Callable[[str], bool], version: str
) -> tuple[Drift, ...]:
    """Letters that were called not retryable, replayed as they were, and have ended in the period; of the latest ones.

    What died in another version of the code than this `version` says nothing: a replay recovers what was mended. Looks
    for `PATIENCE` seconds, so that a store of any size costs no more.
    """
    end = time.monotonic() + PATIENCE
    found: Counter[tuple[_Kind, bool]] = Counter()
    for state in (LetterState.RECOVERED, LetterState.FAILED):
        where = Filter(state=(state,), reason=(Reason.NOT_RETRYABLE.value,))
        for one in _looked_through(letters, where, end if state is LetterState.FAILED else end - PATIENCE / 2):
            recovered, error = state is LetterState.RECOVERED, one.error
            was_replayed = recovered or one.replays  # one that was quick is not always noted as replayed
            unchanged = not one.edits and one.code_version in ("", version)
            if was_replayed and unchanged and since <= one.changed_at <= until and chosen(one.task):
                kind = (one.task, error.error_type.value, error.exception, error.rule)
                found[kind, recovered] += 1
                found[kind, False] += max(one.replays - 1, 0) if recovered else 0  # it had died in those
    names = ("task", "error_type", "exception", "rule")
    drifts = [
        Drift(**dict(zip(names, kind, strict=True)), recovered=found[kind, True], died=found[kind, False])
        for kind in dict.fromkeys(kind for kind, _ in found)
    ]
    drifts.sort(key=lambda one: (-one.recovered, -one.died, one.task, one.exception))
    return tuple(drifts[:MOST_DRIFTS])


def _looked_through(letters: DeadLetterQueue, where: Filter, end: float) -> Iterable[Letter]:
    """The latest that agree, page by page, until then (monotonic s)."""
    cursor = None
    while (left := end - time.monotonic()) > 0:
        page = letters.page(where, limit=PAGE, cursor=cursor, seconds=left, largest=0)
        yield from page.letters
        cursor = page.cursor
        if cursor is None:
            return
