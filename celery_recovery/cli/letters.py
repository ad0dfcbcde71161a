"""How letters look: many in a table, one in full. Made from `Letter.to_dict`, so that secrets are hidden already."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from celery_recovery.cli.output import Output
from celery_recovery.cli.table import Column
from celery_recovery.text import age, duration, moment, number, short_class

__all__ = ("show_letter", "show_letters")

#: Columns of a terminal from which the error stands in the letter's own line.
WIDE = 110
_WHOSE = Column("ASSIGNEE", least=8)
_ID, _STATE, _AGE, _TRY = Column("ID"), Column("STATE"), Column("AGE", right=True), Column("TRY", right=True)
_TASK, _TYPE, _ERROR = Column("TASK", least=12, front=True), Column("ERROR TYPE"), Column("ERROR", least=16)

Shown = Mapping[str, Any]


def show_letters(output: Output, letters: Sequence[Shown], *, whose: bool = False) -> None:
    """One line for each; on a narrow terminal two. `whose`: say whose they are, even if all are nobody's."""
    rows = [_row(letter) for letter in letters]
    owners = [[letter["assignee"] or "-"] for letter in letters]
    if not whose and not any(letter["assignee"] for letter in letters):
        owners = [[] for _ in letters]
    mine = (_WHOSE,) if any(owners) else ()
    if output.width is None or output.width >= WIDE:
        rows = [[*row[:2], *owner, *row[2:]] for row, owner in zip(rows, owners, strict=True)]
        output.table((_ID, _STATE, *mine, _AGE, _TRY, _TASK, _TYPE, _ERROR), rows)
    else:
        _show_narrow(output, rows, owners, mine)


def _row(letter: Shown) -> list[str]:
    error = letter["error"]
    return [
        letter["id"],
        letter["state"],
        age(letter["died_at"]),
        str(letter["attempt"] or "?"),
        letter["task"] or "?",
        error["error_type"],
        _sentence(error),
    ]


def _show_narrow(
    output: Output, rows: Sequence[Sequence[str]], owners: Sequence[Sequence[str]], mine: Sequence[Column]
) -> None:
    """The id and its like above, task and error below."""
    output.table(
        (_ID, _STATE, *mine, _AGE, _TRY, _TYPE),
        [(*row[:2], *owner, *row[2:4], row[5]) for row, owner in zip(rows, owners, strict=True)],
        below=[f"{row[4]}  {row[6]}" for row in rows],
    )


def _sentence(error: Shown) -> str:
    """Class and message."""
    name = short_class(error["exception"]) or "?"
    return f"{name}: {error['message']}" if error["message"] else name


def show_letter(output: Output, letter: Shown) -> None:
    """All that is known about it."""
    output.heading(f"Dead letter {letter['id']}")
    output.fields({**_what(letter), **_why(letter), **_where(letter), **_since(letter)})
    if letter.get("raw"):
        _show_raw(output, letter["raw"])
    _show_attempts(output, letter["attempts"])
    if not letter.get("raw"):  # which failed in no code
        output.title("Traceback")
        output.block(letter["error"]["traceback"])


def _what(letter: Shown) -> dict[str, str]:
    waits = " (held: its result is still open)" if letter["held"] else ""
    lost = "could not be serialised; shown as text" if letter["unserialisable"] else ""
    return {
        "Task": letter["task"],
        "State": letter["state"] + waits,
        "Arguments": _plain(letter["args"]),
        "Keywords": _plain(letter["kwargs"]),
        "Body": f"{letter['content_type']}, {letter['size']} bytes",
        "Lost": lost,
        **_item(letter),
    }


def _item(letter: Shown) -> dict[str, str]:
    """Of a letter of a batch: which item it is."""
    batch = letter.get("batch")
    if not batch:
        return {}
    items = batch["items"]
    one = items[0]
    value = one["shown"] if one["value"] is None else _plain(one["value"])
    key = "" if one["key"] is None else f", key {one['key']}"
    name = f", batch {batch['name']}" if batch["name"] != "1" else ""
    if len(items) > 1:
        return {"Items": f"{len(items)} of {batch['parent']}{name}"}
    kept = " (not carried: it is looked up in the source)" if one["value"] is None else ""
    return {"Item": value + kept, "Position": f"{one['position']}{key} of {batch['parent']}{name}"}


