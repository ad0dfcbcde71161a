"""`Filter`: the one language in which letters are chosen, in the command line, in Flower and in scripts.

    task, queue, fingerprint, exception     exact, or with `*` and `?`; several mean "one of them". The first characters
                                            of a fingerprint are enough
    error_type, state, reason, id, parent   exact; several mean "one of them"; the parent is the task of an item's batch
    since, until                            time of death: unix seconds, ISO 8601, or an age such as `15m`, `24h`, `7d`
    text                                    found, without case, in message, exception, task, id or arguments
    arg                                     `key=value`: a keyword argument; `order.id=7` looks inside, `0=7` is the
                                            first positional one
    held                                    true or false
    assignee, operation                     exact: whose it is in review, `-` is nobody's; the replay that had it last

All that is given must hold.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.raw import MALFORMED, UNKNOWN_TASK
from celery_recovery.dead_letters.received import FOREIGN
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.decision import Reason
from celery_recovery.errors.model import ErrorType
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import MASK, Redactor

__all__ = ("NOBODY", "Filter", "is_glob", "parse_time")

#: The assignee of a letter that is nobody's.
NOBODY = "-"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhdw])")
_BEGINNING = re.compile(r"(?:\d+:[0-9a-f]{4,15}|[0-9a-f]{4,16})")
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_MISSING = object()
_NOTE = "An operator's own words are a note."

#: Options by their name in a mapping, with the field they fill.
_OPTIONS = {
    "task": "task",
    "error_type": "error_type",
    "fingerprint": "fingerprint",
    "queue": "queue",
    "parent": "parent",
    "state": "state",
    "since": "since",
    "until": "until",
    "text": "text",
    "arg": "args",
    "args": "args",
    "id": "ids",
    "ids": "ids",
    "reason": "reason",
    "exception": "exception",
    "held": "held",
    "assignee": "assignee",
    "operation": "operation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters. A field that is empty asks nothing."""

    task: tuple[str, ...] = ()
    error_type: tuple[str, ...] = ()
    fingerprint: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    parent: tuple[str, ...] = ()
    state: tuple[LetterState, ...] = ()
    #: Earliest and latest time of death, unix s, both inclusive.
    since: float | None = None
    until: float | None = None
    text: str = ""
    #: Argument path -> value, as text.
    args: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    exception: tuple[str, ...] = ()
    held: bool | None = None
    assignee: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: Mapping[str, Any], *, now: float | None = None) -> Filter:
        """Read options as a command line or a query string gives them: texts, or lists of texts; None is not given.

        Raises ConfigurationError (a ValueError) naming the option, what was expected and what was given.
        """
        now = time.time() if now is None else now
        values: dict[str, Any] = {}
        for option, given in options.items():
            if option not in _OPTIONS:
                known = ", ".join(sorted(_OPTIONS))
                raise ConfigurationError.of("filter", expected=f"one of {known}", got=option)
            if given is None or given in ("", (), []):
                continue
            name = _OPTIONS[option]
            values[name] = _PARSERS.get(name, _words)(option, given, now)
        return cls(**values)

    @property
    def is_empty(self) -> bool:
        """True when it chooses every letter."""
        return self == Filter()

    @property
    def needs_message(self) -> bool:
        """True when index and letter hash cannot answer it, and the message has to be read."""
        return bool(self.text or self.args)

    def matches(self, letter: Letter) -> bool:
        """True when the letter agrees with all that is asked."""
        return (
            self._matches_words(letter)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at <= self.until)
            and (self.held is None or letter.held == self.held)
            and (not self.text or self.text.lower() in _searched(letter))
            and (not self.args or _has_arguments(letter, self.args))
        )

    def _matches_words(self, letter: Letter) -> bool:
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.state or letter.state in self.state)
            and (not self.error_type or letter.error.error_type.value in self.error_type)
            and (not self.parent or letter.parent in self.parent)
            and (not self.assignee or (letter.assignee or NOBODY) in self.assignee)
            and (not self.operation or letter.operation in self.operation)
            and (not self.reason or letter.reason in self.reason)
            and _any_glob(self.task, letter.task)
            and _any_glob(self.queue, letter.origin.queue or "")
            and _any_glob(self.fingerprint, letter.error.fingerprint)
            and _any_glob(self.exception, letter.error.exception)
        )

    def without_secrets(self, hide: Redactor) -> Filter:
        """The same for people: what arguments it asks for, and not with which secrets."""
        args = {key: MASK if hide.is_secret(key) else hide.text(value) for key, value in self.args.items()}
        return replace(self, args=args, text=hide.text(self.text))

    def __str__(self) -> str:
        """The filter as options of the command line; empty when it asks nothing."""
        words: list[str] = []
        for name in (f.name for f in fields(self)):
            option = {"args": "arg", "ids": "id"}.get(name, name).replace("_", "-")
            texts = _as_texts(getattr(self, name))
            implied = _longer(texts) if name == "fingerprint" else ()
            words += (f"--{option}={shlex.quote(text)}" for text in texts if text not in implied)
        return " ".join(words)


def is_glob(text: str) -> bool:
    """True when the text is a pattern, not a plain value."""
    return any(mark in text for mark in "*?[")


