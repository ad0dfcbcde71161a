"""Letters, parked tasks, batches and the audit: pages that only show.

Each page gathers in a thread what it shows, and its template of the same name shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode

from celery_recovery.batch.progress import Progress
from celery_recovery.checkpoint import SavedCheckpoint
from celery_recovery.dead_letters.figures import TABLES
from celery_recovery.dead_letters.filter import Filter, is_glob
from celery_recovery.dead_letters.queue import what_changes
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.flower.access import Page
from celery_recovery.flower.grouped import place_of
from celery_recovery.flower.verbs import of_letters
from celery_recovery.parking.filter import ParkedFilter

__all__ = ("FILTERS", "PAGES", "asked", "filter_of")

#: Letters, tasks and entries on one page.
MOST = 50
#: Seconds that one page looks for letters; it says how far it came, and the browser goes on looking.
PATIENCE = 0.06
#: Entries of the audit that are shown, and looked through for a text.
ENTRIES, LOOKED_THROUGH = 200, 5000
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


class Letters(Page):
    """Search, filter, choose."""

    async def get(self) -> None:
        await self.connect()
        query = {name: self.given(name) for name in FILTERS}
        options = asked(query)
        states = options.get("state", ())
        where = filter_of(options if states or "id" in options else {**options, "state": list(OPEN)})
        cursor = cursor_of(self)
        found = await self.aside(self.letters.page, where, limit=MOST, cursor=cursor, seconds=PATIENCE, largest=0)
        more = self.at("recovery-letters", **options, cursor=found.cursor) if found.cursor else ""
        self.show(
            "letters", "review" if states == [LetterState.REVIEW.value] else "letters", options=options, more=more,
            letters=[letter.summary(self.redact) for letter in found.letters], looked_until=found.looked_until,
            selection=urlencode(options, doseq=True), count=await self.aside(self._count, options),
            states=[state.value for state in LetterState], types=[one.value for one in ErrorType],
            on_ticked=of_letters(states, some=True, edited=any(one.edits for one in found.letters)),
            on_all=of_letters(states, some=False), most=MOST,
        )  # fmt: skip

    def _count(self, options: Mapping[str, Any]) -> int | None:
        """How many letters match, where a counter knows; None: they would have to be looked through."""
        names = set(options)
        if names == {"fingerprint"} and len(options["fingerprint"]) == 1:
            return sum(group.count for group in self.letters.grouped.read(options["fingerprint"]))
        if len(names) > 1 or names - {"state", *TABLES}:
            return None
        stats = self.letters.stats()
        if not names:
            return stats.open
        (name,) = names
        if name != "state" and any(map(is_glob, options[name])):
            return None
        counts: Mapping[str, int] = getattr(stats, f"by_{name}")
        return sum(counts.get(value, 0) for value in options[name])


class Letter(Page):
    """One letter with its whole history."""

    async def get(self) -> None:
        await self.connect()
        self.show("letter", "letters", **await self.aside(self._gather, self.one("id")))

    def _gather(self, letter_id: str) -> dict[str, Any]:
        found = self.letters.get(letter_id)
        edits = self.letters.store.versions(letter_id)
        states = [*(edit.of(found) for edit in edits), found]
        changes = [what_changes(old, new, self.redact) for old, new in pairwise(states)]
        notes = self.letters.store.notes(letter_id)
        return {
            "letter": found.to_dict(self.redact),
            "place": place_of(found.error.frames),
            "group": next(iter(self.letters.grouped.read([found.error.fingerprint])), None),
            "buttons": of_letters([found.state], some=True, edited=bool(edits)),
            "notes": [{**one, "text": self.redact(one["text"])} for one in notes],
            "versions": [
                {"number": one.number + 1, "at": one.at, "by": one.by, "note": one.note, "before": old, "after": new}
                for one, (old, new) in zip(edits, changes, strict=True)
            ],
        }


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
            {**replace(one, state=None).to_dict(), "state": one.beginning(self.redact), "progress": _progress(one)}
            for one in found
            if one is not None
        ]


def _progress(saved: SavedCheckpoint) -> Progress | None:
    """Where a batch stands; None: it is a checkpoint of somebody's own."""
    state = saved.state
    if not saved.name.startswith("batch:") or not isinstance(state, Mapping):
        return None
    known = Progress.load(state, str(state.get("batch", "1")))
    counts = (known.done, known.succeeded, known.failed, known.discarded, known.total or 0)
    return known if all(isinstance(one, int) for one in counts) else None


class Audit(Page):
    """Who did what."""

    async def get(self) -> None:
        await self.connect()
        text = self.one("text").strip()
        self.show("audit", "audit", text=text, most=ENTRIES, entries=await self.aside(self._gather, text.lower()))

    def _gather(self, text: str) -> list[dict[str, Any]]:
        """The last entries that hold the text, of those that are looked through."""
        hidden = (self.redact(one) for one in islice(self.letters.audit.entries(), LOOKED_THROUGH))
        return list(islice((one for one in hidden if _holds(one, text)), ENTRIES))


def _holds(entry: Mapping[str, Any], text: str) -> bool:
    return not text or any(text in str(value).lower() for value in entry.values())


PAGES = (
    (r"/letters", Letters, "recovery-letters"),
    (r"/letter", Letter, "recovery-letter"),
    (r"/parked", Parked, "recovery-parked"),
    (r"/batches", Batches, "recovery-batches"),
    (r"/audit", Audit, "recovery-audit"),
)
