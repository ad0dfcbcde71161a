"""What was done to many letters and is being done: how far it is, why it stands where it does, and what died again."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import ErrorGroup
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.flower.access import Page
from celery_recovery.flower.grouped import place_of
from celery_recovery.flower.verbs import of_group, of_operation
from celery_recovery.operations.canary import Canary
from celery_recovery.operations.operation import ENDED, Operation, OperationState

__all__ = ("PAGES", "not_through", "told")

#: Operations in the list, and looked through for those that are not through.
MOST, LATEST = 100, 20
#: Letters of its set that are shown, and that died again; seconds that the latter are looked for.
SHOWN, DIED, PATIENCE = 10, 50, 0.05
#: Letters of an operation that are looked through for one that is left, and seconds for which the answer is kept.
LOOKED_THROUGH, KEPT = 50_000, 60.0
#: The group in a filter that names just one.
_GROUP = re.compile(r"--fingerprint=(\d+:[0-9a-f]{16})(?!.*--fingerprint)(?:\s|$)")
_HELD_BACK = frozenset({OperationState.STOPPED, OperationState.PAUSED})


class _Spent:
    """Operations that stopped, and whose other letters have all been dealt with since: resuming them does nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], float] = {}

    def has(self, page: Page, operation: Operation) -> bool:
        """Look whether none of its rest is in a state that it is for; that none is, is remembered for a minute."""
        if operation.state not in _HELD_BACK:
            return False
        key, now = (operation.id, operation.position), time.monotonic()
        self._known = {one: until for one, until in self._known.items() if until > now}
        if key not in self._known and not _has_rest(page, operation):
            self._known[key] = now + KEPT
        return key in self._known


_SPENT = _Spent()


def _has_rest(page: Page, operation: Operation) -> bool:
    states = operation.terms.get("states") or [state.value for state in LetterState]
    rest = page.letters.operations.all_ids(operation.id, operation.position)
    looked = islice(rest, LOOKED_THROUGH)
    first = list(islice(looked, 100))  # nearly always one of these tells
    for batch in chain([first], iter(lambda: list(islice(looked, 1000)), [])):
        found = page.letters.store.tally(batch).by_state
        if any(found[state] for state in states):
            return True
    return next(rest, None) is not None


def not_through(page: Page) -> list[Operation]:
    """The latest that have not ended, and have something left to do."""
    latest = [one for one in page.letters.operations.latest(LATEST) if one.state not in ENDED]
    return [one for one in latest if not _SPENT.has(page, one)]


def told(operation: Operation, *, spent: bool = False) -> str:
    """Why it stands where it does, and what becomes of the rest."""
    rest = operation.selected - operation.position
    others = f"The other {rest:,} letters are as they were." if rest else ""
    if spent and rest:
        others = f"None of the other {rest:,} letters waits any more: they were dealt with since."
    state, message = operation.state, operation.message
    if state is OperationState.STOPPED:
        who = "Its canary has stopped it" if operation.by_canary else "It was stopped"
        return f"{who}: {message}. {others}"
    if state in (OperationState.PAUSED, OperationState.CANCELLED):
        said = message or str(state)
        return f"{said[:1].upper()}{said[1:]}{'' if said.endswith('.') else '.'} {others}"
    if state is OperationState.DONE and operation.in_flight:
        return f"All are published; {operation.in_flight:,} have not ended yet."
    if state is OperationState.PREPARING:
        return "Its letters are being written down."
    if state is OperationState.RUNNING and not operation.runner:
        return "Nobody has taken it up yet: Flower or a worker does so within seconds."
    return _step(operation) or message


def _step(operation: Operation) -> str:
    data = operation.terms.get("canary")
    if operation.state is not OperationState.RUNNING or not data or not operation.step:
        return ""
    size = Canary.from_dict(data).size(operation.step)
    return f"Step {operation.step}, of {size:,} letters: the next begins when these have ended, and were well."


