"""What a child gets from its main process when one of our threads there was in the middle of something.

A main process with threads forks whenever a child is replaced (`--max-tasks-per-child`, a child that died). The child
has the thread that forked, and of the others what they held: the lock of a module that was being imported, which
nobody will ever give back, and the sockets of their connections.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import weakref
from typing import Any

from kombu import Connection

__all__ = ("import_beforehand", "kept_from_children")

#: The connections of this process that its children must not end.
_kept: weakref.WeakValueDictionary[int, Connection] = weakref.WeakValueDictionary()


def import_beforehand() -> None:
    """Let no thread of a main process import anything that it would have to look for.

    For each connection to RabbitMQ kombu tries to import `librabbitmq`, which takes the module's lock; where it is not
    installed, nothing remembers that. A child that is forked just then waits for the lock at its own first connection,
    for ever. None in `sys.modules` says that there is no such module, without a lock.
    """
    if importlib.util.find_spec("librabbitmq") is None:
        sys.modules.setdefault("librabbitmq", None)  # type: ignore[arg-type]  # what Python's reference says of None


def kept_from_children(connection: Connection) -> None:
    """A child that is forked closes its copy of the connection's socket, and no more.

    Kombu would shut it down, in the child, for all who have it: the parent waits for a confirm on it.
    """
    _kept[id(connection)] = connection


def _let_go() -> None:
    """In a forked child, before kombu's own cleaning up."""
    for connection in list(_kept.values()):
        transport: Any = getattr(connection.connection, "transport", None) if connection.connected else None
        inherited = getattr(transport, "sock", None)
        if inherited is not None:
            transport.sock = None
            inherited.close()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
