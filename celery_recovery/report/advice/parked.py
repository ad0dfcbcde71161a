"""Parked tasks that do not come back."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.report.model import Advice, Report
from celery_recovery.text import age

__all__ = ("parked_overdue", "parked_refused")

#: `parked_overdue`: seconds that the first of them is late. Workers look far more often.
OVERDUE_SECONDS = 60.0
#: `parked_refused`: one is enough: it stays there for ever.
REFUSED = 1


def parked_overdue(report: Report) -> Iterator[Advice]:
    """No worker gives them back."""
    standing = report.standing
    due = standing.oldest_due
    if not standing.overdue or due is None or report.made_at - due < OVERDUE_SECONDS:
        return
    yield Advice(
        rule="parked_overdue",
        subject="parked tasks",
        says="See whether workers of this app run, and reach broker and Redis: nobody gives parked tasks back.",
        evidence=f"{standing.overdue:,} parked tasks are overdue, the first for {age(due, report.made_at)}.",
        setting="celery -A your_app recovery parked list",
        figures={"overdue": standing.overdue, "seconds": report.made_at - due},
    )


def parked_refused(report: Report) -> Iterator[Advice]:
    """No queue takes them."""
    refused = report.standing.refused
    if refused >= REFUSED:
        yield Advice(
            rule="parked_refused",
            subject="parked tasks",
            says="Bring back the queues that parked tasks came from, or discard these tasks.",
            evidence=f"{refused:,} parked task{'s' if refused > 1 else ''} cannot be given back: no queue takes them.",
            setting="celery -A your_app recovery parked list",
            figures={"refused": refused},
        )
