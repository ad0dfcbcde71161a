"""Code for tests, as if installed somewhere, and what it raises."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ("caught", "module")


def module(path: str, source: str, name: str | None = None, **known: Any) -> dict[str, Any]:
    """A module's namespace, as if imported from `path`; `known`: what else it finds there."""
    namespace = known if name is None else {"__name__": name, **known}
    exec(compile(textwrap.dedent(source), path, "exec"), namespace)
    return namespace


def caught(call: Callable[..., object], *args: object) -> Exception:
    """What the call raises."""
    try:
        call(*args)
    except Exception as exc:  # noqa: BLE001
        return exc
    raise AssertionError("nothing was raised")
