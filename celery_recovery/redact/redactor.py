"""`Redactor`: the same data without secrets. All that this package shows, logs or exports goes through one."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from celery_recovery.redact.names import Names
from celery_recovery.redact.reading import MASK
from celery_recovery.redact.text import LONGEST, TextSearch
from celery_recovery.redact.values import is_card_number

__all__ = ("Redactor",)

#: Levels of nested data, values in it, and characters of all its texts, that are shown. What is beyond them is `…`.
DEEPEST, MOST, LARGEST = 50, 100_000, 1_200_000
#: Bits of an integer that is shown: Python refuses to write longer ones in decimal digits.
_BITS = 4000
#: Keys, without case, of a mapping that names something beside its value: `{"Name": "Authorization", "Value": "…"}`.
_NAMING = frozenset(("name", "key", "header", "field", "path", "parametername", "parameterkey", "loc"))
_VALUE = frozenset(("value", "parametervalue", "input"))
_NAMED = _VALUE | {"content", "data"}
#: Keys that such a mapping has at most; with more than the first, only `_VALUE` is what it names.
_FEW, _SOME = 5, 12
#: Options of programs that a secret follows in a list of words.
_OPTIONS = {"curl": ("-u", "--user", "--proxy-user"), "sshpass": ("-p",), "redis-cli": ("-a",)}
_CUT = "…"

#: From the name of a task to the names of its positional parameters, in order; `*rest` for all further ones.
Parameters = Callable[[str], Sequence[str]]


def _nothing(_: str) -> Sequence[str]:
    """No signature is known."""
    return ()


class Redactor:
    """Hides secrets; `names` and `values` are the team's own regular expressions, beside the built-in ones.

    Those for names are searched without case. `parameters` knows the signatures of tasks, for positional arguments.
    """

    def __init__(
        self, names: Iterable[str] = (), values: Iterable[str] = (), parameters: Parameters = _nothing
    ) -> None:
        self.is_secret = Names(names)
        #: A text without secrets; a very long one is cut.
        self.text = TextSearch(self.is_secret, values)
        self._parameters = parameters

    def __call__(self, value: Any) -> Any:
        """The same data without secrets, fit for JSON: no bytes, no sets, no numbers that JSON lacks."""
        return _Walk(self).of(value, 0)

    def whole(self, value: Any) -> tuple[Any, bool]:
        """The same, and whether it is all there: False where something was too long, too deep or too much."""
        walk = _Walk(self)
        return walk.of(value, 0), walk.is_whole

    def secret_positions(self, task: str, count: int) -> tuple[int, ...]:
        """Which of so many positional arguments of this task are secret by the names of their parameters."""
        return self.secret_among(self._parameters(task), count)

    def secret_among(self, names: Sequence[str], count: int) -> tuple[int, ...]:
        """The same by the names themselves, of which the last may be `*rest`."""
        rest = names[-1][1:] if names and names[-1].startswith("*") else ""
        fixed = names[:-1] if rest else names
        found = [at for at, name in enumerate(fixed[:count]) if self.is_secret(name)]
        return (*found, *(range(len(fixed), count) if self.is_secret(rest) else ()))

    def args(self, task: str, args: Any, known: Iterable[int] = ()) -> Any:
        """Positional arguments of a task without secrets: those in `known` places, and those it has a name for.

        They are a list, or Celery's text of them, of which all is hidden if it cannot be read.
        """
        if isinstance(args, str):
            return self._args_in(task, args, set(known))
        return self(self.masked(task, args, known))

    def masked(self, task: str, args: Sequence[Any], known: Iterable[int] = ()) -> list[Any]:
        """The arguments, of which only those that are secret by their place are hidden; `task` empty: none is known."""
        places = {*known, *(self.secret_positions(task, len(args)) if task else ())}
        return [MASK if at in places else value for at, value in enumerate(args)]

    def _args_in(self, task: str, text: str, known: set[int]) -> str:
        if not (known or self.secret_positions(task, 50)):
            return self.text(text)
        try:
            read = ast.literal_eval(text) if len(text) <= LONGEST else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            read = None
        return repr(tuple(self.args(task, list(read), known))) if isinstance(read, (tuple, list)) else MASK


class _Walk:
    """One walk through nested data."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._left = MOST
        self._left_text = LARGEST
        self.is_whole = True

    def of(self, value: Any, depth: int) -> Any:
        """The value without secrets."""
        self._left -= 1
        if isinstance(value, str):
            self._left_text -= min(len(value), LONGEST)
            self.is_whole = self.is_whole and len(value) <= LONGEST and self._left_text >= 0
            return self._redact.text(value) if self._left_text >= 0 else _CUT
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return _number(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._redact.text(repr(bytes(value[: LONGEST + 1])))
        if not isinstance(value, (Mapping, list, tuple, AbstractSet)):
            return value
        if depth >= DEEPEST or self._left < 0:
            self.is_whole = False
            return _CUT
        return self._mapping(value, depth + 1) if isinstance(value, Mapping) else self._sequence(value, depth + 1)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        is_secret = self._redact.is_secret
        named = self._named(value)
        shown: dict[Any, Any] = {}
        for key, item in value.items():
            if self._left < 0:
                self.is_whole = False
                shown[_CUT] = _CUT
                break
            hide = is_secret(key) or (bool(named) and _lower(key) in named)
            shown[self._key(key)] = MASK if hide else self.of(item, depth)
        return shown

    def _named(self, value: Mapping[Any, Any]) -> frozenset[str]:
        """The keys, in lower case, of what a mapping names as secret."""
        if len(value) > _SOME:
            return frozenset()
        for key, name in value.items():
            if _lower(key) in _NAMING and any(map(self._redact.is_secret, _names(name))):
                return _NAMED if len(value) <= _FEW else _VALUE
        return frozenset()

    def _key(self, key: Any) -> Any:
        """A key, too, may be a secret, by its form alone; JSON takes texts and plain numbers only."""
        if isinstance(key, str):
            return self._redact.text.values(key[:LONGEST])
        if key is None or isinstance(key, bool):
            return key
        return _number(key) if isinstance(key, (int, float)) else self._redact.text(repr(key))

    def _sequence(self, value: Iterable[Any], depth: int) -> list[Any]:
        items = list(value)
        if len(items) == 2 and self._redact.is_secret(items[0]) and _is_name(items[0]):  # a header and its value
            return [self.of(items[0], depth), MASK]
        shown: list[Any] = []
        after_option = False
        options: tuple[str, ...] = ()
        for item in items:
            if self._left < 0:
                self.is_whole = False
                return [*shown, _CUT]
            shown.append(MASK if after_option and isinstance(item, str) else self.of(item, depth))
            if isinstance(item, str):
                options = _OPTIONS.get(item[-20:].rpartition("/")[2], options)
            after_option = isinstance(item, str) and (item in options or self._is_option(item))
        return shown

    def _is_option(self, word: str) -> bool:
        """As in `["mysql", "--password", "hunter2"]`."""
        return word.startswith("-") and "=" not in word and _is_name(word) and self._redact.is_secret(word)


def _lower(key: Any) -> str:
    return key.lower() if isinstance(key, str) and len(key) <= 20 else ""


def _names(value: Any) -> Sequence[Any]:
    """The name, or the parts of a place such as `("body", "password")`."""
    return value[:_SOME] if isinstance(value, (list, tuple)) else (value,)


def _is_name(value: Any) -> bool:
    """One word, and no sentence."""
    return isinstance(value, (str, bytes)) and len(value) <= 80 and len(value.split()) == 1 and not _is_error(value)


def _is_error(value: str | bytes) -> bool:
    return isinstance(value, str) and Names.is_error(value)


def _number(value: int | float) -> Any:  # noqa: PYI041  # of an int there is more to say
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value.bit_length() > _BITS:
        return f"an integer of {value.bit_length():,} bits"
    return MASK if 10**13 <= value < 10**19 and is_card_number(str(value)) else value
