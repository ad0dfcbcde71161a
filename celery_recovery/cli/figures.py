"""How figures look: counts by task and its like, error groups, rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.dead_letters.breakdown import Breakdown
from celery_recovery.dead_letters.figures import TABLES
from celery_recovery.text import age, short_class

if TYPE_CHECKING:
    from celery_recovery.cli.session import Session
    from celery_recovery.dead_letters.groups import ErrorGroup

__all__ = ("group_documents", "show_breakdown", "show_groups", "show_states", "show_totals")

#: Lines of one table of counts; the rest is summed up.
MOST = 12
_TITLES = {"task": "TASK", "error_type": "ERROR TYPE", "reason": "REASON", "queue": "QUEUE", "fingerprint": "GROUP"}
_COUNT = Column("LETTERS", right=True)
_UNFINISHED, _FINISHED = ("failed", "review", "retry", "replayed"), ("recovered", "discarded")


def show_states(output: Output, by_state: Mapping[str, int], oldest: float | None) -> None:
    """The three queues, in which replays that run and have run are one, and what is finished."""
    failed, review, claimed, replayed = (by_state.get(state, 0) for state in _UNFINISHED)
    retry = f"{claimed + replayed}" + (f" ({replayed} published, {claimed} claimed)" if claimed or replayed else "")
    since = f"   oldest {age(oldest)} ago" if oldest is not None else ""
    output.line(f"  failed {failed}   retry {retry}   review {review}{since}")
    finished = "   ".join(f"{state} {by_state.get(state, 0)}" for state in _FINISHED)
    output.line(f"  {finished}")


def show_breakdown(output: Output, figures: Breakdown, tables: Sequence[str] = TABLES) -> None:
    """States, and a table each for task, error type and so on."""
    output.heading("Dead letters")
    show_states(output, figures.by_state, figures.oldest)
    if figures.held:
        output.line(f"  {figures.held} held: a caller, chord or chain waits for them")
    for name in tables:
        if figures.table(name):
            output.line()
            _show_counts(output, _TITLES[name], figures.table(name).most_common())


def _show_counts(output: Output, title: str, counts: Sequence[tuple[str, int]]) -> None:
    rows = [(str(count), name or "(none)") for name, count in counts[:MOST]]
    rest = counts[MOST:]
    if rest:
        rows.append((str(sum(count for _, count in rest)), f"… of {len(rest)} more"))
    output.table((_COUNT, Column(title, least=12, front=True)), rows, indent=2)


def show_totals(output: Output, totals: Mapping[str, int]) -> None:
    """What has happened since the store was last empty."""
    if totals:
        output.title("Since the store was last empty")
        output.fields({name: str(count) for name, count in totals.items()})


def group_documents(here: Session, groups: Iterable[ErrorGroup]) -> list[dict[str, Any]]:
    """Groups with what their newest letter says, in one round trip; without it where it is gone meanwhile."""
    from celery_recovery.dead_letters.filter import Filter

    groups = list(groups)
    ids = tuple(group.newest_id for group in groups)
    found = here.letters.list(Filter(ids=ids), limit=len(ids), largest=0) if ids else []
    newest = {letter.id: letter.summary(here.redact) for letter in found}
    return [_group(group, newest.get(group.newest_id)) for group in groups]


def _group(group: ErrorGroup, letter: Mapping[str, Any] | None) -> dict[str, Any]:
    error = letter["error"] if letter else {}
    return {
        "fingerprint": group.fingerprint,
        "count": group.count,
        "oldest": group.oldest,
        "newest": group.newest,
        "newest_id": group.newest_id,
        "task": letter["task"] if letter else None,
        **{name: error.get(name) for name in ("error_type", "exception", "error_code", "message")},
    }


def show_groups(output: Output, groups: Sequence[Mapping[str, Any]]) -> None:
    """The groups, each with the message of its newest letter below."""
    if not groups:
        return
    output.title("Largest error groups")
    columns = (_COUNT, Column("NEWEST", right=True), Column("FINGERPRINT"), Column("ERROR TYPE"),
               Column("TASK", least=8, front=True))  # fmt: skip
    shown = ("fingerprint", "error_type", "task")
    rows = [(str(group["count"]), age(group["newest"]), *(group[name] or "" for name in shown)) for group in groups]
    below = [f"{short_class(group['exception'] or '?')}: {group['message'] or ''}" for group in groups]
    output.table(columns, rows, below=below, indent=2)
