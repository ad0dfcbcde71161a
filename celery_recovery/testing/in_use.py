"""The benches that are in use in this process, the last one last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

if TYPE_CHECKING:
    from celery_recovery.testing.bench import Bench

__all__ = ("all_of", "benches", "enter", "leave")

_entered: list[Bench] = []


def enter(bench: Bench) -> None:
    """It comes into use, once more."""
    _entered.append(bench)


def leave(bench: Bench) -> None:
    """It goes out of use, once."""
    _entered.reverse()
    _entered.remove(bench)
    _entered.reverse()


def benches() -> list[Bench]:
    """Each of them once."""
    return list(dict.fromkeys(_entered))


def all_of(app: Celery) -> list[Bench]:
    """Those of this app."""
    return [bench for bench in benches() if bench.app is app]
