"""Hiding secrets wherever arguments, messages, headers and tracebacks are shown, logged or exported.

Two kinds are known: the value beside a *name* that promises a secret (`names.py`), in nested data and in the text of a
`repr`, a JSON document, a URL, a header or a log line (`text.py`); and *values* that look like nothing else, whatever
stands beside them (`values.py`). Teams add their own of both. A secret that stands without a name and looks like any
other word cannot be recognised.

Every step is linear in what it reads, whatever that is: messages and arguments come from tasks, and those from
anywhere.
"""

from celery_recovery.redact.names import SECRET_NAMES
from celery_recovery.redact.reading import MASK
from celery_recovery.redact.redactor import Redactor

__all__ = ("MASK", "SECRET_NAMES", "Redactor")
