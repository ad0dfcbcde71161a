"""The Lua scripts, one operation a file, loaded once per process and run by name.

Redis keeps scripts by their digest and forgets them when it restarts; redis-py sends a forgotten one again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import redis

from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import Keys

__all__ = ("Scripts", "script_names", "source")

_INCLUDE = re.compile(r"^-- include (?P<names>[a-z_ ]+)$", re.MULTILINE)
_FOLDER = files("celery_recovery.redis") / "lua"


class Scripts:
    """`scripts("letter_add", arguments)` runs `lua/letter_add.lua` against one store."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._root = keys.root
        self._scripts = {name: client.register_script(source(name)) for name in script_names()}

    def __call__(self, name: str, arguments: Iterable[Any], client: Any = None) -> Any:
        """Run one script; with a pipeline as `client` it is queued instead. Raises `StoreUnavailable`."""
        with reachable(self._client):
            return self._scripts[name](keys=[self._root], args=list(arguments), client=client)


@cache
def script_names() -> tuple[str, ...]:
    """Every operation there is, e.g. `"letter_add"`."""
    return tuple(sorted(entry.name[:-4] for entry in _FOLDER.iterdir() if entry.name.endswith(".lua")))


@cache
def source(name: str, spelling: Callable[[], str] = Keys.lua) -> str:
    """What Redis runs: the spelling of the keys, the script, and what it includes, in the order that it names them.

    `name` may have a folder in front, as in `"budget/withdraw"`, whose keys another `spelling` spells.
    """
    text = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return spelling() + _INCLUDE.sub(_included, text)


def _included(match: re.Match[str]) -> str:
    folder = _FOLDER / "include"
    return "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in match["names"].split())