def _why(letter: Shown) -> dict[str, str]:
    error = letter["error"]
    can = "retryable" if error["is_retryable"] else "not retryable"
    return {
        "Reason": ": ".join(filter(None, (letter["reason"], letter["detail"]))),
        "Error type": f"{error['error_type']} ({can}, severity {error['severity']}, rule {error['rule']})",
        "Exception": error["exception"],
        "Code": error["error_code"] or "",
        "Message": error["message"],
        "Context": _plain(error["context"]) if error["context"] else "",
        "Fingerprint": error["fingerprint"],
    }


def _where(letter: Shown) -> dict[str, str]:
    origin = letter["origin"]
    names = ("queue", "exchange", "routing_key", "priority")
    place = ", ".join(f"{name} {origin[name]}" for name in names if origin[name] not in (None, ""))
    return {
        "Died": _when(letter["died_at"]),
        "On": f"{letter['worker']}, in attempt {letter['attempt'] or '?'}" if letter["worker"] else "",
        "First failure": _when(letter["first_failure"]) if letter["first_failure"] else "",
        "Deferrals": str(letter["deferrals"] or ""),
        "Origin": place or "not known",
        "Root": _other(letter, "root_id"),
        "Parent": _other(letter, "parent_id"),
        "Group": letter["group"] or "",
        "Trace": letter["trace_id"] or "",
        "Chords": ", ".join(letter["chords"]),
    }


def _other(letter: Shown, name: str) -> str:
    """The id of another task; a retried task is its own parent, which tells nobody anything."""
    return letter[name] if letter[name] not in (None, letter["id"]) else ""


def _since(letter: Shown) -> dict[str, str]:
    """What became of it after its death."""
    runtime = f" after {duration(letter['runtime'])}" if letter["runtime"] else ""
    on = f" on {letter['replayed_by']}" if letter["replayed_by"] else ""
    return {
        "Replays": str(letter["replays"] or ""),
        "Operation": letter["operation"],
        "Outcome": f"{letter['outcome']}{runtime}{on}" if letter["outcome"] else "",
        "Changed": _when(letter["changed_at"]) if letter["changed_at"] else "",
        "Assignee": letter["assignee"],
        "Edits": str(letter["edits"] or ""),
        "By": letter["by"],
        "Note": letter["note"],
    }


def _show_raw(output: Output, raw: Shown) -> None:
    """The message as it came; nothing in it is decoded but text."""
    output.title("Message, as it came")
    output.fields({name.capitalize().replace("_", " "): raw[name] for name in raw})


def _show_attempts(output: Output, attempts: Sequence[Shown]) -> None:
    """The last attempts of this life; headers hold what their writer put there, so nothing is taken for granted."""
    if not attempts:
        return
    output.title("Attempts")
    columns = (Column("N", right=True), Column("WHEN (UTC)"), Column("RAN", right=True), Column("NEXT IN", right=True),
               _TYPE, Column("EXCEPTION", least=12, front=True), Column("WORKER", least=8))  # fmt: skip
    rows = [_attempt(attempt) for attempt in attempts]
    output.table(columns, rows, below=[str(attempt.get("message") or "") for attempt in attempts], indent=2)


def _attempt(attempt: Shown) -> list[str]:
    when, ran, delay = (number(attempt.get(name)) for name in ("at", "runtime", "delay"))
    return [
        str(attempt.get("n", "?")),
        "?" if when is None else moment(when),
        "" if ran is None else duration(ran),
        "" if delay is None else duration(delay),
        str(attempt.get("error_type", "")),
        short_class(str(attempt.get("exception", ""))),
        str(attempt.get("worker") or ""),
    ]


def _when(unix: float) -> str:
    return f"{moment(unix)} UTC ({age(unix)} ago)"


def _plain(value: Any) -> str:
    """Arguments as JSON text; those that stayed undecoded are text already."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
