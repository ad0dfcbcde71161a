"""Values that stand apart from the names that promise them to be secret.

Key (api_key)=(…) already exists.   {"name": "api_key", "value": "…"}   <add key="Password" value="…"/>
- name: DB_PASSWORD    password
value: …               String should … [type=…, input_value='…', input_type=str]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from celery_recovery.redact.names import Names
from celery_recovery.redact.reading import MASK, Hidden, value_at

__all__ = ("APART",)

#: PostgreSQL's columns of a key, or expressions of them, before their values.
_COLUMNS = re.compile(r"\((?P<names>(?:[^()]|\([^()]{0,80}\)){1,300})\)=(?=\()")
_WORDS = re.compile(r"[^\w.-]+")

#: Something that names, with a name in quotes or alone at the end of a line, or the place of a validation error; and
#: what has the value. Between them there is no other object, and no other name.
_BEGIN = r"(?:(?<![\w.-])|(?<=\\[nrt]))"
_NAMING = re.compile(
    _BEGIN + r"(?i:(?:parameter)?(?:name|key|header|field))\\{0,8}['\"]?[ \t]{0,4}[:=][ \t]{0,4}"
    r"(?:b?\\{0,8}['\"](?P<quoted>[\w./ -]{1,200})\\{0,8}['\"]|(?P<plain>[\w./-]{1,200})(?=\r?\n|\\{1,4}[rn]))"
    r"|" + _BEGIN + r"loc\\{0,8}['\"]:[ ]{0,4}[(\[](?P<place>[^()\[\]]{1,200})[)\]]"
)
_NAMED = re.compile(
    rf"(?P<other>[{{}}<>]|{re.sub('[?]P<[a-z]+>', '', _NAMING.pattern)})"
    rf"|{_BEGIN}(?i:(?:parameter)?value|input)\\{{0,8}}['\"]?[ \t]{{0,4}}[:=][ \t]{{0,4}}"
)
_REACH = 300

#: The beginning of a line that is not indented; pydantic's input; where that ends.
_INPUT = re.compile(r"(?:^|(?<=\\n))(?=(?P<line>[^\s\\'\"][^\r\n\\]{0,200}))|input_value=", re.MULTILINE)
_INPUT_END = ", input_type="
#: What several values begin with, and what stands where the middle of them is left out.
_SEVERAL, _LEFT_OUT = ("{", "[", "("), "..."


def _columns(text: str, names: Names) -> Iterator[Hidden]:
    for found in _COLUMNS.finditer(text):
        if any(map(names, _WORDS.split(found["names"]))):
            yield value_at(text, found.end())


def _named(text: str, names: Names) -> Iterator[Hidden]:
    at = 0
    while found := _NAMING.search(text, at):
        at = found.end()
        name = found["quoted"] or found["plain"] or found["place"]
        if names(name) or any(map(names, _WORDS.split(name))):
            named = _NAMED.search(text, at, at + _REACH)
            if named and named["other"] is None:
                hidden = value_at(text, named.end())
                yield hidden
                at = max(at, hidden.end)


def _inputs(text: str, names: Names) -> Iterator[Hidden]:
    """Of a validation error, the input of each field that is secret, or all that is left where that was cut off.

    Of one with several values the middle may be left out, and with it a name: what follows is hidden, too.
    """
    is_secret = False
    last_end = text.rfind(_INPUT_END)
    for found in _INPUT.finditer(text):
        if found["line"]:
            is_secret = any(map(names, (found["line"], *found["line"].split("."))))
            continue
        begin = found.end()
        end = text.find(_INPUT_END, begin) if begin <= last_end else len(text)
        if is_secret:
            yield Hidden(begin, end, MASK)
        elif text[begin : begin + 1] in _SEVERAL:
            left_out = text.find(_LEFT_OUT, begin, min(end, begin + _REACH))
            if left_out >= 0:
                yield Hidden(left_out + len(_LEFT_OUT), end, MASK)


#: What a text must hold for a search to be tried, and the search.
APART: tuple[tuple[tuple[str, ...], Callable[[str, Names], Iterator[Hidden]]], ...] = (
    ((")=(",), _columns),
    (("alue", "ALUE", "input"), _named),
    (("input_value=",), _inputs),
)
