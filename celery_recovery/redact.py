"""Hiding secrets wherever arguments and messages are shown.

It works on names: the value beside a name that looks like a secret's is replaced by `***`, in nested data and in the
text of a `repr`, a JSON document, a URL or a log line. A secret that stands without a name cannot be recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ("MASK", "SECRET_NAMES", "Redactor")

#: What is shown instead.
MASK = "***"

#: Regular expressions searched for, without case, anywhere in a name.
SECRET_NAMES = (
    r"passw(?:or)?d",
    r"passphrase",
    r"secret",
    r"token",
    r"api[_-]?key",
    r"access[_-]?key",
    r"private[_-]?key",
    r"authori[sz]ation",
    r"credential",
    r"cookie",
    r"session[_-]?id",
    r"credit[_-]?card",
    r"card[_-]?number",
    r"cvv|cvc",
    r"iban",
    r"\bssn\b|social[_-]?security",
)

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
#: A password between `user:` and `@` in a URL.
_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s/@'\"]+(?=@)", re.IGNORECASE)


class Redactor:
    """Hides secrets by name; `extra` are the user's own regular expressions for names."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        names = "|".join(f"(?:{pattern})" for pattern in (*SECRET_NAMES, *extra))
        self._name = re.compile(names, re.IGNORECASE)
        # name, maybe a closing quote, `:` or `=`, one value; an authorization scheme takes its credentials with it
        self._pair = re.compile(
            rf"(?P<before>(?:[\w.-]*(?:{names})[\w.-]*)\\?['\"]?\s*[:=]\s*)"
            rf"(?P<value>{_QUOTED}|(?:(?:bearer|basic|digest)\s+)?[^\s,;&'\"\)\]\}}]+)",
            re.IGNORECASE,
        )

    def __call__(self, value: Any) -> Any:
        """The same data without secrets: dicts, lists and tuples are walked, texts are searched, the rest is kept."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: MASK if self.is_secret(key) else self(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value

    def is_secret(self, name: object) -> bool:
        """True for a name that promises a secret."""
        return isinstance(name, str) and self._name.search(name) is not None

    def text(self, text: str) -> str:
        """`text` with the values of `name=value`, `name: value` and `'name': 'value'` hidden, and URL passwords."""
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\g<before>{MASK}", text)
        return self._pair.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    value = match["value"]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{match['before']}{quote}{MASK}{quote}"
