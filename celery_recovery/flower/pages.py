"""The pages that only show. Each gathers in a thread what it shows, and its template of the same name shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode

from celery_recovery.dead_letters.common import LARGEST, in_common
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import GroupState
from celery_recovery.dead_letters.queue import what_is_edited
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.flower.access import Page
from celery_recovery.operations.operation import ENDED, Operation
from celery_recovery.parking.filter import ParkedFilter

__all__ = ("FILTERS", "PAGES", "asked", "filter_of")

#: Letters, tasks and entries on one page.
MOST = 50
#: Seconds that one page looks for letters; it says how far it came.
PATIENCE = 2.0
#: Hours of rates in the overview.
HOURS = 24
#: What the form of the letters' page asks for.
FILTERS = (
    "state", "error_type", "task", "queue", "text", "arg", "since", "until", "exception", "reason", "fingerprint",
    "assignee", "operation", "parent", "held", "id",
)  # fmt: skip


def asked(query: Mapping[str, list[str]] | str) -> dict[str, Any]:
    """The options of a filter in a query, those that are not empty; several of one as a list.

    What is not known stays in: left out, it would be *more* letters that are acted on.
    """
    pairs = parse_qsl(query) if isinstance(query, str) else [(k, v) for k, some in query.items() for v in some]
    found: dict[str, Any] = {}
    for name, value in pairs:
        if value.strip():
            found.setdefault(name, []).append(value.strip())
    return {name: values[0] if name in ("text", "since", "until", "held") else values for name, values in found.items()}


def cursor_of(page: Page, form: str = r"-?\d+(\.\d+)?/.+") -> str | None:
    """Where the page begins. Raises `ConfigurationError` for what no page has given."""
    given = page.one("cursor")
    if given and not re.fullmatch(form, given, re.DOTALL):
        raise ConfigurationError.of("cursor", expected="what an earlier page gave", got=given)
    return given or None


def filter_of(options: Mapping[str, Any]) -> Filter:
    """Read them. Raises `ConfigurationError`."""
    return Filter.parse(options)


class Overview(Page):
    """How it stands: rates, open circuits, the largest groups."""

    async def get(self) -> None:
        await self.connect()
        self.show("overview", "overview", hours=HOURS, **await self.aside(self._gather))

    def _gather(self) -> dict[str, Any]:
        since = time.time() - HOURS * 3600
        series = self.recovery.stats.series(since)
        rates = self.recovery.stats.rates(since)
        tasks: dict[str, dict[str, int]] = {}
        for rate in rates:
            sums = tasks.setdefault(rate.task, dict.fromkeys(_COUNTS, 0))
            for name in _COUNTS:
                sums[name] += getattr(rate, name)
        stats = self.letters.stats()
        groups = self.letters.grouped.list(limit=10)
        return {
            "stats": stats,
            "series": series,
            "tasks": sorted(tasks.items(), key=lambda item: -item[1]["attempts"] + item[1]["first_try"])[:15],
            "groups": groups,
            "circuits": [one for one in _circuits(self) if one["state"] != "closed" or one["waiting"]],
            "parked": self.recovery.parked.stats() if self.recovery.parked else None,
            "operations": [one for one in self.letters.operations.latest(20) if one.state not in ENDED],
        }


_COUNTS = ("attempts", "first_try", "recovered", "retried", "dead_lettered", "failed")


def _circuits(page: Page) -> list[dict[str, Any]]:
    waiting = page.recovery.parked.stats().by_circuit if page.recovery.parked else {}
    circuits = page.recovery.circuits
    names = sorted({*circuits.names(), *waiting})
    seen = [{**circuits.view(name).to_dict(), "name": name, "waiting": waiting.get(name, 0)} for name in names]
    order = ("open", "forced_open", "half_open", "disabled", "closed")
    return sorted(seen, key=lambda one: (order.index(one["state"]), -one["waiting"], one["name"]))


class Letters(Page):
    """Search, filter, choose."""

    async def get(self) -> None:
        await self.connect()
        query = {name: self.given(name) for name in FILTERS}
        options = asked(query)
        where = filter_of(options if "state" in options or "id" in options else {**options, "state": list(OPEN)})
        cursor = cursor_of(self)
        found = await self.aside(self.letters.page, where, limit=MOST, cursor=cursor, seconds=PATIENCE, largest=0)
        shown = [letter.summary(self.redact) for letter in found.letters]
        more = self.at("recovery-letters", **options, cursor=found.cursor) if found.cursor else ""
        self.show(
            "letters", "letters", letters=shown, options=options, where=urlencode(options, doseq=True), more=more,
            looked_until=found.looked_until, states=[state.value for state in LetterState],
            types=[one.value for one in ErrorType],
        )  # fmt: skip


class Letter(Page):
    """One letter with its whole history."""

    async def get(self) -> None:
        await self.connect()
        self.show("letter", "letters", **await self.aside(self._gather, self.one("id")))

    def _gather(self, letter_id: str) -> dict[str, Any]:
        found = self.letters.get(letter_id)
        edits = self.letters.store.versions(letter_id)
        states = [what_is_edited(one, self.redact) for one in (*(edit.of(found) for edit in edits), found)]
        notes = self.letters.store.notes(letter_id)
        return {
            "letter": found.to_dict(self.redact),
            "notes": [{**one, "text": self.redact(one["text"])} for one in notes],
            "versions": [
                {"number": one.number + 1, "at": one.at, "by": one.by, "note": one.note, "before": old, "after": new}
                for one, old, new in zip(edits, states, states[1:], strict=False)
            ],
        }


class Groups(Page):
    """Letters that died of the same thing."""

    async def get(self) -> None:
        await self.connect()
        known = {state.value for state in GroupState}
        states = [GroupState(one) for one in self.given("state") if one in known]
        groups = await self.aside(
            self.letters.grouped.list, states=states or None, limit=100, newest_first=self.one("order") == "newest"
        )
        self.show("groups", "groups", groups=groups, chosen={str(one) for one in states}, order=self.one("order"))


class Group(Page):
    """One of them, with what its letters have in common."""

    async def get(self) -> None:
        await self.connect()
        self.show("group", "groups", **await self.aside(self._gather, self.one("fingerprint")))

    def _gather(self, fingerprint: str) -> dict[str, Any]:
        group = self.letters.grouped.get(fingerprint)
        where = Filter(fingerprint=(group.fingerprint,), state=tuple(LetterState))
        newest = self.letters.list(where, limit=200, largest=LARGEST)
        return {
            "group": group,
            "common": in_common(newest, self.redact),
            "sample": newest[0].to_dict(self.redact) if newest else None,
            "where": urlencode({"fingerprint": group.fingerprint}),
        }


class Circuits(Page):
    """All circuits, those that refuse calls first."""

    async def get(self) -> None:
        await self.connect()
        self.show("circuits", "circuits", circuits=await self.aside(_circuits, self))


class Circuit(Page):
    """One circuit and its history."""

    async def get(self) -> None:
        await self.connect()
        view = await self.aside(self.recovery.circuits.view, self.one("name"))
        self.show("circuit", "circuits", circuit={**view.to_dict(), "name": view.name})


class Parked(Page):
    """Tasks that wait for their next attempt, for a time, or for a circuit."""

    async def get(self) -> None:
        await self.connect()
        names = ("task", "queue", "reason", "circuit", "id")
        options = {name: some for name in names if (some := [one for one in self.given(name) if one])}
        parking = self.recovery.parked
        page, stats = None, None
        if parking is not None:
            page = await self.aside(
                parking.find, ParkedFilter.parse(options), limit=MOST, cursor=cursor_of(self, r"-?[\d.e+-]+/.+")
            )
            stats = await self.aside(parking.stats)
        tasks = [one.summary(self.redact) for one in page.tasks] if page else []
        more = self.at("recovery-parked", **options, cursor=page.cursor) if page and page.cursor else ""
        self.show("parked", "parked", tasks=tasks, stats=stats, options=options, more=more,
                  where=urlencode(options, doseq=True))  # fmt: skip


class Batches(Page):
    """Where batches and other tasks with checkpoints stand."""

    async def get(self) -> None:
        await self.connect()
        self.show("batches", "batches", checkpoints=await self.aside(self._gather))

    def _gather(self) -> list[dict[str, Any]]:
        store = self.recovery.checkpoints
        if store is None:
            return []
        found = (store.get(name) for name in islice(store.names(), 100))
        return [
            {**replace(one, state=None).to_dict(), "state": one.beginning(self.redact)}
            for one in found
            if one is not None
        ]


class Operations(Page):
    """What was done to many letters, and is being done."""

    async def get(self) -> None:
        await self.connect()
        self.show("operations", "operations", operations=await self.aside(self.letters.operations.latest, 100))


class OneOperation(Page):
    """One of them; the page asks `operation.json` how far it is."""

    async def get(self) -> None:
        await self.connect()
        found = await self.aside(self.letters.operations.get, self.one("id"))
        self.show("operation", "operations", operation=found, progress=progress(self, found))


class OperationProgress(Page):
    """The same for machines."""

    async def get(self) -> None:
        await self.connect()
        found = await self.aside(self.letters.operations.get, self.one("id"))
        self.write(progress(self, found))


def progress(page: Page, operation: Operation) -> dict[str, Any]:
    """What changes on the page while an operation runs."""
    return {
        "state": operation.state.value,
        "selected": operation.selected,
        "position": operation.position,
        "done": operation.done,
        "skipped": sum(operation.skipped.values()),
        "failed": len(operation.failed),
        "recovered": operation.outcomes.recovered,
        "died": operation.outcomes.died,
        "in_flight": operation.in_flight,
        "step": operation.step,
        "message": page.redact(operation.message),
        "runner": operation.runner,
        "ended": operation.state in ENDED and not operation.in_flight,
    }


class Audit(Page):
    """Who did what."""

    async def get(self) -> None:
        await self.connect()
        entries = await self.aside(lambda: list(islice(self.letters.audit.entries(), 200)))
        self.show("audit", "audit", entries=[self.redact(one) for one in entries])


PAGES = (
    (r"", Overview, "recovery"),
    (r"/letters", Letters, "recovery-letters"),
    (r"/letter", Letter, "recovery-letter"),
    (r"/groups", Groups, "recovery-groups"),
    (r"/group", Group, "recovery-group"),
    (r"/circuits", Circuits, "recovery-circuits"),
    (r"/circuit", Circuit, "recovery-circuit"),
    (r"/parked", Parked, "recovery-parked"),
    (r"/batches", Batches, "recovery-batches"),
    (r"/operations", Operations, "recovery-operations"),
    (r"/operation", OneOperation, "recovery-operation"),
    (r"/operation\.json", OperationProgress, "recovery-operation-json"),
    (r"/audit", Audit, "recovery-audit"),
)
