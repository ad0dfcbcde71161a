"""`Sink`: one entry of the setting `recovery_alerts`: where alerts go, which, and how many."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from celery_recovery.exceptions import ConfigurationError
from celery_recovery.monitoring.alerts.events import EVENTS, QUIET

__all__ = ("Pace", "Sink")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PACE = re.compile(r"(?P<count>[1-9]\d{0,5})/(?P<number>\d{0,5})(?P<unit>[smhd])")
_PATH = re.compile(r"\w+(\.\w+)*[.:]\w+(\.\w+)*")
_SCHEME = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://\S+")
_WEB = ("http", "https")
_ENVIRONMENT = re.compile(r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_TARGET = (_SCHEME, _PATH)
_FORMS = (_ENVIRONMENT, *_TARGET)
_EXPECTED = "a callable or its dotted path, a URL, env:NAME, or a mapping with `to`"


class Pace(NamedTuple):
    """So many in so many seconds."""

    most: int
    seconds: int

    @classmethod
    def of(cls, value: Any, option: str) -> Pace:
        """Read `"10/1h"`. Raises `ConfigurationError`."""
        found = _PACE.fullmatch(value) if isinstance(value, str) else None
        seconds = int(found["number"] or 1) * _UNITS[found["unit"]] if found else 0
        if found is None or not 0 < seconds <= 7 * 86400:
            raise ConfigurationError.of(option, expected="a number and a time, as 10/1h or 100/10m", got=value)
        return cls(int(found["count"]), seconds)


#: What one sink gets where nothing else is said. What is beyond it is not dropped, but gathered.
AT_MOST = Pace(60, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where alerts go. Equal settings are equal sinks, in every process: so they have the same `id`."""

    #: A callable, its dotted path, a URL, or `env:` and the variable that has it. A URL may hold a secret: `name` is
    #: what is shown.
    to: Callable[..., Any] | str
    #: Words of `EVENTS`.
    on: tuple[str, ...] = tuple(word for word in EVENTS if word not in QUIET)
    #: Of these tasks only, as a pattern; empty: of all, and what belongs to no task.
    task: str = ""
    at_most: Pace = AT_MOST

    @classmethod
    def of(cls, entry: Any, option: str) -> Sink:
        """Read one entry. Raises `ConfigurationError`, which shows no more of a URL than its scheme."""
        if not isinstance(entry, Mapping):
            return cls(to=_target(entry, option))
        known = ("to", "on", "task", "at_most")
        for name in entry:
            if name not in known:
                raise ConfigurationError.of(f"{option}: {name}", expected="a key that exists", got=name, known=known)
        told: dict[str, Any] = {"to": _target(entry.get("to"), f"{option}['to']")}
        if "on" in entry:
            told["on"] = _events(entry["on"], f"{option}['on']")
        if "task" in entry:
            if not isinstance(entry["task"], str):
                raise ConfigurationError.of(
                    f"{option}['task']", expected="a task's name, * and ? match", got=entry["task"]
                )
            told["task"] = entry["task"]
        if "at_most" in entry:
            told["at_most"] = Pace.of(entry["at_most"], f"{option}['at_most']")
        return cls(**told)

    @property
    def kind(self) -> str:
        """`"callable"`, `"webhook"`, `"notification"`, or `"variable"`: the environment says which of them."""
        if not callable(self.to) and _ENVIRONMENT.fullmatch(self.to):
            return "variable"
        if callable(self.to) or "://" not in self.to:
            return "callable"
        return "webhook" if self.to.partition("://")[0].lower() in _WEB else "notification"

    @property
    def name(self) -> str:
        """What is shown of it: of a URL scheme and host only, as the rest may be a secret, and where its id begins."""
        if callable(self.to):
            return f"{getattr(self.to, '__module__', '?')}:{getattr(self.to, '__qualname__', type(self.to).__name__)}"
        if self.kind in ("callable", "variable"):
            return self.to
        scheme = self.to.partition("://")[0].lower()
        if self.kind == "notification":
            return f"{scheme}://… #{self.id[:4]}"
        where = urlsplit(self.to)
        return f"{scheme}://{where.hostname}{f':{where.port}' if where.port else ''}/… #{self.id[:4]}"

    @property
    def id(self) -> str:
        """What its alerts are kept under: the same in every process and after a restart, and no secret."""
        whole = repr((self.name if callable(self.to) else self.to, self.on, self.task))
        return hashlib.blake2s(whole.encode("utf-8", "replace"), digest_size=6).hexdigest()

    def resolved(self) -> Sink:
        """The same with what the environment has for it. Raises `ConfigurationError` where it has nothing fitting."""
        variable = None if callable(self.to) else _ENVIRONMENT.fullmatch(self.to)
        if variable is None:
            return self
        option = f"the environment variable {variable['name']}, which recovery_alerts names"
        return replace(self, to=_target(os.environ.get(variable["name"]), option, _TARGET))

    def wants(self, event: str, task: str = "") -> bool:
        """Whether it is to hear of that, of this task (empty: it belongs to none)."""
        return event in self.on and (not self.task or fnmatchcase(task, self.task))


def _target(to: Any, option: str, forms: Sequence[re.Pattern[str]] = _FORMS) -> Callable[..., Any] | str:
    if callable(to):
        return to  # type: ignore[no-any-return]
    if isinstance(to, str) and any(form.fullmatch(to) for form in forms):
        if to.lower().startswith(("http://", "https://")):
            _check_web(to, option)
        return to
    got = f"{to.partition(':')[0][:20]}:…" if isinstance(to, str) and ":" in to else type(to).__name__
    raise ConfigurationError.of(option, expected=_EXPECTED, got=got)


def _check_web(url: str, option: str) -> None:
    """What HTTP cannot carry is refused here: the complaint of Python's client would show the path."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
        plain = url.isprintable() and f"{parts.path}{parts.query}".isascii()
    except ValueError:
        whole = plain = False
    if not (whole and plain):
        expected = "a URL with a host" if not whole else "a URL of plain ASCII characters behind its host"
        raise ConfigurationError.of(option, expected=expected, got=f"{url.partition(':')[0]}://…")


def _events(words: Any, option: str) -> tuple[str, ...]:
    """Words, or patterns as `group_*`; each must mean something."""
    if isinstance(words, str) or not isinstance(words, Sequence) or not words:
        raise ConfigurationError.of(option, expected=f"a list of events: {', '.join(EVENTS)}", got=words)
    found: dict[str, None] = {}
    for word in words:
        meant = [name for name in EVENTS if isinstance(word, str) and fnmatchcase(name, word)]
        if not meant:
            raise ConfigurationError.of(option, expected="an event that exists", got=word, known=tuple(EVENTS))
        found.update(dict.fromkeys(meant))
    return tuple(found)
