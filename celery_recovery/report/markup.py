"""HTML from Python values. A text is escaped, whatever it holds, unless it is `Markup` already.

tag("td", letter.message, class_="wide")        control characters in it are spelled out, too
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from celery_recovery.text import cut, visible

__all__ = ("Markup", "joined", "table", "tag", "text")

#: Characters of one text.
LONGEST = 2000
#: Rows of a table that is not to be broken in print.
SHORT = 12
_VOID = {"meta", "br"}


class Markup(str):
    """HTML that is whole and safe."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """The value as harmless text on one line, not too long; `Markup` as it is."""
    return value if isinstance(value, Markup) else Markup(escape(cut(visible(str(value)[:LONGEST]), LONGEST)))


def joined(parts: Iterable[Any]) -> Markup:
    """One after the other."""
    return Markup("".join(map(text, parts)))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. `class_` is `class`, other underscores are hyphens; None is no attribute.

    HTML reads the names of SVG's attributes in lower case as well.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{joined(children)}</{name}>")


def table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Markup:
    """A table whose first column names the row.

    A column's title may begin with marks: `#` numbers, `-` left out on narrow screens, `~` a picture.
    """
    heads = [_Head(title) for title in columns]
    body = [
        tag("tr", *(
            tag("th" if not n else "td", cell, class_=head.look or None, scope="row" if not n else None)
            for n, (head, cell) in enumerate(zip(heads, row, strict=True))
        ))
        for row in rows
    ]  # fmt: skip
    head = tag("tr", *(tag("th", one.title, class_=one.look or None, scope="col") for one in heads))
    inner = (tag("caption", caption), tag("thead", head), tag("tbody", *body))
    look = "scroll short" if len(body) <= SHORT else "scroll"
    return tag("div", tag("table", *inner), class_=look, tabindex="0", role="region", aria_label=caption)


class _Head:
    def __init__(self, title: str) -> None:
        looks = {"#": "num", "-": "wide", "~": "picture"}
        found = []
        while title[:1] in looks:
            found.append(looks[title[0]])
            title = title[1:]
        self.title, self.look = title, " ".join(found)
