"""What can be done on the pages, in words: the name, what it is about, and what the confirmation asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery_recovery.circuit.state import TRANSITIONS, CircuitEvent, CircuitState
from celery_recovery.dead_letters.groups import GroupState
from celery_recovery.dead_letters.scope import ANNOTATE, DISCARD, EDIT, REPLAY, RESTORE, REVIEW, REVIEWED, TAKE, Scope
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.operations.operation import ENDED, Operation, OperationState

__all__ = ("CIRCUIT_EVENTS", "VERBS", "Button", "Field", "Verb", "of_circuit", "of_group", "of_letters", "of_operation")


class Field(NamedTuple):
    """One more thing that the confirmation asks for."""

    name: str
    label: str
    help: str = ""
    #: `"text"`, `"number"` or `"area"`.
    kind: str = "text"
    default: str = ""
    required: bool = False


@dataclass(frozen=True)
class Verb:
    """One thing that can be done, to what (`of`)."""

    name: str
    title: str
    says: str
    fields: tuple[Field, ...]
    of: str = "letters"
    tone: str = "primary"
    scope: Scope | None = None


_WHY = Field("reason", "Reason", "Stands in the audit.")
_MUST = _WHY._replace(required=True)
_REPLAYS = (
    Field("canary", "Canary: letters of the first step",
          "So many go first, and it waits for how they end; each step is twice the last. When they die again, it stops "
          "by itself, and the rest stays as it is. 0: all at once, whatever becomes of them.", "number", "5"),
    Field("rate", "Letters per second", "Empty: as fast as it goes.", "number"),
    Field("to_queue", "Another queue", "Empty: where each came from."),
)  # fmt: skip
_CHANGES = Field("changes", "Changes", "One in each line: kwargs.region=eu, args.0=7, item.price:=9.99 (:= for JSON).",
                 "area", required=True)  # fmt: skip

VERBS = {
    verb.name: verb
    for verb in (
        Verb("replay", "Replay", "They are published again, the oldest death first.", (*_REPLAYS, _WHY), scope=REPLAY),
        Verb("discard", "Discard", "They are dropped; held ones fail first, with their chord and chain.", (_MUST,),
             tone="danger", scope=DISCARD),
        Verb("review", "Set aside for review", "They wait for a person's word on each.", (_WHY,), scope=REVIEW),
        Verb("restore", "Restore", "They are failed letters again.", (_WHY,), scope=RESTORE),
        Verb("edit", "Edit", "Their arguments are changed; nothing is replayed by it, and it can be undone.",
             (_CHANGES, _WHY), scope=EDIT),
        Verb("undo", "Undo the last edit of", "The arguments are what they were before it.", (_WHY,), scope=EDIT),
        Verb("approve", "Approve", "They are replayed.", (*_REPLAYS, _MUST), tone="success", scope=REVIEWED),
        Verb("reject", "Reject", "They are discarded.", (_MUST,), tone="danger", scope=REVIEWED),
        Verb("assign", "Assign", "Whose they are, of those who review.", (
            Field("to", "To", "Empty: to nobody."), _WHY), scope=TAKE),
        Verb("annotate", "Annotate", "The note stands in the history of each.", (
            Field("reason", "Note", required=True),), scope=ANNOTATE),
        Verb("resolve", "Resolve", "It is mended; if it comes back, it is told as a regression. Its letters stay.", (
            Field("version", "In version", "Of the code; deaths in versions that had it before are no regression."),
            _WHY), "group", "success"),
        Verb("ignore", "Ignore", "Nobody is told of it any more. Its letters stay.", (
            Field("for", "For", "Such as 2h or 7d; empty: until somebody says otherwise."),
            Field("count", "For so many more deaths", kind="number"), _WHY), "group"),
        Verb("reopen", "Reopen", "It is open again.", (_WHY,), "group"),
        Verb("open-circuit", "Force open", "All calls are refused; tasks wait or fail as their policy says.", (
            Field("for", "For", "Such as 10m; empty: until somebody closes it."), _MUST), "circuit", "danger"),
        Verb("close-circuit", "Close", "Calls go through again, and tasks that wait for it return at a growing pace.",
             (_MUST,), "circuit", "success"),
        Verb("probe-circuit", "Probe now", "A few calls go through; how they end closes or opens it.", (_WHY,),
             "circuit"),
        Verb("reset-circuit", "Reset", "As if it had never been used.", (_MUST,), "circuit"),
        Verb("release", "Release now", "They go back to their queues, due or not.", (), "parked"),
        Verb("drop", "Discard", "They are dropped for good; their results become REVOKED.", (_MUST,), "parked",
             "danger"),
        Verb("clear", "Clear the checkpoint", "The next attempt begins anew.", (), "checkpoint", "danger"),
        Verb("pause", "Pause", "It stops after its batch.", (_WHY,), "operation"),
        Verb("resume", "Resume", "It goes on with the rest.", (_WHY,), "operation"),
        Verb("cancel", "Cancel", "The rest of its letters stay as they are.", (_WHY,), "operation", "danger"),
    )
}  # fmt: skip

CIRCUIT_EVENTS = {
    "open-circuit": CircuitEvent.FORCE_OPEN, "close-circuit": CircuitEvent.CLOSE,
    "probe-circuit": CircuitEvent.HALF_OPEN, "reset-circuit": CircuitEvent.RESET,
}  # fmt: skip


class Button(NamedTuple):
    """A verb as it is offered: its name, what stands on the button, Bootstrap's word for its look."""

    verb: str
    title: str
    look: str


