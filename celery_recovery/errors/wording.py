"""The words of a message, without its variable parts.

Some things are variable wherever they stand: URLs, what is quoted, data in brackets, values such as `None`, names of
days, and words that hold a digit, a slash or an `@` (numbers, ids, hexadecimal, timestamps, paths, addresses).

More can be told when the texts of the failing code are known. Then whatever is not one of their words was filled in (a
name, a title) and is variable, too, unless it says what went wrong, which a vocabulary tells. And a quoted word which
is a constant of the failing code is not data but the code's own: the key in `order["total"]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import groupby
from operator import itemgetter

__all__ = ("normal_message", "words_in")

_READ, _WORDS = 500, 40  # characters of the message that are read, words of it that count

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s'\"<>)\]]+")
# An apostrophe inside a word opens nothing; a quotation that was cut off ends with the text.
_QUOTED = re.compile(
    r"(?<!\w)[bru]?(['\"`])(.*?)(?:\1(?!\w)|\Z)|[\u201c\u2018\u00ab].*?[\u201d\u2019\u00bb]", re.DOTALL
)
# The representation of an object counts by its class; brackets that begin with a word hold no data but more message.
_OBJECT = re.compile(r"<([A-Za-z_][\w.]*)[^<>]*>")
_BRACKETS = re.compile(
    r"\{[^{}]*(?:\}|\Z)"
    r"|(?:[\[(]\s*(?:[-+\d.,:\x01]|None\b|True\b|False\b)|=\(|[\[(](?:[^{}\[\](),]*,){2})[^{}\[\]()]*(?:[\])]|\Z)"
    r"|\[\s*\]"
)
_WORD = re.compile(r"[^\s'\"`(),;=<>\[\]{}|!?]+")
# Digits and what only paths and addresses hold become one mark, so that a word is variable if it holds the mark.
_MARKS = str.maketrans(dict.fromkeys("0123456789/\\@", "\0"))
_OWN = "\x01"  # marks a quoted word that is the code's own
_EDGES = ".:-…*+&^%$~\x01"
_DAYS = "Mon Tue Wed Thu Fri Sat Sun Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = """Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec
    January February March April June July August September October November December"""
_VALUES = frozenset(["None", "True", "False", "null", "nan", "NaN", "inf", "-inf", "AM", "PM", "GMT", "UTC"]).union(
    _DAYS.split(), _MONTHS.split()
)
# Words that say what went wrong. What was filled in and has one of them is no mere name or value.
_TELLING = """is are was were be been has have had do does did not no none cannot can't couldn't isn't wasn't already
    failed fails failure error exception denied declined refused rejected invalid illegal malformed corrupt missing
    expired unknown unexpected unsupported unavailable unreachable unauthorized forbidden timeout timed exceeded
    insufficient closed reset aborted cancelled canceled locked blocked full empty duplicate conflict exists broken
    required must should busy down lost limit"""
_SAYING = frozenset(_TELLING.split())
_FIELDS = re.compile(r"\{[^{}]*\}|%(?:\(\w*\))?[-+ #0-9.*]*[a-zA-Z]|\$\{?\w+")


def words_in(template: str) -> list[str]:
    """The words that a message has when it is made from this text; fields to be filled in are none."""
    return _words_of(_FIELDS.sub(" ", template) if "{" in template or "%" in template or "$" in template else template)


def _words_of(text: str) -> list[str]:
    """The words that are not variable wherever they stand, each without the punctuation around it."""
    return [
        word
        for raw in _WORD.findall(text.translate(_MARKS))
        if "\0" not in raw and (word := raw.strip(_EDGES)) and word not in _VALUES
    ]


def normal_message(
    text: str,
    own: Sequence[Collection[str]] = (),
    words: Sequence[Collection[str]] | None = None,
    *,
    telling: bool = True,
) -> str:
    """The message as words, without its variable parts.

    `own`: words that are the code's own even if they are quoted.
    `words`: those that the code's texts consist of; None if the message was not made there.
    `telling`: whether what was filled in may say what went wrong.
    """
    text = text[:_READ]
    if "://" in text:
        text = _URL.sub(" ", text)
    quoted: set[str] = set()
    if "'" in text or '"' in text or not text.isascii() or "`" in text:
        text = _QUOTED.sub(lambda found: _unquoted(found[2], own, quoted), text)
    if "<" in text:
        text = _OBJECT.sub(r" \1 ", text)
    if "{" in text or "[" in text or "(" in text:
        text = _without_data(text)
    found = _words_of(text)
    if words is not None:
        found = _without_names(found, words, telling)
    elif quoted:
        found = [word for word in found if word not in quoted]
    return " ".join(found[:_WORDS])


def _unquoted(word: str | None, own: Sequence[Collection[str]], others: set[str]) -> str:
    """What stands in the quotation's place; `others` gets what was quoted and is not the code's own."""
    if word is not None and word.isidentifier() and any(word in words for words in own):
        return f" {_OWN}{word} "
    others.add(word or "")
    return " 0 "


def _without_data(text: str) -> str:
    for _ in range(6):  # from the inside to the outside
        shorter = _BRACKETS.sub(" 0 ", text)
        if shorter == text:
            break
        text = shorter
    return text


def _without_names(found: list[str], words: Sequence[Collection[str]], telling: bool) -> list[str]:
    """What stands between the code's own words goes, unless it says what went wrong; all stays if none is its own."""
    known = frozenset().union(*words)
    own = [word in known for word in found]
    if not any(own):
        return found
    if not telling:
        return [word for word, is_own in zip(found, own, strict=True) if is_own]
    kept: list[str] = []
    for is_own, row in groupby(zip(found, own, strict=True), key=itemgetter(1)):
        its = [word for word, _ in row]
        if is_own or any(word.lower() in _SAYING for word in its):
            kept += its
    return kept
