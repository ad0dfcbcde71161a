r"""Secrets in a text: values of a form of their own, and the values beside names.

    password=…   "password": "…"   'password': b'…'   --password …   Password: …;   ("Authorization", "…")
    token: str = "…"   Card(cvv=Secret('…'))   \"password\": \"…\"   <password>…</password>   Cookie: a=…; b=…

What is beside a name is read as far as its own quotes, brackets or blanks say. Where a text was cut before they end,
all of the rest is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from celery_recovery.redact.names import Names
from celery_recovery.redact.values import VALUES, Value

__all__ = ("LONGEST", "MASK", "TextSearch")

#: What is shown instead of a secret.
MASK = "***"
#: Characters of one text that are looked at; the rest of a longer one is left out, which is said.
LONGEST = 100_000

_NAME = r"(?P<name>[\w.-]+)"
#: What says that the value of a name follows. It may be in the next line if it is quoted, as in indented JSON.
_SIGN = re.compile(r"(?P<sign>=>|:?=(?![=~])|:(?!:|//))[ \t]{0,8}(?:(?:\r?\n|(?:\\r)?\\n)[ \t]{0,80}(?=\\*['\"]))?")
#: The name, maybe in quotes or an index, and the word before it, backwards: there are fewer signs than words.
_BACKWARDS = re.compile(
    r"[ \t]{0,8}(?:\]|D5%)?(?P<quote>['\"]\\*)?(?P<name>[\w.-]+)(?P<escape>\\)?(?:[ ](?P<before>\w{1,40})(?!\w))?"
)
_REACH = 300
#: `--password hunter2`, also as words of a list; `('Authorization', 'Bearer …')`; `<password>…</password>`;
#: `IDENTIFIED BY '…'`, `password 'hunter2'`.
_OPTION = re.compile(rf"(?<![\w-])(?=-){_NAME}(?:[ \t]{{1,4}}|\\*['\"][ \t]{{0,4}},[ \t]{{0,4}})(?=[^\s-])")
_LISTED = re.compile(rf"(?<=[(\[])[ \t]{{0,4}}b?\\*['\"]{_NAME}\\*['\"][ \t]{{0,4}},[ \t]{{0,4}}(?=[bru]?\\*['\"])")
_ELEMENT = re.compile(rf"<{_NAME}(?::(?P<local>[\w.-]+))?(?:\s[^<>]{{0,500}})?>(?P<secret>[^<>]+)(?=</)")
_SAID = re.compile(r"(?i:(?<![\w-])(?:passw(?:or)?d|passphrase|identified by))(?: is| was)?[ ]{1,4}(?=\\*['\"])")

_QUOTE = re.compile(r"(?:[bBrRuUfF]{1,2}(?=['\"]))?(?P<slashes>\\*)(?P<mark>'''|\"\"\"|['\"])")
_BRACKET = re.compile(r"[\w.]*[(\[{<]")
_CLOSED_BY = {"(": ")", "[": "]", "{": "}", "<": ">"}
#: What matters between brackets: strings, in which brackets mean nothing, and brackets.
_WITHIN = re.compile(r"\\.|['\"()\[\]{}<>]", re.DOTALL)
_SCHEME = re.compile(r"(?i:bearer|basic|digest|token|negotiate|ntlm|apikey|hawk|aws4-hmac-sha256)[ \t]{1,4}(?=\S)")
#: To the end of the line: a header of several parts, of which each may be secret.
_LINE = re.compile(r"(?:[^\r\n\\'\"]|\\(?![rn]))*")
#: Parameters of a scheme, of which each may be secret.
_PARTED = re.compile(
    r"(?i:digest|hawk|aws4-hmac-sha256)[ \t]{1,4}(?:[\w-]{1,80} ?= ?(?:\\*\"[^\"]*\"|[^\s,'\"]+)(?: ?, ?)?)*"
)
#: A word without quotes: up to a blank or `;`, `&`, or a comma that something else follows.
_PLAIN = re.compile(r"(?:[^\s,;&'\"<>\\]|\\(?![nrt'\"])|,(?![\s)\]}]|\\*['\"]|[\w.-]{1,80}\\*['\"]?[ ]?[:=]|\Z))+")
_CLOSERS = ")]}>.,"
_DEFAULT = re.compile(r"[ \t]{0,4}=(?!=)[ \t]{0,4}")


class Hidden(NamedTuple):
    """A part of a text, and what is shown in its place."""

    begin: int
    end: int
    shown: str


class TextSearch:
    """Hides what `names` promise, what `VALUES` know, and what the team's own `values` match."""

    def __init__(self, names: Names, values: Iterable[str] = ()) -> None:
        self._names = names
        own = tuple(Value(pattern, (), re.compile(pattern)) for pattern in values)
        #: Tried on every text; tried where the hint is in it.
        self._always = (*own, *(value for value in VALUES if not value.hints))
        self._hinted = tuple((hint, value) for value in VALUES for hint in value.hints)

    def __call__(self, text: str) -> str:
        """The text without secrets, and without what is beyond `LONGEST`."""
        if len(text) > LONGEST:
            return f"{self(_cut(text))}… ({len(text):,} characters)"
        text = self.values(text)
        if ":" in text or "=" in text:
            text = _without(text, self._pairs(text))
        if "-" in text:
            text = _without(text, _values(_OPTION, text, self._names))
        if "," in text:
            text = _without(text, _values(_LISTED, text, self._names))
        if "</" in text:
            text = _ELEMENT.sub(self._element, text)
        if "'" in text or '"' in text:
            text = _without(text, _values(_SAID, text))
        return text

    def values(self, text: str) -> str:
        """The text without what is a secret by its form."""
        found = [value for hint, value in self._hinted if hint in text]
        for value in (*self._always, *found):
            text = value.pattern.sub(lambda match, value=value: _hidden(match, value), text)  # type: ignore[misc]
        return text

    def _pairs(self, text: str) -> Iterator[Hidden]:
        at = 0
        while found := _SIGN.search(text, at):
            at = found.end()
            name = self._secret_before(text, found)
            if name:
                hidden = _value_at(text, at, whole_line=found["sign"] == ":" and name.lower().endswith("cookie"))
                yield hidden
                at = hidden.end
                if found["sign"] == ":" and (default := _DEFAULT.match(text, at)):  # an annotation: what follows is it
                    hidden = _value_at(text, default.end())
                    yield hidden
                    at = hidden.end

    def _secret_before(self, text: str, sign: re.Match[str]) -> str:
        """The name before the sign, if it promises a secret; else an empty text."""
        end = sign.start()
        found = _BACKWARDS.match(text[max(0, end - _REACH) : end][::-1])
        if not found:
            return ""
        name = found["name"][::-1]
        if found["escape"] and name[0] in "nrt":  # the end of a line, in a `repr`
            name = name[1:]
        if sign["sign"] == ":" and not found["quote"] and Names.is_error(name):
            return ""
        return name if self._names(name, (found["before"] or "")[::-1]) else ""

    def _element(self, found: re.Match[str]) -> str:
        if not self._names(found["local"] or found["name"]):
            return found[0]
        return found[0][: found.start("secret") - found.start()] + MASK


