"""`Operation`: something done to many letters, on the record: who asked for what, how far it is, and how it went."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_recovery.dead_letters.editing import Edit
from celery_recovery.operations.canary import Outcomes
from celery_recovery.redact import Redactor

__all__ = ("ENDED", "Operation", "OperationState")


_REDACT = Redactor()


class OperationState(str, enum.Enum):
    """Where an operation stands. Values are the words shown everywhere."""

    PREPARING = "preparing"  # its letters are being written down
    RUNNING = "running"  # somebody goes through them, or will
    PAUSED = "paused"  # by a person, or because it waited too long for outcomes; `resume` goes on
    STOPPED = "stopped"  # by its canary, or because the broker is away; `resume` goes on
    DONE = "done"
    CANCELLED = "cancelled"  # the rest of its letters are as they were

    def __str__(self) -> str:
        return self.value


#: Nothing more will happen.
ENDED = frozenset({OperationState.DONE, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One record. Times are unix seconds."""

    id: str
    #: `"replay"`, `"discard"`, `"review"`, `"restore"`, `"edit"` or `"undo"` (of an edit).
    kind: str
    state: OperationState
    #: Who asked for it, through what (`"cli"`, `"flower"`, `"code"`), and why.
    by: str = ""
    via: str = ""
    reason: str = ""
    #: The filter as options of the command line, or `"by id"`.
    filter: str = ""
    #: How it is to go about it; plain JSON.
    terms: Mapping[str, Any] = field(default_factory=dict)
    #: Letters in its set, which was frozen at `created_at`.
    selected: int = 0
    #: Letters of the set that it is through with.
    position: int = 0
    #: Letters that were published, discarded and so on.
    done: int = 0
    #: Why -> how many.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Id -> error of those that the broker did not take; the first 100.
    failed: Mapping[str, str] = field(default_factory=dict)
    #: What the operator should know -> how many.
    warnings: Mapping[str, int] = field(default_factory=dict)
    #: How its replays ended, as far as is known; they go on ending after it is done.
    outcomes: Outcomes = field(default_factory=Outcomes)
    #: Of a canary: the step it is in, from 1; 0 without one.
    step: int = 0
    #: Its canary has stopped it.
    by_canary: bool = False
    #: Why it is where it is, in a sentence.
    message: str = ""
    created_at: float = 0.0
    changed_at: float = 0.0
    ended_at: float = 0.0
    #: Seconds spent at work.
    seconds: float = 0.0
    #: What it was asked to become, by a person: `"paused"`, `"cancelled"` or empty.
    wanted: str = ""
    #: True: when nobody runs it, the next worker goes on with it.
    unattended: bool = False
    #: Who runs it now, as `host/process`; empty: nobody.
    runner: str = ""

    @classmethod
    def from_record(cls, operation_id: str, record: Mapping[str, str], runner: str = "") -> Operation:
        """Read the hash that `register.py` keeps."""
        outcomes = Outcomes(*(int(record.get(name) or 0) for name in Outcomes._fields))
        texts: dict[str, Any] = {
            name: record.get(name, "") for name in ("kind", "by", "via", "reason", "filter", "message", "wanted")
        }
        whole: dict[str, Any] = {name: int(record.get(name) or 0) for name in ("selected", "position", "done", "step")}
        data: dict[str, Any] = {
            name: json.loads(record.get(name) or "{}") for name in ("terms", "skipped", "failed", "warnings")
        }
        data |= {name: float(record.get(name) or 0) for name in ("created_at", "changed_at", "ended_at", "seconds")}
        return cls(
            id=operation_id,
            state=OperationState(record.get("state") or "done"),
            outcomes=outcomes,
            unattended=record.get("unattended") == "1",
            by_canary=record.get("by_canary") == "1",
            runner=runner,
            **texts,
            **whole,
            **data,
        )

    @property
    def in_flight(self) -> int:
        """Replays whose end is not known yet."""
        return max(self.done - self.outcomes.settled, 0) if self.kind == "replay" else 0

    @property
    def is_orphan(self) -> bool:
        """True when it should run and nobody runs it: the tool that did has died."""
        return self.state is OperationState.RUNNING and not self.runner

    def to_dict(self, redact: Redactor | None = None) -> dict[str, Any]:
        """JSON-ready form, without secrets: people type filters and reasons, and edits hold arguments."""
        hide = redact or _REDACT
        terms = {name: value for name, value in self.terms.items() if name != "edit"}
        edit = {"edit": Edit.from_dict(self.terms["edit"]).told(hide)} if "edit" in self.terms else {}
        hidden = {name: hide(getattr(self, name)) for name in ("by", "reason", "filter", "message", "runner")}
        failed = {one: hide(why) for one, why in self.failed.items()}
        return {**self._plain(), **hidden, "terms": {**hide(terms), **edit}, "failed": failed}

    def _plain(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("outcomes", "state")}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}
        return {**plain, "state": self.state.value, **self.outcomes._asdict(), "in_flight": self.in_flight}
