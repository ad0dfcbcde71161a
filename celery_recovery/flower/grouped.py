"""Letters that died of the same thing: all groups, and one of them with what its letters have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from celery_recovery.dead_letters.common import LARGEST, Common, in_common
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.groups import ErrorGroup, GroupState
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.state import OPEN, LetterState
from celery_recovery.errors.model import Frame
from celery_recovery.flower.access import Page
from celery_recovery.flower.verbs import of_group, of_letters

__all__ = ("PAGES", "Hint", "hints_of", "place_of")

#: Groups on one page, letters on the page of one.
MOST, NEWEST = 100, 10
#: Letters that are looked at for what they have in common: on the page of a group, and for a line in a list.
LOOKED_AT, GLANCED_AT = 100, 30
#: Groups of a list that have such a line.
HINTED = 5
#: Operations that are looked through for those that a group was acted on by.
OPERATIONS = 50
_NOT_OURS = ("/celery_recovery/", "-packages/", "/lib/python", "<frozen", "<string>")


class Hint(NamedTuple):
    """What the newest letters of a group tell at a glance."""

    #: Where it was raised, as in `amount (warehouse.py:44)`; empty: not known.
    where: str
    common: Sequence[Common]


def where_of(frames: Sequence[Frame]) -> Frame | None:
    """The innermost frame of somebody's own code; where there is none, the innermost."""
    own = [one for one in frames if not any(part in str(one.filename) for part in _NOT_OURS)]
    found = own or frames
    return found[-1] if found else None


def place_of(frames: Sequence[Frame]) -> str:
    """The same in words, as in `amount (warehouse.py:44)`; empty: nowhere."""
    frame = where_of(frames)
    return f"{frame.name} ({str(frame.filename).rpartition('/')[2]}:{frame.lineno})" if frame else ""


def hints_of(page: Page, groups: Sequence[ErrorGroup]) -> Mapping[str, Hint]:
    """For the list: fingerprint -> what its newest letters tell."""
    found = {}
    for group in groups:
        letters = _newest(page, group.fingerprint, GLANCED_AT)
        if letters:
            found[group.fingerprint] = Hint(place_of(letters[0].error.frames), in_common(letters, page.redact)[:3])
    return found


def _newest(page: Page, fingerprint: str, most: int) -> list[Letter]:
    """Its newest open letters; where there is none, its newest."""
    for states in (OPEN, LetterState):
        where = Filter(fingerprint=(fingerprint,), state=tuple(states))
        if letters := page.letters.list(where, limit=most, largest=LARGEST):
            return letters
    return []


class Groups(Page):
    """All of them."""

    async def get(self) -> None:
        await self.connect()
        known = {state.value for state in GroupState}
        states = [GroupState(one) for one in self.given("state") if one in known]
        order = "newest" if self.one("order") == "newest" else ""
        groups = await self.aside(
            self.letters.grouped.list, states=states or None, limit=MOST + 1, newest_first=bool(order)
        )
        hints = await self.aside(hints_of, self, [one for one in groups[:HINTED] if one.count])
        self.show("groups", "groups", groups=groups[:MOST], more=len(groups) > MOST, hints=hints,
                  chosen=[str(one) for one in states], order=order)  # fmt: skip


class Group(Page):
    """One of them, with what its letters have in common."""

    async def get(self) -> None:
        await self.connect()
        self.show("group", "groups", **await self.aside(self._gather, self.one("fingerprint")))

    def _gather(self, fingerprint: str) -> dict[str, Any]:
        group = self.letters.grouped.get(fingerprint)
        newest = _newest(self, group.fingerprint, LOOKED_AT)
        return {
            "group": group,
            "common": in_common(newest, self.redact),
            "newest": [one.summary(self.redact) for one in newest[:NEWEST]],
            "sample": newest[0].to_dict(self.redact) if newest else None,
            "where": where_of(newest[0].error.frames) if newest else None,
            "selection": urlencode({"fingerprint": group.fingerprint}),
            "buttons": of_letters((), some=False) if group.count else (),
            "says": of_group(group.state),
            "operations": [
                one for one in self.letters.operations.latest(OPERATIONS) if group.fingerprint in one.filter
            ][:5],
        }


PAGES = ((r"/groups", Groups, "recovery-groups"), (r"/group", Group, "recovery-group"))
