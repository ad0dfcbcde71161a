"""The pages that act: every one first shows what it would do, and does it when that page is sent.

    a form on a page ─► POST /recovery/confirm (changes nothing) ─► POST /recovery/act ─► 303 to what came of it

What is done to letters is an operation: written down here, run by Flower's own thread or by any worker, so that it
goes on when Flower is killed. What the confirmation counted is what is done: letters that die later are not in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.filter import Filter, parse_time
from celery_recovery.dead_letters.scope import ANNOTATE, DISCARD, EDIT, REPLAY, RESTORE, REVIEW, REVIEWED, TAKE, Scope
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.flower.access import Page
from celery_recovery.flower.pages import asked, filter_of
from celery_recovery.operations.canary import Canary
from celery_recovery.parking.filter import ParkedFilter

__all__ = ("PAGES", "VERBS")


class Field(NamedTuple):
    """One more thing that the confirmation asks for."""

    name: str
    label: str
    help: str = ""
    #: `"text"`, `"number"`, `"area"` or `"check"`.
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
_RATE = Field("rate", "Letters per second", "Empty: as fast as it goes.", "number")
_REPLAYS = (
    Field("canary", "Canary: letters of the first step",
          "Growing steps, which stop by themselves when the replayed ones die again. 0: all at once.", "number", "5"),
    _RATE,
    Field("to_queue", "Another queue", "Empty: where each came from."),
)  # fmt: skip

VERBS = {
    verb.name: verb
    for verb in (
        Verb("replay", "Replay", "They are published again, the oldest death first.", (*_REPLAYS, _WHY), scope=REPLAY),
        Verb("discard", "Discard", "They are dropped; held ones fail first, with their chord and chain.", (_MUST,),
             tone="danger", scope=DISCARD),
        Verb("review", "Set aside for review", "They wait for a person's word on each.", (_WHY,), scope=REVIEW),
        Verb("restore", "Restore", "They are failed letters again.", (_WHY,), scope=RESTORE),
        Verb("edit", "Edit", "Their arguments are changed, if that fits the task; nothing is replayed by it.", (
            Field("changes", "Changes", "One in each line: kwargs.region=eu, args.0=7, item.price:=9.99 (:= for JSON).",
                  "area", required=True), _WHY), scope=EDIT),
        Verb("undo", "Undo the last edit", "The arguments are what they were before it.", (_WHY,), scope=EDIT),
        Verb("approve", "Approve", "They are replayed.", (*_REPLAYS, _MUST), scope=REVIEWED),
        Verb("reject", "Reject", "They are discarded.", (_MUST,), tone="danger", scope=REVIEWED),
        Verb("assign", "Assign", "Whose they are, of those who review.", (
            Field("to", "To", "Empty: to nobody."), _WHY), scope=TAKE),
        Verb("annotate", "Annotate", "The note stands in the history of each.", (
            Field("reason", "Note", required=True),), scope=ANNOTATE),
        Verb("resolve", "Resolve", "It is mended; if it comes back, it is told as a regression.", (
            Field("version", "In version", "Of the code; deaths in older versions are no regression."), _WHY), "group"),
        Verb("ignore", "Ignore", "Nobody is told of it any more.", (
            Field("for", "For", "Such as 2h or 7d; empty: until somebody says otherwise."),
            Field("count", "For so many more deaths", kind="number"), _WHY), "group"),
        Verb("reopen", "Reopen", "It is open again.", (_WHY,), "group"),
        Verb("open-circuit", "Force open", "All calls are refused; tasks wait or fail as their policy says.", (
            Field("for", "For", "Such as 10m; empty: until somebody closes it."), _MUST), "circuit", "danger"),
        Verb("close-circuit", "Close", "Calls go through again.", (_MUST,), "circuit"),
        Verb("probe-circuit", "Probe now", "A few calls go through; how they end closes or opens it.", (_WHY,),
             "circuit"),
        Verb("reset-circuit", "Reset", "As if it had never been used.", (_MUST,), "circuit"),
        Verb("release", "Release now", "They go back to their queues, due or not.", (), "parked"),
        Verb("drop", "Discard", "They are dropped for good; their results become REVOKED.", (_MUST,), "parked",
             "danger"),
        Verb("clear", "Clear checkpoint", "The next attempt begins anew.", (), "checkpoint", "danger"),
        Verb("pause", "Pause", "It stops after its batch.", (_WHY,), "operation"),
        Verb("resume", "Resume", "It goes on with the rest.", (_WHY,), "operation"),
        Verb("cancel", "Cancel", "The rest of its letters stay as they are.", (_WHY,), "operation", "danger"),
    )
}  # fmt: skip


class _Acting(Page):
    """What the confirmation and the act read from the form."""

    verb: Verb
    target: str
    where: dict[str, Any]
    ids: tuple[str, ...]

    async def connect(self) -> None:
        await super().connect()
        name = self.one("verb")
        if name not in VERBS:
            raise ConfigurationError.of("verb", expected=f"one of {', '.join(VERBS)}", got=name)
        self.verb = VERBS[name]
        self.target = unquote(self.one("target"))
        self.ids = tuple(dict.fromkeys(unquote(one) for one in self.given("id") if one))
        self.where = asked(self.one("where"))
        everything = self.one("all")
        if self.verb.of in ("letters", "parked") and not self.ids and not self.where and not everything:
            raise ConfigurationError.of("letters", expected="some that are ticked, or all that match", got="none")

    @property
    def selection(self) -> Filter | tuple[str, ...]:
        """The letters."""
        return self.ids or filter_of(self.where)

    @property
    def parked(self) -> ParkedFilter:
        """The parked tasks."""
        if self.ids:
            return ParkedFilter(ids=self.ids)
        return ParkedFilter.parse(self.where)


class Confirm(_Acting):
    """What would be done, and to what."""

    async def post(self) -> None:
        await self.connect()
        what = await self.aside(self._gather)
        self.show("confirm", "", verb=self.verb, target=self.target, ids=self.ids, back=self._back, **what)

    @property
    def _back(self) -> str:
        return self.place("recovery-letters" if self.verb.of == "letters" else "recovery")

    def _gather(self) -> dict[str, Any]:
        known: dict[str, Any] = {"count": None, "tables": (), "where": self.one("where")}
        if self.verb.scope is not None:
            where = Filter(ids=self.ids) if self.ids else self._frozen()
            found = self.letters.breakdown(self.verb.scope.within(where))
            tables = [
                (name, found.table(name).most_common(8))
                for name in ("state", "task", "error_type", "fingerprint", "queue")
            ]
            known.update(count=found.count, tables=tables, where="" if self.ids else self._words())
        elif self.verb.of == "parked" and self.recovery.parked:
            known.update(count=self.recovery.parked.count(self.parked))
        return known

    def _frozen(self) -> Filter:
        """The filter with its moments fixed: what dies from now on is not part of what is confirmed."""
        where = filter_of(self.where)
        self.where["until"] = repr(min(where.until or time.time(), time.time()))
        if where.since is not None:
            self.where["since"] = repr(where.since)
        return filter_of(self.where)

    def _words(self) -> str:
        return urlencode(self.where, doseq=True)


class Act(_Acting):
    """Do it."""

    async def post(self) -> None:
        await self.connect()
        for field in self.verb.fields:
            if field.required and not self._text(field.name):
                raise ConfigurationError.of(field.label.lower(), expected="some words", got="")
        place = await self.aside(_DOES[self.verb.of], self)
        self.redirect(place, status=303)

    def _text(self, name: str) -> str:
        return self.one(name).strip()

    def _number(self, name: str) -> float | None:
        given = self._text(name)
        if not given:
            return None
        if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", given):
            raise ConfigurationError.of(name, expected="a number from 0", got=given)
        return float(given)

    def _ahead(self, name: str) -> float | None:
        """Seconds of `10m`, `2h` and so on."""
        given, now = self._text(name), time.time()
        return now - parse_time(name, given, now) if given else None

    @property
    def _about(self) -> dict[str, Any]:
        return {"by": self.by, "via": "flower"}

    # -- what is done

    def _letters(self) -> str:
        does: dict[str, Callable[[], str]] = {"undo": self._undo, "assign": self._note, "annotate": self._note}
        return does.get(self.verb.name, self._operate)()

    @property
    def _letter_or_all(self) -> str:
        return self.at("recovery-letter", id=self.ids[0]) if len(self.ids) == 1 else self.place("recovery-letters")

    def _undo(self) -> str:
        for one in self.ids:
            self.letters.undo_edit(one, reason=self._text("reason"), **self._about)
        return self._letter_or_all

    def _note(self) -> str:
        reason = self._text("reason")
        if self.verb.name == "assign":
            self.letters.assign(self.selection, self._text("to") or None, reason=reason, force=True, **self._about)
        else:
            self.letters.annotate(self.selection, reason, **self._about)
        return self._letter_or_all

    def _operate(self) -> str:
        """Write the operation down, and wake the thread that runs it."""
        name, queue = self.verb.name, self.letters
        act: Callable[..., Any] = queue.send_to_review if name == "review" else getattr(queue, name)
        given: dict[str, Any] = {**self._about, "reason": self._text("reason"), "only_begin": True}
        if name in ("replay", "approve"):
            first = int(self._number("canary") or 0)
            given |= {"rate": self._number("rate"), "to_queue": self._text("to_queue") or None,
                      "canary": Canary(first=first) if first else None}  # fmt: skip
        elif name == "edit":
            given["edit"] = Edit.of([line for line in self._text("changes").splitlines() if line.strip()])
        operation = act(self.selection, **given).operation
        if not operation:
            raise ConfigurationError.of("letters", expected=f"some that {name} is for", got="none")
        self._wake()
        return self.at("recovery-operation", id=operation)

    def _wake(self) -> None:
        operator = getattr(self.application, "operator", None)
        if operator is not None:
            operator.wake()

    def _group(self) -> str:
        about = {**self._about, "note": self._text("reason")}
        if self.verb.name == "resolve":
            self.letters.resolve_group(self.target, version=self._text("version"), **about)
        elif self.verb.name == "ignore":
            lasts, more = self._ahead("for"), self._number("count")
            until = None if lasts is None else time.time() + lasts
            self.letters.ignore_group(self.target, until=until, more=None if more is None else int(more), **about)
        else:
            self.letters.reopen_group(self.target, **about)
        return self.at("recovery-group", fingerprint=self.target)

    def _circuit(self) -> str:
        event = _EVENTS[self.verb.name]
        self.recovery.circuits.set(self.target, event, self._ahead("for"), reason=self._text("reason"), **self._about)
        return self.at("recovery-circuit", name=self.target)

    def _of_parked(self) -> str:
        parking = self.recovery.parked
        if parking is None:
            raise ConfigurationError.of("parked", expected="a store of parked tasks", got="none")
        if self.verb.name == "release":
            parking.release(self.parked, **self._about)
        else:
            parking.discard(self.parked, reason=self._text("reason"), **self._about)
        return self.place("recovery-parked")

    def _checkpoint(self) -> str:
        if self.recovery.checkpoints is not None:
            self.recovery.checkpoints.clear(self.target, **self._about)
        return self.place("recovery-batches")

    def _operation(self) -> str:
        wanted = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[self.verb.name]
        self.letters.operations.ask(self.target, wanted, reason=self._text("reason"), **self._about)
        self._wake()
        return self.at("recovery-operation", id=self.target)


_EVENTS = {
    "open-circuit": CircuitEvent.FORCE_OPEN, "close-circuit": CircuitEvent.CLOSE,
    "probe-circuit": CircuitEvent.HALF_OPEN, "reset-circuit": CircuitEvent.RESET,
}  # fmt: skip
_DOES: Mapping[str, Callable[[Act], str]] = {
    "letters": Act._letters, "group": Act._group, "circuit": Act._circuit, "parked": Act._of_parked,  # noqa: SLF001
    "checkpoint": Act._checkpoint, "operation": Act._operation,  # noqa: SLF001
}  # fmt: skip

PAGES = ((r"/confirm", Confirm, "recovery-confirm"), (r"/act", Act, "recovery-act"))
