"""How far a value in a text reaches that begins at a place: as its own quotes, brackets, blanks or lines say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ("MASK", "Hidden", "block_at", "value_at", "without")

#: What is shown instead of a secret.
MASK = "***"

_QUOTE = re.compile(r"(?:[bBrRuUfF]{1,2}(?=['\"]))?(?P<slashes>\\*)(?P<mark>'''|\"\"\"|['\"])")
_BRACKET = re.compile(r"[\w.]*[(\[{<]")
_CLOSED_BY = {"(": ")", "[": "]", "{": "}", "<": ">"}
#: What matters between brackets: strings, in which brackets mean nothing, and brackets.
_WITHIN = re.compile(r"\\.|['\"()\[\]{}<>]", re.DOTALL)
_SCHEME = re.compile(r"(?i:bearer|basic|digest|token|negotiate|ntlm|apikey|hawk|aws4-hmac-sha256)[ \t]{1,4}(?=\S)")
#: To the end of the line, or of the text in quotes that it is in: a header of several parts, each maybe secret.
_LINE = re.compile(
    r"(?:= ?\\{0,8}(?:\"(?![\s,;:)\]}\\]|\Z)[^\"\r\n]*\"?|'(?![\s,;:)\]}\\]|\Z)[^'\r\n]*'?)"
    r"|[^\r\n\\'\"]|\\(?!\\{0,8}['\"])(?![rn]))*"
)
#: What stands in the place of a header's value that is not there.
_ABSENT = re.compile(
    r"(?i:required|optional|missing|none|null|invalid|denied|failed|expired)(?=[.,;)]|\s*(?:\Z|[\r\n]))"
)
#: A further line, as it is or as a `repr` has it; in the latter the quote that closes it ends the line, too.
_NEXT_LINE = re.compile(
    r"\r?\n(?P<blanks>[ \t]*)(?P<rest>[^\r\n]*)"
    r"|(?:\\{1,4}r)?\\{1,4}n(?P<escaped_blanks>[ \t]*)(?P<escaped_rest>(?:[^\r\n\\'\"]|\\(?![rn'\"\\]))*)"
)
#: YAML's sign of a text in the lines that follow.
_FOLLOWS = re.compile(r"(?:[|>][+-]?\d?[+-]?)?[ \t]{0,8}(?=\r?\n|\\{1,4}[rn])")
#: Parameters of a scheme, of which each may be secret.
_PARTED = re.compile(
    r"(?i:digest|hawk|aws4-hmac-sha256)[ \t]{1,4}(?:[\w-]{1,80} ?= ?(?:\\*\"[^\"]*\"|[^\s,'\"]+)(?: ?, ?)?)*"
)
#: A word without quotes: up to a blank or `;`, a `&` with a next name, a comma that something else follows. A quote in
#: the middle is its own.
_PLAIN = re.compile(
    r"(?:[^\s,;&'\"<>\\]|\\(?![nrt'\"])|(?<=\w)\\{0,4}['\"](?=\w)|&(?!(?:amp;)?[\w.%\[\]-]{1,80}=)"
    r"|,(?![\s)\]}]|\\{0,8}['\"]|[\w.-]{1,80}\\{0,8}['\"]?[ ]?[:=]|\Z))+"
)
_LINE_HEAD = re.compile(r"\n|\\n")
_REACH = 300
_CLOSERS = ")]}>.,"


class Hidden(NamedTuple):
    """A part of a text, and what is shown in its place."""

    begin: int
    end: int
    shown: str


def without(text: str, parts: Iterable[Hidden]) -> str:
    """The text with each part replaced; a part that begins within the one before it is left out."""
    shown, at = [], 0
    for part in parts:
        if part.begin >= at and part.end > part.begin:
            shown += [text[at : part.begin], part.shown]
            at = part.end
    return "".join((*shown, text[at:])) if shown else text


def value_at(text: str, at: int, *, whole_line: bool = False) -> Hidden:
    """The value that begins here."""
    quote = _QUOTE.match(text, at)
    if quote:
        end = _string_end(text, quote)
        close = quote["slashes"] + quote["mark"] if end < len(text) or text.endswith(quote["mark"]) else ""
        return Hidden(at, end, f"{quote[0]}{MASK}{close}")
    if whole_line and _ABSENT.match(text, at):
        return Hidden(at, at, MASK)
    bracket = _BRACKET.match(text, at)
    bracket_end = _bracket_end(text, bracket.end() - 1) if bracket else at
    if whole_line:
        return Hidden(at, max(bracket_end, _end(_LINE, text, at)), MASK)
    scheme = _SCHEME.match(text, at)
    if scheme:
        parted = _PARTED.match(text, at)
        return Hidden(at, parted.end() if parted else _plain_end(text, scheme.end()), MASK)
    if bracket:
        return Hidden(at, bracket_end, MASK)
    return Hidden(at, _plain_end(text, at), MASK)


def block_at(text: str, name: int, at: int) -> Hidden | None:
    """The lines under a name, here or before, that has nothing beside it or YAML's `|`: those indented deeper than it.

    A name that has nothing beside it must be alone in its line: `if token:` is none.
    """
    follows = _FOLLOWS.match(text, at)
    if not follows:
        return None
    head = _LINE_HEAD.split(text[max(0, name - _REACH) : name])[-1]
    if not follows[0].strip() and head.strip(" \t-'\""):
        return None
    indent = len(head) - len(head.lstrip(" \t"))
    begin = end = 0
    place = follows.end()
    while line := _NEXT_LINE.match(text, place):
        place = line.end()
        kind = "" if line["blanks"] is not None else "escaped_"
        if line[f"{kind}rest"]:
            if len(line[f"{kind}blanks"]) <= indent:
                break
            begin, end = begin or line.start(f"{kind}rest"), place
    return Hidden(begin, end, MASK) if end else None


def _string_end(text: str, quote: re.Match[str]) -> int:
    """Behind the quote that closes it, or the end of the text. One with more backslashes than the first is within."""
    slashes, mark = len(quote["slashes"]), quote["mark"]
    at = quote.end()
    while (found := text.find(mark, at)) >= 0:
        before = found
        while before > at and text[before - 1] == "\\":
            before -= 1
        at = found + len(mark)
        if found - before <= slashes:
            return at
    return len(text)


def _bracket_end(text: str, at: int) -> int:
    """Behind the bracket that closes the one here; the end of the text where none does."""
    waiting = [_CLOSED_BY[text[at]]]
    inside = ""
    for found in _WITHIN.finditer(text, at + 1):
        mark = found[0]
        if inside:
            inside = "" if mark == inside else inside
        elif mark in ("'", '"'):
            inside = mark
        elif mark in _CLOSED_BY and mark != "<":
            waiting.append(_CLOSED_BY[mark])
        elif mark == waiting[-1]:
            waiting.pop()
            if not waiting:
                return found.end()
    return len(text)


def _plain_end(text: str, at: int) -> int:
    """The end of a word without quotes. Brackets that close behind it are not its own."""
    end = _end(_PLAIN, text, at)
    while end > at + 1 and text[end - 1] in _CLOSERS:
        end -= 1
    return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found: Callable[..., re.Match[str] | None] = pattern.match
    match = found(text, at)
    return match.end() if match else at
