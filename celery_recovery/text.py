r"""Text for a terminal: foreign text made harmless, widths, ages and times.

Messages and arguments come from tasks, and those from anywhere. A control character in them could move the cursor, hide
a line or retitle the window, so all that is not printable is shown as an escape (`\x1b`, `\n`, `\u202e`).
"""

from __future__ import annotations

import time
import unicodedata
from datetime import datetime, timezone
from typing import Any

__all__ = (
    "age", "as_written", "counted", "cut", "duration", "moment", "number", "padded", "short_class", "visible", "width",
)  # fmt: skip

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def visible(text: Any) -> str:
    """The text on one line, every control, format and surrogate character spelled out."""
    text = str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """Cells that the text takes on a terminal; East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Me":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, cells: int, *, front: bool = False) -> str:
    """The text in at most `cells` cells, cut at the end, or at the `front`."""
    if width(text) <= cells:
        return text
    kept, left = [], cells - 1
    for character in reversed(text) if front else text:
        left -= _cells(character)
        if left < 0:
            break
        kept.append(character)
    return "…" + "".join(reversed(kept)) if front else "".join(kept) + "…"


def padded(text: str, cells: int, *, right: bool = False) -> str:
    """The text with blanks to fill `cells`; behind it, or before it when it stands at the `right`."""
    blanks = " " * (cells - width(text))
    return blanks + text if right else text + blanks


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: `12ms`, `1.5s`, `42s`, `7m`, `3h 12m`, `5d 4h`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s".replace(".0s", "s")
    parts = []
    rest = round(seconds)
    for unit, size in (*_UNITS, ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def age(then: float, now: float | None = None) -> str:
    """How long ago, in whole units of the largest that fits: `12s`, `7m`, `3h`, `5d`; as the filter's own ages."""
    seconds = max((time.time() if now is None else now) - then, 0.0)
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def moment(unix: float) -> str:
    """A moment in UTC, `2026-03-01 12:00:05`; what no calendar has is shown as the number it is."""
    try:
        return datetime.fromtimestamp(unix, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{unix:g}"


def number(value: Any) -> float | None:
    """A number out of a message's header, or None: headers hold what their writer put there."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return None


def as_written(figure: float) -> float:
    """7 for 7.0, as a person writes it in a setting."""
    return int(figure) if figure == int(figure) else figure


def short_class(name: str) -> str:
    """The class without its modules."""
    return name.rpartition(".")[2]


def counted(letters: int) -> str:
    """The number with its noun."""
    return "1 letter" if letters == 1 else f"{letters} letters"