class Died(NamedTuple):
    """Letters that a replay has brought back, by what they died of."""

    letters: int
    fingerprint: str
    exception: str
    message: str
    where: str
    version: str
    #: Id of one of them.
    sample: str


def died_again(page: Page, operation: Operation) -> list[Died]:
    """What the last of them died of, most frequent first."""
    if not operation.outcomes.died:
        return []
    where = Filter(operation=(operation.id,), state=(LetterState.FAILED, LetterState.REVIEW))
    found = page.letters.page(where, limit=DIED, seconds=PATIENCE, largest=0).letters
    counts = Counter((one.error.fingerprint, one.code_version) for one in found)
    samples = {(one.error.fingerprint, one.code_version): one for one in found}
    return [
        Died(n, key[0], one.error.exception, page.redact(one.error.message), place_of(one.error.frames), key[1], one.id)
        for key, n in counts.most_common(5)
        for one in (samples[key],)
    ]


def groups_of(page: Page, operations: Iterable[Operation]) -> Mapping[str, ErrorGroup]:
    """Id of an operation -> the group that it is about, where its filter says so."""
    named = {one.id: found[1] for one in operations if (found := _GROUP.search(one.filter))}
    groups = {one.fingerprint: one for one in page.letters.grouped.read(sorted({*named.values()}))}
    return {one: groups[name] for one, name in named.items() if name in groups}


class Operations(Page):
    """All of them, the latest first."""

    async def get(self) -> None:
        await self.connect()
        latest = await self.aside(self.letters.operations.latest, MOST)
        self.show("operations", "operations", operations=latest, groups=await self.aside(groups_of, self, latest))


class OneOperation(Page):
    """One of them; the page asks `operation.json` how far it is."""

    async def get(self) -> None:
        await self.connect()
        self.show("operation", "operations", **await self.aside(self._gather))

    def _gather(self) -> dict[str, Any]:
        found = self.letters.operations.get(self.one("id"))
        spent = _SPENT.has(self, found)
        ids = self.letters.operations.ids(found.id, 0, SHOWN)
        some = self.letters.list(Filter(ids=tuple(ids)), limit=SHOWN, largest=0) if ids else []
        buttons, group = of_operation(found), groups_of(self, (found,)).get(found.id)
        is_over = group is not None and not group.count and found.kind == "replay" and found.state in ENDED
        says = [one for one in of_group(group.state) if one.verb == "resolve"] if group and is_over else []
        return {
            "operation": found, "progress": _progress(self, found, spent=spent), "died": died_again(self, found),
            "letters": [one.summary(self.redact) for one in some],
            "buttons": [one for one in buttons if one.verb != "resume"] if spent else buttons,
            "terms": found.to_dict(self.redact)["terms"], "group": group, "says": says,
        }  # fmt: skip


class OperationProgress(Page):
    """The same for machines."""

    async def get(self) -> None:
        await self.connect()
        found = await self.aside(self.letters.operations.get, self.one("id"))
        self.write(_progress(self, found, spent=await self.aside(_SPENT.has, self, found)))


def _progress(page: Page, operation: Operation, *, spent: bool) -> dict[str, Any]:
    """What changes on the page while an operation runs."""
    return {
        "state": operation.state.value,
        "selected": operation.selected,
        "position": operation.position,
        "rest": operation.selected - operation.position,
        "done": operation.done,
        "skipped": sum(operation.skipped.values()),
        "failed": len(operation.failed),
        "recovered": operation.outcomes.recovered,
        "died": operation.outcomes.died,
        "in_flight": operation.in_flight,
        "step": operation.step,
        "message": page.redact(told(operation, spent=spent)),
        "runner": operation.runner,
        "ended": operation.state in ENDED and not operation.in_flight,
    }


PAGES = (
    (r"/operations", Operations, "recovery-operations"),
    (r"/operation", OneOperation, "recovery-operation"),
    (r"/operation\.json", OperationProgress, "recovery-operation-json"),
)
