"""`Alert`: what a sink is sent: one happening, or many of one kind, in figures and in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery_recovery.monitoring.alerts.events import EVENTS, TEST
from celery_recovery.text import cut, moment, short_class, visible

__all__ = ("SAMPLES", "VERSION", "Alert")

#: Of the JSON form: it changes when a key changes its meaning or goes.
VERSION = 1
#: Happenings that one alert holds; of more only the number is told.
SAMPLES = 20
#: Cells of a title, of a line of the text.
_TITLE, _LINE = 120, 400
#: Happenings told in words.
_TOLD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Nothing in it is a secret, or an argument of a task. Times are unix seconds."""

    #: The same at every try: who has seen it may drop a twin.
    id: str
    #: A word of `events.EVENTS`, or `"test"`.
    event: str
    #: Name of the app.
    app: str
    #: When the first of it was written down.
    at: float
    #: Happenings that it tells of, and the first of them (`SAMPLES` at most).
    count: int
    happenings: tuple[Mapping[str, Any], ...]
    #: Number of this try, from 1.
    tries: int = 1

    @property
    def severity(self) -> str:
        """`"info"`, `"warning"` or `"critical"`."""
        return EVENTS.get(self.event, TEST).severity

    @property
    def title(self) -> str:
        """One line."""
        event = EVENTS.get(self.event, TEST)
        what = _subject(self.happenings[0]) if self.happenings else ""
        said = event.one.format(what) if self.count == 1 else event.many.format(f"{self.count:,}")
        return cut(visible(f"[{self.app or 'celery'}] {said}"), _TITLE)

    @property
    def text(self) -> str:
        """A line for each of the first happenings, and how many more there are."""
        lines = [cut(visible(_told(one)), _LINE) for one in self.happenings[:_TOLD]]
        if self.count > len(lines):
            lines.append(f"… and {self.count - len(lines):,} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form: the body of a webhook."""
        return {
            "version": VERSION, "id": self.id, "event": self.event, "severity": self.severity, "app": self.app,
            "at": self.at, "count": self.count, "title": self.title, "text": self.text, "tries": self.tries,
            "happenings": [dict(one) for one in self.happenings],
        }  # fmt: skip

    @classmethod
    def from_record(cls, record: Mapping[str, str], app: str) -> Alert:
        """Read the hash that the outbox keeps."""
        samples = (record.get(f"n{n}") for n in range(1, SAMPLES + 1))
        return cls(
            id=record["id"], event=record["event"], app=app, at=float(record.get("at") or 0),
            count=int(record.get("count") or 0), happenings=tuple(json.loads(one) for one in samples if one),
            tries=int(record.get("tries") or 1),
        )  # fmt: skip


def _subject(one: Mapping[str, Any]) -> str:
    """What it is about, in a few words."""
    if "circuit" in one:
        return str(one["circuit"])
    if "operation" in one:
        return f"{one.get('kind', '')} {str(one['operation'])[:12]}"
    if "letters" in one:
        return f"{one['letters']:,} in {one.get('minutes', 0):g} minutes"
    exception = short_class(str(one.get("exception") or ""))
    return f"{one.get('task', '')}: {exception}" if exception else str(one.get("task") or one.get("message") or "")


def _told(one: Mapping[str, Any]) -> str:
    """All that matters, in a line."""
    at = f"{moment(one['at'])} UTC" if isinstance(one.get("at"), (int, float)) else ""
    more: list[str] = []
    if "circuit" in one:
        more = [f"{one.get('before')} → {one.get('after')}", str(one.get("cause") or "")]
    elif "operation" in one:
        more = [f"{one.get('done')} of {one.get('selected')} done", str(one.get("message") or ""),
                f"asked by {one['by']}" if one.get("by") else ""]  # fmt: skip
    elif "letters" in one:
        more = [f"{name} {count:,}" for name, count in (one.get("by_task") or {}).items()]
    else:
        group, letter = one.get("fingerprint"), one.get("id")
        more = [str(one.get("message") or "") if one.get("exception") else "", f"group {group}" if group else "",
                f"letter {letter}" if letter else ""]  # fmt: skip
    return "  ".join(filter(None, (at, _subject(one), *more)))
