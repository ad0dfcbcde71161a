"""Our own log lines, without secrets and on one line each: what tasks raise stands in them.

A filter on the logger `celery_recovery` sees to it, so that no call has to. It replaces the arguments of a line, its
`extra` fields, and the traceback, which is written out here: whoever formats the record finds text, and no exception
that still has its own message. Celery's log lines are Celery's: they show what they always have.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from celery_recovery.redact import Redactor
from celery_recovery.text import visible

__all__ = ("Redacting", "learn")

#: Characters of one value in a line, and of a traceback.
LONGEST, LONGEST_TRACEBACK = 5_000, 50_000
#: Characters behind the cut that are looked at: a secret across it must be recognised.
_ACROSS = 2_000
#: What every record has, beside what `extra` puts there.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class Redacting(logging.Filter):
    """Makes records of one logger fit to be read by anybody. It never raises, and keeps none back."""

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._values: tuple[str, ...] = ()
        self._redact = Redactor()

    def learn(self, names: Iterable[str], values: Iterable[str]) -> None:
        """Hide what these patterns mean, too: several apps may log in one process."""
        known = tuple(dict.fromkeys((*self._names, *names))), tuple(dict.fromkeys((*self._values, *values)))
        if known != (self._names, self._values):
            self._redact = Redactor(*known)
            self._names, self._values = known

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always."""
        if isinstance(record.args, Mapping):
            record.args = {name: self._shown(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(self._shown, record.args))
        for name in record.__dict__.keys() - _OWN:
            record.__dict__[name] = self._shown(record.__dict__[name])
        if record.exc_info:
            record.exc_text = self._traceback(record.exc_info)
            record.exc_info = None
        return True

    def _shown(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        try:
            text = str(value)
        except Exception as exc:  # noqa: BLE001  # somebody's own `__str__`
            text = f"a {type(value).__name__} that cannot be shown: {type(exc).__name__}"
        more = f"… ({len(text):,} characters)" if len(text) > LONGEST else ""
        return visible(self._redact.text(text[: LONGEST + _ACROSS])[:LONGEST]) + more

    def _traceback(self, exc_info: Any) -> str:
        """As Python prints it, each line harmless."""
        try:
            text = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
        except Exception as exc:  # noqa: BLE001  # likewise
            text = f"a traceback that cannot be shown: {type(exc).__name__}"
        return "\n".join(map(visible, self._redact.text(text[-LONGEST_TRACEBACK:]).split("\n")))


_REDACTING = Redacting()
logging.getLogger("celery_recovery").addFilter(_REDACTING)
#: Patterns of an app for names and for values; see `Redacting.learn`.
learn = _REDACTING.learn
