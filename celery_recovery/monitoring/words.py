"""The closed sets of words by which things are counted, so that each has its zero before it first happens.

What is in none of them, because a newer worker or a hostile message has put it there, is counted as `OTHER`.
"""

from __future__ import annotations

from celery_recovery.circuit.state import CircuitState
from celery_recovery.dead_letters.groups import GroupState
from celery_recovery.dead_letters.raw import MALFORMED, UNKNOWN_TASK
from celery_recovery.dead_letters.received import FOREIGN
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.decision import Action, Reason
from celery_recovery.errors.model import ErrorType
from celery_recovery.monitoring.stats import RECOVERED
from celery_recovery.operations.operation import ENDED, OperationState

__all__ = (
    "CIRCUIT_STATES", "DEATHS", "ERROR_TYPES", "EVENTS", "GROUP_NEWS", "GROUP_STATES", "ITEM_RESULTS", "LETTER_STATES",
    "OPEN_STATES", "OPERATION_KINDS", "OPERATION_STATES", "OTHER", "OUTCOMES", "PARKED", "REASONS", "TROUBLE",
    "WATCHED_ENDS",
)  # fmt: skip

OTHER = "(other)"

ERROR_TYPES = tuple(kind.value for kind in ErrorType)
#: What became of an attempt that met an error; a success at the first attempt met none.
OUTCOMES = (RECOVERED, *(action.value for action in Action), "given_back")
#: Why a task that ran became a letter.
DEATHS = tuple(
    reason.value
    for reason in (
        Reason.POLICY, Reason.QUARANTINED, Reason.NOT_RETRYABLE, Reason.EXHAUSTED, Reason.DEADLINE,
        Reason.NOT_PUBLISHED, Reason.POISON, Reason.EXPIRES, Reason.CIRCUIT, Reason.BUDGET,
    )
)  # fmt: skip
#: Why a letter is there: it may be of a message that never became a task.
REASONS = (*DEATHS, UNKNOWN_TASK, MALFORMED, FOREIGN)
#: How Celery's signals told of a task on Celery's own base.
WATCHED_ENDS = ("failed", "retried", "internal_error", "unknown_task", "rejected")
LETTER_STATES = tuple(state.value for state in LetterState)
OPEN_STATES = tuple(state.value for state in LetterState if state in OPEN)
#: What the store counts of letters.
EVENTS = ("added", "again", "duplicate", "replayed", "recovered", "discarded", "expired")
GROUP_STATES = tuple(state.value for state in GroupState)
GROUP_NEWS = ("new", "growing", "regressed", "unignored")
CIRCUIT_STATES = tuple(state.value for state in CircuitState)
#: Why a task is parked.
PARKED = ("eta", "retry", "snooze", "circuit", "budget")
OPERATION_KINDS = ("replay", "discard", "review", "restore", "edit", "undo")
OPERATION_STATES = tuple(state.value for state in OperationState if state not in ENDED)
#: What became of an item of a batch.
ITEM_RESULTS = ("succeeded", "failed", "discarded")
#: Of what calls fail.
TROUBLE = ("redis", "publish", "alert")