def parse_time(option: str, given: Any, now: float) -> float:
    """A moment as unix seconds, from unix seconds, ISO 8601 (UTC unless it says otherwise), or an age before `now`.

    Raises ConfigurationError naming `option`.
    """
    text = str(given).strip()
    age = _AGE.fullmatch(text)
    if age:
        return now - float(age["number"]) * _UNITS[age["unit"]]
    try:
        moment = float(text)
        if abs(moment) < 1e12:  # also refuses nan and infinities
            return moment
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        expected = "unix seconds, an ISO 8601 time, or an age such as 15m, 24h, 7d"
        raise ConfigurationError.of(option, expected=expected, got=given) from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def _words(_option: str, given: Any, _now: float) -> tuple[str, ...]:
    """One text or several, as a tuple without repeats."""
    several = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    return tuple(dict.fromkeys(str(one) for one in several))


def _fingerprints(option: str, given: Any, now: float) -> tuple[str, ...]:
    """The beginning of one is enough, from 4 hex digits, with its version or without, as `dlq group` takes it."""
    words = _words(option, given, now)
    return tuple(dict.fromkeys((*words, *_longer(words))))


def _longer(words: Iterable[str]) -> list[str]:
    """The patterns of those that are only the beginning of a fingerprint."""
    return [f"{'' if ':' in word else '*:'}{word}*" for word in words if _BEGINNING.fullmatch(word)]


def _states(option: str, given: Any, now: float) -> tuple[LetterState, ...]:
    return tuple(LetterState(one) for one in _known(option, given, now, [state.value for state in LetterState]))


def _error_types(option: str, given: Any, now: float) -> tuple[str, ...]:
    return _known(option, given, now, [kind.value for kind in ErrorType])


def _reasons(option: str, given: Any, now: float) -> tuple[str, ...]:
    """The letters' reasons, not an operator's words: those are a note."""
    of_messages = (UNKNOWN_TASK, MALFORMED, FOREIGN)
    return _known(option, given, now, [*(reason.value for reason in Reason), *of_messages], hint=_NOTE)


def _known(option: str, given: Any, now: float, choices: list[str], hint: str = "") -> tuple[str, ...]:
    words = tuple(word.lower() for word in _words(option, given, now))
    for word in words:
        if word not in choices:
            raise ConfigurationError.of(option, expected=f"one of {', '.join(choices)}", got=word, hint=hint)
    return words


def _text(_option: str, given: Any, _now: float) -> str:
    return str(given)


def _truth(option: str, given: Any, _now: float) -> bool:
    text = str(given).lower()
    if text not in _YES + _NO:
        raise ConfigurationError.of(option, expected="true or false", got=given)
    return text in _YES


def _arguments(option: str, given: Any, now: float) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {str(key): str(value) for key, value in given.items()}
    pairs = [word.partition("=") for word in _words(option, given, now)]
    for key, sign, value in pairs:
        if not key or not sign:
            raise ConfigurationError.of(option, expected="key=value", got=key + sign + value)
    return {key: value for key, _, value in pairs}


_PARSERS: dict[str, Any] = {
    "fingerprint": _fingerprints,
    "state": _states,
    "error_type": _error_types,
    "reason": _reasons,
    "since": parse_time,
    "until": parse_time,
    "text": _text,
    "args": _arguments,
    "held": _truth,
}


def _as_texts(value: Any) -> Iterable[str]:
    """One filter field as the texts that would give it."""
    if value is None or value == "":
        return ()
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, (int, float)):
        return (f"{value:.6f}".rstrip("0").rstrip("."),)
    if isinstance(value, Mapping):
        return tuple(f"{key}={item}" for key, item in value.items())
    return (value,) if isinstance(value, str) else tuple(str(one) for one in value)


def _any_glob(patterns: tuple[str, ...], value: str) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


def _searched(letter: Letter) -> str:
    """All that a text is looked for in, in lower case."""
    decoded, arguments = letter.arguments, ""
    with suppress(TypeError, ValueError, RecursionError):  # literals that JSON lacks: Celery's text has them, too
        arguments = json.dumps(decoded, default=repr, ensure_ascii=False) if decoded else ""
    error = letter.error
    parts = (letter.id, letter.task, error.exception, error.error_code or "", error.message, letter.detail)
    return "\n".join((*parts, letter.args_repr, letter.kwargs_repr, arguments)).lower()


def _has_arguments(letter: Letter, wanted: Mapping[str, str]) -> bool:
    decoded = letter.arguments
    if decoded is None:
        return False
    args, kwargs = decoded
    return all(_is_value(_at(args, kwargs, path), value) for path, value in wanted.items())


def _at(args: list[Any], kwargs: dict[str, Any], path: str) -> Any:
    """The argument at a dotted path; `_MISSING` when there is none."""
    if path in kwargs:
        return kwargs[path]
    here: Any = args if path.split(".", 1)[0].isdigit() else kwargs
    for step in path.split("."):
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, (list, tuple)) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
        else:
            return _MISSING
    return here


def _is_value(found: Any, wanted: str) -> bool:
    """True for the value that was written on the command line; numbers, `true` and `null` are read as JSON."""
    if found is _MISSING:
        return False
    try:
        if str(found) == wanted:
            return True
        return bool(json.loads(wanted) == found) and isinstance(found, bool) == (wanted in ("true", "false"))
    except (ValueError, RecursionError):  # no JSON, or an integer of thousands of digits
        return False
