"""Pictures as SVG within the page. They stretch to their place; what is to be read stands beside them, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from celery_recovery.report.markup import Markup, tag
from celery_recovery.report.sections import Interval
from celery_recovery.text import moment

__all__ = ("axis", "bars", "meter", "spans")

#: The inner height and width of all of them.
_WIDTH, _HEIGHT = 1000.0, 100.0
#: Seconds between two labels of an axis.
_TICKS = (300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400)


def bars(counts: Sequence[int], label: str, look: str = "") -> Markup:
    """A bar for each count; the highest is as high as the picture, and none that counts is too low to be seen."""
    most, step = max(counts, default=0) or 1, _WIDTH / max(len(counts), 1)
    drawn = [
        _rect(at * step + step * 0.06, max(_HEIGHT * count / most, 3), step * 0.88)
        for at, count in enumerate(counts)
        if count
    ]
    base = tag("line", x1=0, x2=_number(_WIDTH), y1=_number(_HEIGHT), y2=_number(_HEIGHT))
    return _picture(
        f"{label}: {sum(counts):,} in all, at most {max(counts, default=0):,} in one bar", look, *drawn, base
    )


def meter(part: float, whole: float, most: float, label: str, look: str = "recovered") -> Markup:
    """A bar as long as `whole` is of `most`, filled as far as `part` is of it."""
    scale = _WIDTH / most if most else 0.0
    ground = tag("rect", x=0, y=20, width=_number(whole * scale), height=60, class_="ground")
    filled = tag("rect", x=0, y=20, width=_number(part * scale), height=60)
    return _picture(label, f"meter {look}", ground, filled)


def spans(intervals: Iterable[Interval], since: float, until: float, label: str) -> Markup:
    """Times in which a circuit was not closed. The shortest can still be seen."""
    scale = _WIDTH / max(until - since, 1.0)
    drawn = [
        tag("rect", x=_number((one.begin - since) * scale), y=10 if one.state != "half_open" else 35,
            width=_number(max((one.end - one.begin) * scale, 2)), height=80 if one.state != "half_open" else 30,
            class_=one.state)
        for one in intervals
    ]  # fmt: skip
    base = tag("line", x1=0, x2=_number(_WIDTH), y1=50, y2=50)
    return _picture(label, "spans", base, *drawn)


def axis(since: float, until: float, most: int = 8) -> Markup:
    """Labels of moments (UTC) below a picture, at round hours or days."""
    length = max(until - since, 1.0)
    step = next((one for one in _TICKS if length / one <= most), _TICKS[-1])
    first = -(-int(since) // step) * step
    labels = [
        tag("span", moment(at)[5:10] if step >= 86400 else moment(at)[11:16] if at % 86400 else moment(at)[5:10],
            style=f"left:{100 * (at - since) / length:.2f}%")
        for at in range(int(first), int(until) + 1, step)
        if 0.01 < (at - since) / length < 0.97
    ]  # fmt: skip
    return tag("div", *labels, class_="axis", aria_hidden="true")


def _picture(label: str, look: str, *inner: Markup) -> Markup:
    box = f"0 0 {_WIDTH:g} {_HEIGHT:g}"
    return tag("svg", tag("title", label), *inner, class_=f"plot {look}".strip(), role="img", viewbox=box,
               preserveaspectratio="none", aria_label=label)  # fmt: skip


def _rect(x: float, tall: float, wide: float) -> Markup:
    return tag("rect", x=_number(x), y=_number(_HEIGHT - tall), width=_number(wide), height=_number(tall))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
