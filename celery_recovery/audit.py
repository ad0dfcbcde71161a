"""`Audit`: what operators did, in the order they did it. Entries are added, and never changed or removed.

An entry is a flat record of texts: `at` (unix seconds, Redis' clock), `action`, `by`, `via`, and what else is known:
`operation`, `filter`, `selected`, `done`, `outcome`, `reason`, `target` …

What acts on letters is an operation, and has an entry when it begins and another when it ends, so that a tool that is
killed leaves the first. The rest (circuits, parked tasks, checkpoints, groups) has one before it acts, and one after.

So this is the gate, too: where a tool may only look (`recovery_role`) there is no entry, and no act. What writes before
its first entry asks `allow` itself.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import redis

from celery_recovery.redact import Redactor
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("Audit", "recorded", "who")

#: Entries kept, about; a million take some 300 MB. The oldest beyond them go, which `recovery audit` tells.
MOST = 1_000_000
#: Entries read in one round trip, characters of one value.
_PAGE, _CUT = 500, 2000


class Audit:
    """The record of one store; every method raises `StoreUnavailable`."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        *,
        hide: Redactor | None = None,
        allow: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._key = keys.audit
        self.hide = hide or Redactor()
        #: Asked with the name of an act before anything is touched; raises `NotAllowed` where this tool only looks.
        self.allow = allow

    def add(self, action: str, *, by: str, pipe: Any = None, **what: Any) -> None:
        """Write one entry; with a pipeline, in its transaction. Secrets are not written: an entry stays for ever."""
        self.allow(action)
        known = {"action": action, "by": by, **what}
        entry: dict[Any, Any] = {
            name: self._told(value)[:_CUT] for name, value in known.items() if value not in (None, "", {})
        }
        with reachable(self._client):
            (pipe if pipe is not None else self._client).xadd(self._key, entry, maxlen=MOST, approximate=True)

    def _told(self, value: Any) -> str:
        hidden = self.hide(value)
        return json.dumps(hidden) if isinstance(hidden, (dict, list)) else str(hidden)

    @contextmanager
    def acting(self, action: str, *, by: str, **what: Any) -> Iterator[dict[str, Any]]:
        """An entry before and one after; what is put into the dict that is given stands in the second."""
        self.add(action, by=by, outcome="begun", **what)
        told: dict[str, Any] = {"outcome": "done"}
        try:
            yield told
        except BaseException as exc:
            self.add(action, by=by, **{**what, "outcome": f"failed: {type(exc).__name__}"})
            raise
        self.add(action, by=by, **{**what, **told})

    def entries(self, *, since: float | None = None, newest_first: bool = True) -> Iterator[dict[str, Any]]:
        """All of them, in constant memory; each has its `entry` id and `at`."""
        first, last = "-" if since is None else f"{int(since * 1000)}", "+"
        while True:
            with reachable(self._client):
                page: Any = (
                    self._client.xrevrange(self._key, last, first, count=_PAGE)
                    if newest_first
                    else self._client.xrange(self._key, first, last, count=_PAGE)
                )
            for entry_id, fields in page:
                yield _read(entry_id.decode(), fields)
            if len(page) < _PAGE:
                return
            behind = f"({page[-1][0].decode()}"
            first, last = (first, behind) if newest_first else (behind, last)

    @property
    def forgotten(self) -> int:
        """Entries that had to go."""
        with reachable(self._client):
            if not self._client.exists(self._key):
                return 0
            about: Any = self._client.xinfo_stream(self._key)
        return int(about.get("entries-added", about["length"]) - about["length"])


def recorded(
    audit: Audit | None, action: str, *, by: str | None, via: str | None, **what: Any
) -> AbstractContextManager[dict[str, Any]]:
    """`Audit.acting`; nothing where there is no audit, or where the caller keeps it (`via` None)."""
    if audit is None or via is None:
        return nullcontext({})
    return audit.acting(action, by=by or who(), via=via, **what)


def _read(entry_id: str, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    texts = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
    return {"entry": entry_id, "at": int(entry_id.partition("-")[0]) / 1000, **texts}


def who() -> str:
    """The person at this terminal, as `user@host`, as far as the system knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user id, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
