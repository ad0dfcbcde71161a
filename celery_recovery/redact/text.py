r"""Secrets in a text: values of a form of their own, and the values beside names.

    password=…   "password": "…"   'password': b'…'   --password …   Password: …;   ("Authorization", "…")
    token: str = "…"   Card(cvv=Secret('…'))   \"password\": \"…\"   <password>…</password>   Cookie: a=…; b=…

What is beside a name is read as far as its own quotes, brackets or blanks say. Where a text was cut before they end,
all of the rest is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from celery_recovery.redact.apart import APART
from celery_recovery.redact.names import Names
from celery_recovery.redact.reading import MASK, Hidden, block_at, value_at, without
from celery_recovery.redact.values import VALUES, Value

__all__ = ("LONGEST", "TextSearch")

#: Characters of one text that are looked at; the rest of a longer one is left out, which is said.
LONGEST = 100_000

_NAME = r"(?P<name>[\w.-]+)"
#: What says that the value of a name follows. It may be in the next line if it is quoted, as in indented JSON.
_SIGN = re.compile(
    r"(?P<sign>=>|:?=(?![=~])|:(?!:|//))[ \t\xa0]{0,80}(?:(?:\r?\n|(?:\\r)?\\n)[ \t]{0,80}(?=\\*['\"]))?"
)
#: The name, maybe in quotes or an index, and the word before it, backwards: there are fewer signs than words.
_BACKWARDS = re.compile(
    r"[ \t]{0,8}(?:\]|D5%)?(?P<quote>['\"]\\*)?(?P<name>[\w.-]+)(?P<escape>\\)?(?:[ ](?P<before>\w{1,40})(?!\w))?"
)
_REACH = 300
#: `--password hunter2`, also as words of a list; `('Authorization', 'Bearer …')`; `<password>…</password>`;
#: `IDENTIFIED BY '…'`, `password 'hunter2'`.
_OPTION = re.compile(rf"(?<![\w-])(?=-){_NAME}(?:[ \t]{{1,4}}|\\*['\"][ \t]{{0,4}},[ \t]{{0,4}})(?=[^\s-])")
_LISTED = re.compile(rf"(?<=[(\[])[ \t]{{0,4}}b?\\*['\"]{_NAME}\\*['\"][ \t]{{0,4}},[ \t]{{0,4}}(?=[bru]?\\*['\"])")
_ELEMENT = re.compile(
    rf"<{_NAME}(?::(?P<local>[\w.-]+))?(?:\s[^<>]{{0,500}})?>"
    r"(?P<secret>\s{0,80}<!\[CDATA\[(?:[^\]]|\](?!\]>)){0,1000}\]\]>\s{0,80}|[^<>]+)(?=</)"
)
_SAID = re.compile(r"(?i:(?<![\w-])(?:passw(?:or)?d|passphrase|identified by))(?: is| was)?[ ]{1,4}(?=\\*['\"])")

#: Headers whose value is the whole line.
_HEADER = re.compile(r"(?i:cookie|authori[sz]ation)$")
_DEFAULT = re.compile(r"[ \t]{0,4}=(?!=)[ \t]{0,4}")


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
            text = without(text, self._pairs(text))
        if "-" in text:
            text = without(text, _values(_OPTION, text, self._names))
        text = self._apart(text)
        if "</" in text:
            text = _ELEMENT.sub(self._element, text)
        if "'" in text or '"' in text:
            text = without(text, _values(_SAID, text))
        return text

    def _apart(self, text: str) -> str:
        """The text without secrets whose names stand apart from them."""
        for hints, search in APART:
            if any(hint in text for hint in hints):
                text = without(text, search(text, self._names))
        return without(text, _values(_LISTED, text, self._names)) if "," in text else text

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
                header = found["sign"] == ":" and _HEADER.search(name) is not None
                block = block_at(text, text.rfind(name, 0, found.start()), at) if found["sign"] == ":" else None
                hidden = block or value_at(text, at, whole_line=header)
                yield hidden
                at = hidden.end
                if found["sign"] == ":" and (default := _DEFAULT.match(text, at)):  # an annotation: what follows is it
                    hidden = value_at(text, default.end())
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
            hidden = value_at(text, at)
            yield hidden
            at = max(at, hidden.end)


def _cut(text: str) -> str:
    """As much as is looked at. What stands across the end could be a part of a secret that is not recognised."""
    kept = text[:LONGEST]
    return kept[: max(kept.rfind(" "), LONGEST - 2000)]
