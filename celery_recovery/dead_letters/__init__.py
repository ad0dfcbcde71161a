"""Dead letters: the record, the queue they are published to, the store they are searched in, the operator's object."""

from __future__ import annotations
