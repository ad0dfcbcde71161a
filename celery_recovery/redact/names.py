"""Which names promise a secret: of arguments, keys, headers, environment variables, options, parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ("SECRET_NAMES", "Names")

#: Regular expressions searched for, without case, anywhere in a name. A blank in a name counts as `_`.
SECRET_NAMES = (
    r"passw(?:or)?d",
    r"pass[_-]?(?:phrase|code)",
    r"(?<![a-z])(?:db|user|root|admin|smtp|mail|ftp|ldap|mysql|pg|redis)?pass(?![a-z_])",
    r"(?<![a-z])pwd(?![a-z])",
    r"secret(?!ar)",
    # what is counted in tokens is no secret
    r"(?<!max_)(?<!min_)(?<!num_)(?<!input_)(?<!output_)(?<!prompt_)(?<!total_)(?<!completion_)token(?!i[sz]|s?_count)",
    r"api[_-]?key",
    r"(?:access|account|auth|client|encryption|private|secret|shared|signing|ssh)[_-]?key",
    r"authori[sz]ation",
    r"(?<![a-z])auth(?![a-z])",
    r"(?<![a-z])bearer(?![a-z])",
    r"(?<![a-z])jwt(?![a-z])",
    r"credential",
    r"cookie",
    r"session[_-]?(?:id|key)",
    r"credit[_-]?card",
    r"card[_-]?(?:number|no)(?![a-z])",
    r"(?<![a-z])(?:cvv|cvc)2?(?![a-z])",
    r"(?<![a-z])pin(?:[_-]?(?:code|number))?(?![a-z_])",
    r"(?<![a-z])(?:otp|totp)(?![a-z])",
    r"(?<![a-z])iban(?![a-z])",
    r"(?<![a-z])ssn(?![a-z])|social[_-]?security",
    r"x-amz-(?:signature|credential)",
)

#: Characters of a name that are looked at, at both ends: no name is longer, but a key of nested data may be anything.
_LONGEST = 200
#: Names that are remembered, of so many characters at most: those of one kind of letter are the same in each.
_REMEMBERED, _SHORT = 4096, 64
#: Words that promise a secret only with the one before them, as in `API key`.
_SECOND = frozenset(("key", "keys", "number", "no", "id", "code", "phrase"))
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Names of classes of exceptions: what follows their colon is a message.
_ERRORS = re.compile(r"(?:Error|Exception|Warning|Failure|Fault|Expired|Invalid|Exit|Interrupt|Timeout|NotFound)$")


class Names:
    """`names("db_password")`: whether that promises a secret; `extra` are the team's own regular expressions.

    Each of those is compiled for itself, so that groups, anchors and flags mean in it what they say.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        own = "|".join(f"(?:{pattern})" for pattern in SECRET_NAMES)
        self._patterns = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (own, *extra))
        self._known = lru_cache(_REMEMBERED)(self._promises)

    def __call__(self, name: object, before: str = "") -> bool:
        """True for a name that promises a secret, on its own or with the word `before` it (`API key`)."""
        if isinstance(name, bytes):
            name = name[: 2 * _LONGEST].decode("utf-8", "replace")
        if not isinstance(name, str):
            return False
        if len(name) > 2 * _LONGEST:
            name = f"{name[:_LONGEST]} {name[-_LONGEST:]}"
        if self._known(name) if len(name) <= _SHORT else self._promises(name):
            return True
        return bool(before) and name.lower() in _SECOND and self._ends_in(f"{before}_{name}", len(before) + 1)

    def _promises(self, name: str) -> bool:
        if any(pattern.search(name) for pattern in self._patterns):
            return True
        apart = _CAMEL.sub("_", name).replace(" ", "_")
        return apart != name and any(pattern.search(apart) for pattern in self._patterns)

    def _ends_in(self, whole: str, begin: int) -> bool:
        """Whether a pattern is found that reaches beyond `begin`: it is not the word before alone that promises it."""
        return any(found.end() > begin for pattern in self._patterns for found in pattern.finditer(whole))

    @staticmethod
    def is_error(name: str) -> bool:
        """True for the name of a class of exceptions, such as `jwt.InvalidTokenError`."""
        return _ERRORS.search(name) is not None