_BUTTONS = {
    one.verb: one
    for one in (
        Button("approve", "Approve …", "success"), Button("reject", "Reject …", "outline-danger"),
        Button("replay", "Replay …", "primary"), Button("edit", "Edit …", "outline-primary"),
        Button("undo", "Undo edit …", "outline-primary"), Button("review", "Review …", "outline-secondary"),
        Button("assign", "Assign …", "outline-secondary"), Button("annotate", "Annotate …", "outline-secondary"),
        Button("restore", "Restore …", "outline-secondary"), Button("discard", "Discard …", "outline-danger"),
        Button("resolve", "Resolve …", "outline-success"), Button("ignore", "Ignore …", "outline-secondary"),
        Button("reopen", "Reopen …", "outline-secondary"), Button("open-circuit", "Force open …", "outline-danger"),
        Button("close-circuit", "Close …", "success"), Button("probe-circuit", "Probe now …", "outline-primary"),
        Button("reset-circuit", "Reset …", "outline-secondary"), Button("pause", "Pause …", "outline-secondary"),
        Button("resume", "Resume …", "primary"), Button("cancel", "Cancel …", "outline-danger"),
    )
}  # fmt: skip
_ON_LETTERS = ("approve", "reject", "replay", "edit", "undo", "review", "assign", "annotate", "restore", "discard")
#: What is noted on single letters, in their own page or ticked in a list.
_ON_SOME = frozenset({"assign", "annotate", "undo"})
#: What is offered where it is for all that are shown, and not for some of them only.
_ALL_OF_THEM = frozenset({"approve", "reject", "restore"})


def of_letters(states: Iterable[Any], *, some: bool, edited: bool = True) -> Sequence[Button]:
    """What letters in these states are offered; `some`: those that were chosen one by one. No states: any open one."""
    within = {LetterState(state) for state in states} or OPEN
    found = []
    for name in _ON_LETTERS:
        scope = VERBS[name].scope
        possible = scope.by_id if scope is not None and some else scope.possible if scope is not None else ()
        is_meant = within <= {*possible} if name in _ALL_OF_THEM else bool(within & {*possible})
        if is_meant and (some or name not in _ON_SOME) and (edited or name != "undo"):
            found.append(_BUTTONS[name])
    if within == {LetterState.REVIEW}:  # approve and reject are the words for it
        found = [one for one in found if one.verb not in ("replay", "discard")]
    return found


def of_group(state: GroupState) -> Sequence[Button]:
    """What can be said about a group that is in this state."""
    names = {
        GroupState.OPEN: ("resolve", "ignore"), GroupState.RESOLVED: ("reopen", "ignore"),
        GroupState.IGNORED: ("reopen", "resolve"),
    }  # fmt: skip
    return [_BUTTONS[name] for name in names[state]]


def of_circuit(state: str) -> Sequence[Button]:
    """What a person can do with a circuit in this state, but for what would change nothing."""
    before = CircuitState(state)
    events = {name: event for name, event in CIRCUIT_EVENTS.items() if event in TRANSITIONS[before]}
    idle = {CircuitState.FORCED_OPEN: "open-circuit", CircuitState.CLOSED: "close-circuit",
            CircuitState.HALF_OPEN: "probe-circuit"}  # fmt: skip
    return [_BUTTONS[name] for name in events if name != idle.get(before)]


def of_operation(operation: Operation) -> Sequence[Button]:
    """What can be asked of an operation as it stands."""
    undo = [_BUTTONS["undo"]] if operation.kind == "edit" and operation.done else []
    if operation.state in ENDED:
        return undo
    goes = operation.state in (OperationState.RUNNING, OperationState.PREPARING)
    return [_BUTTONS[name] for name in (("pause", "cancel") if goes else ("resume", "cancel"))] + undo
