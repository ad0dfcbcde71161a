"""What the templates call to show things: texts made harmless and short, times, pictures. Templates escape."""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tornado.escape import xhtml_escape

from celery_recovery.redact import MASK
from celery_recovery.text import age, duration, moment, short_class, visible

__all__ = (
    "ago",
    "bars",
    "block",
    "coded",
    "diff",
    "due",
    "duration",
    "moment",
    "number",
    "places",
    "plain",
    "readable",
    "share",
    "short_class",
    "shown",
    "tone",
    "when",
)

#: Characters of a text in a line and in a block that are shown.
_LINE, _BLOCK = 300, 20_000
#: Values that are offered to be edited; what the name of one cannot hold.
_PLACES, _SIGNS = 40, frozenset(".=:")
#: A moment in a filter.
_MOMENT = re.compile(r"(--(?:since|until)=)(\d+(?:\.\d+)?)(?=\s|$)")
#: State of anything -> Bootstrap's word for its colour.
_TONES = {
    "failed": "danger", "review": "warning", "retry": "info", "replayed": "info", "recovered": "success",
    "discarded": "secondary", "open": "danger", "forced_open": "danger", "half_open": "warning", "closed": "success",
    "disabled": "secondary", "resolved": "success", "ignored": "secondary", "running": "info", "paused": "warning",
    "stopped": "danger", "done": "success", "cancelled": "secondary", "preparing": "info",
}  # fmt: skip


def shown(text: Any, most: int = _LINE) -> str:
    """On one line, control characters spelled out, not too long. The template escapes it."""
    whole = "" if text is None else str(text)
    return visible(whole[:most]) + (f"… ({len(whole)} characters)" if len(whole) > most else "")


def block(text: Any, most: int = _BLOCK) -> str:
    """Several lines, of which each is harmless."""
    whole = "" if text is None else str(text)
    lines = "\n".join(visible(line.expandtabs(4)) for line in whole[:most].split("\n"))
    return lines + (f"\n… ({len(whole)} characters)" if len(whole) > most else "")


def coded(name: str) -> str:
    """An id as a form carries it: percent-encoded, whatever characters it holds."""
    return quote(str(name), safe=":")


def plain(value: Any) -> str:
    """A value of an argument as JSON, indented."""
    return block(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str))


def ago(then: float | None) -> str:
    """`5m ago`; empty for no time."""
    return f"{age(then)} ago" if then else ""


def when(then: float | None) -> str:
    """The same as HTML, with the moment where the mouse points."""
    return f'<time title="{moment(then)} UTC">{ago(then)}</time>' if then else ""


def due(then: float) -> str:
    """`in 5m`, or `3m overdue`, as HTML with the moment where the mouse points."""
    ahead = then - time.time()
    words = f"in {duration(ahead)}" if ahead > 0 else f"{duration(-ahead)} overdue"
    return f'<time title="{moment(then)} UTC">{words}</time>'


def number(value: Any) -> str:
    """With thousands apart."""
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def share(value: float | None) -> str:
    """In percent."""
    if value is None:
        return "-"
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.995 <= value < 1:
        return ">99%"
    return f"{value:.0%}" if value >= 0.1 or not value else f"{value:.1%}"


def readable(text: str) -> str:
    """A filter as the command line writes it, with moments that can be read."""
    return _MOMENT.sub(lambda found: f"{found[1]}{moment(float(found[2])).replace(' ', 'T')}", text)


def diff(before: Any, after: Any) -> list[tuple[str, str]]:
    """What was changed: `-`, `+` or a blank, and the line. Nothing is changed: no line."""
    old, new = (plain(one).split("\n") for one in (before, after))
    lines = list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]
    return [(line[:1], line[1:]) for line in lines if not line.startswith("@@")]


def places(document: Any) -> list[str]:
    """Each value of a letter's arguments, or of its item, as an edit writes it: `kwargs.region=eu`. A few dozen."""
    waiting = list(document.items()) if isinstance(document, Mapping) and {*document} == {"args", "kwargs"} else [
        ("item", document)]  # fmt: skip
    found: list[str] = []
    while waiting and len(found) < _PLACES:
        path, value = waiting.pop(0)
        if isinstance(value, Mapping):
            waiting[:0] = [(f"{path}.{key}", one) for key, one in value.items() if not _SIGNS & {*str(key)}]
        elif isinstance(value, (list, tuple)):
            waiting[:0] = [(f"{path}.{n}", one) for n, one in enumerate(value)]
        elif value != MASK and (path != "item" or not isinstance(value, str)):
            found.append(f"{path}={value if isinstance(value, str) else json.dumps(value, default=str)}")
    return [one for one in found if one.isprintable() and len(one) <= _LINE]


def tone(state: Any) -> str:
    """Bootstrap's colour for a state."""
    return _TONES.get(str(state), "secondary")


def bars(counts: Sequence[int], *, width: int = 144, height: int = 28, label: str = "", unit: str = "hour") -> str:
    """A bar for each count, as an SVG that takes the colour of the text. Its text is escaped here."""
    if not counts:
        return ""
    most, step = max(counts) or 1, width / len(counts)
    drawn = "".join(
        f'<rect x="{at * step:.1f}" y="{height - tall:.1f}" width="{max(step - 1, 0.5):.1f}" height="{tall:.1f}"/>'
        for at, count in enumerate(counts)
        if (tall := max(height * count / most, 1.5) if count else 0)
    )
    said = f"{label}: " if label else ""
    title = xhtml_escape(f"{said}{sum(counts):,} in {len(counts)} {unit}s, at most {max(counts):,} in one")
    return (
        f'<svg class="recovery-bars" role="img" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'aria-label="{title}"><title>{title}</title>{drawn}'
        f'<line x1="0" x2="{width}" y1="{height}" y2="{height}"/></svg>'
    )
