"""One short name for failures that are the same.

Version 2 is `"2:"` and the first 16 hex digits of BLAKE2b over these parts:

- the task's name;
- the class of the root: the innermost exception that is reached by explicit causes and by what a wrapper was looked
  through to (a retry library's last attempt, a client's inner error, a group's worst member). A mere context is no
  cause, unless the message quotes it. What is around the root does not count, so the same bug keeps its name whether it
  arrives bare or wrapped;
- the fault's own code (`HTTP 503`, `SQLSTATE 40P01`), since numbers leave the message;
- the root's message without its variable parts (`wording.py`, `said.py`);
- the line that failed, in the nearest function of the application, by the names and words on it and not by its number:
  two mistakes in one function stay apart, and lines may move;
- the application's own functions on the way there, as module and function, the nearest three; where those are all of
  one module, more, up to the first of another (`places.py`). Functions that only carry a call on (decorators, retries,
  dispatchers, runners) do not count, nor does recursion. If there are none: the two nearest functions of libraries.

So one bug keeps its name when ids change, lines move, decorators are added, or the code is deployed elsewhere, and two
bugs that fail in the same function called from different places stay apart. How well that works on exceptions that
were really raised, `benchmarks/grouping.py` shows. Any change to these rules takes a new version number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from celery_recovery.errors.anatomy import Steps, trail_of
from celery_recovery.errors.places import package_of, places_of
from celery_recovery.errors.reading import text_of
from celery_recovery.errors.rules.rule import Verdict
from celery_recovery.errors.rules.table import Table
from celery_recovery.errors.said import said

__all__ = ("VERSION", "fingerprint", "fingerprint_of")

VERSION = "2"


def fingerprint_of(
    line: Sequence[BaseException], message: str, verdict: Verdict, task: str, steps: Steps, table: Table
) -> str:
    """The name of a failure of `task`.

    `line`: from what was raised to the root, by `anatomy.lineage`. `message`, `steps`: text and traceback of its first
    one. `verdict`: that on the root.
    """
    root = line[-1]
    name = table.plan(type(root)).name
    trail = trail_of(line, steps)
    places = places_of(trail, package_of(task), name)
    code = "" if verdict.code is None else str(verdict.code)
    text = message if root is line[0] else text_of(root)
    words = said(root, text, verdict, trail, places)
    return fingerprint(task, name, code, words, places.lines[0].marks if places.lines else "", places.names)


def fingerprint(
    task: str, name: str, code: str = "", message: str = "", line: str = "", places: Sequence[str] = ()
) -> str:
    """The hash of the parts: the class's `name`, `message` as `normal_message` gives it, `line` and `places`."""
    data = "\0".join((task, name, code, message, line, *places))
    return f"{VERSION}:{hashlib.blake2b(data.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
