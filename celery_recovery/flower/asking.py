"""The page that asks: what would be done, to what, and what that is made of. It changes nothing.

    a button on a page ─► /recovery/confirm ─► POST /recovery/act ─► 303 to what came of it

An edit is shown as a diff before its button is there: the form is sent to this page first, as long as it does not fit.
What the confirmation counted is what is done: letters that die later are not in it.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import tornado.web

from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import ErrorGroup
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.queue import Edited, EditPlan, what_changes, what_is_edited
from celery_recovery.dead_letters.scope import TAKE, either
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.flower.access import Page
from celery_recovery.flower.pages import asked, filter_of
from celery_recovery.flower.verbs import VERBS, Verb
from celery_recovery.operations.operation import Operation, OperationState
from celery_recovery.parking.filter import ParkedFilter

__all__ = ("PAGES", "Form", "worded")

#: Seconds that the letters of a confirmation are counted.
PATIENCE = 3.0
#: Seconds that an edit is tried before it is shown; the operation tries it on all letters before it changes one.
TRIES = 0.5
#: Values of a table, and letters whose change is shown.
ROWS, SHOWN = 8, 5
#: Letters that are looked through for whose they are.
OWNED = 2000
#: Operations that are looked through for one that has undone an edit, or is at work on the same group.
LATEST = 100


class Form(Page):
    """What the confirmation and the act read from the request, and the page that asks."""

    verb: Verb
    #: Name of a group or circuit, id of an operation (to undo: that of the edit).
    target: str
    where: dict[str, Any]
    ids: tuple[str, ...]

    async def connect(self) -> None:
        """Read the form. Raises `ConfigurationError` where it says nothing that could be done."""
        await super().connect()
        name = self.one("verb")
        if name not in VERBS:
            raise ConfigurationError.of("verb", expected=f"one of {', '.join(VERBS)}", got=name)
        self.verb = VERBS[name]
        self.target = unquote(self.one("target"))
        self.ids = tuple(dict.fromkeys(unquote(one) for one in self.given("id") if one))
        self.where = asked(self.one("where"))
        chosen = self.ids or self.where or self.one("all") or (self.verb.name == "undo" and self.target)
        if self.verb.of in ("letters", "parked") and not chosen:
            raise ConfigurationError.of("letters", expected="some that are ticked, or all that match", got="none")

    @property
    def selection(self) -> Filter | Iterable[str]:
        """The letters."""
        if self.verb.name == "undo" and self.target:
            return self.letters.operations.all_ids(self.target)
        return self.ids or filter_of(self.where)

    @property
    def parked(self) -> ParkedFilter:
        """The parked tasks."""
        return ParkedFilter(ids=self.ids) if self.ids else ParkedFilter.parse(self.where)

    @property
    def back(self) -> str:
        """The page that it was asked from, if that is one of ours."""
        given = urlsplit(self.one("back") or self.request.headers.get("Referer", ""))
        root = self.place("recovery")
        asking = (self.place("recovery-confirm"), self.place("recovery-act"))
        is_ours = given.path == root or given.path.startswith(f"{root}/")
        if is_ours and given.netloc in ("", self.request.host) and given.path not in asking:
            return given.path + (f"?{given.query}" if given.query else "")
        return self.place("recovery-letters" if self.verb.of == "letters" else "recovery")

    @property
    def changes(self) -> list[str]:
        """The lines of an edit."""
        return [line.strip() for line in self.one("changes").splitlines() if line.strip()]

    async def ask(self, *, problem: str = "", tries: bool = False) -> None:
        """Show the page; `tries`: with what an edit would do. A problem leaves in the form what was typed."""
        what = await self.aside(self._gather)
        plan: Mapping[str, Any] = {}
        if tries and not problem and what["count"] != 0:
            try:
                plan = await self.aside(self._try)
            except ConfigurationError as exc:
                problem = worded(exc)
        if problem:
            self.set_status(400)
        typed = {field.name: self.one(field.name) for field in self.verb.fields if self.given(field.name)}
        self.show(
            "confirm", "", verb=self.verb, target=self.target, ids=self.ids, back=self.back, once=uuid.uuid4().hex,
            problem=self.redact.text(problem), typed=typed, plan=plan, **what,
        )  # fmt: skip

    # -- within

    def _gather(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "count": None, "more": False, "same": (), "tables": (), "where": self.one("where"), "groups": {},
            "about": "", "none": "", "samples": (), "held": 0, "owners": (),
            "under_way": (),
        }  # fmt: skip
        if self.verb.name == "undo" and self.target:
            undone = any(one.terms.get("of") == self.target for one in self.letters.operations.latest(LATEST))
            known["count"] = 0 if undone else self.letters.operations.get(self.target).done
            known["none"] = "That edit has been undone already." if undone else ""
        elif self.verb.scope is not None:
            known.update(self._of_letters(self.verb))
        elif self.verb.of == "parked" and self.recovery.parked:
            known["count"] = self.recovery.parked.count(self.parked)
        elif self.verb.of == "group":
            group = self.letters.grouped.get(self.target)
            known.update(about=_named(group), groups={group.fingerprint: group})
        elif self.verb.of == "operation":
            operation = self.letters.operations.get(self.target)
            known["about"] = f"the {operation.kind} of {operation.selected:,} letters"
        if self.verb.name == "assign":
            known["owners"] = self._owners()
        if self.verb.name in ("edit", "undo"):
            known["samples"] = self._samples()
        return known

    def _of_letters(self, verb: Verb) -> dict[str, Any]:
        where = Filter(ids=self.ids) if self.ids else self._frozen()
        within = verb.scope.within(where) if verb.scope else where
        found = self.letters.breakdown(within, seconds=PATIENCE)
        groups = self.letters.grouped.read([one for one, _ in found.table("fingerprint").most_common(ROWS)])
        names = ("state", "task", "error_type", "queue", "fingerprint")
        counted = [(name, found.table(name).most_common(ROWS)) for name in names if found.table(name)]
        return {
            "count": found.count, "more": not found.is_whole, "held": found.held,
            "same": [(name, rows[0][0]) for name, rows in counted if _is_one(rows, found)],
            "tables": [(name, rows) for name, rows in counted if not _is_one(rows, found)],
            "groups": {one.fingerprint: one for one in groups},
            "under_way": self._under_way(),
            "none": f"{verb.title} is for letters that are {either(within.state)}." if within.state else "",
            "where": "" if self.ids else urlencode(self.where, doseq=True),
        }  # fmt: skip

    def _under_way(self) -> list[Operation]:
        """What somebody is doing to the same group at this moment."""
        named = self.where.get("fingerprint", ())
        latest = self.letters.operations.latest(LATEST) if named else ()
        return [one for one in latest if one.state is OperationState.RUNNING and any(it in one.filter for it in named)]

    def _owners(self) -> list[tuple[str, int]]:
        """Whose the letters are now, and how many of them; those of nobody are left out."""
        where = TAKE.within(Filter(ids=self.ids) if self.ids else filter_of(self.where))
        page = self.letters.page(where, limit=OWNED, seconds=PATIENCE, largest=0)
        return Counter(one.assignee for one in page.letters if one.assignee).most_common()

    def _frozen(self) -> Filter:
        """The filter with its moments fixed: what dies from now on is not part of what is confirmed."""
        where = filter_of(self.where)
        self.where["until"] = repr(min(where.until or time.time(), time.time()))
        if where.since is not None:
            self.where["since"] = repr(where.since)
        return filter_of(self.where)

    def _some(self) -> list[Letter]:
        """The first letters that are meant."""
        chosen = self.selection
        if isinstance(chosen, Filter):
            return self.letters.list(VERBS["edit"].scope.within(chosen), limit=SHOWN)  # type: ignore[union-attr]
        ids = [one for one, _ in zip(chosen, range(SHOWN), strict=False)]
        return [one for one in self.letters.store.get_many(ids) if one is not None]

    def _samples(self) -> Sequence[Edited]:
        """To edit: what one of them looks like; to undo: what comes back."""
        some = self._some()
        if self.verb.name == "edit":
            return [Edited(one.id, what_is_edited(one, self.redact), None) for one in some[:1]]
        versions = [(one, self.letters.store.versions(one.id)) for one in some]
        return [Edited(one.id, *what_changes(one, found[-1].of(one), self.redact)) for one, found in versions if found]

    def _try(self) -> Mapping[str, Any]:
        """What an edit would do. Raises `ConfigurationError` where it does not fit."""
        plan: EditPlan = self.letters.try_edit(
            self.selection, Edit.of(self.changes), samples=SHOWN, hide=self.redact, seconds=TRIES
        )
        if plan.first_problem is not None:
            others = f" {plan.misfits:,} of {plan.selected:,} letters do not fit; nothing is changed."
            raise ConfigurationError(worded(plan.first_problem) + (others if plan.selected > 1 else ""))
        return {"selected": plan.selected, "is_whole": plan.is_whole, "samples": plan.samples, "changes": self.changes}


class Confirm(Form):
    """What would be done, and to what; an edit that is sent here is tried."""

    async def get(self) -> None:
        if not self.may_operate:
            raise tornado.web.HTTPError(403, self.why_not)
        await self.connect()
        await self.ask()

    async def post(self) -> None:
        await self.connect()
        await self.ask(tries=self.verb.name == "edit" and not self.one("again"))


def worded(exc: ConfigurationError) -> str:
    """The error in the words of the page, which has no options."""
    return str(exc).replace("set: ", "Changes: ", 1) if exc.option == "set" else str(exc)


def _is_one(rows: Sequence[tuple[str, int]], found: Breakdown) -> bool:
    """All letters have the same there."""
    return len(rows) == 1 and rows[0][1] == found.count and found.is_whole


def _named(group: ErrorGroup) -> str:
    return f"{group.exception.rpartition('.')[2]} in {group.task or '?'}"


PAGES = ((r"/confirm", Confirm, "recovery-confirm"),)
