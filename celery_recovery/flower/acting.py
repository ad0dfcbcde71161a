"""What is done when a confirmation is sent; where it does not fit, the confirmation is shown again, and says why.

What is done to letters is an operation: written down here, run by Flower's own thread or by any worker, so that it
goes on when Flower is killed. A form that is sent twice, by a double click or out of the browser's history, does its
work once.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.filter import Filter, parse_time
from celery_recovery.dead_letters.queue import TAKEN, ActionResult
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.flower.asking import Form, worded
from celery_recovery.flower.pages import filter_of
from celery_recovery.flower.verbs import CIRCUIT_EVENTS
from celery_recovery.operations.canary import Canary

__all__ = ("PAGES",)

#: Forms that are remembered.
MOST = 1000


class _Once:
    """What each form has come to; in this process only, which is all there is of a Flower."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, asyncio.Future[str]] = OrderedDict()

    async def through(self, form: str, act: Callable[[], Awaitable[str]]) -> str:
        """The page that it has led to. One that failed may be sent again."""
        if not form:
            return await act()
        if form not in self._known:
            self._known[form] = asyncio.ensure_future(act())
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(self._known[form])
        except Exception:
            self._known.pop(form, None)
            raise


class Act(Form):
    """Do it."""

    done = _Once()

    async def post(self) -> None:
        await self.connect()
        once = self.one("once")
        try:
            for field in self.verb.fields:
                if field.required and not self._text(field.name):
                    raise ConfigurationError.of(field.label.lower(), expected="some words", got="")
            place = await self.done.through(once and f"{self.by} {once}", lambda: self.aside(_DOES[self.verb.of], self))
        except ConfigurationError as exc:
            await self.ask(problem=worded(exc))
            return
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
        """Note it; or write an operation down, and do it at once for one letter, else wake the thread that runs it."""
        if self.verb.name in ("assign", "annotate"):
            return self._note()
        replays = self.verb.name in ("replay", "approve")
        alone = len(self.ids) == 1 and not replays
        act = self._replay if replays else self._change
        result = act(reason=self._text("reason"), unattended=True, only_begin=not alone, **self._about)
        if not result.operation:
            raise ConfigurationError.of("letters", expected=f"some that {self.verb.name} is for", got="none")
        if alone:
            if not result.done:
                why = ", ".join(result.warnings) or "it is in another state by now"
                raise ConfigurationError(f"Nothing was done to the letter: {why}.")
            return self.at("recovery-letter", id=self.ids[0])
        self._wake()
        return self.at("recovery-operation", id=result.operation)

    def _note(self) -> str:
        reason = self._text("reason")
        if self.verb.name == "assign":
            self._assign(self._text("to"), reason)
        else:
            self.letters.annotate(self.selection, reason, **self._about)
        return self.at("recovery-letter", id=self.ids[0]) if len(self.ids) == 1 else self.back

    def _assign(self, to: str, reason: str) -> None:
        """Those of nobody, and those of whom the confirmation has named; else the confirmation is shown again."""
        where = Filter(ids=self.ids) if self.ids else filter_of(self.where)
        about = {"reason": reason, **self._about}
        owners = tuple(dict.fromkeys(name for one in self.given("owner") if (name := unquote(one)) and name != to))
        left = self.letters.assign(where, to or None, **about).warnings.get(TAKEN, 0)
        if left and owners:
            left -= self.letters.assign(replace(where, assignee=owners), to or None, force=True, **about).done
        if left > 0:
            raise ConfigurationError(f"{left:,} of the letters are somebody else's by now; whose, is told below.")

    def _replay(self, **about: Any) -> Any:
        first = int(self._number("canary") or 0)
        act = self.letters.replay if self.verb.name == "replay" else self.letters.approve
        canary = Canary(first=first) if first else None
        rate, to_queue = self._number("rate"), self._text("to_queue") or None
        return act(self.selection, rate=rate, to_queue=to_queue, canary=canary, **about)

    def _change(self, **about: Any) -> ActionResult:
        letters, chosen = self.letters, self.selection
        acts: dict[str, Callable[[], ActionResult]] = {
            "edit": lambda: letters.edit(chosen, Edit.of(self.changes), **about),
            "undo": lambda: letters.undo_edits(chosen, of=self.target, **about),
            "review": lambda: letters.send_to_review(chosen, **about),
            "restore": lambda: letters.restore(chosen, **about),
            "discard": lambda: letters.discard(chosen, **about),
            "reject": lambda: letters.reject(chosen, **about),
        }
        return acts[self.verb.name]()

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
        event = CIRCUIT_EVENTS[self.verb.name]
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


_DOES: Mapping[str, Callable[[Act], str]] = {
    "letters": Act._letters, "group": Act._group, "circuit": Act._circuit, "parked": Act._of_parked,  # noqa: SLF001
    "checkpoint": Act._checkpoint, "operation": Act._operation,  # noqa: SLF001
}  # fmt: skip

PAGES = ((r"/act", Act, "recovery-act"),)