def _hidden(found: re.Match[str], value: Value) -> str:
    """What is shown for one match of a value's pattern."""
    name = "secret" if "secret" in value.pattern.groupindex and found["secret"] is not None else 0
    if not found[name] or not value.is_one(found[name]):
        return found[0]
    begin, end = (place - found.start() for place in found.span(name))
    return found[0][:begin] + MASK + found[0][end:]


def _values(pattern: re.Pattern[str], text: str, names: Names | None = None) -> Iterator[Hidden]:
    """The values behind what the pattern finds, where `names` say that it promises a secret; None: it always does.

    What begins within one of them is not looked at: each may reach to the end of the text.
    """
    at = 0
    while found := pattern.search(text, at):
        at = found.end()
        if names is None or names(found["name"]):
            hidden = _value_at(text, at)
            yield hidden
            at = max(at, hidden.end)


def _without(text: str, parts: Iterable[Hidden]) -> str:
    """The text with each part replaced; a part that begins within the one before it is left out."""
    shown, at = [], 0
    for part in parts:
        if part.begin >= at and part.end > part.begin:
            shown += [text[at : part.begin], part.shown]
            at = part.end
    return "".join((*shown, text[at:])) if shown else text


def _value_at(text: str, at: int, *, whole_line: bool = False) -> Hidden:
    """The value that begins here."""
    quote = _QUOTE.match(text, at)
    if quote:
        end = _string_end(text, quote)
        close = quote["slashes"] + quote["mark"] if end < len(text) or text.endswith(quote["mark"]) else ""
        return Hidden(at, end, f"{quote[0]}{MASK}{close}")
    if whole_line:
        return Hidden(at, _end(_LINE, text, at), MASK)
    scheme = _SCHEME.match(text, at)
    if scheme:
        parted = _PARTED.match(text, at)
        return Hidden(at, parted.end() if parted else _plain_end(text, scheme.end()), MASK)
    bracket = _BRACKET.match(text, at)
    if bracket:
        return Hidden(at, _bracket_end(text, bracket.end() - 1), MASK)
    return Hidden(at, _plain_end(text, at), MASK)


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


def _cut(text: str) -> str:
    """As much as is looked at. What stands across the end could be a part of a secret that is not recognised."""
    kept = text[:LONGEST]
    return kept[: max(kept.rfind(" "), LONGEST - 2000)]
