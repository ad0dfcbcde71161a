"""`circuit_open`: a dependency is down for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celery_recovery.testing.in_use import benches

if TYPE_CHECKING:
    from celery_recovery.testing.bench import Bench

__all__ = ("circuit_open", "open_circuits")


@dataclass(slots=True)
class _Opened:
    name: str
    seconds: float | None
    #: Where it was opened, to be closed there.
    benches: list[Bench] = field(default_factory=list)

    def open(self, bench: Bench) -> None:
        if bench not in self.benches:
            self.benches.append(bench)
            bench.circuit(self.name).force_open(self.seconds, "circuit_open() in a test")

    def close(self) -> None:
        for bench in self.benches:
            bench.circuit(self.name).close("the block of circuit_open() has ended")


#: The blocks that are open.
_opened: list[_Opened] = []


@contextmanager
def circuit_open(name: str, seconds: float | None = None) -> Iterator[None]:
    """Within the block the circuit of this name is forced open, on every bench that is in use, or made meanwhile.

    `seconds`: so long on the bench's clock, then it probes; None: to the end of the block, where it is closed. Until
    then tasks are parked, or end as their policy says. Raises `ConfigurationError` for a name that is none.
    """
    opened = _Opened(name, seconds)
    _opened.append(opened)
    try:
        for bench in benches():
            opened.open(bench)
        yield
    finally:
        _opened.remove(opened)
        opened.close()


def open_circuits(bench: Bench) -> None:
    """A bench comes into use: what is open is open there, too."""
    for opened in _opened:
        opened.open(bench)
