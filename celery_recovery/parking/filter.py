"""`ParkedFilter`: which parked tasks, in the words of the filter for letters as far as both can be asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery_recovery.dead_letters.filter import parse_time
from celery_recovery.exceptions import ConfigurationError

__all__ = ("ParkedFilter",)

#: Options by their name in a mapping, with the field that they fill.
_OPTIONS = {
    "task": "task", "queue": "queue", "reason": "reason", "circuit": "circuit", "id": "ids", "due_before": "due_before",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedFilter:
    """All that is given must hold. A field that is empty asks nothing."""

    #: Names; `*` and `?` match.
    task: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    #: Exact: `"retry"`, `"snooze"`, `"eta"`, `"circuit"`.
    reason: tuple[str, ...] = ()
    #: Names of the circuits that they wait for; `*` and `?` match.
    circuit: tuple[str, ...] = ()
    #: Ids of tasks, or keys of single parked messages.
    ids: tuple[str, ...] = ()
    #: Due at that time or earlier (unix s).
    due_before: float | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any], *, now: float | None = None) -> ParkedFilter:
        """Read options as a command line gives them: texts, or lists of texts; None is not given.

        `due_before` is unix seconds, ISO 8601, or, with a sign in front, an age such as `+15m`: from now on. Raises
        `ConfigurationError` naming the option.
        """
        now = time.time() if now is None else now
        values: dict[str, Any] = {}
        for option, given in options.items():
            if option not in _OPTIONS:
                raise ConfigurationError.of("filter", expected=f"one of {', '.join(_OPTIONS)}", got=option)
            if given in (None, "", (), []):
                continue
            if option == "due_before":
                values[option] = _moment(given, now)
            else:
                several = (given,) if isinstance(given, str) else given
                values[_OPTIONS[option]] = tuple(dict.fromkeys(map(str, several)))
        return cls(**values)

    @property
    def is_empty(self) -> bool:
        """True when it chooses every parked task."""
        return self == ParkedFilter()


def _moment(given: Any, now: float) -> float:
    """A moment; what is due lies ahead, so `+15m` is in fifteen minutes, and `15m` was so long ago, as for letters."""
    text = str(given).strip()
    if text.startswith("+"):
        return 2 * now - parse_time("due_before", text[1:], now)
    return parse_time("due_before", text, now)
