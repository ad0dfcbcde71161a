"""The first page: what waits, how many errors that is, since when, and what is being done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from celery_recovery.dead_letters.groups import ErrorGroup, GroupState
from celery_recovery.flower.access import Page
from celery_recovery.flower.circuits import waiting_or_not_closed
from celery_recovery.flower.grouped import hints_of
from celery_recovery.flower.operations import not_through

__all__ = ("PAGES", "Headline", "headline_of")

#: Hours of rates.
HOURS = 24
#: Groups and tasks that are shown.
GROUPS, TASKS = 10, 15
#: Groups that are looked through for those that came back.
LATEST = 20
#: Groups that are told in a sentence, when so large a share of the letters is theirs.
FEW, MOST_OF_ALL = 5, 0.9
_COUNTS = ("attempts", "first_try", "replayed", "recovered", "retried", "dead_lettered", "failed")


class Headline(NamedTuple):
    """The few groups that nearly all open letters are of."""

    groups: int
    #: Of all open letters, 0 to 1.
    share: float
    #: When the first of their letters died (unix s).
    since: float
    #: The version of the code that all of them died in; empty: in several, or it is not known.
    version: str


def headline_of(groups: Sequence[ErrorGroup]) -> Headline | None:
    """Of the largest groups, largest first; None: there are no few."""
    share = 0.0
    for n, group in enumerate(groups[:FEW], 1):
        share += group.share
        if share >= MOST_OF_ALL:
            chosen = groups[:n]
            versions = {version for one in chosen for version in one.versions}
            since = min(one.first_seen or one.oldest for one in chosen)
            return Headline(n, share, since, versions.pop() if len(versions) == 1 else "")
    return None


class Overview(Page):
    """How it stands."""

    async def get(self) -> None:
        await self.connect()
        self.show("overview", "overview", hours=HOURS, **await self.aside(self._gather))

    def _gather(self) -> dict[str, Any]:
        since = time.time() - HOURS * 3600
        groups = self.letters.grouped.list(limit=GROUPS)
        headline = headline_of(groups)
        return {
            "stats": self.letters.stats(),
            "series": self.recovery.stats.series(since),
            "tasks": self._tasks(since),
            "groups": groups,
            "kinds": self.letters.grouped.count(),
            "headline": headline,
            "regressed": self._regressed(),
            "hints": hints_of(self, groups[: headline.groups if headline else 1]),
            "circuits": waiting_or_not_closed(self),
            "parked": self.recovery.parked.stats() if self.recovery.parked else None,
            "operations": not_through(self),
        }

    def _regressed(self) -> list[ErrorGroup]:
        """Of the groups that somebody died of last, those that were resolved before."""
        latest = self.letters.grouped.list(limit=LATEST, newest_first=True)
        return [one for one in latest if one.regressed_at and one.state is GroupState.OPEN]

    def _tasks(self, since: float) -> list[tuple[str, dict[str, int]]]:
        """Those with the most failed attempts first."""
        tasks: dict[str, dict[str, int]] = {}
        for rate in self.recovery.stats.rates(since):
            sums = tasks.setdefault(rate.task, dict.fromkeys(_COUNTS, 0))
            for name in _COUNTS:
                sums[name] += getattr(rate, name)

        def failed(item: tuple[str, dict[str, int]]) -> int:
            return item[1]["attempts"] - item[1]["first_try"] - item[1]["replayed"]

        return sorted(tasks.items(), key=failed, reverse=True)[:TASKS]


PAGES = ((r"", Overview, "recovery"),)
